//! Tests of the reader: selections against a model, damage of every kind.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "the numbers of tests are small"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};
use quorate_wal::Disk;

use crate::test_support::{
    ALL_TYPES, MemDisk, Model, Random, Row, entries, open, path_of, projection, random_model, scan,
    scan_all, schema, write_model,
};
use crate::{
    ColumnId, Compression, Error, ErrorKind, FieldType, SegmentMeta, SegmentReader, SeriesKey,
};

const SECOND: i64 = 1_000_000_000;

fn write(model: &Model, types: &[FieldType]) -> (Arc<MemDisk>, SegmentMeta) {
    let disk = MemDisk::new();
    let meta = write_model(&disk, &schema(1, types), model, Compression::Lz4, || 10_000);
    (disk, meta.unwrap().unwrap())
}

/// Hosts measured every second, two floats.
fn hosts(series: usize, rows: usize) -> Model {
    (0..series)
        .map(|s| {
            let row = |r: usize| Row {
                time: r as i64 * SECOND,
                values: [(s + r) % 101, s * r % 997]
                    .iter()
                    .map(|v| Some((*v as f64).to_bits().to_le_bytes().to_vec()))
                    .collect(),
                cleared: Vec::new(),
            };
            let key = SeriesKey::encode([Some(format!("host_{s:05}").as_str())]);
            (key, (0..rows).map(row).collect())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 3 / 16))]

    #[test]
    fn a_scan_gives_the_chosen_rows_and_no_others(seed in any::<u64>(), series in 1u64..30, rows in 1u64..2_000) {
        let mut random = Random(seed);
        let schema = schema(2, &ALL_TYPES);
        let model = random_model(&mut random, &schema, series, rows);
        let disk = MemDisk::new();
        let meta = write_model(&disk, &schema, &model, Compression::Zstd, || 700).unwrap().unwrap();
        let reader = open(&disk, &meta, random.below(2) << 22).unwrap();
        // Some fields in any order, with one that the file has not.
        let all = projection(&schema);
        let mut fields: Vec<_> = all.iter().copied().filter(|_| random.below(2) == 0).collect();
        fields.reverse();
        fields.push((ColumnId(77), FieldType::Utf8));
        let with_cleared = random.below(2) == 0;
        // Some series, some of them narrowed to a stretch of rows, perhaps an empty one.
        let mut chosen = Vec::new();
        let mut want: Model = Vec::new();
        for (i, (key, rows)) in model.iter().enumerate() {
            if random.below(3) == 0 {
                continue;
            }
            let mut entry = reader.find(key).unwrap().unwrap();
            prop_assert_eq!(entry.rows.end - entry.rows.start, rows.len() as u64, "series {}", i);
            let (mut start, mut end) = (0, rows.len());
            if random.below(2) == 0 {
                start = random.below(rows.len() as u64 + 1) as usize;
                end = start + random.below((rows.len() - start) as u64 + 1) as usize;
            }
            entry.rows = entry.rows.start + start as u64..entry.rows.start + end as u64;
            chosen.push(entry);
            let project = |row: &Row| Row {
                time: row.time,
                values: fields
                    .iter()
                    .map(|field| {
                        let place = all.iter().position(|other| other == field)?;
                        row.values[place].clone()
                    })
                    .collect(),
                cleared: if with_cleared { row.cleared.clone() } else { Vec::new() },
            };
            if start < end {
                want.push((key.clone(), rows[start..end].iter().map(project).collect()));
            }
        }
        prop_assert_eq!(scan(&reader, chosen, &fields, with_cleared).unwrap(), want);
    }

    #[test]
    fn narrowing_never_loses_a_row(seed in any::<u64>(), series in 1u64..12, rows in 1u64..20_000) {
        let mut random = Random(seed);
        let schema = schema(1, &[FieldType::Boolean]);
        let model = random_model(&mut random, &schema, series, rows);
        let disk = MemDisk::new();
        let meta = write_model(&disk, &schema, &model, Compression::Lz4, || 9_000).unwrap().unwrap();
        let reader = open(&disk, &meta, 1 << 20).unwrap();
        for (key, rows) in &model {
            let entry = reader.find(key).unwrap().unwrap();
            for _ in 0..20 {
                let mut times = [0, 0].map(|_| {
                    let near = rows[random.below(rows.len() as u64) as usize].time;
                    near.saturating_add(random.below(3).cast_signed() - 1)
                });
                times.sort_unstable();
                let kept = reader.narrow(&entry, times[0], times[1]).unwrap();
                assert!(entry.rows.start <= kept.start && kept.end <= entry.rows.end);
                for (row, number) in rows.iter().zip(entry.rows.clone()) {
                    let inside = (times[0]..=times[1]).contains(&row.time);
                    assert!(!inside || kept.contains(&number), "row {number}, kept {kept:?}");
                }
                // Pages have 1,024 rows: what lies outside is at most a page at either end.
                let inside = rows.iter().filter(|r| (times[0]..=times[1]).contains(&r.time)).count();
                assert!(kept.end - kept.start <= inside as u64 + 2 * 1_024, "{kept:?} for {inside}");
            }
        }
    }
}

#[test]
fn one_series_of_many_costs_a_few_blocks() {
    let (disk, meta) = write(&hosts(2_000, 300), &[FieldType::Float64; 2]);
    let reader = open(&disk, &meta, 4 << 20).unwrap();
    let counters = &reader.file().caches().counters;
    let key = SeriesKey::encode([Some("host_01234")]);
    let read = || {
        let before = counters.bytes_read.load(Ordering::Relaxed);
        let entry = reader.find(&key).unwrap().unwrap();
        let fields = projection(&meta.schema);
        let rows = scan(&reader, vec![entry], &fields[..1], false).unwrap();
        assert_eq!(rows[0].1.len(), 300);
        counters.bytes_read.load(Ordering::Relaxed) - before
    };
    // One block of the directory; dictionary and one or two pages of each of two columns.
    let cold = read();
    assert!(cold <= 8 * 65_536, "{cold} bytes of {}", meta.bytes);
    assert_eq!(read(), 0, "blocks stay in the cache");
    assert_eq!(counters.rows_decoded.load(Ordering::Relaxed), 600);
    assert!(counters.pages_skipped.load(Ordering::Relaxed) > 100);
}

#[test]
fn times_outside_read_nothing() {
    let (disk, meta) = write(&hosts(3, 20_000), &[FieldType::Float64; 2]);
    let reader = open(&disk, &meta, 0).unwrap();
    let entry = reader.find(&SeriesKey::encode([Some("host_00001")])).unwrap().unwrap();
    let narrow = |from: i64, to: i64| {
        let rows = reader.narrow(&entry, from, to).unwrap();
        rows.end - rows.start
    };
    assert_eq!(narrow(i64::MIN, -1), 0);
    assert_eq!(narrow(20_000 * SECOND, i64::MAX), 0);
    assert_eq!(narrow(i64::MIN, i64::MAX), 20_000);
    assert_eq!(narrow(5, 4), 0);
    assert!(narrow(9_000 * SECOND, 9_001 * SECOND) <= 1_024);
}

#[test]
fn the_directory_begins_where_it_is_asked_to() {
    let model = hosts(3_000, 2);
    let (disk, meta) = write(&model, &[FieldType::Float64; 2]);
    let reader = open(&disk, &meta, 1 << 20).unwrap();
    let keys = |from: Option<&str>| -> Vec<SeriesKey> {
        let from = from.map(|name| SeriesKey::encode([Some(name)]));
        reader.directory(from.as_ref()).unwrap().map(|entry| entry.unwrap().key).collect()
    };
    let all: Vec<_> = model.iter().map(|(key, _)| key.clone()).collect();
    assert_eq!(keys(None), all);
    assert_eq!(keys(Some("a")), all);
    assert_eq!(keys(Some("host_01500")), all[1_500..]);
    assert_eq!(keys(Some("host_01500x")), all[1_501..]);
    assert_eq!(keys(Some("z")), []);
}

/// Reads a file in every way; whatever is read must be right.
fn read_everything(disk: &Arc<MemDisk>, meta: &SegmentMeta, want: &Model) -> Result<(), Error> {
    let reader = open(disk, meta, 1 << 20)?;
    assert!(scan_all(&reader)? == *want, "wrong rows were served");
    for (key, _) in want {
        assert!(reader.find(key)?.is_some());
    }
    reader.verify()
}

fn assert_corrupt(result: Result<(), Error>, what: &str) {
    let error = result.expect_err(what);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error}");
}

/// Flips bits of one byte and reads with the manifest, and without it under a name that says nothing.
fn check_flip(disk: &Arc<MemDisk>, meta: &SegmentMeta, want: &Model, at: usize, mask: u8) {
    let path = path_of(meta);
    let intact = disk.bytes(&path);
    let mut bytes = intact.clone();
    bytes[at] ^= mask;
    disk.put(&path, bytes.clone());
    assert_corrupt(read_everything(disk, meta, want), &format!("byte {at} flipped by {mask}"));
    let other = Path::new("/s/copy.parquet");
    disk.put(other, bytes);
    let recovered = SegmentReader::recover_meta(Arc::clone(disk) as Arc<dyn Disk>, other);
    assert_corrupt(recovered.map(drop), &format!("byte {at} flipped by {mask}, no manifest"));
    disk.put(&path, intact);
}

#[test]
fn every_flipped_byte_of_a_small_file_is_found() {
    let mut random = Random(3);
    let schema = schema(2, &[FieldType::Float64, FieldType::Utf8]);
    let model = random_model(&mut random, &schema, 4, 12);
    let disk = MemDisk::new();
    let meta = write_model(&disk, &schema, &model, Compression::Lz4, || 5).unwrap().unwrap();
    read_everything(&disk, &meta, &model).unwrap();
    for at in 0..meta.bytes as usize {
        check_flip(&disk, &meta, &model, at, 1 << random.below(8));
        check_flip(&disk, &meta, &model, at, 0xFF);
    }
}

#[test]
fn flipped_bytes_in_every_region_of_a_larger_file_are_found() {
    let mut random = Random(4);
    let schema = schema(3, &ALL_TYPES);
    let model = random_model(&mut random, &schema, 60, 600);
    let disk = MemDisk::new();
    let meta = write_model(&disk, &schema, &model, Compression::Zstd, || 100).unwrap().unwrap();
    let blocks = (meta.block_table_offset as usize).div_ceil(65_536);
    assert!(blocks > 4, "{blocks} blocks");
    let table = meta.block_table_offset as usize;
    let edges =
        (0..blocks).flat_map(|block| [block * 65_536, (block * 65_536 + 65_535).min(table - 1)]);
    let anywhere: Vec<_> = (0..60).map(|_| random.below(meta.bytes) as usize).collect();
    let behind: Vec<_> = (0..40)
        .map(|_| table + random.below(meta.bytes - meta.block_table_offset) as usize)
        .collect();
    for at in edges.chain(anywhere).chain(behind) {
        check_flip(&disk, &meta, &model, at, 1 << random.below(8));
    }
}

#[test]
fn a_flipped_byte_is_counted_and_placed() {
    let (disk, meta) = write(&hosts(500, 1_000), &[FieldType::Float64; 2]);
    let path = path_of(&meta);
    let mut bytes = disk.bytes(&path);
    bytes[70_000] ^= 4;
    disk.put(&path, bytes);
    let reader = open(&disk, &meta, 0).unwrap();
    let Err(Error::Corrupt { offset, .. }) = reader.verify() else { panic!("not found") };
    assert_eq!(offset, 65_536);
    assert_eq!(reader.file().caches().counters.blocks_corrupt.load(Ordering::Relaxed), 1);
}

#[test]
fn truncated_and_extended_files_are_corrupt() {
    let model = hosts(5, 10);
    let (disk, meta) = write(&model, &[FieldType::Float64; 2]);
    let path = path_of(&meta);
    let intact = disk.bytes(&path);
    let lengths = (0..intact.len()).step_by(97).chain([intact.len() - 1, intact.len() + 1]);
    for len in lengths {
        let mut bytes = intact.clone();
        bytes.resize(len, 0);
        disk.put(&path, bytes.clone());
        assert_corrupt(read_everything(&disk, &meta, &model), &format!("{len} bytes"));
        let copy = Path::new("/s/copy.parquet");
        disk.put(copy, bytes);
        let shared = Arc::clone(&disk) as Arc<dyn Disk>;
        let recovered = SegmentReader::recover_meta(shared, copy).map(drop);
        assert_corrupt(recovered, &format!("{len} bytes, no manifest"));
    }
}

#[test]
fn a_file_under_the_name_of_another_is_corrupt() {
    let (disk, meta) = write(&hosts(5, 10), &[FieldType::Float64; 2]);
    let (other_disk, other) = write(&hosts(5, 11), &[FieldType::Float64; 2]);
    disk.put(&path_of(&meta), other_disk.bytes(&path_of(&other)));
    let shared = Arc::clone(&disk) as Arc<dyn Disk>;
    assert_corrupt(SegmentReader::recover_meta(shared, &path_of(&meta)).map(drop), "by name");
    assert_corrupt(open(&disk, &meta, 0).map(drop), "by manifest");
}

#[test]
fn a_newer_format_is_refused() {
    let (disk, meta) = write(&hosts(2, 2), &[FieldType::Float64; 2]);
    let path = path_of(&meta);
    let bytes = disk.bytes(&path);
    let table = meta.block_table_offset as usize;
    // The block table of a newer version: intact, and says so.
    let mut newer = bytes.clone();
    newer[table + 8] = 2;
    let end = table + crate::format::BlockTable::encoded_len(meta.block_table_offset);
    let hash = *blake3::hash(&newer[table..end - 32]).as_bytes();
    newer[end - 32..end].copy_from_slice(&hash);
    let mut newer_meta = meta.clone();
    newer_meta.block_table_hash = hash;
    let copy = Path::new("/s/copy.parquet");
    disk.put(copy, newer.clone());
    disk.put(&path, newer);
    let opened = open(&disk, &newer_meta, 0).map(drop).unwrap_err();
    assert!(matches!(opened, Error::Unsupported { found: 2, supported: 1, .. }), "{opened}");
    let shared = Arc::clone(&disk) as Arc<dyn Disk>;
    let recovered = SegmentReader::recover_meta(shared, copy).unwrap_err();
    assert!(matches!(recovered, Error::Unsupported { found: 2, .. }), "{recovered}");
}

#[test]
fn a_field_of_another_type_is_not_served() {
    let (disk, meta) = write(&hosts(2, 2), &[FieldType::Float64; 2]);
    let reader = open(&disk, &meta, 0).unwrap();
    let all = entries(&reader).unwrap();
    let result = reader.scan(all, &[(ColumnId(100), FieldType::Int64)], false);
    assert_corrupt(result.map(drop), "wrong type");
}

/// Files of every format version that was released, made by the example `write_sample` of its time.
#[test]
fn released_formats_are_read() {
    let first = "49302614189dbc814e53a6c1eda079743942a2fe5fdb5ba42709504867d90d4e";
    let second = "302f62e9982b6fe8151f2aefe1b479d41ae0f1dd92de3530929239d463d6f3ae";
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    for (name, content, fields) in [
        ("segment-v1-lz4.parquet", first, 8),
        ("segment-v1-zstd.parquet", first, 8),
        ("segment-v2-lz4.parquet", second, 10),
        ("segment-v2-zstd.parquet", second, 10),
    ] {
        let path = Path::new(&package).join("../fixtures").join(name);
        let disk = quorate_wal::RealDisk::shared();
        let meta = SegmentReader::recover_meta(Arc::clone(&disk), &path).unwrap();
        let hash = blake3::Hash::from_bytes(meta.content_hash).to_hex().to_string();
        assert_eq!(hash, content, "{name}");
        assert_eq!((meta.rows, meta.series), (709, 4), "{name}");
        assert_eq!(meta.fields.len(), fields, "{name}");
        let caches = crate::SegmentCaches::new(0);
        let reader = SegmentReader::open(disk, &path, Arc::new(meta), caches).unwrap();
        let rows = scan_all(&reader).unwrap();
        assert_eq!(rows[3].0, SeriesKey::encode([Some("c"), Some("us")]));
        let row = &rows[1].1[1];
        assert_eq!((row.time, row.cleared.as_slice()), (0, &[4u32, 8][..]));
        assert_eq!(row.values[1].as_deref(), Some(&i64::MAX.to_le_bytes()[..]));
        assert_eq!(row.values[0], None);
        let level = |series: usize, row: usize| {
            let bytes = rows[series].1[row].values.get(8)?.as_ref()?;
            Some(f64::from_le_bytes(bytes.as_slice().try_into().unwrap()))
        };
        let (below, above) = (level(0, 0), level(3, 699));
        let want = if fields == 10 { (Some(-21.75), Some(6.99)) } else { (None, None) };
        assert_eq!((below, above), want, "{name}");
    }
}
