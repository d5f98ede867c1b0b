"""Large results are read in bounded memory, of the client and of the server."""

import pathlib
import subprocess
import sys
import time

import pytest

from shared import connect, server

ROWS = 10_000_000
# A result of about 280 MB in Arrow. Both processes should hold a few batches of it at a time.
QUERY = "SELECT value, value * 0.5 AS half, CAST(value AS VARCHAR) AS text FROM generate_series(1, {rows})"
BOUND = 128 << 20

CLIENT = """
import resource, sys
import adbc_driver_flightsql.dbapi as flightsql
import pyarrow.compute as pc

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

uri, query = sys.argv[1:]
with flightsql.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT value FROM generate_series(1, 100000)")
    cursor.fetch_arrow_table()
    before, rows, total = peak(), 0, 0
    cursor.execute(query)
    for batch in cursor.fetch_record_batch():
        rows += batch.num_rows
        total += pc.sum(batch.column("value")).as_py()
print(rows, total, peak() - before)
"""


def memory(process, key):
    """`VmHWM` is the most that a process ever held, `VmRSS` what it holds now."""
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"{key} is not in the status of the process")


@pytest.fixture(scope="module")
def own():
    """A server that no other test has made larger."""
    if not pathlib.Path("/proc/self/status").exists():
        pytest.skip("this system does not tell how much memory a process has had")
    with server() as running:
        with connect(uri=running.flight) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT value FROM generate_series(1, 100000)")
            cursor.fetch_arrow_table()
        yield running


def test_ten_million_rows_in_bounded_memory(own):
    before = memory(own.process, "VmHWM")
    out = subprocess.run([sys.executable, "-c", CLIENT, own.flight, QUERY.format(rows=ROWS)], check=True,
                         capture_output=True, text=True)
    rows, total, grown = map(int, out.stdout.split())
    assert (rows, total) == (ROWS, ROWS * (ROWS + 1) // 2)
    assert grown < BOUND
    assert memory(own.process, "VmHWM") - before < BOUND


def test_a_reader_that_pauses_does_not_fill_the_server(own):
    with connect(uri=own.flight) as connection, connection.cursor() as cursor:
        cursor.execute(QUERY.format(rows=100 * ROWS))
        assert cursor.fetchone() is not None
        before = memory(own.process, "VmRSS")
        time.sleep(1)
        assert memory(own.process, "VmRSS") - before < BOUND
