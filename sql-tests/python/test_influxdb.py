"""InfluxDB's own clients: influxdb3-python (one URL for writes and queries), influxdb-client (2.x), influxdb (1.x)."""

import datetime
import urllib.parse

import influxdb
import influxdb_client
import pandas
import polars
import pytest
from influxdb_client.client.write_api import SYNCHRONOUS as SYNCHRONOUS_2
from influxdb_client_3 import InfluxDBClient3, Point, SYNCHRONOUS, WriteOptions, write_client_options
from influxdb_client_3.exceptions import InfluxDB3ClientQueryError, InfluxDBError
from influxdb_client_3.write_client.write_exceptions import ApiException

from shared import HTTP, UTC, sql


# influxdb3-python

@pytest.fixture
def influx():
    with InfluxDBClient3(host=HTTP, database="main", token="any",
                         write_client_options=write_client_options(
                             write_options=WriteOptions(write_type=SYNCHRONOUS))) as client:
        yield client


def test_points_are_written_and_queried(influx, table):
    influx.write([Point(table).tag("host", host).field("value", value).field("n", n)
                  .time(datetime.datetime(2024, 1, 1, 0, 0, n, tzinfo=UTC))
                  for host, value, n in [("a", 1.5, 1), ("b", 2.5, 2), ("a", 3.5, 3)]])
    result = influx.query(f"SELECT host, value, n FROM {table} ORDER BY time")
    assert result.to_pylist() == [
        {"host": "a", "value": 1.5, "n": 1}, {"host": "b", "value": 2.5, "n": 2}, {"host": "a", "value": 3.5, "n": 3}]
    frame = influx.query(f"SELECT * FROM {table} WHERE host = $host ORDER BY time", mode="pandas",
                         query_parameters={"host": "a"})
    assert list(frame["value"]) == [1.5, 3.5]
    assert influx.query(f"SELECT n FROM {table} WHERE value > $least AND time >= $since", mode="polars",
                        query_parameters={"least": 2, "since": "2024-01-01T00:00:03Z"}).rows() == [(3,)]


def test_points_of_every_kind(influx, table):
    influx.write(Point(table).tag("host", "a b,c=d").field("f", 1.0).field("i", -5).field("b", True)
                 .field("s", 'quote " and \\').time(1))
    influx.write({"measurement": table, "tags": {"host": "dict"}, "fields": {"f": 2.0}, "time": 2})
    influx.write([f"{table},host=line f=3 3"], write_precision="s")
    rows = influx.query(f"SELECT host, f, i, b, s, CAST(time AS BIGINT) AS ns FROM {table} ORDER BY f").to_pylist()
    assert rows[0] == {"host": "a b,c=d", "f": 1.0, "i": -5, "b": True, "s": 'quote " and \\', "ns": 1}
    assert [(row["host"], row["ns"]) for row in rows[1:]] == [("dict", 2), ("line", 3_000_000_000)]


@pytest.mark.parametrize("kind", ["pandas", "pandas, by index", "polars"])
def test_frames_are_written(influx, table, kind):
    frame = pandas.DataFrame({"time": pandas.to_datetime(["2024-01-01", "2024-01-02"], utc=True), "host": ["a", "b"],
                              "v": [1.5, 2.5]})
    options = {"data_frame_measurement_name": table, "data_frame_tag_columns": ["host"]}
    if kind == "pandas, by index":
        frame = frame.set_index("time")
    else:
        options["data_frame_timestamp_column"] = "time"
    influx.write(polars.from_pandas(frame) if kind == "polars" else frame, **options)
    read = influx.query(f"SELECT host, v, CAST(time AS VARCHAR) AS t FROM {table} ORDER BY time").to_pylist()
    assert read == [{"host": "a", "v": 1.5, "t": "2024-01-01T00:00:00Z"},
                    {"host": "b", "v": 2.5, "t": "2024-01-02T00:00:00Z"}]


def test_modes_of_a_query(influx):
    query = "SELECT value FROM generate_series(1, 20000)"
    assert influx.query(query, mode="schema").names == ["value"]
    assert sum(batch.num_rows for batch in influx.query(query, mode="reader")) == 20_000
    assert influx.query(query, mode="chunk").read_all().num_rows == 20_000


def test_the_same_line_written_twice_is_there_once(influx, table):
    for _ in range(2):
        influx.write(f"{table},host=a value=1,text=\"x y\" 1700000000000000000")
    assert influx.query(f"SELECT * FROM {table}").to_pylist()[0]["text"] == "x y"
    assert influx.query(f"SELECT count(*) AS c FROM {table}").to_pylist() == [{"c": 1}]


def test_the_client_is_told_about_bad_lines(influx, table):
    with pytest.raises(InfluxDBError, match="partial|line"):
        influx.write(f"{table},host=a value=1 1\n{table} value= 2\n{table},host=b value=3 3")
    assert influx.query(f"SELECT count(*) AS c FROM {table}").to_pylist() == [{"c": 2}]


def test_errors_say_what_is_wrong(influx, table):
    with pytest.raises(ApiException, match="does not exist"):
        influx.write(f"{table} v=1", database="nowhere")
    with pytest.raises(InfluxDB3ClientQueryError, match=table):
        influx.query(f"SELECT * FROM {table}")
    with pytest.raises(InfluxDB3ClientQueryError, match="influxql"):
        influx.query("SELECT 1", language="influxql")


def test_the_version_is_one_that_clients_understand(influx):
    assert influx.get_server_version() == "1.8.10"


# influxdb-client, for InfluxDB 2

def test_the_client_of_influxdb_2_writes(table):
    with influxdb_client.InfluxDBClient(url=HTTP, token="any", org="any", enable_gzip=True) as client:
        assert client.ping()
        assert client.health().status == "pass"
        assert client.ready().status == "ready"
        with client.write_api(write_options=SYNCHRONOUS_2) as writer:
            point = influxdb_client.Point(table).tag("host", "a").field("v", 1.5).time(1)
            writer.write("main", "any", [point])
            writer.write("main", "any", f"{table},host=b v=2 2", write_precision="ms")
            with pytest.raises(influxdb_client.rest.ApiException, match="does not exist|not found") as error:
                writer.write("nowhere", "any", [point])
            assert error.value.status == 404
    assert sql(f"SELECT host, CAST(time AS BIGINT) AS ns FROM {table} ORDER BY host") == [
        {"host": "a", "ns": 1}, {"host": "b", "ns": 2_000_000}]


# influxdb, for InfluxDB 1

def client_1(database, **options):
    where = urllib.parse.urlsplit(HTTP)
    return influxdb.InfluxDBClient(host=where.hostname, port=where.port, database=database, **options)


def test_the_client_of_influxdb_1_makes_its_database_and_writes(table):
    client = client_1(f"d_{table}")
    assert client.ping() == "1.8.10"
    client.create_database(f"d_{table}")
    client.create_database(f"d_{table}")
    assert client.write_points([{"measurement": table, "tags": {"host": "a"}, "time": 1_700_000_000,
                                 "fields": {"v": 1.5, "n": 1}}], time_precision="s")
    assert sql(f"SELECT host, v, n, time FROM d_{table}.public.{table}") == [
        {"host": "a", "v": 1.5, "n": 1, "time": "2023-11-14T22:13:20Z"}]
    with pytest.raises(influxdb.exceptions.InfluxDBClientError, match="only CREATE DATABASE"):
        client.query("SHOW MEASUREMENTS")
    sql(f"DROP DATABASE d_{table}")


def test_the_client_of_influxdb_1_packs_writes(table):
    client = client_1("main", gzip=True)
    assert client.write_points([{"measurement": table, "fields": {"v": 1.5}}])
    assert sql(f"SELECT count(*) AS c FROM {table}") == [{"c": 1}]
    # The client says gzip of a POST without a body, too.
    client.create_database(f"d_{table}")
    assert len(sql(f"SHOW DATABASES LIKE 'd_{table}'")) == 1
    sql(f"DROP DATABASE d_{table}")
