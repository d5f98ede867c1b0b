//! What plans look like: filters, limits, statistics and orders reach the scan.

use crate::fixture::Fixture;

async fn plan(db: &Fixture, sql: &str) -> String {
    db.rows(&format!("EXPLAIN FORMAT INDENT {sql}")).await.join("\n")
}

async fn check(db: &Fixture, sql: &str, has: &[&str], has_not: &[&str]) {
    let plan = plan(db, sql).await;
    for text in has {
        assert!(plan.contains(text), "{sql} lacks {text}:\n{plan}");
    }
    for text in has_not {
        assert!(!plan.contains(text), "{sql} has {text}:\n{plan}");
    }
}

#[tokio::test]
async fn filters_of_time_and_tags_are_gone_above_the_scan() {
    let db = Fixture::new().await.cpu().await;
    check(
        &db,
        "SELECT usage FROM cpu WHERE host = 'a' AND time >= '2024-01-01' AND time < '2024-01-02'",
        &[
            "SeriesScanExec: table=cpu",
            "time=[2024-01-01T00:00:00Z, 2024-01-01T23:59:59.999999999Z]",
            "series=host = ",
            "columns=[usage]",
        ],
        &["FilterExec"],
    )
    .await;
    check(
        &db,
        "SELECT usage FROM cpu WHERE time::DATE = '2024-01-01'",
        &["time=[2024-01-01T00:00:00Z, 2024-01-01T23:59:59.999999999Z]"],
        &[],
    )
    .await;
    check(
        &db,
        "SELECT usage FROM cpu WHERE region ~ '^e' OR region IS NULL",
        &["series="],
        &["FilterExec"],
    )
    .await;
    check(
        &db,
        "SELECT usage FROM cpu WHERE time < now() - INTERVAL '1 hour'",
        &["time=["],
        &["FilterExec"],
    )
    .await;
    check(
        &db,
        "SELECT usage FROM cpu WHERE usage > 1 AND host = 'a'",
        &["FilterExec: usage", "series=", "values=usage > "],
        &[],
    )
    .await;
    check(
        &db,
        "SELECT usage FROM cpu WHERE time = '2024-01-01' OR time = '2024-01-03'",
        &["FilterExec", "time=["],
        &[],
    )
    .await;
    check(
        &db,
        "SELECT usage FROM cpu WHERE time > '2024-01-02' AND time < '2024-01-01'",
        &["EmptyExec"],
        &["SeriesScanExec"],
    )
    .await;
}

#[tokio::test]
async fn plain_plans_of_few_rows_have_no_exchanges() {
    let db = Fixture::new().await;
    db.run(
        "CREATE TABLE m (time TIMESTAMP NOT NULL, host STRING, v DOUBLE, PRIMARY KEY (host, time))",
    )
    .await;
    db.run(
        "INSERT INTO m SELECT to_timestamp(1704067200 + value / 10), 'h' || value % 10, value
         FROM generate_series(0, 199999)",
    )
    .await;
    let of_one_host = |time: &str| {
        format!(
            "SELECT date_bin('1 minute', time) AS t, max(v) FROM m WHERE host = 'h1' AND {time} GROUP BY t"
        )
    };
    let hour = of_one_host("time >= '2024-01-01T01:00:00Z' AND time < '2024-01-01T02:00:00Z'");
    for stored in [false, true] {
        if stored {
            db.run("CHECKPOINT").await;
        }
        check(&db, &of_one_host("time >= '2024-01-01'"), &["RepartitionExec"], &[]).await;
        check(&db, &hour, &["SeriesScanExec"], &["RepartitionExec"]).await;
        let again = format!("SELECT t, count(*) FROM ({hour}) GROUP BY t");
        assert_eq!(db.rows(&again).await.len(), 60);
        check(&db, &again, &["RepartitionExec"], &[]).await;
    }
}

#[tokio::test]
async fn limits_reach_the_scan_where_no_filter_is_above() {
    let db = Fixture::new().await.cpu().await;
    check(&db, "SELECT usage FROM cpu WHERE host = 'a' LIMIT 1", &["limit=1"], &[]).await;
    check(&db, "SELECT usage FROM cpu WHERE usage > 1 LIMIT 1", &[], &["limit=1"]).await;
}

#[tokio::test]
async fn orders_are_used_instead_of_sorting() {
    let db = Fixture::new().await.cpu().await;
    db.run("CHECKPOINT").await;
    let order = "ASC NULLS FIRST";
    check(
        &db,
        &format!("SELECT * FROM cpu ORDER BY host {order}, region {order}, time"),
        &["output_ordering=[host@1 ASC, region@2 ASC, time@0 ASC"],
        &["SortExec"],
    )
    .await;
    check(
        &db,
        &format!("SELECT host, usage FROM cpu ORDER BY host {order}"),
        &["output_ordering"],
        &["SortExec"],
    )
    .await;
    check(
        &db,
        &format!("SELECT region, time FROM cpu WHERE host = 'a' ORDER BY region {order}, time"),
        &[],
        &["SortExec"],
    )
    .await;
    check(
        &db,
        "SELECT time, usage FROM cpu WHERE host = 'a' AND region = 'eu' ORDER BY time",
        &[],
        &["SortExec"],
    )
    .await;
    check(&db, "SELECT usage FROM cpu ORDER BY time", &["SortExec"], &[]).await;
    check(
        &db,
        "SELECT host, region, sum(usage) FROM cpu GROUP BY host, region",
        &["ordering_mode=Sorted"],
        &[],
    )
    .await;
}

#[tokio::test]
async fn counts_are_answered_without_reading_where_they_are_known() {
    let db = Fixture::new().await.cpu().await;
    db.run("CHECKPOINT").await;
    for sql in
        ["SELECT count(*) FROM cpu", "SELECT count(time) FROM cpu", "SELECT max(time) FROM cpu"]
    {
        check(&db, sql, &[], &["SeriesScanExec", "AggregateExec"]).await;
    }
    check(&db, "SELECT max(usage) FROM cpu", &["SeriesScanExec"], &[]).await;
    db.check("SELECT count(*), max(time) FROM cpu", &["5 2024-01-01T00:02:00Z"]).await;
    // Once rows overlap, nothing is known without reading them.
    db.run("INSERT INTO cpu (time, host, region, usage) VALUES ('2024-01-01', 'a', 'eu', 100)")
        .await;
    db.check("SELECT count(*), max(time) FROM cpu", &["5 2024-01-01T00:02:00Z"]).await;
}

/// The text without its numbers, whose units depend on them.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        shape.push_str(before);
        shape.push('#');
        rest = number.trim_start_matches(|c: char| c.is_ascii_digit());
        let fraction = rest.strip_prefix(['.', ',']);
        rest = fraction
            .filter(|f| f.starts_with(|c: char| c.is_ascii_digit()))
            .map_or(rest, |f| f.trim_start_matches(|c: char| c.is_ascii_digit()));
        for unit in ["ns", "µs", "ms", "s", " B", " KiB", " MiB"] {
            let after = rest.strip_prefix(unit);
            if let Some(after) = after.filter(|a| !a.starts_with(|c: char| c.is_alphanumeric())) {
                shape.push_str(if unit.starts_with(' ') { " bytes" } else { "time" });
                rest = after;
                break;
            }
        }
    }
    shape.push_str(rest);
    shape
}

#[tokio::test]
async fn explain_analyze_tells_people_what_each_operator_did() {
    let db = Fixture::new().await.cpu().await;
    db.run("CHECKPOINT").await;
    let rows =
        db.rows("EXPLAIN ANALYZE SELECT usage FROM cpu WHERE host = 'a' ORDER BY usage").await;
    let [operators, summary] = rows.as_slice() else { panic!("{rows:?}") };
    let want = "\
Plan with Metrics SortExec: expr=[usage@# ASC NULLS LAST], preserve_partitioning=[false]
│   # rows · #time
└─ SeriesScanExec: table=cpu, series=host = Utf#View(\"a\"), columns=[usage], partitions=#
       # rows · #time
       segments: # read, # left out · series: # read, # left out · pages: # read, # left out
       rows: # decoded, # merged · bytes: # bytes from disk, # bytes from the cache";
    assert_eq!(shape(operators), want);
    let want = "Summary # rows in #time: planning #time (catalog #time, logical plan #time, rules #time, \
                physical plan and pruning #time), execution #time";
    assert_eq!(shape(summary), want);
    assert!(operators.contains("segments: 1 read"), "{operators}");
    // Each input stands below its operator.
    let rows = db
        .rows("EXPLAIN ANALYZE SELECT a.usage FROM cpu a JOIN cpu b ON a.n = b.n AND a.usage < b.usage")
        .await;
    let scans = rows[0].lines().filter(|line| line.contains("─ SeriesScanExec"));
    assert_eq!(scans.count(), 2, "{}", rows[0]);
    assert!(rows[0].contains("├─ ") && rows[0].contains("memory "), "{}", rows[0]);
    // A query that fails tells why.
    db.check_error("EXPLAIN ANALYZE SELECT 1 / (n - n) FROM cpu", "ivide by zero").await;
}

#[tokio::test]
async fn other_forms_of_explain_are_those_of_datafusion() {
    let db = Fixture::new().await.cpu().await;
    db.run("CHECKPOINT").await;
    let query = "SELECT usage FROM cpu WHERE host = 'a'";
    let plan = db.rows(&format!("EXPLAIN ANALYZE VERBOSE {query}")).await.join("\n");
    for text in
        ["output_rows=2", "segments=", "series_pruned=", "rows_decoded=", "pages=", "bytes_"]
    {
        assert!(plan.contains(text), "{text}:\n{plan}");
    }
    let plan = db.rows(&format!("EXPLAIN ANALYZE FORMAT INDENT {query}")).await.join("\n");
    assert!(plan.contains("output_rows=2"), "{plan}");
    for format in ["TREE", "PGJSON", "GRAPHVIZ"] {
        let rows = db.rows(&format!("EXPLAIN FORMAT {format} {query}")).await;
        assert!(!rows.is_empty(), "{format}");
    }
    db.check_error(&format!("EXPLAIN ANALYZE FORMAT TREE {query}"), "not supported").await;
}

#[tokio::test]
async fn last_values_of_series_read_last_rows_alone() {
    let db = Fixture::new().await.cpu().await;
    let last = "rows=last of each series";
    for sql in [
        "SELECT DISTINCT ON (host) host, time, usage FROM cpu ORDER BY host, time DESC",
        "SELECT DISTINCT ON (region, host) * FROM cpu ORDER BY region, host, time DESC",
        "SELECT host, max(time) FROM cpu GROUP BY host",
        "SELECT max(time) FROM cpu WHERE host = 'a'",
        "SELECT max(time), last_value(n ORDER BY time) FROM cpu",
        "SELECT region, last_value(usage ORDER BY time) FROM cpu GROUP BY region",
        "SELECT first_value(usage ORDER BY time DESC) IGNORE NULLS FROM cpu WHERE host ~ 'a'",
        "SELECT h, max(t) FROM (SELECT host AS h, time AS t FROM cpu) AS x GROUP BY h",
        "SELECT DISTINCT host FROM cpu",
    ] {
        check(&db, sql, &[last], &[]).await;
    }
    for sql in [
        "SELECT host, min(time) FROM cpu GROUP BY host",
        "SELECT host, max(time), count(*) FROM cpu GROUP BY host",
        "SELECT host, max(time) FROM cpu WHERE usage > 0 GROUP BY host",
        "SELECT host, max(time) FILTER (WHERE usage > 0) FROM cpu GROUP BY host",
        "SELECT host, last_value(usage ORDER BY time DESC) FROM cpu GROUP BY host",
        "SELECT host, last_value(usage ORDER BY usage, time) FROM cpu GROUP BY host",
        "SELECT host, last_value(usage ORDER BY time) FROM cpu GROUP BY host, usage",
        "SELECT DISTINCT ON (usage) * FROM cpu ORDER BY usage, time DESC",
        "SELECT max(time) FROM (SELECT time FROM cpu LIMIT 1)",
    ] {
        check(&db, sql, &[], &[last]).await;
    }
}

#[tokio::test]
async fn rows_at_the_last_times_of_their_groups_are_last_rows() {
    let db = Fixture::new().await.cpu().await;
    let both = |sql: &str, want: usize| {
        let sql = sql.to_owned();
        let db = &db;
        async move {
            let plan = plan(db, &sql).await;
            assert_eq!(plan.matches("rows=last of each series").count(), want, "{sql}:\n{plan}");
        }
    };
    let latest = "(SELECT host, max(time) AS t FROM cpu GROUP BY host) AS m";
    both(&format!("SELECT c.* FROM cpu AS c JOIN {latest} ON c.host = m.host AND c.time = m.t"), 2)
        .await;
    both(&format!("SELECT c.* FROM {latest} JOIN cpu AS c ON c.host = m.host AND c.time = m.t"), 2)
        .await;
    // The times of other hosts are no last times.
    both(&format!("SELECT c.* FROM cpu AS c JOIN {latest} ON c.time = m.t"), 1).await;
    let early =
        "(SELECT host, max(time) AS t FROM cpu WHERE time < '2024-01-02' GROUP BY host) AS m";
    both(&format!("SELECT c.* FROM cpu AS c JOIN {early} ON c.host = m.host AND c.time = m.t"), 1)
        .await;
}
