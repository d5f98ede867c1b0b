"""SQL over HTTP: forms of rows by `Accept`, parameters, headers, and requests that are wrong in every way."""

import csv
import gzip
import http.client
import io
import json
import urllib.parse

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from shared import HTTP, http as request, packed, sql

ROWS = ("SELECT 1 AS i, 'x,\"y' AS s, CAST(NULL AS DOUBLE) AS f, CAST('2024-01-01' AS TIMESTAMP WITH TIME ZONE) AS t, "
        "18446744073709551615 AS u, true AS b")
JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
COLUMNS = "application/vnd.quorate.columns+json"


def ask(statement=ROWS, path="/api/v1/sql", **headers):
    return request("POST", path, statement.encode(), **headers)


def ask_json(**body):
    return request("POST", "/api/v1/sql", json.dumps(body).encode(), Content_Type=JSON)


def parquet(answer):
    assert (answer.status, answer.headers["Content-Type"]) == (200, PARQUET), answer.text
    return pq.ParquetFile(io.BytesIO(answer.body))


# Forms of rows

ACCEPTED = [
    ("*/*", JSON), ("", JSON), (JSON, JSON), ("application/*", JSON),
    ("text/html,application/xhtml+xml,*/*;q=0.8", JSON),
    (NDJSON, NDJSON), ("application/ndjson", NDJSON), ("application/jsonl", NDJSON),
    (CSV, CSV), ("TEXT/CSV", CSV), ("text/*", CSV), ("application/xml, text/csv", CSV), (ARROW, ARROW),
    (PARQUET, PARQUET), (COLUMNS, COLUMNS),
    ("text/csv;q=0.5,application/json;q=0.9", JSON), ("*/*,application/json;q=0", CSV),
    ("text/csv;q=0.5,application/vnd.apache.parquet", PARQUET),
]


@pytest.mark.parametrize("accept, kind", ACCEPTED)
def test_accept_chooses_the_form(accept, kind):
    answer = ask(Accept=accept)
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, kind)
    expected = {"i": 1, "s": 'x,"y', "f": None, "t": "2024-01-01T00:00:00Z", "u": 2**64 - 1, "b": True}
    if kind == COLUMNS:
        assert answer.json == {key: [value] for key, value in expected.items()}
    elif kind in (JSON, NDJSON):
        assert answer.json == ([expected] if kind == JSON else expected)
    elif kind == CSV:
        [row] = csv.DictReader(io.StringIO(answer.text))
        assert row == {key: str(value).lower() if key == "b" else "" if value is None else str(value)
                       for key, value in expected.items()}
    else:
        table = pa.ipc.open_stream(answer.body).read_all() if kind == ARROW else parquet(answer).read()
        assert table.column("u").to_pylist() == [2**64 - 1] and table.column("f").to_pylist() == [None]


@pytest.mark.parametrize("accept", [
    "text/html", "text/plain", "garbage", "application/vnd.apache.orc", "*/*;q=0", "application/json;q=0"])
def test_other_forms_are_refused_by_name(accept):
    answer = ask(Accept=accept)
    assert (answer.status, answer.json["code"]) == (406, "not_acceptable")
    assert NDJSON in answer.json["message"] and PARQUET in answer.json["message"]


@pytest.mark.parametrize("accept, body", [(JSON, "[]\n"), (NDJSON, ""), (CSV, "a\n")])
def test_no_rows(accept, body):
    answer = ask("SELECT 1 AS a WHERE false", Accept=accept)
    assert (answer.status, answer.text) == (200, body)


def test_values_that_json_has_no_number_for():
    query = "SELECT CAST('NaN' AS DOUBLE) AS a, CAST('-Infinity' AS DOUBLE) AS b, -0.0 AS c, [1, 2] AS d, X'ff' AS e"
    assert ask(query).text == '[{"a":"NaN","b":"-Infinity","c":-0.0,"d":[1,2],"e":"ff"}]\n'


def test_values_that_csv_has_no_form_for():
    query = ("SELECT '' AS a, CAST(NULL AS VARCHAR) AS b, CAST('Infinity' AS DOUBLE) AS c, X'ff' AS d, [1, NULL] AS l, "
             "{'x': 'y,\"'} AS o, CAST(NULL AS BIGINT[]) AS n")
    [names, row, _] = ask(query, Accept=CSV).text.split("\n")
    assert (names, row) == ("a,b,c,d,l,o,n", r'''"",,Infinity,ff,"[1,null]","{""x"":""y,\""""}",''')
    assert json.loads(next(csv.reader([row]))[5]) == {"x": 'y,"'}
    # A reader that tells '' from NULL by the quotes finds both again.
    options = pa.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False,
                                    column_types={"a": pa.string(), "b": pa.string()})
    body = ask("SELECT 1 AS i, '' AS a, CAST(NULL AS VARCHAR) AS b", Accept=CSV).body
    assert pa.csv.read_csv(io.BytesIO(body), convert_options=options).to_pylist() == [{"i": 1, "a": "", "b": None}]


@pytest.mark.parametrize("path, status", [
    ("/api/v1/sql?q=SELECT+1", 200), ("/api/v1/sql?q=SELEC", 400), ("/health", 200), ("/ready", 200),
    ("/ping?verbose=true", 200), ("/nowhere", 404), ("/write", 405), ("/query?q=CREATE+DATABASE+main", 200),
])
def test_json_ends_with_a_newline(path, status):
    answer = request("GET", path)
    assert (answer.status, answer.headers["Content-Type"]) == (status, JSON)
    assert answer.body.endswith((b"}\n", b"]\n")) and answer.json


@pytest.mark.parametrize("accept", [JSON, NDJSON, CSV, ARROW, PARQUET])
def test_rows_are_packed_for_clients_that_take_gzip(accept):
    query = "SELECT value, 'x' AS s FROM generate_series(1, 200000) AS t(value)"
    plain = ask(query, Accept=accept)
    packed_rows = ask(query, Accept=accept, Accept_Encoding="br;q=1.0, gzip;q=0.8")
    assert plain.headers["Content-Encoding"] is None and plain.headers["Vary"] == "accept, accept-encoding"
    if accept == PARQUET:
        assert packed_rows.headers["Content-Encoding"] is None
        assert parquet(packed_rows).read() == parquet(plain).read()
        return
    assert packed_rows.headers["Content-Encoding"] == "gzip" and len(packed_rows.body) < len(plain.body) * 0.6
    assert gzip.decompress(packed_rows.body) == plain.body
    failing = "SELECT 1 / (value - 1999999) AS x FROM generate_series(1, 2000000) AS t(value)"
    with pytest.raises(http.client.IncompleteRead) as cut:
        ask(failing, Accept=accept, Accept_Encoding="gzip")
    with pytest.raises(EOFError):
        gzip.decompress(cut.value.partial)


def test_one_row_is_packed_and_a_weight_of_nothing_is_none(table):
    sql(f"CREATE TABLE {table} (time TIMESTAMP, host STRING)")
    inserted = ask(f"INSERT INTO {table} VALUES ('2024-01-01', 'a')", Accept_Encoding="gzip")
    assert json.loads(gzip.decompress(inserted.body)) == [{"count": 1}]
    assert ask(Accept_Encoding="gzip;q=0, *").headers["Content-Encoding"] is None
    for header in ({"Accept": "text/csv;q=2"}, {"Accept_Encoding": "gzip;q=much"}):
        answer = ask(**header)
        assert answer.status == 400 and "the weight of" in answer.json["message"]


@pytest.mark.parametrize("accept", [JSON, NDJSON, CSV, ARROW, PARQUET])
def test_an_error_after_the_first_rows_cuts_the_answer_off(accept):
    # Near the end: rows before it have gone out, whatever the order in which parts of the query run.
    query = ("SELECT 1 / (value - 1999999) AS x, sha256(CAST(value AS VARCHAR)) AS filler "
             "FROM generate_series(1, 2000000) AS t(value)")
    with pytest.raises(http.client.IncompleteRead) as cut:
        ask(query, Accept=accept)
    assert len(cut.value.partial) > 1 << 20
    if accept == PARQUET:
        with pytest.raises(pa.ArrowInvalid):
            pq.ParquetFile(io.BytesIO(cut.value.partial))


def test_parquet_holds_the_values_and_types_of_the_rows(table):
    sql(f"CREATE TABLE {table} (time TIMESTAMP NOT NULL, host STRING, f DOUBLE, i BIGINT, PRIMARY KEY (host, time))")
    sql(f"INSERT INTO {table} VALUES ('2024-01-01T00:00:00.123456789Z', 'a', -0.0, -9223372036854775808), "
        f"('2024-01-02T00:00:00Z', NULL, 'NaN', NULL), ('2024-01-03T00:00:00Z', 'é', '-Infinity', 9223372036854775807)")
    query = ("SELECT time, host, f, i, [i, 1] AS l, {'x': f} AS o, CAST(1.25 AS DECIMAL(9, 2)) AS d "
             f"FROM {table} ORDER BY time")
    file = parquet(ask(query, Accept=PARQUET))
    read = file.read()
    assert read.schema.equals(pa.ipc.open_stream(ask(query, Accept=ARROW).body).read_all().schema)
    assert read.schema.field("time").type == pa.timestamp("ns", tz="UTC")
    assert read.column("time").cast(pa.int64()).to_pylist() == [
        1704067200123456789, 1704153600000000000, 1704240000000000000]
    assert read.column("host").to_pylist() == ["a", None, "é"]
    assert read.column("i").to_pylist() == [-2**63, None, 2**63 - 1]
    assert [str(f) for f in read.column("f").to_pylist()] == ["-0.0", "nan", "-inf"]
    assert read.column("l").to_pylist() == [[-2**63, 1], [None, 1], [2**63 - 1, 1]]
    assert [str(d) for d in read.column("d").to_pylist()] == ["1.25"] * 3
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_parquet_of_many_rows_has_row_groups_and_of_none_has_a_schema():
    # Values that do not pack well, so that the file has several row groups.
    file = parquet(ask("SELECT value, sha256(CAST(value AS VARCHAR)) AS a, md5(CAST(value AS VARCHAR)) AS b "
                       "FROM generate_series(1, 1000000) AS t(value)", Accept=PARQUET))
    assert file.metadata.num_rows == 1_000_000 and file.metadata.num_row_groups > 3
    assert max(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)) < 32 << 20
    assert sum(file.read(["value"]).column("value").to_pylist()) == 500_000_500_000
    empty = parquet(ask("SELECT 1 AS a, 'x' AS b WHERE false", Accept=PARQUET)).read()
    assert (empty.num_rows, empty.column_names) == (0, ["a", "b"])
    repeated = parquet(ask("SELECT l.a, r.a FROM (SELECT 1 AS a) AS l, (SELECT 2 AS a) AS r", Accept=PARQUET)).read()
    assert repeated.to_pylist() == [{"a": 1, "a_2": 2}]


def test_what_parquet_cannot_hold_is_refused_by_name(table):
    answer = ask("SELECT 1 AS a, INTERVAL '1 month' AS long", Accept=PARQUET)
    assert (answer.status, answer.json["code"]) == (406, "not_acceptable")
    assert 'column "long"' in answer.json["message"]
    sql(f"CREATE TABLE {table} (time TIMESTAMP, host STRING)")
    written = ask(f"INSERT INTO {table} VALUES ('2024-01-01', 'a')", Accept=PARQUET)
    assert parquet(written).read().to_pylist() == [{"count": 1}]


@pytest.mark.parametrize("accept, status", [(JSON, 406), (NDJSON, 406), (CSV, 406), (ARROW, 200), (PARQUET, 200)])
def test_a_map_with_numbers_for_keys_is_no_json(accept, status):
    answer = ask("SELECT MAP {1: 2} AS m", Accept=accept)
    assert answer.status == status
    if status == 406:
        assert 'column "m"' in answer.json["message"]
    assert ask("SELECT MAP {'a': 2} AS m", Accept=accept).status == 200


# Parameters

@pytest.mark.parametrize("query, params, rows", [
    ("SELECT $1 AS a", ["x"], [{"a": "x"}]), ("SELECT ? AS a, ? AS b", ["x", "y"], [{"a": "x", "b": "y"}]),
    ("SELECT $1 AS a", [1], [{"a": "1"}]), ("SELECT CAST($1 AS DOUBLE) AS a", [1.5], [{"a": 1.5}]),
    ("SELECT coalesce($1, 5) AS a", [None], [{"a": 5}]), ("SELECT CAST($1 AS BOOLEAN) AS a", [True], [{"a": True}]),
    ("SELECT CAST($1 AS BIGINT UNSIGNED) AS a", [2**64 - 1], [{"a": 2**64 - 1}]),
])
def test_parameters(query, params, rows):
    assert ask_json(q=query, params=params, db="main").json == rows


def test_parameters_in_the_url():
    path = "/api/v1/sql?" + urllib.parse.urlencode({"q": "SELECT ? AS a", "params": '["x"]', "db": "main"})
    assert request("GET", path).json == [{"a": "x"}]


@pytest.mark.parametrize("body, message", [
    (b'{"q": "SELECT $1", "params": []}', "1 parameters, and 0 values were given"),
    (b'{"q": "SELECT 1", "params": [1]}', "has 0 parameters, params has 1"),
    (b'{"q": "SELECT $h", "params": {"h": 1}}', "params must be a list"),
    (b'{"q": "SELECT $1", "params": [["x"]]}', "params do not fit"),
    (b'{"q": "SELECT 1", "parms": [1]}', '"parms" is none of q, db, params'),
    (b'{"query": "SELECT 1"}', '"query" is none of q, db, params'),
    (b'{"q": "SELECT 1", "sql": "SELECT 2"}', "give one"),
    (b"{}", "q is missing"), (b"[]", "expected a map"), (b'{"q": "SELECT 1"', "EOF"), (b"", "body"),
])
def test_wrong_json_is_refused(body, message):
    answer = request("POST", "/api/v1/sql", body, Content_Type="application/json; charset=utf-8")
    assert answer.status == 400 and message in answer.json["message"]


# Requests

def test_a_statement_in_every_place():
    assert request("GET", "/api/v1/sql?q=SELECT+1+AS+x").json == [{"x": 1}]
    assert request("POST", "/api/v1/sql?q=SELECT+1+AS+x", b"").json == [{"x": 1}]
    assert request("POST", "/api/v1/sql?q=SELECT+1+AS+x", b"", Content_Encoding="gzip").json == [{"x": 1}]
    assert ask("SELECT 1 AS x;\n").json == [{"x": 1}]
    assert ask("q=SELECT+1+AS+x", Content_Type="application/x-www-form-urlencoded").json == [{"x": 1}]
    # curl says that of every body that it is given with --data.
    assert ask("SELECT 1 AS x", Content_Type="application/x-www-form-urlencoded").json == [{"x": 1}]
    assert request("POST", "/api/v1/sql", packed("SELECT 1 AS x"), Content_Encoding="gzip").json == [{"x": 1}]
    head = request("HEAD", "/api/v1/sql?q=SELECT+1+AS+x")
    assert (head.status, head.body) == (200, b"")


def test_statements_without_rows(table):
    created = ask(f"CREATE TABLE {table} (time TIMESTAMP, host STRING)")
    assert (created.status, created.body) == (204, b"")
    assert ask(f"INSERT INTO {table} VALUES ('2024-01-01', 'a')").json == [{"count": 1}]
    assert ask(f"DELETE FROM {table}").json == [{"count": 1}]
    assert ask(f"CREATE TABLE {table} (time TIMESTAMP)").status == 409


@pytest.mark.parametrize("statement, status, code, message", [
    ("SELEC 1", 400, "invalid", "line 1, column 1"), ("SELECT 'x", 400, "invalid", "Unterminated"),
    ("SELECT\n nothing FROM (SELECT 1 AS x)", 404, "not_found", "line 2, column 2"),
    ("SELECT * FROM nowhere", 404, "not_found", "nowhere"), ("SELECT 1; SELECT 2", 400, "invalid", "one at a time"),
    ("BEGIN", 501, "unsupported", "not supported"), ("SET timezone = 'UTC'", 501, "unsupported", "call headers"),
    ("USE main", 501, "unsupported", "call headers"), ("", 400, "invalid", "no statement"),
    ('{"q": "SELECT 1"}', 400, "invalid", "Expected: an SQL statement"),
])
def test_errors_have_kinds(statement, status, code, message):
    answer = ask(statement)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert message in answer.json["message"]


def test_a_syntax_error_has_a_position():
    assert ask("SELECT 1\nFROM x y z").json["position"]["line"] == 2


def test_a_name_that_is_nowhere_has_a_position():
    assert ask("SELECT\n nothing FROM (SELECT 1 AS x)").json["position"] == {"line": 2, "column": 2}
    assert "position" not in ask("SELECT CAST('x' AS BIGINT)").json


@pytest.mark.parametrize("method, path, body, headers, status, message", [
    ("GET", "/api/v1/sql", None, {}, 400, "q is missing"),
    ("GET", "/api/v1/sql?q=SELECT+1&db=nowhere", None, {}, 404, "nowhere"),
    ("GET", "/api/v1/sql?q=CREATE+DATABASE+x", None, {}, 405, "POST"),
    ("PUT", "/api/v1/sql", b"SELECT 1", {}, 405, "does not take PUT"),
    ("POST", "/api/v1/sql", b"SELECT '\xff'", {}, 400, "not valid UTF-8"),
    ("POST", "/api/v1/sql", b"SELECT 1", {"Content_Encoding": "gzip"}, 400, "not gzip"),
    ("POST", "/api/v1/sql", b"", {"Content_Encoding": "gzip"}, 400, "no statement"),
    ("POST", "/write?db=main", b"", {"Content_Encoding": "gzip"}, 400, "the body is empty"),
    ("POST", "/api/v1/sql", b"SELECT 1", {"Content_Encoding": "br"}, 415, "gzip and identity are taken"),
    ("POST", "/api/v1/sql", b"SELECT 1", {"timezone": "Nowhere/Land"}, 400, "not a time zone"),
    ("POST", "/api/v1/sql", b"SELECT 1", {"query_timeout": "soon"}, 400, "header query-timeout"),
    ("POST", "/api/v1/sql", b"SELECT 1", {"consistency": "much"}, 400, "consistency is"),
    ("POST", "/api/v1/sql?consistency=local", b"SELECT 1", {"consistency": "much"}, 400, "consistency is"),
])
def test_wrong_requests_are_told_what_is_wrong(method, path, body, headers, status, message):
    answer = request(method, path, body, **headers)
    assert answer.status == status and message in answer.json["message"]


@pytest.mark.parametrize("method, path, body, known", [
    ("GET", "/api/v1/sql?q=SELECT+1+AS+x&format=csv", None, "q, params, db, consistency"),
    ("POST", "/api/v1/sql?dbb=nowhere", b"SELECT 1", "q, params, db, consistency"),
    ("POST", "/api/v1/sql", b"q=SELECT+1&dbb=x", "q, params, db, consistency"),
    ("GET", "/query?q=CREATE+DATABASE+main&dbb=x", None, "q, db, consistency, rp"),
])
def test_parameters_that_nobody_knows_are_refused_by_name(method, path, body, known):
    answer = request(method, path, body, Content_Type="application/x-www-form-urlencoded")
    assert (answer.status, answer.json["code"]) == (400, "invalid")
    assert f'"{"format" if "format" in path else "dbb"}" is none of {known}' in answer.json["message"]


def test_what_clients_of_influxdb_send_is_taken():
    path = ("/query?q=CREATE+DATABASE+main&db=main&rp=&u=a&p=b&epoch=ns&precision=s&pretty=true&chunked=false"
            "&chunk_size=1")
    assert request("POST", path, b"", Content_Encoding="gzip").status == 200
    assert request("POST", "/write?db=main&dbb=x", b"").status == 204


def test_a_body_that_is_too_large_is_refused_before_it_is_read():
    where = urllib.parse.urlsplit(HTTP)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    # The length is said, and nothing is sent: the answer does not wait for it.
    connection.putrequest("POST", "/api/v1/sql")
    connection.putheader("Content-Length", str(65 << 20))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413 and "max_body" in json.loads(answer.read())["message"]
    connection.close()


def test_a_long_statement_is_taken():
    assert ask("SELECT 1 AS x -- " + "x" * (30 << 20)).json == [{"x": 1}]


def test_query_timeout():
    answer = ask("SELECT sum(value % 3) FROM generate_series(1, 1000000000000000)", query_timeout="100ms")
    assert (answer.status, answer.json["code"]) == (504, "timeout")


# Time zones

def test_times_are_shown_in_the_zone_of_the_header(table):
    sql(f"CREATE TABLE {table} (time TIMESTAMP)")
    sql(f"INSERT INTO {table} VALUES ('2024-07-01 12:00:00')", timezone="Europe/Berlin")
    assert sql(f"SELECT time FROM {table}") == [{"time": "2024-07-01T10:00:00Z"}]
    assert sql(f"SELECT time FROM {table}", timezone="+05:30") == [{"time": "2024-07-01T15:30:00+05:30"}]


def test_times_need_no_seconds(table):
    sql(f"CREATE TABLE {table} (time TIMESTAMP)")
    sql(f"INSERT INTO {table} VALUES ('2024-01-01 08:00'), ('2024-01-01T09:30Z')")
    assert sql(f"SELECT count(*) AS n FROM {table} WHERE time > '2024-01-01 08:00'") == [{"n": 1}]
    for wrong in ("2024-01-01 08", "2024-01-01 8:00", "2024-01-01 08:0"):
        for statement in (f"INSERT INTO {table} VALUES ('{wrong}')", f"SELECT * FROM {table} WHERE time > '{wrong}'"):
            answer = ask(statement)
            assert answer.status == 400
            assert f"'{wrong}' is not a time; write for example" in answer.text


@pytest.mark.parametrize("zone", ["-05:00", "Asia/Kolkata"])
def test_now_is_the_same_instant_in_every_zone(table, zone):
    sql(f"CREATE TABLE {table} (time TIMESTAMP)")
    sql(f"INSERT INTO {table} VALUES (now())", timezone=zone)
    for asked in ("UTC", zone):
        assert sql(f"SELECT count(*) AS c FROM {table} WHERE time BETWEEN now() - INTERVAL '1 minute' AND now()",
                   timezone=asked) == [{"c": 1}]
    assert sql("SELECT now() AS t")[0]["t"].endswith("Z")
