//! Arguments of `series(…)` and `gaps(…)`, put into the statement before it is planned.
//!
//! The columns of both follow from their first argument, so a parameter there has to have its value first. The name in
//! `gaps('cpu', …)` becomes a query, `gaps((SELECT * FROM "cpu"), …)`: whatever can be read has a name that is looked up
//! as any other, be it a table, a view or a `WITH`.

use std::borrow::Cow;
use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::{DataType, IntervalUnit};
use datafusion::common::{ScalarValue, TableReference};
use datafusion::sql::parser::Statement as FrontStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Interval, ObjectName, Statement,
    TableFactor, Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use quorate_timeseries::parse_duration;

use super::gaps;
use super::names::{name_of, quote_always};
use super::parameters::ParameterRow;
use crate::catalog::SERIES;
use crate::{Error, ErrorKind};

/// A length of time for the time of planning, when only columns are asked for.
const ANY_LENGTH: &str = "1s";

/// DataFusion's row sources from one value to another.
const SERIES_OF_VALUES: [&str; 2] = ["generate_series", "range"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Series,
    Gaps,
}

impl Function {
    fn name(self) -> &'static str {
        match self {
            Self::Series => SERIES,
            Self::Gaps => gaps::NAME,
        }
    }
}

/// The call that a row source is, if it is one.
fn call_of(factor: &mut TableFactor) -> Option<(Function, &mut Vec<FunctionArg>)> {
    let TableFactor::Table { name, args: Some(args), .. } = factor else { return None };
    let [part] = name.0.as_slice() else { return None };
    let function = match name_of(part.as_ident()?).as_str() {
        SERIES => Function::Series,
        gaps::NAME => Function::Gaps,
        _ => return None,
    };
    Some((function, &mut args.args))
}

/// Calls what it holds for every call of the functions.
struct Calls<F>(F);

impl<B, F: FnMut(Function, &mut Vec<FunctionArg>) -> ControlFlow<B>> VisitorMut for Calls<F> {
    type Break = B;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<B> {
        match call_of(factor) {
            Some((function, arguments)) => (self.0)(function, arguments),
            None => ControlFlow::Continue(()),
        }
    }
}

fn each_call<B>(
    statement: &mut FrontStatement,
    call: impl FnMut(Function, &mut Vec<FunctionArg>) -> ControlFlow<B>,
) -> ControlFlow<B> {
    match statement {
        FrontStatement::Statement(inner) => inner.visit(&mut Calls(call)),
        FrontStatement::Explain(explain) => each_call(&mut explain.statement, call),
        FrontStatement::CreateExternalTable(_)
        | FrontStatement::CopyTo(_)
        | FrontStatement::Reset(_) => ControlFlow::Continue(()),
    }
}

/// The value that an argument is, as it was written.
fn value_of(argument: &FunctionArg) -> Option<&Value> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => Some(&value.value),
        _ => None,
    }
}

fn is_parameter(argument: &FunctionArg) -> bool {
    matches!(value_of(argument), Some(Value::Placeholder(_)))
}

fn unnamed(expr: Expr) -> FunctionArg {
    FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))
}

fn text(text: String) -> FunctionArg {
    unnamed(Expr::value(Value::SingleQuotedString(text)))
}

/// Puts queries in the place of the names of tables.
pub(super) fn name_tables(statement: &mut Statement) {
    let _: ControlFlow<()> = statement.visit(&mut Calls(|function, arguments: &mut Vec<_>| {
        name_table(function, arguments);
        ControlFlow::Continue(())
    }));
    let ControlFlow::Continue(()) = statement.visit(&mut Steps);
}

/// Takes the step of `generate_series(from, to, '5m')` for an interval, as everywhere.
struct Steps;

impl VisitorMut for Steps {
    type Break = Infallible;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Infallible> {
        if let TableFactor::Table { name, args: Some(args), .. } = factor {
            step_by_interval(name, &mut args.args);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if let Expr::Function(call) = expr
            && let FunctionArguments::List(list) = &mut call.args
        {
            step_by_interval(&call.name, &mut list.args);
        }
        ControlFlow::Continue(())
    }
}

fn step_by_interval(name: &ObjectName, arguments: &mut [FunctionArg]) {
    if let [part] = name.0.as_slice()
        && part.as_ident().is_some_and(|name| SERIES_OF_VALUES.contains(&&*name_of(name)))
        && let [_, _, step] = arguments
        && let Some(Value::SingleQuotedString(length)) = value_of(step)
        && parse_duration(length).is_some()
        && let FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) = &*step
    {
        *step = unnamed(Expr::Interval(Interval {
            value: Box::new(value.clone()),
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        }));
    }
}

fn name_table(function: Function, arguments: &mut [FunctionArg]) {
    let (Function::Gaps, Some(first)) = (function, arguments.first_mut()) else { return };
    let Some(Value::SingleQuotedString(name)) = value_of(first) else { return };
    let parts: Vec<String> = TableReference::parse_str(name).to_vec();
    let parts: Vec<String> = parts.iter().map(|part| quote_always(part)).collect();
    let query = format!("SELECT * FROM {}", parts.join("."));
    let parsed = Parser::parse_sql(&GenericDialect {}, &query).ok();
    if let Some(Statement::Query(query)) = parsed.and_then(|mut all| all.pop()) {
        *first = unnamed(Expr::Subquery(query));
    }
}

/// Whether a parameter decides the columns of a row source.
pub(super) fn has_open_columns(statement: &FrontStatement) -> bool {
    let open = |_, arguments: &mut Vec<FunctionArg>| match arguments.first() {
        Some(first) if is_parameter(first) => ControlFlow::Break(()),
        Some(_) | None => ControlFlow::Continue(()),
    };
    each_call(&mut statement.clone(), open).is_break()
}

/// The statement with the values of the parameters that are arguments.
pub(super) fn with_values<'a>(
    statement: &'a FrontStatement,
    values: &ParameterRow,
) -> Result<Cow<'a, FrontStatement>, Error> {
    if values.is_empty() {
        return Ok(Cow::Borrowed(statement));
    }
    let mut statement = statement.clone();
    let put = |function: Function, arguments: &mut Vec<FunctionArg>| {
        for argument in arguments.iter_mut() {
            let Some(Value::Placeholder(id)) = value_of(argument) else { continue };
            let Some(value) = values.get(id) else { continue };
            match written(value) {
                Some(value) => *argument = value,
                None => return ControlFlow::Break(unfit(function, id, value)),
            }
        }
        name_table(function, arguments);
        ControlFlow::Continue(())
    };
    match each_call(&mut statement, put) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(Cow::Owned(statement)),
    }
}

/// The statement with some length of time for each that is a parameter: none decides any column.
pub(super) fn with_any_lengths(statement: &FrontStatement) -> FrontStatement {
    let mut statement = statement.clone();
    let put = |function, arguments: &mut Vec<FunctionArg>| {
        if function == Function::Gaps {
            let lengths = arguments.iter_mut().skip(1).filter(|argument| is_parameter(argument));
            lengths.for_each(|length| *length = text(ANY_LENGTH.to_owned()));
        }
        ControlFlow::<()>::Continue(())
    };
    let _ = each_call(&mut statement, put);
    statement
}

/// A value as an argument.
fn written(value: &ScalarValue) -> Option<FunctionArg> {
    if value.is_null() {
        return Some(unnamed(Expr::value(Value::Null)));
    }
    if let Some(known) = value.try_as_str().flatten() {
        return Some(text(known.to_owned()));
    }
    let interval = match value.data_type() {
        DataType::Interval(_) | DataType::Duration(_) => {
            value.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano)).ok()?
        }
        _ => return None,
    };
    let ScalarValue::IntervalMonthDayNano(Some(interval)) = interval else { return None };
    let (months, days, ns) = (interval.months, interval.days, interval.nanoseconds);
    Some(text(format!("{months} months {days} days {ns} nanoseconds")))
}

fn unfit(function: Function, id: &str, value: &ScalarValue) -> Error {
    let wanted = match function {
        Function::Series => "a text, the regular expression of table names",
        Function::Gaps => "a text or an interval",
    };
    let (name, given) = (function.name(), value.data_type());
    Error::request(ErrorKind::Invalid, format!("{name}(): parameter {id} is {wanted}, not {given}"))
}
