//! [`GapFill`]: the logical operator, and [`GapFillPlanner`], which makes it physical.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt::Formatter;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{
    DFSchema, DFSchemaRef, ScalarValue, TableReference, internal_err, plan_err,
};
use datafusion::error::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Expr, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};

use super::exec::GapFillExec;
use super::fill::{Fill, Layout, Method};
use super::functions::Marker;
use super::grid::{Grid, bucket_origin};
use super::range::{Bound, FillRange};
use super::width::{Width, interval};
use crate::buckets::numbered_buckets;

/// Name of the column that tells added rows.
pub(super) const FILLED_COLUMN: &str = "gap_filled()";

/// How the buckets lie.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(super) struct Key {
    /// The function that asked for it.
    pub(super) marker: Marker,
    /// `None` where a parameter has no value yet.
    pub(super) width: Option<Width>,
    /// As the type of the time counts it.
    pub(super) origin: i64,
    /// The time zone whose wall clock the buckets follow, instead of UTC.
    pub(super) zone: Option<String>,
}

impl Key {
    /// A key of a function, with the function's own origin where none is given.
    pub(super) fn new(
        marker: Marker,
        width: Option<Width>,
        origin: Option<i64>,
        time: &DataType,
    ) -> Self {
        let own = match (marker, width, time) {
            (Marker::TimeBucket, Some(width), DataType::Timestamp(unit, _)) => {
                bucket_origin(width, *unit)
            }
            _ => 0,
        };
        Self { marker, width, origin: origin.unwrap_or(own), zone: None }
    }

    /// The key in a time zone.
    pub(super) fn in_zone(self, zone: Option<String>) -> Self {
        Self { zone, ..self }
    }
}

/// A column that fills.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd)]
pub(super) struct LogicalFill {
    /// A column of the input.
    pub(super) value: Expr,
    pub(super) method: Method,
    /// Name of the column that it makes.
    pub(super) name: String,
}

/// Adds rows for missing buckets, and columns with what fills say.
///
/// Columns: those of the input, then one for every fill, then, if asked for, whether the row was added.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct GapFill {
    pub(super) input: LogicalPlan,
    key: Key,
    /// Columns of the input whose values make a series.
    series: Vec<Expr>,
    /// The column of the input with the bucket.
    time: Expr,
    /// For every column of the input, its value in rows that are added.
    empty: Vec<ScalarValue>,
    fills: Vec<LogicalFill>,
    bounds: Vec<Bound>,
    marks: bool,
    /// A condition was put below: no rows may mean that it was not met.
    is_filtered: bool,
    schema: DFSchemaRef,
}

impl PartialOrd for GapFill {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self == other {
            return Some(Ordering::Equal);
        }
        match self.input.partial_cmp(&other.input)? {
            Ordering::Equal => self.fills.partial_cmp(&other.fills),
            unequal => Some(unequal),
        }
        .filter(|order| order.is_ne())
    }
}

impl GapFill {
    /// Over an aggregate whose first columns are its keys, the one at `time` the bucket.
    pub(super) fn new(
        input: LogicalPlan,
        key: Key,
        (keys, time): (usize, usize),
        empty: Vec<ScalarValue>,
        bounds: Vec<Bound>,
    ) -> Result<Self> {
        let columns = input.schema().columns();
        let column = |i: usize| Expr::Column(columns[i].clone());
        let series = (0..keys).filter(|i| *i != time).map(column).collect();
        let time = column(time);
        let schema = Arc::clone(input.schema());
        let (fills, marks, is_filtered) = (vec![], false, false);
        Self { input, key, series, time, empty, fills, bounds, marks, is_filtered, schema }
            .with_schema()
    }

    fn with_schema(mut self) -> Result<Self> {
        let input = self.input.schema();
        let kept = |qualifier: Option<&TableReference>, name: &str| {
            let is = |expr: &Expr| matches!(expr, Expr::Column(c) if c.name == name && c.relation.as_ref() == qualifier);
            is(&self.time) || self.series.iter().any(is)
        };
        let mut fields: Vec<(Option<TableReference>, Arc<Field>)> = Vec::new();
        for (i, (qualifier, field)) in input.iter().enumerate() {
            let gets_null = !kept(qualifier, field.name())
                && self.empty.get(i).is_none_or(ScalarValue::is_null);
            let field = field.as_ref().clone();
            let nullable = field.is_nullable() || gets_null;
            fields.push((qualifier.cloned(), Arc::new(field.with_nullable(nullable))));
        }
        for fill in &self.fills {
            let (_, field) = input.qualified_field(self.index(&fill.value)?);
            let field = Field::new(&fill.name, field.data_type().clone(), true);
            fields.push((None, Arc::new(field)));
        }
        if self.marks {
            fields.push((None, Arc::new(Field::new(FILLED_COLUMN, DataType::Boolean, false))));
        }
        self.schema = Arc::new(DFSchema::new_with_metadata(fields, HashMap::new())?);
        Ok(self)
    }

    /// With a column that fills.
    pub(super) fn with_fill(mut self, fill: LogicalFill) -> Result<Self> {
        if self.fills.iter().any(|known| known.name == fill.name) {
            return Ok(self);
        }
        self.fills.push(fill);
        self.with_schema()
    }

    /// With the column that tells added rows.
    pub(super) fn with_marks(mut self) -> Result<Self> {
        self.marks = true;
        self.with_schema()
    }

    /// Over another input that has more columns at its end.
    pub(super) fn with_wider_input(mut self, input: LogicalPlan) -> Result<Self> {
        for field in input.schema().fields().iter().skip(self.empty.len()) {
            self.empty.push(ScalarValue::try_from(field.data_type())?);
        }
        self.input = input;
        self.with_schema()
    }

    fn index(&self, column: &Expr) -> Result<usize> {
        match column {
            Expr::Column(column) => self.input.schema().index_of_column(column),
            other => internal_err!("gap filling is of columns, not of {other}"),
        }
    }

    fn grid(&self, data_type: &DataType) -> Result<Grid> {
        let name = self.key.marker.name();
        let Some(width) = self.key.width else {
            return plan_err!("{name}: the width is NULL; write an interval");
        };
        let grid = Grid::new(name, width, data_type, self.key.origin)?;
        let Some(zone) = &self.key.zone else { return Ok(grid) };
        let zone = ScalarValue::from(zone.as_str());
        Ok(grid.on_wall(numbered_buckets(&interval(width), &zone, data_type)?))
    }

    fn layout(&self, session: &dyn Session) -> Result<Layout> {
        let time = self.index(&self.time)?;
        let data_type = self.input.schema().field(time).data_type();
        let grid = self.grid(data_type)?;
        let DataType::Timestamp(unit, _) = data_type else {
            return internal_err!("buckets are of timestamps, not of {data_type}");
        };
        let name = self.key.marker.name();
        let range = FillRange::resolve(name, &self.bounds, &grid, *unit, session)?;
        let fill =
            |fill: &LogicalFill| Ok(Fill { source: self.index(&fill.value)?, method: fill.method });
        Ok(Layout {
            schema: Arc::clone(self.schema.inner()),
            name,
            time,
            series: self.series.iter().map(|e| self.index(e)).collect::<Result<_>>()?,
            empty: self.empty.clone(),
            fills: self.fills.iter().map(fill).collect::<Result<_>>()?,
            marks: self.marks,
            grid,
            zone: self.key.zone.clone(),
            range,
            fills_nothing: self.series.is_empty() && !self.is_filtered,
        })
    }
}

impl UserDefinedLogicalNodeCore for GapFill {
    fn name(&self) -> &'static str {
        "GapFill"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let fills = self.fills.iter().map(|fill| &fill.value);
        let bounds = self.bounds.iter().map(|bound| &bound.expr);
        let own = std::iter::once(&self.time).chain(&self.series);
        own.chain(fills).chain(bounds).cloned().collect()
    }

    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // A condition on a series' keys takes or leaves all of its rows; any other would make gaps to fill.
        let columns = self.schema.columns();
        let of_series =
            |name: &str| self.series.iter().any(|e| matches!(e, Expr::Column(c) if c.name == name));
        let once = |name: &str| columns.iter().filter(|c| c.name == name).count() == 1;
        let names = columns.iter().map(|c| c.name.clone());
        names.filter(|name| !(of_series(name) && once(name))).collect()
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let series: Vec<String> = self.series.iter().map(ToString::to_string).collect();
        let fills: Vec<&str> = self.fills.iter().map(|fill| fill.name.as_str()).collect();
        write!(
            f,
            "GapFill: time={}, series=[{}], fills=[{}]",
            self.time,
            series.join(", "),
            fills.join(", ")
        )
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let count = 1 + self.series.len() + self.fills.len() + self.bounds.len();
        let ([input], true) = (&inputs[..], exprs.len() == count) else {
            return internal_err!("gap filling has one input and {count} expressions");
        };
        let mut exprs = exprs.into_iter();
        let mut next = || exprs.next().expect("the count is checked above");
        let mut node = self.clone();
        node.input = input.clone();
        node.is_filtered |= matches!(input, LogicalPlan::Filter(_));
        node.time = next();
        for series in &mut node.series {
            *series = next();
        }
        for fill in &mut node.fills {
            fill.value = next();
        }
        for bound in &mut node.bounds {
            bound.expr = next();
        }
        node.with_schema()
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![(0..self.input.schema().fields().len()).collect()])
    }
}

/// Makes [`GapFillExec`] of [`GapFill`].
#[derive(Debug)]
pub(crate) struct GapFillPlanner;

#[async_trait]
impl ExtensionPlanner for GapFillPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [input]) = (node.as_any().downcast_ref::<GapFill>(), physical_inputs)
        else {
            return Ok(None);
        };
        let layout = Arc::new(node.layout(session)?);
        Ok(Some(Arc::new(GapFillExec::try_new(layout, Arc::clone(input))?)))
    }
}
