//! Gaps in stored series: filled, and found.

use crate::fixture::Fixture;

/// A table with a point a minute for a day, of two hosts, of which one is silent from 06:00 to 12:00.
async fn silent() -> Fixture {
    let db = Fixture::new().await;
    db.run(
        "CREATE TABLE m (time TIMESTAMP NOT NULL, host STRING, room STRING, v DOUBLE, PRIMARY KEY (host, room, time))
         WITH (time_slice = '1h')",
    )
    .await;
    db.run(
        "INSERT INTO m SELECT t, h, r, date_part('hour', t) FROM
         generate_series(TIMESTAMP '2024-01-01', TIMESTAMP '2024-01-01T23:59:00', INTERVAL '1 minute') AS s (t),
         (VALUES ('a', 'x'), ('b', NULL)) AS k (h, r)
         WHERE h = 'b' OR t <= TIMESTAMP '2024-01-01T06:00:00' OR t >= TIMESTAMP '2024-01-01T12:00:00'",
    )
    .await;
    db
}

#[tokio::test]
async fn a_gap_of_six_hours_is_found() {
    let db = silent().await;
    let gap = "a x 2024-01-01T06:00:00Z 2024-01-01T12:00:00Z 359";
    db.check("SELECT * FROM gaps('m', INTERVAL '1 minute')", &[gap]).await;
    db.check("SELECT * FROM gaps('main.public.m', '1m', '5h')", &[gap]).await;
    db.check("SELECT * FROM gaps('m', '1m', INTERVAL '6 hours')", &[]).await;
    db.check("SELECT host, g.missing FROM gaps('m', '30s') AS g WHERE g.missing > 1", &["a 719"])
        .await;
    db.check(
        "SELECT count(*), sum(missing) FROM gaps('m', '30s') WHERE host = 'b' AND room IS NULL",
        &["1439 1439"],
    )
    .await;
    db.run("CREATE VIEW holes AS SELECT * FROM gaps('m', '1m')").await;
    db.check("SELECT missing FROM holes", &["359"]).await;
}

#[tokio::test]
async fn gaps_are_found_without_a_sort() {
    let db = silent().await;
    let plan = db.rows("EXPLAIN FORMAT INDENT SELECT * FROM gaps('m', '1m')").await.join("\n");
    assert!(plan.contains("SeriesScanExec"), "{plan}");
    assert!(!plan.contains("SortExec"), "{plan}");
}

#[tokio::test]
async fn gaps_of_a_view_are_those_of_its_table_without_a_sort() {
    let db = silent().await;
    db.run("CREATE VIEW w AS SELECT time, room, host AS machine FROM m WHERE v >= 0").await;
    let gap = "x a 2024-01-01T06:00:00Z 2024-01-01T12:00:00Z 359";
    db.check("SELECT * FROM gaps('w', '1m')", &[gap]).await;
    let plan = db.rows("EXPLAIN FORMAT INDENT SELECT * FROM gaps('w', '1m')").await.join("\n");
    assert!(plan.contains("SeriesScanExec"), "{plan}");
    assert!(!plan.contains("SortExec"), "{plan}");
}

#[tokio::test]
async fn gaps_refuses_what_it_cannot_look_into() {
    let db = silent().await;
    db.check_error("SELECT * FROM gaps('nowhere', '1m')", "\"nowhere\" does not exist").await;
    db.check_error("SELECT * FROM gaps('m')", "takes two or three arguments").await;
    db.check_error("SELECT * FROM gaps(m, '1m')", "").await;
    db.check_error("SELECT * FROM gaps(1, '1m')", "the table is a text").await;
    db.check_error("SELECT * FROM gaps('m', '0s')", "zero").await;
    db.check_error("SELECT * FROM gaps('m', '-1 minute')", "negative").await;
    db.check_error("SELECT * FROM gaps('m', '1 month')", "in months").await;
    db.check_error("SELECT * FROM gaps('m', NULL)", "is NULL").await;
}

#[tokio::test]
async fn series_across_shards_and_slices_are_filled() {
    let db = silent().await;
    let sql = "SELECT host, room, date_bin_gapfill(INTERVAL '1 hour', time) AS hour, count(*) AS c,
                      interpolate(avg(v)) AS v, gap_filled() AS filled
               FROM m WHERE time >= '2024-01-01T05:00:00Z' AND time < '2024-01-01T14:00:00Z'
               GROUP BY host, room, hour";
    let filled = format!(
        "SELECT host, date_part('hour', hour), c, v FROM ({sql}) WHERE filled ORDER BY host, hour"
    );
    db.check(&filled, &["a 7 0 7.0", "a 8 0 8.0", "a 9 0 9.0", "a 10 0 10.0", "a 11 0 11.0"]).await;
    db.check(
        &format!(
            "SELECT host, room, count(*), sum(c) FROM ({sql}) GROUP BY host, room ORDER BY host"
        ),
        &["a x 9 181", "b NULL 9 540"],
    )
    .await;
    let plan = db.rows(&format!("EXPLAIN FORMAT INDENT {sql}")).await.join("\n");
    for text in [
        "GapFillExec: time=date_bin_gapfill(",
        "range=[2024-01-01T05:00:00Z, 2024-01-01T14:00:00Z)",
        "time=[2024-01-01T05:00:00Z, 2024-01-01T13:59:59.999999999Z]",
    ] {
        assert!(plan.contains(text), "{text}:\n{plan}");
    }
}
