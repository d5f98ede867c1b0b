"""Flight SQL by hand, with pyarrow.flight alone: tickets, schemas, actions, sessions, headers."""

import json
import threading

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from shared import ENDLESS, FLIGHT, HTTP, NS, batch, filled, undisturbed


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
    with flight.connect(FLIGHT) as client:
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
    cancel = flight.Action("CancelFlightInfo", message((1, info.serialize())))
    with undisturbed():
        thread.start()
        # Whether the rows are asked for already does not matter: they are not given any more.
        [result] = client.do_action(cancel)
        thread.join(timeout=60)
    assert result.body.to_pybytes() == b"\x08\x01"
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


# Tickets that are JSON

def fetch(client, options=None, **ticket):
    return client.do_get(flight.Ticket(json.dumps(ticket).encode()), options).read_all()


def test_a_ticket_may_be_json(client, cursor, table):
    filled(cursor, table)
    got = fetch(client, database="main", query_type="sql", params={"host": "a"},
                sql_query=f"SELECT n FROM {table} WHERE host = $host ORDER BY n")
    assert got.to_pylist() == [{"n": 1}, {"n": 3}]
    assert fetch(client, sql_query="SELECT $a AS a, $b AS b", params={"a": 1, "b": None}).num_rows == 1


@pytest.mark.parametrize("ticket, message", [
    ({"sql": "SELECT 1"}, "sql_query"),
    ({"sql_query": "SELECT 1", "query_type": "influxql"}, "query language is"),
    ({"sql_query": "SELECT $a AS a"}, "parameters, and 0 values"),
    ({"sql_query": ""}, "empty"),
])
def test_a_wrong_json_ticket_is_refused(client, ticket, message):
    with pytest.raises(pa.ArrowInvalid, match=message):
        fetch(client, **ticket)


def test_a_parameter_that_no_statement_has(client):
    with pytest.raises(pa.ArrowInvalid, match=r"no parameter \$z"):
        fetch(client, sql_query="SELECT 1", params={"z": 1})


def test_the_http_address_answers_flight_too():
    with flight.connect(HTTP.replace("http://", "grpc://")) as client:
        assert fetch(client, sql_query="SELECT 1 AS x").to_pylist() == [{"x": 1}]


def test_headers_of_a_call(client, cursor, table):
    filled(cursor, table)
    options = flight.FlightCallOptions(headers=[(b"timezone", b"Europe/Berlin")])
    query = "SELECT CAST(CAST('2024-01-01' AS TIMESTAMP WITH TIME ZONE) AS VARCHAR) AS t"
    assert fetch(client, options, sql_query=query).to_pylist() == [{"t": "2024-01-01T00:00:00+01:00"}]
    naive = flight.FlightCallOptions(headers=[(b"timestamps", b"naive")])
    assert fetch(client, naive, sql_query=f"SELECT time AS t FROM {table}").schema.field("t").type == pa.timestamp("ns")
    assert fetch(client, sql_query=f"SELECT time AS t FROM {table}").schema.field("t").type == NS


def test_an_ingest_by_hand_that_says_there_are_no_tags(client, cursor, table):
    rows = pa.table({"time": pa.array([1], NS), "note": ["x"]})
    # TableDefinitionOptions: make the table if it is not there, fail if it is.
    ingest = command("CommandStatementIngest", (1, b"\x08\x01\x10\x01"), (2, table))
    options = flight.FlightCallOptions(headers=[(b"quorate-tags", b"")])
    writer, reader = client.do_put(flight.FlightDescriptor.for_command(ingest), rows.schema, options)
    writer.write_table(rows)
    writer.done_writing()
    # DoPutUpdateResult: record_count = 1
    assert reader.read().to_pybytes() == b"\x08\x01"
    writer.close()
    cursor.execute(f"DESCRIBE {table}")
    assert [(row[0], row[3]) for row in cursor.fetchall()] == [("time", "time"), ("note", "field")]


# What Flight has besides Flight SQL

def test_other_calls_of_flight_are_refused(client):
    path = flight.FlightDescriptor.for_path("cpu")
    with pytest.raises(NotImplementedError, match="ListFlights is not supported"):
        list(client.list_flights())
    with pytest.raises(NotImplementedError, match="a descriptor that is a path is not supported"):
        client.get_flight_info(path)
    with pytest.raises(NotImplementedError, match="a descriptor that is a path is not supported"):
        writer, _ = client.do_put(path, batch().schema)
        writer.close()
    with pytest.raises(NotImplementedError, match='action "nothing" is not supported'):
        list(client.do_action(flight.Action("nothing", b"")))


def test_the_server_tells_of_itself(client):
    descriptor = flight.FlightDescriptor.for_command(command("CommandGetSqlInfo"))
    info = client.do_get(client.get_flight_info(descriptor).endpoints[0].ticket).read_all()
    values = dict(zip(info["info_name"].to_pylist(), info["value"].to_pylist()))
    assert values[0] == "Quorate"
    # FLIGHT_SQL_SERVER_READ_ONLY, _SQL, _SUBSTRAIT, _TRANSACTION, _CANCEL
    assert (values[3], values[4], values[5], values[8], values[9]) == (False, True, False, 0, True)
