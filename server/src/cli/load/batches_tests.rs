//! Parquet and Arrow files, looked at and read.

use arrow::array::{AsArray, DictionaryArray, Int64Array, StringArray, TimestampSecondArray};
use arrow::datatypes::{Int32Type, TimestampSecondType};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;

use super::super::plan::Wishes;
use super::super::source::sources;
use super::*;

fn batch(rows: usize) -> RecordBatch {
    let at = 0..i64::try_from(rows).unwrap();
    let hosts: DictionaryArray<Int32Type> =
        at.clone().map(|n| if n % 2 == 0 { "a" } else { "b" }).collect();
    let columns: [(&str, ArrayRef); 3] = [
        ("at", Arc::new(Int64Array::from_iter_values(at.clone()))),
        ("host", Arc::new(hosts)),
        ("n", Arc::new(Int64Array::from_iter_values(at))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// The rows of a file, in chunks.
fn read(name: &str, bytes: &[u8]) -> Vec<RowChunk> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let source = &sources(&[path.display().to_string()], None).unwrap()[0];
    let unit = Some(TimeUnit::Second);
    let wishes = Wishes {
        table: "t".to_owned(),
        time: Some("at".to_owned()),
        time_unit: unit,
        ..Wishes::default()
    };
    let plan = Plan::new(&[look(source).unwrap()], None, &wishes).unwrap();
    let rows = FileRows::open(source, &plan, unit, &Arc::default()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn check(chunks: &[RowChunk], rows: usize) {
    let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.batch.num_rows()).collect();
    assert_eq!(sizes, [CHUNK_ROWS, rows - CHUNK_ROWS]);
    let last = &chunks[1].batch;
    assert_eq!(last.schema().field(0).name(), "time");
    let times = last.column(0).as_primitive::<TimestampSecondType>();
    assert_eq!(times.value(0), i64::try_from(CHUNK_ROWS).unwrap());
    assert_eq!(last.column(1).as_string::<i32>().value(0), "a");
    let line = |row| chunks[1].places.rejection(row, String::new()).line;
    assert_eq!((line(2), line(rows)), (CHUNK_ROWS as u64 + 3, 0));
}

#[test]
fn every_form_of_a_file_gives_the_same_chunks() {
    let rows = CHUNK_ROWS + 5;
    let batch = batch(rows);
    let schema = batch.schema();
    let mut file = FileWriter::try_new(Vec::new(), &schema).unwrap();
    file.write(&batch).unwrap();
    check(&read("a.arrow", &file.into_inner().unwrap()), rows);
    let mut stream = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    stream.write(&batch).unwrap();
    check(&read("a.arrows", &stream.into_inner().unwrap()), rows);
    let mut parquet = ArrowWriter::try_new(Vec::new(), schema, None).unwrap();
    parquet.write(&batch).unwrap();
    check(&read("a.parquet", &parquet.into_inner().unwrap()), rows);
}

#[test]
fn wide_rows_make_shorter_chunks() {
    let text = "x".repeat(CHUNK_BYTES / 4);
    let columns: [(&str, ArrayRef); 2] = [
        ("at", Arc::new(TimestampSecondArray::from_iter_values(0..9))),
        ("s", Arc::new(StringArray::from_iter_values((0..9).map(|_| &text)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    let chunks = read("a.arrows", &stream.into_inner().unwrap());
    assert!(chunks.len() > 2, "{}", chunks.len());
    assert_eq!(chunks.iter().map(|chunk| chunk.batch.num_rows()).sum::<usize>(), 9);
}

#[test]
fn a_type_that_no_table_holds_is_named() {
    let columns: [(&str, ArrayRef); 1] =
        [("d", Arc::new(arrow::array::Decimal128Array::from(vec![1])))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut stream = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    stream.write(&batch).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.arrows");
    std::fs::write(&path, stream.into_inner().unwrap()).unwrap();
    let source = &sources(&[path.display().to_string()], None).unwrap()[0];
    let error = look(source).unwrap_err();
    assert!(error.contains("\"d\"") && error.contains("Decimal128"), "{error}");
}
