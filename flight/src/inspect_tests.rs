//! Messages as clients write them, and what is wrong with those that they do not.

use std::sync::Arc;

use arrow::array::{
    DictionaryArray, Int8Array, Int64Array, NullArray, StringArray, StringViewArray,
};
use arrow::datatypes::{Field, Schema};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{DictionaryHandling, IpcWriteOptions, StreamWriter};
use futures::{StreamExt, TryStreamExt};
use tonic::{Code, Status};

use super::*;
use crate::update::{UNREADABLE, decoded};
use mutation::{Mutator, bound, cases, encode, seed, stored, uploads};

#[path = "../tests/it/mutation.rs"]
mod mutation;

/// Largest message in these tests.
const BYTES_MAX: usize = 1 << 20;

/// All batches of the messages, or the first error.
fn decode(messages: Vec<FlightData>) -> Result<Vec<RecordBatch>, Status> {
    let messages = futures::stream::iter(messages.into_iter().map(Ok));
    futures::executor::block_on(decoded(messages, BYTES_MAX).boxed().try_collect())
}

#[track_caller]
fn check_refused(messages: Vec<FlightData>, code: Code, words: &str) {
    let status = decode(messages).unwrap_err();
    assert_eq!(status.code(), code, "{status}");
    assert!(status.message().contains(words), "{status}");
}

fn one_column(array: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter([("a", Arc::new(array) as ArrayRef)]).unwrap()
}

/// Puts a number where another one is, once.
fn replace(bytes: &[u8], old: i64, new: i64) -> bytes::Bytes {
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> =
        (0..bytes.len() - 7).filter(|at| bytes[*at..at + 8] == old.to_le_bytes()).collect();
    let [at] = places[..] else { panic!("{old} is at {places:?}") };
    bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
    bytes.into()
}

#[test]
fn what_is_in_order_is_decoded_exactly() {
    for batch in [stored(0), bound()] {
        for messages in uploads(&[batch.clone(), batch.clone()]) {
            assert_eq!(decode(messages).unwrap(), [batch.clone(), batch.clone()]);
        }
    }
}

#[test]
fn damaged_uploads_are_errors_or_sound_batches() {
    let seed = seed();
    let both = [uploads(&[stored(0), stored(99)]), uploads(&[bound()])].concat();
    let mut mutator = Mutator::new(seed);
    let (mut refused, mut taken, mut unreadable) = (0, 0, 0);
    for case in 0..cases(4_000) {
        match decode(mutator.upload(&both)) {
            Err(status) => {
                refused += 1;
                unreadable += u64::from(status.message() == UNREADABLE);
                assert_ne!(status.code(), Code::Internal, "seed {seed}, case {case}: {status}");
            }
            Ok(batches) => {
                taken += 1;
                for batch in batches {
                    for column in batch.columns() {
                        let sound = column.to_data().validate_full();
                        sound.unwrap_or_else(|e| panic!("seed {seed}, case {case}: {e}"));
                    }
                    // All of it is read; a time zone that does not exist is an error here, too.
                    let text = arrow::util::pretty::pretty_format_batches(&[batch]);
                    let _ = text.map(|text| text.to_string());
                }
            }
        }
    }
    assert!(refused > 0 && taken > 0, "{refused} refused, {taken} taken");
    assert!(unreadable * 20 < refused, "{unreadable} of {refused} reached the decoder's asserts");
}

#[test]
fn a_packed_buffer_that_declares_too_much_is_refused() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let values = Int64Array::from(vec![7; 1_000]);
        let messages = encode(vec![one_column(values)], Some(codec));
        for length in [1 << 20, 1 << 40, i64::MAX] {
            let mut messages = messages.clone();
            messages[1].data_body =
                replace(&messages[1].data_body, 8_000, length + 1 - (length >> 62));
            check_refused(messages, Code::ResourceExhausted, "unpacks to more bytes than 1048576");
        }
        let mut messages = messages;
        messages[1].data_body = replace(&messages[1].data_body, 8_000, -2);
        check_refused(messages, Code::InvalidArgument, "a count is negative");
    }
}

#[test]
fn a_buffer_that_holds_more_than_it_declares_is_refused() {
    // Half a mebibyte in a few kilobytes, and eight bytes declared.
    for (codec, words) in [
        (CompressionType::LZ4_FRAME, "does not unpack to the 8 bytes"),
        (CompressionType::ZSTD, "cannot be read"),
    ] {
        let values = Int64Array::from(vec![0; 1 << 16]);
        let mut messages = encode(vec![one_column(values)], Some(codec));
        messages[1].data_body = replace(&messages[1].data_body, 8 << 16, 8);
        check_refused(messages, Code::InvalidArgument, words);
    }
}

#[test]
fn rows_that_are_nowhere_are_refused() {
    let messages = encode(vec![one_column(NullArray::new(987_654))], None);
    check_refused(messages, Code::ResourceExhausted, "a batch has more rows than 524288");
}

#[test]
fn values_that_repeat_in_every_row_are_counted_in_every_row() {
    let long = "x".repeat(1 << 18);
    let keys = Int8Array::from(vec![0; 1_000]);
    let values: ArrayRef = Arc::new(StringArray::from(vec![long.as_str()]));
    let dictionary = DictionaryArray::new(keys, values);
    let view = StringViewArray::from_iter_values([long.as_str()]);
    let view = arrow::compute::take(&view, &Int8Array::from(vec![0; 1_000]), None).unwrap();
    let view: StringViewArray = view.as_string_view().clone();
    for batch in [one_column(dictionary), one_column(view)] {
        let words = "the rows of a batch are larger in bytes than 8388608";
        check_refused(encode(vec![batch], None), Code::ResourceExhausted, words);
    }
}

#[test]
fn dictionaries_that_grow_with_every_message_are_refused() {
    let batch = |words: &[String]| {
        let words: ArrayRef = Arc::new(StringArray::from_iter_values(words));
        one_column(DictionaryArray::new(Int8Array::from(vec![0]), words))
    };
    let words = ["x".repeat(1 << 16), "y".repeat(1 << 16)];
    let mut messages = encode(vec![batch(&words[..1])], None);
    let delta = FlightData {
        data_header: delta_header(&batch(&words[..1]), &batch(&words)).into(),
        ..messages[1].clone()
    };
    messages.splice(2..2, std::iter::repeat_n(delta, 40));
    let words = "the dictionaries of the upload hold more bytes than 1048576";
    check_refused(messages, Code::ResourceExhausted, words);
}

/// Metadata of what arrow's writer adds to a dictionary between two batches.
fn delta_header(first: &RecordBatch, second: &RecordBatch) -> Vec<u8> {
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let mut writer =
        StreamWriter::try_new_with_options(Vec::new(), &first.schema(), options).unwrap();
    writer.write(first).unwrap();
    let before = writer.get_ref().len();
    writer.write(second).unwrap();
    // A message: a marker, the length of its metadata, the metadata.
    let message = &writer.get_ref()[before..];
    let length = u32::from_le_bytes(message[4..8].try_into().unwrap()) as usize;
    let header = message[8..8 + length].to_vec();
    let dictionary = ipc::root_as_message(&header).unwrap();
    assert!(dictionary.header_as_dictionary_batch().unwrap().isDelta());
    header
}

#[test]
fn types_that_are_not_stored_are_refused_by_name() {
    let runs = arrow::array::Int32RunArray::from_iter(["a", "a", "b"]);
    let messages = encode(vec![one_column(Int64Array::from(vec![1]))], None);
    let schema = Schema::new(vec![Field::new("runs", runs.data_type().clone(), true)]);
    let options = IpcWriteOptions::default();
    let runs: FlightData = arrow_flight::SchemaAsIpc::new(&schema, &options).into();
    let words = "column \"runs\" of the type RunEndEncoded cannot be uploaded";
    check_refused(vec![runs, messages[1].clone()], Code::Unimplemented, words);
}

#[test]
fn metadata_that_nests_too_deep_is_refused() {
    let mut data_type = DataType::Int64;
    for _ in 0..1_000 {
        data_type = DataType::List(Arc::new(Field::new("i", data_type, true)));
    }
    let schema = Schema::new(vec![Field::new("a", data_type, true)]);
    let message: FlightData =
        arrow_flight::SchemaAsIpc::new(&schema, &IpcWriteOptions::default()).into();
    check_refused(vec![message], Code::InvalidArgument, "its metadata cannot be read");
}
