//! What a request asks for: a statement, its parameters, and the form of its rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use axum::extract::Query;
use axum::http::header;
use serde_json::{Map, Value};

use super::accept::form;
use super::params::Params;
use super::respond::HttpError;
use super::rows::Form;

/// A statement as it was asked.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    /// Values of its parameters, in order.
    pub(super) values: Option<Vec<Value>>,
    pub(super) form: Form,
}

impl Statement {
    /// From the parameters `q` and `params` of the address.
    pub(super) fn from_query(params: &Params) -> Result<Self, HttpError> {
        let sql = params
            .get("q")
            .ok_or_else(|| HttpError::invalid("the parameter q is missing: give it a statement"))?;
        let values = params.get("params").map(json_values).transpose()?;
        Ok(Self { sql: sql.to_owned(), values, form: form(&params.headers)? })
    }

    /// From a body: JSON (`{"q": …, "db": …, "params": […]}`), a form, or the statement itself.
    pub(super) fn from_body(params: &mut Params, body: &[u8]) -> Result<Self, HttpError> {
        let text = std::str::from_utf8(body)
            .map_err(|_| HttpError::invalid("the body is not valid UTF-8"))?;
        let kind = params.headers.get(header::CONTENT_TYPE).map(|v| v.as_bytes().to_owned());
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        if kind.starts_with(b"application/json") {
            return Self::from_json(params, text);
        }
        if kind.starts_with(b"application/x-www-form-urlencoded")
            && let Some(form) = form_fields(text)
        {
            params.extend(form);
        }
        if params.get("q").is_some() {
            return Self::from_query(params);
        }
        if text.trim().is_empty() {
            return Err(HttpError::invalid("the body holds no statement"));
        }
        let values = params.get("params").map(json_values).transpose()?;
        Ok(Self { sql: text.to_owned(), values, form: form(&params.headers)? })
    }

    fn from_json(params: &mut Params, text: &str) -> Result<Self, HttpError> {
        let wrong = |what: &str| HttpError::invalid(format!("the body is not as expected: {what}"));
        let body: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| wrong(&e.to_string()))?;
        let mut sql = None;
        let mut values = None;
        for (key, value) in body {
            match (key.as_str(), value) {
                ("q" | "sql", Value::String(_)) if sql.is_some() => {
                    return Err(wrong("q and sql are the same; give one"));
                }
                ("q" | "sql", Value::String(text)) => sql = Some(text),
                ("db" | "database", Value::String(database)) => {
                    params.extend(vec![("db".to_owned(), database)]);
                }
                ("params", Value::Array(list)) => values = Some(list),
                ("db" | "database" | "params", Value::Null) => {}
                ("q" | "sql" | "db" | "database", _) => {
                    return Err(wrong(&format!("{key} must be a text")));
                }
                ("params", _) => return Err(wrong("params must be a list")),
                _ => return Err(wrong(&format!("{key:?} is none of q, db, params"))),
            }
        }
        let sql = sql.ok_or_else(|| wrong("q is missing: give it a statement"))?;
        Ok(Self { sql, values, form: form(&params.headers)? })
    }
}

/// The fields of a form with a statement; `None` for what only claims to be a form (`curl -d 'SELECT …'`).
fn form_fields(text: &str) -> Option<Vec<(String, String)>> {
    let address = format!("/?{}", text.trim()).parse().ok()?;
    let Query(fields) = Query::<Vec<(String, String)>>::try_from_uri(&address).ok()?;
    fields.iter().any(|(key, _)| key == "q").then_some(fields)
}

fn json_values(text: &str) -> Result<Vec<Value>, HttpError> {
    serde_json::from_str(text)
        .map_err(|e| HttpError::invalid(format!("params is no JSON list of values: {e}")))
}

/// The values as one row of the types that the statement wants. A number keeps its own type where another is wanted: whether
/// it has an exact equal there is for the engine to say.
pub(super) fn row(values: &[Value], wanted: &SchemaRef) -> Result<RecordBatch, HttpError> {
    if values.len() != wanted.fields().len() {
        return Err(HttpError::invalid(format!(
            "the statement has {} parameters, params has {} values",
            wanted.fields().len(),
            values.len()
        )));
    }
    let wrong = |e| HttpError::invalid(format!("params do not fit the statement: {e}"));
    // Names of parameters may repeat; places do not.
    let fields = wanted.fields().iter().zip(values).enumerate();
    let fields: Vec<Field> = fields
        .map(|(i, (f, value))| Field::new(i.to_string(), type_of(value, f.data_type()), true))
        .collect();
    let named = fields.iter().zip(wanted.fields());
    let named = named.map(|(f, wanted)| f.clone().with_name(wanted.name()));
    let schema = Arc::new(Schema::new(named.collect::<Vec<_>>()));
    let places: Map<String, Value> =
        values.iter().enumerate().map(|(i, value)| (i.to_string(), value.clone())).collect();
    let mut decoder = ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_coerce_primitive(true)
        .build_decoder()
        .map_err(wrong)?;
    decoder.serialize(&[places]).map_err(wrong)?;
    let row = decoder.flush().map_err(wrong)?;
    let columns = row.map_or_else(Vec::new, |row| row.columns().to_vec());
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(wrong)
}

fn type_of(value: &Value, wanted: &DataType) -> DataType {
    match value {
        Value::Number(_) if !wanted.is_numeric() => wanted.clone(),
        Value::Number(number) if number.is_i64() => DataType::Int64,
        Value::Number(number) if number.is_u64() => DataType::UInt64,
        Value::Number(_) => DataType::Float64,
        _ => wanted.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int64Type};
    use serde_json::json;

    use super::*;

    #[test]
    fn values_become_a_row_of_the_wanted_types() {
        let fields = [DataType::Int64, DataType::Float64, DataType::Utf8];
        let fields: Vec<Field> = fields.into_iter().map(|t| Field::new("$", t, true)).collect();
        let wanted = Arc::new(Schema::new(fields));
        let values = [json!("9223372036854775807"), json!("NaN"), json!(1.5)];
        let row = row(&values, &wanted).unwrap();
        assert_eq!(row.column(0).as_primitive::<Int64Type>().value(0), i64::MAX);
        assert!(row.column(1).as_primitive::<Float64Type>().value(0).is_nan());
        assert_eq!(row.column(2).as_string::<i32>().value(0), "1.5");
        assert!(super::row(&values[..2], &wanted).is_err());
        let uneven =
            super::row(&[json!(1.5), json!(9_007_199_254_740_993_u64), json!("")], &wanted);
        let uneven = uneven.unwrap();
        assert_eq!(
            uneven.column(0).as_primitive::<Float64Type>().value(0).to_bits(),
            1.5_f64.to_bits()
        );
        assert_eq!(uneven.column(1).as_primitive::<Int64Type>().value(0), 9_007_199_254_740_993);
        assert!(super::row(&[json!("x"), json!(1), json!("")], &wanted).is_err());
    }

    #[test]
    fn a_form_must_hold_a_statement_to_be_one() {
        assert_eq!(form_fields("q=SELECT+1&db=x").unwrap().len(), 2);
        assert!(form_fields("SELECT * FROM t WHERE a = 1").is_none());
    }
}
