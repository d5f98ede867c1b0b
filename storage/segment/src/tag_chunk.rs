//! Encodes the column chunk of a tag from runs of rows.
//!
//! A tag changes with the series, so that a row group holds few runs of it. Parquet's writer looks each row up in its
//! dictionary; here each run is. What is written is as from there: a dictionary page, and a data page of definition levels
//! and of places in the dictionary, both as runs ([encodings]). They are not compressed: chunks that would be long like
//! that are left to Parquet's writer, which compresses.
//!
//! [encodings]: https://parquet.apache.org/docs/file-format/data-pages/encodings/

use std::collections::HashMap;

use bytes::Bytes;
use parquet::basic::{CompressionCodec, Encoding, EncodingMask, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, OffsetIndexBuilder, PageEncodingStats};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use crate::directory::put_varint;

/// A chunk is encoded here if it takes at most one byte in this many rows: compression cannot save much of it.
const ROWS_A_BYTE_MIN: usize = 16;
/// Bytes of the longest text: Parquet's writer shortens longer ones in the statistics.
const TEXT_BYTES_MAX: usize = 64;

/// An encoded column chunk, and what the footer says of it.
pub(crate) type Chunk = (Bytes, ColumnCloseResult);

/// Encodes a column whose rows are these runs; `None` where Parquet's writer does better.
pub(crate) fn encode(
    column: &ColumnDescPtr,
    runs: &[(Option<&str>, usize)],
) -> Result<Option<Chunk>, ParquetError> {
    let rows = runs.iter().map(|(_, rows)| rows).sum::<usize>();
    let Some(dictionary) = Dictionary::of(runs.iter().filter_map(|(text, _)| *text)) else {
        return Ok(None);
    };
    let data = dictionary.data(runs);
    let bytes = dictionary.bytes.len() + data.len();
    if bytes > rows / ROWS_A_BYTE_MIN {
        return Ok(None);
    }
    let mut sink = TrackedWrite::new(Vec::with_capacity(bytes + 128));
    let mut pages = SerializedPageWriter::new(&mut sink);
    let statistics = dictionary.statistics(runs);
    let dictionary = pages.write_page(dictionary.into_page())?;
    let data = pages.write_page(data_page(data, rows)?)?;
    pages.close()?;
    let (dictionary, data) = (dictionary.bytes_written, data.bytes_written);
    let [rows_signed, dictionary_signed, total_signed] =
        [rows as u64, dictionary, dictionary + data].map(u64::cast_signed);
    let metadata = ColumnChunkMetaData::builder(ColumnDescPtr::clone(column))
        .set_compression_codec(CompressionCodec::UNCOMPRESSED)
        .set_encodings_mask(EncodingMask::new_from_encodings(
            [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY].iter(),
        ))
        .set_page_encoding_stats(vec![
            page_stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN),
            page_stats(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY),
        ])
        .set_total_compressed_size(total_signed)
        .set_total_uncompressed_size(total_signed)
        .set_num_values(rows_signed)
        .set_dictionary_page_offset(Some(0))
        .set_data_page_offset(dictionary_signed)
        .set_statistics(statistics)
        .build()?;
    let mut offsets = OffsetIndexBuilder::new();
    offsets.append_row_count(rows_signed);
    offsets.append_offset_and_size(dictionary_signed, i32::try_from(data)?);
    let close = ColumnCloseResult {
        bytes_written: dictionary + data,
        rows_written: rows as u64,
        metadata,
        bloom_filter: None,
        column_index: None,
        offset_index: Some(offsets.build()),
    };
    Ok(Some((sink.into_inner()?.into(), close)))
}

/// The different texts of a column.
struct Dictionary<'a> {
    /// Where each one stands.
    places: HashMap<&'a str, u32>,
    /// As the page holds them: each with its length before it.
    bytes: Vec<u8>,
}

impl<'a> Dictionary<'a> {
    /// The dictionary of these texts, in the order in which they come first; `None` if one is long.
    fn of(texts: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut dictionary = Self { places: HashMap::new(), bytes: Vec::new() };
        let mut last = None;
        for text in texts {
            if last == Some(text) {
                continue;
            }
            last = Some(text);
            if text.len() > TEXT_BYTES_MAX {
                return None;
            }
            let next = u32::try_from(dictionary.places.len()).ok()?;
            if *dictionary.places.entry(text).or_insert(next) == next {
                dictionary.bytes.extend(u32::try_from(text.len()).ok()?.to_le_bytes());
                dictionary.bytes.extend(text.as_bytes());
            }
        }
        Some(dictionary)
    }

    /// Which rows have a text, and which: definition levels with their length before them, and places with their width.
    fn data(&self, runs: &[(Option<&str>, usize)]) -> Vec<u8> {
        let mut levels = Runs::of_bits(1);
        let last = self.places.len().saturating_sub(1);
        let width = (usize::BITS - last.leading_zeros()).max(1);
        let mut places = Runs::of_bits(width);
        for &(text, rows) in runs {
            levels.add(u32::from(text.is_some()), rows);
            if let Some(text) = text {
                places.add(self.places[text], rows);
            }
        }
        let (levels, places) = (levels.end(), places.end());
        let length = u32::try_from(levels.len()).expect("levels take six bytes a run");
        let mut data = length.to_le_bytes().to_vec();
        data.extend(levels);
        data.extend(width.to_le_bytes().first());
        data.extend(places);
        data
    }

    fn statistics(&self, runs: &[(Option<&str>, usize)]) -> Statistics {
        let text = |text: Option<&&str>| text.map(|text| ByteArray::from(*text));
        let nulls = runs.iter().filter(|(text, _)| text.is_none()).map(|(_, rows)| *rows as u64);
        Statistics::ByteArray(ValueStatistics::new(
            text(self.places.keys().min()),
            text(self.places.keys().max()),
            None,
            Some(nulls.sum()),
            false,
        ))
    }

    fn into_page(self) -> CompressedPage {
        let bytes = self.bytes.len();
        let num_values = u32::try_from(self.places.len()).expect("places are u32");
        let page = Page::DictionaryPage {
            buf: self.bytes.into(),
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        CompressedPage::new(page, bytes)
    }
}

/// Numbers as lengths of runs and the number in each: half of Parquet's hybrid encoding, the other packs bits.
struct Runs {
    /// Bytes of a number.
    width: usize,
    encoded: Vec<u8>,
    run: (u32, usize),
}

impl Runs {
    /// Numbers of so many bits.
    fn of_bits(bits: u32) -> Self {
        Self { width: bits.div_ceil(8) as usize, encoded: Vec::new(), run: (0, 0) }
    }

    /// So many more of this number.
    fn add(&mut self, number: u32, times: usize) {
        if self.run.0 != number {
            self.end_run();
            self.run = (number, 0);
        }
        self.run.1 += times;
    }

    fn end_run(&mut self) {
        let (number, times) = self.run;
        if times > 0 {
            put_varint(&mut self.encoded, (times as u64) << 1);
            self.encoded.extend(number.to_le_bytes().iter().take(self.width));
        }
    }

    /// All runs.
    fn end(mut self) -> Vec<u8> {
        self.end_run();
        self.encoded
    }
}

fn data_page(data: Vec<u8>, rows: usize) -> Result<CompressedPage, ParquetError> {
    let bytes = data.len();
    let page = Page::DataPage {
        buf: data.into(),
        num_values: u32::try_from(rows)?,
        encoding: Encoding::RLE_DICTIONARY,
        def_level_encoding: Encoding::RLE,
        rep_level_encoding: Encoding::RLE,
        statistics: None,
    };
    Ok(CompressedPage::new(page, bytes))
}

fn page_stats(page_type: PageType, encoding: Encoding) -> PageEncodingStats {
    PageEncodingStats { page_type, encoding, count: 1 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use parquet::file::properties::WriterProperties;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::file::writer::SerializedFileWriter;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::test_support::Random;

    /// A file of one column that Parquet's writer makes of the rows.
    fn as_parquet_writes_them(runs: &[(Option<&str>, usize)]) -> Bytes {
        let texts = runs.iter().flat_map(|(text, rows)| std::iter::repeat_n(*text, *rows));
        let schema = Arc::new(Schema::new(vec![Field::new("tag", DataType::Utf8, true)]));
        let column = Arc::new(texts.collect::<StringArray>());
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
        let properties =
            WriterProperties::builder().set_max_row_group_row_count(Some(usize::MAX)).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap().into()
    }

    /// A file like the one given, with the column encoded here.
    fn as_encoded_here(other: &Bytes, runs: &[(Option<&str>, usize)]) -> Option<Bytes> {
        let other = SerializedFileReader::new(other.clone()).unwrap();
        let schema = other.metadata().file_metadata().schema_descr().clone();
        let (bytes, close) = encode(&schema.column(0), runs).unwrap()?;
        let root = schema.root_schema_ptr();
        let mut file = SerializedFileWriter::new(Vec::new(), root, Arc::default()).unwrap();
        let mut group = file.next_row_group().unwrap();
        group.append_column(&bytes, close).unwrap();
        group.close().unwrap();
        Some(file.into_inner().unwrap().into())
    }

    fn rows(file: Bytes) -> Vec<Option<String>> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let texts = |batch: RecordBatch| {
            let texts = batch.column(0).as_string::<i32>();
            texts.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        reader.flat_map(|batch| texts(batch.unwrap())).collect()
    }

    fn statistics(file: Bytes) -> Statistics {
        let reader = SerializedFileReader::new(file).unwrap();
        reader.metadata().row_group(0).column(0).statistics().unwrap().clone()
    }

    fn check(runs: &[(Option<&str>, usize)]) {
        let theirs = as_parquet_writes_them(runs);
        let ours = as_encoded_here(&theirs, runs).expect("few runs are encoded here");
        assert_eq!(rows(ours.clone()), rows(theirs.clone()));
        assert_eq!(statistics(ours), statistics(theirs));
    }

    #[test]
    fn runs_are_read_as_what_parquet_writes() {
        check(&[(Some("host"), 5_000)]);
        check(&[(None, 5_000)]);
        check(&[(Some(""), 5_000), (None, 1)]);
        check(&[(Some("b"), 900), (Some("b"), 900), (None, 7), (Some("a"), 1), (Some("b"), 3)]);
        check(&[(Some(&"x".repeat(64)), 5_000), (Some("ä"), 200_000)]);
    }

    #[test]
    fn every_width_of_a_place_is_read() {
        for texts in [1, 2, 3, 4, 5, 8, 9, 255, 256, 257, 258, 600] {
            let texts: Vec<_> = (0..texts).map(|i| i.to_string()).collect();
            check(&texts.iter().map(|text| (Some(text.as_str()), 400)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn long_texts_and_many_runs_are_left_to_parquet() {
        let long = "x".repeat(65);
        let many: Vec<_> = (0..1_000).map(|i| i.to_string()).collect();
        let many: Vec<_> = many.iter().map(|text| (Some(text.as_str()), 20)).collect();
        for runs in [&[(Some(long.as_str()), 100_000)][..], &many, &[(Some("short"), 10)]] {
            assert!(as_encoded_here(&as_parquet_writes_them(runs), runs).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_runs_are_read_as_what_parquet_writes(seed in any::<u64>()) {
            let mut random = Random(seed);
            let texts: Vec<_> = (0..=random.below(40)).map(|i| format!("t{}", i * 7 % 13)).collect();
            let mut below = |n: usize| usize::try_from(random.below(n as u64)).unwrap();
            let runs: Vec<_> = (0..below(60))
                .map(|_| ((below(4) > 0).then(|| texts[below(texts.len())].as_str()), 1 + below(900)))
                .collect();
            let theirs = as_parquet_writes_them(&runs);
            if let Some(ours) = as_encoded_here(&theirs, &runs) {
                prop_assert_eq!(rows(ours.clone()), rows(theirs.clone()));
                prop_assert_eq!(statistics(ours), statistics(theirs));
            }
        }
    }
}
