//! Predicates over tags, evaluated once per series instead of once per row; those over one tag, once per value of it among
//! the series that are looked at together.

use std::collections::HashMap;
use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, StringViewArray, UInt32Array};
use datafusion::arrow::compute::{and_kleene, take};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};
use datafusion::physical_expr::PhysicalExpr;
use quorate_storage::Error as StoreError;
use quorate_storage::catalog::{Column, Table};
use quorate_storage::scan::SeriesFilter;

/// Ways to begin that series are looked up by, at most; beyond, all are looked at.
const WAYS_MAX: usize = 64;

/// Whether a filter depends on tags alone, and always in the same way.
pub(super) fn is_tag_predicate(filter: &Expr, table: &Table) -> bool {
    let mut tags = 0;
    let mut other = false;
    let walked = filter.apply(|expr| {
        match expr {
            Expr::Column(column) if table.tags().any(|tag| tag.name == column.name) => tags += 1,
            Expr::Column(_)
            | Expr::OuterReferenceColumn(..)
            | Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::SetComparison(_)
            | Expr::ScalarSubquery(_)
            | Expr::AggregateFunction(_)
            | Expr::WindowFunction(_)
            | Expr::Placeholder(_)
            | Expr::Unnest(_) => other = true,
            _ if expr.is_volatile_node() => other = true,
            _ => {}
        }
        Ok(if other { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    walked.is_ok() && tags > 0 && !other
}

/// The tag and its value, where a filter leaves just one.
pub(super) fn constant(filter: &Expr) -> Option<(String, ScalarValue)> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = filter else {
        return None;
    };
    match (left.as_ref(), right.as_ref()) {
        (Expr::Column(column), Expr::Literal(value, _))
        | (Expr::Literal(value, _), Expr::Column(column))
            if !value.is_null() =>
        {
            Some((column.name.clone(), value.clone()))
        }
        _ => None,
    }
}

/// A predicate over the tags of a table, as the store asks it.
pub(crate) struct TagFilter {
    /// All must hold.
    parts: Vec<Part>,
    /// What series begin with, where the predicates leave few ways.
    first_tags: Vec<Vec<String>>,
}

/// A part of the predicate.
struct Part {
    predicate: Arc<dyn PhysicalExpr>,
    /// The tag that it is about, if it is about one alone: it is evaluated once per value then.
    tag: Option<usize>,
    /// What it is evaluated over: that tag, or all.
    schema: SchemaRef,
}

impl Debug for TagFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let parts = self.parts.iter().map(|part| part.predicate.to_string());
        write!(f, "TagFilter({})", parts.collect::<Vec<_>>().join(" AND "))
    }
}

impl TagFilter {
    /// Compiles predicates that must all hold; `None` if there are none.
    pub(crate) fn compile(
        state: &dyn Session,
        table: &Table,
        predicates: &[Expr],
    ) -> Result<Option<Arc<Self>>> {
        let mut parts = Vec::new();
        let mut of_several = Vec::new();
        for predicate in predicates.iter().cloned().map(unnormalize_col) {
            match only_tag(&predicate, table) {
                Some(tag) => parts.push(Part::compile(state, table, Some(tag), predicate)?),
                None => of_several.push(predicate),
            }
        }
        if let Some(all) = conjunction(of_several) {
            parts.push(Part::compile(state, table, None, all)?);
        }
        let first_tags = first_tags(table, predicates);
        Ok((!parts.is_empty()).then(|| Arc::new(Self { parts, first_tags })))
    }
}

/// The place of the tag that a predicate is about, if there is just one.
fn only_tag(predicate: &Expr, table: &Table) -> Option<usize> {
    let mut names = predicate.column_refs().into_iter().map(|column| column.name.as_str());
    let first = names.next()?;
    if names.any(|name| name != first) {
        return None;
    }
    table.tags().position(|tag| tag.name == first)
}

impl Part {
    fn compile(
        state: &dyn Session,
        table: &Table,
        tag: Option<usize>,
        predicate: Expr,
    ) -> Result<Self> {
        let wanted = |(place, _): &(usize, &Column)| tag.is_none_or(|tag| tag == *place);
        let tags = table.tags().enumerate().filter(wanted);
        let fields = tags.map(|(_, tag)| Field::new(&tag.name, DataType::Utf8View, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let known = DFSchema::try_from(schema.as_ref().clone())?;
        Ok(Self { predicate: state.create_physical_expr(predicate, &known)?, tag, schema })
    }

    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, StoreError> {
        // A tag that was added since this was compiled stands after the ones it knows, and changes nothing.
        let Some(tag) = self.tag else { return self.evaluate(tags) };
        let mut places: HashMap<Option<&str>, u32> = HashMap::new();
        let mut values = Vec::new();
        let column = tags.column(tag).as_string_view();
        let place_of = |value| {
            *places.entry(value).or_insert_with(|| {
                values.push(value);
                u32::try_from(values.len() - 1).expect("a batch has fewer values than 2^32")
            })
        };
        let of_rows = column.iter().map(place_of).collect::<UInt32Array>();
        let values: ArrayRef = Arc::new(values.into_iter().collect::<StringViewArray>());
        let distinct = RecordBatch::try_new(Arc::clone(&self.schema), vec![values])?;
        Ok(take(&self.evaluate(&distinct)?, &of_rows, None)?.as_boolean().clone())
    }

    fn evaluate(&self, tags: &RecordBatch) -> Result<BooleanArray, StoreError> {
        let answer = self
            .predicate
            .evaluate(tags)
            .and_then(|value| value.into_array(tags.num_rows()))
            .map_err(|e| StoreError::Invalid(e.strip_backtrace()))?;
        match answer.as_boolean_opt() {
            Some(answer) => Ok(answer.clone()),
            None => {
                Err(StoreError::Internal(format!("filter {} is not a truth value", self.predicate)))
            }
        }
    }
}

/// The values of the first tags, in id order, as far as predicates leave few: in each way that they can be put together.
pub(super) fn first_tags(table: &Table, predicates: &[Expr]) -> Vec<Vec<String>> {
    let mut ways: Vec<Vec<String>> = Vec::new();
    for tag in table.tags() {
        let values = predicates.iter().find_map(|predicate| values_of(predicate, &tag.name));
        let Some(values) = values else { break };
        let few = values.len() * ways.len().max(1) <= WAYS_MAX;
        if !few || values.iter().any(String::is_empty) {
            break;
        }
        ways = match ways.as_slice() {
            [] => values.into_iter().map(|value| vec![value]).collect(),
            ways => {
                let longer = |way: &Vec<String>| {
                    let way = way.clone();
                    let with = move |value: &String| {
                        [way.as_slice(), std::slice::from_ref(value)].concat()
                    };
                    values.iter().map(with).collect::<Vec<_>>()
                };
                ways.iter().flat_map(longer).collect()
            }
        };
    }
    ways
}

/// The values that a predicate leaves to a column, where it lists them.
fn values_of(predicate: &Expr, name: &str) -> Option<Vec<String>> {
    let text = |value: &ScalarValue| value.try_as_str().flatten().map(str::to_owned);
    match predicate {
        Expr::InList(list) if !list.negated => {
            let Expr::Column(column) = list.expr.as_ref() else { return None };
            let value = |item: &Expr| match item {
                Expr::Literal(value, _) => text(value),
                _ => None,
            };
            (column.name == name).then(|| list.list.iter().map(value).collect())?
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (left, right) = (values_of(left, name)?, values_of(right, name)?);
            Some([left, right].concat())
        }
        _ => {
            let (_, value) = constant(predicate).filter(|(column, _)| column == name)?;
            Some(vec![text(&value)?])
        }
    }
}

impl SeriesFilter for TagFilter {
    fn first_tags(&self) -> &[Vec<String>] {
        &self.first_tags
    }

    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, StoreError> {
        let mut kept: Option<BooleanArray> = None;
        for part in &self.parts {
            let also = part.keep(tags)?;
            kept = Some(match kept {
                Some(kept) => and_kleene(&kept, &also)?,
                None => also,
            });
        }
        kept.ok_or_else(|| StoreError::Internal("a filter without predicates".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::SessionStateBuilder;
    use datafusion::functions::expr_fn::{random, regexp_like, upper};
    use datafusion::prelude::{SessionContext, col, in_list, lit};

    use super::*;
    use crate::catalog::tests::cpu_table;

    fn kept(filter: Expr) -> Vec<Option<bool>> {
        let state = SessionStateBuilder::new().with_default_features().build();
        let context = SessionContext::new_with_state(state);
        let table = cpu_table();
        assert!(is_tag_predicate(&filter, &table), "{filter}");
        let filter = TagFilter::compile(&context.state(), &table, &[filter]).unwrap().unwrap();
        let column = |values: [Option<&str>; 3]| {
            Arc::new(values.into_iter().collect::<StringViewArray>()) as ArrayRef
        };
        let tags = RecordBatch::try_from_iter_with_nullable([
            ("host", column([Some("a"), Some("b"), None]), true),
            ("Region", column([Some("eu"), None, Some("us")]), true),
        ])
        .unwrap();
        filter.keep(&tags).unwrap().iter().collect()
    }

    #[test]
    fn predicates_are_evaluated_per_series_with_nulls() {
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(kept(col("cpu.host").eq(lit("a"))), [yes, no, None]);
        assert_eq!(kept(in_list(col("host"), vec![lit("a"), lit("c")], false)), [yes, no, None]);
        assert_eq!(kept(col("host").like(lit("b%"))), [no, yes, None]);
        assert_eq!(kept(regexp_like(col("host"), lit("^[ab]$"), None)), [yes, yes, None]);
        assert_eq!(kept(col("host").is_null()), [no, no, yes]);
        let region = col(datafusion::common::Column::from_name("Region"));
        assert_eq!(kept(col("host").eq(lit("a")).or(region.eq(lit("us")))), [yes, None, yes]);
        assert_eq!(kept(upper(col("host")).eq(lit("B"))), [no, yes, None]);
    }

    #[test]
    fn predicates_over_one_tag_and_over_several_all_hold() {
        let state = SessionStateBuilder::new().with_default_features().build();
        let context = SessionContext::new_with_state(state);
        let table = cpu_table();
        let region = || col(datafusion::common::Column::from_name("Region"));
        let several = col("host").eq(region()).or(region().is_null());
        let predicates = [
            col("host").not_eq(lit("x")),
            several,
            region().not_eq(lit("c")).or(region().is_null()),
        ];
        let filter = TagFilter::compile(&context.state(), &table, &predicates).unwrap().unwrap();
        let column = |values: [Option<&str>; 6]| {
            Arc::new(values.into_iter().collect::<StringViewArray>()) as ArrayRef
        };
        let hosts = [Some("a"), Some("x"), Some("a"), Some("a"), Some("c"), None];
        let regions = [Some("a"), Some("x"), Some("b"), None, Some("c"), None];
        let tags = RecordBatch::try_from_iter_with_nullable([
            ("host", column(hosts), true),
            ("Region", column(regions), true),
        ])
        .unwrap();
        let kept: Vec<Option<bool>> = filter.keep(&tags).unwrap().iter().collect();
        let (yes, no) = (Some(true), Some(false));
        assert_eq!(kept, [yes, no, no, yes, no, None]);
    }

    #[test]
    fn the_first_tags_are_known_where_values_are_listed() {
        let table = cpu_table();
        let known = |predicates: &[Expr]| first_tags(&table, predicates);
        let region = || col(datafusion::common::Column::from_name("Region"));
        let among = |hosts: &[&str], negated| {
            in_list(col("host"), hosts.iter().map(|host| lit(*host)).collect(), negated)
        };
        assert_eq!(known(&[col("cpu.host").eq(lit("a"))]), [["a"]]);
        assert_eq!(known(&[region().eq(lit("eu")), lit("a").eq(col("host"))]), [["a", "eu"]]);
        assert_eq!(known(&[among(&["b", "a"], false)]), [["b"], ["a"]]);
        let either = region().eq(lit("eu")).or(region().eq(lit("us")));
        assert_eq!(
            known(&[among(&["b", "a"], false), either.clone()]),
            [["b", "eu"], ["b", "us"], ["a", "eu"], ["a", "us"]]
        );
        assert_eq!(known(&[col("host").eq(lit("a")), region().not_eq(lit("eu"))]), [["a"]]);
        assert_eq!(known(&[col("host").eq(lit("a")), region().eq(lit(""))]), [["a"]]);
        let many: Vec<String> = (0..65).map(|host| host.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(known(&[among(&many[..64], false), either.clone()]).len(), 64);
        for any in [
            region().eq(lit("eu")),
            either,
            col("host").eq(lit("")),
            col("host").not_eq(lit("a")),
            among(&["a"], true),
            among(&["a", ""], false),
            among(&many, false),
            col("host").eq(lit("a")).or(region().eq(lit("eu"))),
            in_list(col("host"), vec![lit("a"), col("host")], false),
            in_list(col("host"), vec![lit("a"), lit(ScalarValue::Utf8(None))], false),
        ] {
            assert!(known(std::slice::from_ref(&any)).is_empty(), "{any}");
        }
    }

    #[test]
    fn what_is_not_of_tags_alone_stays_above() {
        let table = cpu_table();
        for filter in [
            col("usage").gt(lit(1.0)),
            col("host").eq(lit("a")).and(col("usage").gt(lit(1.0))),
            col("host").eq(col("note")),
            random().lt(lit(0.5)),
            lit(true),
        ] {
            assert!(!is_tag_predicate(&filter, &table), "{filter}");
        }
    }

    #[test]
    fn an_equality_leaves_one_value() {
        assert_eq!(
            constant(&col("host").eq(lit("a"))),
            Some(("host".to_owned(), ScalarValue::from("a")))
        );
        assert_eq!(constant(&col("host").not_eq(lit("a"))), None);
        assert_eq!(constant(&col("host").eq(col("note"))), None);
    }
}
