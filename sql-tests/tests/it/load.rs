//! `quorate load`: files of every form into a real node, once, whatever happens in between.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use quorate_flight::ClientOutcome;
use quorate_sql_tests::{Server, ServerOptions, binary, eventually, pause};
use serde_json::Value;
use tempfile::TempDir;

/// A node, and a directory for files.
struct Node {
    server: Server,
    dir: TempDir,
}

/// How a load ended.
struct Ended {
    status: i32,
    out: String,
    err: String,
}

impl Ended {
    #[track_caller]
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("output is UTF-8");
        Self {
            status: output.status.code().expect("it was not killed"),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// The outcome as JSON.
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}{}", self.out, self.err))
    }

    /// Rows stored, known, rejected.
    #[track_caller]
    fn rows(&self) -> (u64, u64, u64) {
        let json = self.json();
        let n = |name: &str| json[name].as_u64().expect("a number");
        (n("rows_stored"), n("rows_known"), n("rows_rejected"))
    }
}

impl Node {
    fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let server = Server::start(&dir.path().join("data"), &ServerOptions::default());
        Self { server, dir }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("load").args([
            "--addr",
            self.server.flight(),
            "--http-addr",
            self.server.http(),
        ]);
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        for name in ["QUORATE_ADDR", "QUORATE_HTTP_ADDR", "QUORATE_DATABASE", "QUORATE_TOKEN"] {
            command.env_remove(name);
        }
        command
    }

    fn load(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().expect("the binary runs"))
    }

    /// A load whose standard input is to be written.
    fn load_from_pipe(&self, arguments: &[&str]) -> (Child, ChildStdin) {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let stdin = child.stdin.take().expect("a pipe");
        (child, stdin)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.dir.path().join(name), bytes).expect("a file is written");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(name)).expect("the file is there")
    }

    /// Rows with `|` between values, or the error.
    async fn query(&self, sql: &str) -> Result<Vec<String>, String> {
        let mut client = self.server.client("main").await.expect("the node is there");
        let outcome = client.execute(sql).await.map_err(|e| e.to_string())?;
        let ClientOutcome::Rows { batches, .. } = outcome else { return Ok(Vec::new()) };
        let batches: Vec<RecordBatch> = batches.try_collect().await.map_err(|e| e.to_string())?;
        let mut rows = Vec::new();
        for batch in &batches {
            let format = FormatOptions::default().with_null("-");
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|c| ArrayFormatter::try_new(c, &format).expect("values can be shown"))
                .collect();
            for row in 0..batch.num_rows() {
                let values: Vec<_> = columns.iter().map(|c| c.value(row).to_string()).collect();
                rows.push(values.join("|"));
            }
        }
        Ok(rows)
    }

    #[track_caller]
    fn check(&self, sql: &str, want: &[&str]) {
        let rows = runtime().block_on(self.query(sql)).unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(rows, want, "{sql}");
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).expect("a Vec takes bytes");
    encoder.finish().expect("a Vec takes bytes")
}

/// CSV with rows `from..to`, one a second, and their sum.
fn seconds(from: u64, to: u64) -> String {
    let mut text = String::new();
    for n in from..to {
        writeln!(text, "{},host_{},{n}", 1_704_067_200 + n, n % 10).expect("a String takes text");
    }
    text
}

const CPU: &str = "\
time,host,usage,n,up,note
2024-01-01T00:00:00Z,a,1.5,1,true,first
2024-01-01 00:00:01.250,b,,2,false,
2024-01-01T01:00:02+01:00,a,NaN,-3,TRUE,\"x, y\"
";

#[test]
fn csv_is_typed_by_its_rows_and_a_dry_run_sends_nothing() {
    let node = Node::start();
    node.write("cpu.csv", CPU);
    let dry = node.load(&["cpu.csv", "--table", "cpu", "--tags", "host", "--dry-run"]);
    assert_eq!(dry.status, 0, "{}", dry.err);
    for want in [
        "| usage  | DOUBLE    | field",
        "| note   | STRING    | field",
        "PRIMARY KEY (\"host\", \"time\")",
    ] {
        assert!(dry.out.contains(want), "{want}: {}", dry.out);
    }
    let error = runtime().block_on(node.query("SELECT * FROM cpu")).expect_err("no table is made");
    assert!(error.contains("cpu"), "{error}");

    let ended = node.load(&["cpu.csv", "--table", "cpu", "--tags", "host", "--json"]);
    assert_eq!((ended.status, ended.rows()), (0, (3, 0, 0)), "{}", ended.err);
    node.check(
        "SELECT * FROM cpu ORDER BY time",
        &[
            "2024-01-01T00:00:00Z|a|1.5|1|true|first",
            "2024-01-01T00:00:01.250Z|b|-|2|false|-",
            "2024-01-01T00:00:02Z|a|NaN|-3|true|x, y",
        ],
    );
    // The statement that was shown is the table that was made.
    let shown = dry.out.split_once("CREATE TABLE IF NOT EXISTS \"cpu\"").expect("it is shown").1;
    let statement = shown.split_once(';').expect("it ends").0;
    runtime().block_on(node.query(&format!("CREATE TABLE copy {statement}"))).expect("it is SQL");
    let describe = |table: &str| {
        runtime().block_on(node.query(&format!("DESCRIBE {table}"))).expect("it is there")
    };
    assert_eq!(describe("copy"), describe("cpu"));
}

#[test]
fn a_table_that_is_there_gives_the_types() {
    let node = Node::start();
    let create =
        "CREATE TABLE t (at TIMESTAMP NOT NULL, id STRING, x DOUBLE, PRIMARY KEY (id, at))";
    runtime().block_on(node.query(create)).expect("the table is made");
    node.write("a.csv", "when,id,x,extra\n2024-01-01,007,1,5\n2024-01-02,8,2.5,6\n");
    let dry = node.load(&["a.csv", "-t", "t", "--dry-run"]);
    assert!(dry.out.contains("ADD COLUMN IF NOT EXISTS \"extra\" BIGINT"), "{}", dry.out);
    let ended = node.load(&["a.csv", "-t", "t", "--json"]);
    assert_eq!((ended.status, ended.rows()), (0, (2, 0, 0)), "{}", ended.err);
    assert!(ended.err.contains("column \"when\" is the time, stored as \"at\""), "{}", ended.err);
    let want = ["2024-01-01T00:00:00Z|007|1.0|5", "2024-01-02T00:00:00Z|8|2.5|6"];
    node.check("SELECT * FROM t ORDER BY at", &want);
}

#[test]
fn rejected_rows_are_written_with_line_and_reason_and_the_others_are_stored() {
    let node = Node::start();
    let create = "CREATE TABLE t (time TIMESTAMP NOT NULL, n BIGINT)";
    runtime().block_on(node.query(create)).expect("the table is made");
    node.write(
        "a.csv",
        "time,n\n2024-01-01,1\n2024-01-02,many\nyesterday,3\n2024-01-04,4,4\n2024-01-05,5\n",
    );
    let ended = node.load(&["a.csv", "-t", "t", "--rejected", "bad.csv", "--json"]);
    assert_eq!((ended.status, ended.rows()), (1, (2, 0, 3)), "{}", ended.err);
    assert!(ended.err.contains("a.csv:3: column \"n\": \"many\" is no BIGINT"), "{}", ended.err);
    let bad = node.read("bad.csv");
    let mut bad = csv::Reader::from_reader(bad.as_bytes());
    let bad: Vec<csv::StringRecord> = bad.records().map(|r| r.expect("it is CSV")).collect();
    let place: Vec<_> = bad.iter().map(|r| (&r[0], &r[1], &r[3])).collect();
    let want = [
        ("a.csv", "3", "2024-01-02,many"),
        ("a.csv", "4", "yesterday,3"),
        ("a.csv", "5", "2024-01-04,4,4"),
    ];
    assert_eq!(place, want);
    node.check("SELECT n FROM t ORDER BY n", &["1", "5"]);
    let ended = node.load(&["a.csv", "-t", "t", "--allow-rejected"]);
    assert_eq!(ended.status, 0, "{}", ended.err);
}

#[test]
fn rows_that_the_node_rejects_are_told_by_their_place() {
    let node = Node::start();
    let create = "CREATE TABLE t (time TIMESTAMP NOT NULL, x DOUBLE)";
    runtime().block_on(node.query(create)).expect("the table is made");
    // Integers widen to doubles where they are exact.
    let x: ArrayRef = Arc::new(UInt64Array::from(vec![1, 9_007_199_254_740_993, 3]));
    let batch = with_times(x, "x");
    let mut file = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    file.write(&batch).expect("rows are written");
    node.write("a.parquet", file.into_inner().expect("the file ends"));
    let ended = node.load(&["a.parquet", "-t", "t", "--rejected", "bad.csv", "--json"]);
    assert_eq!((ended.status, ended.rows()), (1, (2, 0, 1)), "{}", ended.err);
    assert!(node.read("bad.csv").contains("a.parquet,2,"), "{}", node.read("bad.csv"));
    node.check("SELECT x FROM t ORDER BY time", &["1.0", "3.0"]);
}

#[test]
fn rows_that_are_too_old_for_the_table_are_counted() {
    let node = Node::start();
    let create = "CREATE TABLE t (time TIMESTAMP NOT NULL, n BIGINT) WITH (retention = '1d')";
    let runtime = runtime();
    runtime.block_on(node.query(create)).expect("the table is made");
    // A shard learns how old rows may be once it has some of the table.
    eventually("old rows are refused", || {
        let insert = "INSERT INTO t VALUES ('2001-01-01T00:00:00Z', 0)";
        match runtime.block_on(node.query(insert)) {
            Ok(_) => Err("the row was taken".to_owned()),
            Err(why) if why.contains("retention") => Ok(()),
            Err(why) => Err(why),
        }
    });
    node.write("a.csv", "time,n\n2001-01-01T00:00:00Z,1\n2001-01-01T00:00:01Z,2\n");
    let ended = node.load(&["a.csv", "-t", "t", "--rejected", "bad.csv", "--json"]);
    assert_eq!((ended.status, ended.rows()), (1, (0, 0, 2)), "{}", ended.err);
    assert!(
        node.read("bad.csv").contains("a.csv,0,2 rows of the batch"),
        "{}",
        node.read("bad.csv")
    );
}

fn with_times(array: ArrayRef, name: &str) -> RecordBatch {
    let times = (0..array.len()).map(|n| i64::try_from(n).expect("few rows") * 1_000);
    let times: ArrayRef = Arc::new(TimestampMillisecondArray::from_iter_values(times));
    RecordBatch::try_from_iter([("time", times), (name, array)]).expect("columns are of a length")
}

#[test]
fn many_files_of_many_forms_are_one_table() {
    let node = Node::start();
    let n: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let batch = with_times(n, "n");
    let mut parquet = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    parquet.write(&batch).expect("rows are written");
    node.write("a.parquet", parquet.into_inner().expect("the file ends"));
    let host: ArrayRef = Arc::new(StringArray::from(vec!["h", "i"]));
    let batch = with_times(host, "host");
    let mut arrow = FileWriter::try_new(Vec::new(), &batch.schema()).expect("a writer");
    arrow.write(&batch).expect("rows are written");
    node.write("b.arrow", arrow.into_inner().expect("the file ends"));
    node.write("c-1.csv.gz", packed("time,host,n\n1970-01-02,j,4\n"));
    node.write("c-2.tsv", "n\ttime\thost\n0.5\t1970-01-03\tk\n");
    let ended = node.load(&["a.parquet", "b.arrow", "c-*", "-t", "t", "--json"]);
    assert_eq!((ended.status, ended.rows()), (0, (7, 0, 0)), "{}", ended.err);
    assert_eq!(ended.json()["files"], 4);
    let want = [
        "1970-01-01T00:00:00Z|-|1.0",
        "1970-01-01T00:00:00Z|h|-",
        "1970-01-01T00:00:01Z|-|2.0",
        "1970-01-01T00:00:01Z|i|-",
        "1970-01-01T00:00:02Z|-|3.0",
        "1970-01-02T00:00:00Z|j|4.0",
        "1970-01-03T00:00:00Z|k|0.5",
    ];
    node.check("SELECT time, host, n FROM t ORDER BY time, host NULLS FIRST", &want);
}

#[test]
fn a_load_that_is_run_again_stores_nothing_twice() {
    let node = Node::start();
    node.write("a.csv", seconds(0, 25_000));
    let arguments = ["a.csv", "-t", "t", "--header", "time,host,n", "--time-unit", "s", "--json"];
    assert_eq!(node.load(&arguments).rows(), (25_000, 0, 0));
    let again = node.load(&arguments);
    assert_eq!((again.status, again.rows()), (0, (0, 25_000, 0)), "{}", again.err);
    node.check("SELECT count(*), sum(n) FROM t", &["25000|312487500"]);
    // What was deleted stays away, and comes back when it is asked for.
    runtime().block_on(node.query("DELETE FROM t WHERE n < 10")).expect("rows go");
    let again = node.load(&arguments);
    assert!(again.rows() == (0, 25_000, 0) && again.err.contains("--again"), "{}", again.err);
    node.check("SELECT count(*) FROM t", &["24990"]);
    assert_eq!(node.load(&[&arguments[..], &["--again"]].concat()).rows(), (25_000, 0, 0));
    node.check("SELECT count(*), sum(n) FROM t", &["25000|312487500"]);
    // A table that is made anew is another table.
    runtime().block_on(node.query("DROP TABLE t")).expect("the table goes");
    assert_eq!(node.load(&arguments).rows(), (25_000, 0, 0));
}

#[test]
fn a_load_that_is_killed_goes_on_where_it_was() {
    let node = Node::start();
    let arguments = [
        "-",
        "--format",
        "csv",
        "-t",
        "t",
        "--header",
        "time,host,n",
        "--time-unit",
        "s",
        "--json",
    ];
    let (mut child, mut stdin) = node.load_from_pipe(&arguments);
    // Enough for several chunks; the pipe stays open, so that the load cannot end by itself.
    stdin.write_all(seconds(0, 100_000).as_bytes()).expect("the load reads");
    stdin.flush().expect("the load reads");
    loop {
        let count = runtime().block_on(node.query("SELECT count(*) FROM t"));
        // The table comes with the first rows.
        if count.is_ok_and(|rows| rows[0].parse::<u64>().is_ok_and(|n| n >= 10_000)) {
            break;
        }
        assert!(child.try_wait().expect("it is our child").is_none(), "it ended by itself");
        pause();
    }
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    drop(stdin);

    let (child, mut stdin) = node.load_from_pipe(&arguments);
    stdin.write_all(seconds(0, 120_000).as_bytes()).expect("the load reads");
    drop(stdin);
    let ended = Ended::of(&child.wait_with_output().expect("it is our child"));
    let (stored, known, rejected) = ended.rows();
    assert_eq!((ended.status, stored + known, rejected), (0, 120_000, 0), "{}", ended.err);
    assert!(known >= 10_000 && stored >= 20_000, "{known} known, {stored} stored");
    node.check("SELECT count(*), sum(n) FROM t", &["120000|7199940000"]);
}

#[test]
fn line_protocol_is_loaded_in_parts_with_its_bad_lines_told() {
    let node = Node::start();
    let mut text = String::new();
    for n in 0..12_000 {
        writeln!(text, "m,host=h{} n={n}i {}", n % 7, 1_704_067_200 + n)
            .expect("a String takes text");
    }
    text.push_str("m n=\"text\" 1\nk s=\"two\nlines\" 2\nbad line here\n");
    node.write("a.lp.gz", packed(&text));
    let dry = node.load(&["a.lp.gz", "--precision", "s", "--dry-run"]);
    assert!(
        dry.out.contains("table \"m\"") && dry.out.contains("| host   | STRING"),
        "{}",
        dry.out
    );
    let arguments = ["a.lp.gz", "--precision", "s", "--rejected", "bad.csv", "--json"];
    let ended = node.load(&arguments);
    assert_eq!((ended.status, ended.rows()), (1, (12_001, 0, 2)), "{}", ended.err);
    let bad = node.read("bad.csv");
    assert!(bad.contains("a.lp.gz,12001,") && bad.contains("m n=\"\"text\"\" 1"), "{bad}");
    assert!(bad.contains("a.lp.gz,12004,") && bad.contains("bad line here"), "{bad}");
    node.check("SELECT count(*), sum(n) FROM m", &["12000|71994000"]);
    node.check("SELECT s FROM k", &["two\nlines"]);
    let again = node.load(&arguments);
    assert_eq!((again.status, again.rows()), (1, (0, 12_001, 2)), "{}", again.err);
}

#[test]
fn what_cannot_be_loaded_is_told_before_anything_is_sent() {
    let node = Node::start();
    node.write("n.csv", "a,b\n1,2\n");
    node.write("t.csv", "time,n\n2024-01-01,1\n");
    node.write("t.lp", "m n=1\n");
    node.write("odd.txt", "time\n");
    let check = |arguments: &[&str], status: i32, why: &str| {
        let ended = node.load(arguments);
        assert_eq!(ended.status, status, "{arguments:?}: {}{}", ended.out, ended.err);
        assert!(ended.err.contains(why), "{arguments:?}: {}", ended.err);
    };
    check(&["gone.csv", "-t", "t"], 1, "cannot read gone.csv");
    check(&["gone-*.csv", "-t", "t"], 1, "no file matches gone-*.csv");
    check(&["n.csv", "-t", "t"], 1, "needs a time column");
    check(&["t.csv", "n.csv", "-t", "t"], 1, "n.csv has no column \"time\"");
    check(&["odd.txt", "-t", "t"], 1, "--format");
    check(&["t.csv", "-t", "t", "--database", "nowhere"], 1, "nowhere");
    check(&["t.lp", "--database", "nowhere"], 1, "nowhere");
    check(&["t.csv"], 2, "--table");
    check(&["t.lp", "-t", "m"], 2, "names its tables itself");
    check(&["t.csv", "-t", "t", "--types", "n=DATE"], 2, "BIGINT");
    check(&["t.csv", "-t", "t", "--sample", "0"], 2, "--sample");
    let tables = "SELECT count(*) FROM system.tables";
    node.check(tables, &["0"]);
}

#[test]
fn without_a_node_a_load_fails_and_a_dry_run_does_not() {
    let node = Node::start();
    node.write("t.csv", "time,n\n2024-01-01,1\n");
    node.write("t.lp", "m n=1\n");
    let addr = node.server.flight().to_owned();
    let Node { server, dir } = node;
    let http = server.http().to_owned();
    server.stop();
    let run = |arguments: &[&str]| run_in(dir.path(), &addr, &http, arguments);
    let ended = run(&["t.csv", "-t", "t"]);
    assert_eq!(ended.status, 1);
    assert!(ended.err.contains(&addr), "{}", ended.err);
    let ended = run(&["t.lp"]);
    assert_eq!(ended.status, 1);
    assert!(ended.err.contains(&http), "{}", ended.err);
    let ended = run(&["t.csv", "-t", "t", "--dry-run", "--json"]);
    assert_eq!(ended.status, 0, "{}", ended.err);
    assert_eq!(ended.json()["tables"][0]["columns"][1]["type"], "BIGINT");
}

fn run_in(dir: &Path, addr: &str, http: &str, arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary());
    command.arg("load").args(["--addr", addr, "--http-addr", http]).args(arguments);
    Ended::of(&command.current_dir(dir).stdin(Stdio::null()).output().expect("the binary runs"))
}
