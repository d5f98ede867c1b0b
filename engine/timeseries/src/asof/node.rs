//! [`AsOfJoin`]: the logical operator.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use datafusion::common::{DFSchemaRef, JoinType, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::logical_plan::builder::build_join_schema;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::comparison::{Comparison, Kind};
use super::tolerance::Tolerance;

/// Which right row is the partner of a left row with equal keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Match {
    /// Time of the left row.
    pub(super) left: Expr,
    /// What it is to the partner's.
    pub(super) comparison: Comparison,
    /// Time of the right row, of the same type.
    pub(super) right: Expr,
    /// How far from each other they may be.
    pub(super) tolerance: Option<Tolerance>,
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.left, self.comparison, self.right)?;
        match &self.tolerance {
            Some(tolerance) => write!(f, ", tolerance={tolerance}"),
            None => Ok(()),
        }
    }
}

/// To each left row the nearest right row with equal keys: columns of the left side, then of the right.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AsOfJoin {
    pub(super) left: Arc<LogicalPlan>,
    pub(super) right: Arc<LogicalPlan>,
    /// Pairs of a left and a right key, each of one type.
    pub(super) on: Vec<(Expr, Expr)>,
    pub(super) matching: Match,
    pub(super) kind: Kind,
    schema: DFSchemaRef,
}

impl AsOfJoin {
    /// A join of two inputs.
    pub(super) fn try_new(
        left: Arc<LogicalPlan>,
        right: Arc<LogicalPlan>,
        on: Vec<(Expr, Expr)>,
        matching: Match,
        kind: Kind,
    ) -> Result<Self> {
        let of = match kind {
            Kind::Left => JoinType::Left,
            Kind::Inner => JoinType::Inner,
        };
        let schema = Arc::new(build_join_schema(left.schema(), right.schema(), &of)?);
        Ok(Self { left, right, on, matching, kind, schema })
    }

    /// The same join of other inputs.
    pub(super) fn with_inputs(&self, left: LogicalPlan, right: LogicalPlan) -> Result<Self> {
        let (on, matching) = (self.on.clone(), self.matching.clone());
        Self::try_new(Arc::new(left), Arc::new(right), on, matching, self.kind)
    }
}

impl PartialOrd for AsOfJoin {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for AsOfJoin {
    fn name(&self) -> &'static str {
        "AsOfJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.left, &self.right]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = self.on.iter().flat_map(|(l, r)| [l, r]);
        keys.chain([&self.matching.left, &self.matching.right]).cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsOfJoin: type={}", self.kind)?;
        if !self.on.is_empty() {
            let on: Vec<String> = self.on.iter().map(|(l, r)| format!("{l} = {r}")).collect();
            write!(f, ", on=[{}]", on.join(", "))?;
        }
        write!(f, ", match={}", self.matching)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        let on = exprs.by_ref().take(self.on.len() * 2).collect::<Vec<_>>();
        let on = on.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        let (Some(left), Some(right), None) = (exprs.next(), exprs.next(), exprs.next()) else {
            return internal_err!("an as-of join has two expressions a key and two for its times");
        };
        let mut inputs = inputs.into_iter().map(Arc::new);
        let (Some(first), Some(second), None) = (inputs.next(), inputs.next(), inputs.next())
        else {
            return internal_err!("an as-of join has two inputs");
        };
        let matching = Match { left, right, ..self.matching.clone() };
        Self::try_new(first, second, on, matching, self.kind)
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        // The planner adds the columns of `expressions`.
        let width = self.left.schema().fields().len();
        let (left, right): (Vec<usize>, Vec<usize>) =
            output_columns.iter().partition(|column| **column < width);
        Some(vec![left, right.into_iter().map(|column| column - width).collect()])
    }
}
