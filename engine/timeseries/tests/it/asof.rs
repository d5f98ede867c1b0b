//! As-of joins: their two spellings, what matches, and what is refused.

use datafusion::prelude::SessionContext;

use crate::fixture::{check, run, session};

const TABLES: &str = "WITH trades (sym, t, n) AS (VALUES
        ('a', TIMESTAMP '2026-01-01T00:00:01', 1), ('a', TIMESTAMP '2026-01-01T00:00:05', 2),
        ('b', TIMESTAMP '2026-01-01T00:00:03', 3), ('c', TIMESTAMP '2026-01-01T00:00:03', 4),
        (NULL, TIMESTAMP '2026-01-01T00:00:03', 5), ('a', NULL, 6)),
    quotes (sym, t, p) AS (VALUES
        ('a', TIMESTAMP '2026-01-01T00:00:01', 10), ('a', TIMESTAMP '2026-01-01T00:00:04', 20),
        ('a', TIMESTAMP '2026-01-01T00:00:09', 30), ('b', TIMESTAMP '2026-01-01T00:00:02', 40),
        (NULL, TIMESTAMP '2026-01-01T00:00:00', 50), ('b', NULL, 60)) ";

/// Asserts `n p` of each row, for a join between `trades` and `quotes`.
async fn check_join(join: &str, want: &[&str]) {
    let sql = format!("{TABLES} SELECT n, p FROM trades AS l {join} ORDER BY n");
    let lines: Vec<&str> = std::iter::once("n p").chain(want.iter().copied()).collect();
    check(&sql, &lines).await;
}

async fn check_error(join: &str, want: &[&str]) {
    let sql = format!("{TABLES} SELECT n, p FROM trades AS l {join} ORDER BY n");
    let error = run(&session(), &sql).await.expect_err(join).to_string();
    for part in want {
        assert!(error.contains(part), "{join}: {error}");
    }
}

#[tokio::test]
async fn match_condition_keeps_left_rows_and_finds_the_nearest_of_each_comparison() {
    for (comparison, want) in [
        (">=", ["1 10", "2 20", "3 40", "4 NULL", "5 NULL", "6 NULL"]),
        (">", ["1 NULL", "2 20", "3 40", "4 NULL", "5 NULL", "6 NULL"]),
        ("<=", ["1 10", "2 30", "3 NULL", "4 NULL", "5 NULL", "6 NULL"]),
        ("<", ["1 20", "2 30", "3 NULL", "4 NULL", "5 NULL", "6 NULL"]),
    ] {
        let join = "ASOF JOIN quotes AS r MATCH_CONDITION";
        check_join(&format!("{join} (l.t {comparison} r.t) ON l.sym = r.sym"), &want).await;
        check_join(&format!("{join} (l.t {comparison} r.t) USING (sym)"), &want).await;
    }
    let turned = "ASOF JOIN quotes r MATCH_CONDITION (r.t <= l.t) ON r.sym = l.sym";
    check_join(turned, &["1 10", "2 20", "3 40", "4 NULL", "5 NULL", "6 NULL"]).await;
}

#[tokio::test]
async fn an_inequality_in_on_drops_left_rows_without_partner_unless_left_is_said() {
    let inner = ["1 10", "2 20", "3 40"];
    let left = ["1 10", "2 20", "3 40", "4 NULL", "5 NULL", "6 NULL"];
    check_join("ASOF JOIN quotes r ON l.sym = r.sym AND l.t >= r.t", &inner).await;
    check_join("asof join quotes r ON l.t >= r.t AND l.sym = r.sym", &inner).await;
    check_join("ASOF LEFT JOIN quotes r ON l.sym = r.sym AND l.t >= r.t", &left).await;
    check_join("ASOF LEFT OUTER JOIN quotes r ON l.sym = r.sym AND l.t >= r.t", &left).await;
    check_join("ASOF JOIN quotes r USING (sym, t)", &inner).await;
    check_join("ASOF LEFT JOIN quotes r USING (sym, t)", &left).await;
    check_join("ASOF INNER JOIN quotes r MATCH_CONDITION (l.t >= r.t) ON l.sym = r.sym", &inner)
        .await;
}

#[tokio::test]
async fn without_equalities_rows_of_all_series_match() {
    let want = ["1 10", "2 20", "3 40", "4 40", "5 40"];
    check_join("ASOF JOIN quotes r ON l.t >= r.t", &want).await;
    let want = ["1 10", "2 20", "3 40", "4 40", "5 40", "6 NULL"];
    check_join("ASOF JOIN quotes r MATCH_CONDITION (l.t >= r.t)", &want).await;
}

#[tokio::test]
async fn rows_as_far_as_the_tolerance_match_and_rows_further_do_not() {
    let near = ["1 10", "2 20", "3 40", "4 NULL", "5 NULL", "6 NULL"];
    let same = ["1 10", "2 NULL", "3 NULL", "4 NULL", "5 NULL", "6 NULL"];
    for (tolerance, want) in [
        ("INTERVAL '1 second'", near),
        ("INTERVAL '1' SECOND", near),
        ("INTERVAL '999999999 nanoseconds'", same),
        ("INTERVAL '0 seconds'", same),
        ("(INTERVAL '1 second')", near),
    ] {
        let join = "ASOF JOIN quotes r MATCH_CONDITION (l.t >= r.t)";
        check_join(&format!("{join} TOLERANCE {tolerance} ON l.sym = r.sym"), &want).await;
        check_join(&format!("{join} ON l.sym = r.sym TOLERANCE {tolerance}"), &want).await;
        check_join(&format!("{join} TOLERANCE {tolerance} USING (sym)"), &want).await;
        let join = "ASOF LEFT JOIN quotes r";
        check_join(&format!("{join} USING (sym, t) TOLERANCE {tolerance}"), &want).await;
        let join = format!("{join} ON l.sym = r.sym AND l.t >= r.t TOLERANCE {tolerance}");
        check_join(&join, &want).await;
    }
    let inner = "ASOF JOIN quotes r ON l.sym = r.sym AND l.t >= r.t TOLERANCE INTERVAL '0 s'";
    check_join(inner, &["1 10"]).await;
}

#[tokio::test]
async fn using_answers_the_left_columns_once() {
    let sql =
        format!("{TABLES} SELECT * FROM trades l ASOF JOIN quotes r USING (sym, t) ORDER BY n");
    let want = [
        "sym t n p",
        "a 2026-01-01T00:00:01 1 10",
        "a 2026-01-01T00:00:05 2 20",
        "b 2026-01-01T00:00:03 3 40",
    ];
    check(&sql, &want).await;
    let join = "ASOF JOIN quotes r MATCH_CONDITION (l.t > r.t) USING (sym)";
    let sql = format!("{TABLES} SELECT sym, l.t, r.t FROM trades l {join} WHERE n = 2");
    check(&sql, &["sym t t", "a 2026-01-01T00:00:05 2026-01-01T00:00:04"]).await;
}

/// `SELECT *` would answer columns of the right table: DataFusion takes the table whose name sorts first.
#[tokio::test]
async fn using_is_refused_where_it_would_answer_right_columns() {
    let join = "ASOF JOIN quotes AS k USING (sym, t)";
    check_error(join, &["sorts before the left one's (k.t before l.t)"]).await;
    let join = "ASOF LEFT JOIN quotes AS k USING (sym, t)";
    check_error(join, &["sorts before the left one's (k.sym before l.sym)"]).await;
    check_join(
        "ASOF INNER JOIN quotes k MATCH_CONDITION (l.t > k.t) USING (sym)",
        &["2 20", "3 40"],
    )
    .await;
}

#[tokio::test]
async fn joins_follow_each_other_and_stand_in_subqueries() {
    check_join(
        "ASOF JOIN quotes r ON l.sym = r.sym AND l.t >= r.t \
         JOIN (VALUES ('a', 7)) AS f (s, x) ON f.s = l.sym \
         ASOF LEFT JOIN (SELECT t AS u, p AS q FROM quotes) AS z ON l.t < z.u",
        &["1 10", "2 20"],
    )
    .await;
    let sql = format!(
        "{TABLES}, joined AS (SELECT n, p FROM trades l ASOF JOIN quotes r ON l.sym = r.sym AND l.t >= r.t)
         SELECT n FROM trades WHERE n IN (SELECT n FROM joined) AND n IN
            (SELECT n FROM trades l ASOF JOIN (SELECT * FROM quotes ASOF JOIN (VALUES (1)) v (i) ON p >= i) r
             ON l.sym = r.sym AND l.t > r.t) ORDER BY n"
    );
    check(&sql, &["n", "2", "3"]).await;
}

#[tokio::test]
async fn names_like_the_words_stay_names() {
    check(
        "SELECT asof FROM (SELECT 1 AS asof) AS asof JOIN (SELECT 2 AS b) AS c ON true",
        &["asof", "1"],
    )
    .await;
    let sql = "WITH l (k, tolerance) AS (VALUES (1, 5)), r (k, tolerance) AS (VALUES (1, 3)) ";
    let join = "FROM l ASOF JOIN r ON l.k = r.k AND l.tolerance >= r.tolerance TOLERANCE 2";
    let sql = format!("{sql} SELECT l.tolerance, r.tolerance AS p {join} WHERE l.tolerance > 0");
    check(&sql, &["tolerance p", "5 3"]).await;
}

#[tokio::test]
async fn numbers_and_dates_match_like_times() {
    let sql = "WITH l (v) AS (VALUES (1), (5)), r (w) AS (VALUES (0), (3)) ";
    let join = "FROM l ASOF JOIN r ON v > w TOLERANCE";
    check(&format!("{sql} SELECT v, w {join} 1 ORDER BY v"), &["v w", "1 0"]).await;
    check(&format!("{sql} SELECT v, w {join} 2 ORDER BY v"), &["v w", "1 0", "5 3"]).await;
    let sql = "SELECT l.d, r.d AS e FROM (VALUES (DATE '2026-01-03')) AS l (d)
        ASOF JOIN (VALUES (DATE '2026-01-01'), (DATE '2026-01-04')) AS r (d) ON l.d >= r.d
        TOLERANCE INTERVAL '2 days'";
    check(sql, &["d e", "2026-01-03 2026-01-01"]).await;
}

#[tokio::test]
async fn units_and_zones_of_times_may_differ() {
    let sql = "SELECT r.p FROM
        (SELECT arrow_cast('2026-01-01T00:00:05', 'Timestamp(Second, None)') AS t) AS l
        ASOF JOIN (VALUES (TIMESTAMP '2026-01-01T00:00:04.999999999', 1), (TIMESTAMP '2026-01-01T00:00:05.000000001', 2))
        AS r (t, p) ON l.t >= r.t TOLERANCE INTERVAL '1 nanosecond'";
    check(sql, &["p", "1"]).await;
    let sql = "SELECT r.p FROM (VALUES (TIMESTAMPTZ '2026-01-01T02:00:00+02:00')) AS l (t)
        ASOF JOIN (VALUES (TIMESTAMPTZ '2026-01-01T00:00:00Z', 1), (TIMESTAMPTZ '2026-01-01T00:00:01Z', 2))
        AS r (t, p) ON l.t >= r.t";
    check(sql, &["p", "1"]).await;
}

#[tokio::test]
async fn of_right_rows_with_equal_keys_and_times_the_greatest_is_the_partner() {
    for rows in
        ["(1, 7, 'x'), (1, 9, 'a'), (1, NULL, 'z')", "(1, NULL, 'z'), (1, 9, 'a'), (1, 7, 'x')"]
    {
        for comparison in [">=", "<="] {
            let sql = format!(
                "SELECT r.p, r.q FROM (VALUES (1)) AS l (t) ASOF JOIN (VALUES {rows}) AS r (t, p, q) \
                 ON l.t {comparison} r.t"
            );
            check(&sql, &["p q", "9 a"]).await;
        }
    }
}

#[tokio::test]
async fn conditions_that_do_not_say_one_match_are_refused_with_their_place() {
    let at = "line 8, column ";
    check_error("ASOF JOIN quotes r ON l.sym = r.sym", &["no inequality", at]).await;
    check_error("ASOF JOIN quotes r ON l.t >= r.t AND l.n > r.p", &["l.n > r.p is a second", at])
        .await;
    check_error("ASOF JOIN quotes r ON l.t >= l.t", &["does not compare a column of the left", at])
        .await;
    check_error("ASOF JOIN quotes r ON l.t >= r.t AND r.p = 3", &["r.p = ", "WHERE", at]).await;
    check_error("ASOF JOIN quotes r ON l.t >= r.t OR l.sym = r.sym", &["joined by AND"]).await;
    let match_condition = "ASOF JOIN quotes r MATCH_CONDITION";
    check_error(&format!("{match_condition} (l.t = r.t)"), &["one of >=, >, <= and <", at]).await;
    let two = format!("{match_condition} (l.t >= r.t) ON l.n > r.p");
    check_error(&two, &["equalities beside a MATCH_CONDITION", at]).await;
}

#[tokio::test]
async fn floats_and_texts_are_refused_where_they_cannot_match() {
    let sql = "SELECT 1 FROM (SELECT 1.5::DOUBLE AS k, 1 AS t, 'x' AS s) AS l ASOF JOIN \
               (SELECT 1.5::DOUBLE AS k, 1 AS t, 'x' AS s) AS r ON ";
    for (on, want) in [
        ("l.k = r.k AND l.t >= r.t", "l.k = r.k compares values of type Float64"),
        ("l.t = r.t AND l.k >= r.k", "floats cannot: their NaN has no place"),
        ("l.t = r.t AND l.s >= r.s", "l.s >= r.s compares values of type Utf8"),
    ] {
        let error = run(&session(), &format!("{sql}{on}")).await.expect_err(on).to_string();
        assert!(error.contains(want) && error.contains("line 1, column 64"), "{error}");
    }
}

#[tokio::test]
async fn tolerances_that_are_no_lengths_are_refused() {
    let on = "ASOF JOIN quotes r ON l.t >= r.t TOLERANCE";
    check_error(&format!("{on} INTERVAL '1 month'"), &["no fixed length"]).await;
    check_error(&format!("{on} INTERVAL '-1 second'"), &["negative interval"]).await;
    check_error(&format!("{on} 5"), &["TOLERANCE takes an INTERVAL"]).await;
    let negative = "TOLERANCE -1 mins is a negative interval";
    check_error(&format!("{on} INTERVAL '-1 minute'"), &[negative]).await;
    check_error(&format!("{on} INTERVAL '1 month'"), &["TOLERANCE 1 mons has months"]).await;
    check_error(
        &format!("{on} WHERE true"),
        &["TOLERANCE is followed by how far", "Line: 8, Column: "],
    )
    .await;
    let numbers = "ASOF JOIN quotes r ON l.n >= r.p TOLERANCE";
    check_error(&format!("{numbers} INTERVAL '1 second'"), &["give a number"]).await;
    check_error(&format!("{numbers} -1"), &["negative number"]).await;
}

#[tokio::test]
async fn other_kinds_of_as_of_joins_are_refused() {
    for kind in ["RIGHT", "FULL", "FULL OUTER", "CROSS", "SEMI"] {
        let join = format!("ASOF {kind} JOIN quotes r ON l.t >= r.t");
        check_error(&join, &["is not supported", "Line: 8, Column: "]).await;
    }
    let wants = ["ASOF JOIN is followed by a table and its condition", "Line: 8, Column: "];
    check_error("ASOF JOIN quotes r", &wants).await;
    check_error("ASOF JOIN quotes r WHERE true", &wants).await;
    check_error("ASOF JOIN quotes r JOIN quotes s ON l.t >= s.t ON l.t >= r.t", &wants).await;
}

/// The operators of the physical plan, one a line.
async fn plan(session: &SessionContext, sql: &str) -> String {
    let lines = run(session, &format!("EXPLAIN {sql}")).await.expect(sql);
    lines.join("\n")
}

async fn stored() -> SessionContext {
    let session = session();
    for name in ["l", "r"] {
        let rows = "(VALUES ('a', 1, 1), ('b', 2, 2)) AS v (host, time, v)";
        let sql = format!("CREATE TABLE {name} AS SELECT * FROM {rows}");
        run(&session, &sql).await.expect("a table is made");
    }
    session
}

#[tokio::test]
async fn filters_on_the_left_and_on_keys_go_below_the_join() {
    let session = stored().await;
    let sql = "SELECT l.v, r.v FROM l ASOF LEFT JOIN r ON l.host = r.host AND l.time >= r.time \
               WHERE l.host = 'a' AND l.time < 9 AND r.v > 0";
    let plan = plan(&session, sql).await;
    let (logical, _) = plan.split_once("physical_plan").expect("EXPLAIN has both plans");
    let (above, below) = logical.split_once("AsOfJoin").expect("the node is there");
    assert!(above.contains("Filter: r.v > Int64(0)"), "{logical}");
    let below: Vec<&str> = below.lines().filter(|line| line.contains("Filter")).collect();
    assert_eq!(below.len(), 2, "{logical}");
    assert!(below[0].contains(r#"l.host = Utf8("a") AND l.time < Int64(9)"#), "{logical}");
    assert!(below[1].contains(r#"r.host = Utf8("a") AND r.time < Int64(9)"#), "{logical}");
    assert_eq!(run(&session, sql).await.expect("it runs"), ["v v", "1 1"]);
}
