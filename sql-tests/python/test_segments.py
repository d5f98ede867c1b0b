"""Segments are plain Parquet files: readers of other make see the rows, their types, and their order."""

import decimal
import math
import os
import pathlib
import struct
import subprocess

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

TIMES = [-1, 0, 1_700_000_000_123]
TAGS = [(None, None), ("a", "eu"), ("b", None)]


def _writer():
    built = pathlib.Path(os.environ["QUORATE_BINARY"]).parent / "examples" / "write_sample"
    assert built.exists(), f"{built} is missing: cargo build --release --workspace --examples"
    return built


def _write(directory, what):
    out = subprocess.run([_writer(), directory, what], check=True, capture_output=True, text=True)
    return out.stdout.splitlines()


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return _write(tmp_path_factory.mktemp("segments"), "sample-zstd")[0]


def _bits(value):
    return None if value is None else struct.pack("<d", value)


def test_pyarrow_reads_every_value(sample):
    whole = pq.read_table(sample)
    assert whole["noise"].to_pylist()[9:] == [math.sin(i) for i in range(700)]
    assert whole["note"].to_pylist()[9:] == [f"note {i}" for i in range(700)]
    table = whole.slice(0, 9)
    types = {field.name: field.type for field in table.schema}
    assert types["time"] == pa.timestamp("ms", tz="UTC")
    assert types["seen"] == pa.timestamp("ns", tz="UTC")
    assert types["uint"] == pa.uint64()
    assert types["host"] == pa.string()
    assert types["float"] == pa.float64()
    assert types["level"] == pa.decimal128(18, 2)
    assert types["status"] == pa.int64()
    assert table["level"].to_pylist()[:3] == [decimal.Decimal("-21.75"), None, 0]
    assert [float(value) for value in whole["level"].to_pylist()[9:]] == [i / 100 for i in range(700)]
    assert set(whole["status"].to_pylist()[9:]) == {200, 404, 503}
    ids = {f.name: int(f.metadata[b"PARQUET:field_id"]) for f in table.schema}
    assert ids == {"host": 2, "region": 3, "time": 1, "float": 4, "int": 5, "uint": 6, "bool": 7,
                   "text": 8, "seen": 9, "noise": 10, "note": 11, "level": 12, "status": 13, "__cleared": 0x7FFFFFFF}
    assert table["time"].cast(pa.int64()).to_pylist() == TIMES * 3
    assert table["host"].to_pylist() == [tags[0] for tags in TAGS for _ in TIMES]
    assert table["region"].to_pylist() == [tags[1] for tags in TAGS for _ in TIMES]
    floats = table["float"].to_pylist()
    assert [_bits(value) for value in floats[:2]] == [_bits(-0.0), None]
    assert math.isnan(floats[2])
    assert table["int"].to_pylist()[:3] == [-(2**63), 2**63 - 1, None]
    assert table["uint"].to_pylist()[:3] == [2**64 - 1, None, 0]
    assert table["bool"].to_pylist()[:3] == [True, False, None]
    assert table["text"].to_pylist()[:3] == ["naïve 🎈", "", None]
    assert table["seen"].cast(pa.int64()).to_pylist()[:3] == [-(2**63), 0, 2**63 - 1]
    assert table["__cleared"].to_pylist()[:3] == [None, bytes([0, 0, 0, 4, 0, 0, 0, 8]), None]


def test_pyarrow_sees_the_order_and_where_the_sections_are(sample):
    file = pq.ParquetFile(sample)
    group = file.metadata.row_group(0)
    order = [(column.column_index, column.descending, column.nulls_first)
             for column in group.sorting_columns]
    assert order == [(0, False, True), (1, False, True), (2, False, True)]
    assert file.metadata.metadata[b"quorate.format"] == b"2"
    assert b"directory/1@" in file.metadata.metadata[b"quorate.sections"]
    time = group.column(2)
    assert "DELTA_BINARY_PACKED" in time.encodings
    assert time.has_column_index and time.has_offset_index


def test_duckdb_reads_and_filters(sample):
    query = duckdb.connect()
    query.execute("SET TimeZone = 'UTC'")
    from_file = f"FROM read_parquet('{sample}')"
    types = dict(query.execute(f"SELECT name, type FROM (DESCRIBE SELECT * {from_file}) t(name, type, a, b, c, d)")
                 .fetchall())
    assert types["time"] == "TIMESTAMP WITH TIME ZONE"
    assert types["uint"] == "UBIGINT"
    rows = query.execute(f"SELECT host, epoch_ms(time), uint, text {from_file} WHERE host = 'a'").fetchall()
    assert rows == [("a", -1, 2**64 - 1, "naïve 🎈"), ("a", 0, None, ""), ("a", TIMES[2], 0, None)]
    # Decimals are filtered by value, and pruned by statistics that are theirs.
    assert query.execute(f"SELECT count(*) {from_file} WHERE level = 6.99").fetchone() == (1,)
    assert query.execute(f"SELECT count(*) {from_file} WHERE level < 0").fetchone() == (3,)
    # NaN is above all numbers in DuckDB: statistics that left it out would lose these rows.
    assert query.execute(f"SELECT count(*) {from_file} WHERE float > 5").fetchone() == (3,)
    assert query.execute(f"SELECT count(*) {from_file} WHERE time < TIMESTAMPTZ '1970-01-01'").fetchone() == (3,)


@pytest.mark.parametrize("what", ["cpu-lz4", "cpu-zstd"])
def test_both_read_all_of_a_larger_segment(what, tmp_path):
    path = _write(tmp_path, what)[0]
    table = pq.read_table(path)
    assert table.num_rows == 500 * 2_160
    want = pc.sum(table["usage_user"]).as_py()
    query = f"SELECT count(*), count(DISTINCT hostname), sum(usage_user) FROM read_parquet('{path}')"
    assert duckdb.execute(query).fetchone() == (500 * 2_160, 500, want)
