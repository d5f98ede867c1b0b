//! The columns of a segment file: their Parquet types, and how each is encoded.
//!
//! Columns stand in the order tags, time, fields, cleared marks; `field_id` is the column's id. The engine reads tags
//! from the series directory: tag columns are there for other readers of the file.
//!
//! | column | encoding | statistics |
//! |---|---|---|
//! | tag | dictionary; [runs](crate::tag_chunk) where a row group has few | per row group |
//! | time | `DELTA_BINARY_PACKED` in the coarsest exact unit | per page |
//! | float with few decimals, integer, timestamp | [as a whole number](crate::scale); `DELTA_BINARY_PACKED`, or a dictionary where that is smaller in a sample | per row group |
//! | other float | dictionary, falling back to `BYTE_STREAM_SPLIT`; only that where a sample has few repeats | per row group without NaN |
//! | boolean | `PLAIN` | per row group |
//! | text, cleared marks | dictionary, falling back to `DELTA_LENGTH_BYTE_ARRAY`; likewise | per row group |
//!
//! Pages are compressed where a sample says that it pays: what is packed into bits seldom gets smaller, and is read sooner as
//! it is.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, PrimitiveArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMillisecondArray, UInt32Builder, new_null_array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit, UInt32Type};
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression as Codec, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterPropertiesPtr,
    WriterVersion,
};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::SchemaDescriptor;

use crate::group::Group;
use crate::rows::Batch;
use crate::scale::{self, Scale};
use crate::tag_chunk::{self, Chunk};
use crate::{ColumnId, ColumnKind, Compression, FieldType, RowSchema, SegmentWriter};

/// Rows of a page of the time and of fields: what the end of a range of time decodes for nothing.
pub(crate) const PAGE_ROWS: usize = 1_024;
/// Rows of a page of a tag: the engine does not read them.
const TAG_PAGE_ROWS: usize = 64 << 10;
/// Size at which a dictionary is given up: it is read whole for every row group that a query touches.
const DICTIONARY_BYTES: usize = 128 << 10;
/// Batches of a row group that are looked at to choose an encoding.
const SAMPLE_BATCHES: usize = 4;
/// Rows of each of them that are encoded to see whether compression pays.
const TRIAL_ROWS: usize = 2 * PAGE_ROWS;
/// Compression pays if it saves one byte of this many,
const SAVED_SHARE_MIN: u64 = 16;
/// and one byte in this many rows.
const SAVED_ROWS_MIN: u64 = 32;
/// and of the time in this many: every query reads it, and to set up a decompressor takes longer than to decode a page.
const TIME_SAVED_ROWS_MIN: u64 = 4;
/// Different numbers from which on there is no dictionary.
const DISTINCT_MAX: usize = 4_096;
/// Differences that the encoder packs into one width.
const DELTA_BLOCK: usize = 64;

/// Unit of stored times, from coarse to fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    Milli,
    Micro,
    Nano,
}

impl Unit {
    /// The coarsest unit in which all these times are whole.
    pub(crate) fn of(times: &[i64]) -> Self {
        if times.iter().all(|time| time % 1_000_000 == 0) {
            Self::Milli
        } else if times.iter().all(|time| time % 1_000 == 0) {
            Self::Micro
        } else {
            Self::Nano
        }
    }

    /// Its length in ns.
    pub(crate) fn nanos(self) -> i64 {
        match self {
            Self::Milli => 1_000_000,
            Self::Micro => 1_000,
            Self::Nano => 1,
        }
    }

    /// The unit of a column of this type.
    pub(crate) fn of_type(kind: &DataType) -> Option<Self> {
        match kind {
            DataType::Timestamp(TimeUnit::Millisecond, _) => Some(Self::Milli),
            DataType::Timestamp(TimeUnit::Microsecond, _) => Some(Self::Micro),
            DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(Self::Nano),
            _ => None,
        }
    }

    fn arrow(self) -> DataType {
        let unit = match self {
            Self::Milli => TimeUnit::Millisecond,
            Self::Micro => TimeUnit::Microsecond,
            Self::Nano => TimeUnit::Nanosecond,
        };
        DataType::Timestamp(unit, Some("UTC".into()))
    }
}

/// What of a file's columns depends on its rows. A file whose rows need more is written anew: see
/// [`crate::encoder::Encoder`].
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Unit of the time column.
    pub(crate) unit: Unit,
    /// Whether there is a column of cleared marks.
    pub(crate) cleared: bool,
    /// How each field is stored that is a float; of no meaning for others.
    pub(crate) scales: Vec<Scale>,
}

impl Shape {
    /// What no rows need more than.
    pub(crate) fn narrowest(schema: &RowSchema) -> Self {
        let scales = vec![Scale::NARROWEST; schema.fields.len()];
        Self { unit: Unit::Milli, cleared: false, scales }
    }

    /// What the rows of `group` need, too.
    pub(crate) fn or_of(&self, group: &Group) -> Self {
        let unit = group.batches.iter().map(|batch| Unit::of(batch.time.values())).max();
        let scales = self.scales.iter().enumerate().map(|(field, scale)| {
            let columns = group.batches.iter().map(|batch| &batch.fields[field]);
            columns.fold(*scale, |scale, column| match column.as_primitive_opt() {
                Some(floats) => scale.or_of(floats),
                None => scale,
            })
        });
        Self {
            unit: self.unit.max(unit.unwrap_or(Unit::Milli)),
            cleared: self.cleared || group.batches.iter().any(|batch| batch.cleared.is_some()),
            scales: scales.collect(),
        }
    }

    /// Whether the columns of a file of this shape are those of the other.
    pub(crate) fn is_stored_like(&self, other: &Self) -> bool {
        let decimals =
            |shape: &Self| shape.scales.iter().map(|scale| scale.decimals()).collect::<Vec<_>>();
        self.unit == other.unit
            && self.cleared == other.cleared
            && decimals(self) == decimals(other)
    }

    /// Gives scales up.
    pub(crate) fn without_scales(mut self) -> Self {
        self.scales.fill(Scale::Double);
        self
    }
}

/// The columns of one file.
#[derive(Debug)]
pub(crate) struct FileColumns {
    /// As handed to the encoder.
    pub(crate) arrow: SchemaRef,
    /// As in the file.
    pub(crate) parquet: SchemaDescriptor,
    kinds: Vec<FileColumn>,
    unit: Unit,
}

#[derive(Clone, Copy, Debug)]
enum FileColumn {
    Tag(usize),
    Time,
    /// Its place, its type, and digits after the point where it is a float that is stored as whole numbers.
    Field(usize, FieldType, Option<u8>),
    Cleared,
}

impl FileColumns {
    pub(crate) fn new(schema: &RowSchema, shape: &Shape) -> Result<Self, ParquetError> {
        let tags = schema.tags.iter().map(|tag| {
            let text = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
            (tag.id, tag.name.as_str(), text)
        });
        let time = (schema.time.id, schema.time.name.as_str(), shape.unit.arrow());
        let decimals = |place: usize, kind| match kind {
            ColumnKind::Field(FieldType::Float64) => shape.scales[place].decimals(),
            _ => None,
        };
        let fields = schema.fields.iter().enumerate().map(|(place, field)| {
            let stored = decimals(place, field.kind).map(scale::stored_type);
            let stored = stored.unwrap_or_else(|| field_type(field.kind, field.id));
            (field.id, field.name.as_str(), stored)
        });
        let cleared = (ColumnId::CLEARED, "__cleared", DataType::Binary);
        let all = tags.chain([time]).chain(fields).chain(shape.cleared.then_some(cleared));
        let mut names = BTreeSet::new();
        let mut columns = Vec::new();
        for (id, name, kind) in all {
            let mut name = name.to_owned();
            while !names.insert(name.clone()) {
                name.push('_');
            }
            let id_text = id.0.to_string();
            columns.push(
                Field::new(name, kind, id != schema.time.id).with_metadata(HashMap::from([(
                    PARQUET_FIELD_ID_META_KEY.to_owned(),
                    id_text,
                )])),
            );
        }
        let arrow = Arc::new(Schema::new(columns));
        let kinds = (0..schema.tags.len())
            .map(FileColumn::Tag)
            .chain([FileColumn::Time])
            .chain(schema.fields.iter().enumerate().map(|(i, field)| match field.kind {
                ColumnKind::Field(kind) => FileColumn::Field(i, kind, decimals(i, field.kind)),
                ColumnKind::Time | ColumnKind::Tag => unreachable!("field_type has refused it"),
            }))
            .chain(shape.cleared.then_some(FileColumn::Cleared))
            .collect();
        let parquet = ArrowSchemaConverter::new().schema_root("segment").convert(&arrow)?;
        Ok(Self { arrow, parquet, kinds, unit: shape.unit })
    }

    /// Column `i` of a batch as it is stored.
    pub(crate) fn array(&self, i: usize, batch: &Batch) -> ArrayRef {
        match self.kinds[i] {
            FileColumn::Tag(tag) => tag_array(tag, batch),
            FileColumn::Time => match self.unit {
                Unit::Milli => {
                    let time: TimestampMillisecondArray = batch.time.unary(|t| t / 1_000_000);
                    Arc::new(time.with_timezone("UTC"))
                }
                Unit::Micro => {
                    let time: TimestampMicrosecondArray = batch.time.unary(|t| t / 1_000);
                    Arc::new(time.with_timezone("UTC"))
                }
                Unit::Nano => Arc::new(batch.time.clone().with_timezone("UTC")),
            },
            FileColumn::Field(field, _, Some(decimals)) => {
                scale::encode(batch.fields[field].as_primitive(), decimals)
            }
            FileColumn::Field(field, _, None) => ArrayRef::clone(&batch.fields[field]),
            FileColumn::Cleared => match &batch.cleared {
                Some(cleared) => Arc::new(cleared.clone()),
                None => new_null_array(&DataType::Binary, batch.rows()),
            },
        }
    }

    /// Settings of the file as a whole.
    pub(crate) fn file_properties(&self) -> WriterPropertiesPtr {
        let tags = self.kinds.iter().filter(|kind| matches!(kind, FileColumn::Tag(_))).count();
        let sorting = (0..=tags)
            .map(|column| SortingColumn {
                column_idx: i32::try_from(column).expect("columns are below 2^31"),
                descending: false,
                nulls_first: true,
            })
            .collect();
        Arc::new(base_properties().set_sorting_columns(Some(sorting)).build())
    }

    /// Whether a column is a tag.
    pub(crate) fn is_tag(&self, i: usize) -> bool {
        matches!(self.kinds[i], FileColumn::Tag(_))
    }

    /// The chunks of the tags of one row group, where they are few runs.
    pub(crate) fn tag_chunks(&self, group: &Group) -> Result<Vec<Option<Chunk>>, ParquetError> {
        let runs = group.batches.iter().flat_map(|batch| &batch.runs);
        let texts: Vec<_> = runs.map(|run| (run.key.decode(), run.rows)).collect();
        let tags = (0..self.kinds.len()).filter(|i| self.is_tag(*i));
        let chunk = |i: usize| {
            let runs: Vec<_> = texts
                .iter()
                .map(|(texts, rows)| (texts.get(i).and_then(Option::as_deref), *rows))
                .collect();
            tag_chunk::encode(&self.parquet.column(i), &runs)
        };
        tags.map(chunk).collect()
    }

    /// Settings of the tags of one row group. Other columns get none that take memory.
    pub(crate) fn tag_properties(&self, compression: Compression) -> WriterPropertiesPtr {
        let mut builder = base_properties()
            .set_write_batch_size(TAG_PAGE_ROWS)
            .set_data_page_row_count_limit(TAG_PAGE_ROWS)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES);
        for i in (0..self.kinds.len()).filter(|i| self.is_tag(*i)) {
            let path = self.parquet.column(i).path().clone();
            builder = builder.set_column_compression(path, codec(compression));
        }
        Arc::new(builder.build())
    }

    /// Settings of the other columns of one row group: encodings, and whether pages are compressed, are chosen by looking at
    /// values.
    pub(crate) fn group_properties(
        &self,
        group: &Group,
        compression: Compression,
    ) -> Result<WriterPropertiesPtr, ParquetError> {
        let mut builder = base_properties()
            .set_compression(codec(compression))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_dictionary_enabled(false);
        let sample = Sample::of(group);
        for (i, kind) in self.kinds.iter().enumerate() {
            let path = self.parquet.column(i).path().clone();
            builder = match *kind {
                FileColumn::Tag(_) => builder.set_column_compression(path, Codec::UNCOMPRESSED),
                FileColumn::Time => builder
                    .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
                    .set_column_statistics_enabled(path, EnabledStatistics::Page),
                FileColumn::Field(field, FieldType::Float64, None) => {
                    // Parquet leaves open how NaN orders: readers that prune would lose rows.
                    let statistics = if has_nan(group, field) {
                        EnabledStatistics::None
                    } else {
                        EnabledStatistics::Chunk
                    };
                    builder
                        .set_column_dictionary_enabled(path.clone(), sample.repeats(field))
                        .set_column_encoding(path.clone(), Encoding::BYTE_STREAM_SPLIT)
                        .set_column_statistics_enabled(path, statistics)
                }
                FileColumn::Field(
                    _,
                    FieldType::Float64
                    | FieldType::Int64
                    | FieldType::UInt64
                    | FieldType::Timestamp,
                    _,
                ) => {
                    let columns = sample.batches.iter().map(|batch| self.array(i, batch));
                    builder
                        .set_column_dictionary_enabled(path.clone(), prefers_dictionary(columns))
                        .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
                }
                FileColumn::Field(_, FieldType::Boolean, _) => {
                    builder.set_column_encoding(path, Encoding::PLAIN)
                }
                FileColumn::Field(field, FieldType::Utf8, _) => builder
                    .set_column_dictionary_enabled(path.clone(), sample.repeats(field))
                    .set_column_encoding(path, Encoding::DELTA_LENGTH_BYTE_ARRAY),
                FileColumn::Cleared => builder
                    .set_column_dictionary_enabled(path.clone(), true)
                    .set_column_encoding(path.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
                    .set_column_statistics_enabled(path, EnabledStatistics::None),
            };
        }
        let compressed = Arc::new(builder.clone().build());
        for i in self.idly_compressed(&sample, &compressed)? {
            let path = self.parquet.column(i).path().clone();
            builder = builder.set_column_compression(path, Codec::UNCOMPRESSED);
        }
        Ok(Arc::new(builder.build()))
    }

    /// Writers of the columns of one row group.
    pub(crate) fn writers(
        &self,
        properties: &WriterPropertiesPtr,
        group: usize,
    ) -> Result<Vec<ArrowColumnWriter>, ParquetError> {
        // Settings differ between row groups, and column writers take theirs from a file writer.
        let root = self.parquet.root_schema_ptr();
        let settings = SerializedFileWriter::new(io::sink(), root, Arc::clone(properties))?;
        let factory = ArrowRowGroupWriterFactory::new(&settings, Arc::clone(&self.arrow));
        let writers = factory.create_column_writers(group)?;
        assert_eq!(writers.len(), self.kinds.len(), "one writer a column");
        Ok(writers)
    }

    /// The columns whose pages a sample says that compression saves little of.
    fn idly_compressed(
        &self,
        sample: &Sample<'_>,
        properties: &WriterPropertiesPtr,
    ) -> Result<Vec<usize>, ParquetError> {
        let mut idle = Vec::new();
        for (i, mut writer) in self.writers(properties, 0)?.into_iter().enumerate() {
            if self.is_tag(i) {
                continue;
            }
            let mut rows = 0;
            for batch in &sample.batches {
                let array = self.array(i, batch);
                let array = array.slice(0, array.len().min(TRIAL_ROWS));
                rows += array.len() as u64;
                for leaf in compute_leaves(self.arrow.field(i), &array)? {
                    writer.write(&leaf)?;
                }
            }
            let chunk = writer.close()?;
            let metadata = &chunk.close().metadata;
            let bytes = |bytes: i64| u64::try_from(bytes).unwrap_or(0);
            let plain = bytes(metadata.uncompressed_size());
            let saved = plain.saturating_sub(bytes(metadata.compressed_size()));
            let rows_min = match self.kinds[i] {
                FileColumn::Time => TIME_SAVED_ROWS_MIN,
                _ => SAVED_ROWS_MIN,
            };
            if saved * SAVED_SHARE_MIN < plain || saved * rows_min < rows {
                idle.push(i);
            }
        }
        Ok(idle)
    }
}

fn codec(compression: Compression) -> Codec {
    match compression {
        Compression::Lz4 => Codec::LZ4_RAW,
        Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
    }
}

fn base_properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(format!("quorate version {} (build segment)", SegmentWriter::WRITER_ID))
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_write_batch_size(PAGE_ROWS)
        .set_data_page_row_count_limit(PAGE_ROWS)
}

fn has_nan(group: &Group, field: usize) -> bool {
    group.batches.iter().any(|batch| {
        let array = batch.fields[field].as_primitive::<Float64Type>();
        match array.null_count() {
            0 => array.values().iter().any(|value| value.is_nan()),
            _ => array.iter().flatten().any(f64::is_nan),
        }
    })
}

/// Some batches of a row group, by which its encodings are chosen.
struct Sample<'a> {
    batches: Vec<&'a Batch>,
}

impl<'a> Sample<'a> {
    fn of(group: &'a Group) -> Self {
        let (batches, taken) = (group.batches.len(), SAMPLE_BATCHES.min(group.batches.len()));
        Self { batches: (0..taken).map(|i| &group.batches[i * batches / taken]).collect() }
    }

    /// Whether values repeat enough for a dictionary: at least every other one was seen before.
    fn repeats(&self, field: usize) -> bool {
        let mut seen = Seen::default();
        let mut values = 0;
        for batch in &self.batches {
            let array = &batch.fields[field];
            values += array.len() - array.null_count();
            if let Some(array) = array.as_primitive_opt::<Float64Type>() {
                seen.extend(array.iter().flatten().map(f64::to_bits));
            } else {
                let array = array.as_string_view();
                seen.extend(
                    array.iter().flatten().map(|text| xxhash_rust::xxh3::xxh3_64(text.as_bytes())),
                );
            }
        }
        seen.len() * 2 <= values
    }
}

/// Whether whole numbers take fewer bits as places in a dictionary than as differences.
fn prefers_dictionary(columns: impl Iterator<Item = ArrayRef>) -> bool {
    let mut seen = Distinct::default();
    let (mut values, mut changes, mut delta_bits) = (0_u64, 0_u64, 0_u64);
    for column in columns {
        let data = column.to_data();
        let all = data.buffer::<i64>(0).get(..column.len()).unwrap_or_default();
        let numbers = if column.null_count() == 0 {
            Cow::Borrowed(all)
        } else {
            (0..all.len()).filter(|row| column.is_valid(*row)).map(|row| all[row]).collect()
        };
        values += numbers.len() as u64;
        let mut from = 0;
        while let Some([first, rest @ ..]) = numbers.get(from..).filter(|rest| rest.len() > 1) {
            let (mut last, mut min, mut max, mut equal) = (*first, i64::MAX, i64::MIN, 0_u64);
            let block = rest.get(..DELTA_BLOCK).unwrap_or(rest);
            for number in block {
                let step = number.wrapping_sub(last);
                (last, min, max) = (*number, min.min(step), max.max(step));
                equal += u64::from(step == 0);
            }
            delta_bits +=
                block.len() as u64 * u64::from(bits_of(max.wrapping_sub(min).cast_unsigned()));
            changes += block.len() as u64 - equal;
            from += block.len();
        }
        if seen.len() <= DISTINCT_MAX {
            seen.extend(&numbers);
        }
    }
    if seen.len() > DISTINCT_MAX {
        return false;
    }
    let width = u64::from(bits_of(seen.len().saturating_sub(1) as u64));
    // Stretches of one value take a number and a length.
    let place_bits = (values * width).min(changes * (width + 16));
    (place_bits + seen.len() as u64 * 64) * 10 < delta_bits * 9
}

/// Different numbers. Those around the first one, as most are, are bits and not hashed.
#[derive(Default)]
struct Distinct {
    lowest: Option<i64>,
    near: [u64; 16],
    far: Seen,
}

impl Distinct {
    /// How far below the first one the lowest is: half of what the bits hold.
    const BELOW: i64 = 512;

    fn extend(&mut self, numbers: &[i64]) {
        let Some(first) = numbers.first() else { return };
        let lowest = *self.lowest.get_or_insert(first.wrapping_sub(Self::BELOW));
        for number in numbers {
            let place = number.wrapping_sub(lowest).cast_unsigned();
            match self.near.get_mut((place / 64) as usize) {
                Some(bits) => *bits |= 1 << (place % 64),
                None => _ = self.far.insert(number.cast_unsigned()),
            }
        }
    }

    fn len(&self) -> usize {
        self.far.len() + self.near.iter().map(|bits| bits.count_ones() as usize).sum::<usize>()
    }
}

/// Bits that a number takes.
fn bits_of(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}

type Seen = HashSet<u64, BuildHasherDefault<Mix>>;

/// Spreads the bits of one `u64`: the default hasher costs more than the encoding.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u64 keys are hashed");
    }
    fn write_u64(&mut self, value: u64) {
        let mixed = (value ^ (value >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }
}

fn tag_array(tag: usize, batch: &Batch) -> ArrayRef {
    let mut keys = UInt32Builder::with_capacity(batch.rows());
    let mut values = StringBuilder::new();
    let mut last: Option<String> = None;
    let mut distinct = 0u32;
    for run in &batch.runs {
        match run.key.decode().into_iter().nth(tag).flatten() {
            None => keys.append_nulls(run.rows),
            Some(text) => {
                if last.as_ref() != Some(&text) {
                    values.append_value(&text);
                    distinct += 1;
                    last = Some(text);
                }
                keys.append_value_n(distinct - 1, run.rows);
            }
        }
    }
    let keys: PrimitiveArray<UInt32Type> = keys.finish();
    let array = DictionaryArray::try_new(keys, Arc::new(values.finish()))
        .expect("every key is below the number of values");
    Arc::new(array)
}

fn field_type(kind: ColumnKind, id: ColumnId) -> DataType {
    match kind {
        ColumnKind::Field(FieldType::Float64) => DataType::Float64,
        ColumnKind::Field(FieldType::Int64) => DataType::Int64,
        ColumnKind::Field(FieldType::UInt64) => DataType::UInt64,
        ColumnKind::Field(FieldType::Boolean) => DataType::Boolean,
        ColumnKind::Field(FieldType::Utf8) => DataType::Utf8View,
        ColumnKind::Field(FieldType::Timestamp) => Unit::Nano.arrow(),
        ColumnKind::Time | ColumnKind::Tag => panic!("column {} is not a field", id.0),
    }
}
