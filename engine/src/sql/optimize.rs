//! Optimizes logical plans, plain ones in few passes.
//!
//! DataFusion applies its rules until a pass changes nothing, a third of which are about joins, set operations and
//! subqueries. For a query of some rows of one table that is most of the time that its rules take. A plan of one table
//! with one condition and one aggregation at most is where it will be after one pass of the rules that can concern it, or
//! two.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::alias::AliasGenerator;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{Optimizer, OptimizerConfig};

/// Rules about what plain plans do not have.
const NOT_PLAIN: [&str; 11] = [
    "decorrelate_lateral_join",
    "decorrelate_predicate_subquery",
    "eliminate_cross_join",
    "eliminate_join",
    "eliminate_outer_join",
    "extract_equijoin_predicate",
    "filter_null_join_keys",
    "optimize_unions",
    "rewrite_set_comparison",
    "scalar_subquery_to_join",
    "unions_to_filter",
];

/// A statement's settings, with a number of passes of their own.
struct FewPasses<'a> {
    state: &'a SessionState,
    options: Arc<ConfigOptions>,
}

impl OptimizerConfig for FewPasses<'_> {
    fn query_execution_start_time(&self) -> Option<DateTime<Utc>> {
        self.state.query_execution_start_time()
    }

    fn alias_generator(&self) -> &Arc<AliasGenerator> {
        self.state.alias_generator()
    }

    fn options(&self) -> Arc<ConfigOptions> {
        Arc::clone(&self.options)
    }

    fn function_registry(&self) -> Option<&dyn FunctionRegistry> {
        OptimizerConfig::function_registry(self.state)
    }
}

/// The plan, which is analyzed, optimized.
pub(super) fn optimize(state: &SessionState, plan: LogicalPlan) -> Result<LogicalPlan> {
    let Some(passes) = passes(&plan)? else {
        return state.optimizer().optimize(plan, state, |_, _| {});
    };
    let mut options = state.config_options().as_ref().clone();
    options.optimizer.max_passes = passes;
    let config = FewPasses { state, options: Arc::new(options) };
    let rules = &state.optimizer().rules;
    let rules = rules.iter().filter(|rule| !NOT_PLAIN.contains(&rule.name())).cloned();
    Optimizer::with_rules(rules.collect()).optimize(plan, &config, |_, _| {})
}

/// How many passes a plan takes that reads one table, with one of every other kind of step at most (two projections), and
/// none but the usual ones. None for others.
fn passes(plan: &LogicalPlan) -> Result<Option<usize>> {
    let mut seen = [0; 6];
    let mut plain = true;
    plan.apply(|node| {
        let kind = match node {
            LogicalPlan::TableScan(_) => 0,
            LogicalPlan::Projection(_) => 1,
            LogicalPlan::Filter(_) => 2,
            LogicalPlan::Aggregate(_) => 3,
            LogicalPlan::Sort(_) => 4,
            LogicalPlan::Limit(_) => 5,
            _ => {
                plain = false;
                return Ok(TreeNodeRecursion::Stop);
            }
        };
        seen[kind] += 1;
        node.apply_subqueries(|_| {
            plain = false;
            Ok(TreeNodeRecursion::Stop)
        })?;
        // `ORDER BY` what is not selected takes two projections.
        plain &= seen[kind] == 1 || kind == 1 && seen[kind] == 2;
        Ok(if plain { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    // A limit goes into the sort in one pass, and away in the next one.
    Ok(plain.then_some(1 + seen[5]))
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::displayable;

    use super::*;
    use crate::SessionOptions;
    use crate::sql::parameters::ParameterRow;
    use crate::sql::parse::{ParsedStatement, parse};
    use crate::sql::test_support::engine;
    use crate::sql::{StatementContext, query};

    const PLAIN: [&str; 33] = [
        "SELECT * FROM t WHERE host IN ('a', 'b', 'c', 'd') AND u > 90.5 LIMIT 5",
        "SELECT host, u + 1, n * 2 FROM t WHERE host LIKE 'a%' ORDER BY time DESC LIMIT 3",
        "SELECT u FROM t WHERE true AND 1 = 1 LIMIT 0",
        "SELECT host, max(time) FROM t GROUP BY host ORDER BY host LIMIT 10 OFFSET 2",
        "SELECT host FROM t WHERE n = 1 ORDER BY u LIMIT 1",
        "SELECT abs(u) AS x FROM t WHERE abs(u) > 3 ORDER BY x LIMIT 3",
        "SELECT date_bin(INTERVAL '1 hour', time) AS h, max(u) FROM t WHERE time < '2024-01-01' GROUP BY h \
         ORDER BY h DESC LIMIT 5",
        "SELECT * FROM t",
        "SELECT * FROM t WHERE host = 'a' AND time >= '2024-01-01' AND time < '2024-01-02' AND u > 90",
        "SELECT * FROM t WHERE host IN ('a', 'b', 'c', 'd') AND u > 90.5",
        "SELECT host, u + 1, n * 2 FROM t WHERE host LIKE 'a%' ORDER BY time DESC",
        "SELECT time, u FROM t WHERE u > 1 AND u > 2 AND NOT (n IS NULL OR n < 3) ORDER BY time",
        "SELECT time FROM t WHERE CAST(n AS DOUBLE) > 1.5 OR host ~ '^a.*'",
        "SELECT u FROM t WHERE false",
        "SELECT u FROM t WHERE true AND 1 = 1",
        "SELECT 1 + 1, upper(host), now() FROM t WHERE time > now() - INTERVAL '1 hour'",
        "SELECT count(*) FROM t",
        "SELECT count(*), max(time), min(u) FROM t WHERE host <> 'b'",
        "SELECT date_bin(INTERVAL '1 minute', time) AS m, max(u) FROM t WHERE host = 'a' AND time >= to_timestamp(17) AND \
         time < to_timestamp(18) GROUP BY m ORDER BY m",
        "SELECT date_bin(INTERVAL '1 hour', time) AS h, avg(u), avg(n) FROM t WHERE time >= '2024-01-01' GROUP BY h \
         ORDER BY h DESC",
        "SELECT host, date_bin(INTERVAL '1 hour', time) AS h, avg(u) FROM t GROUP BY host, h ORDER BY host, h",
        "SELECT host, room, last(u, time), first(n, time) FROM t GROUP BY host, room",
        "SELECT host, max(time) FROM t GROUP BY host ORDER BY host",
        "SELECT host, last_value(u ORDER BY time) FROM t GROUP BY host",
        "SELECT count(DISTINCT host) FROM t",
        "SELECT count(DISTINCT host), sum(n) FROM t GROUP BY room",
        "SELECT host, 'x', sum(n + 1), avg(n + 1) FROM t GROUP BY host, 'x'",
        "SELECT sum(CASE WHEN u > 1 THEN 1 ELSE 0 END), sum(CASE WHEN u > 1 THEN n END) FROM t WHERE u IS NOT NULL",
        "SELECT host, stddev(u), approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY u) FROM t GROUP BY host",
        "SELECT time_bucket('1 day', time, 'Europe/Berlin') AS d, rate(u, time) FROM t GROUP BY 1 ORDER BY 1",
        "SELECT host FROM t WHERE time = (TIMESTAMP '2024-01-01' + INTERVAL '1 day') ORDER BY u",
        "SELECT avg(u) FILTER (WHERE n > 1), max(u) FROM t WHERE room IS NULL GROUP BY host, room",
        "SELECT abs(u) AS x FROM t WHERE abs(u) > 3 ORDER BY x",
    ];

    const OTHERS: [&str; 6] = [
        "SELECT a.u FROM t a JOIN t b ON a.time = b.time",
        "SELECT u FROM t UNION ALL SELECT u FROM t",
        "SELECT u FROM t WHERE u > (SELECT avg(u) FROM t)",
        "SELECT u FROM t WHERE n IN (SELECT n FROM t)",
        "SELECT count(*) FROM (SELECT host, sum(u) FROM t GROUP BY host) s",
        "SELECT u, lag(u) OVER (ORDER BY time) FROM t",
    ];

    async fn analyzed(context: &StatementContext, sql: &str) -> LogicalPlan {
        let ParsedStatement::Sql(statement) = parse(sql).unwrap().statement else {
            panic!("{sql}")
        };
        let plan = query::logical(context, &statement, &ParameterRow::new()).await.unwrap();
        query::analyzed(&context.state, plan).unwrap()
    }

    #[tokio::test]
    async fn plain_plans_are_those_of_all_rules_and_passes() {
        let (_dir, engine) = engine(2).await;
        let session = engine.session(SessionOptions::default());
        for sql in [
            "CREATE TABLE t (time TIMESTAMP NOT NULL, host STRING, room STRING, u DOUBLE, n BIGINT, \
             PRIMARY KEY (host, room, time))",
            "INSERT INTO t VALUES ('2024-01-01', 'a', 'x', 1.5, 2), ('2024-01-02', 'b', NULL, 2.5, 3)",
        ] {
            session.execute(sql, None).await.unwrap();
        }
        let mut unlike = Vec::new();
        for sql in PLAIN {
            let mut shown = Vec::new();
            for few in [true, false] {
                // Of its own each time: they number what they name.
                let now = Some(1_700_000_000_000_000_000);
                let context = StatementContext::new(&engine, session.options(), now).await.unwrap();
                let (state, plan) = (&context.state, analyzed(&context, sql).await);
                assert!(passes(&plan).unwrap().is_some(), "{sql}: {plan}");
                let plan = if few {
                    optimize(state, plan)
                } else {
                    state.optimizer().optimize(plan, state, |_, _| {})
                };
                let plan = plan.unwrap();
                let logical = plan.display_indent_schema().to_string();
                let plan = state.query_planner().create_physical_plan(&plan, state).await.unwrap();
                shown.push(format!("{logical}\n{}", displayable(plan.as_ref()).indent(false)));
            }
            if shown[0] != shown[1] {
                unlike.push(format!("{sql}\n{}\nby all passes:\n{}", shown[0], shown[1]));
            }
        }
        assert!(unlike.is_empty(), "{}", unlike.join("\n"));
        for sql in OTHERS {
            let context = StatementContext::of(&session).await.unwrap();
            assert_eq!(passes(&analyzed(&context, sql).await).unwrap(), None, "{sql}");
        }
        engine.close().await.unwrap();
    }

    #[tokio::test]
    async fn rules_that_are_left_out_are_there_by_name() {
        let (_dir, engine) = engine(2).await;
        let rules = &engine.template().optimizer().rules;
        for name in NOT_PLAIN {
            assert!(rules.iter().any(|rule| rule.name() == name), "{name}");
        }
        engine.close().await.unwrap();
    }
}
