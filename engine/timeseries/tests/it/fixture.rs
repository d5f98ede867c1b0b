//! A DataFusion session with everything of the crate, and answers as text.

use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::Tokenizer;

/// A session in UTC, two partitions wide.
pub(crate) fn session() -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(2).with_information_schema(true);
    config.options_mut().execution.time_zone = Some("UTC".to_owned());
    config.options_mut().optimizer.prefer_existing_sort = true;
    let state: SessionState =
        SessionStateBuilder::new().with_config(config).with_default_features().build();
    let state = quorate_timeseries::install(state).expect("functions are added");
    let state = SessionStateBuilder::new_from_existing(state)
        .with_physical_optimizer_rule(quorate_timeseries::sort_within())
        .with_physical_optimizer_rule(quorate_timeseries::group_by_runs(texts))
        .build();
    SessionContext::new_with_state(state)
}

/// Columns of text: those of tables in memory that have any are tags here.
fn texts(leaf: &dyn ExecutionPlan) -> Vec<usize> {
    let schema = leaf.schema();
    let columns = schema.fields().iter().enumerate();
    let texts = columns.filter(|(_, field)| *field.data_type() == DataType::Utf8View);
    texts.map(|(at, _)| at).collect()
}

/// Runs one statement: a line of column names, then one line a row, values parted by blanks.
pub(crate) async fn run(session: &SessionContext, sql: &str) -> Result<Vec<String>> {
    let state = session.state();
    let mut statement = parsed(sql)?;
    if let Statement::Statement(inner) = &mut statement {
        quorate_timeseries::rewrite(inner)?;
    }
    let plan = state.statement_to_plan(statement).await?;
    let frame = session.execute_logical_plan(plan).await?;
    let names: Vec<String> = frame.schema().fields().iter().map(|f| f.name().clone()).collect();
    let mut lines = vec![names.join(" ")];
    let format = FormatOptions::default().with_null("NULL");
    for batch in frame.collect().await? {
        let columns = batch.columns().iter();
        let columns =
            columns.map(|c| ArrayFormatter::try_new(c, &format)).collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            lines.push(values.join(" "));
        }
    }
    Ok(lines)
}

/// Parses one statement, as the engine does.
fn parsed(sql: &str) -> Result<Statement> {
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, sql).tokenize_with_location();
    let tokens = tokens.map_err(|e| DataFusionError::External(Box::new(e)))?;
    let tokens = quorate_timeseries::rewrite_tokens(tokens)?;
    let mut parser = DFParserBuilder::new(tokens).with_dialect(&dialect).build()?;
    parser.parse_statement()
}

/// Asserts what a query answers in a fresh session.
pub(crate) async fn check(sql: &str, want: &[&str]) {
    let got = run(&session(), sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    assert_eq!(got, want, "{sql}");
}
