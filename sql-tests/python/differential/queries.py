"""Trees of random queries, made from the grammar, and how they are cut down.

    Query   = Select | SetOperation
    Select  = items, source, where, group, having, distinct, order, limit
    Source  = a table | a join | a query in parentheses | a query by name (WITH) | gaps of a table | tables by pattern

A node gives its SQL in a dialect, None if it has none there, and smaller nodes of its own kind, for shrinking. `@T@` and
`@R@` stand for the two tables of a history, `#T#` and `#R#` for their names alone. Dialects are `quorate`, `duckdb`, and
`memory`, which is Quorate's without what reads stored tables only.
"""

import dataclasses
import itertools

from . import values
from .grammar import (AGGREGATES, ODD_PREDICATES, SAME, SCALARS, SIMILAR, TAG_PATTERNS, TIMES, WINDOWS, Fragment, fill, same,
                      without_duckdb)
from .values import kind_of

BASIC = ("int", "float", "long", "word", "text", "tag", "bool", "time", "odd")


@dataclasses.dataclass(frozen=True)
class Column:
    name: str
    fragment: Fragment
    kind: str


@dataclasses.dataclass(frozen=True)
class Item:
    """One column of an answer; `role` is plain, group or aggregate."""
    name: str
    fragment: Fragment
    kind: str
    role: str = "plain"


@dataclasses.dataclass(frozen=True)
class Shape:
    """How answers of a query are compared: which columns are near, and what the order says."""
    close: tuple
    mode: str
    keys: tuple


@dataclasses.dataclass(frozen=True)
class Scope:
    """Columns in sight; `key` are those by which rows differ, `series` the tags if the rows are one table's."""
    columns: tuple
    key: tuple = ()
    series: tuple = ()
    time: Fragment | None = None

    def of(self, kind):
        return [column for column in self.columns if column.kind == kind]


# Sources

@dataclasses.dataclass(frozen=True)
class Base:
    token: str
    alias: str

    def sql(self, dialect):
        return f"{self.token} AS {self.alias}"

    def names(self, dialect):
        return ""

    def smaller(self):
        return iter(())


@dataclasses.dataclass(frozen=True)
class Join:
    left: object
    right: object
    words: Fragment
    on: Fragment

    def sql(self, dialect):
        words, on = self.words[dialect], self.on[dialect]
        if words is None or on is None:
            return None
        return f"{self.left.sql(dialect)} {words} {self.right.sql(dialect)} {on}"

    def names(self, dialect):
        return ""

    def smaller(self):
        return iter(())


@dataclasses.dataclass(frozen=True)
class Derived:
    query: object
    alias: str
    named: bool

    def sql(self, dialect):
        inner = self.query.sql(dialect)
        if inner is None:
            return None
        return f"{self.alias}_q AS {self.alias}" if self.named else f"({inner}) AS {self.alias}"

    def names(self, dialect):
        return f"WITH {self.alias}_q AS ({self.query.sql(dialect)}) " if self.named else ""

    def smaller(self):
        if self.named:
            yield dataclasses.replace(self, named=False)
        for query in self.query.smaller():
            if [item.name for item in query.items] == [item.name for item in self.query.items]:
                yield dataclasses.replace(self, query=query)


@dataclasses.dataclass(frozen=True)
class Gaps:
    """`gaps()` over the keys of a table; elsewhere a window says the same."""
    token: str
    alias: str
    tags: tuple
    where: tuple
    interval: int
    tolerance: int
    extreme: bool

    def sql(self, dialect):
        if any(fragment[dialect] is None for fragment in self.where):
            return None
        tags = ", ".join(self.tags)
        where = " WHERE " + " AND ".join(f"({fragment[dialect]})" for fragment in self.where) if self.where else ""
        rows = f"SELECT time, {tags} FROM {self.token} AS {self.alias}{where}"
        if dialect != "duckdb":
            tolerance = f", INTERVAL '{self.tolerance} milliseconds'" if self.tolerance else ""
            return f"gaps(({rows}), '{self.interval}s'{tolerance}) AS {self.alias}"
        if self.extreme:
            return None
        step = self.interval * 10**9
        apart = "epoch_ns(gap_end) - epoch_ns(gap_start)"
        pairs = f"SELECT {tags}, lag(time) OVER (PARTITION BY {tags} ORDER BY time) AS gap_start, time AS gap_end FROM ({rows})"
        return f"(SELECT *, ({apart} - 1) // {step} AS missing FROM ({pairs}) WHERE {apart} > {step + self.tolerance * 10**6}) AS {self.alias}"

    def names(self, dialect):
        return ""

    def smaller(self):
        for i in range(len(self.where)):
            yield dataclasses.replace(self, where=self.where[:i] + self.where[i + 1:])
        if self.tolerance:
            yield dataclasses.replace(self, tolerance=0)


@dataclasses.dataclass(frozen=True)
class Series:
    """`series()` over both tables; elsewhere a union of them, with NULL for what one does not have."""
    columns: tuple
    own: tuple
    alias: str

    def sql(self, dialect):
        if dialect == "quorate":
            return f"series('#T#|#R#') AS {self.alias}"
        parts = []
        for token, own in zip("TR", self.own, strict=True):
            columns = ", ".join(column if column in own else f"NULL AS {column}" for column in self.columns)
            parts.append(f"SELECT '#{token}#' AS table_name, {columns} FROM @{token}@")
        return f"({' UNION ALL '.join(parts)}) AS {self.alias}"

    def names(self, dialect):
        return ""

    def smaller(self):
        return iter(())


# Queries

@dataclasses.dataclass(frozen=True)
class Order:
    """By an item (its name) or by an expression that is not selected."""
    name: str | None
    fragment: Fragment
    words: str


@dataclasses.dataclass(frozen=True)
class Select:
    items: tuple
    source: object
    where: tuple = ()
    having: tuple = ()
    grouped: bool = False
    ordinals: bool = False
    sets: str = ""
    qualify: tuple = ()
    distinct: bool = False
    distinct_on: tuple = ()
    order: tuple = ()
    total: bool = False
    limit: str = ""

    def sql(self, dialect):
        source = self.source.sql(dialect)
        fragments = [item.fragment for item in self.items] + list(self.where) + list(self.having)
        fragments += list(self.qualify) + list(self.distinct_on) + [order.fragment for order in self.order]
        if source is None or any(fragment[dialect] is None for fragment in fragments):
            return None
        sql = self.source.names(dialect) + "SELECT "
        if self.distinct_on:
            sql += f"DISTINCT ON ({', '.join(fragment[dialect] for fragment in self.distinct_on)}) "
        sql += "DISTINCT " if self.distinct else ""
        sql += ", ".join(f"{item.fragment[dialect]} AS {item.name}" for item in self.items)
        sql += f" FROM {source}"
        sql += " WHERE " + " AND ".join(f"({fragment[dialect]})" for fragment in self.where) if self.where else ""
        sql += self._group(dialect)
        sql += " HAVING " + " AND ".join(f"({fragment[dialect]})" for fragment in self.having) if self.having else ""
        sql += " QUALIFY " + " AND ".join(fragment[dialect] for fragment in self.qualify) if self.qualify else ""
        keys = [f"{order.name or order.fragment[dialect]} {order.words}" for order in self.order]
        if self.distinct_on:
            keys = [f"{order.fragment[dialect]} {order.words}" for order in self.order]
        sql += " ORDER BY " + ", ".join(keys) if keys else ""
        return sql + self.limit

    def _group(self, dialect):
        groups = [(number, item) for number, item in enumerate(self.items, 1) if item.role == "group"]
        if not self.grouped or not groups:
            return ""
        keys = ", ".join(str(number) if self.ordinals and not self.sets else item.fragment[dialect] for number, item in groups)
        return f" GROUP BY {self.sets}({keys})" if self.sets else f" GROUP BY {keys}"

    def shape(self):
        close = tuple(item.kind == "close" for item in self.items)
        names = [item.name for item in self.items]
        if self.distinct_on:
            return Shape(close, "multiset", ())
        keys = tuple(itertools.takewhile(lambda key: key is not None,
                                         (names.index(order.name) if order.name in names else None for order in self.order)))
        if self.limit:
            mode = "sequence" if self.total else "keys" if self.order else "count"
        else:
            mode = "sequence" if self.total and self.order else "multiset"
        return Shape(close, mode, keys)

    def smaller(self):
        if isinstance(self.source, Derived) and isinstance(self.source.query, Select):
            yield self.source.query
        if self.sets:
            yield dataclasses.replace(self, sets="")
        for name in ("where", "having", "qualify"):
            parts = getattr(self, name)
            for i in range(len(parts)):
                yield dataclasses.replace(self, **{name: parts[:i] + parts[i + 1:]})
        if self.limit:
            yield dataclasses.replace(self, limit="")
        if self.order and not self.distinct_on and not self.limit:
            yield dataclasses.replace(self, order=(), total=False)
        if self.distinct:
            yield dataclasses.replace(self, distinct=False)
        for item in self.items if len(self.items) > 1 else ():
            rest = tuple(other for other in self.items if other is not item)
            order = tuple(order for order in self.order if order.name != item.name)
            if len(order) == len(self.order) or not self.limit:
                yield dataclasses.replace(self, items=rest, order=order, total=False)
        for source in self.source.smaller():
            yield dataclasses.replace(self, source=source)


@dataclasses.dataclass(frozen=True)
class SetOperation:
    left: Select
    right: Select
    words: Fragment
    order: tuple = ()

    @property
    def items(self):
        return self.left.items

    def sql(self, dialect):
        left, right, words = self.left.sql(dialect), self.right.sql(dialect), self.words[dialect]
        if None in (left, right, words):
            return None
        sql = f"SELECT * FROM ({left} {words} {right}) AS z"
        return sql + (" ORDER BY " + ", ".join(f"{order.name} {order.words}" for order in self.order) if self.order else "")

    def shape(self):
        names = [item.name for item in self.items]
        keys = tuple(names.index(order.name) for order in self.order if order.name in names)
        return Shape(tuple(False for _ in self.items), "multiset", keys)

    def smaller(self):
        yield self.left
        yield self.right
        for left in self.left.smaller():
            if isinstance(left, Select) and len(left.items) == len(self.left.items):
                yield dataclasses.replace(self, left=left)
        for right in self.right.smaller():
            if isinstance(right, Select) and len(right.items) == len(self.right.items):
                yield dataclasses.replace(self, right=right)


class Generator:
    """Makes queries over two tables: `models` by token, as they are now."""

    def __init__(self, random, models, extreme, known):
        self.random, self.models, self.extreme, self.known = random, models, extreme, known
        self.aliases = itertools.count()
        self.scalars = SCALARS + ([] if extreme else TIMES)

    def query(self):
        random = self.random
        if random.random() < 0.08:
            return self.set_operation()
        if random.random() < 0.05 and self.fills():
            return self.gap_filled()
        return self.select(self.source(2))

    # Sources

    def table(self, token, alias):
        model = self.models[token]
        columns = tuple(Column(name, same(f"{alias}.{name}"), kind_of(name)) for name in model.columns)
        key = tuple(same(f"{alias}.{name}") for name in ("time", *model.tags))
        series = tuple(same(f"{alias}.{name}") for name in model.tags)
        return Base(token, alias), Scope(columns, key, series, same(f"{alias}.time"))

    def source(self, depth):
        random, pick = self.random, self.random.random()
        if pick < 0.05 and depth > 0:
            return self.gaps() if pick < 0.025 else self.several()
        if pick < 0.62 or depth == 0:
            return self.table(random.choice(["@T@", "@T@", "@T@", "@R@"]), f"t{next(self.aliases)}")
        if pick < 0.82:
            return self.join()
        inner = self.select(self.source(depth - 1), inner=True)
        alias = f"d{next(self.aliases)}"
        columns = tuple(Column(item.name, same(f"{alias}.{item.name}"), item.kind) for item in inner.items if item.kind in BASIC)
        if not columns:
            return self.table("@T@", alias)
        return Derived(inner, alias, random.random() < 0.4), Scope(columns)

    def gaps(self):
        """Where series have no rows; the conditions are on what is read of them."""
        random, alias = self.random, f"g{next(self.aliases)}"
        token = random.choice(["@T@", "@R@"])
        _, inner = self.table(token, alias)
        tags = tuple(self.models[token].tags)
        keys = dataclasses.replace(inner, columns=tuple(c for c in inner.columns if c.name == "time" or c.name in tags))
        where = tuple(self.predicate(keys, 0) for _ in range(random.choice([0, 0, 1])))
        interval = random.choice([1, 10, 60, 3600, 86_400])
        source = Gaps(token, alias, tags, where, interval, random.choice([0, 0, 1, 5_000]), self.extreme)
        fragment = lambda name: same(f"{alias}.{name}")
        columns = [Column(tag, fragment(tag), "tag") for tag in tags]
        columns += [Column(name, fragment(name), "time") for name in ("gap_start", "gap_end")]
        columns.append(Column("missing", fragment("missing"), "long" if self.extreme else "int"))
        series = tuple(fragment(tag) for tag in tags)
        return source, Scope(tuple(columns), (fragment("gap_end"), *series), series, fragment("gap_end"))

    def several(self):
        """Both tables as one."""
        alias = f"u{next(self.aliases)}"
        own = tuple(tuple(self.models[token].columns) for token in ("@T@", "@R@"))
        names = tuple(dict.fromkeys(own[0] + own[1]))
        fragment = lambda name: same(f"{alias}.{name}")
        columns = (Column("table_name", fragment("table_name"), "tag"), *(Column(n, fragment(n), kind_of(n)) for n in names))
        tags = ("table_name", *(name for name in names if kind_of(name) == "tag"))
        series = tuple(fragment(tag) for tag in tags)
        return Series(names, own, alias), Scope(columns, (fragment("time"), *series), series, fragment("time"))

    def join(self):
        random = self.random
        left, first = self.table("@T@", f"t{next(self.aliases)}")
        token = random.choice(["@T@", "@R@"])
        right, second = self.table(token, f"r{next(self.aliases)}")
        shared = [tag for tag in self.models["@T@"].tags if tag in self.models[token].tags]
        equal = [f"{left.alias}.{tag} = {right.alias}.{tag}" for tag in shared if random.random() < 0.8] or \
                [f"{left.alias}.{shared[0]} = {right.alias}.{shared[0]}"]
        times = f"{left.alias}.time = {right.alias}.time"
        near = f"{left.alias}.time BETWEEN {right.alias}.time AND {right.alias}.time + INTERVAL '10 seconds'"
        kind = random.choice([("JOIN",) * 2, ("JOIN",) * 2, ("LEFT JOIN",) * 2, ("RIGHT JOIN",) * 2, ("FULL JOIN",) * 2,
                              ("LEFT SEMI JOIN", "SEMI JOIN"), ("LEFT ANTI JOIN", "ANTI JOIN"), ("ASOF",) * 2])
        if kind[0] == "ASOF":
            return self.asof(left, first, right, second, token)
        on = [*equal, near if not self.extreme and kind[0] == "JOIN" and random.random() < 0.2 else times]
        if random.random() < 0.2:
            on.append(f"{right.alias}.n > 3" if random.random() < 0.5 else f"{left.alias}.f <= {right.alias}.f")
        random.shuffle(on)
        join = Join(left, right, Fragment(*kind), same("ON " + " AND ".join(on)))
        if "SEMI" in kind[0] or "ANTI" in kind[0]:
            return join, first
        return join, Scope(first.columns + second.columns, first.key + second.key)

    def asof(self, left, first, right, second, token):
        """The newest row of the right that is not newer; one at most, if its tags are among the left's."""
        tags = self.models[token].tags
        if "asof" not in self.known or not set(tags) <= set(self.models["@T@"].tags):
            return left, first
        equal = " AND ".join(f"{left.alias}.{tag} = {right.alias}.{tag}" for tag in tags)
        compare = self.random.choice([">=", ">", "<=", "<"])
        matched = f"{left.alias}.time {compare} {right.alias}.time"
        join = Join(left, right, Fragment("ASOF JOIN", "ASOF LEFT JOIN"),
                    Fragment(f"MATCH_CONDITION ({matched}) ON {equal}", f"ON {equal} AND {matched}"))
        return join, Scope(first.columns + second.columns, first.key + second.key)

    # Expressions

    def apply(self, function, scope, depth, over=None):
        """A function of random arguments, or None if a kind is not in sight."""
        arguments = []
        for kind in function.takes:
            if kind == "ts":
                argument = scope.time
            elif kind == "any":
                usable = [column for column in scope.columns if column.kind not in ("odd", "close")]
                argument = self.random.choice(usable).fragment if usable else None
            else:
                argument = self.expression(kind, scope, depth)
            if argument is None:
                return None
            arguments.append(argument)
        needs_key = any(word in function.template for word in ("{key}", "{key_desc}"))
        if needs_key and not scope.key:
            return None
        words = {"key": ", ".join(f"{key.quorate} ASC NULLS FIRST" for key in scope.key),
                 "key_desc": ", ".join(f"{key.quorate} DESC NULLS LAST" for key in scope.key), **(over or {})}
        template = replace_words(function.template, words)
        other = function.duckdb if function.duckdb in (None, SAME) else replace_words(function.duckdb, words)
        if self.extreme and "time" in function.takes:
            other = None    # The first and last instants are infinities in DuckDB.
        return fill(template, other, *arguments)

    def usable(self, function):
        return function.needs is None or function.needs in self.known

    def expression(self, kind, scope, depth=1):
        random, columns = self.random, scope.of(kind)
        functions = [function for function in self.scalars if function.result == kind and self.usable(function)]
        if depth > 0 and functions and (not columns or random.random() < 0.35):
            for _ in range(4):
                found = self.apply(random.choice(functions), scope, depth - 1)
                if found is not None:
                    return found
        return random.choice(columns).fragment if columns else None

    def moment(self, column):
        """A time that is near those of the tables, in one of several spellings."""
        random = self.random
        times = [time for model in self.models.values() for _, time in model.rows] or [0]
        time = random.choice(times) + random.choice([0, 0, 0, 1000, -1000, 10**9])
        time = max(-2**63 + 1, min(2**63 - 1, time))
        duckdb = None if self.extreme else f"TIMESTAMP_NS '{values.stamp(time)}'"
        form = random.choice([values.time_text(time), values.time_text(time), f"to_timestamp_nanos({time})",
                              f"TIMESTAMP '{values.stamp(time)}'"])
        return Fragment(form, duckdb)

    def time_predicate(self, time):
        form, count = self.random.choice([
            ("{0} >= {1}", 1), ("{0} < {1}", 1), ("{0} > {1}", 1), ("{0} <= {1}", 1), ("{0} = {1}", 1), ("{1} < {0}", 1),
            ("{0} <> {1}", 1), ("{0} BETWEEN {1} AND {2}", 2), ("{0} NOT BETWEEN {1} AND {2}", 2), ("{0} IN ({1}, {2}, {3})", 3),
            ("{0} NOT IN ({1}, {2})", 2), ("{0} NOT IN ({1}) OR {0} NOT IN ({2}, {3})", 3), ("{0} IN ({1}, {2}, NULL)", 2), ("{0} >= {1} AND {0} < {2}", 2), ("{0} >= {1} AND {0} < {2}", 2),
            ("{0} < {1} OR {0} >= {2}", 2), ("NOT ({0} < {1})", 1), ("({0} IS DISTINCT FROM {1})", 1)])
        return fill(form, SAME, time, *(self.moment(time) for _ in range(count)))

    def predicate(self, scope, depth=1):
        random, pick = self.random, self.random.random()
        if depth > 0 and pick < 0.15:
            form = random.choice(["({0} OR {1})", "({0} AND {1})", "NOT ({0})", "(({0}) IS NOT TRUE)", "CASE WHEN {0} THEN {1} ELSE false END"])
            return fill(form, SAME, self.predicate(scope, depth - 1), self.predicate(scope, depth - 1))
        if depth > 0 and pick < 0.22:
            found = self.subquery(scope)
            if found is not None:
                return found
        column = random.choice(scope.columns)
        if pick < 0.45 and scope.time is not None:
            return self.time_predicate(scope.time)
        if pick < 0.65 and scope.of("tag"):
            column = random.choice(scope.of("tag"))
        return self.column_predicate(column, scope)

    def column_predicate(self, column, scope):
        random = self.random
        if column.kind == "time":
            return self.time_predicate(column.fragment)
        if column.kind == "tag":
            others = [other for other in scope.of("tag") if other != column]
            if others and random.random() < 0.1:
                return fill(random.choice(["{0} = {1}", "{0} < {1}", "({0} IS DISTINCT FROM {1})"]), SAME, column.fragment,
                            random.choice(others).fragment)
            return fill(*random.choice(TAG_PATTERNS + SIMILAR), column.fragment)
        if column.kind == "odd":
            template = random.choice(ODD_PREDICATES)
            return fill(template, SAME if "IS N" in template and "NaN" not in template else None, column.fragment)
        if column.kind == "bool":
            return fill(random.choice(["{0}", "NOT {0}", "{0} IS NULL", "{0} = true", "{0} IS NOT FALSE"]), SAME, column.fragment)
        return self.compared(column, scope)

    def compared(self, column, scope):
        random, kind = self.random, column.kind
        expression = self.expression(kind, scope, 1) if random.random() < 0.3 else column.fragment
        times = [0]
        value = None
        while value is None:
            value = values.random_value(random, kind, times)
        text = values.literal(value, kind)
        form = random.choice(["{0} > {1}", "{0} >= {1}", "{0} < {1}", "{0} <= {1}", "{0} = {1}", "{0} <> {1}", "{0} IN ({1}, {2})",
                              "{0} NOT IN ({1}, {2})", "{0} BETWEEN {2} AND {1}", "{0} IS NULL", "{0} IS NOT NULL",
                              "NOT ({0} > {1})", "coalesce({0}, {2}) = {1}", "({0} IS DISTINCT FROM {1})"])
        other = {"text": "'x'", "bool": "true"}.get(kind, "0")
        # A decimal of DuckDB with 20 digits is no integer without a sign.
        return fill(form, SAME, expression, same(text), same(other))

    def subquery(self, scope):
        """IN, EXISTS and scalar subqueries, with and without columns of the outer query."""
        random, token = self.random, self.random.choice(["@T@", "@R@"])
        alias = f"x{next(self.aliases)}"
        _, inner = self.table(token, alias)
        tags, numbers = scope.of("tag"), scope.of("int")
        condition = self.predicate(dataclasses.replace(inner, key=()), 0)
        source = f"FROM {token} AS {alias} WHERE ({{0}})"
        kind = random.choice(["in", "not in", "exists", "not exists", "scalar", "correlated"])
        if kind in ("in", "not in") and tags:
            column = random.choice(tags).fragment
            words = "IN" if kind == "in" else "NOT IN"
            return fill(f"{{1}} {words} (SELECT {alias}.a {source})", SAME, condition, column)
        if kind in ("exists", "not exists") and tags:
            words = "EXISTS" if kind == "exists" else "NOT EXISTS"
            return fill(f"{words} (SELECT 1 {source} AND {alias}.a = {{1}})", SAME, condition, random.choice(tags).fragment)
        if kind == "scalar" and numbers:
            return fill(f"{{1}} > (SELECT min({alias}.n) {source})", SAME, condition, random.choice(numbers).fragment)
        if kind == "correlated" and numbers and tags:
            return fill(f"{{1}} >= (SELECT max({alias}.n) {source} AND {alias}.a = {{2}})", SAME, condition,
                        random.choice(numbers).fragment, random.choice(tags).fragment)
        return None

    # Queries

    def select(self, source_and_scope, inner=False):
        source, scope = source_and_scope
        random = self.random
        where = tuple(self.predicate(scope) for _ in range(random.choice([0, 0, 1, 1, 1, 2, 3])))
        pick = random.random()
        if pick < 0.45:
            select = self.grouped(source, scope, where)
        elif pick < 0.55 and scope.key and scope.series:
            select = self.distinct_on(source, scope, where)
        elif pick < 0.7 and scope.key:
            select = self.windowed(source, scope, where)
        else:
            select = self.plain(source, scope, where)
        return self.ordered(select, scope, inner)

    def item(self, number, fragment, kind, role="plain"):
        return Item(f"c{number}", fragment, kind, role)

    def plain_items(self, scope, count):
        items = []
        for number in range(count):
            column = self.random.choice(scope.columns)
            fragment, kind = column.fragment, column.kind
            if self.random.random() < 0.35:
                function = self.random.choice([function for function in self.scalars if self.usable(function)])
                found = self.apply(function, scope, 1)
                if found is not None:
                    fragment, kind = found, function.result
            items.append(self.item(number, fragment, kind))
        return items

    def plain(self, source, scope, where):
        items = self.plain_items(scope, self.random.randint(1, 4))
        distinct = self.random.random() < 0.15 and all(item.kind != "close" for item in items)
        if distinct:
            items = [Item(item.name, without_duckdb(item.fragment) if item.kind == "odd" else item.fragment, item.kind) for item in items]
        return Select(tuple(items), source, where, distinct=distinct)

    def grouped(self, source, scope, where):
        random = self.random
        by_series = bool(scope.series) and random.random() < 0.35
        groups = [(fragment, "tag") for fragment in scope.series] if by_series else []
        for _ in range(random.choice([0, 1, 1, 2]) if not by_series else random.choice([0, 0, 1])):
            kind = random.choice(["tag", "tag", "time", "time", "text", "bool", "int", "odd"])
            fragment = self.expression(kind, scope, 1)
            if fragment is not None:
                groups.append((without_duckdb(fragment) if kind == "odd" else fragment, kind))
        items = [self.item(number, fragment, kind, "group") for number, (fragment, kind) in enumerate(groups)]
        choices = [function for function in AGGREGATES if self.usable(function) and (by_series or not function.ties)]
        ties = False
        for _ in range(random.randint(0 if groups else 1, 4)):
            function = random.choice(choices)
            found = self.apply(function, scope, 1)
            if found is not None:
                items.append(self.item(len(items), found, function.result, "aggregate"))
                ties = ties or function.ties
        if not items:
            items = [self.item(0, same("count(*)"), "int", "aggregate")]
        having = ()
        if groups and random.random() < 0.25:
            exact = [function for function in AGGREGATES if function.result == "int" and self.usable(function) and not function.ties]
            found = self.apply(random.choice(exact), scope, 0)
            having = (fill("{0} > {1}", SAME, found, same(str(random.randint(0, 5)))),) if found is not None else ()
        # A group of a grouping set may have the key of another one: its order is not total. DataFusion 55 takes rows that
        # are sorted by a group and by time for sorted by time in all sets: no aggregate with an order there.
        # A subtotal is over several series, whose rows may have one time.
        fragments = [item.fragment for item in items] + list(having)
        in_order = ties or any("ORDER BY" in fragment.quorate for fragment in fragments)
        several = len(set(groups)) == len(groups) > 1 and not in_order
        sets = random.choice(["ROLLUP", "CUBE"]) if several and random.random() < 0.15 else ""
        return Select(tuple(items), source, where, having, grouped=True, ordinals=random.random() < 0.3, sets=sets)

    def distinct_on(self, source, scope, where):
        random = self.random
        on = [fragment for fragment in scope.series if random.random() < 0.8] or [scope.series[0]]
        words = random.choice(["ASC NULLS FIRST", "DESC NULLS LAST", "ASC NULLS LAST", "DESC NULLS FIRST"])
        order = [Order(None, fragment, words) for fragment in on]
        direction = random.choice(["ASC NULLS FIRST", "DESC NULLS LAST"])
        rest = [fragment for fragment in scope.key if fragment not in on]
        order += [Order(None, fragment, direction) for fragment in rest]
        items = self.plain_items(scope, random.randint(1, 4))
        return Select(tuple(items), source, where, distinct_on=tuple(on), order=tuple(order))

    def windowed(self, source, scope, where):
        random = self.random
        items = self.plain_items(scope, random.randint(0, 2))
        by_series = bool(scope.series) and random.random() < 0.6
        parts = list(scope.series) if by_series else [random.choice(scope.key[1:])] if random.random() < 0.6 else []
        partition = "PARTITION BY " + ", ".join(part.quorate for part in parts) + " " if parts else ""
        direction = random.choice(["ASC NULLS FIRST", "ASC NULLS FIRST", "DESC NULLS LAST"])
        over = partition + "ORDER BY " + ", ".join(f"{key.quorate} {direction}" for key in scope.key)
        loose = partition + f"ORDER BY {scope.key[0].quorate} ASC NULLS FIRST"
        words = {"over": over, "loose": loose, "part": partition}
        choices = [function for function in WINDOWS if self.usable(function) and (by_series or not function.ties)
                   and not (self.extreme and "INTERVAL" in function.template)]
        for _ in range(random.randint(1, 3)):
            function = random.choice(choices)
            found = self.apply(function, scope, 0, words)
            if found is not None:
                items.append(self.item(len(items), found, function.result))
        if not items:
            items = [self.item(0, same(f"row_number() OVER ({over})"), "int")]
        qualify = ()
        if random.random() < 0.3:
            qualify = (fill("row_number() OVER ({0}) <= {1}", SAME, same(over), same(str(random.randint(1, 5)))),)
        return Select(tuple(items), source, where, qualify=qualify)

    def ordered(self, select, scope, inner):
        """An order and a limit; one that decides nothing is left to the outermost query."""
        random = self.random
        if select.distinct_on or random.random() < 0.5:
            # A limit of groups without aggregates fails over the first rows of a window in DataFusion 55.
            only_groups = select.distinct or select.grouped and all(item.role == "group" for item in select.items)
            if not inner and not only_groups and not select.distinct_on and random.random() < 0.1:
                return dataclasses.replace(select, limit=f" LIMIT {random.randint(0, 20)}")
            return select
        candidates = [item for item in select.items if item.kind not in ("close", "list")]
        random.shuffle(candidates)
        groups = [item for item in select.items if item.role == "group"]
        chosen = candidates[:random.randint(1, 3)]
        total = False
        if select.grouped and groups and not select.sets and random.random() < 0.6:
            chosen += [item for item in groups if item not in chosen]
            total = True
        order = tuple(Order(item.name, without_duckdb(item.fragment) if item.kind == "odd" else item.fragment, self.direction())
                      for item in chosen)
        if not select.grouped and not select.distinct and scope.key and random.random() < 0.6:
            order += tuple(Order(None, key, self.direction()) for key in scope.key)
            total = True
        limit = ""
        if order and random.random() < 0.6 and (total or not inner):
            limit = f" LIMIT {random.choice([1, 1, 3, 10, 50])}" + (f" OFFSET {random.randint(0, 10)}" if random.random() < 0.3 else "")
        return dataclasses.replace(select, order=order, total=total, limit=limit)

    def direction(self):
        return self.random.choice(["ASC NULLS FIRST", "ASC NULLS LAST", "DESC NULLS FIRST", "DESC NULLS LAST"])

    def set_operation(self):
        random = self.random
        kinds = random.choices(["tag", "time", "int", "float", "text", "bool"], k=random.randint(1, 3))
        sides = []
        for token in (random.choice(["@T@", "@R@"]), random.choice(["@T@", "@R@"])):
            source, scope = self.table(token, f"t{next(self.aliases)}")
            found = [self.expression(kind, scope, 1) or scope.of("time")[0].fragment for kind in kinds]
            items = tuple(self.item(number, fragment, kind) for number, (fragment, kind) in enumerate(zip(found, kinds)))
            where = tuple(self.predicate(scope) for _ in range(random.choice([0, 1, 2])))
            sides.append(Select(items, source, where))
        words = random.choice([("UNION ALL", SAME), ("UNION", SAME), ("EXCEPT", SAME), ("INTERSECT", SAME), ("EXCEPT ALL", None),
                               ("INTERSECT ALL", None)])
        order = tuple(Order(item.name, item.fragment, self.direction()) for item in sides[0].items if random.random() < 0.4)
        # Of an order by a column that a side has twice, the planner of DataFusion 55 says that it is not satisfied.
        if any(len({item.fragment for item in side.items}) < len(side.items) for side in sides):
            order = ()
        return SetOperation(*sides, Fragment(words[0], words[0] if words[1] == SAME else None), order)

    # Gap filling, whose times must be bounded

    def fills(self):
        return [] if self.extreme else [name for name in ("date_bin_gapfill", "time_bucket_gapfill") if name in self.known]

    def gap_filled(self):
        random = self.random
        source, scope = self.table("@T@", f"t{next(self.aliases)}")
        times = sorted(time for _, time in self.models["@T@"].rows) or [0]
        low = random.choice(times)
        width, length = random.choice([(10**9, "1 second"), (60 * 10**9, "1 minute"), (3600 * 10**9, "1 hour")])
        high = low + width * random.randint(1, 200)
        bounds = Fragment(f"{scope.time.quorate} >= {values.time_text(low)} AND {scope.time.quorate} < {values.time_text(high)}", None)
        bucket = Fragment(f"{random.choice(self.fills())}(INTERVAL '{length}', {scope.time.quorate})", None)
        groups = [(fragment, "tag") for fragment in scope.series] if random.random() < 0.7 else []
        items = [self.item(number, fragment, kind, "group") for number, (fragment, kind) in enumerate([(bucket, "time"), *groups])]
        number = f"{scope.of('float')[0].fragment.quorate}"
        for template in random.sample([f"locf(avg({number}))", f"interpolate(avg({number}))", "count(*)", f"max({number})"], 2):
            kind = "close" if "interpolate" in template else "real"
            items.append(self.item(len(items), Fragment(template, None), kind, "aggregate"))
        return Select(tuple(items), source, (bounds,), grouped=True)


def replace_words(template, words):
    """Fills in named words and leaves numbered places alone."""
    for name, text in words.items():
        template = template.replace("{" + name + "}", text)
    return template
