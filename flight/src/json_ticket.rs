//! Tickets of InfluxDB 3's clients: JSON instead of a command.
//!
//! ```json
//! {"database": "main", "sql_query": "SELECT * FROM cpu WHERE host = $host", "query_type": "sql", "params": {"host": "a"}}
//! ```

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, NullArray, RecordBatch, StringArray,
    UInt64Array,
};
use arrow::datatypes::{Field, Schema};
use arrow_flight::FlightData;
use serde::Deserialize;
use serde_json::Value;
use tonic::{Response, Status};

use crate::call::Call;
use crate::query;
use crate::service::{Outgoing, Shared};
use crate::statement::Statement;
use crate::status;

#[derive(Debug, Deserialize)]
struct JsonTicket {
    database: Option<String>,
    sql_query: String,
    query_type: Option<String>,
    #[serde(default)]
    params: Option<serde_json::Map<String, Value>>,
}

/// Runs the statement of a JSON ticket.
pub(crate) async fn get(
    shared: &Shared,
    mut call: Call,
    ticket: &[u8],
) -> Result<Response<Outgoing<FlightData>>, Status> {
    let ticket: JsonTicket = serde_json::from_slice(ticket)
        .map_err(|e| status::invalid(format!("the JSON ticket cannot be read: {e}")))?;
    if let Some(kind) = &ticket.query_type
        && !kind.eq_ignore_ascii_case("sql")
    {
        return Err(status::invalid(format!(
            "query_type {kind:?} is not supported: the query language is \"sql\""
        )));
    }
    if let Some(database) = ticket.database.filter(|name| !name.is_empty()) {
        call.options.database = Some(database);
    }
    let session = shared.session(call.options.clone());
    let plan = session.plan(&ticket.sql_query).await.map_err(|e| status::of(&e))?;
    let parameters = match ticket.params {
        Some(params) if !params.is_empty() => Some(named(&plan.parameters, &params)?),
        Some(_) | None => None,
    };
    let mut statement = Statement::new(&call, ticket.sql_query, plan.kind);
    statement.parameters = parameters;
    query::get(shared, call, statement).await
}

/// The parameters in the order of the statement.
fn named(wanted: &Schema, params: &serde_json::Map<String, Value>) -> Result<RecordBatch, Status> {
    let bare = |name: &str| name.trim_start_matches('$').to_owned();
    let known: Vec<String> = wanted.fields().iter().map(|field| bare(field.name())).collect();
    if let Some(name) = params.keys().map(|key| bare(key)).find(|name| !known.contains(name)) {
        return Err(status::invalid(format!("the statement has no parameter ${name}")));
    }
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for field in wanted.fields() {
        let name = field.name().trim_start_matches('$');
        let value = params
            .iter()
            .find(|(key, _)| key.trim_start_matches('$') == name)
            .map(|(_, value)| value)
            .ok_or_else(|| status::invalid(format!("parameter ${name} has no value")))?;
        let column = column(value)
            .ok_or_else(|| status::invalid(format!("parameter ${name} is no single value")))?;
        fields.push(Field::new(name, column.data_type().clone(), true));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| status::internal(&e))
}

/// One value as an array of one row; `None` for lists and objects.
fn column(value: &Value) -> Option<ArrayRef> {
    Some(match value {
        Value::Null => Arc::new(NullArray::new(1)),
        Value::Bool(value) => Arc::new(BooleanArray::from(vec![*value])),
        Value::String(value) => Arc::new(StringArray::from(vec![value.as_str()])),
        Value::Number(value) => match (value.as_i64(), value.as_u64(), value.as_f64()) {
            (Some(value), _, _) => Arc::new(Int64Array::from(vec![value])),
            (None, Some(value), _) => Arc::new(UInt64Array::from(vec![value])),
            (None, None, Some(value)) => Arc::new(Float64Array::from(vec![value])),
            (None, None, None) => return None,
        },
        Value::Array(_) | Value::Object(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{DataType, Int64Type};

    use super::*;

    fn wanted(names: &[&str]) -> Schema {
        Schema::new(names.iter().map(|n| Field::new(*n, DataType::Utf8, true)).collect::<Vec<_>>())
    }

    #[test]
    fn parameters_come_in_the_order_of_the_statement() {
        let params = serde_json::json!({"b": "x", "$a": 7});
        let batch = named(&wanted(&["$a", "b"]), params.as_object().unwrap()).unwrap();
        assert_eq!(batch.num_rows(), 1);
        assert_eq!(batch.column(0).as_primitive::<Int64Type>().value(0), 7);
        assert_eq!(batch.column(1).as_string::<i32>().value(0), "x");
    }

    #[test]
    fn a_parameter_without_a_value_is_an_error() {
        let params = serde_json::json!({"b": [1]});
        let params = params.as_object().unwrap();
        let error = named(&wanted(&["a", "b"]), params).unwrap_err();
        assert_eq!(error.message(), "parameter $a has no value");
        let error = named(&wanted(&["a"]), params).unwrap_err();
        assert_eq!(error.message(), "the statement has no parameter $b");
        let error = named(&wanted(&["b"]), params).unwrap_err();
        assert_eq!(error.message(), "parameter $b is no single value");
    }
}
