//! Runs one of the hot kernels of segments a number of times, for those who count its instructions: `cargo xtask count`.
//!
//! `kernels NAME TIMES` prepares the same rows every time and then does, TIMES times: `write` a segment of 43,200 rows with
//! 10 fields; `scan` all of it; `find` a thousand series in its directory; `narrow` one field of an hour of each series;
//! `cells` the statistics of all cells.

use std::error::Error;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, TimestampNanosecondArray};
use quorate_segment::{
    CellStatistic, ColumnId, ColumnKind, ColumnSpec, Compression, FieldType, RowSchema, ScanReads,
    SegmentCaches, SegmentMeta, SegmentReader, SegmentWriter, SeriesKey, SeriesRows, TableId,
    WriterSpec,
};
use quorate_wal::RealDisk;

const HOSTS: u64 = 20;
const ROWS: i64 = 2_160;
const FIELDS: u32 = 10;
const SECOND: i64 = 1_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = arguments.as_slice() else {
        return Err("usage: kernels NAME TIMES".into());
    };
    let times: u32 = times.parse()?;
    let dir = tempfile::tempdir()?;
    let rows = rows();
    let meta = write(dir.path(), &rows)?;
    let path = dir.path().join(meta.file_name());
    let caches = SegmentCaches::new(64 << 20);
    let reader = SegmentReader::open(RealDisk::shared(), &path, Arc::new(meta), caches)?;
    for _ in 0..times {
        match name.as_str() {
            "write" => drop(write(dir.path(), &rows)?),
            "scan" => scan(&reader, i64::MAX, FIELDS)?,
            "find" => find(&reader)?,
            "narrow" => scan(&reader, 3_600 * SECOND, 1)?,
            "cells" => cells(&reader)?,
            other => return Err(format!("unknown kernel {other:?}").into()),
        }
    }
    Ok(())
}

fn key(host: u64) -> SeriesKey {
    let tags = [format!("host_{host:04}"), format!("eu-west-{}", host % 3), "x64".to_owned()];
    SeriesKey::encode(tags.iter().map(|tag| Some(tag.as_str())))
}

fn fields() -> Vec<(ColumnId, FieldType)> {
    (0..FIELDS).map(|field| (ColumnId(20 + field), FieldType::Float64)).collect()
}

/// Random walks of whole numbers, every 10 s.
fn rows() -> Vec<SeriesRows> {
    let mut state = 1u64;
    let mut step = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from((state >> 33) % 5).unwrap_or(0)) - 2.0
    };
    let series = (0..HOSTS).map(|host| {
        let fields = (0..FIELDS).map(|_| {
            let mut value = 50.0_f64;
            let walk = (0..ROWS).map(|_| {
                value = (value + step()).clamp(0.0, 100.0);
                value
            });
            Arc::new(Float64Array::from_iter_values(walk)) as ArrayRef
        });
        let times = TimestampNanosecondArray::from_iter_values((0..ROWS).map(|r| r * 10 * SECOND));
        SeriesRows {
            key: key(host),
            fields: fields.collect(),
            time: Arc::new(times.with_timezone("UTC")),
            cleared: None,
        }
    });
    series.collect()
}

fn write(dir: &std::path::Path, rows: &[SeriesRows]) -> Result<SegmentMeta, Box<dyn Error>> {
    let column =
        |id, name: &str, kind| ColumnSpec { id: ColumnId(id), name: name.to_owned(), kind };
    let field = |(id, kind): (ColumnId, FieldType)| {
        column(id.0, &format!("field_{}", id.0), ColumnKind::Field(kind))
    };
    let schema = RowSchema {
        table: TableId(1),
        time: column(1, "time", ColumnKind::Time),
        tags: (2..5).map(|id| column(id, &format!("tag_{id}"), ColumnKind::Tag)).collect(),
        fields: fields().into_iter().map(field).collect(),
    };
    let spec = WriterSpec {
        writer: SegmentWriter::WRITER_ID,
        compression: Compression::Zstd,
        log_index_min: 1,
        log_index_max: 1,
    };
    let mut writer = SegmentWriter::begin(RealDisk::shared(), dir, schema, spec)?;
    for piece in rows {
        writer.push(piece.clone())?;
    }
    Ok(writer.finish()?.ok_or("rows were pushed")?)
}

fn find(reader: &SegmentReader) -> Result<(), Box<dyn Error>> {
    for at in 0..1_000 {
        reader.find(&key(at * 7 % HOSTS))?.ok_or("a host is missing")?;
    }
    Ok(())
}

fn scan(reader: &Arc<SegmentReader>, time_max: i64, fields_max: u32) -> Result<(), Box<dyn Error>> {
    let mut entries = reader.directory(None)?.collect::<Result<Vec<_>, _>>()?;
    for entry in &mut entries {
        entry.rows = reader.narrow(entry, 0, time_max)?;
    }
    let fields = fields();
    let mut rows = 0;
    for piece in reader.scan(entries, &fields[..fields_max as usize], false)? {
        rows += piece?.time.len();
    }
    if rows == 0 { Err("no rows".into()) } else { Ok(()) }
}

fn cells(reader: &SegmentReader) -> Result<(), Box<dyn Error>> {
    let all = [CellStatistic::Count, CellStatistic::Max, CellStatistic::Sum];
    let statistics: Vec<_> =
        fields().into_iter().flat_map(|(id, kind)| all.map(|of| (id, kind, of))).collect();
    let rows = 0..reader.meta().rows;
    let cells = reader.cells(std::slice::from_ref(&rows), &statistics, &ScanReads::default())?;
    if cells.rows.is_empty() { Err("no cells".into()) } else { Ok(()) }
}
