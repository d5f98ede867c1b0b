"""pandas and polars through ADBC: what they read, what they write, and what becomes of types."""

import datetime

import adbc_driver_manager
import pandas
import polars
import pytest

from shared import NS, UTC, connect

COLUMNS = ["time", "host", "f", "n", "b", "u"]
NANOSECONDS = 1_704_067_200_123_456_789


@pytest.fixture(scope="module")
def readings():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE readings (time TIMESTAMP NOT NULL, host STRING, f DOUBLE, n BIGINT, b BOOLEAN, "
                       "u BIGINT UNSIGNED, PRIMARY KEY (host, time))")
        cursor.execute("INSERT INTO readings VALUES "
                       "('2024-01-01T00:00:00.123456789Z', 'a', 1.5, 1, true, 18446744073709551615), "
                       "('2024-01-01T00:01:00Z', 'b', NULL, NULL, NULL, NULL)")
    return "SELECT * FROM readings ORDER BY time"


# polars

def test_polars_reads_every_type(connection, readings):
    frame = polars.read_database(readings, connection)
    assert frame.schema == {"time": polars.Datetime("ns", "UTC"), "host": polars.String, "f": polars.Float64,
                            "n": polars.Int64, "b": polars.Boolean, "u": polars.UInt64}
    assert frame["time"].dt.timestamp("ns")[0] == NANOSECONDS
    assert frame.drop("time").rows() == [("a", 1.5, 1, True, 2**64 - 1), ("b", None, None, None, None)]


def test_polars_reads_types_that_only_queries_have(connection):
    frame = polars.read_database("SELECT arrow_cast('x', 'Dictionary(Int32, Utf8)') AS d, [1, 2] AS l, {'a': 1} AS s, "
                                 "CAST('2024-01-01' AS DATE) AS day", connection)
    assert frame.rows() == [("x", [1, 2], {"a": 1}, datetime.date(2024, 1, 1))]


def test_polars_gives_parameters(connection, readings):
    frame = polars.read_database("SELECT n FROM readings WHERE host = ? AND f > ?", connection,
                                 execute_options={"parameters": ["a", 1.0]})
    assert frame.rows() == [(1,)]


def test_polars_reads_in_batches(connection):
    parts = polars.read_database("SELECT value FROM generate_series(1, 100000)", connection, iter_batches=True,
                                 batch_size=10_000)
    heights = [part.height for part in parts]
    assert sum(heights) == 100_000 and len(heights) > 1


def test_polars_from_a_cursor(cursor, readings):
    cursor.execute(readings)
    assert cursor.fetch_polars().columns == COLUMNS


def test_polars_writes(connection, table):
    def frame(value):
        return polars.DataFrame({"time": [datetime.datetime(2024, 1, 1, tzinfo=UTC)], "host": [value], "v": [1.5]})

    for mode, host in (("fail", "a"), ("append", "b"), ("replace", "c"), ("append", "d")):
        assert frame(host).write_database(table, connection, if_table_exists=mode, engine="adbc") == 1
    with pytest.raises(adbc_driver_manager.ProgrammingError, match="already exists"):
        frame("e").write_database(table, connection, if_table_exists="fail", engine="adbc")
    assert polars.read_database(f"SELECT host FROM {table} ORDER BY host", connection).rows() == [("c",), ("d",)]


def test_polars_takes_no_address_without_encryption(readings):
    # It chooses the driver by the scheme, and the driver takes "flightsql" for an encrypted connection.
    import shared
    with pytest.raises(adbc_driver_manager.OperationalError, match="TLS"):
        polars.read_database_uri(readings, shared.FLIGHT.replace("grpc://", "flightsql://"), engine="adbc")


# pandas

def test_pandas_reads_every_type(connection, readings):
    frame = pandas.read_sql(readings, connection, dtype_backend="pyarrow")
    assert list(frame.columns) == COLUMNS
    assert frame.dtypes["time"].pyarrow_dtype == NS
    assert frame["time"].astype("int64")[0] == NANOSECONDS
    assert frame["u"][0] == 2**64 - 1 and frame["u"].isna()[1]
    plain = pandas.read_sql(readings, connection, index_col="time")
    assert plain.index.tz is not None
    assert list(plain["f"].fillna(-1)) == [1.5, -1]


def test_pandas_has_no_parameters_with_adbc(connection, readings):
    # Not in pandas 3.1; a cursor's `fetch_df` takes its place.
    with pytest.raises(NotImplementedError, match="params"):
        pandas.read_sql("SELECT n FROM readings WHERE host = ?", connection, params=["a"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT n FROM readings WHERE host = ?", ("a",))
        assert list(cursor.fetch_df()["n"]) == [1]


def test_pandas_writes(connection, table):
    frame = pandas.DataFrame({"time": pandas.to_datetime(["2024-01-01", "2024-01-02"], utc=True), "host": ["a", "b"],
                              "v": [1.5, float("nan")]})
    assert frame.to_sql(table, connection, if_exists="fail", index=False) == 2
    with pytest.raises(ValueError, match="already exists"):
        frame.to_sql(table, connection, if_exists="fail", index=False)
    # The same rows again: they are there once.
    assert frame.to_sql(table, connection, if_exists="append", index=False) == 2
    read = pandas.read_sql(f"SELECT * FROM {table} ORDER BY time", connection)
    assert list(read["host"]) == ["a", "b"] and read["v"].isna().tolist() == [False, True]
    assert frame.head(1).to_sql(table, connection, if_exists="replace", index=False) == 1
    assert frame.tail(1).to_sql(table, connection, if_exists="delete_rows", index=False) == 1
    assert list(pandas.read_sql_table(table, connection)["host"]) == ["b"]


def test_pandas_writes_an_index_of_times(connection, table):
    times = pandas.date_range("2024-01-01", periods=3, freq="min", tz="Europe/Berlin", name="time")
    pandas.DataFrame({"host": ["a", "b", "c"], "v": [1, 2, 3]}, index=times).to_sql(table, connection)
    read = pandas.read_sql(f"SELECT * FROM {table} ORDER BY time", connection, index_col="time")
    assert list(read.index) == list(times)


def test_rows_resampled_by_the_server_are_those_that_pandas_gets(connection, table):
    times = pandas.date_range("2024-01-01", periods=600, freq="s", tz="UTC", name="time")
    frame = pandas.DataFrame({"v": [(i * 37 % 101) / 4 for i in range(600)]}, index=times)
    frame.to_sql(table, connection)
    ours = pandas.read_sql(f"SELECT date_bin(INTERVAL '1 minute', time) AS minute, avg(v) AS mean, max(v) AS top "
                           f"FROM {table} GROUP BY minute ORDER BY minute", connection, index_col="minute")
    theirs = frame["v"].resample("1min").agg(["mean", "max"])
    assert list(ours.index) == list(theirs.index)
    assert ours["mean"].tolist() == pytest.approx(theirs["mean"].tolist())
    assert ours["top"].tolist() == theirs["max"].tolist()
