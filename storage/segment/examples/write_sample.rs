//! Writes one segment of sample rows, for readers of other make, and prints its path.
//!
//! `write_sample DIR sample-lz4` and `sample-zstd` have every type, nulls, odd values, cleared marks and every encoding: the
//! fixtures of a format version are made with them.
//! `cpu-lz4` and `cpu-zstd` have rows like those of the TSBS workload (10 tags, 10 whole-number floats in random walk); they
//! say how many bytes a row takes and what writing and reading cost.

#![expect(
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers of samples are small"
)]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, StringViewArray,
    TimestampNanosecondArray, UInt64Array, new_null_array,
};
use arrow::datatypes::{DataType, TimeUnit};
use quorate_segment::{
    ColumnId, ColumnKind, ColumnSpec, Compression, FieldType, RowSchema, SegmentCaches,
    SegmentReader, SegmentWriter, SeriesKey, SeriesRows, TableId, WriterSpec,
};
use quorate_wal::{Clock, RealDisk, SystemClock};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, what] = arguments.as_slice() else {
        return Err("usage: write_sample DIR (sample|cpu)-(lz4|zstd)".into());
    };
    let dir = Path::new(dir);
    match what.as_str() {
        "sample-lz4" => write_sample(dir, Compression::Lz4)?,
        "sample-zstd" => write_sample(dir, Compression::Zstd)?,
        "cpu-lz4" => measure(dir, Compression::Lz4)?,
        "cpu-zstd" => measure(dir, Compression::Zstd)?,
        other => return Err(format!("unknown sample {other:?}").into()),
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the caller reads it")]
fn say(line: &str) {
    println!("{line}");
}

fn column(id: u32, name: &str, kind: ColumnKind) -> ColumnSpec {
    ColumnSpec { id: ColumnId(id), name: name.to_owned(), kind }
}

fn spec(compression: Compression) -> WriterSpec {
    let writer = SegmentWriter::WRITER_ID;
    WriterSpec { writer, compression, log_index_min: 1, log_index_max: 9 }
}

fn times(times: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
}

fn write_sample(dir: &Path, compression: Compression) -> Result<(), Box<dyn Error>> {
    let field = |id, name, kind| column(id, name, ColumnKind::Field(kind));
    let schema = RowSchema {
        table: TableId(7),
        time: column(1, "time", ColumnKind::Time),
        tags: vec![column(2, "host", ColumnKind::Tag), column(3, "region", ColumnKind::Tag)],
        fields: vec![
            field(4, "float", FieldType::Float64),
            field(5, "int", FieldType::Int64),
            field(6, "uint", FieldType::UInt64),
            field(7, "bool", FieldType::Boolean),
            field(8, "text", FieldType::Utf8),
            field(9, "seen", FieldType::Timestamp),
            field(10, "noise", FieldType::Float64),
            field(11, "note", FieldType::Utf8),
            field(12, "level", FieldType::Float64),
            field(13, "status", FieldType::Float64),
        ],
    };
    let mut writer = SegmentWriter::begin(RealDisk::shared(), dir, schema, spec(compression))?;
    for (host, region) in [(None, None), (Some("a"), Some("eu")), (Some("b"), None)] {
        let cleared: Vec<u8> = [4u32, 8].iter().flat_map(|id| id.to_be_bytes()).collect();
        writer.push(SeriesRows {
            key: SeriesKey::encode([host, region]),
            time: times([-1_000_000, 0, 1_700_000_000_123_000_000]),
            fields: vec![
                Arc::new(Float64Array::from(vec![Some(-0.0), None, Some(f64::NAN)])),
                Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None])),
                Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])),
                Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
                Arc::new(StringViewArray::from(vec![Some("naïve 🎈"), Some(""), None])),
                times([i64::MIN, 0, i64::MAX]),
                new_null_array(&DataType::Float64, 3),
                new_null_array(&DataType::Utf8View, 3),
                Arc::new(Float64Array::from(vec![Some(-21.75), None, Some(0.0)])),
                new_null_array(&DataType::Float64, 3),
            ],
            cleared: Some(Arc::new(BinaryArray::from_opt_vec(vec![None, Some(&cleared), None]))),
        })?;
    }
    writer.push(long_series(700))?;
    let meta = writer.finish()?.ok_or("rows were pushed")?;
    say(&dir.join(meta.file_name()).display().to_string());
    Ok(())
}

/// A series with values that repeat and values that do not.
fn long_series(rows: i64) -> SeriesRows {
    let noise = |row: i64| (row as f64).sin();
    SeriesRows {
        key: SeriesKey::encode([Some("c"), Some("us")]),
        time: times((0..rows).map(|row| row * 1_000_000_000)),
        fields: vec![
            new_null_array(&DataType::Float64, rows as usize),
            Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row * row))),
            Arc::new(UInt64Array::from_iter_values((0..rows).map(|row| row as u64 / 10))),
            Arc::new((0..rows).map(|row| Some(row % 3 == 0)).collect::<BooleanArray>()),
            Arc::new(
                (0..rows)
                    .map(|row| Some(["ok", "failed"][row as usize / 500]))
                    .collect::<StringViewArray>(),
            ),
            new_null_array(
                &DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
                rows as usize,
            ),
            Arc::new(Float64Array::from_iter_values((0..rows).map(noise))),
            Arc::new((0..rows).map(|row| Some(format!("note {row}"))).collect::<StringViewArray>()),
            Arc::new(Float64Array::from_iter_values((0..rows).map(|row| row as f64 / 100.0))),
            Arc::new(Float64Array::from_iter_values(
                (0..rows).map(|row| [200.0, 404.0, 503.0][(row * row % 11 % 3) as usize]),
            )),
        ],
        cleared: None,
    }
}

/// Names of the workload's tags and fields.
const TAGS: [&str; 10] = [
    "hostname",
    "region",
    "datacenter",
    "rack",
    "os",
    "arch",
    "team",
    "service",
    "service_version",
    "service_environment",
];
const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];
const HOSTS: u64 = 500;
const ROWS: usize = 2_160;

fn measure(dir: &Path, compression: Compression) -> Result<(), Box<dyn Error>> {
    let ids = |first: u32| (first..).map(ColumnId);
    let specs = |first: u32, names: &[&str], kind: ColumnKind| -> Vec<ColumnSpec> {
        ids(first).zip(names).map(|(id, name)| column(id.0, name, kind)).collect()
    };
    let schema = RowSchema {
        table: TableId(7),
        time: column(1, "time", ColumnKind::Time),
        tags: specs(2, &TAGS, ColumnKind::Tag),
        fields: specs(20, &FIELDS, ColumnKind::Field(FieldType::Float64)),
    };
    let pieces = cpu_rows();
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let mut writer =
        SegmentWriter::begin(RealDisk::shared(), dir, schema.clone(), spec(compression))?;
    for piece in pieces {
        writer.push(piece)?;
    }
    let meta = Arc::new(writer.finish()?.ok_or("rows were pushed")?);
    let written = clock.monotonic();
    let path = dir.join(meta.file_name());
    let caches = SegmentCaches::new(64 << 20);
    let reader = SegmentReader::open(RealDisk::shared(), &path, Arc::clone(&meta), caches)?;
    let opened = clock.monotonic();
    let fields: Vec<_> = schema.fields.iter().map(|f| (f.id, FieldType::Float64)).collect();
    let entries = reader.directory(None)?.collect::<Result<Vec<_>, _>>()?;
    let mut rows = 0;
    for piece in reader.scan(entries, &fields, false)? {
        rows += piece?.time.len();
    }
    let scanned = clock.monotonic();
    let points = 200;
    for i in 0..points {
        let key = key_of((i * 7919) % HOSTS);
        let entry = reader.find(&key)?.ok_or("a host is missing")?;
        for piece in reader.scan(vec![entry], &fields[..1], false)? {
            piece?;
        }
    }
    let found = clock.monotonic();
    let values = (rows * 11) as f64;
    say(&format!("{}", path.display()));
    say(&format!("{:.3} bytes a row, {rows} rows", meta.bytes as f64 / meta.rows as f64));
    let seconds = written.saturating_sub(begun).as_secs_f64();
    say(&format!("write {seconds:.3} s, {:.2} M values/s", values / seconds / 1e6));
    say(&format!("open {:.3} ms", opened.saturating_sub(written).as_secs_f64() * 1e3));
    let seconds = scanned.saturating_sub(opened).as_secs_f64();
    say(&format!("scan {seconds:.3} s, {:.2} M values/s", values / seconds / 1e6));
    let each = found.saturating_sub(scanned).as_secs_f64() * 1e3 / points as f64;
    say(&format!("one series, one field {each:.3} ms"));
    Ok(())
}

fn key_of(host: u64) -> SeriesKey {
    let tags = [
        format!("host_{host}"),
        format!("eu-west-{}", host % 9),
        format!("eu-west-{}{}", host % 9, ["a", "b"][host as usize % 2]),
        format!("{}", host % 100),
        ["Ubuntu16.10", "Ubuntu15.10"][host as usize % 2].to_owned(),
        "x64".to_owned(),
        ["SF", "NYC", "LON"][host as usize % 3].to_owned(),
        format!("{}", host % 20),
        format!("{}", host % 2),
        ["production", "staging", "test"][host as usize % 3].to_owned(),
    ];
    SeriesKey::encode(tags.iter().map(|tag| Some(tag.as_str())))
}

/// Random walks between 0 and 100 in steps of one standard deviation, every 10 s; values are rounded as TSBS rounds them.
fn cpu_rows() -> Vec<SeriesRows> {
    let mut seed = 1u64;
    let mut uniform = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut pieces: Vec<SeriesRows> = (0..HOSTS)
        .map(|host| {
            let fields = FIELDS.iter().map(|_| {
                let mut value = uniform() * 100.0;
                let walk = (0..ROWS).map(|_| {
                    // Twelve uniform numbers make a normal one, nearly.
                    let step: f64 = (0..12).map(|_| uniform()).sum::<f64>() - 6.0;
                    value = (value + step).clamp(0.0, 100.0);
                    value.floor()
                });
                Arc::new(Float64Array::from_iter_values(walk)) as ArrayRef
            });
            let fields = fields.collect();
            let start = 1_451_606_400_000_000_000;
            let time = times((0..ROWS as i64).map(|row| start + row * 10_000_000_000));
            SeriesRows { key: key_of(host), time, fields, cleared: None }
        })
        .collect();
    pieces.sort_by(|a, b| a.key.cmp(&b.key));
    pieces
}
