"""Real clients against a running server: ADBC (DB-API), pyarrow.flight by hand, influxdb3-python.

The server is found in QUORATE_FLIGHT_URI (grpc://host:port) and QUORATE_HTTP_URL (http://host:port).
"""

import datetime
import itertools
import math
import os
import threading
import time

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flightsql
import adbc_driver_manager
import pyarrow as pa
import pyarrow.flight as flight
import pytest
from influxdb_client_3 import InfluxDBClient3, Point, SYNCHRONOUS, WriteOptions, write_client_options
from influxdb_client_3.exceptions import InfluxDB3ClientQueryError, InfluxDBError

FLIGHT = os.environ.get("QUORATE_FLIGHT_URI", "")
HTTP = os.environ.get("QUORATE_HTTP_URL", "")
UTC = datetime.timezone.utc
NS = pa.timestamp("ns", tz="UTC")
ENDLESS = "SELECT sum(value % 3) AS never FROM generate_series(1, 1000000000000000) AS t(value)"

_numbers = itertools.count()


@pytest.fixture
def table():
    """A name that no other test uses."""
    return f"t{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def connection():
    with connect() as connection:
        yield connection


@pytest.fixture
def cursor(connection):
    with connection.cursor() as cursor:
        yield cursor


def connect(database=None, cookies=False):
    options = {}
    if database:
        options[adbc_driver_flightsql.DatabaseOptions.RPC_CALL_HEADER_PREFIX.value + "database"] = database
    if cookies:
        options[adbc_driver_flightsql.DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value] = "true"
    return flightsql.connect(FLIGHT, db_kwargs=options, autocommit=True)


def create(cursor, table):
    cursor.execute(
        f"CREATE TABLE {table} (time TIMESTAMP NOT NULL, host STRING, value DOUBLE, n BIGINT, "
        f"PRIMARY KEY (host, time))")


def filled(cursor, table):
    create(cursor, table)
    cursor.execute(f"INSERT INTO {table} (time, host, value, n) VALUES "
                   f"('2024-01-01T00:00:00Z', 'a', 1.5, 1), ('2024-01-01T00:00:01Z', 'b', 2.5, 2), "
                   f"('2024-01-01T00:00:02Z', 'a', 3.5, 3)")
    return table


def batch(start=0, rows=3):
    return pa.table({
        "time": pa.array([(start + i) * 10**9 for i in range(rows)], NS),
        "host": [f"h{i % 2}" for i in range(rows)],
        "value": [float(start + i) for i in range(rows)],
    })


# ADBC: queries

def test_a_query_gives_an_arrow_table(cursor):
    cursor.execute("SELECT 1 AS i, 'x' AS s, CAST(NULL AS DOUBLE) AS f")
    table = cursor.fetch_arrow_table()
    assert table.schema.types == [pa.int64(), pa.string(), pa.float64()]
    assert table.to_pylist() == [{"i": 1, "s": "x", "f": None}]


def test_rows_come_as_tuples(cursor, table):
    filled(cursor, table)
    cursor.execute(f"SELECT host, n FROM {table} ORDER BY time")
    assert cursor.fetchall() == [("a", 1), ("b", 2), ("a", 3)]


def test_an_empty_result_has_its_schema(cursor, table):
    create(cursor, table)
    cursor.execute(f"SELECT * FROM {table}")
    result = cursor.fetch_arrow_table()
    assert result.num_rows == 0
    assert result.schema.names == ["time", "host", "value", "n"]
    assert result.schema.field("time").type == NS


def test_parameters_are_bound(cursor, table):
    filled(cursor, table)
    cursor.execute(f"SELECT n FROM {table} WHERE host = ? AND value > ? ORDER BY n", ("a", 2.0))
    assert cursor.fetchall() == [(3,)]
    cursor.execute(f"SELECT n FROM {table} WHERE host = $1 ORDER BY n", ("b",))
    assert cursor.fetchall() == [(2,)]
    cursor.execute(f"SELECT n FROM {table} WHERE time >= ? ORDER BY n LIMIT ?",
                   (datetime.datetime(2024, 1, 1, 0, 0, 1, tzinfo=UTC), 1))
    assert cursor.fetchall() == [(2,)]


def test_the_schema_is_known_before_the_query_runs(cursor, table):
    filled(cursor, table)
    schema = cursor.adbc_execute_schema(f"SELECT host, count(*) AS c FROM {table} GROUP BY host")
    cursor.execute(f"SELECT host, count(*) AS c FROM {table} GROUP BY host")
    assert cursor.fetch_arrow_table().schema == schema
    assert schema.types == [pa.string(), pa.int64()]


def test_parameters_of_a_prepared_statement_are_described(cursor, table):
    filled(cursor, table)
    schema = cursor.adbc_prepare(f"SELECT * FROM {table} WHERE value > ? AND host = ?")
    assert schema is not None and len(schema) == 2
    assert schema.types == [pa.float64(), pa.string()]


def test_exact_values_survive(cursor, table):
    create(cursor, table)
    values = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308]
    rows = [(datetime.datetime.fromtimestamp(i, UTC), "x", value, n)
            for i, (value, n) in enumerate(zip(values, [-2**63, 2**63 - 1, 0, 1, -1, None]))]
    cursor.executemany(f"INSERT INTO {table} (time, host, value, n) VALUES (?, ?, ?, ?)", rows)
    cursor.execute(f"SELECT value, n FROM {table} ORDER BY time")
    got = cursor.fetchall()
    assert [n for _, n in got] == [n for *_, n in rows]
    assert math.isnan(got[0][0])
    assert [v for v, _ in got[1:]] == values[1:]
    assert math.copysign(1, got[3][0]) == -1


def test_a_large_result_arrives_whole(cursor):
    cursor.execute("SELECT value, CAST(value AS VARCHAR) AS text FROM generate_series(1, 1000000)")
    rows, total = 0, 0
    for part in cursor.fetch_record_batch():
        rows += part.num_rows
        total += pa.compute.sum(part.column("value")).as_py()
    assert (rows, total) == (1_000_000, 500_000_500_000)


# ADBC: statements that write

def test_ddl_and_dml_go_through_execute(cursor, table):
    create(cursor, table)
    cursor.execute(f"INSERT INTO {table} (time, host, value) VALUES ('2024-01-01T00:00:00Z', 'a', 1)")
    assert cursor.rowcount == 1
    cursor.execute(f"SELECT count(*) FROM {table}")
    assert cursor.fetchone() == (1,)
    cursor.execute(f"DROP TABLE {table}")
    with pytest.raises(adbc_driver_manager.Error, match=table):
        cursor.execute(f"SELECT * FROM {table}")


def test_updates_count_their_rows(connection, table):
    with connection.cursor() as cursor:
        create(cursor, table)
        cursor.adbc_statement.set_sql_query(
            f"INSERT INTO {table} (time, host) VALUES ('2024-01-01T00:00:00Z', 'a'), ('2024-01-01T00:00:01Z', 'a')")
        assert cursor.adbc_statement.execute_update() == 2


def test_executemany_runs_once_per_row(cursor, table):
    create(cursor, table)
    rows = [(datetime.datetime.fromtimestamp(i, UTC), f"h{i % 3}", i / 2, i) for i in range(100)]
    cursor.executemany(f"INSERT INTO {table} (time, host, value, n) VALUES (?, ?, ?, ?)", rows)
    assert cursor.rowcount == 100
    cursor.execute(f"SELECT count(*), sum(n) FROM {table}")
    assert cursor.fetchone() == (100, 4950)


def test_an_insert_with_parameters_through_execute(cursor, table):
    create(cursor, table)
    cursor.execute(f"INSERT INTO {table} (time, host, n) VALUES (?, ?, ?)",
                   (datetime.datetime(2024, 1, 1, tzinfo=UTC), "a", 7))
    cursor.execute(f"SELECT host, n FROM {table}")
    assert cursor.fetchall() == [("a", 7)]


# ADBC: bulk ingest

def test_ingest_modes(cursor, table):
    assert cursor.adbc_ingest(table, batch(0), mode="create") == 3
    with pytest.raises(adbc_driver_manager.Error, match="exist"):
        cursor.adbc_ingest(table, batch(0), mode="create")
    assert cursor.adbc_ingest(table, batch(3), mode="append") == 3
    assert cursor.adbc_ingest(table, batch(6), mode="create_append") == 3
    cursor.execute(f"SELECT count(*) FROM {table}")
    assert cursor.fetchone() == (9,)
    assert cursor.adbc_ingest(table, batch(100), mode="replace") == 3
    cursor.execute(f"SELECT min(value), count(*) FROM {table}")
    assert cursor.fetchone() == (100.0, 3)


def test_ingest_into_a_table_that_is_not_there(cursor, table):
    with pytest.raises(adbc_driver_manager.Error, match=table):
        cursor.adbc_ingest(table, batch(), mode="append")
    assert cursor.adbc_ingest(table, batch(), mode="create_append") == 3


def test_the_same_rows_ingested_twice_are_there_once(cursor, table):
    for _ in range(2):
        cursor.adbc_ingest(table, batch(), mode="create_append")
    cursor.execute(f"SELECT count(*) FROM {table}")
    assert cursor.fetchone() == (3,)


def test_ingest_without_a_time_column_is_refused(cursor, table):
    with pytest.raises(adbc_driver_manager.Error, match="time"):
        cursor.adbc_ingest(table, pa.table({"host": ["a"], "value": [1.0]}), mode="create")


def test_ingest_into_another_database(cursor, table):
    database = f"d_{table}"
    cursor.execute(f"CREATE DATABASE {database}")
    cursor.adbc_ingest(table, batch(), mode="create", catalog_name=database)
    cursor.execute(f"SELECT count(*) FROM {database}.public.{table}")
    assert cursor.fetchone() == (3,)
    with pytest.raises(adbc_driver_manager.Error, match="schema"):
        cursor.adbc_ingest(table, batch(), mode="append", catalog_name=database, db_schema_name="other")
    cursor.execute(f"DROP DATABASE {database}")


def test_ingest_into_a_temporary_table_is_refused(cursor, table):
    with pytest.raises(adbc_driver_manager.Error, match="temporary"):
        cursor.adbc_ingest(table, batch(), mode="create", temporary=True)


def test_large_ingest_is_streamed(cursor, table):
    rows, parts = 100_000, 5
    batches = [b for i in range(parts) for b in batch(i * rows, rows).to_batches()]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    assert cursor.adbc_ingest(table, reader, mode="create") == rows * parts
    cursor.execute(f"SELECT count(*), max(value) FROM {table}")
    assert cursor.fetchone() == (rows * parts, rows * parts - 1.0)


def test_ingest_of_many_types_widens_exactly(cursor, table):
    cursor.adbc_ingest(table, pa.table({
        "time": pa.array([1_700_000_000_000], pa.timestamp("ms", tz="UTC")),
        "host": pa.array(["a"]).dictionary_encode(),
        "i8": pa.array([-8], pa.int8()), "u16": pa.array([65535], pa.uint16()),
        "u64": pa.array([2**64 - 1], pa.uint64()), "f32": pa.array([0.5], pa.float32()),
        "b": [True], "text": pa.array(["long text"], pa.large_string()),
    }), mode="create", db_schema_name="public")
    cursor.execute(f"SELECT * FROM {table}")
    row = cursor.fetch_arrow_table().to_pylist()[0]
    assert row.pop("time").value == 1_700_000_000_000_000_000
    assert row == {"host": "a", "i8": -8, "u16": 65535, "u64": 2**64 - 1, "f32": 0.5, "b": True, "text": "long text"}


# ADBC: metadata

def test_objects_are_listed(connection, cursor, table):
    filled(cursor, table)
    objects = connection.adbc_get_objects(depth="all", table_name_filter=table).read_all().to_pylist()
    [catalog] = [c for c in objects if c["catalog_name"] == "main"]
    [schema] = [s for s in catalog["catalog_db_schemas"] if s["db_schema_name"] == "public"]
    [found] = schema["db_schema_tables"]
    assert (found["table_name"], found["table_type"]) == (table, "TABLE")
    assert [c["column_name"] for c in found["table_columns"]] == ["time", "host", "value", "n"]


def test_catalogs_and_table_types_are_listed(connection):
    assert "main" in connection.adbc_get_objects(depth="catalogs").read_all()["catalog_name"].to_pylist()
    assert {"TABLE", "VIEW"} <= set(connection.adbc_get_table_types())


def test_a_table_has_the_schema_that_its_query_has(connection, cursor, table):
    filled(cursor, table)
    described = connection.adbc_get_table_schema(table)
    cursor.execute(f"SELECT * FROM {table}")
    queried = cursor.fetch_arrow_table().schema
    assert described.names == queried.names
    assert described.types == queried.types
    assert not described.field("time").nullable


def test_the_server_names_itself(connection):
    assert connection.adbc_get_info()["vendor_name"] == "Quorate"


def run(connection, sql):
    """Runs a statement and closes it: the driver reads the headers of an update's answer, the cookie too, no sooner."""
    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_the_current_catalog_follows_the_session(table):
    with connect(cookies=True) as connection:
        database = f"d_{table}"
        run(connection, f"CREATE DATABASE {database}")
        assert connection.adbc_current_catalog == "main"
        connection.adbc_current_catalog = database
        assert connection.adbc_current_catalog == database
        with connection.cursor() as cursor:
            create(cursor, table)
            cursor.execute(f"SELECT count(*) FROM {database}.public.{table}")
            assert cursor.fetchone() == (0,)
        with pytest.raises(adbc_driver_manager.Error):
            connection.adbc_current_catalog = "nowhere"
        assert connection.adbc_current_catalog == database
        run(connection, "SET timezone = '+02:00'")
        with connection.cursor() as cursor:
            cursor.execute("SHOW timezone")
            assert cursor.fetchall() == [("timezone", "+02:00")]
        run(connection, "USE main")
        assert connection.adbc_current_catalog == "main"
        run(connection, f"DROP DATABASE {database}")


def test_set_is_refused_where_nothing_holds_it(cursor):
    with pytest.raises(adbc_driver_manager.Error, match="timezone"):
        cursor.execute("SET timezone = '+02:00'")


def test_the_header_database_is_where_names_are_looked_up(cursor, table):
    database = f"d_{table}"
    cursor.execute(f"CREATE DATABASE {database}")
    with connect(database=database) as connection, connection.cursor() as inside:
        filled(inside, table)
        inside.execute(f"SELECT count(*) FROM {table}")
        assert inside.fetchone() == (3,)
    with pytest.raises(adbc_driver_manager.Error, match=table):
        cursor.execute(f"SELECT * FROM {table}")
    cursor.execute(f"DROP DATABASE {database}")


# ADBC: errors and cancellation

@pytest.mark.parametrize("sql, kind, text", [
    ("SELEC 1", adbc_driver_manager.ProgrammingError, "line 1"),
    ("SELECT * FROM nowhere", adbc_driver_manager.ProgrammingError, "nowhere"),
    ("SELECT nothing FROM (SELECT 1 AS x)", adbc_driver_manager.ProgrammingError, "nothing"),
    ("BEGIN", adbc_driver_manager.NotSupportedError, "not supported"),
])
def test_errors_say_what_is_wrong(cursor, sql, kind, text):
    with pytest.raises(kind, match=text):
        cursor.execute(sql)


def test_a_query_can_be_cancelled(cursor):
    failure = []

    def fetch(running):
        try:
            running.execute(ENDLESS)
            running.fetchall()
        except adbc_driver_manager.Error as error:
            failure.append(error)

    # Not on the main thread, where the driver takes a cancellation for a Ctrl-C.
    with connect() as connection, connection.cursor() as running:
        thread = threading.Thread(target=fetch, args=(running,))
        thread.start()
        count = 0
        while count == 0:
            cursor.execute("SELECT count(*) FROM system.queries WHERE query = ?", (ENDLESS,))
            [count] = cursor.fetchone()
        running.adbc_cancel()
        while thread.is_alive():
            try:
                thread.join()
            except KeyboardInterrupt:
                pass    # The driver may tell the main thread, too, that a call was cancelled.
    assert len(failure) == 1


# pyarrow.flight, by hand

def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(*fields):
    """A protobuf message of fields of bytes or text."""
    out = b""
    for tag, value in fields:
        value = value.encode() if isinstance(value, str) else value
        out += varint(tag << 3 | 2) + varint(len(value)) + value
    return out


def command(name, *fields):
    """A Flight SQL command in its envelope."""
    url = f"type.googleapis.com/arrow.flight.protocol.sql.{name}"
    return message((1, url), (2, message(*fields)))


@pytest.fixture
def client():
    with flight.connect(FLIGHT.replace("grpc://", "grpc+tcp://")) as client:
        yield client


def flight_query(client, sql, options=None):
    descriptor = flight.FlightDescriptor.for_command(command("CommandStatementQuery", (1, sql)))
    return client.get_flight_info(descriptor, options)


def test_the_schema_is_one(client):
    sql = ("SELECT 1 AS i, 'x' AS s, arrow_cast('y', 'Dictionary(Int32, Utf8)') AS d, "
           "arrow_cast('z', 'LargeUtf8') AS l, [1, 2] AS a, {'k': 'v'} AS m, now() AS t, "
           "arrow_cast(1, 'Decimal128(10, 2)') AS n, NULL AS nothing, true AS b, X'00ff' AS bytes")
    descriptor = flight.FlightDescriptor.for_command(command("CommandStatementQuery", (1, sql)))
    info = client.get_flight_info(descriptor)
    announced = client.get_schema(descriptor).schema
    reader = client.do_get(info.endpoints[0].ticket)
    assert info.schema == announced == reader.schema
    assert all(field.nullable for field in announced)
    assert announced.field("s").type == announced.field("d").type == pa.string()
    assert reader.read_all().num_rows == 1


def test_a_ticket_that_writes_runs_once(client, table):
    for sql in (f"CREATE TABLE {table} (time TIMESTAMP NOT NULL, host STRING, n BIGINT, PRIMARY KEY (host, time))",
                f"INSERT INTO {table} (time, host, n) SELECT now(), 'a', 1"):
        ticket = flight_query(client, sql).endpoints[0].ticket
        first = client.do_get(ticket).read_all()
        assert client.do_get(ticket).read_all() == first
    info = flight_query(client, f"SELECT count(*) AS c FROM {table}")
    assert client.do_get(info.endpoints[0].ticket).read_all().to_pylist() == [{"c": 1}]


def test_a_ticket_of_nobody_is_refused(client):
    with pytest.raises(pa.ArrowInvalid, match="no Flight SQL command"):
        client.do_get(flight.Ticket(b"nonsense")).read_all()
    forged = command("TicketStatementQuery", (1, b"\x01\x02" + bytes(40)))
    with pytest.raises(pa.ArrowInvalid, match="not of this cluster"):
        client.do_get(flight.Ticket(forged)).read_all()


def test_basic_authentication_gives_a_token(client):
    name, value = client.authenticate_basic_token("any", "password")
    assert (name, value[:7]) == (b"authorization", b"Bearer ")
    options = flight.FlightCallOptions(headers=[(name, value)])
    # The token holds a session.
    info = flight_query(client, "SET timezone = '+02:00'", options)
    client.do_get(info.endpoints[0].ticket, options).read_all()
    results = list(client.do_action(flight.Action("GetSessionOptions", b""), options))
    assert len(results) == 1 and b"+02:00" in results[0].body.to_pybytes()


def test_actions_are_listed(client):
    names = {action.type for action in client.list_actions()}
    assert {"CreatePreparedStatement", "ClosePreparedStatement", "CancelFlightInfo", "SetSessionOptions"} <= names


def test_transactions_are_refused_in_plain_words(client):
    with pytest.raises(NotImplementedError, match="transactions are not supported"):
        list(client.do_action(flight.Action("BeginTransaction", command("ActionBeginTransactionRequest"))))


def test_a_query_is_cancelled_by_action(client):
    info = flight_query(client, ENDLESS)
    failure = []

    def fetch():
        try:
            client.do_get(info.endpoints[0].ticket).read_all()
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=fetch)
    thread.start()
    cancel = flight.Action("CancelFlightInfo", message((1, info.serialize())))
    cancelled = b"\x08\x01"
    deadline = time.monotonic() + 30
    status = None
    while time.monotonic() < deadline and status != cancelled:
        [result] = client.do_action(cancel)
        status = result.body.to_pybytes()
    thread.join()
    assert status == cancelled
    assert isinstance(failure[0], flight.FlightCancelledError)


def test_primary_keys_are_the_tags_and_the_time(client, cursor, table):
    filled(cursor, table)
    descriptor = flight.FlightDescriptor.for_command(command("CommandGetPrimaryKeys", (3, table)))
    info = client.get_flight_info(descriptor)
    keys = client.do_get(info.endpoints[0].ticket).read_all()
    assert keys["column_name"].to_pylist() == ["host", "time"]
    assert keys["key_sequence"].to_pylist() == [1, 2]


def test_type_info_is_listed(client):
    descriptor = flight.FlightDescriptor.for_command(command("CommandGetXdbcTypeInfo"))
    types = client.do_get(client.get_flight_info(descriptor).endpoints[0].ticket).read_all()
    assert {"DOUBLE", "VARCHAR", "BIGINT"} <= set(types["type_name"].to_pylist())


def test_a_wrong_header_is_named(client):
    options = flight.FlightCallOptions(headers=[(b"query-timeout", b"soon")])
    with pytest.raises(pa.ArrowInvalid, match="header query-timeout"):
        flight_query(client, "SELECT 1", options)


def test_query_timeout_ends_a_query(client):
    options = flight.FlightCallOptions(headers=[(b"query-timeout", b"100ms")])
    info = flight_query(client, ENDLESS, options)
    with pytest.raises(flight.FlightTimedOutError):
        client.do_get(info.endpoints[0].ticket).read_all()


# influxdb3-python: one URL for writes and queries

@pytest.fixture
def influx():
    with InfluxDBClient3(host=HTTP, database="main", token="any",
                         write_client_options=write_client_options(
                             write_options=WriteOptions(write_type=SYNCHRONOUS))) as client:
        yield client


def test_influxdb_client_writes_and_queries(influx, table):
    influx.write([Point(table).tag("host", host).field("value", value).field("n", n)
                  .time(datetime.datetime(2024, 1, 1, 0, 0, n, tzinfo=UTC))
                  for host, value, n in [("a", 1.5, 1), ("b", 2.5, 2), ("a", 3.5, 3)]])
    result = influx.query(f"SELECT host, value, n FROM {table} ORDER BY time")
    assert result.to_pylist() == [
        {"host": "a", "value": 1.5, "n": 1}, {"host": "b", "value": 2.5, "n": 2}, {"host": "a", "value": 3.5, "n": 3}]
    frame = influx.query(f"SELECT * FROM {table} WHERE host = $host ORDER BY time", mode="pandas",
                         query_parameters={"host": "a"})
    assert list(frame["value"]) == [1.5, 3.5]


def test_influxdb_client_writes_line_protocol_once(influx, table):
    for _ in range(2):
        influx.write(f"{table},host=a value=1,text=\"x y\" 1700000000000000000")
    assert influx.query(f"SELECT * FROM {table}").to_pylist()[0]["text"] == "x y"
    assert influx.query(f"SELECT count(*) AS c FROM {table}").to_pylist() == [{"c": 1}]


def test_influxdb_client_is_told_about_bad_lines(influx, table):
    with pytest.raises(InfluxDBError, match="partial|line"):
        influx.write(f"{table},host=a value=1 1\n{table} value= 2\n{table},host=b value=3 3")
    assert influx.query(f"SELECT count(*) AS c FROM {table}").to_pylist() == [{"c": 2}]


def test_influxql_is_refused_in_plain_words(influx):
    with pytest.raises(InfluxDB3ClientQueryError, match="influxql"):
        influx.query("SELECT 1", language="influxql")
