//! What an uploaded Arrow message claims of itself, held against what it is, before anything is decoded by it.
//!
//! *Where it sits*: between the messages of a `DoPut` and arrow's decoder ([`crate::update::Upload`]). The decoder checks
//! the arrays that it makes: offsets, UTF-8, dictionary keys, views. It trusts the metadata that it makes them by: it
//! panics at types that do not exist and at buffers that lie outside of the body, allocates what a compressed buffer
//! declares, and unpacks LZ4 to whatever comes out. An allocation that fails ends the process, so what is declared is
//! refused here.
//!
//! *How it works*: an [`Inspector`] follows one upload.
//!
//! - A schema: types that exist, as many children as they need; little-endian.
//! - A batch of rows or a dictionary: counts that are not negative, buffers within the body, and together no more bytes,
//!   once unpacked, than a message may have. LZ4 is unpacked once to nowhere, as its frames may hold more than is declared;
//!   zstd is not, since arrow gives it exactly the room that is declared.
//! - Dictionaries that an upload keeps: together no more than a message may have, however many messages add to them.
//! - A decoded batch: columns may share buffers, and dictionaries and views may repeat one long value in every row. What
//!   they would be as plain columns is bounded by [`FLAT_FACTOR`].
//!
//! *Limits*: unions, run ends and list views are refused: nothing here stores them. Whether a field's buffers are long
//! enough for its rows is left to the decoder.

use std::collections::HashMap;
use std::io::Read;

use arrow::array::{
    Array, ArrayRef, AsArray, OffsetSizeTrait, RecordBatch, downcast_dictionary_array,
};
use arrow::datatypes::{ArrowNativeType, BinaryViewType, ByteViewType, DataType, StringViewType};
use arrow::ipc;
use arrow_flight::FlightData;
use lz4_flex::frame::FrameDecoder;

/// Fields, nodes and buffers of a message, each: many times more than a table may have columns, and few enough to walk.
const PARTS_MAX: usize = 1 << 16;

/// How much larger a batch may be as plain columns than a message: eight is what the narrowest integers become when they
/// are stored, so that plain columns stay below it.
const FLAT_FACTOR: u64 = 8;

/// Bytes of the length before a compressed buffer, and the length that says that the buffer is not compressed after all.
const PREFIX_BYTES: usize = 8;
const NOT_COMPRESSED: i64 = -1;

/// Why a message is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// It contradicts itself.
    #[error("the message is damaged: {0}")]
    Damaged(String),
    /// It is in order, and of a kind that is not taken.
    #[error("{0} cannot be uploaded")]
    Unsupported(String),
    /// It is, or declares to be, too large.
    #[error("{what} than {max}; send fewer rows at once")]
    TooLarge {
        /// What is too large, up to the comparison.
        what: &'static str,
        /// The limit.
        max: u64,
    },
}

/// Follows the messages of one upload.
#[derive(Debug)]
pub(crate) struct Inspector {
    /// Largest message, unpacked.
    bytes_max: u64,
    /// View columns of the schema, outside of dictionaries: each has a count of buffers in a batch.
    views: usize,
    /// Bytes that the dictionaries hold.
    dictionaries: HashMap<i64, u64>,
}

impl Inspector {
    /// An inspector of an upload whose messages may have so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max: bytes_max as u64, views: 0, dictionaries: HashMap::new() }
    }

    /// Whether the message may be given to the decoder.
    pub(crate) fn message(&mut self, data: &FlightData) -> Result<(), Refusal> {
        let message = ipc::root_as_message(&data.data_header)
            .map_err(|e| Refusal::Damaged(format!("its metadata cannot be read: {e}")))?;
        let body = &data.data_body;
        match message.header_type() {
            ipc::MessageHeader::Schema => {
                let schema = message.header_as_schema().ok_or_else(|| damaged("no schema"))?;
                self.views = schema_views(schema)?;
                self.dictionaries.clear();
            }
            ipc::MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch().ok_or_else(|| damaged("no batch"))?;
                let counts = batch.variadicBufferCounts().map_or(0, |counts| counts.len());
                if counts != self.views {
                    return Err(damaged(format!(
                        "{counts} counts of buffers for {} columns of views",
                        self.views
                    )));
                }
                self.batch(batch, body)?;
            }
            ipc::MessageHeader::DictionaryBatch => {
                let dictionary =
                    message.header_as_dictionary_batch().ok_or_else(|| damaged("no dictionary"))?;
                let batch = dictionary.data().ok_or_else(|| damaged("no dictionary values"))?;
                // What is not compressed stays a part of the body.
                let held = self.batch(batch, body)?.max(body.len() as u64);
                let before = self.dictionaries.entry(dictionary.id()).or_default();
                *before = if dictionary.isDelta() { *before + held } else { held };
                if self.dictionaries.values().sum::<u64>() > self.bytes_max {
                    return Err(self.too_large("the dictionaries of the upload hold more bytes"));
                }
            }
            // The decoder ignores the first and names the others.
            _ => {}
        }
        Ok(())
    }

    /// Whether the batch is a reasonable size as plain columns.
    pub(crate) fn decoded(&self, batch: &RecordBatch) -> Result<(), Refusal> {
        let bytes = batch.columns().iter().map(flat_bytes).fold(0, u64::saturating_add);
        let max = self.bytes_max.saturating_mul(FLAT_FACTOR);
        if bytes > max {
            return Err(Refusal::TooLarge { what: "the rows of a batch are larger in bytes", max });
        }
        Ok(())
    }

    /// Checks a batch's metadata; the bytes that its buffers unpack to.
    fn batch(&self, batch: ipc::RecordBatch<'_>, body: &[u8]) -> Result<u64, Refusal> {
        let nodes = batch.nodes().ok_or_else(|| damaged("a batch without nodes"))?;
        let buffers = batch.buffers().ok_or_else(|| damaged("a batch without buffers"))?;
        let counts = batch.variadicBufferCounts();
        let counts = counts.into_iter().flatten();
        parts(nodes.len().max(buffers.len()))?;
        self.rows(count(batch.length())?)?;
        for node in nodes {
            let length = count(node.length())?;
            if count(node.null_count())? > length {
                return Err(damaged("a column has more nulls than values"));
            }
            // A bit each at least; columns without buffers have no other limit.
            if length > self.bytes_max.saturating_mul(8) {
                return Err(self.too_large("a column has more values"));
            }
        }
        let mut views: u64 = 0;
        for count in counts.map(count) {
            views = views.saturating_add(count?);
        }
        if views > buffers.len() as u64 {
            return Err(damaged("columns of views have more buffers than there are"));
        }
        let codec = batch.compression().map(|compression| compression.codec());
        let mut unpacked: u64 = 0;
        for buffer in buffers {
            let bytes = slice(body, buffer)?;
            let Some(codec) = codec.filter(|_| !bytes.is_empty()) else { continue };
            let Some((length, packed)) = declared(bytes)? else { continue };
            unpacked = unpacked.saturating_add(length);
            if unpacked > self.bytes_max {
                return Err(self.too_large("a message unpacks to more bytes"));
            }
            if codec == ipc::CompressionType::LZ4_FRAME {
                expect_lz4(packed, length)?;
            }
        }
        Ok(unpacked)
    }

    /// Rows that have nothing in them cost nothing on the wire, and something as soon as they are used.
    fn rows(&self, rows: u64) -> Result<(), Refusal> {
        if rows > self.bytes_max / 2 {
            return Err(Refusal::TooLarge {
                what: "a batch has more rows",
                max: self.bytes_max / 2,
            });
        }
        Ok(())
    }

    fn too_large(&self, what: &'static str) -> Refusal {
        Refusal::TooLarge { what, max: self.bytes_max }
    }
}

fn damaged(why: impl Into<String>) -> Refusal {
    Refusal::Damaged(why.into())
}

/// A count of the metadata, which has signed ones.
fn count(count: i64) -> Result<u64, Refusal> {
    u64::try_from(count).map_err(|_| damaged("a count is negative"))
}

fn parts(parts: usize) -> Result<(), Refusal> {
    if parts > PARTS_MAX {
        let what = "a message has more fields or buffers";
        return Err(Refusal::TooLarge { what, max: PARTS_MAX as u64 });
    }
    Ok(())
}

/// The bytes of a buffer.
fn slice<'a>(body: &'a [u8], buffer: &ipc::Buffer) -> Result<&'a [u8], Refusal> {
    let start = usize::try_from(buffer.offset()).ok();
    let length = usize::try_from(buffer.length()).ok();
    let range = start.zip(length).and_then(|(start, len)| Some(start..start.checked_add(len)?));
    range.and_then(|range| body.get(range)).ok_or_else(|| {
        damaged(format!(
            "a buffer of {} bytes at {} lies outside of the body, which has {}",
            buffer.length(),
            buffer.offset(),
            body.len()
        ))
    })
}

/// The length that a compressed buffer declares, and what follows it; `None` if nothing is to be unpacked.
fn declared(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Refusal> {
    let (length, packed) = bytes
        .split_first_chunk::<PREFIX_BYTES>()
        .ok_or_else(|| damaged("a compressed buffer is shorter than its length"))?;
    match i64::from_le_bytes(*length) {
        0 | NOT_COMPRESSED => Ok(None),
        length => Ok(Some((count(length)?, packed))),
    }
}

/// Unpacks LZ4 to nowhere: the frames decide how much comes out, not what is declared before them.
fn expect_lz4(packed: &[u8], length: u64) -> Result<(), Refusal> {
    let mut unpacked = FrameDecoder::new(packed).take(length.saturating_add(1));
    let found = std::io::copy(&mut unpacked, &mut std::io::sink())
        .map_err(|e| damaged(format!("an LZ4 buffer cannot be unpacked: {e}")))?;
    if found != length {
        return Err(damaged(format!(
            "an LZ4 buffer does not unpack to the {length} bytes it declares"
        )));
    }
    Ok(())
}

/// Checks a schema; how many columns of views it has.
fn schema_views(schema: ipc::Schema<'_>) -> Result<usize, Refusal> {
    if schema.endianness() != ipc::Endianness::Little {
        return Err(Refusal::Unsupported("big-endian data".to_owned()));
    }
    let fields = schema.fields().ok_or_else(|| damaged("a schema without fields"))?;
    let (mut left, mut views) = (PARTS_MAX, 0);
    for field in fields {
        views += field_views(field, &mut left)?;
    }
    Ok(views)
}

/// Checks a field and its children. Their depth is bounded by the verifier of the metadata.
fn field_views(field: ipc::Field<'_>, left: &mut usize) -> Result<usize, Refusal> {
    *left = left.checked_sub(1).ok_or(Refusal::TooLarge {
        what: "a message has more fields or buffers",
        max: PARTS_MAX as u64,
    })?;
    let wrong = |what: &str| {
        let name = field.name().unwrap_or_default();
        Err(damaged(format!("column {name:?} has {what} that is not taken")))
    };
    if !is_sound(field) {
        return wrong("a type");
    }
    let mut views = 0;
    for child in field.children().into_iter().flatten() {
        views += field_views(child, left)?;
    }
    if let Some(dictionary) = field.dictionary() {
        // The values, and views among them, come in batches of their own.
        return match dictionary.indexType() {
            Some(index) if is_width(index.bitWidth()) => Ok(0),
            _ => wrong("a type of dictionary keys"),
        };
    }
    match field.type_type() {
        ipc::Type::Utf8View | ipc::Type::BinaryView => Ok(views + 1),
        unsupported @ (ipc::Type::Union
        | ipc::Type::RunEndEncoded
        | ipc::Type::ListView
        | ipc::Type::LargeListView) => Err(Refusal::Unsupported(format!(
            "column {:?} of the type {}",
            field.name().unwrap_or_default(),
            unsupported.variant_name().unwrap_or_default()
        ))),
        _ => Ok(views),
    }
}

fn is_width(bits: i32) -> bool {
    matches!(bits, 8 | 16 | 32 | 64)
}

/// Whether the type is one that Arrow has, with the children that it needs.
fn is_sound(field: ipc::Field<'_>) -> bool {
    use ipc::{Precision, TimeUnit, Type};
    let units = |unit: TimeUnit| TimeUnit::ENUM_VALUES.contains(&unit);
    let children = field.children().map_or(0, |children| children.len());
    match field.type_type() {
        Type::Int => field.type_as_int().is_some_and(|int| is_width(int.bitWidth())),
        Type::FloatingPoint => field
            .type_as_floating_point()
            .is_some_and(|float| Precision::ENUM_VALUES.contains(&float.precision())),
        Type::FixedSizeBinary => {
            field.type_as_fixed_size_binary().is_some_and(|binary| binary.byteWidth() >= 0)
        }
        Type::Decimal => field.type_as_decimal().is_some_and(is_sound_decimal),
        Type::Date => field
            .type_as_date()
            .is_some_and(|date| ipc::DateUnit::ENUM_VALUES.contains(&date.unit())),
        Type::Time => field.type_as_time().is_some_and(|time| {
            matches!(
                (time.bitWidth(), time.unit()),
                (32, TimeUnit::SECOND | TimeUnit::MILLISECOND)
                    | (64, TimeUnit::MICROSECOND | TimeUnit::NANOSECOND)
            )
        }),
        Type::Timestamp => field.type_as_timestamp().is_some_and(|time| units(time.unit())),
        Type::Duration => field.type_as_duration().is_some_and(|time| units(time.unit())),
        Type::Interval => field
            .type_as_interval()
            .is_some_and(|interval| ipc::IntervalUnit::ENUM_VALUES.contains(&interval.unit())),
        Type::List | Type::LargeList => children == 1,
        Type::FixedSizeList => {
            children == 1
                && field.type_as_fixed_size_list().is_some_and(|list| list.listSize() >= 0)
        }
        Type::Map => children == 1 && field.type_as_map().is_some(),
        Type::NONE => false,
        other => Type::ENUM_VALUES.contains(&other),
    }
}

fn is_sound_decimal(decimal: ipc::Decimal<'_>) -> bool {
    let digits = match decimal.bitWidth() {
        32 => 9,
        64 => 18,
        128 => 38,
        256 => 76,
        _ => return false,
    };
    // Scales below zero exist, and arrow panics when it prints such values.
    let precision = decimal.precision();
    (1..=digits).contains(&precision) && (0..=precision).contains(&decimal.scale())
}

/// Bytes of an array's values as a plain column: a dictionary's and a view's value once in each row that has it.
fn flat_bytes(array: &ArrayRef) -> u64 {
    let rows = array.len() as u64;
    let children = |arrays: &[ArrayRef]| arrays.iter().map(flat_bytes).fold(0, u64::saturating_add);
    match array.data_type() {
        DataType::Dictionary(_, _) => dictionary_bytes(array),
        DataType::Utf8 => text_bytes(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => text_bytes(array.as_string::<i64>().value_offsets()),
        DataType::Binary => text_bytes(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => text_bytes(array.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => view_bytes::<StringViewType>(array),
        DataType::BinaryView => view_bytes::<BinaryViewType>(array),
        DataType::FixedSizeBinary(width) => rows.saturating_mul(u64::from(width.unsigned_abs())),
        DataType::List(_) => children(std::slice::from_ref(array.as_list::<i32>().values())),
        DataType::LargeList(_) => children(std::slice::from_ref(array.as_list::<i64>().values())),
        DataType::FixedSizeList(_, _) => {
            children(std::slice::from_ref(array.as_fixed_size_list().values()))
        }
        DataType::Map(_, _) => children(array.as_map().entries().columns()),
        DataType::Struct(_) => children(array.as_struct().columns()),
        other => rows.saturating_mul(other.primitive_width().unwrap_or(8).max(8) as u64),
    }
}

fn text_bytes<O: OffsetSizeTrait>(offsets: &[O]) -> u64 {
    let ends = offsets.first().zip(offsets.last());
    let bytes = ends.map_or(0, |(first, last)| last.as_usize().saturating_sub(first.as_usize()));
    (bytes + size_of_val(offsets)) as u64
}

fn view_bytes<V: ByteViewType>(array: &ArrayRef) -> u64 {
    let views = array.as_byte_view::<V>().views().iter();
    views.map(|view| view_length(*view)).fold(0, u64::saturating_add)
}

/// What the keys say, as each row will have its value.
fn dictionary_bytes(array: &ArrayRef) -> u64 {
    let values = array.as_any_dictionary().values();
    let all = flat_bytes(values);
    let one: Box<dyn Fn(usize) -> u64> = match values.data_type() {
        DataType::Utf8 => offset_lengths(values.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => offset_lengths(values.as_string::<i64>().value_offsets()),
        DataType::Binary => offset_lengths(values.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => offset_lengths(values.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => view_lengths::<StringViewType>(values),
        DataType::BinaryView => view_lengths::<BinaryViewType>(values),
        other => {
            // A value of anything else is no larger than all of them.
            let width = other.primitive_width().map_or(all, |width| width.max(8) as u64);
            Box::new(move |_| width)
        }
    };
    downcast_dictionary_array!(
        array => array.keys().values().iter().map(|key| one(key.as_usize())).fold(0, u64::saturating_add),
        _ => all
    )
}

/// The length of each value; a key that is null may point anywhere.
fn offset_lengths<'a, O: OffsetSizeTrait>(offsets: &'a [O]) -> Box<dyn Fn(usize) -> u64 + 'a> {
    Box::new(move |i| match offsets.get(i..).unwrap_or_default() {
        [start, end, ..] => (end.as_usize() - start.as_usize() + 8) as u64,
        _ => 8,
    })
}

fn view_lengths<'a, V: ByteViewType>(array: &'a ArrayRef) -> Box<dyn Fn(usize) -> u64 + 'a> {
    let views = array.as_byte_view::<V>().views();
    Box::new(move |i| views.get(i).map_or(8, |view| view_length(*view)))
}

/// A view begins with the length of its value.
fn view_length(view: u128) -> u64 {
    let [a, b, c, d, ..] = view.to_le_bytes();
    u64::from(u32::from_le_bytes([a, b, c, d])) + size_of::<u128>() as u64
}

#[cfg(test)]
#[path = "inspect_tests.rs"]
mod tests;
