"""Kinds of columns, random values of them, and literals in both dialects.

| kind | column | holds |
|---|---|---|
| `time` | `time`, `w…` | instants; microseconds in plain histories, nanoseconds up to the ends of the range in extreme ones |
| `tag`, `text` | `a` `b` `c`, `s…` | texts that look alike; a tag is never empty |
| `float` | `f…` | eighths of moderate size, so that sums are exact in any order |
| `odd` | `g…` | NaN with payloads, both zeros, infinities, the ends of the range: DuckDB orders and groups them otherwise |
| `int` | `n…` | small integers |
| `long` | `i…` | 64 bits, sums wrap around: DuckDB's do not |
| `word` | `u…` | 64 bits without a sign |
| `bool` | `o…` | |
"""

import datetime
import struct

import pyarrow as pa

NS = pa.timestamp("ns", tz="UTC")
EPOCH = datetime.datetime(1970, 1, 1)
KINDS = {"f": "float", "g": "odd", "n": "int", "i": "long", "u": "word", "o": "bool", "s": "text", "w": "time"}
SQL_TYPES = {"float": "DOUBLE", "odd": "DOUBLE", "int": "BIGINT", "long": "BIGINT", "word": "BIGINT UNSIGNED",
             "bool": "BOOLEAN", "text": "STRING", "time": "TIMESTAMP", "tag": "STRING"}
ARROW_TYPES = {"float": pa.float64(), "odd": pa.float64(), "int": pa.int64(), "long": pa.int64(), "word": pa.uint64(),
               "bool": pa.bool_(), "text": pa.string(), "time": NS, "tag": pa.string()}
TAG_VALUES = ["a", "ab", "abc", "A", "ä", "Ä", "a b", "a,b", "a=1", "50%", "_a", "日本", "o'k", "b", "b1", "b10", "b2", None]
TEXT_VALUES = ["", "x", "X", "xy", "xyz", "ÿ", "日本語", "o'k", '"q"', "a long text that does not fit into a view of twelve", "%"]
ODD_BITS = [0x7ff8000000000000, 0x7ff8000000000123, 0xfff8000000000001, 0x7ff0000000000000, 0xfff0000000000000,
            0x0000000000000000, 0x8000000000000000, 0x3ff0000000000000, 0xbff0000000000000, 0x7fefffffffffffff,
            0x0000000000000001, 0x4002000000000000]
LONGS = [-2**63, -2**63 + 1, -1, 0, 1, 2**53 + 1, 2**63 - 1]
WORDS = [0, 1, 2**53 + 1, 2**63, 2**64 - 1]


def kind_of(name):
    """By the first letter of a column's name."""
    if name == "time":
        return "time"
    return "tag" if name[0] in "abc" else KINDS[name[0]]


def from_bits(bits):
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


def bits(value):
    return struct.unpack("<Q", struct.pack("<d", value))[0]


def random_value(random, kind, times):
    """A value of a field, None now and then."""
    if random.random() < 0.2:
        return None
    if kind == "float":
        return random.randint(-8000, 8000) / 8 if random.random() < 0.7 else random.choice([0.0, 1.0, 2.5, 99.875])
    if kind == "odd":
        return from_bits(random.choice(ODD_BITS))
    if kind == "int":
        return random.randint(-5, 20)
    if kind == "long":
        return random.choice(LONGS) if random.random() < 0.6 else random.randint(-1000, 1000)
    if kind == "word":
        return random.choice(WORDS) if random.random() < 0.5 else random.randint(0, 1000)
    if kind == "bool":
        return random.random() < 0.5
    if kind == "time":
        return random.choice(times)
    return random.choice(TEXT_VALUES)


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


def stamp(nanoseconds):
    """`2024-01-01 00:00:00.000000001`, exact, which `datetime` is not."""
    whole, rest = divmod(nanoseconds, 10**9)
    return f"{EPOCH + datetime.timedelta(seconds=whole):%Y-%m-%d %H:%M:%S}.{rest:09d}"


def time_text(nanoseconds):
    return f"'{stamp(nanoseconds)}Z'"


def literal(value, kind):
    """A value in Quorate's SQL, typed."""
    if value is None:
        return "NULL"
    if kind == "time":
        return f"{time_text(value)}::TIMESTAMPTZ"
    if kind in ("tag", "text"):
        return quoted(value)
    if kind == "bool":
        return "true" if value else "false"
    if kind == "odd":
        return odd_literal(value)
    return f"({value!r})" if value < 0 else repr(value)


def odd_literal(value):
    if value != value:
        return "'NaN'::DOUBLE"
    if value in (float("inf"), float("-inf")):
        return "'Infinity'::DOUBLE" if value > 0 else "'-Infinity'::DOUBLE"
    return f"'{value!r}'::DOUBLE"


def arrow_array(values, kind):
    return pa.array(values, ARROW_TYPES[kind])
