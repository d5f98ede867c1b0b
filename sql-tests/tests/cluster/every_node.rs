//! Time-series SQL in a cluster: what one node was told, every node answers, also those that were down meanwhile.

use std::fs;

use quorate_sql_tests::{Cluster, Disk, NODES};

use crate::{options, turn};

const ALL: [usize; NODES] = [0, 1, 2];

fn start() -> Cluster {
    Cluster::start(&options(Disk::Kept))
}

/// Asks every node that runs.
#[track_caller]
fn all_answer(cluster: &Cluster, nodes: &[usize], sql: &str, want: &[&str]) {
    for asked in nodes {
        let answer = cluster.csv(*asked, sql);
        let rows: Vec<&str> = answer.lines().skip(1).collect();
        assert_eq!(rows, want, "{} is asked {sql}", cluster.name(*asked));
    }
}

const LAST_ROWS: &str =
    "SELECT DISTINCT ON (host) host, time, v FROM m ORDER BY host, time DESC NULLS LAST";

fn make_points(cluster: &Cluster) {
    let columns = "(time TIMESTAMP NOT NULL, host STRING, v DOUBLE, PRIMARY KEY (host, time))";
    cluster.execute(0, &format!("CREATE TABLE m {columns} WITH (time_slice = '1h', spread = 4)"));
    // Each node writes a slice of its own, and the last writes into the first again.
    for (writer, hour) in [(0, 0), (1, 1), (2, 2), (1, 0)] {
        let rows: Vec<String> = ["a", "b", "c"]
            .map(|host| {
                format!("('2024-01-01T{hour:02}:0{writer}:00Z', '{host}', {hour}.{writer})")
            })
            .to_vec();
        cluster.execute(writer, &format!("INSERT INTO m VALUES {}", rows.join(", ")));
    }
}

#[test]
fn notes_are_known_to_every_node_and_to_one_that_was_down() {
    let _turn = turn();
    let cluster = start();
    make_points(&cluster);
    cluster.execute(1, "COMMENT ON TABLE m IS 'load of hosts'");
    cluster.execute(2, "ALTER TABLE m ALTER COLUMN v SET (unit = '%', description = 'all cores')");
    cluster.execute(0, "ALTER TABLE m SET LABELS (site = 'berlin') WHERE host = 'b'");
    let table = "SELECT comment FROM system.tables WHERE table_name = 'm'";
    let column = "SELECT unit, description FROM system.columns WHERE column_name = 'v'";
    let labels =
        "SELECT tags, labels FROM system.series WHERE table_name = 'm' AND labels IS NOT NULL";
    all_answer(&cluster, &ALL, table, &["load of hosts"]);
    all_answer(&cluster, &ALL, column, &["%,all cores"]);
    all_answer(&cluster, &ALL, labels, &["host=b,site=berlin"]);

    cluster.stop(2);
    cluster.execute(0, "COMMENT ON TABLE m IS 'written without n3'");
    cluster.execute(1, "ALTER TABLE m ALTER COLUMN v SET (unit = NULL)");
    cluster.execute(1, "ALTER TABLE m SET LABELS (site = 'kiel', rack = 'r1') WHERE host = 'b'");
    all_answer(&cluster, &[0, 1], table, &["written without n3"]);
    cluster.restart(&[2]);
    all_answer(&cluster, &ALL, table, &["written without n3"]);
    all_answer(&cluster, &ALL, column, &[",all cores"]);
    all_answer(&cluster, &ALL, labels, &["host=b,\"rack=r1,site=kiel\""]);
}

#[test]
fn tables_by_pattern_are_read_and_deleted_from_through_any_node() {
    let _turn = turn();
    let cluster = start();
    make_points(&cluster);
    cluster.execute(1, "CREATE TABLE m_lab (time TIMESTAMP, host STRING, v BIGINT)");
    cluster.execute(2, "INSERT INTO m_lab VALUES ('2024-01-01T00:00:00Z', 'a', 7)");
    let counts = "SELECT table_name, count(*) AS n, max(v) AS v FROM series('m.*') \
                  GROUP BY table_name ORDER BY table_name";
    all_answer(&cluster, &ALL, counts, &["m,12,2.2", "m_lab,1,7.0"]);
    let series = "SHOW SERIES FROM m";
    let named = ["m,\"m,host=a\"", "m,\"m,host=b\"", "m,\"m,host=c\""];
    all_answer(&cluster, &ALL, series, &named);

    cluster
        .execute(2, "DELETE FROM series('m.*') WHERE host = 'a' AND time < '2024-01-01T01:00:00Z'");
    all_answer(&cluster, &ALL, counts, &["m,10,2.2"]);
    cluster.stop(0);
    cluster.execute(1, "DELETE FROM series('m|x') WHERE host = 'c'");
    all_answer(&cluster, &[1, 2], counts, &["m,6,2.2"]);
    cluster.restart(&[0]);
    all_answer(&cluster, &ALL, counts, &["m,6,2.2"]);
    all_answer(&cluster, &ALL, series, &named[..2]);
    let gaps = "SELECT host, missing FROM gaps('m', '1h') ORDER BY host, missing";
    all_answer(&cluster, &ALL, gaps, &["a,1", "b,1"]);
}

#[test]
fn last_rows_are_the_same_whichever_node_is_asked() {
    let _turn = turn();
    let cluster = start();
    make_points(&cluster);
    let at = |host: &str| format!("{host},2024-01-01T02:02:00Z,2.2");
    let (a, b, c) = (at("a"), at("b"), at("c"));
    all_answer(&cluster, &ALL, LAST_ROWS, &[&a, &b, &c]);
    for node in ALL {
        cluster.execute(node, "CHECKPOINT");
    }
    all_answer(&cluster, &ALL, LAST_ROWS, &[&a, &b, &c]);

    // Into slices that are there, and into a new one, while a node is down.
    cluster.stop(1);
    cluster.execute(0, "INSERT INTO m VALUES ('2024-01-01T05:00:00Z', 'b', 5)");
    cluster.execute(2, "INSERT INTO m VALUES ('2024-01-01T00:30:00Z', 'c', 0.3)");
    cluster.execute(2, "DELETE FROM m WHERE host = 'a' AND time >= '2024-01-01T02:00:00Z'");
    let later =
        ["a,2024-01-01T01:01:00Z,1.1", "b,2024-01-01T05:00:00Z,5.0", "c,2024-01-01T02:02:00Z,2.2"];
    all_answer(&cluster, &[0, 2], LAST_ROWS, &later);
    cluster.restart(&[1]);
    all_answer(&cluster, &ALL, LAST_ROWS, &later);
    let latest = "SELECT host, last(v, time) AS v FROM m GROUP BY host ORDER BY host";
    all_answer(&cluster, &ALL, latest, &["a,1.1", "b,5.0", "c,2.2"]);
}

#[test]
fn files_that_one_node_reads_or_writes_are_rows_of_all() {
    let _turn = turn();
    let files = tempfile::tempdir().expect("a temporary directory can be made");
    let mut server = options(Disk::Kept);
    let dir = files.path().display().to_string();
    server.arguments.extend(["--file-dir".to_owned(), dir]);
    let cluster = Cluster::start(&server);
    make_points(&cluster);
    // A file of one node's answer, read back through another into a table of a third's.
    let columns = "(time TIMESTAMP NOT NULL, host STRING, v DOUBLE, PRIMARY KEY (host, time))";
    cluster.execute(2, &format!("CREATE TABLE back {columns}"));
    for (writer, reader, file) in [(0, 1, "m.parquet"), (1, 2, "m.csv"), (2, 0, "m.arrow")] {
        cluster.execute(writer, &format!("COPY m TO '{file}'"));
        cluster.execute(reader, &format!("COPY back FROM '{file}'"));
        let other = "SELECT count(*) AS n FROM m FULL JOIN back USING (host, time, v) \
                     WHERE m.v = back.v";
        all_answer(&cluster, &ALL, other, &["12"]);
        all_answer(&cluster, &ALL, "SELECT count(*) AS n FROM back", &["12"]);
        cluster.execute(reader, "TRUNCATE back");
        all_answer(&cluster, &ALL, "SELECT count(*) AS n FROM back", &["0"]);
    }

    let file = files.path().join("loaded.csv");
    let rows = "time,host,v\n2024-01-01T00:00:00Z,a,1\n2024-01-02T00:00:00Z,b,2\n";
    fs::write(&file, rows).expect("a temporary file can be written");
    let file = file.display().to_string();
    let load = ["load", &file, "--table", "loaded", "--tags", "host"];
    cluster.command(1, &load).expect("the file is loaded");
    let loaded = "SELECT host, v FROM loaded ORDER BY host";
    all_answer(&cluster, &ALL, loaded, &["a,1", "b,2"]);
    // Again, through another node and without the first: the same rows.
    cluster.stop(1);
    cluster.command(2, &load).expect("the file is loaded again");
    all_answer(&cluster, &[0, 2], loaded, &["a,1", "b,2"]);
    cluster.restart(&[1]);
    all_answer(&cluster, &ALL, loaded, &["a,1", "b,2"]);
}

/// What the statements below leave behind.
#[track_caller]
fn changed_everywhere(cluster: &Cluster, nodes: &[usize]) {
    let columns = "SELECT column_name, data_type FROM information_schema.columns \
                   WHERE table_name = 'cpu' ORDER BY column_name";
    let typed =
        ["host,Utf8View", "load,Float64", "note,Utf8View", "time,\"Timestamp(ns, \"\"UTC\"\")\""];
    all_answer(cluster, nodes, columns, &typed);
    let rows = "SELECT host, time, load, note FROM cpu ORDER BY host, time";
    let late = ["a,2024-01-01T00:00:00Z,0.0,", "a,2024-01-01T02:00:00Z,2.0,checked"];
    all_answer(cluster, nodes, rows, &[&late[..], &["b,2024-01-01T01:00:00Z,10.0,high"]].concat());
    all_answer(cluster, nodes, "SELECT * FROM busy", &["b,10.0"]);
    let kept = "SELECT host, count(*) AS n, max(load) AS top FROM kept GROUP BY host ORDER BY host";
    all_answer(cluster, nodes, kept, &["a,2,2.0", "b,2,20.0"]);
    all_answer(cluster, nodes, "SELECT count(*) FROM emptied", &["0"]);
    let tables = "SELECT table_name FROM information_schema.tables \
                  WHERE table_catalog = 'main' AND table_schema = 'public' ORDER BY table_name";
    all_answer(cluster, nodes, tables, &["busy", "cpu", "emptied", "kept"]);
    let databases = "SELECT DISTINCT catalog_name FROM information_schema.schemata \
                     WHERE catalog_name = 'plant'";
    all_answer(cluster, nodes, databases, &["plant"]);
    all_answer(cluster, nodes, "SELECT v FROM plant.public.volt", &["230.0"]);
}

#[test]
fn every_statement_that_changes_something_holds_on_every_node_and_after_a_restart() {
    let _turn = turn();
    let cluster = start();
    let columns =
        "(time TIMESTAMP NOT NULL, host STRING, v DOUBLE, old BIGINT, PRIMARY KEY (host, time))";
    for (node, sql) in [
        (0, format!("CREATE TABLE m {columns} WITH (time_slice = '1h', spread = 3)").as_str()),
        (
            1,
            "INSERT INTO m VALUES ('2024-01-01T00:00:00Z', 'a', 0, 1), ('2024-01-01T01:00:00Z', 'b', 1, 1)",
        ),
        (
            2,
            "INSERT INTO m VALUES ('2024-01-01T02:00:00Z', 'a', 2, 1), ('2024-01-01T03:00:00Z', 'c', 3, 1)",
        ),
        (0, "ALTER TABLE m ADD COLUMN note STRING"),
        (1, "UPDATE m SET note = 'high', v = v * 10 WHERE host = 'b'"),
        (2, "UPDATE m SET note = 'checked' WHERE v = 2"),
        (0, "ALTER TABLE m RENAME COLUMN v TO load"),
        (1, "ALTER TABLE m DROP COLUMN old"),
        (2, "ALTER TABLE m RENAME TO cpu"),
        (0, "DELETE FROM cpu WHERE load = 3"),
        (1, "CREATE VIEW busy AS SELECT host, load FROM cpu WHERE load > 100"),
        (2, "CREATE OR REPLACE VIEW busy AS SELECT host, load FROM cpu WHERE load > 5"),
        (0, "CREATE TABLE kept AS SELECT time, host, load FROM cpu"),
        (
            1,
            "INSERT INTO kept SELECT time + INTERVAL '1 day', host, load * 2 FROM cpu WHERE host = 'b'",
        ),
        (2, "CREATE TABLE emptied AS SELECT * FROM cpu"),
        (0, "TRUNCATE emptied"),
        (1, "CREATE TABLE gone (time TIMESTAMP)"),
        (2, "DROP TABLE gone"),
        (0, "CREATE DATABASE plant"),
        (
            1,
            "CREATE TABLE plant.public.volt (time TIMESTAMP NOT NULL, v DOUBLE, PRIMARY KEY (time))",
        ),
        (2, "INSERT INTO plant.public.volt VALUES ('2024-01-01', 230)"),
    ] {
        cluster.execute(node, sql);
    }
    changed_everywhere(&cluster, &ALL);
    cluster.kill(&ALL);
    cluster.restart(&ALL);
    changed_everywhere(&cluster, &ALL);
}
