"""Statements that are long chains: answered or refused, and the node goes on."""

import pytest

from shared import http as request, sql


def ask(statement):
    return request("POST", "/api/v1/sql", statement.encode())


def chain(of, by, count):
    return by.join(of.format(i) for i in range(count))


ANSWERED = {
    "or": "SELECT count(*) AS n FROM {table} WHERE " + chain("host = 'h{}'", " OR ", 5000),
    "and": "SELECT count(*) AS n FROM {table} WHERE " + chain("host <> 'g{}'", " AND ", 5000),
    "mixed": "SELECT count(*) AS n FROM {table} WHERE " + chain("(host = 'h{0}' AND v = {0})", " OR ", 2000),
    "not": "SELECT count(*) AS n FROM {table} WHERE NOT (" + chain("host = 'g{}'", " OR ", 2000) + ")",
    "in": "SELECT count(*) AS n FROM {table} WHERE host IN (" + chain("'h{}'", ", ", 20000) + ")",
    "sum": "SELECT count(*) AS n FROM {table} WHERE v + " + chain("{}", " + ", 499) + " >= 0",
    "texts": "SELECT count(*) AS n FROM {table} WHERE host || " + chain("'{}'", " || ", 499) + " <> ''",
    "casts": "SELECT count(*) AS n FROM {table} WHERE v" + "::BIGINT" * 499 + " >= 0",
    "unions": "SELECT count(*) AS n FROM (SELECT 0 WHERE false" + chain(" UNION ALL SELECT {} WHERE false", "", 496)
              + " UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3)",
    "case": "SELECT count(*) AS n FROM {table} WHERE CASE " + chain("WHEN v = -1{} THEN false", " ", 100) + " ELSE true END",
}

REFUSED = {
    "or": "SELECT 1 WHERE " + chain("{} = 1", " OR ", 100_000),
    "and": "SELECT 1 WHERE " + chain("{} = 1", " AND ", 5001),
    "sum": "SELECT " + chain("{}", " + ", 3000),
    "sums in sums": "SELECT " + "(" * 20 + "1" + (chain(" + {}", "", 40) + ")") * 20,
    "texts": "SELECT " + chain("'{}'", " || ", 100_000),
    "casts": "SELECT 1" + "::BIGINT" * 3000,
    "likes": "SELECT 'a'" + " LIKE 'a'" * 2000,
    "is": "SELECT 1" + " IS NOT DISTINCT FROM 1" * 2000,
    "cases": "SELECT " + chain("CASE WHEN true THEN {} END", " + ", 3000),
    "unions": chain("SELECT {}", " UNION ALL ", 2000),
    "joins": "SELECT 1 FROM " + chain("x AS x{}", ", ", 2000),
    "elements": "SELECT [1]" + "[1]" * 3000,
    "view": "CREATE VIEW long_chain AS SELECT " + chain("{}", " + ", 3000),
    "explain": "EXPLAIN SELECT " + chain("{}", " + ", 3000),
}


@pytest.fixture(scope="module")
def hosts():
    sql("CREATE TABLE chained (time TIMESTAMP NOT NULL, host STRING, v DOUBLE, PRIMARY KEY (host, time))")
    sql("INSERT INTO chained VALUES ('2024-01-01', 'h0', 0), ('2024-01-01', 'h1', 1), ('2024-01-01', 'h2', 2)")
    yield "chained"
    sql("DROP TABLE chained")


@pytest.mark.parametrize("name", ANSWERED)
def test_a_long_chain_is_answered(hosts, name):
    answer = ask(ANSWERED[name].replace("{table}", hosts))
    assert answer.status == 200, answer.text
    assert answer.json == [{"n": 3}]


@pytest.mark.parametrize("name", REFUSED)
def test_a_chain_that_is_too_long_is_refused_with_its_place(name):
    answer = ask(REFUSED[name])
    assert answer.status == 400, answer.text
    error = answer.json
    assert "a chain of more than" in str(error), error
    assert ask("SELECT 1 AS one").json == [{"one": 1}]


def test_a_delete_takes_a_long_chain(hosts):
    conditions = chain("(host = 'g{0}' AND v = {0})", " OR ", 2000)
    answer = ask(f"DELETE FROM {hosts} WHERE {conditions}")
    assert answer.status == 200, answer.text
    assert sql(f"SELECT count(*) AS n FROM {hosts}") == [{"n": 3}]
