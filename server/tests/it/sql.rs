//! `/api/v1/sql`: every way to ask, every form of answer.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use serde_json::json;

use crate::node::Node;

fn node() -> Node {
    let node = Node::start(&[]);
    node.write(
        "c,h=a f=1.5,i=1i 1000000000\nc,h=b f=2.5,i=2i 2000000000\nc f=-0.0,i=3i 3000000000",
    );
    node
}

#[test]
fn rows_come_in_the_form_that_is_accepted() {
    let node = node();
    let sql = "SELECT time, h, f, i FROM c ORDER BY time";
    let ask = |accept: &str| node.post_with("/api/v1/sql", sql, &[("accept", accept)]);
    let json = ask("*/*");
    assert_eq!(json.header("content-type"), Some("application/json"));
    assert_eq!(
        json.text(),
        concat!(
            r#"[{"time":"1970-01-01T00:00:01Z","h":"a","f":1.5,"i":1},"#,
            r#"{"time":"1970-01-01T00:00:02Z","h":"b","f":2.5,"i":2},"#,
            r#"{"time":"1970-01-01T00:00:03Z","h":null,"f":-0.0,"i":3}]"#,
            "\n",
        )
    );
    let columns = ask("application/vnd.quorate.columns+json");
    assert_eq!(columns.header("content-type"), Some("application/vnd.quorate.columns+json"));
    assert_eq!(
        columns.text(),
        concat!(
            r#"{"time":["1970-01-01T00:00:01Z","1970-01-01T00:00:02Z","1970-01-01T00:00:03Z"],"#,
            r#""h":["a","b",null],"f":[1.5,2.5,-0.0],"i":[1,2,3]}"#,
            "\n",
        )
    );
    let lines = ask("application/x-ndjson");
    assert_eq!(lines.text().lines().count(), 3);
    let csv = ask("text/csv");
    assert_eq!(csv.text().lines().next(), Some("time,h,f,i"));
    assert_eq!(csv.text().lines().count(), 4);
    let arrow = ask("application/vnd.apache.arrow.stream");
    let batches = StreamReader::try_new(arrow.body.as_slice(), None).unwrap();
    let ints: Vec<i64> = batches
        .flat_map(|b| b.unwrap().column(3).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert_eq!(ints, [1, 2, 3]);
    assert_eq!(ask("image/png").status, 406);
}

#[test]
fn more_rows_than_go_by_columns_are_refused() {
    let node = node();
    let accept = [("accept", "application/vnd.quorate.columns+json")];
    let ask = |sql: &str| node.post_with("/api/v1/sql", sql, &accept);
    let long = ask("SELECT value, md5(CAST(value AS VARCHAR)) FROM generate_series(1, 1000000)");
    assert_eq!(long.status, 406);
    assert!(long.text().contains("\"not_acceptable\"") && long.text().contains("LIMIT"));
    assert_eq!(ask("SELECT i FROM c WHERE i > 9").text(), "{\"i\":[]}\n");
    assert_eq!(ask("SELECT 1 / (i - 3) AS x FROM c").status, 400);
}

#[test]
fn a_statement_comes_by_address_body_form_or_json() {
    let node = node();
    let want = json!([{ "n": 2 }]);
    let sql = "SELECT count(h) AS n FROM c";
    assert_eq!(
        node.get("/api/v1/sql?db=main&q=SELECT%20count(h)%20AS%20n%20FROM%20c").json(),
        want
    );
    assert_eq!(node.post("/api/v1/sql?db=main", sql).json(), want);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(node.post_with("/api/v1/sql", sql, &form).json(), want);
    let encoded = "q=SELECT+count%28h%29+AS+n+FROM+c&db=main";
    assert_eq!(node.post_with("/api/v1/sql", encoded, &form).json(), want);
    let json_type = [("content-type", "application/json")];
    let body = json!({ "q": sql, "db": "main" }).to_string();
    assert_eq!(node.post_with("/api/v1/sql", body, &json_type).json(), want);
    let body = json!({ "q": sql, "limit": 1 }).to_string();
    assert_eq!(node.post_with("/api/v1/sql", body, &json_type).status, 400);
    assert_eq!(node.post("/api/v1/sql", " ").status, 400);
    assert_eq!(node.get("/api/v1/sql").status, 400);
}

#[test]
fn parameters_take_their_places() {
    let node = node();
    let json_type = [("content-type", "application/json")];
    let sql = "SELECT h, i FROM c WHERE h = $1 AND i > $2";
    let body = json!({ "q": sql, "params": ["b", 1] }).to_string();
    let answer = node.post_with("/api/v1/sql", body, &json_type);
    assert_eq!(answer.json(), json!([{ "h": "b", "i": 2 }]));
    let body = json!({ "q": sql, "params": ["b"] }).to_string();
    assert_eq!(node.post_with("/api/v1/sql", body, &json_type).status, 400);
    let answer =
        node.get("/api/v1/sql?q=SELECT%20i%20FROM%20c%20WHERE%20h%20=%20$1&params=[%22a%22]");
    assert_eq!(answer.json(), json!([{ "i": 1 }]));
}

#[test]
fn what_json_has_no_number_for_is_a_text() {
    let node = node();
    let sql = "SELECT CAST('NaN' AS DOUBLE) AS n, CAST('inf' AS DOUBLE) AS p, -CAST('inf' AS DOUBLE) AS m";
    let want = json!([{ "n": "NaN", "p": "Infinity", "m": "-Infinity" }]);
    assert_eq!(node.rows(sql), want);
}

#[test]
fn errors_say_what_and_where() {
    let node = node();
    let syntax = node.post("/api/v1/sql", "SELECT *\nFRM c");
    assert_eq!(syntax.status, 400);
    assert_eq!(syntax.json()["position"]["line"], 2);
    let table = node.post("/api/v1/sql", "SELECT * FROM nowhere");
    assert_eq!(table.status, 404);
    assert!(table.json()["message"].as_str().unwrap().contains("nowhere"));
    assert_eq!(node.post("/api/v1/sql?db=nowhere", "SELECT 1 FROM c").status, 404);
    let get = node.get("/api/v1/sql?q=DELETE%20FROM%20c");
    assert_eq!(get.status, 405);
    assert_eq!(node.value("SELECT count(*) FROM c"), 3);
}

#[test]
fn statements_that_change_something_count_what_they_changed() {
    let node = node();
    let create =
        "CREATE TABLE t (time TIMESTAMP NOT NULL, h STRING, f DOUBLE, PRIMARY KEY (h, time))";
    assert_eq!(node.post("/api/v1/sql", create).status, 204);
    let insert = "INSERT INTO t VALUES ('2024-01-01T00:00:00Z', 'a', 1.5)";
    assert_eq!(node.post("/api/v1/sql", insert).json(), json!([{ "count": 1 }]));
    assert_eq!(node.value("SELECT f FROM t"), 1.5);
    assert_eq!(node.post("/api/v1/sql", "CREATE DATABASE other").status, 204);
    assert_eq!(node.post("/write?db=other", "m f=1 1").status, 204);
}

#[test]
fn headers_set_the_options_of_a_query() {
    let node = node();
    node.post("/api/v1/sql", "CREATE DATABASE other");
    let ask = |name: &str, value: &str| {
        node.post_with("/api/v1/sql", "SELECT count(*) AS n FROM c", &[(name, value)])
    };
    assert_eq!(ask("database", "other").status, 404);
    assert_eq!(ask("database", "main").status, 200);
    assert_eq!(ask("query-timeout", "30s").status, 200);
    assert_eq!(ask("query-timeout", "soon").status, 400);
    assert_eq!(ask("consistency", "local").status, 200);
    assert_eq!(ask("consistency", "never").status, 400);
    assert_eq!(ask("consistency", "session").status, 400);
    let write = node.post("/write?db=main", "c,h=z f=1,i=1i 9");
    let receipt = write.header("quorate-receipt").unwrap();
    let headers = [("consistency", "session"), ("quorate-receipt", receipt)];
    let answer = node.post_with("/api/v1/sql", "SELECT count(*) AS n FROM c", &headers);
    assert_eq!(answer.json(), json!([{ "n": 4 }]));
}

#[test]
fn a_long_result_is_streamed_whole() {
    let node = Node::start(&[]);
    let rows = 300_000;
    let answer = node.post("/api/v1/sql", format!("SELECT value FROM generate_series(1, {rows})"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let values = answer.json();
    assert_eq!(values.as_array().unwrap().len(), rows);
    assert_eq!(values[rows - 1], json!({ "value": rows }));
}
