//! `ALTER TABLE`: each statement is one change of the catalog, so that it is carried out whole or not at all. One that
//! changes how rows are placed is decided by one entry, and in force with another one: the store sees it through.

use datafusion::sql::sqlparser::ast::{
    AlterTable, AlterTableOperation, ColumnDef, ColumnOption, Ident, RenameTableNameKind,
};
use quorate_storage::ColumnKind;
use quorate_storage::catalog::{
    CatalogCommand, Column, ColumnDefinition, NoteTarget, Table, TableChange,
};

use super::action::unsupported;
use super::names::{name_of, no_column, stored_table};
use super::{StatementContext, create, notes};
use crate::{Error, ErrorKind, Outcome, Session};

/// Runs an `ALTER TABLE`.
pub(super) async fn run(session: &Session, alter: &AlterTable) -> Result<Outcome, Error> {
    super::run::retry_stale(|| run_once(session, alter)).await
}

async fn run_once(session: &Session, alter: &AlterTable) -> Result<Outcome, Error> {
    let AlterTable {
        name,
        if_exists,
        only,
        operations,
        location,
        on_cluster,
        table_type,
        end_token: _,
    } = alter;
    if *only || location.is_some() || on_cluster.is_some() || table_type.is_some() {
        return Err(unsupported("a clause of this ALTER TABLE"));
    }
    let context = StatementContext::of(session).await?;
    let place = stored_table(name, context.database_name())?;
    if *if_exists && context.catalog.table(&place.database, &place.table).is_none() {
        return Ok(Outcome::Done);
    }
    let table = context.table(&place)?;
    if let [AlterTableOperation::SetOptionsParens { options }] = operations.as_slice() {
        let store = session.engine().store();
        if let Some(changes) = notes::of_options(options)? {
            let command = CatalogCommand::Annotate { target: NoteTarget::Table(table.id), changes };
            store.change_catalog(command).await?;
        } else {
            store.change_options(table.id, &create::options_change(options)?).await?;
        }
        return Ok(Outcome::Done);
    }
    let Some(change) = change_of(&context, table, operations)? else { return Ok(Outcome::Done) };
    let command = CatalogCommand::AlterTable { table: table.id, change };
    session.engine().store().change_catalog(command).await?;
    Ok(Outcome::Done)
}

/// The change that the operations ask for; `None` if it is so already.
fn change_of(
    context: &StatementContext,
    table: &Table,
    operations: &[AlterTableOperation],
) -> Result<Option<TableChange>, Error> {
    if operations.iter().all(|o| matches!(o, AlterTableOperation::AddColumn { .. })) {
        return add_columns(table, operations);
    }
    let [operation] = operations else {
        return Err(unsupported("ALTER TABLE with several changes that are not all ADD COLUMN"));
    };
    match operation {
        AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
            let column = column_of(table, old_column_name)?.id;
            let name = name_of(new_column_name);
            Ok(Some(TableChange::RenameColumn { column, name }))
        }
        AlterTableOperation::DropColumn { column_names, if_exists, drop_behavior, .. } => {
            let [name] = column_names.as_slice() else {
                return Err(unsupported("DROP COLUMN of several columns at once"));
            };
            if drop_behavior.is_some() {
                return Err(unsupported("DROP COLUMN with CASCADE or RESTRICT"));
            }
            match column_of(table, name) {
                Ok(column) => Ok(Some(TableChange::DropColumn(column.id))),
                Err(_) if *if_exists => Ok(None),
                Err(e) => Err(e),
            }
        }
        AlterTableOperation::RenameTable { table_name } => {
            let (RenameTableNameKind::As(name) | RenameTableNameKind::To(name)) = table_name;
            let database = context.catalog.databases.get(&table.database);
            let database = database.map_or("", |database| database.name.as_str());
            let place = stored_table(name, database)?;
            if place.database != database {
                return Err(unsupported("RENAME TO another database"));
            }
            Ok(Some(TableChange::Rename(place.table)))
        }
        other => Err(Error::request(
            ErrorKind::Unsupported,
            format!(
                "ALTER TABLE … {other} is not supported; there are ADD COLUMN, DROP COLUMN, RENAME COLUMN, RENAME TO \
                 and SET (retention = …, time_slice = …, spread = …)"
            ),
        )),
    }
}

fn column_of<'a>(table: &'a Table, name: &Ident) -> Result<&'a Column, Error> {
    let name = name_of(name);
    let names = table.columns.iter().map(|c| c.name.as_str());
    table.column(&name).ok_or_else(|| no_column(&table.name, &name, names))
}

fn add_columns(
    table: &Table,
    operations: &[AlterTableOperation],
) -> Result<Option<TableChange>, Error> {
    let mut added: Vec<ColumnDefinition> = Vec::new();
    for operation in operations {
        let AlterTableOperation::AddColumn {
            column_keyword: _,
            if_not_exists,
            column_def,
            column_position,
        } = operation
        else {
            continue;
        };
        if column_position.is_some() {
            return Err(unsupported("ADD COLUMN with FIRST or AFTER"));
        }
        let definition = definition_of(column_def)?;
        let taken = table.column(&definition.name).is_some()
            || added.iter().any(|column| column.name == definition.name);
        match (taken, if_not_exists) {
            (false, _) => added.push(definition),
            (true, true) => {}
            (true, false) => {
                let message =
                    format!("table {:?} has a column {:?} already", table.name, definition.name);
                return Err(Error::request(ErrorKind::Conflict, message));
            }
        }
    }
    Ok((!added.is_empty()).then_some(TableChange::AddColumns(added)))
}

/// A column to add: a field, or with `PRIMARY KEY` a tag.
fn definition_of(column: &ColumnDef) -> Result<ColumnDefinition, Error> {
    let name = name_of(&column.name);
    let field = create::field_type(&name, &column.data_type)?;
    let mut kind = ColumnKind::Field(field);
    for option in &column.options {
        match &option.option {
            ColumnOption::Null => {}
            ColumnOption::PrimaryKey(_) if field == quorate_storage::FieldType::Utf8 => {
                kind = ColumnKind::Tag;
            }
            ColumnOption::PrimaryKey(_) => {
                let message = format!("column {name:?}: only text can be added to the primary key");
                return Err(Error::request(ErrorKind::Invalid, message));
            }
            other => return Err(unsupported(&format!("{other} of column {name:?}"))),
        }
    }
    Ok(ColumnDefinition { name, kind })
}
