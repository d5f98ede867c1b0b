//! [`warm_up`]: a query that nobody asked for.
//!
//! The first query of a process pays for what every query uses after it: code that is read from the file of the program page
//! by page, tables of functions, memory. A node runs one when it has started, over rows that the query brings along, and
//! beside the list of running queries.

use std::sync::Arc;

use datafusion::physical_plan::collect;

use super::action::Action;
use super::parameters::ParameterRow;
use super::parse::parse;
use super::{StatementContext, query};
use crate::{Engine, Error, SessionOptions};

/// What dashboards ask, in small.
const QUERY: &str = "SELECT date_bin(INTERVAL '1 minute', time) AS minute, tag, max(value), avg(value) \
    FROM (VALUES (TIMESTAMP '2024-01-01T00:00:00Z', 'a', 1.5), (TIMESTAMP '2024-01-01T00:01:00Z', 'b', 2.5)) AS rows(time, tag, value) \
    WHERE tag IN ('a', 'b') AND time >= TIMESTAMP '2024-01-01T00:00:00Z' GROUP BY minute, tag ORDER BY minute, tag";

/// Plans and runs it.
pub(crate) async fn warm_up(engine: &Arc<Engine>) -> Result<(), Error> {
    let session = engine.session(SessionOptions::default());
    let Action::Query(statement) = Action::of(parse(QUERY)?.statement)? else { return Ok(()) };
    let context = StatementContext::of(&session).await?;
    let work = async move {
        let plan = query::logical(&context, &statement, &ParameterRow::new()).await?;
        let plan = query::analyzed(&context.state, plan)?;
        let plan = query::optimized(&context.state, plan).await?;
        collect(plan, context.state.task_ctx()).await?;
        Ok(())
    };
    engine.runtime().run(work).await
}
