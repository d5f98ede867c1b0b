//! The table function `series('cpu.*|mem')`: the stored tables of a database whose names match, as one row source.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Expr;
use quorate_storage::catalog::{Catalog, Table};

use super::{Reads, United, UnitedTable};
use crate::{Error, ErrorKind, patterns};

/// Name of the function.
pub(crate) const SERIES: &str = "series";

/// `series('…')` over one database.
#[derive(Debug)]
pub(crate) struct SeriesFunction {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) database: String,
    pub(crate) reads: Reads,
}

impl TableFunctionImpl for SeriesFunction {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let pattern = pattern_of(args.exprs())?;
        let tables = self.matching(&pattern).map_err(Error::into_datafusion)?;
        let zone = &self.reads.time_zone;
        let united = United::of(tables, zone).map_err(Error::into_datafusion)?;
        Ok(Arc::new(UnitedTable::new(pattern, Arc::new(united))))
    }
}

impl SeriesFunction {
    /// The tables whose whole name matches, by name.
    fn matching(&self, pattern: &str) -> Result<Vec<Arc<Table>>, Error> {
        let regex = patterns::whole(pattern)
            .map_err(|e| Error::request(ErrorKind::Invalid, format!("series(): {e}")))?;
        let Some(database) = self.catalog.database(&self.database) else {
            let message = format!(
                "series() reads the stored tables of a durable database, which {:?} is not",
                self.database
            );
            return Err(Error::request(ErrorKind::NotFound, message));
        };
        let tables = database.tables.iter().filter(|(name, _)| regex.is_match(name));
        let tables: Vec<_> =
            tables.filter_map(|(_, id)| self.catalog.tables.get(id).map(Arc::clone)).collect();
        if tables.is_empty() {
            let message = format!(
                "no table of database {:?} matches {pattern:?} as a whole (series() anchors the pattern at both ends)",
                self.database
            );
            return Err(Error::request(ErrorKind::NotFound, message));
        }
        Ok(tables)
    }
}

fn pattern_of(args: &[Expr]) -> Result<String> {
    let wrong = |what: &str| {
        DataFusionError::Plan(format!(
            "series() takes one text, the regular expression of table names: series('cpu.*|mem'){what}"
        ))
    };
    let [arg] = args else { return Err(wrong(&format!("; {} were given", args.len()))) };
    match arg {
        Expr::Literal(value, _) => match value.try_as_str() {
            Some(Some(pattern)) => Ok(pattern.to_owned()),
            Some(None) | None => Err(wrong(&format!(", not {value}"))),
        },
        Expr::Placeholder(parameter) => Err(wrong(&format!(
            "; parameter {} has no value where the columns are decided",
            parameter.id
        ))),
        other => Err(wrong(&format!(", not the expression {other}"))),
    }
}
