"""Thousands of generated queries over rows in every place, against plain DataFusion tables and DuckDB: see `differential`.

`QUORATE_DIFFERENTIAL_QUERIES` asks more than 3,000 in all, `QUORATE_DIFFERENTIAL_SEED` others. A failure tells the SQL, cut
down, the operations that are needed to see it, and the history; `python -m differential` runs that one again.
"""

import dataclasses
import os

import pyarrow as pa
import pytest

from differential import compare, history, queries, runner
from differential.grammar import same
from differential.values import from_bits

SEED = os.environ.get("QUORATE_DIFFERENTIAL_SEED", "1")
QUERIES = int(os.environ.get("QUORATE_DIFFERENTIAL_QUERIES", "3000"))
HISTORIES, COMPARISONS = 6, 8


@pytest.fixture(scope="module")
def store():
    with runner.store() as opened:
        yield opened
        # Compaction comes by itself, too; it must not have come before every comparison.
        assert not opened.overlaps or max(opened.overlaps) > 1, opened.overlaps


@pytest.fixture(scope="module")
def known(store):
    return runner.known(store)


@pytest.mark.parametrize("number", range(HISTORIES))
def test_answers_agree_wherever_rows_are(store, known, number):
    count = -(-QUERIES // (HISTORIES * COMPARISONS))
    run = runner.Run(store, SEED, number, known)
    found = list(run.queries(count))
    run.drop()
    again = f"python -m differential --seed {SEED} --first {number} --histories 1 --queries {count}"
    assert not found, "\n".join([again, *map(str, found)])
    assert run.asked == count * COMPARISONS
    # Of extreme histories DuckDB understands less.
    assert run.in_duckdb > run.asked * (0.15 if run.extreme else 0.3)


def test_a_row_too_many_is_found_and_cut_down(store, known):
    run = runner.Run(store, SEED, 0, known)
    _, tables, done = next(run.stages())
    other = run.copies(tables)
    name, model = tables["@T@"]
    store.execute(f"INSERT INTO {runner.MEMORY}.public.{name} (time, n) VALUES ('2001-01-01T00:00:00Z', 77)")
    base = queries.Base("@T@", "t0")
    items = tuple(queries.Item(f"c{i}", same(f"t0.{column}"), "tag") for i, column in enumerate(model.columns))
    query = queries.Select(items, base, (same("t0.n = 77"), same("t0.time < '2002-01-01T00:00:00Z'")))
    found = run.differs(query, tables, other)
    assert found[:2] == ("memory", "stored and memory: 0 rows and 1")
    query, _ = run.shrink(query, found, tables, other)
    assert len(query.items) == 1 and len(query.where) < 2
    run.drop()


def test_the_model_keeps_the_newest_value_of_each_field():
    model = history.Model(["a"], ["f", "n"])
    history.Write("insert", ["time", "a", "f", "n"], [{"time": 1, "a": "x", "f": 1.0, "n": 1}]).apply(model)
    history.Write("lines", ["time", "a", "f"], [{"time": 1, "a": "x", "f": 2.0}]).apply(model)
    history.Write("ingest", ["time", "a", "n"], [{"time": 1, "a": "x", "n": None}]).apply(model)
    assert model.table() == [(1, "x", 2.0, 1)]
    history.Write("insert", ["time", "a", "n"], [{"time": 1, "a": "x", "n": None}]).apply(model)
    assert model.table() == [(1, "x", 2.0, None)]


@pytest.mark.parametrize("left, right, what", [
    ([1.0], [1.0], None), ([0.0], [-0.0], "row 0"), ([from_bits(0x7ff8000000000001)], [float("nan")], "row 0"),
    ([1.0, 2.0], [2.0, 1.0], None), ([1.0, 1.0], [1.0, 2.0], "row 1"), ([1.0], [1.0, 1.0], "1 rows and 2"),
    ([None, 1.0], [0.0, 1.0], "row 0"), ([1], [1.0], "columns")])
def test_differences_are_seen_to_the_bit(left, right, what):
    shape = queries.Shape((False,), "multiset", ())
    found = compare.difference(pa.table({"c": left}), pa.table({"c": right}), shape, types=True)
    assert found is None if what is None else found.startswith(what)


def test_sums_in_floating_point_are_near_and_no_more():
    shape = queries.Shape((True,), "multiset", ())
    for other, same_sum in ((1e6 + 1e-4, True), (1e6 + 1e-2, False), (float("nan"), False), (None, False)):
        found = compare.difference(pa.table({"c": [1e6]}), pa.table({"c": pa.array([other], pa.float64())}), shape, types=True)
        assert (found is None) == same_sum, other


def test_an_order_is_compared_by_its_keys():
    shape = queries.Shape((False, False), "multiset", (0,))
    one = pa.table({"k": [1, 1, 2], "v": ["a", "b", "c"]})
    assert compare.difference(one, pa.table({"k": [1, 1, 2], "v": ["b", "a", "c"]}), shape, types=True) is None
    assert compare.difference(one, pa.table({"k": [1, 2, 1], "v": ["a", "c", "b"]}), shape, types=True).startswith("row 1 in order")
    total = dataclasses.replace(shape, mode="sequence")
    assert compare.difference(one, pa.table({"k": [1, 1, 2], "v": ["b", "a", "c"]}), total, types=True).startswith("row 0")
