//! Exit statuses, settings from every source, start and stop.

use std::process::Output;

use crate::node::{Node, quorate};

fn run(arguments: &[&str]) -> Output {
    quorate().args(arguments).output().unwrap()
}

fn check(arguments: &[&str], status: i32, want: &str) {
    let output = run(arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
    assert!(text.contains(want), "{arguments:?}: {text}");
}

#[test]
fn usage_errors_end_with_2() {
    check(&["serve"], 2, "--data-dir");
    check(&["serve", "--nonsense"], 2, "--nonsense");
    check(&["serve", "--data-dir", "x", "--max-body", "huge"], 2, "huge");
    let http = ["serve", "--data-dir", "x", "--http-addr", "https://127.0.0.1:8086"];
    check(&http, 2, "https is not served");
    check(&["serve", "--data-dir", "x", "--log-filter", "a=b=c"], 2, "log_filter");
    check(&["serve", "--data-dir", "x", "--config", "/nowhere.toml"], 2, "/nowhere.toml");
    check(&["serve", "--data-dir", "x", "--seeds", "a,b"], 2, "--node-name");
    check(&["repair", "--data-dir", "x"], 2, "--accept-loss");
    check(&["demo", "--nodes", "2"], 2, "1, 3 or 5 nodes");
    check(&["cluster", "transfer", "0", "n2"], 2, "not supported yet");
    check(&["cluster", "replace"], 2, "<NODE>");
}

#[test]
fn commands_that_come_later_say_so_and_end_with_1() {
    for command in ["backup", "restore", "verify"] {
        check(&[command, "status", "--any"], 1, "not supported yet");
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for (shell, want) in [
        ("bash", "complete -F _quorate"),
        ("zsh", "#compdef quorate"),
        ("fish", "complete -c quorate"),
        ("elvish", "edit:completion:arg-completer[quorate]"),
        ("powershell", "Register-ArgumentCompleter -Native -CommandName 'quorate'"),
    ] {
        let output = run(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains(want), "{shell}: {script}");
        assert!(script.contains("bootstrap-expect"), "{shell}: {script}");
    }
    check(&["completions", "tcsh"], 2, "tcsh");
}

#[test]
fn manual_pages_are_printed_or_written_one_per_command() {
    let page = String::from_utf8(run(&["man"]).stdout).unwrap();
    assert!(page.contains(".TH quorate 1") && page.contains("quorate\\-sql(1)"), "{page}");
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man/man1");
    assert!(run(&["man", pages.to_str().unwrap()]).status.success());
    for name in ["quorate.1", "quorate-serve.1", "quorate-sql.1", "quorate-cluster-status.1"] {
        assert!(pages.join(name).is_file(), "{name}");
    }
    let sql = std::fs::read_to_string(pages.join("quorate-sql.1")).unwrap();
    assert!(sql.contains("Examples:") && sql.contains("ndjson"), "{sql}");
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    check(&["man", file.to_str().unwrap()], 1, "cannot write");
}

#[test]
fn help_gives_examples() {
    for command in ["serve", "sql"] {
        let help = String::from_utf8(run(&[command, "--help"]).stdout).unwrap();
        assert!(help.contains(&format!("\n    quorate {command} ")), "{help}");
    }
}

#[test]
fn a_file_with_an_unknown_setting_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("quorate.toml");
    std::fs::write(&file, "http_adr = \"127.0.0.1:0\"\n").unwrap();
    check(&["serve", "--data-dir", "x", "--config", file.to_str().unwrap()], 2, "http_adr");
}

#[test]
fn flag_environment_file_and_default_go_in_this_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("quorate.toml");
    std::fs::write(&file, "max_body = \"1KiB\"\nquery_timeout = \"7s\"\nwrite_deadline = \"8s\"\n")
        .unwrap();
    let node = Node::start(&["--config", file.to_str().unwrap(), "--max-body", "2KiB"]);
    let setting = |name: &str| {
        let sql = format!("SELECT value, source FROM system.settings WHERE name = '{name}'");
        let row = node.rows(&sql)[0].clone();
        (row["value"].as_str().unwrap().to_owned(), row["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(setting("max_body"), ("2KiB".to_owned(), "flag".to_owned()));
    assert_eq!(setting("query_timeout"), ("7s".to_owned(), "file".to_owned()));
    assert_eq!(setting("flush_age"), ("10m".to_owned(), "default".to_owned()));
}

#[test]
fn a_busy_port_is_named_before_the_data_directory_is_touched() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = busy.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let serve = ["serve", "--data-dir", data, "--flight-addr", "127.0.0.1:0", "--http-addr", &addr];
    check(&serve, 1, &format!("cannot serve HTTP at {addr}"));
    let serve = ["serve", "--data-dir", data, "--flight-addr", &addr, "--http-addr", "127.0.0.1:0"];
    check(&serve, 1, &format!("cannot serve Flight SQL at {addr}"));
    let free = ["--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
    let cluster = ["--node-name", "n1", "--cluster-addr", &addr];
    let serve = [&["serve", "--data-dir", data][..], &free, &cluster].concat();
    check(&serve, 1, &format!("cannot serve the cluster at {addr}"));
    assert!(!std::path::Path::new(data).exists());
}

#[test]
fn a_directory_of_a_single_node_is_not_taken_into_a_cluster() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_on(dir.path(), &[]);
    node.write("s,h=a f=1i 1");
    assert_eq!(node.stop(), Some(0));
    let data = dir.path().to_str().unwrap();
    let free = ["--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
    let cluster = ["--node-name", "n1", "--cluster-addr", "127.0.0.1:0"];
    let serve = [&["serve", "--data-dir", data][..], &free, &cluster].concat();
    check(&serve, 1, "belongs to a node of its own");
    assert_eq!(Node::start_on(dir.path(), &[]).value("SELECT sum(f) FROM s"), 1);
}

#[test]
fn changes_of_a_cluster_are_refused_where_there_is_none() {
    let node = Node::start(&[]);
    let addr = node.flight();
    check(&["cluster", "--addr", addr, "replace", "n2"], 1, "node of its own");
    check(&["cluster", "--addr", addr, "remove", "n2"], 1, "node of its own");
    let status = run(&["cluster", "status", "--json", "--addr", addr]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["nodes"][0]["status"], "up", "{status}");
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(9), "{status}");
}

#[test]
fn a_data_directory_serves_one_process_at_a_time() {
    let node = Node::start(&[]);
    let dir = node.dir().to_str().unwrap().to_owned();
    let addresses = std::fs::read(node.dir().join("addresses.json")).unwrap();
    let serve =
        ["serve", "--data-dir", &dir, "--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"];
    check(&serve, 1, &dir);
    assert_eq!(std::fs::read(node.dir().join("addresses.json")).unwrap(), addresses);
    node.write("still f=1 1");
}

#[test]
fn a_stop_is_orderly_and_a_restart_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start_on(dir.path(), &["--log-format", "json"]);
    node.write("s,h=a f=1i 1\ns,h=b f=2i 2");
    assert_eq!(node.stop(), Some(0));
    assert!(!dir.path().join("addresses.json").exists());
    let node = Node::start_on(dir.path(), &[]);
    assert_eq!(node.value("SELECT sum(f) FROM s"), 3);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn sql_runs_against_either_door() {
    let node = Node::start(&[]);
    node.write("s,h=a f=1i 1");
    let grpc = node.http().replace("http://", "grpc://");
    for addr in [node.flight(), grpc.as_str()] {
        let output = run(&["sql", "--addr", addr, "--format", "csv", "-c", "SELECT h, f FROM s"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "h,f\na,1");
    }
    let commented = "-- a comment first\nSELECT h FROM s";
    let output = run(&["sql", "--addr", node.flight(), "--format", "csv", "-c", commented]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "h\na", "{errors}");
}

#[test]
fn the_demo_runs_and_cleans_up() {
    check_demo(&["demo", "--exit"], "A node runs");
    check_demo(&["demo", "--exit", "--nodes", "3"], "| n3   | up ");
}

fn check_demo(arguments: &[&str], says: &str) {
    let temporary = tempfile::tempdir().unwrap();
    let output = quorate().args(arguments).env("TMPDIR", temporary.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for want in
        [says, "1440 points", "alpha", "curl", "adbc_driver_flightsql", "jdbc:arrow-flight-sql://"]
    {
        assert!(text.contains(want), "{want}: {text}");
    }
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
