//! The columns of a segment file: their Parquet types, and how each is encoded.
//!
//! Columns stand in the order tags, time, fields, cleared marks; `field_id` is the column's id. The engine reads tags
//! from the series directory: tag columns are there for other readers of the file.
//!
//! | column | encoding | statistics |
//! |---|---|---|
//! | tag | dictionary | per row group |
//! | time | `DELTA_BINARY_PACKED` in the coarsest exact unit | per page |
//! | float | dictionary, falling back to `BYTE_STREAM_SPLIT`; only that where a sample has few repeats | per row group without NaN |
//! | integer, timestamp | `DELTA_BINARY_PACKED` | per row group |
//! | boolean | `PLAIN` | per row group |
//! | text, cleared marks | dictionary, falling back to `DELTA_LENGTH_BYTE_ARRAY`; likewise | per row group |

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, PrimitiveArray, StringBuilder,
    TimestampMicrosecondArray, TimestampMillisecondArray, UInt32Builder, new_null_array,
};
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef, TimeUnit, UInt32Type};
use parquet::arrow::{ArrowSchemaConverter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression as Codec, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{
    EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterPropertiesPtr,
    WriterVersion,
};
use parquet::schema::types::{ColumnPath, SchemaDescriptor};

use crate::group::Group;
use crate::rows::Batch;
use crate::{ColumnId, ColumnKind, Compression, FieldType, RowSchema, SegmentWriter};

/// Rows of a page.
pub(crate) const PAGE_ROWS: usize = 4_096;
/// Size at which a dictionary is given up: it is read whole for every row group that a query touches.
const DICTIONARY_BYTES: usize = 128 << 10;
/// Batches of a row group that are looked at to choose an encoding.
const SAMPLE_BATCHES: usize = 4;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Unit of the time column.
    pub(crate) unit: Unit,
    /// Whether there is a column of cleared marks.
    pub(crate) cleared: bool,
}

impl Shape {
    /// What the rows of `group` need.
    pub(crate) fn of(group: &Group) -> Self {
        let unit = group.batches.iter().map(|batch| Unit::of(batch.time.values())).max();
        Self {
            unit: unit.unwrap_or(Unit::Milli),
            cleared: group.batches.iter().any(|batch| batch.cleared.is_some()),
        }
    }

    /// What the rows of both need.
    pub(crate) fn union(self, other: Self) -> Self {
        Self { unit: self.unit.max(other.unit), cleared: self.cleared || other.cleared }
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
    Field(usize, FieldType),
    Cleared,
}

impl FileColumns {
    pub(crate) fn new(schema: &RowSchema, shape: Shape) -> Result<Self, ParquetError> {
        let tags = schema.tags.iter().map(|tag| {
            let text = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(DataType::Utf8));
            (tag.id, tag.name.as_str(), text)
        });
        let time = (schema.time.id, schema.time.name.as_str(), shape.unit.arrow());
        let fields = schema
            .fields
            .iter()
            .map(|field| (field.id, field.name.as_str(), field_type(field.kind, field.id)));
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
                ColumnKind::Field(kind) => FileColumn::Field(i, kind),
                ColumnKind::Time | ColumnKind::Tag => unreachable!("field_type has refused it"),
            }))
            .chain(shape.cleared.then_some(FileColumn::Cleared))
            .collect();
        let parquet = ArrowSchemaConverter::new().schema_root("segment").convert(&arrow)?;
        Ok(Self { arrow, parquet, kinds, unit: shape.unit })
    }

    /// Number of columns.
    pub(crate) fn len(&self) -> usize {
        self.kinds.len()
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
            FileColumn::Field(field, _) => ArrayRef::clone(&batch.fields[field]),
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

    /// Settings of one row group: encodings are chosen by looking at its values.
    pub(crate) fn group_properties(
        &self,
        group: &Group,
        compression: Compression,
    ) -> WriterPropertiesPtr {
        let codec = match compression {
            Compression::Lz4 => Codec::LZ4_RAW,
            Compression::Zstd => Codec::ZSTD(ZstdLevel::default()),
        };
        let mut builder = base_properties()
            .set_compression(codec)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_dictionary_enabled(false);
        for (i, kind) in self.kinds.iter().enumerate() {
            let path = self.parquet.column(i).path().clone();
            builder = match *kind {
                FileColumn::Tag(_) => builder.set_column_dictionary_enabled(path, true),
                FileColumn::Time => builder
                    .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
                    .set_column_statistics_enabled(path, EnabledStatistics::Page),
                FileColumn::Field(field, kind) => {
                    field_properties(builder, path, group, field, kind)
                }
                FileColumn::Cleared => builder
                    .set_column_dictionary_enabled(path.clone(), true)
                    .set_column_encoding(path.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
                    .set_column_statistics_enabled(path, EnabledStatistics::None),
            };
        }
        Arc::new(builder.build())
    }
}

fn base_properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(format!("quorate version {} (build segment)", SegmentWriter::WRITER_ID))
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_write_batch_size(PAGE_ROWS)
        .set_data_page_row_count_limit(PAGE_ROWS)
}

fn field_properties(
    builder: WriterPropertiesBuilder,
    path: ColumnPath,
    group: &Group,
    field: usize,
    kind: FieldType,
) -> WriterPropertiesBuilder {
    match kind {
        FieldType::Float64 => {
            let statistics = if has_nan(group, field) {
                // Parquet leaves open how NaN orders: readers that prune would lose rows.
                EnabledStatistics::None
            } else {
                EnabledStatistics::Chunk
            };
            builder
                .set_column_dictionary_enabled(path.clone(), repeats(group, field))
                .set_column_encoding(path.clone(), Encoding::BYTE_STREAM_SPLIT)
                .set_column_statistics_enabled(path, statistics)
        }
        FieldType::Int64 | FieldType::UInt64 | FieldType::Timestamp => {
            builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
        }
        FieldType::Boolean => builder.set_column_encoding(path, Encoding::PLAIN),
        FieldType::Utf8 => builder
            .set_column_dictionary_enabled(path.clone(), repeats(group, field))
            .set_column_encoding(path, Encoding::DELTA_LENGTH_BYTE_ARRAY),
    }
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

/// Whether values repeat enough for a dictionary: in a sample of the group at least every other one was seen before.
fn repeats(group: &Group, field: usize) -> bool {
    let batches = group.batches.len();
    let mut seen: HashSet<u64, BuildHasherDefault<Mix>> = HashSet::default();
    let mut values = 0;
    for i in 0..SAMPLE_BATCHES.min(batches) {
        let array = &group.batches[i * batches / SAMPLE_BATCHES.min(batches)].fields[field];
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
