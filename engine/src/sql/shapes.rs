//! [`Shape`]: the operators of a query above its scan, used again for the next query of its template.
//!
//! Of two queries that differ in the host and the hour that they ask for, all that differs in the physical plan is the
//! scan. So once a query of a template is planned, what stands above the scan is kept, without the scan; for the next one
//! the conditions are folded with its values, the scan is planned, and the operators are put on top of it.
//!
//! **Invariants.** A shape is learned only of a plan whose scan took exactly the conditions that folding gives, so that
//! folding does what the rules would do, and whose operators hold none of the values. It is used only if the conditions
//! that are evaluated above the scan are the same, and the scan has the columns, the order and as many partitions as the
//! one that the operators were planned over. What is left to chance is how fast the plan is: not for many more rows than it was
//! planned for.
//!
//! **Limits.** One table, no joins, no `LIMIT`, no functions whose answer moves (`now()`), no cells of summaries: narrow
//! queries.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode, TreeNodeRecursion,
};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Expr, Filter, LogicalPlan, TableProviderFilterPushDown, TableScan, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_plan::ChildrenPropertiesMode::Keep;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ReplaceChildrenOptions};

use quorate_timeseries::is_by_runs;

use super::StatementContext;
use super::parameters::ParameterRow;
use crate::Error;
use crate::catalog::last_rows_of;
use crate::scan::SeriesScanExec;

/// Rows that a plan is good for, whatever it was planned for.
const ROWS_FEW: usize = 2048;

/// The conditions of a template, open.
#[derive(Debug)]
struct Conditions {
    predicate: Expr,
    schema: Arc<DFSchema>,
}

/// The operators of a query above its scan.
#[derive(Debug)]
pub(super) struct Shape {
    conditions: Conditions,
    /// Those that the scan leaves to the operators, sorted by what they say.
    above: Vec<Expr>,
    provider: Arc<dyn TableProvider>,
    projection: Option<Vec<usize>>,
    /// Of the rows that the query gives.
    pub(super) schema: SchemaRef,
    /// Over a leaf without rows: a scan would hold what it reads.
    operators: Arc<dyn ExecutionPlan>,
    /// What the scan was like.
    like: ScanProperties,
    rows: usize,
}

/// What operators build on.
#[derive(Debug, PartialEq)]
struct ScanProperties {
    schema: SchemaRef,
    /// As `EXPLAIN` shows it.
    order: Option<String>,
    partitions: usize,
    constants: Vec<String>,
}

impl ScanProperties {
    fn of(scan: &SeriesScanExec) -> Self {
        let properties = scan.properties();
        let constants = properties.equivalence_properties().constants();
        let mut constants: Vec<String> =
            constants.iter().map(|constant| constant.expr.to_string()).collect();
        constants.sort_unstable();
        let order = properties.output_ordering().map(ToString::to_string);
        Self { schema: scan.schema(), order, partitions: scan.partitions().len(), constants }
    }
}

impl Conditions {
    /// Those of a template; none where folding them once is not the same as running the query.
    fn of(open: &LogicalPlan) -> Result<Option<Self>> {
        let mut found = None;
        let mut fit = true;
        open.apply_with_subqueries(|node| {
            if let LogicalPlan::Filter(Filter { predicate, input, .. }) = node
                && matches!(input.as_ref(), LogicalPlan::TableScan(_))
            {
                fit &= found.is_none();
                let schema = Arc::clone(input.schema());
                found = Some(Self { predicate: predicate.clone(), schema });
            }
            node.apply_expressions(|expr| {
                expr.apply(|part| {
                    fit &= !moves(part);
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(found.filter(|_| fit))
    }

    /// The conditions with these values, each by itself, folded.
    fn folded(
        &self,
        context: &StatementContext,
        values: &ParameterRow,
    ) -> Result<Vec<Expr>, Error> {
        let bound = self.predicate.clone().transform(|expr| {
            let value = match &expr {
                Expr::Placeholder(placeholder) => values.get(&placeholder.id),
                _ => None,
            };
            Ok(match value {
                Some(value) => Transformed::yes(Expr::Literal(value.clone(), None)),
                None => Transformed::no(expr),
            })
        });
        let folded = context.fold(bound.data()?, &self.schema)?;
        Ok(split_conjunction_owned(folded))
    }
}

/// Whether an expression has another value when the query is asked again.
fn moves(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarFunction(call) => call.func.signature().volatility != Volatility::Immutable,
        Expr::AggregateFunction(call) => call.func.signature().volatility != Volatility::Immutable,
        Expr::ScalarVariable(..) | Expr::OuterReferenceColumn(..) => true,
        _ => false,
    }
}

impl Shape {
    /// Learns of a query with these values, whose plan was `open`, `analyzed`, `optimized`, and in the end `physical`.
    pub(super) fn learn(
        context: &StatementContext,
        values: &ParameterRow,
        [open, analyzed, optimized]: [&LogicalPlan; 3],
        physical: &Arc<dyn ExecutionPlan>,
    ) -> Result<Option<Self>, Error> {
        let Some([operators, leaf]) = taken_apart(physical)? else { return Ok(None) };
        let (Some(scan), Some(read)) =
            (leaf.downcast_ref::<SeriesScanExec>(), only_scan(optimized)?)
        else {
            return Ok(None);
        };
        let Some(source) = read.source.downcast_ref::<DefaultTableSource>() else {
            return Ok(None);
        };
        let is_plain = scan.whole_time().is_some()
            && read.fetch.is_none()
            && last_rows_of(source.table_provider.as_ref()).is_none();
        let Some(conditions) = Conditions::of(open)?.filter(|_| is_plain) else {
            return Ok(None);
        };
        let filters = conditions.folded(context, values)?;
        if !are_same(&filters, &read.filters) {
            return Ok(None);
        }
        let provider = Arc::clone(&source.table_provider);
        let (exact, above) = by_support(provider.as_ref(), filters)?;
        if holds_any(&operators, &exact)? {
            return Ok(None);
        }
        Ok(Some(Self {
            conditions,
            above,
            provider,
            projection: read.projection.clone(),
            schema: Arc::clone(analyzed.schema().inner()),
            operators,
            like: ScanProperties::of(scan),
            rows: scan.rows_expected().unwrap_or_default(),
        }))
    }

    /// The conditions of a query with these values, if this is its shape as far as they tell.
    pub(super) fn filters(
        &self,
        context: &StatementContext,
        values: &ParameterRow,
    ) -> Result<Option<Vec<Expr>>, Error> {
        let filters = self.conditions.folded(context, values)?;
        let (_, above) = by_support(self.provider.as_ref(), filters.clone())?;
        Ok((above == self.above).then_some(filters))
    }

    /// The plan of a query with these conditions, if this is its shape.
    pub(super) async fn plan(
        &self,
        context: &StatementContext,
        filters: &[Expr],
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let leaf =
            self.provider.scan(&context.state, self.projection.as_ref(), filters, None).await?;
        let is_alike = leaf.downcast_ref::<SeriesScanExec>().is_some_and(|scan| {
            let rows = scan.rows_expected();
            rows.is_some_and(|rows| rows <= ROWS_FEW.max(self.rows.saturating_mul(2)))
                && ScanProperties::of(scan) == self.like
        });
        Ok(if is_alike { Some(over(&self.operators, leaf)?) } else { None })
    }
}

/// Operators over another leaf.
fn over(
    operators: &Arc<dyn ExecutionPlan>,
    leaf: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let children = operators.children();
    let [child] = children[..] else { return Ok(leaf) };
    let child = over(child, leaf)?;
    if let Some(sort) = operators.downcast_ref::<SortExec>() {
        // DataFusion's own copy of a sort adds to the metrics of the first one.
        let partitioned = sort.preserve_partitioning();
        let sort = SortExec::new(sort.expr().clone(), child);
        return Ok(Arc::new(sort.with_preserve_partitioning(partitioned)));
    }
    Arc::clone(operators).replace_children(vec![child], ReplaceChildrenOptions::new(Keep))
}

/// The operators over a leaf that has no rows, and the leaf; none if there are others than those that keep nothing of a run.
fn taken_apart(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<[Arc<dyn ExecutionPlan>; 2]>> {
    let mut leaf = Arc::clone(plan);
    loop {
        let children = leaf.children();
        let [child] = children[..] else { break };
        let is_known = is_known(leaf.as_ref());
        if !is_known || !leaf.dynamic_expressions_produced().is_empty() {
            return Ok(None);
        }
        leaf = Arc::clone(child);
    }
    let nothing = Arc::new(EmptyExec::new(leaf.schema()));
    Ok(Some([over(plan, nothing)?, leaf]))
}

/// Whether an operator keeps nothing of a run, and takes rows to the end.
fn is_known(plan: &dyn ExecutionPlan) -> bool {
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        return filter.fetch().is_none();
    }
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        return sort.fetch().is_none();
    }
    if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        return merge.fetch().is_none();
    }
    if let Some(coalesce) = plan.downcast_ref::<CoalescePartitionsExec>() {
        return coalesce.fetch().is_none();
    }
    if let Some(aggregate) = plan.downcast_ref::<AggregateExec>() {
        return aggregate.limit_options().is_none();
    }
    plan.downcast_ref::<ProjectionExec>().is_some()
        || plan.downcast_ref::<RepartitionExec>().is_some()
        || is_by_runs(plan)
}

/// The scan of a plan that has one, and no subqueries.
fn only_scan(plan: &LogicalPlan) -> Result<Option<TableScan>> {
    let (mut found, mut scans) = (None, 0);
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            scans += 1;
            found = Some(scan.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found.filter(|_| scans == 1))
}

/// Whether two lists hold the same conditions.
fn are_same(left: &[Expr], right: &[Expr]) -> bool {
    left.len() == right.len()
        && left.iter().all(|expr| right.contains(expr))
        && right.iter().all(|expr| left.contains(expr))
}

/// The conditions that a table's scan takes care of, and the others in order.
fn by_support(provider: &dyn TableProvider, filters: Vec<Expr>) -> Result<(Vec<Expr>, Vec<Expr>)> {
    let support = provider.supports_filters_pushdown(&filters.iter().collect::<Vec<_>>())?;
    let (mut exact, mut above) = (Vec::new(), Vec::new());
    for (filter, support) in filters.into_iter().zip(support) {
        let is_exact = support == TableProviderFilterPushDown::Exact;
        if is_exact { exact.push(filter) } else { above.push(filter) }
    }
    above.sort_by_cached_key(ToString::to_string);
    Ok((exact, above))
}

/// Whether operators hold a constant of conditions.
fn holds_any(operators: &Arc<dyn ExecutionPlan>, conditions: &[Expr]) -> Result<bool> {
    let mut constants: Vec<ScalarValue> = Vec::new();
    for condition in conditions {
        condition.apply(|part| {
            if let Expr::Literal(value, _) = part {
                constants.push(value.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    let mut holds = false;
    operators.apply(|node| {
        node.apply_expressions(&mut |expr: &Arc<dyn PhysicalExpr>| {
            expr.apply(|part| {
                let literal = part.downcast_ref::<Literal>();
                holds |= literal.is_some_and(|literal| constants.contains(literal.value()));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(holds)
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::displayable;
    use tempfile::TempDir;

    use super::*;
    use crate::sql::plans::Source;
    use crate::sql::templates;
    use crate::sql::test_support::engine;
    use crate::sql::{optimize, query};
    use crate::{Outcome, Session, SessionOptions};

    async fn session() -> (TempDir, Session) {
        let (dir, engine) = engine(1).await;
        let zone =
            SessionOptions { timezone: Some("+01:00".to_owned()), ..SessionOptions::default() };
        let session = engine.session(zone);
        for sql in [
            "CREATE TABLE t (time TIMESTAMP NOT NULL, host STRING, room STRING, u DOUBLE, n BIGINT, s STRING, \
             PRIMARY KEY (host, room, time))",
            "INSERT INTO t SELECT '2024-01-01'::TIMESTAMP + i * INTERVAL '1 minute', 'h' || i % 7, 'r' || i % 2, i, \
             i + 0, 'x' || i % 3 FROM generate_series(0, 999) AS g(i)",
        ] {
            session.execute(sql, None).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        (dir, session)
    }

    /// The plan of a query, and whether it came of a shape.
    async fn planned(session: &Session, sql: &str) -> (String, bool) {
        let known = templates::plan(session, sql).await.unwrap().unwrap();
        let context = StatementContext::of(session).await.unwrap();
        let Source::Shape(shape, filters, ..) = &known.source else {
            return (String::new(), false);
        };
        let Some(plan) = shape.plan(&context, filters).await.unwrap() else {
            return (String::new(), false);
        };
        (displayable(plan.as_ref()).indent(true).to_string(), true)
    }

    /// The plan of a query as it stands.
    async fn plain(session: &Session, sql: &str) -> String {
        let context = StatementContext::of(session).await.unwrap();
        let plan = context.state.create_logical_plan(sql).await.unwrap();
        let plan = query::analyzed(&context.state, plan).unwrap();
        let plan = optimize::optimize(&context.state, plan).unwrap();
        let plan = context.state.query_planner().create_physical_plan(&plan, &context.state);
        displayable(plan.await.unwrap().as_ref()).indent(true).to_string()
    }

    async fn run(session: &Session, sql: &str) {
        let Outcome::Rows(rows) = session.execute(sql, None).await.unwrap() else {
            panic!("{sql}")
        };
        datafusion::physical_plan::common::collect(rows.batches).await.unwrap();
    }

    #[tokio::test]
    async fn a_shape_over_its_scan_is_the_plan_as_it_stands() {
        let (_dir, session) = session().await;
        let values = [
            ("h1", "2024-01-01 01:00", "2024-01-01 02:00"),
            ("h2", "2024-01-01 03:30:10", "2024-01-01T04:00Z"),
            ("h6", "2024-01-01", "2024-01-02"),
        ];
        for template in [
            "SELECT date_bin('1m', time) AS m, max(u), min(n) FROM t WHERE host = '{h}' AND time >= '{a}' AND \
             time < '{b}' GROUP BY m ORDER BY m",
            "SELECT * FROM t WHERE host = '{h}' AND time BETWEEN '{a}' AND '{b}' AND u > 7.5",
            "SELECT time, n + 1 FROM t WHERE u > 3 AND room = 'r1' AND host IN ('{h}', 'h3', 'h4', 'h5') AND \
             time > TIMESTAMP '{a}' ORDER BY n DESC",
            "SELECT host, room, sum(n), avg(u) FILTER (WHERE n > 5) FROM t WHERE host <> '{h}' AND time < '{b}' \
             GROUP BY host, room HAVING sum(n) > 3",
            "SELECT count(DISTINCT n) AS c, 'h1' AS one FROM t WHERE (host = '{h}' OR room = 'r0') AND time <= '{a}'",
        ] {
            let sql = |(host, from, until): (&str, &str, &str)| {
                template.replace("{h}", host).replace("{a}", from).replace("{b}", until)
            };
            // The first query makes the template known, the second one the shape.
            run(&session, &sql(("h0", "2024-01-01", "2024-01-01 08:00"))).await;
            run(&session, &sql(("h0", "2024-01-01", "2024-01-01 09:00"))).await;
            for values in values {
                let sql = sql(values);
                let (shaped, is_shaped) = planned(&session, &sql).await;
                assert!(is_shaped, "{sql}");
                assert_eq!(shaped, plain(&session, &sql).await, "{sql}");
            }
        }
    }

    #[tokio::test]
    async fn no_shape_is_learned_of_what_depends_on_more_than_its_scan() {
        let (_dir, session) = session().await;
        for template in [
            // Evaluated above the scan.
            "SELECT u FROM t WHERE host = '{h}' AND s = 'x{n}'",
            // Another answer each time.
            "SELECT u, now() FROM t WHERE host = '{h}' AND room <> 'x{n}'",
            "SELECT u FROM t WHERE host = '{h}' AND time < now() AND room <> 'x{n}'",
            "SELECT u, random() FROM t WHERE host = '{h}' AND room <> 'x{n}'",
            // Stops early.
            "SELECT u FROM t WHERE host = '{h}' AND room <> 'x{n}' LIMIT 3",
            "SELECT u FROM t WHERE host = '{h}' AND room <> 'x{n}' ORDER BY u LIMIT 3",
            "SELECT last(u, time) FROM t WHERE host = '{h}' AND room <> 'x{n}'",
            // Answered without a scan of rows.
            "SELECT u FROM t WHERE host = 'none{h}' AND room <> 'x{n}'",
        ] {
            for n in 0..4 {
                let sql = template.replace("{h}", "h1").replace("{n}", &n.to_string());
                assert!(!planned(&session, &sql).await.1, "{sql}");
                run(&session, &sql).await;
            }
        }
    }

    #[tokio::test]
    async fn a_query_of_another_kind_of_scan_is_planned_as_it_stands() {
        let (_dir, session) = session().await;
        let sql = |host: &str, until: &str| {
            format!(
                "SELECT host, max(u) FROM t WHERE host = '{host}' AND time < '{until}' GROUP BY host"
            )
        };
        for n in 1..3 {
            run(&session, &sql("h1", &format!("2024-01-01 0{n}:00"))).await;
        }
        assert!(planned(&session, &sql("h3", "2024-01-01 08:00")).await.1);
        // No such series: there is nothing to scan.
        assert!(!planned(&session, &sql("none", "2024-01-01 08:00")).await.1);
        // What is no time is refused as it would be.
        let wrong = sql("h1", "soon");
        assert!(templates::plan(&session, &wrong).await.unwrap().is_none());
        let error = session.execute(&wrong, None).await.unwrap_err();
        assert!(error.to_string().contains("soon"), "{error}");
    }
}
