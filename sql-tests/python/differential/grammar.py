"""What queries are made of: one line for each function, operator and predicate, with its spelling in DuckDB or none.

A fragment has two spellings, Quorate's (of stored tables and of those in memory) and DuckDB's. `{0}`, `{1}` are arguments; in an argument list, kinds of
`values` tell what fits. DuckDB's spelling is `SAME`, a template, or None where it means something else:

- `odd` doubles: DataFusion compares and groups by bits in total order (−0 is below 0, NaN with a sign is lowest); DuckDB
  takes both zeros as one, and every NaN as one, the greatest.
- `long` sums wrap around in DataFusion, are wider in DuckDB; `avg` and `median` of integers differ in type, too.
- DuckDB's `~` matches the whole text, its `LIKE` knows no escape, its `ILIKE` other rules beyond ASCII.
- Its times with nanoseconds have no zone, and its functions of time see microseconds: plain histories have no more.
- DataFusion names an aggregate without the casts in its argument, and refuses two of one name (`sum(n::DOUBLE), sum(n)`):
  no cast here is a whole argument. Its parser (sqlparser 0.62) takes all that follows `IS DISTINCT FROM`, `AND` included,
  for the other side: here it stands in parentheses.
- NULL sorts last in DuckDB whatever the direction: both get `NULLS FIRST` or `LAST` in words.
"""

import dataclasses

SAME = "="

# Of the functions and syntax below that carry a `needs`, those that the server must know; the others are tried if it does.
REQUIRED = frozenset({
    "asof", "date_bin_gapfill", "time_bucket_gapfill",
    "time_bucket", "first", "last", "min_by", "max_by", "selector_first", "selector_last", "selector_min", "selector_max",
    "rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes", "time_weighted_avg",
    "histogram", "mode", "mad", "lttb", "moving_average", "ema", "derivative", "cumulative_sum", "zscore",
})


@dataclasses.dataclass(frozen=True)
class Fragment:
    """SQL in both spellings; `duckdb` is None where there is none."""
    quorate: str
    duckdb: str | None

    def __getitem__(self, dialect):
        return self.duckdb if dialect == "duckdb" else self.quorate


def same(text):
    return Fragment(text, text)


def fill(template, other, *arguments):
    """A fragment of a template and, for DuckDB, another one."""
    quorate = template.format(*(argument.quorate for argument in arguments))
    if other is None or any(argument.duckdb is None for argument in arguments):
        return Fragment(quorate, None)
    other = template if other == SAME else other
    return Fragment(quorate, other.format(*(argument.duckdb for argument in arguments)))


def without_duckdb(fragment):
    return Fragment(fragment.quorate, None)


@dataclasses.dataclass(frozen=True)
class Function:
    """`result` is a kind of values, or `real` (exact, for no sums), `close` (to 1e-9), `list`.

    `ties`: rows with equal times decide arbitrarily, so that groups must be series. `needs` is the name of what the server
    must know.
    """
    result: str
    takes: tuple
    template: str
    duckdb: str | None = SAME
    ties: bool = False
    needs: str | None = None


def F(result, takes, template, duckdb=SAME, **more):
    return Function(result, tuple(takes.split()), template, duckdb, **more)


NUMBERS = ("float", "int")

SCALARS = [
    # Numbers
    F("int", "int", "abs({0})"), F("int", "int", "({0} + 3)"), F("int", "int", "({0} * 2)"), F("int", "int", "(-{0})"),
    F("int", "int int", "({0} + {1})"), F("int", "int", "({0} % 7)"), F("int", "int", "coalesce({0}, -1)"),
    F("int", "int int", "greatest({0}, {1})"), F("int", "int int", "least({0}, {1})"), F("int", "int", "nullif({0}, 3)"),
    F("int", "text", "length({0})"), F("int", "tag", "length({0})"), F("int", "text", "strpos({0}, 'x')"),
    F("int", "tag", "coalesce(length({0}), 0)"), F("int", "bool", "CASE WHEN {0} THEN 1 ELSE 0 END"),
    F("int", "bool int", "CASE WHEN {0} THEN {1} END"), F("int", "float", "CAST(floor({0}) AS BIGINT)"),
    F("float", "float", "abs({0})"), F("float", "float", "({0} * 0.5)"), F("float", "float", "({0} + 12.5)"),
    F("float", "float float", "({0} - {1})"), F("float", "float int", "({0} * {1} + 0.0)"), F("float", "float", "floor({0})"),
    F("float", "float", "(ceil({0}) + 0.0)"), F("float", "float", "coalesce({0}, 0.5)"), F("float", "int", "(CAST({0} AS DOUBLE) + 0.25)"),
    F("float", "float float", "greatest({0}, {1})"), F("real", "float", "({0} / 3.0)"), F("real", "float", "sqrt(abs({0}))"),
    F("close", "float", "ln(abs({0}) + 1.0)"), F("close", "float", "sin({0})"), F("float", "float", "signum({0})", "CAST(sign({0}) AS DOUBLE)"),
    F("long", "long", "coalesce({0}, 0)"), F("long", "long", "({0} + 1)", None), F("long", "long long", "({0} - {1})", None),
    F("word", "word", "coalesce({0}, 7)", "coalesce({0}, 7::UBIGINT)"), F("long", "long int", "least({0}, {1})"),
    F("odd", "odd", "(-{0})", None), F("odd", "odd", "abs({0})", None), F("odd", "odd float", "coalesce({0}, {1})"),
    F("odd", "odd odd", "nanvl({0}, {1})", None), F("bool", "odd", "isnan({0})"), F("bool", "odd", "iszero({0})", None),
    F("odd", "odd odd", "greatest({0}, {1})", None), F("odd", "odd odd", "least({0}, {1})", None),
    F("close", "odd odd", "({0} + {1})", None), F("text", "odd", "concat(CAST({0} AS VARCHAR), '')", None),
    # Texts
    F("text", "tag", "coalesce({0}, '-')"), F("text", "tag text", "({0} || {1})"), F("text", "text", "substr({0}, 1, 2)"),
    F("text", "tag", "concat({0}, '/', {0})"), F("text", "text", "replace({0}, 'x', 'zz')"), F("text", "text", "reverse({0})"),
    F("text", "tag", "left({0}, 1)"), F("text", "tag", "upper({0})", None), F("text", "tag", "split_part({0}, 'b', 1)"),
    F("text", "tag", "regexp_replace({0}, '[0-9]+', '#')"), F("text", "tag", "nullif({0}, 'a')"), F("text", "tag", "md5({0})"),
    F("text", "int", "concat(CAST({0} AS VARCHAR), '')"), F("text", "bool text", "CASE WHEN {0} THEN {1} ELSE 'no' END"),
    # Truths
    F("bool", "bool", "NOT {0}"), F("bool", "bool", "coalesce({0}, false)"), F("bool", "int", "({0} > 5)"),
    F("bool", "float int", "({0} < {1})"), F("bool", "bool", "({0} IS NOT TRUE)"), F("bool", "tag", "starts_with({0}, 'a')"),
    # Times
    F("time", "time", "coalesce({0}, '2024-01-01T00:00:00Z'::TIMESTAMPTZ)", "coalesce({0}, TIMESTAMP_NS '2024-01-01')"),
    F("int", "time", "date_part('hour', {0})"), F("int", "time", "date_part('year', {0})"),
    F("int", "time", "date_part('dow', {0})"), F("int", "time", "date_part('month', {0})"),
    F("int", "time", "date_part('minute', {0})"), F("int", "time", "date_part('doy', {0})"),
    F("long", "time", "(CAST({0} AS BIGINT) / 1000)", "(epoch_ns({0}) // 1000)"),
]

# Only in plain histories: near the ends of the range of times they overflow.
TIMES = [
    F("time", "time", "({0} + INTERVAL '90 seconds')", "(CAST({0} AS TIMESTAMP) + INTERVAL '90 seconds')"),
    F("time", "time", "({0} - INTERVAL '1 month')", "(CAST({0} AS TIMESTAMP) - INTERVAL '1 month')"),
    *[F("time", "time", f"date_trunc('{unit}', {{0}})", f"date_trunc('{unit}', CAST({{0}} AS TIMESTAMP))")
      for unit in ("second", "minute", "hour", "day", "week", "month", "year")],
    *[F("time", "time", f"date_bin(INTERVAL '{width}', {{0}})",
        f"time_bucket(INTERVAL '{width}', CAST({{0}} AS TIMESTAMP), TIMESTAMP '1970-01-01')")
      for width in ("1 second", "10 seconds", "7 minutes", "1 hour", "1 day", "1 week", "1 month", "3 months")],
    *[F("time", "time", f"date_bin(INTERVAL '{width}', {{0}}, TIMESTAMP '2001-01-01T00:00:03')",
        f"time_bucket(INTERVAL '{width}', CAST({{0}} AS TIMESTAMP), TIMESTAMP '2001-01-01 00:00:03')")
      for width in ("10 seconds", "1 hour")],
    *[F("time", "time", f"time_bucket(INTERVAL '{width}', {{0}})",
        f"time_bucket(INTERVAL '{width}', CAST({{0}} AS TIMESTAMP))", needs="time_bucket")
      for width in ("10 seconds", "7 minutes", "1 hour", "1 day", "1 week", "1 month", "1 year")],
]

# `{key}` is the order by which rows are told apart: the time and all tags.
AGGREGATES = [
    F("int", "any", "count({0})"), F("int", "", "count(*)"), F("int", "any", "count(DISTINCT {0})"),
    F("int", "odd", "count({0})"), F("int", "odd", "count(DISTINCT {0})", None),
    F("int", "int", "sum({0})", "CAST(sum({0}) AS BIGINT)"), F("float", "float", "sum({0})"), F("long", "long", "sum({0})", None),
    F("int", "int", "sum(DISTINCT {0})", "CAST(sum(DISTINCT {0}) AS BIGINT)"), F("word", "word", "sum({0})", None),
    F("real", "float", "avg({0})"), F("real", "int", "avg({0})"), F("real", "float", "median({0})"), F("real", "int", "median({0})"),
    *[F(kind, kind, f"{name}({{0}})") for name in ("min", "max")
      for kind in ("int", "float", "long", "word", "text", "time", "tag", "bool")],
    *[F("odd", "odd", f"{name}({{0}})", None) for name in ("min", "max")],
    *[F("close", kind, f"{name}({{0}})") for name in ("stddev", "stddev_pop", "var_samp", "var_pop") for kind in NUMBERS],
    F("close", "float float", "covar_samp({0}, {1})"), F("close", "float float", "covar_pop({0}, {1})"),
    F("bool", "bool", "bool_and({0})"), F("bool", "bool", "bool_or({0})"),
    F("int", "int", "bit_and({0})"), F("int", "int", "bit_or({0})"), F("int", "int", "bit_xor({0})"),
    *[F("word", kind, "approx_distinct({0})", None) for kind in ("int", "text", "tag", "long")],
    F("int", "int bool", "count({0}) FILTER (WHERE {1})"),
    F("float", "float bool", "sum({0}) FILTER (WHERE {1})"), F("int", "bool", "count(*) FILTER (WHERE {0})"),
    *[F(kind, kind, f"first_value({{0}} ORDER BY {{key}})", f"first({{0}} ORDER BY {{key}})")
      for kind in ("int", "float", "text", "long", "tag", "odd")],
    *[F(kind, kind, f"last_value({{0}} ORDER BY {{key}})", f"last({{0}} ORDER BY {{key}})")
      for kind in ("int", "float", "text", "word", "time", "odd")],
    F("int", "int", "nth_value({0}, 2 ORDER BY {key})", None),
    F("list", "int", "array_agg({0} ORDER BY {key})"), F("text", "text", "string_agg({0}, ',' ORDER BY {key})"),
    F("int", "int", "first_value({0} ORDER BY {key_desc})", "first({0} ORDER BY {key_desc})"),
    F("real", "float", "percentile_cont(0.25) WITHIN GROUP (ORDER BY {0})", None),
    # Of the crate of time-series functions
    *[F(kind, f"{kind} ts", "first({0}, {1})", None, ties=True, needs="first") for kind in ("float", "odd", "text", "int")],
    *[F(kind, f"{kind} ts", "last({0}, {1})", None, ties=True, needs="last") for kind in ("float", "odd", "text", "int")],
    F("float", "float ts", "first({0}, {1}) FILTER (WHERE {0} IS NOT NULL)", "arg_min({0}, {1})", ties=True, needs="first"),
    F("float", "float ts", "last({0}, {1}) FILTER (WHERE {0} IS NOT NULL)", "arg_max({0}, {1})", ties=True, needs="last"),
    F("int", "int ts", "min_by({0}, {1})", None, ties=True, needs="min_by"),
    F("int", "int ts", "max_by({0}, {1})", None, ties=True, needs="max_by"),
    F("float", "float ts", "min_by({0}, {1}) FILTER (WHERE {0} IS NOT NULL)", "min_by({0}, {1})", ties=True, needs="min_by"),
    F("float", "float ts", "max_by({0}, {1}) FILTER (WHERE {0} IS NOT NULL)", "max_by({0}, {1})", ties=True, needs="max_by"),
    *[F("list", f"{kind} ts", f"{name}({{0}}, {{1}})", None, needs=name) for kind in ("float", "int", "odd")
      for name in ("selector_first", "selector_last", "selector_min", "selector_max")],
    *[F("close", f"{kind} ts", f"{name}({{0}}, {{1}})", None, ties=True, needs=name) for kind in NUMBERS
      for name in ("rate", "increase", "delta", "irate", "idelta", "deriv", "resets", "changes", "time_weighted_avg")],
    F("list", "float", "histogram({0}, -500.0, 500.0, 10)", None, needs="histogram"),
    *[F(kind, kind, "mode({0})", None, needs="mode") for kind in ("int", "text", "float")],
    F("real", "float", "mad({0})", SAME, needs="mad"),
    F("list", "float ts", "lttb({1}, {0}, 5)", None, ties=True, needs="lttb"),
]

# `{over}` is the window: partition by one series' tags or less, ordered by the key.
WINDOWS = [
    F("word", "", "row_number() OVER ({over})"), F("word", "", "rank() OVER ({loose})"), F("word", "", "dense_rank() OVER ({loose})"),
    F("word", "", "ntile(4) OVER ({over})"), F("real", "", "percent_rank() OVER ({loose})"), F("real", "", "cume_dist() OVER ({loose})"),
    *[F(kind, kind, f"{name}({{0}}) OVER ({{over}})") for name in ("lag", "lead") for kind in ("int", "float", "text", "time", "long")],
    F("int", "int", "lag({0}, 2, -1) OVER ({over})"), F("float", "float", "{0} - lag({0}) OVER ({over})"),
    F("odd", "odd", "lag({0}) OVER ({over})"), F("odd", "odd", "max({0}) OVER ({over})", None),
    *[F(kind, kind, f"{name}({{0}}) OVER ({{over}})") for name in ("first_value", "last_value") for kind in ("int", "float", "text")],
    *[F("int", "int", f"{name}({{0}}) OVER ({{over}} {frame})", f"CAST({name}({{0}}) OVER ({{over}} {frame}) AS BIGINT)")
      for name in ("sum", "count", "min", "max")
      for frame in ("", "ROWS BETWEEN 2 PRECEDING AND CURRENT ROW", "ROWS BETWEEN 1 FOLLOWING AND 3 FOLLOWING",
                    "ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING")],
    *[F(result, "float", f"{name}({{0}}) OVER ({{over}} {frame})") for name, result in (("sum", "float"), ("avg", "real"))
      for frame in ("", "ROWS BETWEEN 3 PRECEDING AND 1 FOLLOWING")],
    *[F("int", "int", f"{name}({{0}}) OVER ({{loose}} RANGE BETWEEN INTERVAL '{width}' PRECEDING AND CURRENT ROW)",
        f"CAST({name}({{0}}) OVER ({{loose}} RANGE BETWEEN INTERVAL '{width}' PRECEDING AND CURRENT ROW) AS BIGINT)")
      for name in ("sum", "count", "max") for width in ("10 seconds", "1 hour", "1 day")],
    F("float", "float", "sum({0}) OVER ({part})"), F("int", "", "count(*) OVER ()"), F("int", "int", "max({0}) OVER ({part})"),
    F("int", "int", "nth_value({0}, 2) OVER ({over})"),
    # Of the crate of time-series functions
    *[F("close", f"{kind} ts", f"{name}({{0}}, {{1}}) OVER ({{over}})", None, ties=True, needs=name) for kind in NUMBERS
      for name in ("rate", "increase", "delta", "irate", "resets", "changes")],
    F("close", "float", "moving_average({0}, 3) OVER ({over})", None, needs="moving_average"),
    F("close", "float", "ema({0}, 0.5) OVER ({over})", None, needs="ema"),
    F("close", "float ts", "derivative({0}, {1}) OVER ({over})", None, ties=True, needs="derivative"),
    F("float", "float", "cumulative_sum({0}) OVER ({over})", None, needs="cumulative_sum"),
    F("close", "float", "zscore({0}) OVER ({over})", None, needs="zscore"),
]

TAG_PATTERNS = [
    ("{0} LIKE 'a%'", SAME), ("{0} NOT LIKE '%b%'", SAME), ("{0} LIKE '_'", SAME), ("{0} ILIKE 'A%'", None),
    ("{0} ~ '^a'", "regexp_matches({0}, '^a')"), ("{0} !~ 'b[0-9]'", "NOT regexp_matches({0}, 'b[0-9]')"),
    ("{0} ~* '^(a|ä)$'", None), ("{0} ~ '^(a|b1|ab)$'", "regexp_matches({0}, '^(a|b1|ab)$')"), ("{0} ~ '[[:digit:]]'", None),
    ("{0} ~ '^日'", "regexp_matches({0}, '^日')"), ("{0} !~* 'A'", None), ("regexp_like({0}, 'b.?$')", None),
    ("{0} IS NULL", SAME), ("{0} IS NOT NULL", SAME), ("{0} = ''", SAME), ("{0} <> ''", SAME), ("{0} IN ('a', 'b', 'ä')", SAME),
    ("{0} NOT IN ('a', 'b1')", SAME), ("{0} IN ('a', NULL)", SAME), ("{0} NOT IN ('a', NULL)", SAME),
    ("({0} IN ('a', 'b', 'ab') AND {0} NOT IN ('a', NULL))", SAME), ("({0} NOT IN ('a', 'b') OR {0} NOT IN ('b1', 'ä'))", SAME),
    ("NOT ({0} IN ('a', 'b', 'ab', 'ä') AND {0} IN ('b1', ''))", SAME), ("({0} IS DISTINCT FROM 'a')", SAME),
    ("({0} IS NOT DISTINCT FROM NULL)", SAME), ("{0} > 'a'", SAME), ("{0} <= 'ab'", SAME), ("{0} BETWEEN 'a' AND 'b'", SAME),
    ("coalesce({0}, 'none') = 'none'", SAME), ("length({0}) > 1", SAME), ("{0} || 'x' = 'ax'", SAME), ("upper({0}) = 'A'", SAME),
    ("NOT ({0} = 'a')", SAME), ("({0} = 'a') IS NOT TRUE", SAME), ("{0} LIKE '%\\_%'", None), ("{0} LIKE '%''%'", SAME),
    ("CASE WHEN {0} IS NULL THEN true ELSE {0} < 'b' END", SAME), ("strpos({0}, 'b') > 0", SAME), ("{0} = {0}", SAME),
]
SIMILAR = [("{0} SIMILAR TO 'a(b|c)%'", None), ("{0} SIMILAR TO '(a|b)_*'", None), ("{0} NOT SIMILAR TO '%[0-9]'", None)]

ODD_PREDICATES = [
    "{0} = 'NaN'::DOUBLE", "{0} <> 'NaN'::DOUBLE", "{0} > 0.0", "{0} >= 0.0", "{0} < 0.0", "{0} = 0.0", "{0} = '-0'::DOUBLE",
    "{0} < 'NaN'::DOUBLE", "{0} > 1e300", "{0} > 'Infinity'::DOUBLE", "{0} BETWEEN -1.0 AND 1.0", "NOT ({0} > 1.0)",
    "isnan({0})", "NOT isnan({0})", "{0} IN (0.0, 1.0, 'NaN'::DOUBLE)", "{0} NOT IN (0.0, 1.0)", "{0} IS NOT NULL", "{0} IS NULL",
    "({0} IS DISTINCT FROM 'NaN'::DOUBLE)", "{0} >= '-Infinity'::DOUBLE", "{0} < '-Infinity'::DOUBLE", "{0} = {0}", "abs({0}) > 2.0",
]
