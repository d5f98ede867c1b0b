//! Encodes row groups into one file.
//!
//! A row group is encoded column by column, so that at most one encoded column chunk is in memory beside the rows. What
//! the columns look like depends on the rows ([`Shape`]): the first row group decides, and when a later one needs a
//! finer time unit, cleared marks or more decimals, the file so far is closed, read back and written anew in the wider
//! shape. The bytes are thus those that would have come from knowing all rows beforehand. Units and marks cause that three
//! times at most; after [`REWRITES_MAX`] times in all, floats are stored as they are.

use std::io;
use std::path::Path;
use std::sync::Arc;

use parquet::arrow::arrow_writer::compute_leaves;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;
use quorate_wal::Disk;

use crate::columns::{FileColumns, Shape};
use crate::content::Content;
use crate::directory::DirectoryBuilder;
use crate::format::{BlockTable, Description, FORMAT, KEY_FORMAT, KEY_SECTIONS, Section, Sections};
use crate::group::{Group, Grouper};
use crate::sink::{Sink, TempFile};
use crate::summaries::SummaryBuilder;
use crate::{
    ColumnKind, Error, FieldType, RowSchema, SegmentCaches, SegmentMeta, SegmentReader, WriterSpec,
};

/// How often a file is written anew before it gives up to store floats as whole numbers.
pub(crate) const REWRITES_MAX: usize = 8;

/// One file that is being written.
#[derive(Debug)]
pub(crate) struct Encoder {
    disk: Arc<dyn Disk>,
    schema: Arc<RowSchema>,
    spec: WriterSpec,
    shape: Shape,
    columns: FileColumns,
    file: SerializedFileWriter<Sink>,
    temp: TempFile,
    directory: DirectoryBuilder,
    summaries: SummaryBuilder,
    groups: usize,
    /// How often it was written anew.
    rewrites: usize,
}

impl Encoder {
    /// Begins a file in `dir` whose rows have the given shape.
    pub(crate) fn begin(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        schema: Arc<RowSchema>,
        spec: WriterSpec,
        shape: Shape,
    ) -> Result<Self, Error> {
        let temp = TempFile::create(disk, dir)?;
        let begin = || {
            let columns = FileColumns::new(&schema, &shape)?;
            let sink = Sink::new(Arc::clone(temp.file()));
            let root = columns.parquet.root_schema_ptr();
            let file = SerializedFileWriter::new(sink, root, columns.file_properties())?;
            Ok((columns, file))
        };
        let (columns, file) = begin().map_err(|e| encode_error(temp.path(), e))?;
        Ok(Self {
            disk: Arc::clone(disk),
            summaries: SummaryBuilder::new(&schema),
            schema,
            spec,
            shape,
            columns,
            file,
            temp,
            directory: DirectoryBuilder::default(),
            groups: 0,
            rewrites: 0,
        })
    }

    /// Bytes written so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.bytes_written() as u64
    }

    /// Writes a row group, after widening the file if the group needs it.
    pub(crate) fn write(self, group: &Group, dir: &Path) -> Result<Self, Error> {
        let shape = self.shape.or_of(group);
        let mut encoder = if shape.is_stored_like(&self.shape) {
            Self { shape, ..self }
        } else if self.rewrites < REWRITES_MAX {
            self.widen(shape, dir)?
        } else {
            self.widen(shape.without_scales(), dir)?
        };
        encoder.append(group)?;
        Ok(encoder)
    }

    /// Ends the file; it stays under its temporary name, not synced.
    pub(crate) fn finish(mut self, content: Content) -> Result<(TempFile, SegmentMeta), Error> {
        let directory = std::mem::take(&mut self.directory).finish();
        let totals = directory.totals;
        let description = Description {
            content_hash: content.hash,
            rows: totals.rows,
            series: totals.series,
            key_min: totals.key_min,
            key_max: totals.key_max,
            time_min: totals.time_min,
            time_max: totals.time_max,
            has_cleared: self.shape.cleared,
            schema: RowSchema::clone(&self.schema),
            fields: content.fields,
            spec: self.spec.clone(),
        };
        let path = self.temp.path();
        let data_bytes = self.file.bytes_written() as u64;
        let summaries = self.summaries.finish(data_bytes).map_err(|e| encode_error(path, e))?;
        let summaries = summaries.unwrap_or_default();
        let parts = [directory.blocks, directory.index, summaries, description.encode()];
        let facts = end_file(self.file, &parts).map_err(|e| encode_error(path, e))?;
        Ok((self.temp, description.into_meta(facts)))
    }

    /// Removes the file.
    pub(crate) fn abort(self) -> Result<(), Error> {
        self.temp.remove()
    }

    /// Writes the same rows to a new file of a wider shape.
    fn widen(self, shape: Shape, dir: &Path) -> Result<Self, Error> {
        let (disk, schema) = (Arc::clone(&self.disk), Arc::clone(&self.schema));
        let mut wider = Self::begin(&disk, dir, Arc::clone(&schema), self.spec.clone(), shape)?;
        wider.rewrites = self.rewrites + 1;
        // Only the place of the rows is asked of the old file, not what they hold.
        let (temp, meta) = self.finish(Content { hash: [0; 32], fields: Vec::new() })?;
        let caches = SegmentCaches::new(0);
        let reader = SegmentReader::open(disk, temp.path(), Arc::new(meta), caches)?;
        let entries = reader.directory(None)?.collect::<Result<Vec<_>, _>>()?;
        let fields: Vec<_> = schema
            .fields
            .iter()
            .map(|field| match field.kind {
                ColumnKind::Field(kind) => (field.id, kind),
                ColumnKind::Time | ColumnKind::Tag => (field.id, FieldType::Utf8),
            })
            .collect();
        let mut grouper = Grouper::default();
        for rows in reader.scan(entries, &fields, true)? {
            let rows = rows?;
            let mut offset = 0;
            while offset < rows.rows() {
                if grouper.is_full(&rows.key) {
                    wider.append(&grouper.take())?;
                }
                offset += grouper.add(&rows, offset);
            }
        }
        // The old file ended with a group, so the rows collected now are one.
        wider.append(&grouper.take())?;
        temp.remove()?;
        Ok(wider)
    }

    fn append(&mut self, group: &Group) -> Result<(), Error> {
        self.encode(group).map_err(|e| encode_error(self.temp.path(), e))?;
        for batch in &group.batches {
            let times = batch.time.values();
            let mut row = 0;
            for run in &batch.runs {
                let last = row + run.rows - 1;
                self.directory.add(&run.key, run.rows as u64, times[row], times[last]);
                row += run.rows;
            }
            self.summaries.add(batch);
        }
        self.groups += 1;
        Ok(())
    }

    fn encode(&mut self, group: &Group) -> Result<(), ParquetError> {
        let compression = self.spec.compression;
        let chunks = self.columns.tag_chunks(group)?;
        let tags = if chunks.iter().all(Option::is_some) {
            Vec::new()
        } else {
            self.columns.writers(&self.columns.tag_properties(compression), self.groups)?
        };
        let (mut chunks, mut tags) = (chunks.into_iter(), tags.into_iter());
        let properties = self.columns.group_properties(group, compression)?;
        let others = self.columns.writers(&properties, self.groups)?;
        let mut row_group = self.file.next_row_group()?;
        for (i, other) in others.into_iter().enumerate() {
            let tag = tags.next();
            if let Some((bytes, close)) = chunks.next().flatten() {
                row_group.append_column(&bytes, close)?;
                continue;
            }
            let mut writer = tag.filter(|_| self.columns.is_tag(i)).unwrap_or(other);
            let field = self.columns.arrow.field(i);
            for batch in &group.batches {
                for leaf in compute_leaves(field, &self.columns.array(i, batch))? {
                    writer.write(&leaf)?;
                }
            }
            writer.close()?.append_to_row_group(&mut row_group)?;
        }
        row_group.close()?;
        Ok(())
    }
}

/// Writes the sections, the block table and the footer.
fn end_file(
    mut file: SerializedFileWriter<Sink>,
    parts: &[Vec<u8>; 4],
) -> Result<crate::format::FileFacts, ParquetError> {
    let mut place = |bytes: &[u8]| -> Result<Section, ParquetError> {
        let offset = file.bytes_written() as u64;
        file.write_all(bytes)?;
        Ok(Section { version: 1, offset, bytes: bytes.len() as u64 })
    };
    let directory = place(&parts[0])?;
    let index = place(&parts[1])?;
    let summaries = place(&parts[2])?;
    let description = place(&parts[3])?;
    file.flush()?;
    let front = file.bytes_written() as u64;
    file.inner_mut().begin_tail()?;
    let table = vec![0; BlockTable::encoded_len(front)];
    file.write_all(&table)?;
    let blocks = Section { version: 1, offset: front, bytes: table.len() as u64 };
    let sections = Sections { directory, index, summaries, description, blocks };
    let pairs = [(KEY_FORMAT, FORMAT.to_string()), (KEY_SECTIONS, sections.to_text())];
    for (key, value) in pairs {
        file.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
    }
    Ok(file.into_inner()?.finish()?)
}

/// Failures of the disk come wrapped by the Parquet writer.
fn encode_error(path: &Path, error: ParquetError) -> Error {
    let path = path.to_owned();
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => Error::Io { action: "write", path, source: *source },
            Err(source) => {
                Error::Parquet { action: "write", path, source: ParquetError::External(source) }
            }
        },
        source => Error::Parquet { action: "write", path, source },
    }
}
