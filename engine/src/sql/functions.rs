//! `SHOW FUNCTIONS`: a query of `information_schema.routines`, which has them all.
//!
//! DataFusion's own goes out from `information_schema.parameters` and so leaves out every function that takes arguments
//! of any type: it has no rows there. Here what is known of the arguments is added to each function where something is.

use datafusion::sql::sqlparser::ast::ShowStatementFilter;

use super::action::{Action, name_filter};
use super::parse::{ParsedStatement, parse};
use super::series::literal;
use crate::{Error, ErrorKind};

/// The functions, one row for each way to call them that is known; `parameters` has one row for each argument of each.
const FUNCTIONS: &str = "\
    SELECT DISTINCT f.routine_name AS function_name, \
      coalesce(p.return_type, f.data_type) AS return_type, \
      p.parameters, p.parameter_types, f.function_type, f.description, f.syntax_example \
    FROM information_schema.routines f LEFT JOIN (\
      SELECT specific_name, rid, \
        max(data_type) FILTER (WHERE parameter_mode = 'OUT') AS return_type, \
        array_agg(parameter_name ORDER BY ordinal_position) \
          FILTER (WHERE parameter_mode = 'IN') AS parameters, \
        array_agg(data_type ORDER BY ordinal_position) \
          FILTER (WHERE parameter_mode = 'IN') AS parameter_types \
      FROM information_schema.parameters GROUP BY specific_name, rid\
    ) p ON p.specific_name = f.specific_name AND f.function_type <> 'TABLE'";

/// The query that answers `SHOW FUNCTIONS`.
pub(super) fn show(filter: Option<ShowStatementFilter>) -> Result<Action, Error> {
    let like = match filter.map(name_filter).transpose()? {
        None => String::new(),
        Some(filter) => {
            let like = if filter.ignore_case { "ILIKE" } else { "LIKE" };
            format!(" WHERE f.routine_name {like} {}", literal(&filter.pattern))
        }
    };
    let text = format!("{FUNCTIONS}{like} ORDER BY function_name, return_type");
    match parse(&text)?.statement {
        ParsedStatement::Sql(statement) => Ok(Action::Query(statement)),
        _ => Err(Error::request(ErrorKind::Internal, format!("{text} is no query"))),
    }
}
