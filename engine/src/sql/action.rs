//! What a statement asks for. Every kind that the parser knows has its arm here: it is carried out, or refused by name.

use datafusion::sql::parser::{ResetStatement, Statement as FrontStatement};
use datafusion::sql::sqlparser::ast::{
    AlterTable, CreateTable, CreateView, Delete, Expr, Ident, Insert, KillType, ObjectName,
    ObjectType, Set, SetExpr, ShowCreateObject, ShowStatementFilter, ShowStatementFilterPosition,
    ShowStatementOptions, Statement, TransactionAccessMode, TransactionIsolationLevel,
    TransactionMode, Update, Use, Value,
};
use datafusion::sql::sqlparser::{dialect::GenericDialect, parser::Parser};

use super::cluster::ClusterChange;
use super::copy::CopyStatement;
use super::functions;
use super::names::{name_of, parts, single};
use super::notes::{self, NoteStatement};
use super::parse::ParsedStatement;
use super::prepared::Preparation;
use super::series::SeriesQuestion;
use crate::{Error, ErrorKind, QueryId, StatementKind};

/// A statement that the engine carries out.
#[derive(Debug)]
pub(crate) enum Action {
    /// A query, as DataFusion plans it.
    Query(Box<FrontStatement>),
    /// `EXPLAIN` of a query.
    Explain(Box<FrontStatement>),
    /// `CREATE DATABASE`.
    CreateDatabase { name: String, if_not_exists: bool },
    /// `CREATE DATABASE … WITH (kind = 'memory')`.
    MemoryDatabase { name: String, if_not_exists: bool },
    /// `DROP DATABASE`.
    DropDatabase { name: String, if_exists: bool },
    /// `CREATE TABLE`, with or without `AS`.
    CreateTable(Box<CreateTable>),
    /// `DROP TABLE`.
    DropTable { name: ObjectName, if_exists: bool },
    /// `INSERT`.
    Insert(Box<Insert>),
    /// `DELETE`, `TRUNCATE`.
    Delete(Box<Delete>),
    /// `UPDATE`.
    Update(Box<Update>),
    /// `ALTER TABLE`.
    AlterTable(Box<AlterTable>),
    /// `CREATE VIEW`.
    CreateView(Box<CreateView>),
    /// `DROP VIEW`.
    DropView { name: ObjectName, if_exists: bool },
    /// `SHOW DATABASES`.
    ShowDatabases { filter: Option<NameFilter> },
    /// `SHOW TABLES`.
    ShowTables { database: Option<String>, filter: Option<NameFilter> },
    /// `SHOW COLUMNS`, `DESCRIBE`.
    ShowColumns { table: ObjectName, filter: Option<NameFilter> },
    /// `SHOW CREATE TABLE`, `SHOW CREATE VIEW`.
    ShowCreateTable { table: ObjectName },
    /// `SHOW QUERIES`.
    ShowQueries,
    /// `SHOW SERIES`, `SHOW TAG KEYS`, `SHOW TAG VALUES`.
    ShowSeries(SeriesQuestion),
    /// `SHOW ALL`, or one setting.
    ShowSetting { name: Option<String> },
    /// `USE`.
    Use { database: String },
    /// `SET`.
    Set { name: String, value: String },
    /// `RESET`.
    Reset { name: String },
    /// `KILL QUERY`.
    Kill { query: QueryId },
    /// `CHECKPOINT`.
    Checkpoint,
    /// `VACUUM`.
    Vacuum,
    /// `ALTER CLUSTER`.
    Cluster(ClusterChange),
    /// `COMMENT ON`, and what `ALTER TABLE` says of a table, its columns and series.
    Note(Box<NoteStatement>),
    /// `COPY`.
    Copy(Box<CopyStatement>),
    /// `PREPARE`.
    Prepare(Preparation),
    /// `DEALLOCATE`.
    Deallocate { name: Ident },
}

/// The pattern of a `SHOW … LIKE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NameFilter {
    pub(crate) pattern: String,
    pub(crate) ignore_case: bool,
}

impl Action {
    /// What its answer looks like.
    pub(crate) fn kind(&self) -> StatementKind {
        match self {
            Self::Query(_)
            | Self::Explain(_)
            | Self::ShowDatabases { .. }
            | Self::ShowTables { .. }
            | Self::ShowColumns { .. }
            | Self::ShowCreateTable { .. }
            | Self::ShowQueries
            | Self::ShowSeries(_)
            | Self::ShowSetting { .. } => StatementKind::Query,
            Self::Insert(_) | Self::Delete(_) | Self::Update(_) | Self::Copy(_) => {
                StatementKind::Update
            }
            Self::CreateTable(create) if create.query.is_some() => StatementKind::Update,
            Self::CreateDatabase { .. }
            | Self::MemoryDatabase { .. }
            | Self::DropDatabase { .. }
            | Self::CreateTable(_)
            | Self::DropTable { .. }
            | Self::AlterTable(_)
            | Self::CreateView(_)
            | Self::DropView { .. }
            | Self::Use { .. }
            | Self::Set { .. }
            | Self::Reset { .. }
            | Self::Kill { .. }
            | Self::Checkpoint
            | Self::Vacuum
            | Self::Note(_)
            | Self::Prepare(_)
            | Self::Deallocate { .. }
            | Self::Cluster(_) => StatementKind::Command,
        }
    }

    /// Finds out what a statement asks for.
    pub(crate) fn of(statement: ParsedStatement) -> Result<Self, Error> {
        let statement = match statement {
            ParsedStatement::Checkpoint => return Ok(Self::Checkpoint),
            ParsedStatement::Cluster(change) => return Ok(Self::Cluster(change)),
            ParsedStatement::Copy(copy) => return Ok(Self::Copy(copy)),
            ParsedStatement::Prepare(preparation) => return Ok(Self::Prepare(preparation)),
            ParsedStatement::Series(question) => return Ok(Self::ShowSeries(question)),
            ParsedStatement::Note(note) => return Ok(Self::Note(note)),
            ParsedStatement::MemoryDatabase(statement) => {
                let FrontStatement::Statement(inner) = *statement else {
                    return Err(unsupported("this kind of database"));
                };
                return match of_sql(*inner)? {
                    Self::CreateDatabase { name, if_not_exists } => {
                        Ok(Self::MemoryDatabase { name, if_not_exists })
                    }
                    _ => Err(unsupported("WITH (kind = …) in this statement")),
                };
            }
            ParsedStatement::Sql(statement) => statement,
        };
        match *statement {
            FrontStatement::Statement(statement) => of_sql(*statement),
            FrontStatement::CreateExternalTable(_) => Err(Error::request(
                ErrorKind::Unsupported,
                "CREATE EXTERNAL TABLE is not supported: read the rows of a file into a table with COPY … FROM, or write \
                 them with quorate load, bulk ingest or line protocol",
            )),
            FrontStatement::CopyTo(_) => Err(unsupported("COPY in another statement")),
            FrontStatement::Explain(explain) => match explain.statement.as_ref() {
                FrontStatement::Statement(inner) if matches!(**inner, Statement::Query(_)) => {
                    if let Statement::Query(query) = inner.as_ref() {
                        refuse_into(&query.body)?;
                    }
                    Ok(Self::Explain(Box::new(FrontStatement::Explain(explain))))
                }
                _ => Err(Error::request(
                    ErrorKind::Unsupported,
                    "EXPLAIN is supported for queries only",
                )),
            },
            FrontStatement::Reset(ResetStatement::Variable(name)) => {
                Ok(Self::Reset { name: setting_name(&name)? })
            }
        }
    }
}

/// The error for what is known and not supported.
pub(crate) fn unsupported(what: &str) -> Error {
    Error::request(ErrorKind::Unsupported, format!("{what} is not supported"))
}

/// Refuses a statement that says more than what is carried out: clauses must not be dropped silently.
pub(crate) fn only(text: &str, supported: &str) -> Result<(), Error> {
    if text == supported {
        return Ok(());
    }
    Err(Error::request(
        ErrorKind::Unsupported,
        format!(
            "a clause of this statement is not supported; what is supported of it: {supported}"
        ),
    ))
}

#[expect(clippy::too_many_lines, reason = "one arm per statement kind is the point of the match")]
fn of_sql(statement: Statement) -> Result<Action, Error> {
    let text = statement.to_string();
    let name = match statement {
        Statement::Query(query) => {
            refuse_into(&query.body)?;
            return Ok(Action::Query(Box::new(FrontStatement::Statement(Box::new(
                Statement::Query(query),
            )))));
        }
        Statement::Explain { statement: ref inner, .. } => {
            return match inner.as_ref() {
                Statement::Query(query) => {
                    refuse_into(&query.body)?;
                    Ok(Action::Explain(Box::new(FrontStatement::Statement(Box::new(statement)))))
                }
                _ => Err(Error::request(
                    ErrorKind::Unsupported,
                    "EXPLAIN is supported for queries only",
                )),
            };
        }
        Statement::ShowFunctions { filter } => return functions::show(filter),
        Statement::CreateDatabase { db_name, if_not_exists, .. } => {
            let exists = if if_not_exists { "IF NOT EXISTS " } else { "" };
            only(&text, &format!("CREATE DATABASE {exists}{db_name}"))?;
            return Ok(Action::CreateDatabase {
                name: single(&db_name, "database")?,
                if_not_exists,
            });
        }
        Statement::Drop { object_type: ObjectType::Table, names, if_exists, .. } => {
            let name = one_name(names, "DROP TABLE")?;
            let exists = if if_exists { "IF EXISTS " } else { "" };
            only(&text, &format!("DROP TABLE {exists}{name}"))?;
            return Ok(Action::DropTable { name, if_exists });
        }
        Statement::Drop { object_type: ObjectType::Database, names, if_exists, .. } => {
            let name = one_name(names, "DROP DATABASE")?;
            let exists = if if_exists { "IF EXISTS " } else { "" };
            only(&text, &format!("DROP DATABASE {exists}{name}"))?;
            return Ok(Action::DropDatabase { name: single(&name, "database")?, if_exists });
        }
        Statement::Drop { object_type: ObjectType::View, names, if_exists, .. } => {
            let name = one_name(names, "DROP VIEW")?;
            let exists = if if_exists { "IF EXISTS " } else { "" };
            only(&text, &format!("DROP VIEW {exists}{name}"))?;
            return Ok(Action::DropView { name, if_exists });
        }
        Statement::Drop { object_type, .. } => {
            return Err(unsupported(&format!("DROP {object_type}")));
        }
        Statement::CreateView(view) => return Ok(Action::CreateView(Box::new(view))),
        Statement::CreateTable(create) => return Ok(Action::CreateTable(Box::new(create))),
        Statement::Insert(insert) => return Ok(Action::Insert(Box::new(insert))),
        Statement::Delete(delete) => return Ok(Action::Delete(Box::new(delete))),
        Statement::Update(update) => return Ok(Action::Update(Box::new(update))),
        Statement::AlterTable(alter) => return Ok(Action::AlterTable(Box::new(alter))),
        Statement::Comment { object_type, object_name, comment, if_exists } => {
            let note = notes::of_comment(object_type, object_name, comment, if_exists)?;
            return Ok(Action::Note(Box::new(note)));
        }
        Statement::Truncate(truncate) => {
            let name = match truncate.table_names.as_slice() {
                [one] => one.name.clone(),
                _ => return Err(unsupported("TRUNCATE of several names at once")),
            };
            let table = if truncate.table { "TABLE " } else { "" };
            only(&text, &format!("TRUNCATE {table}{name}"))?;
            return delete_all(&name);
        }
        Statement::ShowDatabases { show_options, .. }
        | Statement::ShowCatalogs { show_options, .. } => {
            let (place, filter) = show_options_of(show_options)?;
            if place.is_some() {
                return Err(unsupported("SHOW DATABASES with FROM or IN"));
            }
            return Ok(Action::ShowDatabases { filter });
        }
        Statement::ShowTables { show_options, .. } => {
            let (place, filter) = show_options_of(show_options)?;
            let database = place.map(|name| database_of(&name)).transpose()?;
            return Ok(Action::ShowTables { database, filter });
        }
        Statement::ShowColumns { show_options, .. } => {
            let (place, filter) = show_options_of(show_options)?;
            let table = place.ok_or_else(|| {
                Error::request(ErrorKind::Invalid, "SHOW COLUMNS needs FROM and a table")
            })?;
            return Ok(Action::ShowColumns { table, filter });
        }
        Statement::ExplainTable { table_name, .. } => {
            return Ok(Action::ShowColumns { table: table_name, filter: None });
        }
        Statement::ShowCreate {
            obj_type: ShowCreateObject::Table | ShowCreateObject::View,
            obj_name,
        } => {
            return Ok(Action::ShowCreateTable { table: obj_name });
        }
        Statement::ShowProcessList { .. } => return Ok(Action::ShowQueries),
        Statement::ShowVariable { variable } => return Ok(show_variable(&variable)),
        Statement::Use(Use::Object(name) | Use::Database(name) | Use::Catalog(name)) => {
            return Ok(Action::Use { database: database_of(&name)? });
        }
        Statement::Set(set) => return set_of(set),
        Statement::Vacuum(_) => {
            only(&text, "VACUUM")?;
            return Ok(Action::Vacuum);
        }
        Statement::Kill { modifier: None | Some(KillType::Query), id } => {
            return Ok(Action::Kill { query: QueryId(id) });
        }
        // Each write commits by itself; a client that thinks otherwise must hear of it.
        Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. }
        | Statement::Savepoint { .. }
        | Statement::ReleaseSavepoint { .. } => "a transaction (every statement commits by itself)",
        Statement::Kill { modifier: Some(KillType::Connection | KillType::Mutation), .. } => {
            "KILL of anything but a query"
        }
        Statement::Use(
            Use::Schema(_)
            | Use::Warehouse(_)
            | Use::Role(_)
            | Use::SecondaryRoles(_)
            | Use::Default,
        ) => "USE of anything but a database",
        Statement::Merge(_) => "MERGE",
        Statement::Copy { .. } => "COPY in another statement",
        Statement::CopyIntoSnowflake { .. } => "COPY INTO (use COPY … FROM and COPY … TO)",
        Statement::RenameTable(_) => "RENAME TABLE (use ALTER TABLE … RENAME TO)",
        Statement::CreateSchema { .. } | Statement::AlterSchema(_) => {
            "CREATE SCHEMA (use CREATE DATABASE)"
        }
        Statement::AlterView { .. } => "ALTER VIEW (use CREATE OR REPLACE VIEW)",
        Statement::CreateIndex(_) | Statement::AlterIndex { .. } => {
            "CREATE INDEX (series are indexed by their tags already)"
        }
        Statement::Deallocate { name, .. } => return Ok(Action::Deallocate { name }),
        Statement::Execute { name: None, .. } => {
            let message = "EXECUTE statement requires a name";
            return Err(Error::request(ErrorKind::Invalid, message));
        }
        Statement::Prepare { .. } => "PREPARE in another statement",
        Statement::Execute { .. } => {
            "EXECUTE but of a prepared statement: EXECUTE name [(value, …)]"
        }
        Statement::ShowCreate { .. } => "SHOW CREATE of anything but a table or view",
        Statement::ShowSchemas { .. } => "SHOW SCHEMAS (use SHOW DATABASES)",
        Statement::ShowViews { .. } => "SHOW VIEWS (SHOW TABLES lists them, too)",
        Statement::ShowStatus { .. } => "SHOW STATUS",
        Statement::ShowVariables { .. } => "SHOW VARIABLES (use SHOW ALL)",
        Statement::ShowCharset(_) => "SHOW CHARACTER SET",
        Statement::ShowObjects(_) => "SHOW OBJECTS",
        Statement::ShowCollation { .. } => "SHOW COLLATION",
        Statement::Analyze(_) => "ANALYZE (statistics are kept by themselves)",
        Statement::OptimizeTable { .. } => "OPTIMIZE TABLE (use VACUUM)",
        Statement::Msck(_) => "MSCK",
        Statement::Install { .. } => "INSTALL",
        Statement::Load { .. } => "LOAD",
        Statement::Directory { .. } => "INSERT OVERWRITE DIRECTORY",
        Statement::Case(_) => "CASE as a statement",
        Statement::If(_) => "IF as a statement",
        Statement::While(_) => "WHILE",
        Statement::Raise(_) | Statement::RaisError { .. } => "RAISE",
        Statement::Call(_) => "CALL",
        Statement::Open(_) => "OPEN",
        Statement::Close { .. } => "CLOSE",
        Statement::CreateVirtualTable { .. } => "CREATE VIRTUAL TABLE",
        Statement::CreateRole(_) | Statement::AlterRole { .. } => "CREATE ROLE",
        Statement::CreateSecret { .. } => "CREATE SECRET",
        Statement::CreateServer(_) => "CREATE SERVER",
        Statement::CreatePolicy(_) | Statement::AlterPolicy(_) => "CREATE POLICY",
        Statement::CreateConnector(_) | Statement::AlterConnector { .. } => "CREATE CONNECTOR",
        Statement::CreateOperator(_)
        | Statement::CreateOperatorFamily(_)
        | Statement::CreateOperatorClass(_)
        | Statement::AlterOperator(_)
        | Statement::AlterOperatorFamily(_)
        | Statement::AlterOperatorClass(_) => "CREATE OPERATOR",
        Statement::AlterFunction(_) | Statement::CreateFunction(_) => "CREATE FUNCTION",
        Statement::AlterType(_) | Statement::CreateType { .. } => "CREATE TYPE",
        Statement::AlterCollation(_) | Statement::CreateCollation(_) => "CREATE COLLATION",
        Statement::AlterSession { .. } => "ALTER SESSION (use SET)",
        Statement::AttachDatabase { .. } | Statement::AttachDuckDBDatabase { .. } => "ATTACH",
        Statement::DetachDuckDBDatabase { .. } => "DETACH",
        Statement::DropFunction(_) => "DROP FUNCTION",
        Statement::DropDomain(_) => "DROP DOMAIN",
        Statement::DropProcedure { .. } => "DROP PROCEDURE",
        Statement::DropSecret { .. } => "DROP SECRET",
        Statement::DropPolicy(_) => "DROP POLICY",
        Statement::DropConnector { .. } => "DROP CONNECTOR",
        Statement::DropExtension(_) => "DROP EXTENSION",
        Statement::DropOperator(_)
        | Statement::DropOperatorFamily(_)
        | Statement::DropOperatorClass(_) => "DROP OPERATOR",
        Statement::DropTrigger(_) => "DROP TRIGGER",
        Statement::Declare { .. } => "DECLARE",
        Statement::CreateExtension(_) => "CREATE EXTENSION",
        Statement::Fetch { .. } => "FETCH",
        Statement::Flush { .. } => "FLUSH (use CHECKPOINT)",
        Statement::Discard { .. } => "DISCARD",
        Statement::CreateTrigger(_) => "CREATE TRIGGER",
        Statement::CreateProcedure { .. } => "CREATE PROCEDURE",
        Statement::CreateMacro { .. } => "CREATE MACRO",
        Statement::CreateStage { .. } => "CREATE STAGE",
        Statement::Assert { .. } => "ASSERT",
        Statement::Grant(_) | Statement::Deny(_) => "GRANT",
        Statement::Revoke(_) => "REVOKE",
        Statement::Cache { .. } => "CACHE TABLE",
        Statement::UNCache { .. } => "UNCACHE TABLE",
        Statement::CreateSequence { .. } => "CREATE SEQUENCE",
        Statement::CreateDomain(_) => "CREATE DOMAIN",
        Statement::Pragma { .. } => "PRAGMA",
        Statement::Lock(_) | Statement::LockTables { .. } => "LOCK",
        Statement::UnlockTables => "UNLOCK TABLES",
        Statement::Unload { .. } => "UNLOAD",
        Statement::LISTEN { .. } => "LISTEN",
        Statement::UNLISTEN { .. } => "UNLISTEN",
        Statement::NOTIFY { .. } => "NOTIFY",
        Statement::LoadData { .. } => "LOAD DATA",
        Statement::List(_) => "LIST",
        Statement::Remove(_) => "REMOVE",
        Statement::Throw(_) => "THROW",
        Statement::Print(_) => "PRINT",
        Statement::WaitFor(_) => "WAITFOR",
        Statement::Return(_) => "RETURN",
        Statement::ExportData(_) => "EXPORT DATA",
        Statement::CreateUser(_) | Statement::AlterUser(_) => "CREATE USER",
        Statement::Reset(_) => "RESET of everything (name one setting)",
    };
    Err(unsupported(name))
}

/// `TRUNCATE` is a delete without a predicate.
fn delete_all(name: &ObjectName) -> Result<Action, Error> {
    let parsed = Parser::new(&GenericDialect {})
        .try_with_sql(&format!("DELETE FROM {name}"))
        .and_then(|mut parser| parser.parse_statement());
    match parsed {
        Ok(Statement::Delete(delete)) => Ok(Action::Delete(Box::new(delete))),
        _ => Err(Error::request(ErrorKind::Invalid, format!("{name} is not the name of a table"))),
    }
}

fn one_name(names: Vec<ObjectName>, what: &str) -> Result<ObjectName, Error> {
    <[ObjectName; 1]>::try_from(names)
        .map(|[name]| name)
        .map_err(|_| unsupported(&format!("{what} of several names at once")))
}

/// `database` or `database.public`.
fn database_of(name: &ObjectName) -> Result<String, Error> {
    match parts(name)?.as_slice() {
        [database] => Ok(database.clone()),
        [database, schema] if schema == "public" => Ok(database.clone()),
        _ => {
            Err(Error::request(ErrorKind::Invalid, format!("{name} is not the name of a database")))
        }
    }
}

fn show_options_of(
    options: ShowStatementOptions,
) -> Result<(Option<ObjectName>, Option<NameFilter>), Error> {
    let ShowStatementOptions { show_in, starts_with, limit, limit_from, filter_position } = options;
    if starts_with.is_some() || limit.is_some() || limit_from.is_some() {
        return Err(unsupported("SHOW with STARTS WITH or LIMIT"));
    }
    let place = match show_in {
        None => None,
        Some(place) if place.parent_type.is_some() => {
            return Err(unsupported("SHOW with a kind of place; write FROM and a name"));
        }
        Some(place) => place.parent_name,
    };
    let filter = match filter_position {
        None => None,
        Some(
            ShowStatementFilterPosition::Infix(filter)
            | ShowStatementFilterPosition::Suffix(filter),
        ) => Some(name_filter(filter)?),
    };
    Ok((place, filter))
}

/// The pattern of a `SHOW … LIKE`.
pub(super) fn name_filter(filter: ShowStatementFilter) -> Result<NameFilter, Error> {
    Ok(match filter {
        ShowStatementFilter::Like(pattern) | ShowStatementFilter::NoKeyword(pattern) => {
            NameFilter { pattern, ignore_case: false }
        }
        ShowStatementFilter::ILike(pattern) => NameFilter { pattern, ignore_case: true },
        ShowStatementFilter::Where(_) => {
            return Err(unsupported("SHOW with WHERE (query information_schema)"));
        }
    })
}

fn show_variable(variable: &[Ident]) -> Action {
    let name = variable.iter().map(name_of).collect::<Vec<_>>().join(".");
    match name.as_str() {
        "all" => Action::ShowSetting { name: None },
        "queries" => Action::ShowQueries,
        "time.zone" => Action::ShowSetting { name: Some("timezone".to_owned()) },
        "transaction.isolation.level" => {
            Action::ShowSetting { name: Some("transaction_isolation".to_owned()) }
        }
        _ => Action::ShowSetting { name: Some(name) },
    }
}

fn setting_name(name: &ObjectName) -> Result<String, Error> {
    Ok(parts(name)?.join("."))
}

fn set_of(set: Set) -> Result<Action, Error> {
    let what = match set {
        Set::SingleAssignment { scope: None, hivevar: false, variable, values } => {
            let name = setting_name(&variable)?;
            let [value] = <[Expr; 1]>::try_from(values).map_err(|_| {
                Error::request(ErrorKind::Invalid, format!("SET {name} needs one value"))
            })?;
            let value = literal_text(&value)?;
            return Ok(Action::Set { name, value });
        }
        Set::SetTimeZone { local: false, value } => {
            let value = literal_text(&value)?;
            return Ok(Action::Set { name: "timezone".to_owned(), value });
        }
        Set::SingleAssignment { .. } | Set::SetTimeZone { .. } => {
            "SET with LOCAL, SESSION or GLOBAL"
        }
        Set::ParenthesizedAssignments { .. } | Set::MultipleAssignments { .. } => {
            "SET of several settings at once"
        }
        Set::SetSessionAuthorization(_) | Set::SetRole { .. } => "SET ROLE",
        Set::SetSessionParam(_) => "SET of a session parameter",
        Set::SetNames { .. } | Set::SetNamesDefault {} => "SET NAMES (text is UTF-8)",
        Set::SetTransaction { snapshot: Some(_), .. } => "SET TRANSACTION SNAPSHOT",
        Set::SetTransaction { modes, snapshot: None, session: _ } => {
            return set_transaction(&modes);
        }
    };
    Err(unsupported(what))
}

/// `SET TRANSACTION` to what every statement is, as a setting that never changes.
fn set_transaction(modes: &[TransactionMode]) -> Result<Action, Error> {
    let mut level = TransactionIsolationLevel::ReadCommitted;
    for mode in modes {
        match mode {
            TransactionMode::AccessMode(TransactionAccessMode::ReadWrite) => {}
            TransactionMode::AccessMode(TransactionAccessMode::ReadOnly) => {
                return Err(unsupported("SET TRANSACTION READ ONLY"));
            }
            TransactionMode::IsolationLevel(wanted) => level = *wanted,
        }
    }
    let (name, value) = ("transaction_isolation".to_owned(), level.to_string());
    Ok(Action::Set { name, value: value.to_ascii_lowercase() })
}

/// Refuses `SELECT … INTO`, which would be taken for a query.
fn refuse_into(body: &SetExpr) -> Result<(), Error> {
    match body {
        SetExpr::Select(select) if select.into.is_some() => {
            Err(unsupported("SELECT … INTO (use CREATE TABLE … AS SELECT …)"))
        }
        SetExpr::SetOperation { left, right, .. } => {
            refuse_into(left)?;
            refuse_into(right)
        }
        SetExpr::Query(query) => refuse_into(&query.body),
        _ => Ok(()),
    }
}

/// The value of a setting: a literal or a bare word.
fn literal_text(value: &Expr) -> Result<String, Error> {
    match value {
        Expr::Identifier(ident) => return Ok(ident.value.clone()),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::DoubleQuotedString(text) => {
                return Ok(text.clone());
            }
            Value::Number(..) | Value::Boolean(_) => return Ok(value.value.to_string()),
            _ => {}
        },
        Expr::UnaryOp { .. } => return Ok(value.to_string()),
        _ => {}
    }
    Err(Error::request(ErrorKind::Invalid, format!("{value} is not the value of a setting")))
}

#[cfg(test)]
#[path = "action_tests.rs"]
mod tests;
