"""Runs histories and queries, and tells differences with all that is needed to see them again."""

import contextlib
import dataclasses
import itertools
import random as randomness
import tempfile

import adbc_driver_flightsql.dbapi as flightsql
import duckdb
import pyarrow as pa

import shared

from . import compare, history, queries, values
from .grammar import AGGREGATES, REQUIRED, SCALARS, TIMES, WINDOWS
from .values import kind_of

MEMORY = "differential"
SHRINKS, ROWS = 400, 1_000


class Store:
    """The server that is looked at: writes in three ways, and queries."""

    def __init__(self, flight, http):
        self.http, self.connection = http, flightsql.connect(flight, autocommit=True)
        self.cursor = self.connection.cursor()
        self.overlaps = []

    def close(self):
        self.cursor.close()
        self.connection.close()

    def execute(self, sql, parameters=None):
        self.cursor.execute(sql, parameters)
        return self.cursor.fetch_arrow_table()

    def insert(self, name, columns, rows):
        """Parameters carry every bit of a double; a statement takes 65,535 of them."""
        for start in range(0, len(rows), ROWS):
            self.insert_some(name, columns, rows[start:start + ROWS])

    def insert_some(self, name, columns, rows):
        arrays = [values.arrow_array([row.get(column)], kind_of(column)) for row in rows for column in columns]
        batch = pa.RecordBatch.from_arrays(arrays, names=[str(number) for number in range(len(arrays))])
        places = ", ".join(["(" + ", ".join("?" * len(columns)) + ")"] * len(rows))
        self.execute(f"INSERT INTO {name} ({', '.join(columns)}) VALUES {places}", batch)

    def ingest(self, name, columns, rows):
        table = pa.table({column: values.arrow_array([row.get(column) for row in rows], kind_of(column)) for column in columns})
        with self.connection.cursor() as cursor:
            cursor.adbc_ingest(name, table, mode="append")

    def lines(self, name, columns, rows):
        text = "\n".join(line(name, row) for row in rows)
        answer = shared.http("POST", "/write?db=main", text.encode(), url=self.http)
        assert answer.status == 204, answer.text


def line(name, row):
    def escaped(text, characters):
        for character in characters:
            text = text.replace(character, "\\" + character)
        return text

    def field(column, value):
        kind = kind_of(column)
        if kind == "text":
            return '"' + escaped(value, '\\"') + '"'
        if kind == "bool":
            return "true" if value else "false"
        return f"{value!r}" + {"int": "i", "long": "i", "word": "u"}.get(kind, "")
    tags = "".join(f",{tag}={escaped(row[tag], ', =')}" for tag in row if kind_of(tag) == "tag")
    fields = ",".join(f"{column}={field(column, value)}" for column, value in row.items() if kind_of(column) not in ("tag", "time")
                      or column[0] == "w")
    return f"{name}{tags} {fields} {row['time']}"


@contextlib.contextmanager
def store(*flags):
    with shared.server("--query-partitions", "2", *flags) as server:
        opened = Store(server.flight, server.http)
        try:
            opened.execute(f"CREATE DATABASE {MEMORY} WITH (kind = 'memory')")
            yield opened
        finally:
            opened.close()


def known(store):
    """Which of the functions that the grammar has in addition are there. Those that must be are named if they are not."""
    wanted = {function.needs for function in SCALARS + TIMES + AGGREGATES + WINDOWS if function.needs}
    wanted |= {"date_bin_gapfill", "time_bucket_gapfill"}
    names = {row["n"] for row in store.execute("SELECT DISTINCT routine_name AS n FROM information_schema.routines").to_pylist()}
    found = wanted & names
    with contextlib.suppress(Exception):
        store.execute("SELECT 1 FROM (VALUES (1, now())) AS l(k, t) ASOF JOIN (VALUES (1, now())) AS r(k, t) "
                      "MATCH_CONDITION (l.t >= r.t) ON l.k = r.k")
        found.add("asof")
    missing = REQUIRED - found
    assert not missing, f"the server does not know {', '.join(sorted(missing))}"
    for name in sorted((wanted | {"asof"}) - found):
        print(f"not there: {name}")
    return found


@dataclasses.dataclass
class Difference:
    history: str
    where: str
    sql: str
    other: str
    against: str
    what: str
    operations: list

    def __str__(self):
        text = f"{self.what}\n  in {self.history}, {self.where}, against {self.against}\n  {self.sql}\n"
        if self.other != self.sql:
            text += f"  {self.other}\n"
        return text + "".join(f"  | {line}\n" for operation in self.operations for line in str(operation).splitlines())


class Run:
    """One history of two tables, and queries at each comparison."""

    def __init__(self, store, seed, number, names):
        self.store, self.names, self.label = store, names, f"history {number} of seed {seed}"
        random = randomness.Random(f"{seed}/{number}")
        self.seed, self.extreme = f"{seed}/{number}", number % 3 == 2
        fields = ["f", "n", "o", "s", *random.sample(["g", "i", "u", "w", "f2", "n2"], 4)]
        self.layout = {"@T@": (["a", "b", "c"][:random.choice([1, 2, 2, 3])], fields),
                       "@R@": (["a", "b"][:random.choice([1, 1, 2])], ["f", "n", "s", "o", "g"])}
        self.options = random.choice(["", " WITH (time_slice = '1h')", " WITH (spread = 3)", " WITH (time_slice = '7d', spread = 2)"])
        if self.extreme:
            self.options = self.options.replace("'1h'", "'3650d'")
        scale = 12 if number % 6 == 4 else 1
        self.operations = {token: list(history.make(f"{self.seed}/{token}", *layout, self.extreme, scale))
                           for token, layout in self.layout.items()}
        self.numbers = itertools.count()
        self.asked, self.in_duckdb = 0, 0

    def create(self, token, suffix=""):
        """The table, empty, and its model; the name tells nothing to a planner."""
        tags, fields = self.layout[token]
        name = f"q{self.seed.replace('/', '_').replace('-', '_')}{token.strip('@').lower()}{suffix}"
        columns = ["time TIMESTAMP NOT NULL", *(f"{column} {values.SQL_TYPES[kind_of(column)]}" for column in [*tags, *fields])]
        self.store.execute(f"DROP TABLE IF EXISTS {name}")
        self.store.execute(f"CREATE TABLE {name} ({', '.join(columns)}, PRIMARY KEY ({', '.join([*tags, 'time'])})){self.options}")
        return name, history.Model(tags, fields)

    def stages(self):
        """Goes from one comparison to the next: (where, tables, models, operations so far), both tables filled alike."""
        tables = {token: self.create(token) for token in self.layout}
        done = {token: [] for token in self.layout}
        rest = {token: iter(operations) for token, operations in self.operations.items()}
        while True:
            where = None
            for token, (name, model) in tables.items():
                for operation in rest[token]:
                    if isinstance(operation, history.Compare):
                        self.check_place(name, operation, model)
                        where = operation.where
                        break
                    operation.apply(model)
                    operation.run(self.store, name)
                    done[token].append(operation)
                else:
                    return
            yield where, tables, done

    def check_place(self, name, stage, model):
        """That the rows are where the comparison says, or it would compare the same place twice."""
        [row] = self.store.execute(f"SELECT memtable_rows, segments FROM system.tables WHERE table_name = '{name}' "
                                   f"AND database_name = 'main'").to_pylist()
        if stage.where == history.OVERLAPPING:
            self.store.overlaps.append(row["segments"])
        for column, minimum in stage.minimum.items():
            assert row[column] >= minimum or not model.rows, f"{self.label}: {stage.where}: {row}"

    def copies(self, tables, suffix=""):
        """Tables of the same rows in the memory database and in DuckDB; the stored rows are compared with the model's."""
        other = duckdb.connect()
        other.execute("SET TimeZone = 'UTC'; SET threads = 1")
        shuffle = randomness.Random(self.seed)
        for name, model in tables.values():
            copy = f"{MEMORY}.public.{name}"
            self.store.execute(f"DROP TABLE IF EXISTS {copy}")
            self.store.execute(f"CREATE TABLE {copy} AS SELECT * FROM {name} WHERE false")
            rows = model.table()
            shuffle.shuffle(rows)
            self.store.insert(copy, model.columns, [dict(zip(model.columns, row, strict=True)) for row in rows])
            columns = list(zip(*rows, strict=True)) if rows else [[] for _ in model.columns]
            arrays = [values.arrow_array(list(column), kind_of(kind)) for kind, column in zip(model.columns, columns, strict=True)]
            table = pa.table(dict(zip(model.columns, arrays, strict=True)))
            plain = pa.table({column: table[column].cast(pa.timestamp("ns")) if kind_of(column) == "time" else table[column]
                              for column in model.columns})
            other.register("rows_of_model", plain)
            other.execute(f"CREATE TABLE {name} AS SELECT * FROM rows_of_model")
            other.unregister("rows_of_model")
            self.check_model(name, copy, table)
        return other

    def check_model(self, name, copy, table):
        shape = queries.Shape((False,) * table.num_columns, "multiset", ())
        for found in (name, copy):
            rows = self.store.execute(f"SELECT {', '.join(table.column_names)} FROM {found}")
            what = compare.difference(rows, table, shape, types=True)
            assert what is None, f"{self.label}: rows of {found} and of the model: {what}"

    # Queries

    def ask(self, sql, name):
        try:
            return self.store.execute(sql)
        except Exception as error:
            return f"{name}: {str(error).splitlines()[0][:400]}"

    def differs(self, query, tables, other):
        """(against, what, SQL, the other SQL) of the first difference, or None."""
        stored = named(query.sql("quorate"), tables, "")
        memory = named(query.sql("memory"), tables, f"{MEMORY}.public.")
        first, second, shape = self.ask(stored, "stored"), self.ask(memory, "memory"), query.shape()
        if isinstance(first, str) or isinstance(second, str):
            what = "; ".join(answer for answer in (first, second) if isinstance(answer, str))
            return "memory", what, stored, memory
        what = compare.difference(first, second, shape, types=True)
        if what is not None:
            return "memory", f"stored and memory: {what}", stored, memory
        sql = query.sql("duckdb")
        if sql is None:
            return None
        self.in_duckdb += 1
        sql = named(sql, tables, "")
        try:
            third = other.sql(sql).to_arrow_table()
        except Exception as error:
            return "DuckDB", f"DuckDB: {str(error).splitlines()[0][:400]}", stored, sql
        what = compare.difference(first, third, shape, types=False)
        return None if what is None else ("DuckDB", f"stored and DuckDB: {what}", stored, sql)

    def shrink(self, query, found, tables, other):
        """Drops clauses as long as the difference stays one of the same kind."""
        budget = SHRINKS
        while budget > 0:
            for smaller in query.smaller():
                budget -= 1
                again = self.differs(smaller, tables, other)
                if again is not None and kind_of_difference(again) == kind_of_difference(found):
                    query, found = smaller, again
                    break
            else:
                break
        return query, found

    def shrink_operations(self, query, found, done, budget=60):
        """Drops operations, then rows, as long as the difference stays, in tables of their own."""
        def differs(operations):
            tables = {token: self.create(token, "s") for token in self.layout}
            try:
                for token, (name, model) in tables.items():
                    for operation in operations[token]:
                        operation.apply(model)
                        operation.run(self.store, name)
                other = self.copies(tables)
                again = self.differs(query, tables, other)
                other.close()
            except Exception:
                return False
            return again is not None and kind_of_difference(again) == kind_of_difference(found)
        current = {token: list(operations) for token, operations in done.items()}
        if not differs(current):
            return [f"-- the operations alone do not show it: see {self.label}"]
        changed = True
        while changed and budget > 0:
            changed = False
            for smaller in smaller_operations(current):
                budget -= 1
                if budget <= 0:
                    break
                if differs(smaller):
                    current, changed = smaller, True
                    break
        return [line for token, operations in current.items() for line in (f"-- {token}", *operations)]

    def queries(self, count, limit=3, shrink_rows=True):
        """Asks `count` queries at each comparison; up to `limit` differences."""
        for where, tables, done in self.stages():
            other = self.copies(tables)
            models = {token: model for token, (_, model) in tables.items()}
            for number in range(count):
                random = randomness.Random(f"{self.seed}/{where}/{number}")
                query = queries.Generator(random, models, self.extreme, self.names).query()
                self.asked += 1
                found = self.differs(query, tables, other)
                if found is None:
                    continue
                query, found = self.shrink(query, found, tables, other)
                operations = self.shrink_operations(query, found, done) if shrink_rows else []
                against, what, stored, spelled = found
                yield Difference(self.label, f"{where}, query {number}", stored, spelled, against, what, operations)
                limit -= 1
                if limit <= 0:
                    return
            other.close()

    def drop(self):
        for token in self.layout:
            name, _ = self.create(token)
            self.store.execute(f"DROP TABLE {name}")
            self.store.execute(f"DROP TABLE IF EXISTS {MEMORY}.public.{name}")


def smaller_operations(operations):
    """Histories with less: halves of the operations, single ones, and parts of writes."""
    for token, own in operations.items():
        for size in (len(own) // 2, len(own) // 4, 1):
            for start in range(0, len(own), size) if size else ():
                yield {**operations, token: own[:start] + own[start + size:]}
        for i, operation in enumerate(own):
            for part in operation.parts():
                yield {**operations, token: [*own[:i], part, *own[i + 1:]]}


def kind_of_difference(found):
    """The partner, and whether it is rows, an order, types or an error."""
    return found[0], " ".join(found[1].split()[:3])


def named(sql, tables, prefix):
    for token, (name, _) in tables.items():
        sql = sql.replace(token, prefix + name).replace(token.replace("@", "#"), name)
    return sql
