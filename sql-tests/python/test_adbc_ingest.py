"""ADBC's bulk ingest: every mode, the headers that say what a column is, what is stored, widened, and refused."""

import datetime
import decimal

import adbc_driver_manager
import pyarrow as pa
import pytest
from adbc_driver_flightsql import DatabaseOptions, StatementOptions

from shared import NS, batch, connect

HEADER = StatementOptions.RPC_CALL_HEADER_PREFIX.value


def ingest(connection, table, rows, mode="create", tags=None, time=None, **others):
    """Ingests in a cursor of its own, because its headers stay with it."""
    with connection.cursor() as cursor:
        for name, value in (("quorate-tags", tags), ("quorate-time", time)):
            if value is not None:
                cursor.adbc_statement.set_options(**{HEADER + name: value})
        return cursor.adbc_ingest(table, rows, mode=mode, **others)


def kinds(cursor, table):
    """column -> time, tag or field"""
    cursor.execute(f'DESCRIBE "{table}"')
    return {row[0]: row[3] for row in cursor.fetchall()}


def rows_with(**others):
    return pa.table({"time": pa.array([1, 2, 3], NS), "host": ["a", "b", "c"], "note": ["x", "y", "z"],
                     "v": [1.0, 2.0, 3.0], **others})


# Modes

def test_ingest_modes(cursor, table):
    assert cursor.adbc_ingest(table, batch(0), mode="create") == 3
    with pytest.raises(adbc_driver_manager.ProgrammingError, match="exist"):
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
    assert cursor.adbc_ingest(f"{table}_new", batch(), mode="replace") == 3


def test_the_same_rows_ingested_twice_are_there_once(cursor, table):
    for _ in range(2):
        cursor.adbc_ingest(table, batch(), mode="create_append")
    cursor.execute(f"SELECT count(*) FROM {table}")
    assert cursor.fetchone() == (3,)


@pytest.mark.parametrize("mode", ["create", "replace", "create_append"])
def test_the_tags_of_a_new_table_are_said_by_a_header(connection, cursor, table, mode):
    assert ingest(connection, table, rows_with(), mode, tags="host") == 3
    assert kinds(cursor, table) == {"time": "time", "host": "tag", "note": "field", "v": "field"}


def test_without_the_header_all_text_columns_are_tags(connection, cursor, table):
    ingest(connection, table, rows_with())
    assert kinds(cursor, table) == {"time": "time", "host": "tag", "note": "tag", "v": "field"}


def test_replace_may_choose_other_tags_and_append_may_not(connection, cursor, table):
    ingest(connection, table, rows_with(), tags="host")
    with pytest.raises(adbc_driver_manager.ProgrammingError, match="is a field and cannot be a tag"):
        ingest(connection, table, rows_with(), "append", tags="note")
    ingest(connection, table, rows_with(), "replace", tags="note")
    assert kinds(cursor, table) == {"time": "time", "note": "tag", "host": "field", "v": "field"}


def test_an_empty_list_of_tags_is_not_sent(connection, cursor, table):
    # Driver 1.13 drops headers without a value; the server, asked by hand, takes this one for "no tags".
    ingest(connection, table, rows_with(), tags="")
    assert kinds(cursor, table)["note"] == "tag"


@pytest.mark.parametrize("tags, message", [
    ("nowhere", "no column .nowhere."), ("v", "Float64, not text"), ("time", "Timestamp.*, not text")])
def test_tags_that_cannot_be_are_refused_before_a_table_is_made(connection, cursor, table, tags, message):
    with pytest.raises(adbc_driver_manager.ProgrammingError, match=message):
        ingest(connection, table, rows_with(), tags=tags)
    cursor.execute("SELECT count(*) FROM information_schema.tables WHERE table_name = ?", (table,))
    assert cursor.fetchone() == (0,)


# The time

def test_the_only_timestamp_is_the_time_and_becomes_time(connection, cursor, table):
    ingest(connection, table, rows_with().rename_columns(["ts", "host", "note", "v"]))
    assert kinds(cursor, table)["time"] == "time"


def test_the_time_is_said_by_a_header(connection, cursor, table):
    rows = rows_with(other=pa.array([7, 8, 9], NS)).rename_columns(["begun", "host", "note", "v", "ended"])
    with pytest.raises(adbc_driver_manager.ProgrammingError, match="more than one timestamp"):
        ingest(connection, table, rows)
    ingest(connection, table, rows, time="ended")
    cursor.execute(f"SELECT CAST(min(time) AS BIGINT), CAST(min(begun) AS BIGINT) FROM {table}")
    assert cursor.fetchone() == (7, 1)


@pytest.mark.parametrize("rows, message", [
    (pa.table({"host": ["a"], "value": [1.0]}), "time"),
    (pa.table({"time": [1], "v": [1.0]}), "Int64, not a timestamp"),
    (pa.table({"time": ["2024-01-01"], "v": [1.0]}), "Utf8, not a timestamp"),
])
def test_rows_without_a_time_are_refused(cursor, table, rows, message):
    with pytest.raises(adbc_driver_manager.ProgrammingError, match=message):
        cursor.adbc_ingest(table, rows, mode="create")


def test_rows_whose_time_cannot_be_stored_are_rejected_and_the_others_stored(cursor, table):
    rows = pa.table({"time": pa.array([2**62, 2, None], pa.timestamp("s")), "v": [1.0, 2.0, 3.0]})
    with pytest.raises(adbc_driver_manager.ProgrammingError, match="1 rows stored, 2 rejected") as error:
        cursor.adbc_ingest(table, rows, mode="create")
    assert "row 1: column \"time\": the time is out of range" in str(error.value)
    cursor.execute(f"SELECT v FROM {table}")
    assert cursor.fetchall() == [(2.0,)]


# Types

def test_ingest_of_many_types_widens_exactly(cursor, table):
    cursor.adbc_ingest(table, pa.table({
        "time": pa.array([1_700_000_000_000], pa.timestamp("ms", tz="UTC")),
        "host": pa.array(["a"]).dictionary_encode(),
        "i8": pa.array([-8], pa.int8()), "u16": pa.array([65535], pa.uint16()),
        "u64": pa.array([2**64 - 1], pa.uint64()), "f16": pa.array([0.5], pa.float16()),
        "f32": pa.array([0.5], pa.float32()), "b": [True], "text": pa.array(["long text"], pa.large_string()),
        "view": pa.array(["view"], pa.string_view()), "date": [datetime.date(2024, 1, 1)],
    }), mode="create", db_schema_name="public")
    cursor.execute(f"SELECT * FROM {table}")
    row = cursor.fetch_arrow_table().to_pylist()[0]
    assert row.pop("time").value == 1_700_000_000_000_000_000
    assert row.pop("date").value == 1_704_067_200_000_000_000
    assert row == {"host": "a", "i8": -8, "u16": 65535, "u64": 2**64 - 1, "f16": 0.5, "f32": 0.5, "b": True,
                   "text": "long text", "view": "view"}


@pytest.mark.parametrize("column", [
    [[1], [2], [3]], [b"a", b"b", b"c"], [decimal.Decimal("1.5")] * 3, pa.array([1, 2, 3], pa.duration("ns")),
], ids=["list", "binary", "decimal", "duration"])
def test_types_that_cannot_be_stored_are_refused_before_a_table_is_replaced(connection, cursor, table, column):
    ingest(connection, table, rows_with())
    with pytest.raises(adbc_driver_manager.NotSupportedError, match="column .odd. .* cannot be stored"):
        ingest(connection, table, rows_with(odd=column), "replace")
    cursor.execute(f"SELECT count(*) FROM {table}")
    assert cursor.fetchone() == (3,)


def test_append_adds_columns_and_keeps_types(connection, cursor, table):
    ingest(connection, table, rows_with(), tags="host")
    ingest(connection, table, rows_with(w=[1, 2, 3]), "append")
    assert kinds(cursor, table)["w"] == "field"
    # Integers that a DOUBLE holds exactly become one.
    ingest(connection, table, rows_with(v=[7, 8, 9]), "append")
    cursor.execute(f"SELECT v, w FROM {table} ORDER BY host")
    assert cursor.fetchall() == [(7.0, 1), (8.0, 2), (9.0, 3)]
    for other in (["x", "y", "z"], [1.5, 2.5, 3.5]):
        with pytest.raises(adbc_driver_manager.ProgrammingError, match="column .w. of table .* is Int64"):
            ingest(connection, table, rows_with(w=other), "append")


# Where to

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


def test_names_are_kept_as_they_come(connection, cursor, table):
    ingest(connection, f"{table} Übersicht", rows_with().rename_columns(["time", "hostName", "note", "v w"]))
    cursor.execute(f'SELECT "hostName", "v w" FROM "{table} Übersicht" ORDER BY "hostName" LIMIT 1')
    assert cursor.fetchall() == [("a", 1.0)]


# Sizes

def test_large_ingest_is_streamed(cursor, table):
    rows, parts = 100_000, 5
    batches = [b for i in range(parts) for b in batch(i * rows, rows).to_batches()]
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    assert cursor.adbc_ingest(table, reader, mode="create") == rows * parts
    cursor.execute(f"SELECT count(*), max(value) FROM {table}")
    assert cursor.fetchone() == (rows * parts, rows * parts - 1.0)


def long_table(rows):
    """A table in one piece, 16 bytes a row."""
    return pa.table({"time": pa.array(range(rows), NS), "v": pa.array(range(rows), pa.float64())})


def test_a_batch_of_more_than_a_message_must_be_cut(connection, cursor, table):
    rows = long_table(1_200_000)
    with pytest.raises(adbc_driver_manager.InternalError, match="message larger than max .* 16777216"):
        ingest(connection, table, rows)
    cut = pa.RecordBatchReader.from_batches(rows.schema, rows.to_batches(max_chunksize=100_000))
    assert ingest(connection, table, cut, "create_append") == 1_200_000
    with connect(options={DatabaseOptions.WITH_MAX_MSG_SIZE.value: str(64 << 20)}) as larger:
        assert ingest(larger, table, rows, "replace") == 1_200_000
    cursor.execute(f"SELECT count(*), sum(v) FROM {table}")
    assert cursor.fetchone() == (1_200_000, sum(range(1_200_000)))


def test_a_batch_without_rows_makes_the_table(cursor, table):
    schema = batch().schema
    reader = pa.RecordBatchReader.from_batches(schema, [pa.record_batch([[], [], []], schema=schema)])
    assert cursor.adbc_ingest(table, reader, mode="create") == 0
    cursor.execute(f"SELECT * FROM {table}")
    assert cursor.fetchall() == []


def test_a_stream_without_batches_is_an_error_of_the_driver(cursor, table):
    # Driver 1.13 sends the name of the table with the first batch, so that without one nothing says what is wanted.
    with pytest.raises(adbc_driver_manager.ProgrammingError, match="the upload is empty"):
        cursor.adbc_ingest(table, batch().schema.empty_table(), mode="create")
