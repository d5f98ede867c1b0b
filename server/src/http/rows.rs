//! Rows as bytes, batch by batch: JSON, newline-delimited JSON, JSON by columns, CSV, Arrow, Parquet.
//!
//! Values are exact in every form: integers in full, floats in the shortest text that reads back to the same bits. JSON
//! has no NaN and no infinities: they are the texts `"NaN"`, `"Infinity"` and `"-Infinity"`. A name that occurs twice
//! in a result gets a number in JSON and in Parquet (`x`, `x_2`), so that no value hides another.
//!
//! A row group of Parquet goes out when it has grown to [`ROW_GROUP_BYTES_MAX`]; what stays behind of it is its few lines
//! in the footer. The footer is written by [`RowsWriter::finish`] alone, so what was cut off is no Parquet file.

use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, new_empty_array};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, IntervalUnit, Schema, SchemaRef, TimeUnit,
};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::writer::{
    Encoder, EncoderFactory, EncoderOptions, JsonArray, LineDelimited, NullableEncoder,
    Writer as JsonWriter, WriterBuilder, make_encoder,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::columns::ColumnsWriter;
use super::csv::CsvWriter;
use super::times::check_times;

/// How large a row group of Parquet grows in memory before it is sent.
const ROW_GROUP_BYTES_MAX: usize = 16 << 20;

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One list of objects.
    Json,
    /// One object per line.
    Lines,
    /// One object of lists, one for each column.
    Columns,
    /// Comma-separated, with a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Form {
    /// The content type.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Lines => "application/x-ndjson",
            Self::Columns => "application/vnd.quorate.columns+json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }
}

enum Writer {
    Json(JsonWriter<Vec<u8>, JsonArray>),
    Lines(JsonWriter<Vec<u8>, LineDelimited>),
    Columns(ColumnsWriter),
    Csv(CsvWriter),
    Arrow(Box<StreamWriter<Vec<u8>>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

/// Writes the batches of one result.
pub(crate) struct RowsWriter {
    schema: SchemaRef,
    writer: Writer,
}

impl RowsWriter {
    /// A writer for rows of this schema; [`ArrowError::NotYetImplemented`] if the form cannot hold one of its types.
    pub(crate) fn new(form: Form, schema: &Schema) -> Result<Self, ArrowError> {
        let distinct = matches!(form, Form::Json | Form::Lines | Form::Columns | Form::Parquet);
        let mut schema = plain_schema(schema, distinct);
        if form == Form::Parquet {
            schema = parquet_schema(&schema)?;
        }
        if matches!(form, Form::Json | Form::Lines | Form::Columns | Form::Csv) {
            check_json(&schema)?;
        }
        let schema = Arc::new(schema);
        let json = || {
            WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(Floats))
        };
        let writer = match form {
            Form::Json => Writer::Json(json().build(Vec::new())),
            Form::Lines => Writer::Lines(json().build(Vec::new())),
            Form::Columns => Writer::Columns(ColumnsWriter::new(&schema)),
            Form::Csv => Writer::Csv(CsvWriter::new(&schema)),
            Form::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(Vec::new(), &schema)?)),
            Form::Parquet => Writer::Parquet(Box::new(parquet_writer(&schema)?)),
        };
        Ok(Self { schema, writer })
    }

    /// Adds a batch.
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let columns: Result<Vec<ArrayRef>, ArrowError> = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| cast(column, field.data_type()))
            .collect();
        let options =
            arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch =
            RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns?, &options)?;
        match &mut self.writer {
            Writer::Json(writer) => check_times(&batch).and_then(|()| writer.write(&batch)),
            Writer::Lines(writer) => check_times(&batch).and_then(|()| writer.write(&batch)),
            Writer::Columns(writer) => check_times(&batch).and_then(|()| writer.batch(&batch)),
            Writer::Csv(writer) => writer.batch(&batch),
            Writer::Arrow(writer) => writer.write(&batch),
            Writer::Parquet(writer) => {
                writer.write(&batch)?;
                if writer.memory_size() >= ROW_GROUP_BYTES_MAX {
                    writer.flush()?;
                }
                Ok(())
            }
        }
    }

    /// Ends the result.
    pub(crate) fn finish(&mut self) -> Result<(), ArrowError> {
        match &mut self.writer {
            Writer::Json(writer) => {
                writer.finish()?;
                writer.get_mut().push(b'\n');
                Ok(())
            }
            Writer::Lines(writer) => writer.finish(),
            Writer::Columns(writer) => {
                writer.finish();
                Ok(())
            }
            Writer::Csv(_) => Ok(()),
            Writer::Arrow(writer) => writer.finish(),
            Writer::Parquet(writer) => writer.finish().map(drop).map_err(ArrowError::from),
        }
    }

    /// The bytes written since the last call.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        match &mut self.writer {
            Writer::Json(writer) => std::mem::take(writer.get_mut()),
            Writer::Lines(writer) => std::mem::take(writer.get_mut()),
            Writer::Columns(writer) => writer.take(),
            Writer::Csv(writer) => writer.take(),
            Writer::Arrow(writer) => std::mem::take(writer.get_mut()),
            Writer::Parquet(writer) => std::mem::take(writer.inner_mut()),
        }
    }
}

/// The schema with types that every reader knows, all nullable; with distinct names, if wanted.
fn plain_schema(schema: &Schema, distinct: bool) -> Schema {
    let mut taken: HashSet<String> = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut n = 2;
        while distinct && !taken.insert(name.clone()) {
            name = format!("{}_{n}", field.name());
            n += 1;
        }
        Field::new(name, plain_type(field.data_type()), true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain_type(values),
        DataType::RunEndEncoded(_, values) => plain_type(values.data_type()),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Float16 => DataType::Float32,
        DataType::List(item) => DataType::List(plain_item(item)),
        DataType::LargeList(item) => DataType::LargeList(plain_item(item)),
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(plain_item(item), *n),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_item).collect()),
        other => other.clone(),
    }
}

fn plain_item(item: &FieldRef) -> FieldRef {
    Arc::new(Field::new(item.name(), plain_type(item.data_type()), true))
}

/// Refuses types that JSON has no form for, such as maps whose keys are no texts. In CSV, nested values are JSON.
fn check_json(schema: &Schema) -> Result<(), ArrowError> {
    let options = EncoderOptions::default();
    for field in schema.fields().iter().filter(|field| field.data_type().is_nested()) {
        let none = new_empty_array(field.data_type());
        if make_encoder(field, &none, &options).is_err() {
            return Err(lacking(field.name(), field.data_type(), "JSON"));
        }
    }
    Ok(())
}

fn lacking(column: &str, data_type: &DataType, form: &str) -> ArrowError {
    ArrowError::NotYetImplemented(format!(
        "column {column:?} has the type {data_type}, which {form} has no form for: cast it, or ask for another form"
    ))
}

/// The types as Parquet has them: it counts no seconds, and has no months, days and nanoseconds in one value.
fn parquet_schema(schema: &Schema) -> Result<Schema, ArrowError> {
    let fields: Result<Vec<Field>, ArrowError> = schema
        .fields()
        .iter()
        .map(|field| {
            let data_type = parquet_type(field.data_type())
                .map_err(|found| lacking(field.name(), &found, "Parquet"))?;
            Ok(Field::new(field.name(), data_type, true))
        })
        .collect();
    Ok(Schema::new(fields?))
}

/// The type in Parquet, or the part of it that Parquet cannot hold.
fn parquet_type(data_type: &DataType) -> Result<DataType, DataType> {
    let item = |item: &FieldRef| -> Result<FieldRef, DataType> {
        let data_type = parquet_type(item.data_type())?;
        Ok(Arc::new(item.as_ref().clone().with_data_type(data_type)))
    };
    Ok(match data_type {
        DataType::Timestamp(TimeUnit::Second, zone) => {
            DataType::Timestamp(TimeUnit::Millisecond, zone.clone())
        }
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::List(of) => DataType::List(item(of)?),
        DataType::LargeList(of) => DataType::LargeList(item(of)?),
        DataType::FixedSizeList(of, n) => DataType::FixedSizeList(item(of)?, *n),
        DataType::Struct(fields) if !fields.is_empty() => {
            DataType::Struct(fields.iter().map(item).collect::<Result<_, _>>()?)
        }
        DataType::Interval(IntervalUnit::MonthDayNano)
        | DataType::Struct(_)
        | DataType::Union(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => return Err(data_type.clone()),
        other => other.clone(),
    })
}

fn parquet_writer(schema: &SchemaRef) -> Result<ArrowWriter<Vec<u8>>, ArrowError> {
    // Without what is known of each page: it would be kept in memory until the end.
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .build();
    Ok(ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties))?)
}

/// Writes floats as JSON, those that JSON has no number for as texts.
#[derive(Debug)]
pub(super) struct Floats;

impl EncoderFactory for Floats {
    fn make_default_encoder<'a>(
        &self,
        _field: &'a FieldRef,
        array: &'a dyn Array,
        _options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float64 => Box::new(Finite(array.as_primitive::<Float64Type>().values())),
            DataType::Float32 => Box::new(Finite(array.as_primitive::<Float32Type>().values())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

/// Writes the shortest text that reads back to the same bits.
struct Finite<'a, T>(&'a [T]);

impl<T: Copy + std::fmt::Debug + Into<f64>> Encoder for Finite<'_, T> {
    fn encode(&mut self, row: usize, out: &mut Vec<u8>) {
        let value = self.0[row];
        let wide: f64 = value.into();
        if wide.is_finite() {
            // A vector takes every byte.
            let _ = write!(out, "{value:?}");
        } else if wide.is_nan() {
            out.extend_from_slice(b"\"NaN\"");
        } else if wide > 0.0 {
            out.extend_from_slice(b"\"Infinity\"");
        } else {
            out.extend_from_slice(b"\"-Infinity\"");
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        DictionaryArray, Float64Array, Int64Array, ListArray, StringArray, StringViewArray,
        TimestampNanosecondArray,
    };
    use arrow::datatypes::{Fields, Int32Type};
    use bytes::Bytes;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    fn batch() -> RecordBatch {
        let time = TimestampNanosecondArray::from(vec![1_700_000_000_123_456_789, -1]);
        let tags: DictionaryArray<Int32Type> = vec![Some("a,\"b"), None].into_iter().collect();
        RecordBatch::try_from_iter_with_nullable([
            ("time", Arc::new(time.with_timezone("UTC")) as ArrayRef, false),
            ("host", Arc::new(tags) as ArrayRef, true),
            ("f", Arc::new(Float64Array::from(vec![-0.0, f64::NAN])) as ArrayRef, true),
            ("i", Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX])) as ArrayRef, true),
            ("s", Arc::new(StringViewArray::from(vec!["é\n", ""])) as ArrayRef, true),
        ])
        .unwrap()
    }

    fn text(form: Form, batches: &[RecordBatch]) -> String {
        let mut writer = RowsWriter::new(form, &batches[0].schema()).unwrap();
        let mut out = Vec::new();
        for batch in batches {
            writer.batch(batch).unwrap();
            out.extend(writer.take());
        }
        writer.finish().unwrap();
        out.extend(writer.take());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_keeps_every_value() {
        let first = r#"{"time":"2023-11-14T22:13:20.123456789Z","host":"a,\"b","f":-0.0,"i":-9223372036854775808,"s":"é\n"}"#;
        let second = r#"{"time":"1969-12-31T23:59:59.999999999Z","host":null,"f":"NaN","i":9223372036854775807,"s":""}"#;
        let lines = text(Form::Lines, &[batch()]);
        assert_eq!(lines, format!("{first}\n{second}\n"));
        let list = text(Form::Json, &[batch(), batch()]);
        assert_eq!(list, format!("[{first},{second},{first},{second}]\n"));
        assert_eq!(text(Form::Json, &[batch().slice(0, 0)]), "[]\n");
    }

    #[test]
    fn columns_hold_what_rows_hold() {
        let columns = text(Form::Columns, &[batch().slice(0, 1), batch().slice(1, 1)]);
        let columns: serde_json::Value = serde_json::from_str(&columns).unwrap();
        let rows: serde_json::Value = serde_json::from_str(&text(Form::Json, &[batch()])).unwrap();
        for (n, row) in rows.as_array().unwrap().iter().enumerate() {
            for (name, value) in row.as_object().unwrap() {
                assert_eq!(columns[name][n], *value, "{name}");
            }
        }
        let none = text(Form::Columns, &[batch().slice(0, 0)]);
        assert_eq!(none, "{\"time\":[],\"host\":[],\"f\":[],\"i\":[],\"s\":[]}\n");
    }

    #[test]
    fn columns_that_take_too_much_are_refused() {
        let wide: ArrayRef = Arc::new(StringArray::from(vec!["x".repeat(1 << 20)]));
        let batch = RecordBatch::try_from_iter([("s", wide)]).unwrap();
        let mut writer = RowsWriter::new(Form::Columns, &batch.schema()).unwrap();
        let refused = (0..17).find_map(|_| writer.batch(&batch).err());
        let Some(ArrowError::NotYetImplemented(message)) = refused else { panic!("{refused:?}") };
        assert!(message.contains("LIMIT"), "{message}");
    }

    #[test]
    fn csv_has_a_header_also_without_rows() {
        assert_eq!(text(Form::Csv, &[batch().slice(0, 0)]), "time,host,f,i,s\n");
        let csv = text(Form::Csv, &[batch().slice(0, 1), batch().slice(1, 1)]);
        assert_eq!(csv.matches("time,host").count(), 1);
        assert!(csv.contains("\"a,\"\"b\",-0.0,-9223372036854775808"), "{csv}");
    }

    #[test]
    fn csv_tells_the_empty_text_from_null_and_has_lists_as_json() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(""), None, Some("a\r")]));
        let lists = vec![Some(vec![Some(1.5), None]), None, Some(vec![Some(f64::NAN)])];
        let lists = ListArray::from_iter_primitive::<Float64Type, _, _>(lists);
        let floats = Float64Array::from(vec![f64::INFINITY, f64::NEG_INFINITY, f64::NAN]);
        let columns = [
            ("a b", texts, true),
            ("l,", Arc::new(lists) as ArrayRef, true),
            ("", Arc::new(floats) as ArrayRef, true),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        let want = "a b,\"l,\",\"\"\n\"\",\"[1.5,null]\",Infinity\n,,-Infinity\n\"a\r\",\"[\"\"NaN\"\"]\",NaN\n";
        assert_eq!(text(Form::Csv, &[batch]), want);
    }

    #[test]
    fn names_that_repeat_get_numbers_in_json() {
        let one: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let fields: Vec<Field> =
            ["x", "x_2", "x"].iter().map(|n| Field::new(*n, DataType::Int64, true)).collect();
        let batch = RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            vec![Arc::clone(&one), Arc::clone(&one), one],
        )
        .unwrap();
        assert_eq!(text(Form::Json, &[batch]), "[{\"x\":1,\"x_2\":1,\"x_3\":1}]\n");
    }

    #[test]
    fn arrow_streams_are_read_back() {
        let mut writer = RowsWriter::new(Form::Arrow, &batch().schema()).unwrap();
        writer.batch(&batch()).unwrap();
        writer.finish().unwrap();
        let bytes = writer.take();
        let read = arrow::ipc::reader::StreamReader::try_new(bytes.as_slice(), None).unwrap();
        let read: Vec<RecordBatch> = read.map(Result::unwrap).collect();
        assert_eq!(read[0].num_rows(), 2);
        assert_eq!(read[0].column(1).data_type(), &DataType::Utf8);
    }

    fn read_parquet(bytes: Vec<u8>) -> Vec<RecordBatch> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
        reader.with_batch_size(1 << 20).build().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn parquet_is_read_back() {
        let mut writer = RowsWriter::new(Form::Parquet, &batch().schema()).unwrap();
        writer.batch(&batch()).unwrap();
        writer.finish().unwrap();
        let read = read_parquet(writer.take());
        assert_eq!(read[0].num_rows(), 2);
        assert_eq!(read[0].column(0).data_type(), batch().column(0).data_type());
        assert_eq!(read[0].column(3).as_ref(), batch().column(3).as_ref());
        let mut empty = RowsWriter::new(Form::Parquet, &batch().schema()).unwrap();
        empty.finish().unwrap();
        assert!(read_parquet(empty.take()).is_empty());
    }

    #[test]
    fn row_groups_of_parquet_go_out_before_the_end() {
        let rows = 1 << 16;
        // Bytes that neither a dictionary nor compression makes small.
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            state.cast_signed()
        };
        let columns: Vec<(String, ArrayRef)> = (0..8)
            .map(|i| {
                let values = Int64Array::from_iter_values((0..rows).map(|_| next()));
                (format!("c{i}"), Arc::new(values) as ArrayRef)
            })
            .collect();
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer = RowsWriter::new(Form::Parquet, &batch.schema()).unwrap();
        let (mut file, mut sent_before_end) = (Vec::new(), 0);
        for _ in 0..16 {
            writer.batch(&batch).unwrap();
            let bytes = writer.take();
            sent_before_end += bytes.len();
            file.extend(bytes);
            let Writer::Parquet(inner) = &writer.writer else { panic!("another form") };
            assert!(inner.memory_size() < ROW_GROUP_BYTES_MAX);
        }
        assert!(sent_before_end > 2 * ROW_GROUP_BYTES_MAX, "{sent_before_end}");
        // What was sent so far is no file that a reader takes for whole.
        let cut = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file.clone()));
        assert!(cut.is_err());
        writer.finish().unwrap();
        file.extend(writer.take());
        let count: usize = read_parquet(file).iter().map(RecordBatch::num_rows).sum();
        assert_eq!(count, 16 * rows);
    }

    #[test]
    fn types_that_parquet_lacks_are_named() {
        let of = |data_type| Schema::new(vec![Field::new("i", data_type, true)]);
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        let nested = DataType::List(Arc::new(Field::new_list_field(interval.clone(), true)));
        for refused in [interval, nested, DataType::Struct(Fields::empty())] {
            match RowsWriter::new(Form::Parquet, &of(refused.clone())) {
                Err(ArrowError::NotYetImplemented(message)) => {
                    assert!(message.contains("column \"i\""), "{message}");
                }
                Err(other) => panic!("{refused}: {other}"),
                Ok(_) => panic!("{refused} was taken"),
            }
        }
        let seconds = of(DataType::Timestamp(TimeUnit::Second, None));
        let seconds = RowsWriter::new(Form::Parquet, &seconds).unwrap();
        let millis = DataType::Timestamp(TimeUnit::Millisecond, None);
        assert_eq!(seconds.schema.field(0).data_type(), &millis);
    }
}
