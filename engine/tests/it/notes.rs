//! Comments, units, descriptions, labels.

use crate::fixture::Fixture;

const OF_COLUMNS: &str = "SELECT column_name, comment, unit, description FROM system.columns WHERE table_name = 'cpu' \
                          AND (comment IS NOT NULL OR unit IS NOT NULL OR description IS NOT NULL) ORDER BY column_name";
const OF_TABLE: &str =
    "SELECT comment, unit, description FROM system.tables WHERE table_name = 'cpu'";

#[tokio::test]
async fn notes_are_kept_changed_and_removed() {
    let mut db = Fixture::new().await.cpu().await;
    db.run("COMMENT ON TABLE cpu IS 'load of hosts'").await;
    db.run("COMMENT ON COLUMN main.public.cpu.usage IS 'it''s a share'").await;
    db.run("ALTER TABLE cpu SET (description = 'from collectd', unit = '%')").await;
    db.run("ALTER TABLE cpu ALTER COLUMN usage SET (unit = '%', description = 'busy')").await;
    db.run("ALTER TABLE public.cpu ALTER n SET (unit = 'jobs')").await;
    for _ in 0..2 {
        db.check(OF_TABLE, &["load of hosts % from collectd"]).await;
        db.check(OF_COLUMNS, &["n NULL jobs NULL", "usage it's a share % busy"]).await;
        db = db.restart().await;
    }
    let definition = db.rows("SHOW CREATE TABLE cpu").await.join("\n");
    let (_, notes) = definition.split_once(";\n").unwrap();
    assert_eq!(
        notes,
        "COMMENT ON TABLE cpu IS 'load of hosts';\n\
         ALTER TABLE cpu SET (unit = '%', description = 'from collectd');\n\
         COMMENT ON COLUMN cpu.usage IS 'it''s a share';\n\
         ALTER TABLE cpu ALTER COLUMN usage SET (unit = '%', description = 'busy');\n\
         ALTER TABLE cpu ALTER COLUMN n SET (unit = 'jobs')"
    );
    db.run("DROP TABLE cpu").await;
    let db = db.cpu().await;
    db.check(OF_TABLE, &["NULL NULL NULL"]).await;
    for statement in notes.split(";\n") {
        db.run(statement).await;
    }
    db.check(OF_COLUMNS, &["n NULL jobs NULL", "usage it's a share % busy"]).await;
    db.run("COMMENT ON COLUMN cpu.usage IS NULL").await;
    db.run("ALTER TABLE cpu ALTER COLUMN n SET (unit = NULL)").await;
    db.run("ALTER TABLE cpu RENAME COLUMN usage TO load").await;
    db.check(OF_COLUMNS, &["load NULL % busy"]).await;
}

#[tokio::test]
async fn databases_and_views_have_comments() {
    let db = Fixture::new().await.cpu().await;
    db.run("CREATE VIEW busy AS SELECT * FROM cpu WHERE usage > 1").await;
    db.run("COMMENT ON VIEW busy IS 'busy hosts'").await;
    db.run("COMMENT ON DATABASE main IS 'the first'").await;
    let catalog = db.engine.store().catalog();
    let main = catalog.database("main").unwrap().id;
    assert_eq!(catalog.notes.databases[&main].comment.as_deref(), Some("the first"));
    assert_eq!(
        catalog.notes.views[&(main, "busy".to_owned())].comment.as_deref(),
        Some("busy hosts")
    );
    db.run("DROP VIEW busy").await;
    assert!(db.engine.store().catalog().notes.views.is_empty());
}

#[tokio::test]
async fn series_have_labels() {
    let db = Fixture::new().await.cpu().await;
    db.run("ALTER TABLE cpu SET LABELS (site = 'berlin', rack = 'r 1') WHERE host IN ('a', 'b')")
        .await;
    db.run("ALTER TABLE cpu SET LABELS (owner = 'ops')").await;
    db.run("ALTER TABLE cpu SET LABELS (rack = NULL) WHERE host = 'b'").await;
    let labels = "SELECT tags, labels FROM system.series ORDER BY tags";
    let want = [
        "host=a,region=eu owner=ops,rack=r\\ 1,site=berlin",
        "host=b,region=us owner=ops,site=berlin",
        "host=c owner=ops",
    ];
    db.check(labels, &want).await;
    let db = db.restart().await;
    db.check(labels, &want).await;
    db.run("ALTER TABLE cpu ADD COLUMN rack STRING PRIMARY KEY").await;
    db.check(labels, &want).await;
    db.check_error(
        "ALTER TABLE cpu SET LABELS (x = 'y') WHERE host = 'none'",
        "no series of table",
    )
    .await;
    db.check_error("ALTER TABLE cpu SET LABELS (x = 'y', x = 'z')", "set twice").await;
    db.check_error("ALTER TABLE cpu SET LABELS (x = 1)", "a text in single quotes").await;
}

#[tokio::test]
async fn wrong_notes_are_errors() {
    let db = Fixture::new().await.cpu().await;
    let long = "x".repeat(20_000);
    for (sql, text) in [
        ("COMMENT ON TABLE none IS 'x'", "table \"none\" does not exist"),
        ("COMMENT ON COLUMN cpu.none IS 'x'", "column \"none\" does not exist"),
        ("COMMENT ON COLUMN usage IS 'x'", "table.column"),
        ("COMMENT ON VIEW cpu IS 'x'", "view \"cpu\" does not exist"),
        ("COMMENT ON SCHEMA public IS 'x'", "not supported"),
        (
            "ALTER TABLE cpu ALTER COLUMN usage SET (units = 'x')",
            "there are unit, description and comment",
        ),
        ("ALTER TABLE cpu SET (unit = 'x', retention = '1d')", "at once"),
        ("ALTER TABLE cpu SET (unit = 1)", "a text in single quotes"),
        (&format!("COMMENT ON TABLE cpu IS '{long}'"), "more than 16384"),
        (&format!("ALTER TABLE cpu SET (unit = '{}')", "x".repeat(300)), "more than 255"),
    ] {
        db.check_error(sql, text).await;
    }
    db.run("COMMENT IF EXISTS ON TABLE none IS 'x'").await;
    db.run("ALTER TABLE IF EXISTS none ALTER COLUMN x SET (unit = 'x')").await;
}
