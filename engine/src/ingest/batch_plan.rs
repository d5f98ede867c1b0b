//! What the columns of an Arrow batch become: the time, tags, fields, or an error that names the column.
//!
//! Pure: a schema, a target, and perhaps a table's record in; a [`BatchPlan`] out. The rules are those of schema on
//! write: the time is the column `time`, else the only timestamp column; the tags of a new table are its text columns,
//! unless they are named. In a table that is there, names decide, and a text column that is new is a field: a tag would
//! change what identifies its rows.

use arrow::datatypes::{DataType, Field, Schema};
use quorate_storage::catalog::{ColumnDefinition, Table};
use quorate_storage::{ColumnKind, FieldType};

use super::TableIngest;
use super::growth::TIME;
use crate::{Error, ErrorKind};

/// What a column of the batch is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PlannedColumn {
    /// Its place in the batch.
    pub(super) index: usize,
    /// The column of the table that it goes to.
    pub(super) name: String,
    /// What that is.
    pub(super) kind: ColumnKind,
}

/// What the columns of a batch are used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct BatchPlan {
    /// The columns, in the order of the batch; columns without values (of type null) are left out.
    pub(super) columns: Vec<PlannedColumn>,
    /// Things to tell the user.
    pub(super) notices: Vec<String>,
}

impl BatchPlan {
    /// Plans the columns of `schema` for a table that is there, or is to be made.
    pub(super) fn new(
        schema: &Schema,
        target: &TableIngest,
        table: Option<&Table>,
    ) -> Result<Self, Error> {
        let mut plan = Self::default();
        let time = plan.time(schema, target, table)?;
        let tags = named_tags(schema, target)?;
        for (index, field) in schema.fields().iter().enumerate() {
            let name = field.name();
            if schema.fields().iter().take(index).any(|f| f.name() == name) {
                return Err(invalid(format!("the column {name:?} is there twice")));
            }
            if index == time {
                let name = table.map_or(TIME, |t| &t.time().name);
                plan.push(index, name, ColumnKind::Time);
                continue;
            }
            let have = table.and_then(|t| t.column(name)).map(|c| c.kind);
            let text = natural(field.data_type()) == Some(FieldType::Utf8);
            let is_tag = match &tags {
                Some(tags) => tags.contains(&name.as_str()),
                None => text && table.is_none(),
            };
            if let Some(kind) = kind(field, have, is_tag, &target.table)? {
                plan.push(index, name, kind);
            }
        }
        Ok(plan)
    }

    /// The columns as the catalog is asked for them.
    pub(super) fn definitions(&self) -> Vec<ColumnDefinition> {
        let definition =
            |c: &PlannedColumn| ColumnDefinition { name: c.name.clone(), kind: c.kind };
        self.columns.iter().map(definition).collect()
    }

    fn push(&mut self, index: usize, name: &str, kind: ColumnKind) {
        self.columns.push(PlannedColumn { index, name: name.to_owned(), kind });
    }

    /// Which column of the batch is the time.
    fn time(
        &mut self,
        schema: &Schema,
        target: &TableIngest,
        table: Option<&Table>,
    ) -> Result<usize, Error> {
        let wanted = table.map_or(TIME, |t| &t.time().name);
        let (index, name) = if let Some(name) = &target.time {
            let index = schema.index_of(name).map_err(|_| {
                invalid(format!("there is no column {name:?} to be the time of {:?}", target.table))
            })?;
            (index, name.as_str())
        } else if let Ok(index) = schema.index_of(wanted) {
            (index, wanted)
        } else {
            // Not those that are fields of the table.
            let field = |name: &str| table.is_some_and(|t| t.column(name).is_some());
            let times = schema.fields().iter().enumerate();
            let mut times =
                times.filter(|(_, f)| is_time(f.data_type()) && !field(f.name())).fuse();
            match (times.next(), times.next()) {
                (Some((index, only)), None) => (index, only.name().as_str()),
                (None, _) => return Err(no_time(target, "no timestamp column")),
                (Some(_), Some(_)) => {
                    return Err(no_time(target, "more than one timestamp column, none named time"));
                }
            }
        };
        let found = schema.field(index).data_type();
        if !is_time(found) {
            return Err(invalid(format!(
                "the time column {name:?} of table {:?} is {found}, not a timestamp",
                target.table
            )));
        }
        if name != wanted {
            if schema.index_of(wanted).is_ok() {
                return Err(invalid(format!(
                    "{name:?} is to be the time of table {:?}, but there is a column {wanted:?}, too",
                    target.table
                )));
            }
            self.notices.push(format!("column {name:?} is the time, stored as {wanted:?}"));
        }
        Ok(index)
    }
}

fn no_time(target: &TableIngest, what: &str) -> Error {
    invalid(format!("table {:?} needs a time column: the rows have {what}", target.table))
}

/// The tags that the client names; they are text columns of the batch.
fn named_tags<'a>(schema: &Schema, target: &'a TableIngest) -> Result<Option<Vec<&'a str>>, Error> {
    let Some(tags) = &target.tags else { return Ok(None) };
    for tag in tags {
        let field = schema.field_with_name(tag).map_err(|_| {
            invalid(format!("there is no column {tag:?} to be a tag of table {:?}", target.table))
        })?;
        let text = natural(field.data_type()) == Some(FieldType::Utf8);
        if !text && field.data_type() != &DataType::Null {
            return Err(invalid(format!(
                "column {tag:?} cannot be a tag of table {:?}: it is {}, not text",
                target.table,
                field.data_type()
            )));
        }
    }
    Ok(Some(tags.iter().map(String::as_str).collect()))
}

/// What a column becomes; `None` if it holds nothing and the table does not know it.
fn kind(
    field: &Field,
    have: Option<ColumnKind>,
    is_tag: bool,
    table: &str,
) -> Result<Option<ColumnKind>, Error> {
    let name = field.name();
    let empty = field.data_type() == &DataType::Null;
    let found = natural(field.data_type());
    if found.is_none() && !empty {
        return Err(Error::request(
            ErrorKind::Unsupported,
            format!(
                "column {name:?} of table {table:?} has the type {}, which cannot be stored",
                field.data_type()
            ),
        ));
    }
    let conflict = |have: &str| {
        Err(Error::request(
            ErrorKind::Invalid,
            format!("column {name:?} of table {table:?} is {have}, not {}", field.data_type()),
        ))
    };
    match have {
        None if is_tag => Ok(Some(ColumnKind::Tag)),
        None => Ok(found.map(ColumnKind::Field)),
        Some(ColumnKind::Time) => conflict("the time"),
        Some(ColumnKind::Tag) if empty || found == Some(FieldType::Utf8) => Ok(have),
        Some(ColumnKind::Tag) => conflict("a tag"),
        Some(ColumnKind::Field(_)) if is_tag => conflict("a field and cannot be a tag"),
        Some(ColumnKind::Field(want)) if found.is_none_or(|found| widens(found, want)) => Ok(have),
        Some(ColumnKind::Field(want)) => conflict(&format!("{want:?}")),
    }
}

/// Whether values of one type may be stored as another, row by row where they fit exactly.
fn widens(found: FieldType, want: FieldType) -> bool {
    use FieldType::{Float64, Int64, UInt64};
    found == want || matches!((found, want), (Int64 | UInt64, Int64 | UInt64 | Float64))
}

/// The field type that holds all values of an Arrow type; `None` if there is none.
pub(super) fn natural(arrow: &DataType) -> Option<FieldType> {
    match arrow {
        DataType::Float16 | DataType::Float32 | DataType::Float64 => Some(FieldType::Float64),
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => {
            Some(FieldType::Int64)
        }
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            Some(FieldType::UInt64)
        }
        DataType::Boolean => Some(FieldType::Boolean),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(FieldType::Utf8),
        DataType::Timestamp(_, _) | DataType::Date32 | DataType::Date64 => {
            Some(FieldType::Timestamp)
        }
        DataType::Dictionary(_, values) => natural(values),
        _ => None,
    }
}

fn is_time(arrow: &DataType) -> bool {
    natural(arrow) == Some(FieldType::Timestamp)
}

fn invalid(message: String) -> Error {
    Error::request(ErrorKind::Invalid, message)
}

#[cfg(test)]
#[path = "batch_plan_tests.rs"]
mod tests;
