"""What happens to a table, and the model that says which rows it must hold afterwards.

A history is a list of operations made from a seed: writes of three kinds (`INSERT`, line protocol, bulk ingest) with late,
duplicate and partial rows, deletes, updates, columns that come and go, flushes and compactions. Between them are
comparisons, named by where the rows are then. Operations are data: they run against a table of any name, and a subset of
them is a history, too, which is how one that shows a difference is cut down.

The model is a dictionary from (tags, time) to fields. The rules are those of docs/sql.md: `INSERT` sets the columns that it
lists, NULL clears; line protocol and bulk ingest set what they carry; a deleted row is gone with all its fields.
"""

import dataclasses
import random as randomness

from . import values
from .values import kind_of

DAY, SECOND = 86_400 * 10**9, 10**9


class Model:
    """The rows of a table, and its columns in their order."""

    def __init__(self, tags, fields):
        self.tags, self.fields, self.rows = list(tags), list(fields), {}

    @property
    def columns(self):
        return ["time", *self.tags, *self.fields]

    def row(self, tags, time):
        return self.rows.setdefault((tuple(tags), time), dict.fromkeys(self.fields))

    def table(self):
        """Rows in the order of the columns."""
        return [(time, *tags, *(row[field] for field in self.fields)) for (tags, time), row in self.rows.items()]

    def as_dict(self, key):
        tags, time = key
        return {"time": time, **dict(zip(self.tags, tags, strict=True)), **self.rows[key]}


@dataclasses.dataclass
class Write:
    """Rows as dictionaries of what each carries; `way` is insert, lines or ingest."""
    way: str
    columns: list
    rows: list

    def apply(self, model):
        for row in self.rows:
            stored = model.row([row.get(tag) or None for tag in model.tags], row["time"])
            for column in self.columns:
                if column in model.fields and column in row and (self.way == "insert" or row[column] is not None):
                    stored[column] = row[column]

    def run(self, store, name):
        getattr(store, self.way)(name, self.columns, self.rows)

    def parts(self):
        """Smaller writes: without each half, then without each row."""
        half = len(self.rows) // 2
        if half:
            yield dataclasses.replace(self, rows=self.rows[:half])
            yield dataclasses.replace(self, rows=self.rows[half:])
        if 1 < len(self.rows) <= 4:
            for i in range(len(self.rows)):
                yield dataclasses.replace(self, rows=self.rows[:i] + self.rows[i + 1:])

    def __str__(self):
        return f"{self.way} {', '.join(self.columns)}:\n" + "\n".join(f"    {row}" for row in self.rows)


@dataclasses.dataclass
class Condition:
    """A predicate in SQL, and the rows that it holds for as the model knows them."""
    sql: str
    holds: object


@dataclasses.dataclass
class Statement:
    """SQL with `{}` for the table, and what it does to the model."""
    sql: str
    effect: object

    def apply(self, model):
        self.effect(model)

    def run(self, store, name):
        store.execute(self.sql.format(name))

    def parts(self):
        return iter(())

    def __str__(self):
        return self.sql.format("t") + ";"


@dataclasses.dataclass
class Compare:
    """A round of queries; `where` says where the rows are."""
    where: str
    minimum: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        return f"-- compare: {self.where}"


class Maker:
    """Makes the operations of one table."""

    def __init__(self, seed, tags, fields, extreme, scale):
        self.random, self.scale = randomness.Random(seed), scale
        self.tags, self.fields, self.extreme, self.dropped = list(tags), list(fields), extreme, 0
        self.times = self._times()
        self.series = self._series()

    def _times(self):
        random, count = self.random, self.random.randint(15, 45) * self.scale
        start = random.choice([1_704_067_200, 1_704_067_200 - DAY // SECOND // 2, -40_000, 951_782_400]) * SECOND
        step = random.choice([SECOND, 10 * SECOND, 1000, 60 * SECOND, 3600 * SECOND])
        times = {start + random.randint(0, 60 * self.scale) * step for _ in range(count)}
        times |= {time + random.randint(1, 10**6) * 1000 for time in random.sample(sorted(times), 5)}
        if self.extreme:
            times |= {-2**63 + 1, -2**63 + 2, 2**63 - 2, 2**63 - 3, -1, 0, 1}
            times |= {time + random.randint(-3, 3) for time in random.sample(sorted(times), 8) if abs(time) < 2**62}
        return sorted(times)

    def _series(self):
        random = self.random
        words = random.sample(values.TAG_VALUES, random.randint(3, 7))
        count = random.choice([1, 3, 6, 12]) * self.scale
        return list({tuple(random.choice(words) for _ in self.tags) for _ in range(count)})

    def write(self, count):
        """Rows over random series and times; some have the time and tags of each other or of earlier writes."""
        random = self.random
        way = random.choice(["insert", "insert", "lines", "ingest"])
        fields = [field for field in self.fields if random.random() < 0.75] or self.fields[:1]
        if way == "lines":
            fields = [field for field in fields if kind_of(field) not in ("odd", "time")]
            fields += [] if "f" in fields else ["f"]
        rows = []
        for _ in range(random.randint(1, count * self.scale)):
            row = {"time": random.choice(self.times), **dict(zip(self.tags, random.choice(self.series)))}
            for field in fields:
                row[field] = values.random_value(random, kind_of(field), self.times)
            if way == "lines":
                row = {name: value for name, value in row.items() if value is not None}
                if not any(field in row for field in fields):
                    row["f"] = 7.125
            rows.append(row)
        return Write(way, ["time", *self.tags, *fields], rows)

    def writes(self, times, count):
        return [self.write(count) for _ in range(times)]

    # Conditions

    def _time_condition(self):
        low, high = sorted(self.random.choices(self.times, k=2))
        low_text, high_text = values.time_text(low), values.time_text(high)
        return self.random.choice([
            Condition(f"time >= {low_text} AND time < {high_text}", lambda row: low <= row["time"] < high),
            Condition(f"time = {low_text}", lambda row: row["time"] == low),
            Condition(f"time BETWEEN {low_text} AND {high_text}", lambda row: low <= row["time"] <= high),
            Condition(f"time > {high_text}", lambda row: row["time"] > high)])

    def _tag_condition(self):
        tag = self.random.choice(self.tags)
        value = self.random.choice(self.series)[self.tags.index(tag)]
        if value is None:
            return Condition(f"{tag} IS NULL", lambda row: row[tag] is None)
        text = values.quoted(value)
        return self.random.choice([
            Condition(f"{tag} = {text}", lambda row: row[tag] == value),
            Condition(f"{tag} IN ({text}, 'b1')", lambda row: row[tag] in (value, "b1")),
            Condition(f"{tag} <> {text}", lambda row: row[tag] is not None and row[tag] != value),
            Condition(f"{tag} IS NOT NULL AND {tag} < {text}", lambda row: row[tag] is not None
                      and row[tag].encode() < value.encode())])

    def _field_condition(self):
        field = self.random.choice([field for field in self.fields if kind_of(field) in ("int", "bool", "float")])
        if kind_of(field) == "bool":
            return Condition(f"{field}", lambda row: row[field] is True)
        bound = self.random.randint(-3, 15)
        return self.random.choice([
            Condition(f"{field} > {bound}", lambda row: row[field] is not None and row[field] > bound),
            Condition(f"{field} IS NULL", lambda row: row[field] is None),
            Condition(f"{field} = {bound}", lambda row: row[field] == bound)])

    def condition(self):
        first = self.random.choice([self._time_condition, self._tag_condition, self._field_condition])()
        if self.random.random() < 0.6:
            other = self.random.choice([self._time_condition, self._tag_condition, self._field_condition])()
            return Condition(f"({first.sql}) AND ({other.sql})", lambda row: first.holds(row) and other.holds(row))
        return first

    # Statements

    def delete(self):
        condition = self.condition()

        def effect(model):
            for key in [key for key in model.rows if condition.holds(model.as_dict(key))]:
                del model.rows[key]
        return Statement(f"DELETE FROM {{}} WHERE {condition.sql}", effect)

    def update(self):
        condition = self.condition()
        field = self.random.choice([field for field in self.fields if kind_of(field) in ("int", "float", "text", "odd")])
        value = values.random_value(self.random, kind_of(field), self.times)
        new, compute = self.random.choice([
            (values.literal(value, kind_of(field)), lambda row: canonical(value)),
            ("NULL", lambda row: None),
            *([(f"{field} + 1", lambda row: None if row[field] is None else row[field] + 1)]
              if kind_of(field) in ("int", "float") else [])])

        def effect(model):
            changes = {key: compute(model.as_dict(key)) for key in model.rows if condition.holds(model.as_dict(key))}
            for key, change in changes.items():
                model.rows[key][field] = change
        return Statement(f"UPDATE {{}} SET {field} = {new} WHERE {condition.sql}", effect)

    def add_column(self):
        name = self.random.choice("fgnios") + f"{len(self.fields)}{self.dropped}"
        self.fields.append(name)

        def effect(model):
            model.fields.append(name)
            for row in model.rows.values():
                row[name] = None
        return Statement(f"ALTER TABLE {{}} ADD COLUMN {name} {values.SQL_TYPES[kind_of(name)]}", effect)

    def drop_and_add_column(self):
        """Of the same name: the values must not come back."""
        name = self.random.choice([field for field in self.fields if field not in ("f", "n", "o")])
        self.dropped += 1

        def drop(model):
            model.fields.remove(name)
            for row in model.rows.values():
                del row[name]

        def add(model):
            model.fields.append(name)
            for row in model.rows.values():
                row[name] = None
        self.fields.remove(name)
        self.fields.append(name)
        return [Statement(f"ALTER TABLE {{}} DROP COLUMN {name}", drop),
                Statement(f"ALTER TABLE {{}} ADD COLUMN {name} {values.SQL_TYPES[kind_of(name)]}", add)]

    def add_tag(self):
        name = "abc"[len(self.tags)]
        self.tags.append(name)
        self.series = self._series()

        def effect(model):
            model.tags.append(name)
            model.rows = {((*tags, None), time): row for (tags, time), row in model.rows.items()}
        return Statement(f"ALTER TABLE {{}} ADD COLUMN {name} STRING PRIMARY KEY", effect)


def canonical(value):
    """A NaN of a literal has the usual bits."""
    return float("nan") if value is not None and value != value else value


# Several segments, if compaction does not come by itself at that moment.
OVERLAPPING = "overlapping segments"
CHECKPOINT = Statement("CHECKPOINT", lambda model: None)
VACUUM = Statement("VACUUM", lambda model: None)


def make(seed, tags, fields, extreme, scale):
    """The operations of one table, from empty to compacted twice; `scale` times as many rows as usual."""
    maker = Maker(seed, tags, fields, extreme, scale)
    random = maker.random
    yield from maker.writes(3, 60)
    yield Compare("memtable", {"memtable_rows": 1})
    yield CHECKPOINT
    yield Compare("segments of one flush", {"segments": 1})
    yield from maker.writes(2, 40)
    yield maker.delete()
    yield maker.update()
    yield Compare("segments, with deletes, updates and late rows in memtables", {"segments": 1})
    for _ in range(2):
        yield CHECKPOINT
        yield from maker.writes(2, 40)
    yield CHECKPOINT
    yield Compare(OVERLAPPING, {"segments": 1})
    yield VACUUM
    yield Compare("compacted segments", {"segments": 1})
    if len(maker.tags) < 3 and random.random() < 0.5:
        yield maker.add_tag()
    yield maker.add_column()
    yield from maker.writes(2, 40)
    yield from maker.drop_and_add_column()
    yield from maker.writes(1, 40)
    yield maker.delete()
    yield Compare("compacted segments, memtables and changed columns", {"segments": 1})
    yield CHECKPOINT
    yield maker.update()
    yield maker.delete()
    yield from maker.writes(1, 30)
    yield CHECKPOINT
    yield Compare("compacted segments under segments and tombstones", {"segments": 1})
    yield VACUUM
    yield Compare("compacted twice", {"segments": 1})
