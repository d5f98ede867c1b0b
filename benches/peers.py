"""Asks another database the bench's queries, in a process of its own: `peers.py SYSTEM CSV FOLDER`; or Quorate through ADBC:
`peers.py adbc - URI`.

Loads the CSV, then answers each line of standard input, a statement as a JSON string, with one line of JSON: the milliseconds until the
whole result was there as Arrow, its rows, and a sum of the floats in it by which answers are compared. DuckDB's table is sorted by series and time, which is its fastest
form; ClickHouse's (chdb) has that as its primary key.
"""

import json
import sys
import time

TAGS = ["hostname", "region", "datacenter", "rack", "os", "arch", "team", "service", "service_version",
        "service_environment"]


def duckdb(csv, folder):
    import duckdb as library

    connection = library.connect(f"{folder}/cpu.duckdb")
    connection.execute("SET TimeZone = 'UTC'")
    tags = ", ".join(f"{tag}::VARCHAR AS {tag}" for tag in TAGS)
    connection.execute(f"CREATE OR REPLACE TABLE cpu AS SELECT time, {tags}, COLUMNS('usage_.*')::DOUBLE "
                       f"FROM read_csv('{csv}', types = {{'time': 'TIMESTAMP', 'rack': 'VARCHAR', 'service': 'VARCHAR', "
                       f"'service_version': 'VARCHAR'}}) ORDER BY hostname, time")
    connection.execute("CHECKPOINT")
    return lambda sql: connection.sql(sql).to_arrow_table()


def chdb(csv, folder):
    import pyarrow as pa
    from chdb import session

    connection = session.Session(f"{folder}/chdb")
    tags = ", ".join(f"{tag} LowCardinality(String)" for tag in TAGS)
    fields = ["user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal", "guest", "guest_nice"]
    fields = ", ".join(f"usage_{field} Float64" for field in fields)
    connection.query("CREATE DATABASE IF NOT EXISTS bench")
    connection.query("USE bench")
    connection.query("DROP TABLE IF EXISTS cpu")
    connection.query(f"CREATE TABLE cpu (time DateTime('UTC'), {tags}, {fields}) ENGINE = MergeTree ORDER BY (hostname, time)")
    connection.query(f"INSERT INTO cpu SELECT * FROM file('{csv}', CSVWithNames)")
    connection.query("OPTIMIZE TABLE cpu FINAL")
    return lambda sql: pa.ipc.open_file(pa.py_buffer(connection.query(sql, "Arrow").bytes())).read_all()


def adbc(_, uri):
    """As notebooks ask: the driver prepares each statement, asks for its schema, fetches, and closes it."""
    import adbc_driver_flightsql.dbapi
    from adbc_driver_flightsql import DatabaseOptions

    options = {DatabaseOptions.WITH_MAX_MSG_SIZE.value: str(256 << 20)}
    cursor = adbc_driver_flightsql.dbapi.connect(uri, db_kwargs=options, autocommit=True).cursor()

    def ask(sql):
        cursor.execute(sql)
        return cursor.fetch_arrow_table()

    return ask


def numbers(sql, table):
    """The sum of all floats, each times the place of its column among those and, in an order, times something of the place of its row."""
    import pyarrow as pa
    import pyarrow.compute as pc

    weights = pa.array([1.0 + row % 97 if "ORDER BY" in sql else 1.0 for row in range(table.num_rows)], pa.float64())
    columns = [column.combine_chunks() for column in table.columns if pa.types.is_floating(column.type)]
    sums = ((place + 1) * (pc.sum(pc.multiply(column, weights)).as_py() or 0) for place, column in enumerate(columns))
    return float(sum(sums))


def main():
    system, csv, folder = sys.argv[1:]
    started = time.monotonic()
    ask = {"duckdb": duckdb, "chdb": chdb, "adbc": adbc}[system](csv, folder)
    print(json.dumps({"load_seconds": time.monotonic() - started}), flush=True)
    for line in sys.stdin:
        sql = json.loads(line)
        started = time.monotonic()
        table = ask(sql)
        milliseconds = (time.monotonic() - started) * 1e3
        print(json.dumps({"ms": milliseconds, "rows": table.num_rows, "sum": numbers(sql, table)}), flush=True)


if __name__ == "__main__":
    main()
