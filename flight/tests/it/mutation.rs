//! Uploads of every type that an upload may have, and seeded damage to them: bits, lengths, cuts, splices.
//!
//! `PROPTEST_CASES` and `PROPTEST_RNG_SEED` set the number of cases and the seed, as of the property tests.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array,
    DictionaryArray, FixedSizeBinaryArray, Float32Array, Float64Array, Int8Array, Int64Array,
    LargeStringArray, ListArray, NullArray, RecordBatch, StringArray, StringViewArray, StructArray,
    Time64NanosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt64Array,
};
use arrow::datatypes::{Field, Int8Type, Int32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::IpcWriteOptions;
use arrow_flight::FlightData;
use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use bytes::Bytes;
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Rows of a batch.
const ROWS: usize = 24;

/// Lengths, offsets and counts that decoders stumble over.
const NUMBERS: [i64; 18] = [
    0,
    1,
    -1,
    2,
    7,
    63,
    255,
    65_536,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    1 << 33,
    1 << 40,
    1 << 62,
    i64::MAX,
    i64::MIN,
    i64::MAX - 7,
    -8,
];

/// So many cases, or more in proportion to `PROPTEST_CASES`, which is 256 where it is not set.
pub(crate) fn cases(cases: u64) -> u64 {
    number("PROPTEST_CASES").map_or(cases, |asked| cases * asked / 256)
}

/// `PROPTEST_RNG_SEED`, or any; it is printed.
pub(crate) fn seed() -> u64 {
    let seed = number("PROPTEST_RNG_SEED").unwrap_or_else(rand::random::<u64>);
    let _ = writeln!(std::io::stderr(), "PROPTEST_RNG_SEED={seed}");
    seed
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// What an ingest can store: times, text, numbers, dictionaries.
pub(crate) fn stored(start: i64) -> RecordBatch {
    let n = i64::try_from(ROWS).unwrap();
    let times = (start..start + n).map(|i| i * 1_000);
    let name = |i: usize| format!("a value that is longer than twelve bytes {}", i % 5);
    let names = || (0..ROWS).map(|i| (i % 4 != 3).then(|| name(i)));
    let keys = Int8Array::from_iter_values((0..ROWS).map(|i| i8::try_from(i % 3).unwrap()));
    let words = Arc::new(StringArray::from(vec!["x", "a somewhat longer word", ""]));
    let small: DictionaryArray<Int8Type> = DictionaryArray::new(keys, words);
    let wide: DictionaryArray<Int32Type> =
        names().collect::<Vec<_>>().iter().map(Option::as_deref).collect();
    let floats = (0..ROWS).map(|i| (i % 5 != 0).then_some(i as f64 / 3.0));
    RecordBatch::try_from_iter([
        (
            "time",
            Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
                as ArrayRef,
        ),
        ("host", Arc::new(names().collect::<StringArray>())),
        ("large", Arc::new(names().collect::<LargeStringArray>())),
        ("view", Arc::new(names().collect::<StringViewArray>())),
        ("small", Arc::new(small)),
        ("wide", Arc::new(wide)),
        ("float", Arc::new(floats.collect::<Float64Array>())),
        ("narrow", Arc::new(Float32Array::from_iter_values((0..ROWS).map(|i| i as f32)))),
        ("int", Arc::new(Int64Array::from_iter_values(0..n))),
        ("uint", Arc::new(UInt64Array::from_iter_values((0..ROWS).map(|i| i as u64)))),
        ("bool", Arc::new((0..ROWS).map(|i| Some(i % 2 == 0)).collect::<BooleanArray>())),
        ("at", Arc::new(TimestampMillisecondArray::from_iter_values(0..n))),
        (
            "day",
            Arc::new(Date32Array::from_iter_values((0..ROWS).map(|i| i32::try_from(i).unwrap()))),
        ),
        ("nothing", Arc::new(NullArray::new(ROWS))),
    ])
    .unwrap()
}

/// What only a parameter can be.
pub(crate) fn bound() -> RecordBatch {
    let blob = |i: usize| vec![u8::try_from(i).unwrap(); i];
    let lists = (0..ROWS).map(|i| Some((0..i32::try_from(i % 4).unwrap()).map(Some)));
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(lists);
    let inner: ArrayRef = Arc::new(Int64Array::from_iter_values(0..i64::try_from(ROWS).unwrap()));
    let inner = StructArray::from(vec![(
        Arc::new(Field::new("i", inner.data_type().clone(), true)),
        inner,
    )]);
    let fixed =
        FixedSizeBinaryArray::try_from_iter((0..ROWS).map(|i| [u8::try_from(i).unwrap(); 5]));
    let decimals = Decimal128Array::from_iter_values((0..ROWS).map(|i| i as i128 * 1_000));
    let times = Time64NanosecondArray::from_iter_values(0..i64::try_from(ROWS).unwrap());
    RecordBatch::try_from_iter([
        ("0", Arc::new(BinaryArray::from_iter_values((0..ROWS).map(blob))) as ArrayRef),
        ("1", Arc::new(BinaryViewArray::from_iter_values((0..ROWS).map(blob)))),
        ("2", Arc::new(lists)),
        ("3", Arc::new(inner)),
        ("4", Arc::new(fixed.unwrap())),
        ("5", Arc::new(decimals.with_precision_and_scale(20, 3).unwrap())),
        ("6", Arc::new(times)),
    ])
    .unwrap()
}

/// The messages of an upload.
pub(crate) fn encode(batches: Vec<RecordBatch>, codec: Option<CompressionType>) -> Vec<FlightData> {
    let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
    let stream = FlightDataEncoderBuilder::new()
        .with_options(options)
        .with_dictionary_handling(DictionaryHandling::Resend)
        .build(futures::stream::iter(batches.into_iter().map(Ok)));
    futures::executor::block_on(stream.try_collect()).unwrap()
}

/// Uploads in every way of packing them.
pub(crate) fn uploads(batches: &[RecordBatch]) -> Vec<Vec<FlightData>> {
    let codecs = [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)];
    codecs.into_iter().map(|codec| encode(batches.to_vec(), codec)).collect()
}

/// Does damage.
#[derive(Debug)]
pub(crate) struct Mutator {
    rng: StdRng,
}

impl Mutator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed) }
    }

    /// One of these, damaged in one to three ways.
    pub(crate) fn upload(&mut self, uploads: &[Vec<FlightData>]) -> Vec<FlightData> {
        let mut messages = self.one(uploads).clone();
        for _ in 0..self.rng.random_range(1..=3) {
            self.damage(&mut messages);
        }
        messages
    }

    /// Bytes, damaged in one way.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        if bytes.is_empty() {
            bytes.extend((0..self.rng.random_range(1..64)).map(|_| 0_u8));
        }
        let at = self.rng.random_range(0..bytes.len());
        match self.rng.random_range(0..6) {
            0 => bytes[at] ^= 1 << self.rng.random_range(0..8),
            1 => bytes[at] = self.rng.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..self.rng.random_range(at..bytes.len()))),
            4 => self.put_number(&mut bytes, at),
            _ => {
                let from = self.rng.random_range(0..bytes.len());
                let piece = bytes[from..bytes.len().min(from + 32)].to_vec();
                bytes.splice(at..at, piece);
            }
        }
        bytes
    }

    fn one<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.rng.random_range(0..all.len())]
    }

    fn damage(&mut self, messages: &mut Vec<FlightData>) {
        if messages.is_empty() {
            return;
        }
        let at = self.rng.random_range(0..messages.len());
        let other = self.rng.random_range(0..messages.len());
        match self.rng.random_range(0..10) {
            // Most of the damage is to the metadata, and to the lengths before packed buffers.
            0..=4 => self.header_number(&mut messages[at]),
            5 => messages[at].data_header = self.bytes(&messages[at].data_header).into(),
            6 => messages[at].data_body = self.bytes(&messages[at].data_body).into(),
            7 => self.body_number(&mut messages[at]),
            8 => messages[at].data_body = messages[other].data_body.clone(),
            _ => match self.rng.random_range(0..3) {
                0 => drop(messages.remove(at)),
                1 => messages.insert(at, messages[other].clone()),
                _ => messages.swap(at, other),
            },
        }
    }

    fn header_number(&mut self, message: &mut FlightData) {
        let mut header = message.data_header.to_vec();
        if header.len() > 8 {
            let at = self.rng.random_range(0..header.len() / 4) * 4;
            self.put_number(&mut header, at);
        }
        message.data_header = header.into();
    }

    fn body_number(&mut self, message: &mut FlightData) {
        let mut body = message.data_body.to_vec();
        if body.len() > 8 {
            let at = self.rng.random_range(0..body.len() / 8) * 8;
            self.put_number(&mut body, at);
        }
        message.data_body = Bytes::from(body);
    }

    /// A number of two, four or eight bytes: one that decoders stumble over, or near what is there.
    fn put_number(&mut self, bytes: &mut [u8], at: usize) {
        let width = (*self.one(&[2_usize, 4, 8])).min(bytes.len() - at);
        let mut near = [0; 8];
        near[..width].copy_from_slice(&bytes[at..at + width]);
        let near = i64::from_le_bytes(near).wrapping_add(self.rng.random_range(-9..=9));
        let number = if self.rng.random_range(0..3) == 0 { near } else { *self.one(&NUMBERS) };
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }
}
