//! [`warm_up`]: queries that nobody asked for.
//!
//! The first query of a process pays for what every query uses after it: code that is read from the file of the program page
//! by page, tables of functions, memory. A node runs some when it has started, beside the list of running queries: one over
//! rows that it brings along, then what dashboards ask over an hour of one series of the largest table, and the last rows
//! of that table, which are kept in memory, if they are few.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::physical_plan::collect;
use quorate_storage::catalog::Catalog;
use quorate_storage::{ColumnKind, FieldType, ReadLevel, TableId};

use super::action::Action;
use super::names::quote_always;
use super::parameters::ParameterRow;
use super::parse::parse;
use super::{StatementContext, query};
use crate::{Engine, Error, Session, SessionOptions};

/// What dashboards ask, in small.
const QUERY: &str = "SELECT date_bin(INTERVAL '1 minute', time) AS minute, tag, max(value), avg(value) \
    FROM (VALUES (TIMESTAMP '2024-01-01T00:00:00Z', 'a', 1.5), (TIMESTAMP '2024-01-01T00:01:00Z', 'b', 2.5)) AS rows(time, tag, value) \
    WHERE tag IN ('a', 'b') AND time >= TIMESTAMP '2024-01-01T00:00:00Z' GROUP BY minute, tag ORDER BY minute, tag";

/// Last rows, of all segments together, that are read before somebody asks for them.
const LAST_ROWS_MAX: u64 = 10_000;

/// Plans and runs the queries, one by one.
pub(crate) async fn warm_up(engine: &Arc<Engine>) -> Result<(), Error> {
    // Waits for no other node.
    let options = SessionOptions { read_level: ReadLevel::Local, ..SessionOptions::default() };
    let session = engine.session(options);
    run(&session, QUERY).await?;
    let Some(table) = Largest::of(engine) else { return Ok(()) };
    let row = run(&session, &format!("SELECT * FROM {} LIMIT 1", table.name)).await?;
    for statement in table.statements(&row)? {
        run(&session, &statement).await?;
    }
    Ok(())
}

/// The answer to a query.
async fn run(session: &Session, sql: &str) -> Result<Vec<RecordBatch>, Error> {
    let Action::Query(statement) = Action::of(parse(sql)?.statement)? else {
        return Ok(Vec::new());
    };
    let context = StatementContext::of(session).await?;
    let work = async move {
        let plan = query::logical(&context, &statement, &ParameterRow::new()).await?;
        let plan = query::analyzed(&context.state, plan)?;
        let plan = query::optimized(&context.state, plan).await?;
        Ok(collect(plan, context.state.task_ctx()).await?)
    };
    session.engine().runtime().run(work).await
}

/// The table that has the most rows in segments of this node.
#[derive(Debug)]
struct Largest {
    /// As SQL names it.
    name: String,
    time: String,
    tags: Vec<String>,
    /// A field of numbers.
    number: Option<String>,
    /// Series of its segments, those of several counted again.
    last_rows: u64,
}

impl Largest {
    fn of(engine: &Engine) -> Option<Self> {
        let mut sizes: BTreeMap<TableId, (u64, u64)> = BTreeMap::new();
        for segment in engine.store().segments() {
            let (rows, series) = sizes.entry(segment.meta.table).or_default();
            *rows += segment.meta.rows;
            *series += segment.meta.series;
        }
        let catalog: Arc<Catalog> = engine.store().catalog();
        let known = sizes.iter().filter(|(id, _)| catalog.tables.contains_key(*id));
        let (id, (_, last_rows)) = known.max_by_key(|(_, (rows, _))| *rows)?;
        let table = catalog.tables.get(id)?;
        let database = catalog.databases.get(&table.database)?;
        let named = |wanted: &dyn Fn(ColumnKind) -> bool| {
            table
                .columns
                .iter()
                .filter(|column| wanted(column.kind))
                .map(|column| quote_always(&column.name))
                .collect::<Vec<_>>()
        };
        let is_number =
            |kind| matches!(kind, ColumnKind::Field(FieldType::Float64 | FieldType::Int64));
        Some(Self {
            name: format!("{}.public.{}", quote_always(&database.name), quote_always(&table.name)),
            time: named(&|kind| kind == ColumnKind::Time).into_iter().next()?,
            tags: named(&|kind| kind == ColumnKind::Tag),
            number: named(&is_number).into_iter().next(),
            last_rows: *last_rows,
        })
    }

    /// What dashboards ask of the hours around a row, and of its series.
    fn statements(&self, row: &[RecordBatch]) -> Result<Vec<String>, Error> {
        let Self { name, time, tags, .. } = self;
        let Some(row) = row.iter().find(|batch| batch.num_rows() > 0) else {
            return Ok(Vec::new());
        };
        let mut conditions = Vec::new();
        for (field, column) in row.schema().fields().iter().zip(row.columns()) {
            let name = quote_always(field.name());
            let value = ScalarValue::try_from_array(column, 0)?;
            match value {
                ScalarValue::TimestampNanosecond(Some(at), _) if name == *time => {
                    let second = at.div_euclid(1_000_000_000);
                    let (from, to) = (second - 3_600, second + 3_600);
                    conditions.push(format!(
                        "{time} >= to_timestamp({from}) AND {time} < to_timestamp({to})"
                    ));
                }
                _ if tags.contains(&name) => conditions.push(match value.try_as_str().flatten() {
                    Some(text) => format!("{name} = '{}'", text.replace('\'', "''")),
                    None => format!("{name} IS NULL"),
                }),
                _ => {}
            }
        }
        let from = format!("FROM {name} WHERE {}", conditions.join(" AND "));
        let bucket = |length: &str| format!("date_bin(INTERVAL '{length}', {time}) AS bucket");
        let mut statements = vec![format!("SELECT * {from} LIMIT 1000")];
        if let Some(number) = &self.number {
            let (minute, hour) = (bucket("1 minute"), bucket("1 hour"));
            let by = "GROUP BY bucket ORDER BY bucket";
            statements.push(format!("SELECT {minute}, max({number}) {from} {by}"));
            statements.push(format!("SELECT {minute}, max({number}) {from} {by} DESC LIMIT 5"));
            statements.push(format!("SELECT * {from} AND {number} > 0 LIMIT 1000"));
            if let Some(tag) = tags.first() {
                let by = format!("GROUP BY {tag}, bucket ORDER BY {tag}, bucket");
                statements.push(format!("SELECT {tag}, {hour}, avg({number}) {from} {by}"));
            }
        }
        if let Some(tag) = tags.first()
            && self.last_rows <= LAST_ROWS_MAX
        {
            let order = format!("ORDER BY {tag}, {time} DESC");
            statements.push(format!("SELECT DISTINCT ON ({tag}) * FROM {name} {order}"));
        }
        Ok(statements)
    }
}
