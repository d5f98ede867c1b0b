//! CSV files, looked at and read.

use std::fmt::Write as _;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};

use super::super::plan::Wishes;
use super::super::source::sources;
use super::*;

/// A file, its columns and its chunks.
fn read(name: &str, text: &str, dialect: &Dialect, rows_max: usize) -> (Plan, Vec<RowChunk>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    let source = &sources(&[path.display().to_string()], None).unwrap()[0];
    let (columns, _) = look(source, dialect, rows_max).unwrap();
    let wishes = Wishes { table: "t".to_owned(), ..Wishes::default() };
    let plan = Plan::new(&[columns], None, &wishes).unwrap();
    let rows = CsvRows::open(source, dialect, &plan, None, &Arc::default()).unwrap();
    (plan, rows.collect::<Result<_, _>>().unwrap())
}

fn rejected(chunks: &[RowChunk]) -> Vec<(u64, &str, &str)> {
    let rejected = chunks.iter().flat_map(|chunk| &chunk.rejected);
    rejected.map(|r| (r.line, r.reason.as_str(), r.text.as_str())).collect()
}

#[test]
fn rows_that_do_not_fit_are_rejected_by_line() {
    let text = "time,host,n\n2024-01-01T00:00:00Z,a,1\n2024-01-01T00:00:01Z,\"b\nb\",x\n\
                ,c,3\n2024-01-01T00:00:02Z,d\n2024-01-01T00:00:03Z,e,5\n";
    let dialect = Dialect::default();
    let (plan, chunks) = read("a.csv", text, &dialect, 1);
    assert_eq!(plan.columns[2].data_type, Type::Integer);
    assert_eq!(chunks.len(), 1);
    let n = chunks[0].batch.column_by_name("n").unwrap().as_primitive::<Int64Type>();
    assert_eq!(n.values(), &[1, 5]);
    let want = [
        (3, "column \"n\": \"x\" is no BIGINT", "2024-01-01T00:00:01Z,\"b\nb\",x"),
        (5, "column \"time\": the time is missing", ",c,3"),
        (6, "2 values, not 3", "2024-01-01T00:00:02Z,d"),
    ];
    assert_eq!(rejected(&chunks), want);
    let late = chunks[0].places.rejection(1, "why".to_owned());
    assert_eq!((late.line, late.text.as_str()), (7, "2024-01-01T00:00:03Z,e,5"));
}

#[test]
fn lines_are_counted_with_carriage_returns_and_empty_lines() {
    let text = "time,n\r\n2024-01-01,1\r\n\r\n\r\n2024-01-02,x\r\n";
    let (_, chunks) = read("a.csv", text, &Dialect::default(), 1);
    assert_eq!(rejected(&chunks).iter().map(|r| r.0).collect::<Vec<_>>(), [5]);
}

#[test]
fn chunks_end_after_so_many_rows_whether_they_fit_or_not() {
    let mut text = "time,n\n".to_owned();
    for n in 0..CHUNK_ROWS + 3 {
        let value = if n % 2 == 0 { "1" } else { "x" };
        writeln!(text, "2024-01-01 00:00:00.{n:06},{value}").unwrap();
    }
    let (_, chunks) = read("a.csv", &text, &Dialect::default(), 1);
    let sizes: Vec<_> = chunks.iter().map(|c| (c.batch.num_rows(), c.rejected.len())).collect();
    assert_eq!(sizes, [(CHUNK_ROWS / 2, CHUNK_ROWS / 2), (2, 1)]);
    assert_eq!(chunks[1].rejected[0].line, CHUNK_ROWS as u64 + 3);
}

#[test]
fn chunks_end_after_so_many_bytes() {
    let wide = "x".repeat(CHUNK_BYTES / 2);
    let text = format!("time,s\n2024-01-01,{wide}\n2024-01-02,{wide}\n2024-01-03,{wide}\n");
    let (_, chunks) = read("a.csv", &text, &Dialect::default(), 1);
    assert_eq!(chunks.iter().map(|c| c.batch.num_rows()).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn a_dialect_says_how_values_are_parted_named_and_left_out() {
    let dialect = Dialect {
        delimiter: Some(b';'),
        names: Some(vec!["time".to_owned(), "x".to_owned()]),
        nulls: vec!["NA".to_owned()],
    };
    let (plan, chunks) = read("a.csv", "2024-01-01;NA\n2024-01-02;2.5\n", &dialect, 10);
    assert_eq!(plan.columns[1].data_type, Type::Double);
    let x = chunks[0].batch.column_by_name("x").unwrap().as_primitive::<Float64Type>();
    assert_eq!(x.iter().collect::<Vec<_>>(), [None, Some(2.5)]);
    let (_, chunks) = read("a.tsv", "time\tx\n2024-01-01\t1\n", &Dialect::default(), 10);
    assert_eq!(chunks[0].batch.num_columns(), 2);
}

#[test]
fn a_value_in_a_column_without_a_type_is_not_lost_in_silence() {
    let (plan, chunks) =
        read("a.csv", "time,n,x\n2024-01-01,1,\n2024-01-02,2,7\n", &Dialect::default(), 1);
    assert!(plan.target("x").is_none());
    let rejected = rejected(&chunks);
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].0 == 3 && rejected[0].1.contains("--types"), "{rejected:?}");
}
