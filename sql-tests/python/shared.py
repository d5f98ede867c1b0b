"""What the tests of several clients need: addresses, connections, sample rows, a server of one's own, plain HTTP."""

import contextlib
import datetime
import gzip
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flightsql
import pyarrow as pa

FLIGHT = os.environ.get("QUORATE_FLIGHT_URI", "")
HTTP = os.environ.get("QUORATE_HTTP_URL", "")
UTC = datetime.timezone.utc
NS = pa.timestamp("ns", tz="UTC")
ENDLESS = "SELECT sum(value % 3) AS never FROM generate_series(1, 1000000000000000) AS t(value)"
ROOT = pathlib.Path(__file__).resolve().parents[2]


class Server:
    """A process `quorate serve` on free ports, with its addresses."""

    def __init__(self, *flags):
        self.directory = tempfile.mkdtemp(prefix="quorate-python-")
        command = [os.environ["QUORATE_BINARY"], "serve", "--data-dir", self.directory,
                   "--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", *flags]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            found = self._wait_until_ready()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.flight_address, self.http_address = found["flight"], found["http"]
        self.flight, self.http = f"grpc://{self.flight_address}", f"http://{self.http_address}"

    def _wait_until_ready(self):
        addresses = pathlib.Path(self.directory) / "addresses.json"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended while it was starting: {self.process.returncode}")
            try:
                found = json.loads(addresses.read_text())
                urllib.request.urlopen(f"http://{found['http']}/ready").close()
                return found
            except (FileNotFoundError, json.JSONDecodeError, urllib.error.URLError):
                time.sleep(0.01)
        raise RuntimeError("the server is not ready after a minute")

    def stop(self):
        self.process.terminate()
        status = self.process.wait(timeout=30)
        shutil.rmtree(self.directory, ignore_errors=True)
        if status != 0:
            raise RuntimeError(f"the server stopped with status {status}")


@contextlib.contextmanager
def server(*flags):
    running = Server(*flags)
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def undisturbed():
    """Bears with pyarrow, which tells the main thread of a cancelled call as if the user had pressed Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


# ADBC

def connect(database=None, cookies=False, uri=None, headers=(), autocommit=True, options=()):
    prefix = adbc_driver_flightsql.DatabaseOptions.RPC_CALL_HEADER_PREFIX.value
    options = {**dict(options), **{prefix + name: value for name, value in headers}}
    if database:
        options[prefix + "database"] = database
    if cookies:
        options[adbc_driver_flightsql.DatabaseOptions.WITH_COOKIE_MIDDLEWARE.value] = "true"
    return flightsql.connect(uri or FLIGHT, db_kwargs=options, autocommit=autocommit)


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


# HTTP, without a library that would mend what a test gets wrong on purpose

class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode()

    @property
    def json(self):
        return json.loads(self.body)


def http(method, path, body=None, url=None, **headers):
    """One request; headers are written with underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request((url or HTTP) + path, data=body, method=method, headers=named)
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return Answer(response.status, response.headers, response.read())


def sql(statement, url=None, **headers):
    """Rows of a statement over HTTP, as JSON gives them."""
    answer = http("POST", "/api/v1/sql", statement.encode(), url=url, **headers)
    assert answer.status in (200, 204), answer.text
    return answer.json if answer.status == 200 else None


def packed(text):
    return gzip.compress(text if isinstance(text, bytes) else text.encode())
