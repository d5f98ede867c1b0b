//! Decoded tables as rows by identity, and receipts of several chunks as one.

use quorate_storage::catalog::{Column, DatabaseId, TableOptions};
use quorate_storage::{ColumnId, FieldType, ShardId, TableId};

use super::*;

fn table(columns: &[(&str, ColumnKind)]) -> Table {
    let columns = columns.iter().zip(0..).map(|((name, kind), id)| Column {
        id: ColumnId(id),
        name: (*name).to_owned(),
        kind: *kind,
    });
    Table {
        id: TableId(1),
        database: DatabaseId(1),
        name: "m".to_owned(),
        columns: columns.collect(),
        options: TableOptions::default(),
        column_id_next: 9,
        changed_at: 1,
    }
}

fn decoded(text: &str) -> DecodedTable {
    let rules = Rules {
        catalog: Arc::new(Catalog::default()),
        database: "main".to_owned(),
        precision: Precision::Nanosecond,
        now: 0,
        refused: HashMap::new(),
        chunk_bytes: CHUNK_BYTES,
        valid_utf8: true,
    };
    let mut decoded = decode(text.as_bytes(), Place::START, &rules);
    assert_eq!(decoded.errors, []);
    decoded.tables.remove(0)
}

const INT: ColumnKind = ColumnKind::Field(FieldType::Int64);

#[test]
fn spellings_of_a_series_are_one_series() {
    let time = ("time", ColumnKind::Time);
    let table =
        table(&[time, ("b", ColumnKind::Tag), ("f", INT), ("a", ColumnKind::Tag), ("e", INT)]);
    let rows = decoded("m,a=1,b=2 f=1i 1\nm,b=2,a=1 e=2i 2\nm,a=1 f=3i 3\nm,b=2,a=\\1 f=4i 4");
    let rows = rows.into_rows(&table).unwrap();
    assert_eq!(rows.series_of_row.values(), &[0, 0, 1, 2]);
    let key = |tags: [Option<&str>; 2]| SeriesKey::encode(tags);
    let want = [key([Some("2"), Some("1")]), key([None, Some("1")]), key([Some("2"), Some("\\1")])];
    assert_eq!(rows.series, want);
    let ids: Vec<u32> = rows.fields.iter().map(|(id, _)| id.0).collect();
    assert_eq!(ids, [2, 4]);
}

#[test]
fn a_column_that_changed_meanwhile_is_a_conflict() {
    let table = table(&[("time", ColumnKind::Time), ("f", ColumnKind::Field(FieldType::Float64))]);
    let error = decoded("m f=1i 1").into_rows(&table).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let error = decoded("m,t=1 f=1.0 1").into_rows(&table).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

#[test]
fn receipts_of_chunks_add_up_per_shard() {
    let receipt = |shard, index, accepted, rejected: u64| ShardReceipt {
        shard: ShardId(shard),
        term: 1,
        index,
        accepted,
        rejected,
        reason: (rejected > 0).then(|| "expired".to_owned()),
        duplicate: false,
    };
    let mut report = LinesReport::default();
    for shards in [vec![receipt(2, 5, 10, 0)], vec![receipt(0, 3, 1, 0), receipt(2, 7, 5, 2)]] {
        report.add(WriteReceipt { shards, ..WriteReceipt::default() });
    }
    assert_eq!((report.points, report.rejected_total), (16, 2));
    assert_eq!(report.rejected[0].error_message, "2 points were not stored: expired");
    assert_eq!(report.receipt.shards, [receipt(0, 3, 1, 0), receipt(2, 7, 15, 2)]);
}
