//! `COPY`: rows between tables and files of the node.
//!
//! A file is written under another name and takes its own when it is whole and synced. A file is read twice: nothing is
//! stored before all of it has proved to fit the table.

mod csv_reader;
mod csv_writer;
mod place;
mod sink;
mod source;
mod statement;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::{Ident, ObjectName, Query, Statement};
use futures::StreamExt;
use quorate_storage::batch::Nulls;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub(crate) use self::place::remove_unfinished;
use self::sink::Sink;
pub(crate) use self::statement::CopyStatement;
use self::statement::Direction;
pub(super) use self::statement::{of_datafusion, of_sql};
use super::insert::{self, Target};
use super::keyed::Keyed;
use super::names::{name_of, stored_table};
use super::parameters::Parameters;
use super::parse::{ParsedStatement, parse};
use super::{StatementContext, query};
use crate::exec::{QueryTicket, lost};
use crate::ingest::{IngestMode, TableIngest};
use crate::{Error, ErrorKind, Outcome, Session};

/// Batches between those who read and those who write.
const BATCHES_AHEAD: usize = 2;

impl CopyStatement {
    /// Types of the parameters of its query.
    pub(super) async fn parameter_types(
        &self,
        context: &StatementContext,
        parameters: &[String],
    ) -> Result<BTreeMap<String, DataType>, Error> {
        match self.rows()? {
            Some(rows) => Ok(query::describe(context, &rows, parameters, None).await?.1),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Copies, and counts the rows.
    pub(super) async fn run(
        &self,
        session: &Session,
        sql: &str,
        parameters: &Parameters,
    ) -> Result<Outcome, Error> {
        let path = place::path_of(session.engine(), &self.file)?;
        let dir = session.engine().options().file_dir.clone().unwrap_or_default();
        let notes = session.engine().copy_notes();
        let file = FileAt { dir, path, notes, statement: self.clone() };
        match (&self.direction, self.rows()?) {
            (Direction::From(table, columns), _) => {
                file.load(session, sql, table, columns, parameters).await
            }
            (_, Some(rows)) => file.write(session, sql, &rows, parameters).await,
            (_, None) => Err(Error::request(ErrorKind::Internal, "COPY without rows")),
        }
    }

    /// The query whose rows are written.
    fn rows(&self) -> Result<Option<FrontStatement>, Error> {
        let query = match &self.direction {
            Direction::From(..) => return Ok(None),
            Direction::QueryTo(query) => return Ok(Some(query_of(query))),
            Direction::TableTo(table, columns) if columns.is_empty() => {
                format!("SELECT * FROM {table}")
            }
            Direction::TableTo(table, columns) => {
                let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
                format!("SELECT {} FROM {table}", columns.join(", "))
            }
        };
        match parse(&query)?.statement {
            ParsedStatement::Sql(statement) => Ok(Some(*statement)),
            _ => Err(Error::request(ErrorKind::Invalid, "COPY needs a table or a query")),
        }
    }
}

fn query_of(query: &Query) -> FrontStatement {
    FrontStatement::Statement(Box::new(Statement::Query(Box::new(query.clone()))))
}

/// A file that is read or written.
#[derive(Clone, Debug)]
struct FileAt {
    dir: PathBuf,
    path: PathBuf,
    /// Where unfinished files are noted.
    notes: PathBuf,
    statement: CopyStatement,
}

impl FileAt {
    async fn write(
        self,
        session: &Session,
        sql: &str,
        rows: &FrontStatement,
        parameters: &Parameters,
    ) -> Result<Outcome, Error> {
        let stream = query::start(session, sql, rows, &parameters.single_row()?).await?;
        let (schema, mut batches) = (stream.schema, stream.batches);
        let (sender, mut receiver) = mpsc::channel::<RecordBatch>(BATCHES_AHEAD);
        // The file is whole only if the sender says so: it may go because the query has failed.
        let (whole, is_whole) = tokio::sync::oneshot::channel::<()>();
        let writing = tokio::task::spawn_blocking(move || {
            let mut sink = Sink::create(&self, &schema)?;
            while let Some(batch) = receiver.blocking_recv() {
                sink.write(&batch)?;
            }
            match is_whole.blocking_recv() {
                Ok(()) => sink.finish().map(Some),
                Err(_) => Ok(None),
            }
        });
        let mut outcome = Ok(());
        while let Some(batch) = batches.next().await {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => {
                    outcome = Err(Error::from(error));
                    break;
                }
            };
            if sender.send(batch).await.is_err() {
                // The writer has failed, and tells why below.
                break;
            }
        }
        if outcome.is_ok() {
            // Not taken where the writer has failed.
            let _ = whole.send(());
        } else {
            drop(whole);
        }
        drop(sender);
        let written = writing.await.map_err(|e| lost(&e))?;
        outcome?;
        Ok(Outcome::Updated(written?))
    }

    async fn load(
        self,
        session: &Session,
        sql: &str,
        table: &ObjectName,
        columns: &[Ident],
        parameters: &Parameters,
    ) -> Result<Outcome, Error> {
        let keyed = Keyed::begin(
            session,
            sql,
            &Vec::<datafusion::sql::sqlparser::ast::Expr>::new(),
            parameters,
        )
        .await?;
        let session = keyed.session();
        let context = StatementContext::of(session).await?;
        let place = stored_table(table, context.database_name())?;
        let ticket = query::begin(session, sql);
        let told = self.clone();
        let telling = tokio::task::spawn_blocking(move || told.names());
        let told = ticket.limit(async { telling.await.map_err(|e| lost(&e))? }).await?;
        let given: Vec<String> = columns.iter().map(name_of).collect();
        let target = Target::named(&context, place, &order(given, told.as_deref())?)?;
        let (types, names) = (Arc::clone(&target.shown), told);
        let mut reading = self.read_all(&ticket, &types, names.as_deref());
        while let Some(batch) = reading.next().await? {
            reading.fits(target.cast(&batch))?;
        }
        let writer = session.ingest(TableIngest {
            database: Some(target.place.database.clone()),
            table: target.place.table.clone(),
            mode: IngestMode::Append,
            tags: None,
            time: None,
            nulls: Nulls::Absent,
            digest: keyed.digest(),
        });
        let mut writer = writer.await?;
        let mut reading = self.read_all(&ticket, &types, names.as_deref());
        while let Some(batch) = reading.next().await? {
            let batch = reading.fits(target.cast(&batch))?;
            writer.write(&batch).await?;
        }
        insert::finish(writer).await
    }

    fn names(&self) -> Result<Option<Vec<String>>, Error> {
        let Self { dir, path, statement, .. } = self;
        let mut opened = place::open(dir, path, &statement.file)?;
        source::names(&statement.file, &mut opened, &statement.options)
    }

    /// Begins to read the file.
    fn read_all<'a>(
        &'a self,
        ticket: &'a QueryTicket,
        types: &'a SchemaRef,
        names: Option<&'a [String]>,
    ) -> Reading<'a> {
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        let (file, wanted) = (self.clone(), Arc::clone(types));
        let reader = tokio::task::spawn_blocking(move || file.read(&wanted, &sender));
        let file = &self.statement.file;
        Reading { file, ticket, types, names, receiver, reader: Some(reader), from: 0, rows: 0 }
    }

    fn read(&self, types: &SchemaRef, sender: &mpsc::Sender<RecordBatch>) -> Result<(), Error> {
        let Self { dir, path, statement: CopyStatement { file, options, .. }, .. } = self;
        let opened = place::open(dir, path, file)?;
        for batch in source::batches(file, opened, options, types)? {
            let batch = batch.map_err(|e| source::unreadable(file, &e))?;
            if sender.blocking_send(batch).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// A file on its way, batch by batch.
struct Reading<'a> {
    file: &'a str,
    ticket: &'a QueryTicket,
    types: &'a SchemaRef,
    names: Option<&'a [String]>,
    receiver: mpsc::Receiver<RecordBatch>,
    reader: Option<JoinHandle<Result<(), Error>>>,
    /// Where the last batch begins in the file, from 0, and how long it is.
    from: usize,
    rows: usize,
}

impl Reading<'_> {
    /// The next rows, their columns in the order of the types wanted.
    async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let receiver = &mut self.receiver;
        let Some(batch) = self.ticket.limit(async { Ok(receiver.recv().await) }).await? else {
            // The reader tells why there is no more.
            return match self.reader.take() {
                Some(reader) => reader.await.map_err(|e| lost(&e))?.map(|()| None),
                None => Ok(None),
            };
        };
        self.from += self.rows;
        self.rows = batch.num_rows();
        let fitting = in_order(batch, self.types, self.names);
        self.fits(fitting).map(Some)
    }

    /// Adds to an error, which counts rows within the last batch, where that begins.
    fn fits(&self, batch: Result<RecordBatch, Error>) -> Result<RecordBatch, Error> {
        batch.map_err(|error| within(self.file, self.from, error))
    }
}

/// The file's columns: as the statement names them, by the file, or all of the table.
fn order(given: Vec<String>, told: Option<&[String]>) -> Result<Vec<String>, Error> {
    match told {
        None => Ok(given),
        Some(told) if given.is_empty() => Ok(told.to_vec()),
        Some(told) if told.len() == given.len() => Ok(given),
        Some(told) => Err(Error::request(
            ErrorKind::Invalid,
            format!(
                "COPY names {} columns, and the file has {}: {}",
                given.len(),
                told.len(),
                told.join(", ")
            ),
        )),
    }
}

/// A file that names its columns has them in its own order, which is that of the types.
fn in_order(
    batch: RecordBatch,
    types: &SchemaRef,
    names: Option<&[String]>,
) -> Result<RecordBatch, Error> {
    let want = types.fields().len();
    if batch.num_columns() == want {
        return Ok(batch);
    }
    let have = names.map_or_else(|| batch.num_columns().to_string(), |names| names.join(", "));
    Err(Error::request(
        ErrorKind::Invalid,
        format!("the file has other columns ({have}) than {want} wanted"),
    ))
}

/// Rows are counted within a batch; the reader looks for them in a file.
fn within(file: &str, row: usize, error: Error) -> Error {
    match error {
        Error::Request { kind, message } => {
            Error::request(kind, format!("{file:?}, counted from row {}: {message}", row + 1))
        }
        other => other,
    }
}
