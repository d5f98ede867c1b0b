//! Line protocol: text in, rows in the store.
//!
//! A body is cut into chunks at ends of lines ([`super::line_decoder`]); each is decoded on a thread for CPU work,
//! makes the tables and columns that it needs, and is written: one log entry per shard. So memory is bounded by the
//! chunk, and an idempotency key counts chunks.
//!
//! Bad lines are data: they are reported, and under an idempotency key they are stored with the chunk's result, so that
//! a retry hears the same answer.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampNanosecondArray, UInt32Array};
use bytes::Bytes;
use quorate_storage::batch::{Nulls, RowBatch, ValidBatch};
use quorate_storage::catalog::{Catalog, ColumnDefinition, Table};
use quorate_storage::{ColumnKind, SeriesKey, ShardReceipt, Store, WriteOptions, WriteReceipt};
use serde::{Deserialize, Serialize};

use super::Precision;
use super::cpu::on_cpu;
use super::growth::{Growth, Needed, Overflow, TIME, grow};
use super::line_decoder::{CHUNK_BYTES, Decoded, DecodedTable, Place, Rules, decode};
use crate::{Error, ErrorKind, Session};

/// Bodies up to this size are decoded where they are: a thread's hand-over costs more.
const INLINE_BYTES: usize = 32 << 10;
/// Bad lines of a chunk that are stored with the result of an idempotency key.
const REJECTIONS_STORED: usize = 256;
/// How often a chunk is decoded again because the catalog moved, before the client is asked to retry.
const ATTEMPTS: usize = 16;

/// A line that was not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineError {
    /// From 1; 0 for points that a shard rejected.
    pub line_number: u64,
    /// Why.
    pub error_message: String,
    /// Its first 80 characters.
    pub original_line: String,
}

/// What a request did.
#[derive(Clone, Debug, Default)]
pub struct LinesReport {
    /// Per shard, over all chunks.
    pub receipt: WriteReceipt,
    /// Points stored (accepted by every shard).
    pub points: u64,
    /// Lines that were rejected, at most 10,000 per chunk; the others are stored.
    pub rejected: Vec<LineError>,
    /// How many lines were rejected.
    pub rejected_total: u64,
}

impl Session {
    /// Writes line protocol into the session's database; tables and columns are made as needed. `accept_partial` false
    /// stores nothing when any line is bad.
    pub async fn write_lines(
        &self,
        body: Bytes,
        precision: Precision,
        accept_partial: bool,
    ) -> Result<LinesReport, Error> {
        LinesRequest::begin(self, body, precision, accept_partial).await?.run().await
    }
}

/// One request on its way.
struct LinesRequest<'a> {
    store: &'a Store,
    body: Bytes,
    accept_partial: bool,
    key: Option<String>,
    /// Whether lines without a timestamp have the time that was committed for the key.
    time_is_final: bool,
    options: WriteOptions,
    rules: Rules,
    report: LinesReport,
}

impl<'a> LinesRequest<'a> {
    async fn begin(
        session: &'a Session,
        body: Bytes,
        precision: Precision,
        accept_partial: bool,
    ) -> Result<Self, Error> {
        let options = session.options();
        let store = session.engine().store();
        let database = options.database.unwrap_or_else(|| "main".to_owned());
        let catalog = known_database(store, &database).await?;
        let valid_utf8 = std::str::from_utf8(&body).is_ok();
        Ok(Self {
            store,
            accept_partial,
            time_is_final: options.idempotency_key.is_none(),
            key: options.idempotency_key,
            options: WriteOptions {
                level: options.write_level,
                deadline: options.query_timeout,
                ..WriteOptions::default()
            },
            rules: Rules {
                catalog,
                database,
                precision,
                now: session.engine().options().store.clock.now_nanos(),
                refused: HashMap::new(),
                // What must be checked as a whole is one chunk.
                chunk_bytes: if accept_partial { CHUNK_BYTES } else { usize::MAX },
                valid_utf8,
            },
            body,
            report: LinesReport::default(),
        })
    }

    async fn run(mut self) -> Result<LinesReport, Error> {
        let mut place = Place::START;
        let mut number = 0;
        let mut tries = 0;
        while place.byte < self.body.len() {
            let decoded = self.decode_against_catalog(place).await?;
            let end = decoded.end;
            if !self.accept_partial {
                if decoded.cells_exceeded {
                    return Err(Error::request(
                        ErrorKind::Exhausted,
                        "the body holds too many different fields to be stored as a whole; send a smaller one",
                    ));
                }
                if decoded.errors_total > 0 {
                    self.report.rejected_total = decoded.errors_total;
                    self.report.rejected = decoded.errors;
                    return Ok(self.report);
                }
            }
            match self.write(decoded, place, number).await {
                Ok(()) => {}
                // The table was dropped, or its routing changed, since the chunk was decoded. To write it again has
                // no second effect in the shards that took it.
                Err(Error::Store(
                    quorate_storage::Error::Stale { .. } | quorate_storage::Error::NoTable(_),
                )) if tries < ATTEMPTS => {
                    tries += 1;
                    self.rules.catalog = self.store.catalog_linearizable().await?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            place = end;
            number += 1;
        }
        Ok(self.report)
    }

    /// Decodes a chunk, and again until the catalog has all that its good lines need.
    async fn decode_against_catalog(&mut self, place: Place) -> Result<Decoded, Error> {
        for _ in 0..ATTEMPTS {
            let decoded = self.decode(place).await?;
            if decoded.untimed && !self.time_is_final {
                self.fix_time().await?;
                continue;
            }
            if !self.accept_partial && decoded.errors_total > 0 {
                return Ok(decoded);
            }
            let needed = decoded.tables.iter().map(needed).collect();
            let overflow = if self.accept_partial { Overflow::Fill } else { Overflow::Refuse };
            let Rules { database, catalog, .. } = &self.rules;
            match grow(self.store, database, catalog, needed, overflow).await? {
                Growth::Done(catalog) => {
                    self.rules.catalog = catalog;
                    return Ok(decoded);
                }
                Growth::Changed(catalog) => self.rules.catalog = catalog,
                Growth::Refused { table, why } => {
                    // What was made before the refusal stays; later chunks need not ask again.
                    self.rules.catalog = self.store.catalog();
                    self.rules.refused.insert(table, why.to_string());
                }
            }
        }
        Err(Error::request(
            ErrorKind::Conflict,
            "other writes keep changing the types of the same columns; retry",
        ))
    }

    async fn decode(&self, place: Place) -> Result<Decoded, Error> {
        if self.body.len() - place.byte <= INLINE_BYTES {
            return Ok(decode(&self.body, place, &self.rules));
        }
        let (body, rules) = (self.body.clone(), self.rules.clone());
        on_cpu(move || decode(&body, place, &rules)).await
    }

    /// Lines without a timestamp have the same time on every retry of the key.
    async fn fix_time(&mut self) -> Result<(), Error> {
        if let Some(key) = &self.key {
            self.rules.now = self.store.time_of_key(key, self.rules.now).await?;
        }
        self.time_is_final = true;
        Ok(())
    }

    async fn write(&mut self, decoded: Decoded, place: Place, number: u32) -> Result<(), Error> {
        let digest = self.key.as_ref().map(|_| self.digest(place, decoded.end));
        let rejected = decoded.errors;
        if decoded.tables.is_empty() {
            self.report.rejected_total += decoded.errors_total;
            self.report.rejected.extend(rejected);
            return Ok(());
        }
        let stored = rejected.iter().take(REJECTIONS_STORED);
        let options = WriteOptions {
            idempotency_key: self.key.clone().map(|key| (key, number)),
            digest,
            rejected: match self.key {
                Some(_) => stored.filter_map(|e| serde_json::to_string(e).ok()).collect(),
                None => Vec::new(),
            },
            ..self.options.clone()
        };
        let (catalog, database) = (Arc::clone(&self.rules.catalog), self.rules.database.clone());
        let tables = decoded.tables;
        let batches = if decoded.end.byte - place.byte <= INLINE_BYTES {
            valid_batches(tables, &catalog, &database)?
        } else {
            on_cpu(move || valid_batches(tables, &catalog, &database)).await??
        };
        let receipt = self.store.write_all(batches, &options).await?;
        if receipt.shards.iter().any(|s| s.duplicate) {
            // The answer of the first time, which may have been another one.
            let first = receipt.rejected.iter().filter_map(|e| serde_json::from_str(e).ok());
            let before = self.report.rejected.len();
            self.report.rejected.extend(first);
            self.report.rejected_total += (self.report.rejected.len() - before) as u64;
        } else {
            self.report.rejected_total += decoded.errors_total;
            self.report.rejected.extend(rejected);
        }
        self.report.add(receipt);
        Ok(())
    }

    /// Tells the chunk's bytes from any others: the client's bytes, and what else decides what they mean.
    fn digest(&self, from: Place, end: Place) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"lines 1");
        hasher.update(self.rules.precision.unit().as_bytes());
        hasher.update(&(self.rules.database.len() as u64).to_be_bytes());
        hasher.update(self.rules.database.as_bytes());
        hasher.update(&self.body[from.byte..end.byte]);
        hasher.finalize().into()
    }
}

/// The rows of a chunk by identity, checked and sorted.
fn valid_batches(
    tables: Vec<DecodedTable>,
    catalog: &Catalog,
    database: &str,
) -> Result<Vec<ValidBatch>, Error> {
    let valid = |table: DecodedTable| {
        let known = catalog.table(database, &table.name).ok_or_else(|| {
            let what = format!("table {:?} was dropped while rows were written to it", table.name);
            Error::request(ErrorKind::Conflict, what)
        })?;
        Ok(ValidBatch::check(known, catalog.index, table.into_rows(known)?)?)
    };
    tables.into_iter().map(valid).collect()
}

impl LinesReport {
    /// Adds the receipt of one chunk.
    fn add(&mut self, receipt: WriteReceipt) {
        self.receipt.not_everywhere |= receipt.not_everywhere;
        for shard in receipt.shards {
            self.points += shard.accepted;
            if shard.rejected > 0 {
                let reason = shard.reason.as_deref().unwrap_or("rejected by the shard");
                self.rejected_total += shard.rejected;
                self.rejected.push(LineError {
                    line_number: 0,
                    error_message: format!("{} points were not stored: {reason}", shard.rejected),
                    original_line: String::new(),
                });
            }
            merge_receipt(&mut self.receipt.shards, shard);
        }
    }
}

/// Adds one shard's receipt to those of earlier chunks: the latest position, the sums.
pub(super) fn merge_receipt(receipts: &mut Vec<ShardReceipt>, receipt: ShardReceipt) {
    match receipts.binary_search_by_key(&receipt.shard, |r| r.shard) {
        Err(at) => receipts.insert(at, receipt),
        Ok(at) => {
            let have = &mut receipts[at];
            have.accepted += receipt.accepted;
            have.rejected += receipt.rejected;
            have.reason = have.reason.take().or(receipt.reason);
            have.duplicate &= receipt.duplicate;
            if (receipt.term, receipt.index) > (have.term, have.index) {
                (have.term, have.index) = (receipt.term, receipt.index);
            }
        }
    }
}

/// The catalog, which has the database: this node may not have heard of a new one yet.
pub(super) async fn known_database(store: &Store, database: &str) -> Result<Arc<Catalog>, Error> {
    let catalog = store.catalog();
    if catalog.database(database).is_some() {
        return Ok(catalog);
    }
    let catalog = store.catalog_linearizable().await?;
    if catalog.database(database).is_some() {
        return Ok(catalog);
    }
    Err(Error::request(ErrorKind::NotFound, format!("database {database:?} does not exist")))
}

fn needed(table: &DecodedTable) -> Needed {
    let tag = |name: &String| ColumnDefinition { name: name.clone(), kind: ColumnKind::Tag };
    let fields = table.fields.iter().map(|field| ColumnDefinition {
        name: field.name.clone(),
        kind: ColumnKind::Field(field.field_type()),
    });
    let time = ColumnDefinition { name: TIME.to_owned(), kind: ColumnKind::Time };
    Needed {
        table: table.name.clone(),
        columns: std::iter::once(time).chain(table.tags.iter().map(tag)).chain(fields).collect(),
    }
}

impl DecodedTable {
    /// The rows by identity. The table has all columns.
    pub(super) fn into_rows(self, table: &Table) -> Result<RowBatch, Error> {
        let lost = |name: &str| {
            let what =
                format!("column {name:?} of table {:?} changed meanwhile; retry", table.name);
            Error::request(ErrorKind::Conflict, what)
        };
        // Where each tag of the lines stands in a series key.
        let mut positions = Vec::with_capacity(self.tags.len());
        for tag in &self.tags {
            let position = table.tags().position(|c| c.name == *tag).ok_or_else(|| lost(tag))?;
            positions.push(position);
        }
        let mut values = vec![None; positions.iter().max().map_or(0, |p| p + 1)];
        let mut series = Vec::with_capacity(self.series.len());
        for tags in &self.series {
            values.fill(None);
            for (tag, range) in tags {
                values[positions[*tag]] = self.text.get(range.clone());
            }
            series.push(SeriesKey::encode(values.iter().copied()));
        }
        let rows = self.times.len();
        let (series, series_of_row) = distinct(series, self.series_of_row);
        let mut fields = Vec::with_capacity(self.fields.len());
        for field in self.fields {
            let column = table.column(&field.name).ok_or_else(|| lost(&field.name))?;
            if column.kind != ColumnKind::Field(field.field_type()) {
                return Err(lost(&field.name));
            }
            fields.push((column.id, field.finish(rows)));
        }
        fields.sort_by_key(|(id, _)| *id);
        let time = TimestampNanosecondArray::from(self.times).with_timezone("UTC");
        Ok(RowBatch {
            series,
            series_of_row: UInt32Array::from(series_of_row),
            time: Arc::new(time) as ArrayRef,
            fields,
            nulls: Nulls::Absent,
        })
    }
}

/// Series that lines spell in different ways (other order of tags, escapes) become one.
fn distinct(series: Vec<SeriesKey>, mut of_row: Vec<u32>) -> (Vec<SeriesKey>, Vec<u32>) {
    let mut numbers: HashMap<&[u8], u32> = HashMap::with_capacity(series.len());
    let mut kept = Vec::with_capacity(series.len());
    let mut number_of = Vec::with_capacity(series.len());
    for (at, key) in series.iter().enumerate() {
        let next = u32::try_from(kept.len()).expect("fewer series than bytes of a body");
        let number = *numbers.entry(key.as_bytes()).or_insert_with(|| {
            kept.push(at);
            next
        });
        number_of.push(number);
    }
    if kept.len() == series.len() {
        return (series, of_row);
    }
    for number in &mut of_row {
        *number = number_of[*number as usize];
    }
    (kept.into_iter().map(|at| series[at].clone()).collect(), of_row)
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
