//! Tests of the writer: determinism, content hash, durability.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers of tests are small"
)]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, Float64Array, TimestampNanosecondArray, make_array};
use arrow::buffer::NullBuffer;
use parquet::basic::{Compression as Codec, Encoding, Type};
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use quorate_wal::Disk;

use crate::columns::{Shape, Unit};
use crate::encoder::{Encoder, REWRITES_MAX};
use crate::test_support::{
    ALL_TYPES, MemDisk, Model, Random, Row, open, path_of, piece, random_model, scan_all, schema,
    spec, write_model,
};
use crate::{
    ColumnId, Compression, Error, ErrorKind, FieldType, SegmentMeta, SegmentWriter, SeriesKey,
    SeriesRows,
};

fn key(text: &str) -> SeriesKey {
    SeriesKey::encode([Some(text)])
}

fn float(value: f64) -> Vec<u8> {
    value.to_bits().to_le_bytes().to_vec()
}

/// Series of many rows with one float each.
fn plain_model(series: usize, rows: usize, time: impl Fn(usize, usize) -> i64) -> Model {
    (0..series)
        .map(|s| {
            let row = |r| Row {
                time: time(s, r),
                values: vec![Some(float(((r * 7 + s) % 101) as f64))],
                cleared: Vec::new(),
            };
            (key(&format!("host_{s:05}")), (0..rows).map(row).collect())
        })
        .collect()
}

fn write(model: &Model, types: &[FieldType], cut: usize) -> (Arc<MemDisk>, SegmentMeta) {
    let disk = MemDisk::new();
    let meta = write_model(&disk, &schema(1, types), model, Compression::Lz4, || cut);
    (disk, meta.unwrap().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 3 / 16))]

    #[test]
    fn rows_come_back_as_they_were_written(seed in any::<u64>(), series in 1u64..20, rows in 1u64..400) {
        let mut random = Random(seed);
        let types: Vec<FieldType> =
            (0..random.below(7)).map(|_| ALL_TYPES[random.below(6) as usize]).collect();
        let schema = schema(random.below(4) as u32, &types);
        let model = random_model(&mut random, &schema, series, rows);
        let disk = MemDisk::new();
        let compression = [Compression::Lz4, Compression::Zstd][random.below(2) as usize];
        let meta = write_model(&disk, &schema, &model, compression, || random.below(50) as usize);
        let meta = meta.unwrap().unwrap();
        let reader = open(&disk, &meta, 1 << 20).unwrap();
        prop_assert_eq!(scan_all(&reader).unwrap(), model.clone());
        reader.verify().unwrap();
        let recovered = crate::SegmentReader::recover_meta(disk, &path_of(&meta)).unwrap();
        prop_assert_eq!(&recovered, &meta);
        let rows = model.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>();
        prop_assert_eq!((meta.rows, meta.series), (rows, model.len() as u64));
    }
}

#[test]
fn pieces_do_not_show_in_the_bytes() {
    let mut random = Random(7);
    let schema = schema(3, &ALL_TYPES);
    let mut model = random_model(&mut random, &schema, 40, 3_000);
    // One series longer than a row group may be, then short ones.
    let long = random_model(&mut random, &crate::test_support::schema(0, &ALL_TYPES), 1, 2);
    let rows = (0..300_000i64).map(|i| Row { time: i * 1_000, ..long[0].1[0].clone() });
    model.insert(0, (SeriesKey::encode([None]), rows.collect()));
    model.dedup_by(|a, b| a.0 == b.0);
    let mut hashes = Vec::new();
    for cut in [1_000_000, 8_192, 1_777, 0] {
        let disk = MemDisk::new();
        let cut = || if cut == 0 { 1 + random.below(20_000) as usize } else { cut };
        let meta = write_model(&disk, &schema, &model, Compression::Lz4, cut).unwrap().unwrap();
        hashes.push((meta.file_hash, meta.content_hash));
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn null_buffers_without_nulls_do_not_show_in_the_bytes() {
    let schema = schema(1, &[FieldType::Float64, FieldType::Utf8]);
    let model: Model = plain_model(3, 5_000, |_, r| r as i64)
        .into_iter()
        .map(|(key, mut rows)| {
            for row in &mut rows {
                row.values.push(Some(b"text".to_vec()));
            }
            (key, rows)
        })
        .collect();
    let hashes = [false, true].map(|idle_nulls| {
        let disk = MemDisk::new() as Arc<dyn Disk>;
        let dir = Path::new("/s");
        let mut writer =
            SegmentWriter::begin(disk, dir, schema.clone(), spec(Compression::Lz4)).unwrap();
        for (key, rows) in &model {
            let mut rows = piece(&schema, key, rows);
            if idle_nulls {
                for field in &mut rows.fields {
                    let nulls = Some(NullBuffer::new_valid(field.len()));
                    let data = field.to_data().into_builder().nulls(nulls).build().unwrap();
                    *field = make_array(data);
                }
            }
            writer.push(rows).unwrap();
        }
        let meta = writer.finish().unwrap().unwrap();
        (meta.file_hash, meta.content_hash)
    });
    assert_eq!(hashes[0], hashes[1]);
}

#[test]
fn content_hash_depends_on_rows_alone() {
    let mut random = Random(11);
    let schema = schema(2, &ALL_TYPES);
    let model = random_model(&mut random, &schema, 10, 300);
    let hash = |model: &Model, schema: &crate::RowSchema, compression| {
        let disk = MemDisk::new();
        let meta = write_model(&disk, schema, model, compression, || 100).unwrap().unwrap();
        meta.content_hash
    };
    let want = hash(&model, &schema, Compression::Lz4);
    assert_eq!(hash(&model, &schema, Compression::Zstd), want, "compression");
    // A field that no row has.
    let mut wider = schema.clone();
    wider.fields.push(crate::ColumnSpec {
        id: ColumnId(500),
        name: "later".to_owned(),
        kind: crate::ColumnKind::Field(FieldType::Int64),
    });
    let mut same = model.clone();
    same.iter_mut().flat_map(|(_, rows)| rows).for_each(|row| row.values.push(None));
    assert_eq!(hash(&same, &wider, Compression::Lz4), want, "an empty field");
    // Anything else shows.
    let times = [0, 1].map(|first| {
        let model = plain_model(1, 3, |_, r| r as i64 + first);
        hash(&model, &crate::test_support::schema(1, &[FieldType::Float64]), Compression::Lz4)
    });
    assert_ne!(times[0], times[1], "times");
    let mut changed = model.clone();
    let value = changed.iter_mut().flat_map(|(_, rows)| rows).find(|row| row.values[0].is_some());
    value.unwrap().values[0].as_mut().unwrap()[0] ^= 1;
    assert_ne!(hash(&changed, &schema, Compression::Lz4), want, "a bit of a value");
    let mut changed = model.clone();
    let row = changed.iter_mut().flat_map(|(_, rows)| rows).find(|row| row.values[1].is_some());
    row.unwrap().values[1] = None;
    assert_ne!(hash(&changed, &schema, Compression::Lz4), want, "a null");
    let mut changed = model.clone();
    changed[0].1[0].cleared = vec![100];
    assert_ne!(hash(&changed, &schema, Compression::Lz4), want, "a cleared field");
    let mut changed = model;
    let last = changed.len() - 1;
    changed[last].0 = SeriesKey::encode([Some("zz"), Some("zz")]);
    assert_ne!(hash(&changed, &schema, Compression::Lz4), want, "a key");
}

#[test]
fn bytes_are_the_golden_ones() {
    let model = golden_model();
    let schema = schema(2, &ALL_TYPES);
    let hashes = [Compression::Lz4, Compression::Zstd].map(|compression| {
        let disk = MemDisk::new();
        let meta = write_model(&disk, &schema, &model, compression, || 77).unwrap().unwrap();
        let hex = |hash: [u8; 32]| blake3::Hash::from_bytes(hash).to_hex().to_string();
        (hex(meta.content_hash), hex(meta.file_hash))
    });
    assert_eq!(hashes[0].0, GOLDEN_CONTENT, "the content hash must never change");
    assert_eq!(hashes[1].0, GOLDEN_CONTENT, "the content hash must never change");
    let files = hashes.map(|(_, file)| file);
    assert_eq!(files, GOLDEN_FILES, "what shapes bytes has changed: so must WRITER_ID");
}

const GOLDEN_CONTENT: &str = "b946b122424c315a61eb4649598cbe880c497a02db22bc4a37f0c001aacc4d92";
const GOLDEN_FILES: [&str; 2] = [
    "3eeae4718c094307f6245d1861b78b46c58533937391b277c1475e96bedcdb27",
    "c14279db6c16335f0055248abc4020b8d2a00072958b9d68ca86a6a3aff19d1b",
];

fn golden_model() -> Model {
    random_model(&mut Random(2026), &schema(2, &ALL_TYPES), 30, 2_000)
}

#[test]
fn a_finer_time_in_a_later_row_group_rewrites_the_file() {
    // Milliseconds for a row group and more, then one time that needs ns; the order of discovery must not show.
    let coarse = plain_model(40, 4_000, |_, r| r as i64 * 1_000_000);
    let mut fine = coarse.clone();
    fine[39].1[3_999].time += 1;
    let mut cleared = fine.clone();
    cleared[39].1[3_999].cleared = vec![100];
    let mut sizes = Vec::new();
    for model in [&coarse, &fine, &cleared] {
        let (disk, meta) = write(model, &[FieldType::Float64], 500);
        assert_eq!(disk.names(), [meta.file_name()], "no temporary file is left");
        let reader = open(&disk, &meta, 0).unwrap();
        assert!(scan_all(&reader).unwrap() == *model, "rows");
        assert_eq!(meta.has_cleared, !model[39].1[3_999].cleared.is_empty());
        sizes.push(meta.bytes);
        crate::SegmentReader::recover_meta(disk, &path_of(&meta)).unwrap();
    }
    assert!(sizes.is_sorted(), "{sizes:?}");
}

#[test]
fn a_rewritten_file_is_the_one_that_foresight_would_have_written() {
    let mut model = plain_model(60, 5_000, |_, r| r as i64 * 1_000_000);
    model[30].1[17].time += 1_000;
    model[59].1[4_999].time += 1;
    model[59].1[4_999].cleared = vec![100];
    let (_, meta) = write(&model, &[FieldType::Float64], 900);
    let disk = MemDisk::new() as Arc<dyn Disk>;
    let schema = schema(1, &[FieldType::Float64]);
    let dir = Path::new("/s");
    let mut foresight =
        SegmentWriter::begin(Arc::clone(&disk), dir, schema.clone(), spec(Compression::Lz4))
            .unwrap();
    let shape = Shape { unit: Unit::Nano, cleared: true, ..Shape::narrowest(&schema) };
    let shared = Arc::new(schema.clone());
    let encoder = Encoder::begin(&disk, dir, shared, spec(Compression::Lz4), shape).unwrap();
    foresight.encoder = Some(encoder);
    for (key, rows) in &model {
        foresight.push(piece(&schema, key, rows)).unwrap();
    }
    assert_eq!(foresight.finish().unwrap().unwrap(), meta);
}

/// Digits after the point of the first field, if it is stored as whole numbers.
fn stored_decimals(reader: &crate::SegmentReader) -> Option<u8> {
    let place = reader.column(ColumnId(100)).unwrap();
    crate::scale::decimals_of(reader.parquet().schema().field(place).data_type())
}

/// Whole numbers, and then these values at the end of the last series.
fn whole_numbers_and_then(rows: usize, values: &[f64]) -> Model {
    let mut model = plain_model(40, rows, |_, r| r as i64 * 1_000_000);
    let last = &mut model[39].1;
    let first = last.len() - values.len();
    for (row, value) in last[first..].iter_mut().zip(values) {
        row.values[0] = Some(float(*value));
    }
    model
}

#[test]
fn more_decimals_in_a_later_row_group_rewrite_the_file() {
    let types = [FieldType::Float64];
    let stored = |values: &[f64]| {
        let model = whole_numbers_and_then(4_000, values);
        let (disk, meta) = write(&model, &types, 500);
        assert_eq!(disk.names(), [meta.file_name()], "no temporary file is left");
        let reader = open(&disk, &meta, 0).unwrap();
        assert!(scan_all(&reader).unwrap() == model, "rows with {values:?}");
        crate::SegmentReader::recover_meta(disk, &path_of(&meta)).unwrap();
        stored_decimals(&reader)
    };
    assert_eq!(stored(&[]), Some(0));
    assert_eq!(stored(&[0.5]), Some(1));
    assert_eq!(stored(&[1e11, 0.125]), Some(3));
    // Together they would need 16 digits.
    assert_eq!(stored(&[1e11, 0.0625]), None);
    assert_eq!(stored(&[-0.0]), None);
    assert_eq!(stored(&[f64::NAN]), None);
    assert_eq!(stored(&[1.0 / 3.0]), None);
}

#[test]
fn a_file_is_not_written_anew_again_and_again() {
    // Each series is a row group, and needs one decimal more.
    let stored = |series: usize| {
        let disk = MemDisk::new();
        let shared = Arc::clone(&disk) as Arc<dyn Disk>;
        let schema = schema(1, &[FieldType::Float64]);
        let spec = spec(Compression::Lz4);
        let mut writer = SegmentWriter::begin(shared, Path::new("/s"), schema, spec).unwrap();
        for s in 0..series {
            let value = format!("1e-{s}").parse().unwrap();
            let rows = crate::group::GROUP_ROWS;
            let times = TimestampNanosecondArray::from_iter_values(0..rows as i64);
            let rows = SeriesRows {
                key: key(&format!("host_{s:05}")),
                time: Arc::new(times.with_timezone("UTC")),
                fields: vec![Arc::new(Float64Array::from_value(value, rows))],
                cleared: None,
            };
            writer.push(rows).unwrap();
        }
        let meta = writer.finish().unwrap().unwrap();
        assert_eq!(disk.names(), [meta.file_name()], "no temporary file is left");
        let shared = Arc::clone(&disk) as Arc<dyn Disk>;
        // The hash of the rows is that of what was pushed.
        assert_eq!(crate::SegmentReader::recover_meta(shared, &path_of(&meta)).unwrap(), meta);
        stored_decimals(&open(&disk, &meta, 0).unwrap())
    };
    assert_eq!(stored(REWRITES_MAX + 1), Some(REWRITES_MAX as u8));
    assert_eq!(stored(REWRITES_MAX + 2), None);
}

#[test]
fn encodings_follow_the_values() {
    let value = |f: usize, r: u64| match f {
        // A walk, few numbers in no order, decimals, whole numbers as integers, and noise.
        0 => float((r / 7 + Random(r).next() % 5) as f64),
        1 => float([200.0, 404.0, 503.0][(r * r % 11 % 3) as usize]),
        2 => float((r * 7_919 % 10_000) as f64 / 100.0),
        3 => (r * r % 3 * 1_000_000_007).to_le_bytes().to_vec(),
        _ => float((r as f64).sin()),
    };
    let row = |r: usize| Row {
        time: r as i64 * 1_000_000,
        values: (0..5).map(|f| Some(value(f, r as u64))).collect(),
        cleared: Vec::new(),
    };
    let model = vec![(key("a"), (0..20_000).map(row).collect::<Vec<_>>())];
    let types = [
        FieldType::Float64,
        FieldType::Float64,
        FieldType::Float64,
        FieldType::Int64,
        FieldType::Float64,
    ];
    let (disk, meta) = write(&model, &types, 5_000);
    let reader = open(&disk, &meta, 0).unwrap();
    assert!(scan_all(&reader).unwrap() == model, "rows");
    let group = reader.parquet().metadata().row_group(0);
    let stored = |place: usize| {
        let column = group.column(place + 2);
        let has = |wanted| column.encodings().any(|encoding| encoding == wanted);
        (
            column.column_type(),
            has(Encoding::RLE_DICTIONARY),
            has(Encoding::DELTA_BINARY_PACKED),
            column.compression() == Codec::UNCOMPRESSED,
        )
    };
    assert_eq!(stored(0), (Type::INT64, false, true, true), "a walk");
    assert_eq!(stored(1).0, Type::INT64);
    assert!(stored(1).1, "few numbers have a dictionary");
    assert_eq!((stored(2).0, stored(2).1), (Type::INT64, false), "decimals");
    assert!(stored(3).1, "few integers have a dictionary");
    assert_eq!((stored(4).0, stored(4).1, stored(4).2), (Type::DOUBLE, false, false), "noise");
}

#[test]
fn every_float_survives() {
    let bits = [
        0u64,
        1 << 63,
        1,
        f64::NAN.to_bits(),
        0x7FF0_0000_0000_0001,
        0xFFFF_FFFF_FFFF_FFFF,
        f64::INFINITY.to_bits(),
        f64::NEG_INFINITY.to_bits(),
        f64::MIN_POSITIVE.to_bits(),
    ];
    let rows = bits.iter().enumerate().map(|(i, bits)| Row {
        time: i as i64,
        values: vec![Some(bits.to_le_bytes().to_vec())],
        cleared: Vec::new(),
    });
    let model = vec![(key("a"), rows.collect::<Vec<_>>())];
    let (disk, meta) = write(&model, &[FieldType::Float64], 2);
    assert_eq!(scan_all(&open(&disk, &meta, 0).unwrap()).unwrap(), model);
    let statistics = &meta.fields[0];
    assert_eq!((statistics.count, statistics.nan_count), (9, 3));
    assert_eq!((statistics.min_bits, statistics.max_bits), (None, None), "NaN makes them inexact");
}

#[test]
fn statistics_are_exact() {
    let word = |bits: u64| Some(bits.to_le_bytes().to_vec());
    let values: [Vec<Option<Vec<u8>>>; 6] = [
        vec![Some(float(-0.0)), Some(float(0.0)), None],
        vec![word((-5i64).cast_unsigned()), word(7), None],
        vec![word(u64::MAX), word(1), word(1 << 63)],
        vec![Some(vec![1]), None, Some(vec![1])],
        vec![Some(b"b".to_vec()), Some(b"a".to_vec()), None],
        vec![word(1 << 63), word(3), None],
    ];
    let rows = (0..3).map(|r| Row {
        time: r as i64 - 1,
        values: values.iter().map(|column| column[r].clone()).collect(),
        cleared: Vec::new(),
    });
    let model = vec![(key("a"), rows.collect::<Vec<_>>())];
    let (_, meta) = write(&model, &ALL_TYPES, 1);
    let found: Vec<_> =
        meta.fields.iter().map(|f| (f.count, f.nan_count, f.min_bits, f.max_bits)).collect();
    let want = [
        (2, 0, Some(1 << 63), Some(0)),
        (2, 0, Some((-5i64).cast_unsigned()), Some(7)),
        (3, 0, Some(1), Some(u64::MAX)),
        (2, 0, Some(1), Some(1)),
        (2, 0, None, None),
        (2, 0, Some(1 << 63), Some(3)),
    ];
    assert_eq!(found, want);
    assert_eq!((meta.time_min, meta.time_max), (-1, 1));
}

#[test]
fn a_segment_is_durable_before_it_has_its_name() {
    let (disk, meta) = write(&plain_model(3, 50, |_, r| r as i64), &[FieldType::Float64], 50);
    let calls = disk.calls.lock().clone();
    let rename = format!("rename to {}", meta.file_name());
    let want = ["write", "write", "sync file", rename.as_str(), "sync directory"];
    assert_eq!(calls, want);
    assert_eq!(*blake3::hash(&disk.bytes(&path_of(&meta))).as_bytes(), meta.file_hash);
}

#[test]
fn nothing_pushed_leaves_nothing() {
    let disk = MemDisk::new();
    let meta = write_model(&disk, &schema(1, &[]), &Model::new(), Compression::Lz4, || 1);
    assert_eq!(meta.unwrap(), None);
    assert_eq!(disk.names(), [""; 0]);
}

#[test]
fn a_full_disk_is_exhausted_and_leaves_nothing() {
    let disk = MemDisk::new();
    *disk.full_at.lock() = Some(100_000);
    let model = plain_model(200, 2_000, |_, r| r as i64 * 1_000_000);
    let schema = schema(1, &[FieldType::Float64]);
    let error = write_model(&disk, &schema, &model, Compression::Lz4, || 500).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted, "{error}");
    assert_eq!(disk.names(), [""; 0]);
}

#[test]
fn abort_removes_the_file() {
    let disk = MemDisk::new();
    let schema = schema(1, &[FieldType::Float64]);
    let dir = Path::new("/s");
    let shared = Arc::clone(&disk) as Arc<dyn Disk>;
    let mut writer =
        SegmentWriter::begin(shared, dir, schema.clone(), spec(Compression::Lz4)).unwrap();
    for (key, rows) in &plain_model(200, 2_000, |_, r| r as i64) {
        writer.push(piece(&schema, key, rows)).unwrap();
    }
    assert_eq!(disk.names().len(), 1);
    assert_eq!(writer.rows(), 400_000);
    writer.abort().unwrap();
    assert_eq!(disk.names(), [""; 0]);
}

#[test]
fn bytes_written_do_not_depend_on_the_cut() {
    let schema = schema(1, &[FieldType::Float64]);
    let model = plain_model(300, 1_000, |_, r| r as i64 * 1_000);
    let follow = |cut: usize| {
        let disk = MemDisk::new() as Arc<dyn Disk>;
        let mut writer =
            SegmentWriter::begin(disk, Path::new("/s"), schema.clone(), spec(Compression::Zstd))
                .unwrap();
        let mut seen = Vec::new();
        for (key, rows) in &model {
            for rows in rows.chunks(cut) {
                writer.push(piece(&schema, key, rows)).unwrap();
            }
            seen.push(writer.bytes());
        }
        seen
    };
    assert_eq!(follow(1_000), follow(333));
}

#[test]
#[should_panic(expected = "times of a series ascend")]
fn rows_out_of_order_are_a_bug() {
    let model = plain_model(1, 3, |_, r| -(r as i64));
    write(&model, &[FieldType::Float64], 3);
}

#[test]
fn text_of_any_length_fits() -> Result<(), Error> {
    let rows = (0..40_u8).map(|r| Row {
        time: i64::from(r),
        values: vec![Some(vec![b'a' + r % 20; 3 << 20])],
        cleared: Vec::new(),
    });
    let model = vec![(key("a"), rows.collect::<Vec<_>>())];
    let mut hashes = Vec::new();
    for cut in [1, 7, 40] {
        let (disk, meta) = write(&model, &[FieldType::Utf8], cut);
        hashes.push(meta.file_hash);
        assert!(scan_all(&open(&disk, &meta, 0)?)? == model);
    }
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
    Ok(())
}
