//! Writes a segment: sorted rows in, one durable file out.
//!
//! ```text
//! push ─► Grouper ─► ContentHasher    hash and statistics of the rows
//!                └─► Encoder ─► Sink  Parquet, directory, block hashes; one row group in memory
//! finish: sync file ─► rename to its hash ─► sync directory
//! ```
//!
//! Same rows, schema and [`WriterSpec`] give the same bytes, however the rows are cut into pieces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::AsArray;
use quorate_wal::Disk;

use crate::columns::Shape;
use crate::content::ContentHasher;
use crate::encoder::Encoder;
use crate::group::{Group, Grouper};
use crate::{ColumnId, Error, RowSchema, SegmentMeta, SeriesKey, SeriesRows, WriterSpec};

/// Writes one segment, streaming: rows are pushed in order, memory is bounded by a row group.
#[derive(Debug)]
pub struct SegmentWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    schema: Arc<RowSchema>,
    spec: WriterSpec,
    grouper: Grouper,
    content: ContentHasher,
    /// Begun with the first row group, which decides how columns are stored.
    encoder: Option<Encoder>,
    rows: u64,
    /// Series and time of the last row.
    last: Option<(SeriesKey, i64)>,
}

impl SegmentWriter {
    /// Settings and crate versions that this build writes with.
    pub const WRITER_ID: u32 = 4;

    /// Begins a file under a temporary name in `dir`. The file records [`SegmentWriter::WRITER_ID`], whatever
    /// `spec` says: this build has no other settings.
    ///
    /// # Panics
    ///
    /// If columns of `schema` are not in the order of their ids, or one has a reserved id.
    pub fn begin(
        disk: Arc<dyn Disk>,
        dir: &Path,
        schema: RowSchema,
        mut spec: WriterSpec,
    ) -> Result<Self, Error> {
        spec.writer = Self::WRITER_ID;
        for columns in [&schema.tags, &schema.fields] {
            assert!(columns.is_sorted_by(|a, b| a.id < b.id), "columns ascend by id");
        }
        let all = schema.tags.iter().chain(&schema.fields).chain([&schema.time]);
        for column in all {
            assert!(column.id < ColumnId::HIDDEN_MIN, "column id {} is reserved", column.id.0);
        }
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            content: ContentHasher::new(&schema),
            schema: Arc::new(schema),
            spec,
            grouper: Grouper::default(),
            encoder: None,
            rows: 0,
            last: None,
        })
    }

    /// Appends rows; keys ascend, and times within a key (over calls, too).
    ///
    /// # Panics
    ///
    /// If rows come out of order, or are not of the schema's types.
    pub fn push(&mut self, rows: SeriesRows) -> Result<(), Error> {
        if rows.rows() == 0 {
            return Ok(());
        }
        rows.assert_shape(&self.schema);
        self.assert_order(&rows);
        let last_time = rows.times().last().copied();
        let mut offset = 0;
        while offset < rows.rows() {
            if self.grouper.is_full(&rows.key) {
                let group = self.grouper.take();
                self.encode(&group)?;
            }
            offset += self.grouper.add(&rows, offset);
        }
        self.rows += rows.rows() as u64;
        self.last = last_time.map(|time| (rows.key, time));
        Ok(())
    }

    /// Rows pushed so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Encoded bytes so far, about: what is not encoded yet counts like what is. The same rows give the same answer,
    /// however they were cut.
    pub fn bytes(&self) -> u64 {
        let encoded = self.encoder.as_ref().map_or(0, Encoder::bytes);
        let waiting = self.grouper.rows() as u64;
        match self.rows - waiting {
            0 => waiting * 2 * (self.schema.fields.len() as u64 + 1),
            done => encoded + encoded * waiting / done,
        }
    }

    /// Ends the file: syncs it, renames it to its hash, and syncs the directory. `None` if no row was pushed.
    ///
    /// # Panics
    ///
    /// If fewer rows were encoded than pushed, which is a bug.
    pub fn finish(mut self) -> Result<Option<SegmentMeta>, Error> {
        if self.rows == 0 {
            return Ok(None);
        }
        let group = self.grouper.take();
        self.encode(&group)?;
        let encoder = self.encoder.take().expect("a row was pushed, so a group was encoded");
        let (temp, meta) = encoder.finish(self.content.finish())?;
        assert_eq!(meta.rows, self.rows, "rows written");
        temp.persist(&meta.file_name())?;
        Ok(Some(meta))
    }

    /// Gives up and removes the temporary file.
    pub fn abort(self) -> Result<(), Error> {
        self.encoder.map_or(Ok(()), Encoder::abort)
    }

    fn encode(&mut self, group: &Group) -> Result<(), Error> {
        for batch in &group.batches {
            self.content.update(batch);
        }
        let encoder = match self.encoder.take() {
            Some(encoder) => encoder,
            None => Encoder::begin(
                &self.disk,
                &self.dir,
                Arc::clone(&self.schema),
                self.spec.clone(),
                Shape::narrowest(&self.schema).or_of(group),
            )?,
        };
        self.encoder = Some(encoder.write(group, &self.dir)?);
        Ok(())
    }

    fn assert_order(&self, rows: &SeriesRows) {
        let times = rows.times();
        assert!(times.is_sorted_by(|a, b| a < b), "times of a series ascend");
        if let Some((key, time)) = &self.last {
            let ascends = *key < rows.key || (*key == rows.key && *time < times[0]);
            assert!(ascends, "rows at {} after rows at {time} of series {key:?}", times[0]);
        }
        if let Some(cleared) = &rows.cleared {
            let ids = cleared.as_binary::<i32>().iter().flatten();
            for ids in ids {
                let (ids, rest) = ids.as_chunks::<4>();
                assert!(rest.is_empty() && !ids.is_empty(), "cleared marks are column ids");
                assert!(ids.is_sorted_by(|a, b| a < b), "cleared column ids ascend");
            }
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
