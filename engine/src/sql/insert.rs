//! `INSERT`: rows cast exactly to the table's columns and handed to the ingest. A NULL that is written clears the value;
//! a column that is not listed keeps what it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::{Insert, Query, SetExpr, Statement, TableObject, Values};
use futures::StreamExt;
use quorate_storage::ColumnKind;
use quorate_storage::batch::Nulls;
use quorate_storage::catalog::Table;

use super::action::unsupported;
use super::cast::cast_exact;
use super::keyed::Keyed;
use super::names::{TablePlace, no_column, single, stored_table};
use super::parameters::Parameters;
use super::{StatementContext, query, values};
use crate::catalog::shown_schema;
use crate::ingest::{ColumnsReport, ColumnsWriter, IngestMode, TableIngest};
use crate::{Error, ErrorKind, Outcome, Session};

/// Rows that were rejected and are named in the error.
const REJECTIONS_NAMED: usize = 3;

/// The columns that an `INSERT` fills.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) table: Arc<Table>,
    /// Positions in the table, in the order of the statement.
    pub(super) columns: Vec<usize>,
    /// Types as SQL shows them, in the order of the statement.
    pub(super) shown: SchemaRef,
    pub(super) place: TablePlace,
}

/// Runs an `INSERT`, once per row of parameters.
pub(super) async fn run(
    session: &Session,
    sql: &str,
    insert: Box<Insert>,
    parameters: Parameters,
) -> Result<Outcome, Error> {
    let keyed = Keyed::begin(session, sql, &*insert, &parameters).await?;
    let session = keyed.session();
    let context = StatementContext::of(session).await?;
    let (name, source) = parts(&insert)?;
    let target =
        Arc::new(Target::of(&context, stored_table(name, context.database_name())?, &insert)?);
    let query = plain_values(source).is_none().then(|| query_of(source));
    let mut writer = session
        .ingest(TableIngest {
            database: Some(target.place.database.clone()),
            table: target.place.table.clone(),
            mode: IngestMode::Append,
            tags: None,
            time: None,
            nulls: Nulls::Explicit,
            digest: keyed.digest(),
        })
        .await?;
    let Some(statement) = query else {
        let work = async move {
            let (_, source) = parts(&insert)?;
            let Some(rows) = plain_values(source) else { return Ok(Vec::new()) };
            values::batches(&context, &target, rows, &parameters)
        };
        for batch in session.engine().runtime().run(work).await? {
            writer.write(&batch).await?;
        }
        return finish(writer).await;
    };
    for row in 0..parameters.rows() {
        let stream = query::start(session, sql, &statement, &parameters.row(row)?).await?;
        target.expect_columns(stream.schema.fields().len())?;
        write_all(&mut writer, stream.batches, |batch| target.cast(batch)).await?;
    }
    finish(writer).await
}

/// Types of an `INSERT`'s parameters: those of the columns that they fill.
pub(super) async fn parameter_types(
    context: &StatementContext,
    insert: &Insert,
    parameters: &[String],
) -> Result<BTreeMap<String, DataType>, Error> {
    let (name, source) = parts(insert)?;
    let target = Target::of(context, stored_table(name, context.database_name())?, insert)?;
    match plain_values(source) {
        Some(rows) => Ok(values::parameter_types(&target, rows)),
        None => Ok(query::describe(context, &query_of(source), parameters, None).await?.1),
    }
}

/// Writes a stream of batches, each made fit by `prepare`.
pub(super) async fn write_all(
    writer: &mut ColumnsWriter,
    mut batches: datafusion::execution::SendableRecordBatchStream,
    prepare: impl Fn(&RecordBatch) -> Result<RecordBatch, Error>,
) -> Result<(), Error> {
    while let Some(batch) = batches.next().await {
        writer.write(&prepare(&batch?)?).await?;
    }
    Ok(())
}

/// Ends an ingest; rows that were rejected are an error.
pub(super) async fn finish(writer: ColumnsWriter) -> Result<Outcome, Error> {
    let ColumnsReport { rows, rejected, .. } = writer.finish().await?;
    if rejected.is_empty() {
        return Ok(Outcome::Updated(Some(rows)));
    }
    let named = rejected
        .iter()
        .take(REJECTIONS_NAMED)
        .map(|(row, why)| format!("row {}: {why}", row + 1))
        .collect::<Vec<_>>()
        .join("; ");
    Err(Error::request(
        ErrorKind::Invalid,
        format!("{} rows were rejected and {rows} stored: {named}", rejected.len()),
    ))
}

/// The table's name and the source of an `INSERT` without clauses that are not supported.
fn parts(insert: &Insert) -> Result<(&datafusion::sql::sqlparser::ast::ObjectName, &Query), Error> {
    let Insert {
        insert_token: _,
        optimizer_hints,
        or,
        ignore,
        into: _,
        table,
        table_alias,
        columns: _,
        overwrite,
        source,
        assignments,
        partitioned,
        after_columns,
        has_table_keyword: _,
        on,
        returning,
        output,
        replace_into,
        priority,
        insert_alias,
        settings,
        format_clause,
        multi_table_insert_type,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause,
    } = insert;
    for (given, clause) in [
        (!optimizer_hints.is_empty(), "a hint in INSERT"),
        (or.is_some(), "INSERT OR"),
        (*ignore, "INSERT IGNORE"),
        (table_alias.is_some() || insert_alias.is_some(), "an alias in INSERT"),
        (*overwrite, "INSERT OVERWRITE (a row with the same key is replaced anyway)"),
        (!assignments.is_empty(), "INSERT SET"),
        (partitioned.is_some() || !after_columns.is_empty(), "INSERT PARTITION"),
        (on.is_some(), "ON CONFLICT (a row with the same key is replaced anyway)"),
        (returning.is_some() || output.is_some(), "RETURNING"),
        (*replace_into, "REPLACE INTO (INSERT replaces a row with the same key)"),
        (priority.is_some(), "a priority in INSERT"),
        (settings.is_some() || format_clause.is_some(), "SETTINGS or FORMAT in INSERT"),
        (
            multi_table_insert_type.is_some()
                || !multi_table_into_clauses.is_empty()
                || !multi_table_when_clauses.is_empty()
                || multi_table_else_clause.is_some(),
            "INSERT into several tables",
        ),
    ] {
        if given {
            return Err(unsupported(clause));
        }
    }
    let TableObject::TableName(name) = table else {
        return Err(unsupported("INSERT into anything but a table"));
    };
    match source {
        Some(source) => Ok((name, source)),
        None => Err(unsupported("INSERT without VALUES or a query")),
    }
}

/// The rows of a `VALUES` that is all of the source, and asks no query.
fn plain_values(source: &Query) -> Option<&Values> {
    let SetExpr::Values(rows) = source.body.as_ref() else { return None };
    let plain = source.with.is_none()
        && source.order_by.is_none()
        && source.limit_clause.is_none()
        && source.fetch.is_none()
        && source.locks.is_empty()
        && source.pipe_operators.is_empty();
    (plain && !values::asks_queries(rows)).then_some(rows)
}

fn query_of(source: &Query) -> FrontStatement {
    FrontStatement::Statement(Box::new(Statement::Query(Box::new(source.clone()))))
}

impl Target {
    /// Resolves the columns of an `INSERT`.
    fn of(context: &StatementContext, place: TablePlace, insert: &Insert) -> Result<Self, Error> {
        let names = insert.columns.iter().map(|name| single(name, "column"));
        Self::named(context, place, &names.collect::<Result<Vec<_>, _>>()?)
    }

    /// Columns by name; all of the table's if there is none.
    pub(super) fn named(
        context: &StatementContext,
        place: TablePlace,
        named: &[String],
    ) -> Result<Self, Error> {
        let table = Arc::clone(context.table(&place)?);
        let mut columns = Vec::new();
        if named.is_empty() {
            columns.extend(0..table.columns.len());
        }
        for name in named {
            let names = table.columns.iter().map(|c| c.name.as_str());
            let index = table
                .columns
                .iter()
                .position(|c| c.name == *name)
                .ok_or_else(|| no_column(&table.name, name, names))?;
            if columns.contains(&index) {
                let message = format!("column {name:?} is listed twice");
                return Err(Error::request(ErrorKind::Invalid, message));
            }
            columns.push(index);
        }
        if !columns.iter().any(|i| table.columns[*i].kind == ColumnKind::Time) {
            return Err(Error::request(
                ErrorKind::Invalid,
                format!("the time column {:?} must be given", table.time().name),
            ));
        }
        let zone = super::settings::time_zone(&context.options)?;
        let shown = Arc::new(
            shown_schema(&table, &zone)
                .project(&columns)
                .map_err(datafusion::error::DataFusionError::from)?,
        );
        Ok(Self { table, columns, shown, place })
    }

    /// Checks the number of values.
    pub(super) fn expect_columns(&self, have: usize) -> Result<(), Error> {
        if have == self.columns.len() {
            return Ok(());
        }
        let message = format!("INSERT has {} columns and {have} values", self.columns.len());
        Err(Error::request(ErrorKind::Invalid, message))
    }

    /// Casts the columns of a batch, in order, to those of the table.
    pub(super) fn cast(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let cast = |(array, field): (&ArrayRef, &Arc<Field>)| {
            cast_exact(array, field.data_type())
                .map_err(|e| e.named(&format!("column {:?}", field.name())))
        };
        let columns = batch.columns().iter().zip(self.shown.fields()).map(cast);
        self.batch(columns.collect::<Result<Vec<_>, _>>()?)
    }

    /// A batch for the ingest, of columns that have their shown types already.
    pub(super) fn batch(&self, columns: Vec<ArrayRef>) -> Result<RecordBatch, Error> {
        let mut fields = Vec::with_capacity(columns.len());
        let mut stored = Vec::with_capacity(columns.len());
        for ((array, field), index) in
            columns.into_iter().zip(self.shown.fields()).zip(&self.columns)
        {
            if self.table.columns[*index].kind == ColumnKind::Time && array.null_count() > 0 {
                let row = (0..array.len()).find(|row| array.is_null(*row)).unwrap_or_default();
                return Err(Error::request(
                    ErrorKind::Invalid,
                    format!("row {}: the time {:?} must not be NULL", row + 1, field.name()),
                ));
            }
            let array = in_utc(array)?;
            fields.push(Field::new(field.name(), array.data_type().clone(), true));
            stored.push(array);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), stored)
            .map_err(|e| Error::from(datafusion::error::DataFusionError::from(e)))
    }
}

/// Times with the zone in which they are stored; the instants stay.
fn in_utc(array: ArrayRef) -> Result<ArrayRef, Error> {
    if !matches!(array.data_type(), DataType::Timestamp(..)) {
        return Ok(array);
    }
    let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some(Arc::from("UTC")));
    cast_exact(&array, &utc).map_err(|e| e.named("time"))
}
