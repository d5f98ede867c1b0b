//! A predicate over the tags of several tables, as the store asks it of one of them.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, StringViewArray, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::logical_expr::Expr;
use quorate_storage::Error as StoreError;
use quorate_storage::catalog::{Column, Table};
use quorate_storage::scan::SeriesFilter;

use super::TagFilter;
use super::tags::first_tags;

/// A [`TagFilter`] over the tags that several tables have together, the first of which is the table's name. A tag that
/// this table does not have is NULL.
pub(crate) struct WidenedFilter {
    filter: Arc<TagFilter>,
    schema: SchemaRef,
    name: String,
    /// Where the table has each tag but the first.
    places: Vec<Option<usize>>,
    first_tags: Vec<Vec<String>>,
}

impl Debug for WidenedFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "WidenedFilter({}, {:?})", self.name, self.filter)
    }
}

impl WidenedFilter {
    /// A filter of `table`; `all` has the tags of all tables, and `predicates` are what the filter was compiled from.
    pub(crate) fn new(
        filter: &Arc<TagFilter>,
        all: &Table,
        table: &Table,
        predicates: &[Expr],
    ) -> Self {
        let place = |tag: &Column| table.tags().position(|own| own.name == tag.name);
        let field = |tag: &Column| Field::new(&tag.name, DataType::Utf8View, true);
        Self {
            filter: Arc::clone(filter),
            schema: Arc::new(Schema::new(all.tags().map(field).collect::<Vec<_>>())),
            name: table.name.clone(),
            places: all.tags().skip(1).map(place).collect(),
            first_tags: first_tags(table, predicates),
        }
    }
}

impl SeriesFilter for WidenedFilter {
    fn first_tags(&self) -> &[Vec<String>] {
        &self.first_tags
    }

    fn keep(&self, tags: &RecordBatch) -> Result<BooleanArray, StoreError> {
        let rows = tags.num_rows();
        let names = std::iter::repeat_n(Some(self.name.as_str()), rows);
        let names: ArrayRef = Arc::new(names.collect::<StringViewArray>());
        let tag = |place: &Option<usize>| match place {
            Some(place) => Arc::clone(tags.column(*place)),
            None => new_null_array(&DataType::Utf8View, rows),
        };
        let columns = std::iter::once(names).chain(self.places.iter().map(tag)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let all = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        self.filter.keep(&all)
    }
}
