//! What the tests share: a disk in memory that notes what is asked of it, and a plain model of rows.

#![expect(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array, Int64Array,
    StringViewArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Float64Type, Int64Type, TimestampNanosecondType, UInt64Type};
use parking_lot::Mutex;
use quorate_wal::{Disk, DiskFile, DiskSpace, OpenMode};

use crate::{
    ColumnId, ColumnKind, ColumnSpec, Compression, Error, FieldType, RowSchema, SegmentCaches,
    SegmentMeta, SegmentReader, SegmentWriter, SeriesEntry, SeriesKey, SeriesRows, TableId,
    WriterSpec,
};

/// Files in memory, and the calls in order.
#[derive(Debug, Default)]
pub(crate) struct MemDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<MemFile>>>,
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
    /// Fails every write from this number of bytes on.
    pub(crate) full_at: Arc<Mutex<Option<u64>>>,
}

#[derive(Debug)]
pub(crate) struct MemFile {
    bytes: Mutex<Vec<u8>>,
    calls: Arc<Mutex<Vec<String>>>,
    full_at: Arc<Mutex<Option<u64>>>,
}

impl MemDisk {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        let file = self.file(bytes);
        self.files.lock().insert(path.to_owned(), file);
    }

    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        self.files.lock()[path].bytes.lock().clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.files.lock().keys().map(|path| name_of(path)).collect()
    }

    fn file(&self, bytes: Vec<u8>) -> Arc<MemFile> {
        Arc::new(MemFile {
            bytes: Mutex::new(bytes),
            calls: Arc::clone(&self.calls),
            full_at: Arc::clone(&self.full_at),
        })
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

impl Disk for MemDisk {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(self.names())
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock();
        let file = match (mode, files.get(path)) {
            (OpenMode::CreateNew, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew, None) => {
                let file = self.file(Vec::new());
                files.insert(path.to_owned(), Arc::clone(&file));
                file
            }
            (_, Some(file)) => Arc::clone(file),
            (_, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(file)
    }
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files.lock().contains_key(path))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        self.calls.lock().push(format!("rename to {}", name_of(to)));
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().remove(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.calls.lock().push("sync directory".to_owned());
        Ok(())
    }
    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        Ok(DiskSpace { bytes_total: u64::MAX, bytes_free: u64::MAX })
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.bytes.lock();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
    fn write_all_at(&self, new: &[u8], offset: u64) -> io::Result<()> {
        let end = offset + new.len() as u64;
        if self.full_at.lock().is_some_and(|full| end > full) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut bytes = self.bytes.lock();
        if bytes.len() < end as usize {
            bytes.resize(end as usize, 0);
        }
        bytes[offset as usize..end as usize].copy_from_slice(new);
        self.calls.lock().push("write".to_owned());
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        self.calls.lock().push("sync file".to_owned());
        Ok(())
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().resize(len as usize, 0);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }
}

/// `SplitMix64`: the same numbers everywhere and always.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// One row: its time, the bits or bytes of its values, its cleared columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) time: i64,
    pub(crate) values: Vec<Option<Vec<u8>>>,
    pub(crate) cleared: Vec<u32>,
}

/// Sorted rows by series.
pub(crate) type Model = Vec<(SeriesKey, Vec<Row>)>;

pub(crate) const ALL_TYPES: [FieldType; 6] = [
    FieldType::Float64,
    FieldType::Int64,
    FieldType::UInt64,
    FieldType::Boolean,
    FieldType::Utf8,
    FieldType::Timestamp,
];

pub(crate) fn schema(tags: u32, fields: &[FieldType]) -> RowSchema {
    let tag = |id| ColumnSpec { id: ColumnId(id), name: format!("tag{id}"), kind: ColumnKind::Tag };
    let field = |(i, kind): (usize, &FieldType)| {
        let id = 100 + 3 * i as u32;
        ColumnSpec { id: ColumnId(id), name: format!("field{id}"), kind: ColumnKind::Field(*kind) }
    };
    RowSchema {
        table: TableId(42),
        time: ColumnSpec { id: ColumnId(0), name: "time".to_owned(), kind: ColumnKind::Time },
        tags: (1..=tags).map(tag).collect(),
        fields: fields.iter().enumerate().map(field).collect(),
    }
}

pub(crate) fn spec(compression: Compression) -> WriterSpec {
    let writer = SegmentWriter::WRITER_ID;
    WriterSpec { writer, compression, log_index_min: 3, log_index_max: 17 }
}

pub(crate) fn projection(schema: &RowSchema) -> Vec<(ColumnId, FieldType)> {
    schema
        .fields
        .iter()
        .map(|field| match field.kind {
            ColumnKind::Field(kind) => (field.id, kind),
            ColumnKind::Time | ColumnKind::Tag => unreachable!(),
        })
        .collect()
}

/// Rows `rows` of a series as arrays.
pub(crate) fn piece(schema: &RowSchema, key: &SeriesKey, rows: &[Row]) -> SeriesRows {
    let time = TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.time));
    let fields = projection(schema).into_iter().enumerate().map(|(i, (_, kind))| {
        let values = rows.iter().map(|row| row.values[i].as_deref());
        array(kind, values)
    });
    let mut cleared = BinaryBuilder::new();
    for row in rows {
        let ids: Vec<u8> = row.cleared.iter().flat_map(|id| id.to_be_bytes()).collect();
        cleared.append_option((!ids.is_empty()).then_some(ids));
    }
    SeriesRows {
        key: key.clone(),
        time: Arc::new(time.with_timezone("UTC")),
        fields: fields.collect(),
        cleared: rows
            .iter()
            .any(|row| !row.cleared.is_empty())
            .then(|| Arc::new(cleared.finish()) as ArrayRef),
    }
}

fn array<'a>(kind: FieldType, values: impl Iterator<Item = Option<&'a [u8]>>) -> ArrayRef {
    let word = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    match kind {
        FieldType::Float64 => {
            Arc::new(values.map(|v| v.map(|v| f64::from_bits(word(v)))).collect::<Float64Array>())
        }
        FieldType::Int64 => {
            Arc::new(values.map(|v| v.map(|v| word(v).cast_signed())).collect::<Int64Array>())
        }
        FieldType::UInt64 => Arc::new(values.map(|v| v.map(word)).collect::<UInt64Array>()),
        FieldType::Boolean => {
            Arc::new(values.map(|v| v.map(|v| v[0] == 1)).collect::<BooleanArray>())
        }
        FieldType::Utf8 => Arc::new(
            values.map(|v| v.map(|v| str::from_utf8(v).unwrap())).collect::<StringViewArray>(),
        ),
        FieldType::Timestamp => {
            let times: TimestampNanosecondArray =
                values.map(|v| v.map(|v| word(v).cast_signed())).collect();
            Arc::new(times.with_timezone("UTC"))
        }
    }
}

/// The rows of pieces, as the model has them.
pub(crate) fn rows_of(piece: &SeriesRows, fields: &[(ColumnId, FieldType)]) -> Vec<Row> {
    let values = |row: usize| {
        piece.fields.iter().zip(fields).map(move |(array, (_, kind))| {
            if array.is_null(row) {
                return None;
            }
            Some(match kind {
                FieldType::Float64 => {
                    array.as_primitive::<Float64Type>().value(row).to_bits().to_le_bytes().to_vec()
                }
                FieldType::Int64 => {
                    array.as_primitive::<Int64Type>().value(row).to_le_bytes().to_vec()
                }
                FieldType::UInt64 => {
                    array.as_primitive::<UInt64Type>().value(row).to_le_bytes().to_vec()
                }
                FieldType::Boolean => vec![u8::from(array.as_boolean().value(row))],
                FieldType::Utf8 => array.as_string_view().value(row).as_bytes().to_vec(),
                FieldType::Timestamp => array
                    .as_primitive::<TimestampNanosecondType>()
                    .value(row)
                    .to_le_bytes()
                    .to_vec(),
            })
        })
    };
    let cleared = |row: usize| {
        let Some(cleared) = &piece.cleared else { return Vec::new() };
        let cleared = cleared.as_binary::<i32>();
        if cleared.is_null(row) {
            return Vec::new();
        }
        let ids = cleared.value(row).as_chunks::<4>().0;
        ids.iter().map(|id| u32::from_be_bytes(*id)).collect()
    };
    (0..piece.time.len())
        .map(|row| Row {
            time: piece.time.as_primitive::<TimestampNanosecondType>().value(row),
            values: values(row).collect(),
            cleared: cleared(row),
        })
        .collect()
}

/// Random rows of all sorts: nulls, odd bit patterns, text, cleared marks.
pub(crate) fn random_model(
    random: &mut Random,
    schema: &RowSchema,
    series: u64,
    rows_max: u64,
) -> Model {
    let kinds = projection(schema);
    let unit = [1, 1_000, 1_000_000][random.below(3) as usize];
    let clears = random.below(3) == 0;
    let mut keys: Vec<SeriesKey> = (0..series)
        .map(|i| {
            let tags = (0..schema.tags.len()).map(|tag| match random.below(4) {
                0 => None,
                1 => Some("\0ü".to_owned()),
                _ => Some(format!("{}", (i << tag) + random.below(3))),
            });
            let tags: Vec<_> = tags.collect();
            SeriesKey::encode(tags.iter().map(Option::as_deref))
        })
        .collect();
    keys.sort();
    keys.dedup();
    let mut model = Vec::new();
    for key in keys {
        let mut times: Vec<i64> = (0..=random.below(rows_max))
            .map(|_| match random.below(20) {
                0 => (i64::MIN / unit + random.below(5).cast_signed()) * unit,
                1 => (i64::MAX / unit - random.below(5).cast_signed()) * unit,
                _ => (random.below(4_000_000).cast_signed() - 2_000_000) * unit,
            })
            .collect();
        times.sort_unstable();
        times.dedup();
        let rows = times.into_iter().map(|time| Row {
            time,
            values: kinds.iter().map(|(_, kind)| random_value(random, *kind)).collect(),
            cleared: if clears && random.below(5) == 0 { vec![100, 103] } else { Vec::new() },
        });
        model.push((key, rows.collect()));
    }
    model
}

fn random_value(random: &mut Random, kind: FieldType) -> Option<Vec<u8>> {
    if random.below(5) == 0 {
        return None;
    }
    Some(match kind {
        FieldType::Boolean => vec![random.below(2) as u8],
        FieldType::Utf8 => match random.below(4) {
            0 => Vec::new(),
            1 => "naïve 🎈 text that is longer than twelve bytes".as_bytes().to_vec(),
            _ => format!("{}", random.below(50)).into_bytes(),
        },
        FieldType::Float64 => {
            let odd = [
                f64::NAN.to_bits(),
                0x7FF0_0000_0000_0001,
                0xFFF8_0000_DEAD_BEEF,
                (-0.0f64).to_bits(),
                0,
                f64::INFINITY.to_bits(),
                f64::NEG_INFINITY.to_bits(),
                1,
            ];
            let bits = match random.below(3) {
                0 => odd[random.below(8) as usize],
                1 => (random.below(100) as f64).to_bits(),
                _ => random.next(),
            };
            bits.to_le_bytes().to_vec()
        }
        FieldType::Int64 | FieldType::UInt64 | FieldType::Timestamp => match random.below(3) {
            0 => [0, u64::MAX, 1 << 63, (1 << 63) - 1][random.below(4) as usize]
                .to_le_bytes()
                .to_vec(),
            1 => random.below(1_000).to_le_bytes().to_vec(),
            _ => random.next().to_le_bytes().to_vec(),
        },
    })
}

/// Writes the model, each series cut into pieces of `cut` rows.
pub(crate) fn write_model(
    disk: &Arc<MemDisk>,
    schema: &RowSchema,
    model: &Model,
    compression: Compression,
    mut cut: impl FnMut() -> usize,
) -> Result<Option<SegmentMeta>, Error> {
    let disk: Arc<dyn Disk> = Arc::clone(disk) as Arc<dyn Disk>;
    let mut writer =
        SegmentWriter::begin(disk, Path::new("/s"), schema.clone(), spec(compression))?;
    for (key, rows) in model {
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let (head, tail) = rest.split_at(cut().clamp(1, rest.len()));
            writer.push(piece(schema, key, head))?;
            rest = tail;
        }
    }
    writer.finish()
}

pub(crate) fn path_of(meta: &SegmentMeta) -> PathBuf {
    Path::new("/s").join(meta.file_name())
}

pub(crate) fn open(
    disk: &Arc<MemDisk>,
    meta: &SegmentMeta,
    cache_bytes: u64,
) -> Result<Arc<SegmentReader>, Error> {
    SegmentReader::open(
        Arc::clone(disk) as Arc<dyn Disk>,
        &path_of(meta),
        Arc::new(meta.clone()),
        SegmentCaches::new(cache_bytes),
    )
}

/// Scans entries and joins the pieces by series.
pub(crate) fn scan(
    reader: &Arc<SegmentReader>,
    entries: Vec<SeriesEntry>,
    fields: &[(ColumnId, FieldType)],
    with_cleared: bool,
) -> Result<Model, Error> {
    let mut model: Model = Vec::new();
    for piece in reader.scan(entries, fields, with_cleared)? {
        let piece = piece?;
        assert!(piece.time.len() <= 8_192 && !piece.time.is_empty(), "{} rows", piece.time.len());
        let rows = rows_of(&piece, fields);
        match model.last_mut() {
            Some((key, last)) if *key == piece.key => last.extend(rows),
            _ => model.push((piece.key, rows)),
        }
    }
    Ok(model)
}

pub(crate) fn entries(reader: &Arc<SegmentReader>) -> Result<Vec<SeriesEntry>, Error> {
    reader.directory(None)?.collect()
}

/// Everything in the file.
pub(crate) fn scan_all(reader: &Arc<SegmentReader>) -> Result<Model, Error> {
    let fields = projection(&reader.meta().schema);
    scan(reader, entries(reader)?, &fields, true)
}
