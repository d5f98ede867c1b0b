//! Reads a segment: every byte from disk is verified against its block's hash first.
//!
//! ```text
//! open       block table ─► tail: footer and page indexes ─► sparse index of the directory; all three stay in memory
//! find       sparse index ─► one directory block
//! narrow     page index of the time column
//! scan       row ranges ─► pages ─► blocks, verified ─► Parquet decoder ─► pieces per series (`scan.rs`)
//! ```
//!
//! The Parquet reader sees verified bytes only. What it then cannot read is a bug, not damage, and is reported as such.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    FileMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use quorate_wal::Disk;

use crate::blocks::{RawFile, VerifiedFile};
use crate::cache::SegmentCaches;
use crate::columns::Unit;
use crate::content::ContentHasher;
use crate::directory::DirectoryIndex;
use crate::format::{Description, FORMAT, FileFacts, KEY_FORMAT, KEY_SECTIONS, Section, Sections};
use crate::group::Grouper;
use crate::scale::decimals_of;
use crate::scan::SegmentScan;
use crate::summaries::SummaryFooter;
use crate::{
    ColumnId, ColumnKind, ColumnSpec, Error, FieldType, SegmentMeta, SeriesEntry, SeriesKey,
};

/// Row numbers to read: ascending, disjoint, not touching.
pub type RowRanges = Vec<Range<u64>>;

/// An open segment. Share it through `Arc`; scans are independent.
#[derive(Debug)]
pub struct SegmentReader {
    meta: Arc<SegmentMeta>,
    file: VerifiedFile,
    parquet: ArrowReaderMetadata,
    /// Place of each column in the file, by id.
    columns: HashMap<ColumnId, usize>,
    time_unit: Unit,
    /// First row of each row group, and the number of rows at the end.
    group_rows: Vec<u64>,
    sections: Sections,
    index: DirectoryIndex,
    /// Read when it is first asked for.
    summaries: OnceLock<Option<SummaryFooter>>,
}

impl SegmentReader {
    /// Opens a file and checks footer and directory against `meta`.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the caller hands a share over, as to the writer"
    )]
    pub fn open(
        disk: Arc<dyn Disk>,
        path: &Path,
        meta: Arc<SegmentMeta>,
        caches: Arc<SegmentCaches>,
    ) -> Result<Arc<Self>, Error> {
        let (file, tail) = VerifiedFile::open(&disk, path, &meta, caches)?;
        let failed = |source| Error::Parquet { action: "open", path: path.to_owned(), source };
        let parquet = decode_tail(&tail, meta.bytes).map_err(failed)?;
        let sections = read_sections(file.raw(), parquet.file_metadata())?;
        let index = file.read(range_of(sections.index))?;
        let index = DirectoryIndex::decode(&index).ok_or_else(|| {
            file.raw().corrupt(sections.index.offset, "the directory's index is not readable")
        })?;
        let parquet = arrow_metadata(parquet).map_err(failed)?;
        let (columns, time_unit) = read_columns(&parquet, &meta).map_err(failed)?;
        let mut group_rows = vec![0];
        let mut rows = 0;
        for group in parquet.metadata().row_groups() {
            rows += group.num_rows().cast_unsigned();
            group_rows.push(rows);
        }
        let same = rows == meta.rows
            && index.rows() == meta.rows
            && index.series() == meta.series
            && index.bytes() == sections.directory.bytes;
        if !same {
            return Err(file.raw().corrupt(
                sections.index.offset,
                format!(
                    "footer, directory and manifest disagree: {rows}, {}, {} rows",
                    index.rows(),
                    meta.rows
                ),
            ));
        }
        let summaries = OnceLock::new();
        Ok(Arc::new(Self {
            meta,
            file,
            parquet,
            columns,
            time_unit,
            group_rows,
            sections,
            index,
            summaries,
        }))
    }

    /// Reads a file that no manifest describes (orphans, fixtures, `verify`): everything is checked, the hash of the
    /// content included, and that of the file if its name is a hash.
    pub fn recover_meta(disk: Arc<dyn Disk>, path: &Path) -> Result<SegmentMeta, Error> {
        let raw = RawFile::open(&disk, path)?;
        let file_hash = hash_file(&raw)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let named = name.strip_suffix(".parquet").and_then(|hex| blake3::Hash::from_hex(hex).ok());
        if named.is_some_and(|named| named != file_hash) {
            return Err(raw.corrupt(0, "the file does not match the hash that is its name"));
        }
        let (sections, table_hash) = locate(&raw)?;
        let description = range_of(sections.description);
        let description = Description::decode(&raw.read(description)?).ok_or_else(|| {
            raw.corrupt(sections.description.offset, "the description is not readable")
        })?;
        let meta = Arc::new(description.into_meta(FileFacts {
            file_hash: *file_hash.as_bytes(),
            bytes: raw.bytes,
            block_table_offset: sections.blocks.offset,
            block_table_hash: table_hash,
        }));
        // All blocks are checked before the description that was read above counts.
        let reader = Self::open(disk, path, Arc::clone(&meta), SegmentCaches::new(0))?;
        reader.verify()?;
        reader.verify_content()?;
        Ok(SegmentMeta::clone(&meta))
    }

    /// What the manifest says of it.
    pub fn meta(&self) -> &Arc<SegmentMeta> {
        &self.meta
    }

    /// The entry of one series.
    pub fn find(&self, key: &SeriesKey) -> Result<Option<SeriesEntry>, Error> {
        let bytes = key.as_bytes();
        if bytes < self.meta.key_min.as_slice() || bytes > self.meta.key_max.as_slice() {
            return Ok(None);
        }
        let block = self.index.position(bytes);
        let found = self.index.blocks[block].find(&self.directory_block(block)?, key);
        found.ok_or_else(|| self.directory_error(block))
    }

    /// Entries in key order, from the first whose key is not below `from`, read block by block.
    pub fn directory(
        self: &Arc<Self>,
        from: Option<&SeriesKey>,
    ) -> Result<Box<dyn Iterator<Item = Result<SeriesEntry, Error>> + Send>, Error> {
        let first = from.map_or(0, |key| self.index.position(key.as_bytes()));
        let reader = Arc::clone(self);
        let blocks = (first..self.index.blocks.len()).map(move |block| reader.read_entries(block));
        let from = from.cloned();
        let entries = blocks.flat_map(|block| match block {
            Ok(entries) => Entries::Read(entries.into_iter()),
            Err(error) => Entries::Failed(Some(error)),
        });
        Ok(Box::new(entries.skip_while(move |entry| {
            entry.as_ref().is_ok_and(|entry| from.as_ref().is_some_and(|from| entry.key < *from))
        })))
    }

    /// Some series, ascending, with the number of their first row: those that begin a block of the directory. Reads
    /// nothing; for cutting a segment by series.
    pub fn marks(&self) -> impl ExactSizeIterator<Item = (&[u8], u64)> {
        self.index.blocks.iter().map(|block| (&*block.first, block.rows.start))
    }

    /// Rows of one series with time in `[time_min, time_max]`, narrowed by page statistics, not row by row:
    /// the first and last row may lie outside. For cutting ranges before [`SegmentReader::scan`].
    pub fn narrow(
        &self,
        entry: &SeriesEntry,
        time_min: i64,
        time_max: i64,
    ) -> Result<Range<u64>, Error> {
        let rows = entry.rows.clone();
        if time_max < entry.time_min || entry.time_max < time_min || time_max < time_min {
            return Ok(rows.start..rows.start);
        }
        if time_min <= entry.time_min && entry.time_max <= time_max {
            return Ok(rows);
        }
        let Some(pages) = self.time_pages(&rows) else { return Ok(rows) };
        let inside = |page: &TimePage| rows.start <= page.rows.start && page.rows.end <= rows.end;
        let mut kept: Option<Range<u64>> = None;
        for (i, page) in pages.iter().enumerate() {
            // The times of a page that other series share say little of ours; those of its neighbours say more.
            let before = i.checked_sub(1).map(|i| &pages[i]).filter(|page| inside(page));
            let after = pages.get(i + 1).filter(|page| inside(page));
            let min = before.map_or(entry.time_min, |page| page.time_max).max(page.time_min);
            let max = after.map_or(entry.time_max, |page| page.time_min).min(page.time_max);
            if min <= time_max && time_min <= max {
                let page = page.rows.start.max(rows.start)..page.rows.end.min(rows.end);
                kept = Some(kept.map_or(page.start, |kept| kept.start)..page.end);
            }
        }
        Ok(kept.unwrap_or(rows.start..rows.start))
    }

    /// Scans the given series (ascending by key) with these row ranges (each within its entry's rows), for the time,
    /// the projected fields (absent ones come as nulls) and, if asked for, the cleared marks.
    pub fn scan(
        self: &Arc<Self>,
        series: Vec<SeriesEntry>,
        fields: &[(ColumnId, FieldType)],
        with_cleared: bool,
    ) -> Result<SegmentScan, Error> {
        for (id, kind) in fields {
            let found = self.meta.schema.fields.iter().find(|field| field.id == *id);
            if found.is_some_and(|field| field.kind != ColumnKind::Field(*kind)) {
                let what = format!("column {} is not {kind:?} in this segment", id.0);
                return Err(self.file.raw().corrupt(0, what));
            }
        }
        Ok(SegmentScan::new(Arc::clone(self), series, fields, with_cleared))
    }

    /// Reads and checks every block of the file and the hash of the whole.
    pub fn verify(&self) -> Result<(), Error> {
        self.file.verify(&self.meta.file_hash)
    }

    /// Computes the hash and the statistics of the rows anew.
    fn verify_content(self: &Arc<Self>) -> Result<(), Error> {
        let fields: Vec<_> = self.meta.schema.fields.iter().filter_map(projected).collect();
        let entries = self.directory(None)?.collect::<Result<Vec<_>, _>>()?;
        let mut content = ContentHasher::new(&self.meta.schema);
        let mut grouper = Grouper::default();
        for rows in self.scan(entries, &fields, true)? {
            let rows = rows?;
            let mut offset = 0;
            while offset < rows.rows() {
                if grouper.is_full(&rows.key) {
                    grouper.take().batches.iter().for_each(|batch| content.update(batch));
                }
                offset += grouper.add(&rows, offset);
            }
        }
        grouper.take().batches.iter().for_each(|batch| content.update(batch));
        let content = content.finish();
        if content.hash == self.meta.content_hash && content.fields == self.meta.fields {
            Ok(())
        } else {
            Err(self.file.raw().corrupt(0, "the rows do not match their hash"))
        }
    }

    /// The pages of the time column that hold these rows.
    fn time_pages(&self, rows: &Range<u64>) -> Option<Vec<TimePage>> {
        let time = self.columns[&self.meta.schema.time.id];
        let indexes = self.parquet.metadata().column_index()?;
        let nanos = self.time_unit.nanos();
        let mut found = Vec::new();
        for group in self.groups_of(rows) {
            let ColumnIndexMetaData::INT64(times) = &indexes[group][time] else { return None };
            let pages = self.pages(group, time).page_locations();
            let start = |i: usize| {
                pages.get(i).map_or(self.group_rows[group + 1], |page| {
                    self.group_rows[group] + page.first_row_index.cast_unsigned()
                })
            };
            for (i, (min, max)) in times.min_values().iter().zip(times.max_values()).enumerate() {
                let page = start(i)..start(i + 1);
                if page.start < rows.end && rows.start < page.end {
                    let (time_min, time_max) = (min * nanos, max * nanos);
                    found.push(TimePage { rows: page, time_min, time_max });
                }
            }
        }
        Some(found)
    }

    fn read_entries(&self, block: usize) -> Result<Vec<SeriesEntry>, Error> {
        let entries = self.index.blocks[block].decode(&self.directory_block(block)?);
        entries.ok_or_else(|| self.directory_error(block))
    }

    fn directory_block(&self, block: usize) -> Result<Bytes, Error> {
        let start = self.sections.directory.offset;
        let range = &self.index.blocks[block].bytes;
        self.file.read(start + range.start..start + range.end)
    }

    fn directory_error(&self, block: usize) -> Error {
        let offset = self.sections.directory.offset + self.index.blocks[block].bytes.start;
        self.file.raw().corrupt(offset, "a directory block is not readable")
    }
}

/// What scans ask of their reader.
impl SegmentReader {
    /// Place of the summaries.
    pub(crate) fn summaries(&self) -> Section {
        self.sections.summaries
    }

    /// The footer of the summaries, if there are any.
    pub(crate) fn summary_footer(&self) -> Result<Option<&SummaryFooter>, Error> {
        if let Some(footer) = self.summaries.get() {
            return Ok(footer.as_ref());
        }
        let footer = SummaryFooter::read(&self.file, self.sections.summaries)?;
        Ok(self.summaries.get_or_init(|| footer).as_ref())
    }

    pub(crate) fn file(&self) -> &VerifiedFile {
        &self.file
    }

    pub(crate) fn parquet(&self) -> &ArrowReaderMetadata {
        &self.parquet
    }

    pub(crate) fn time_unit(&self) -> Unit {
        self.time_unit
    }

    /// Place of a column in the file.
    pub(crate) fn column(&self, id: ColumnId) -> Option<usize> {
        self.columns.get(&id).copied()
    }

    /// First row of each row group, and the number of rows at the end.
    pub(crate) fn group_rows(&self) -> &[u64] {
        &self.group_rows
    }

    /// The row groups that hold these rows.
    pub(crate) fn groups_of(&self, rows: &Range<u64>) -> Range<usize> {
        let starts = &self.group_rows[..self.group_rows.len() - 1];
        let first = starts.partition_point(|start| *start <= rows.start).saturating_sub(1);
        first..starts.partition_point(|start| *start < rows.end)
    }

    /// Where the pages of a column are.
    pub(crate) fn pages(&self, group: usize, column: usize) -> &OffsetIndexMetaData {
        let index = self.parquet.metadata().offset_index();
        &index.expect("open has required the offset index")[group][column]
    }
}

/// A page of the time column.
struct TimePage {
    rows: Range<u64>,
    time_min: i64,
    time_max: i64,
}

enum Entries {
    Read(std::vec::IntoIter<SeriesEntry>),
    Failed(Option<Error>),
}

impl Iterator for Entries {
    type Item = Result<SeriesEntry, Error>;
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Read(entries) => entries.next().map(Ok),
            Self::Failed(error) => error.take().map(Err),
        }
    }
}

fn projected(field: &ColumnSpec) -> Option<(ColumnId, FieldType)> {
    match field.kind {
        ColumnKind::Field(kind) => Some((field.id, kind)),
        ColumnKind::Time | ColumnKind::Tag => None,
    }
}

fn range_of(section: Section) -> Range<u64> {
    section.offset..section.offset.saturating_add(section.bytes)
}

fn decode_tail(tail: &Bytes, file_bytes: u64) -> Result<ParquetMetaData, ParquetError> {
    let mut reader = ParquetMetaDataReader::new()
        .with_column_index_policy(PageIndexPolicy::Optional)
        .with_offset_index_policy(PageIndexPolicy::Required);
    reader.try_parse_sized(tail, file_bytes)?;
    reader.finish()
}

/// The format first: a newer one may say the rest otherwise.
fn read_sections(raw: &RawFile, footer: &FileMetaData) -> Result<Sections, Error> {
    let value = |key: &str| {
        let pairs = footer.key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    };
    let damaged = || raw.corrupt(raw.bytes, "the footer does not say where the sections are");
    let format: u32 = value(KEY_FORMAT).and_then(|text| text.parse().ok()).ok_or_else(damaged)?;
    if format > FORMAT {
        return Err(raw.newer(format, FORMAT));
    }
    value(KEY_SECTIONS).and_then(Sections::from_text).ok_or_else(damaged)
}

/// Finds the sections of a file that nothing is known of. The footer is unverified when it is asked where the block
/// table is; the table then verifies the footer.
fn locate(raw: &RawFile) -> Result<(Sections, [u8; 32]), Error> {
    let damaged = || raw.corrupt(raw.bytes, "the file does not end like a Parquet file");
    let footer_end = raw.bytes.checked_sub(8).ok_or_else(damaged)?;
    let end = raw.read(footer_end..raw.bytes)?;
    let len = u32::from_le_bytes([end[0], end[1], end[2], end[3]]);
    let start = footer_end.checked_sub(u64::from(len)).ok_or_else(damaged)?;
    if end[4..] != *b"PAR1" {
        return Err(damaged());
    }
    let footer = ParquetMetaDataReader::decode_metadata(&raw.read(start..footer_end)?)
        .map_err(|_| raw.corrupt(start, "the footer is not readable"))?;
    let sections = match read_sections(raw, footer.file_metadata()) {
        // A newer format is taken at its word only where nothing else is wrong with the footer.
        Err(Error::Unsupported { found, .. }) => {
            verify_newer(raw, footer.file_metadata())?;
            return Err(raw.newer(found, FORMAT));
        }
        other => other?,
    };
    let table = raw.block_table(sections.blocks.offset, None)?;
    raw.tail(&table)?;
    let (_, hash) = table.encode();
    Ok((sections, hash))
}

fn verify_newer(raw: &RawFile, footer: &FileMetaData) -> Result<(), Error> {
    let pairs = footer.key_value_metadata().into_iter().flatten();
    let text = pairs.filter(|pair| pair.key == KEY_SECTIONS).find_map(|pair| pair.value.as_deref());
    let Some(sections) = text.and_then(Sections::from_text) else { return Ok(()) };
    match raw.block_table(sections.blocks.offset, None) {
        Ok(table) => raw.tail(&table).map(drop),
        Err(Error::Unsupported { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn hash_file(raw: &RawFile) -> Result<blake3::Hash, Error> {
    const CHUNK: u64 = 1 << 20;
    let mut hasher = blake3::Hasher::new();
    let mut offset = 0;
    while offset < raw.bytes {
        let end = raw.bytes.min(offset + CHUNK);
        hasher.update(&raw.read(offset..end)?);
        offset = end;
    }
    Ok(hasher.finalize())
}

/// Text is decoded as views, decimals as the whole numbers that they are stored as.
fn arrow_metadata(parquet: ParquetMetaData) -> Result<ArrowReaderMetadata, ParquetError> {
    let parquet = Arc::new(parquet);
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let plain = ArrowReaderMetadata::try_new(Arc::clone(&parquet), options.clone())?;
    let fields: Vec<Field> = plain
        .schema()
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Utf8 => Field::clone(field).with_data_type(DataType::Utf8View),
            DataType::Decimal128(precision, scale) => {
                Field::clone(field).with_data_type(DataType::Decimal64(*precision, *scale))
            }
            _ => Field::clone(field),
        })
        .collect();
    ArrowReaderMetadata::try_new(parquet, options.with_schema(Arc::new(Schema::new(fields))))
}

fn read_columns(
    parquet: &ArrowReaderMetadata,
    meta: &SegmentMeta,
) -> Result<(HashMap<ColumnId, usize>, Unit), ParquetError> {
    let mut columns = HashMap::new();
    for (place, column) in parquet.parquet_schema().columns().iter().enumerate() {
        let info = column.self_type().get_basic_info();
        if info.has_id() {
            columns.insert(ColumnId(info.id().cast_unsigned()), place);
        }
    }
    let time = meta.schema.time.id;
    let cleared = meta.has_cleared.then_some(ColumnId::CLEARED);
    let wanted = meta.schema.fields.iter().map(|field| field.id).chain([time]).chain(cleared);
    for id in wanted {
        if !columns.contains_key(&id) {
            return Err(ParquetError::General(format!("column {} is missing", id.0)));
        }
    }
    for field in &meta.schema.fields {
        let stored = parquet.schema().field(columns[&field.id]).data_type();
        let is_float = field.kind == ColumnKind::Field(FieldType::Float64);
        if is_float && *stored != DataType::Float64 && decimals_of(stored).is_none() {
            return Err(ParquetError::General(format!("column {} is {stored}", field.id.0)));
        }
    }
    let unit = Unit::of_type(parquet.schema().field(columns[&time]).data_type())
        .ok_or_else(|| ParquetError::General("the time column is no timestamp".to_owned()))?;
    Ok((columns, unit))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
