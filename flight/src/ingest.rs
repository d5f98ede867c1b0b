//! Bulk ingest: batches that a client uploads become rows of a table.
//!
//! Each batch is written as it comes, and the next one is read once it is acknowledged, so that memory stays bounded and
//! the client is slowed to what the log takes. What was acknowledged stays, also when a later batch fails: an ingest is
//! atomic per batch and shard. Rows that are rejected do not keep their neighbours from being stored; the call then ends
//! with an error that counts both and tells the first reasons. A client that asks for it by the option
//! `quorate-rejected` is answered with all of them instead, and without an error.

use std::collections::BTreeMap;

use arrow_flight::PutResult;
use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use futures::{StreamExt, TryStreamExt};
use quorate_engine::ingest::{ColumnsReport, IngestMode, TableIngest};
use quorate_storage::batch::Nulls;
use quorate_storage::{ShardId, ShardReceipt, WriteReceipt};
use serde::{Deserialize, Serialize};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::{Response, Status};

use crate::call::{Call, names};
use crate::query::refuse_transaction;
use crate::service::{Outgoing, Shared};
use crate::status;
use crate::update::{Upload, counted};

/// Rejections whose reason is told.
const REASONS_MAX: usize = 10;

/// Option of the command: how rejected rows are told.
pub(crate) const REJECTED_OPTION: &str = "quorate-rejected";
/// Its value: a second [`PutResult`] holds [`Rejected`] as JSON, and rejected rows are no error.
pub(crate) const REJECTED_LISTED: &str = "listed";

/// Rows of an ingest that were not stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// How many.
    pub total: u64,
    /// Row number from 0 over all batches, and why; the first 10,000. What a shard refused has the number of rows that
    /// were sent, and its reason tells how many.
    pub rows: Vec<(u64, String)>,
}

/// Writes an upload into a table.
pub(crate) async fn ingest(
    shared: &Shared,
    call: Call,
    command: CommandStatementIngest,
    upload: Upload,
) -> Result<Response<Outgoing<PutResult>>, Status> {
    let listed = match command.options.get(REJECTED_OPTION).map(String::as_str) {
        None | Some("") => false,
        Some(REJECTED_LISTED) => true,
        Some(other) => {
            return Err(status::invalid(format!(
                "option {REJECTED_OPTION}: {other:?} is not {REJECTED_LISTED:?}"
            )));
        }
    };
    let target = target(&call, command)?;
    let session = shared.session(call.options.clone());
    let mut writer = session.ingest(target).await.map_err(|e| status::of(&e))?;
    let mut batches = upload.into_batches();
    while let Some(batch) = batches.try_next().await? {
        writer.write(&batch).await.map_err(|e| status::of(&e))?;
    }
    let report = writer.finish().await.map_err(|e| status::of(&e))?;
    if listed || report.rejected.is_empty() {
        let mut response = counted(Some(report.rows));
        if listed {
            response = with_rejected(response, &report)?;
        }
        tell(&report, response.metadata_mut());
        shared.hold(&call, &call.state, response.metadata_mut());
        Ok(response)
    } else {
        Err(status::invalid(rejections(&report)))
    }
}

/// An answer that lists the rejected rows, too.
fn with_rejected(
    response: Response<Outgoing<PutResult>>,
    report: &ColumnsReport,
) -> Result<Response<Outgoing<PutResult>>, Status> {
    let rejected = Rejected { total: report.rejected_total, rows: report.rejected.clone() };
    let json = serde_json::to_vec(&rejected).map_err(|e| Status::internal(e.to_string()))?;
    let list = PutResult { app_metadata: json.into() };
    Ok(response.map(|counted| counted.chain(futures::stream::iter([Ok(list)])).boxed()))
}

/// What was done beyond the count, as headers of the answer.
fn tell(report: &ColumnsReport, headers: &mut MetadataMap) {
    if let Ok(receipt) = serde_json::to_vec(&last_receipts(&report.receipts))
        && let Ok(value) = AsciiMetadataValue::try_from(receipt)
    {
        headers.insert("quorate-receipt", value);
    }
    for notice in &report.notices {
        if let Ok(value) = AsciiMetadataValue::try_from(notice.as_bytes()) {
            headers.append("quorate-notice", value);
        }
    }
}

/// One receipt per shard: where its last part of the ingest stands, and the rows of all its parts.
fn last_receipts(receipts: &[WriteReceipt]) -> Vec<ShardReceipt> {
    let mut last: BTreeMap<ShardId, ShardReceipt> = BTreeMap::new();
    for receipt in receipts.iter().flat_map(|receipt| &receipt.shards) {
        let mut merged = receipt.clone();
        if let Some(earlier) = last.remove(&receipt.shard) {
            merged.accepted += earlier.accepted;
            merged.rejected += earlier.rejected;
            merged.duplicate &= earlier.duplicate;
        }
        last.insert(receipt.shard, merged);
    }
    last.into_values().collect()
}

fn target(call: &Call, command: CommandStatementIngest) -> Result<TableIngest, Status> {
    refuse_transaction(command.transaction_id.as_ref())?;
    if command.temporary {
        return Err(status::unsupported("ingest into a temporary table"));
    }
    if command.table.is_empty() {
        return Err(status::invalid("the ingest names no table"));
    }
    if let Some(schema) = command.schema.as_deref().filter(|s| !s.is_empty() && *s != "public") {
        return Err(Status::not_found(format!(
            "schema {schema:?} does not exist: tables are in \"public\""
        )));
    }
    let option = |name: &str| command.options.get(name).filter(|value| !value.is_empty());
    let tags = match option("quorate-tags") {
        Some(tags) => Some(
            names(tags).map_err(|why| status::invalid(format!("option quorate-tags: {why}")))?,
        ),
        None => call.tags.clone(),
    };
    let time = option("quorate-time").cloned().or_else(|| call.time.clone());
    let mode = mode(command.table_definition_options.as_ref())?;
    Ok(TableIngest {
        database: command.catalog.filter(|catalog| !catalog.is_empty()),
        table: command.table,
        mode,
        tags,
        time,
        nulls: Nulls::Absent,
        digest: None,
    })
}

/// What to do about the table. Where the client does not say, the table is made if it is not there: schema on write.
fn mode(options: Option<&arrow_flight::sql::TableDefinitionOptions>) -> Result<IngestMode, Status> {
    let Some(options) = options else { return Ok(IngestMode::CreateAppend) };
    let missing = options.if_not_exist();
    let present = options.if_exists();
    match (missing, present) {
        (
            TableNotExistOption::Create | TableNotExistOption::Unspecified,
            TableExistsOption::Append | TableExistsOption::Unspecified,
        ) => Ok(IngestMode::CreateAppend),
        (
            TableNotExistOption::Create | TableNotExistOption::Unspecified,
            TableExistsOption::Fail,
        ) => Ok(IngestMode::Create),
        (
            TableNotExistOption::Create | TableNotExistOption::Unspecified,
            TableExistsOption::Replace,
        ) => Ok(IngestMode::Replace),
        (TableNotExistOption::Fail, TableExistsOption::Append | TableExistsOption::Unspecified) => {
            Ok(IngestMode::Append)
        }
        (TableNotExistOption::Fail, TableExistsOption::Replace) => {
            Err(status::unsupported("ingest that replaces a table only if it exists"))
        }
        (TableNotExistOption::Fail, TableExistsOption::Fail) => {
            Err(status::invalid("the ingest is to fail whether the table exists or not"))
        }
    }
}

fn rejections(report: &ColumnsReport) -> String {
    use std::fmt::Write as _;
    let mut text =
        format!("partial ingest: {} rows stored, {} rejected", report.rows, report.rejected.len());
    for (row, why) in report.rejected.iter().take(REASONS_MAX) {
        let _ = write!(text, "; row {}: {why}", row + 1);
    }
    if report.rejected.len() > REASONS_MAX {
        text.push_str("; …");
    }
    text
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::TableDefinitionOptions;

    use super::*;

    #[track_caller]
    fn check(missing: TableNotExistOption, present: TableExistsOption, want: Option<IngestMode>) {
        let options =
            TableDefinitionOptions { if_not_exist: missing.into(), if_exists: present.into() };
        assert_eq!(mode(Some(&options)).ok(), want);
    }

    #[test]
    fn the_four_modes_of_drivers_are_known() {
        check(TableNotExistOption::Create, TableExistsOption::Fail, Some(IngestMode::Create));
        check(TableNotExistOption::Fail, TableExistsOption::Append, Some(IngestMode::Append));
        check(TableNotExistOption::Create, TableExistsOption::Replace, Some(IngestMode::Replace));
        check(
            TableNotExistOption::Create,
            TableExistsOption::Append,
            Some(IngestMode::CreateAppend),
        );
        check(TableNotExistOption::Fail, TableExistsOption::Fail, None);
        check(TableNotExistOption::Fail, TableExistsOption::Replace, None);
        assert_eq!(mode(None).unwrap(), IngestMode::CreateAppend);
    }

    #[test]
    fn rejections_are_counted_and_the_first_told() {
        let report = ColumnsReport {
            rows: 5,
            rejected: (0..12).map(|row| (row, "too wide".to_owned())).collect(),
            ..ColumnsReport::default()
        };
        let text = rejections(&report);
        assert!(text.starts_with("partial ingest: 5 rows stored, 12 rejected; row 1: too wide;"));
        assert!(text.contains("row 10") && !text.contains("row 11") && text.ends_with('…'));
    }
}
