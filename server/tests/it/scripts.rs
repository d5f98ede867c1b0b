//! Scripts of `quorate sql`: statements, and commands on lines of their own.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::node::{Node, quorate};

fn node() -> Node {
    let node = Node::start(&[]);
    node.write("cpu,host=a usage=1.5 1000000000\ncpu,host=b usage=2.5 2000000000");
    assert_eq!(node.post("/api/v1/sql", "CREATE VIEW high AS SELECT * FROM cpu").status, 204);
    assert_eq!(node.post("/api/v1/sql", "CREATE DATABASE lab").status, 204);
    node
}

fn run(node: &Node, script: &str) -> Output {
    let mut command = quorate();
    command.args(["sql", "--addr", node.flight()]).stdin(Stdio::piped());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

/// What a script that goes well writes to standard output.
fn output(node: &Node, script: &str) -> String {
    let output = run(node, script);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && errors.is_empty(), "{script}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn check_error(node: &Node, script: &str, want: &str) {
    let output = run(node, script);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{script}: {errors}");
    assert!(errors.contains(want), "{script}: {errors}");
}

#[test]
fn commands_look_around() {
    let node = node();
    let csv = |command: &str| output(&node, &format!("\\format csv\n{command}\n"));
    assert_eq!(csv("\\d"), "name,kind\ncpu,table\nhigh,view\n");
    assert_eq!(csv("\\dt"), "name,kind\ncpu,table\n");
    assert_eq!(csv("\\dv"), "name,kind\nhigh,view\n");
    assert!(csv("\\d cpu").contains("host,STRING,YES,tag\n"));
    assert_eq!(csv("\\l"), "database_name,kind\nlab,durable\nmain,durable\n");
    assert_eq!(csv("\\c lab\n\\d\n\\c"), "name,kind\nname,value\ndatabase,lab\n");
    check_error(&node, "\\d nowhere", "nowhere");
    check_error(&node, "\\c nowhere", "nowhere");
}

#[test]
fn commands_change_how_results_are_shown() {
    let node = node();
    let script = "\\x on\nSELECT host, usage FROM cpu ORDER BY host;\n\\x\nSELECT 1 AS n;\n\
                  \\format ndjson\nSELECT 1 AS n; SELECT 2 AS n;";
    let want = "-[ row 1 ]-\nhost  | a\nusage | 1.5\n-[ row 2 ]-\nhost  | b\nusage | 2.5\n2 rows\n\
                +---+\n| n |\n+---+\n| 1 |\n+---+\n1 row\n{\"n\":1}\n{\"n\":2}\n";
    assert_eq!(output(&node, script), want);
}

#[test]
fn timing_counts_rows_and_leaves_the_result_alone() {
    let node = node();
    let output = run(&node, "\\format csv\n\\timing on\nSELECT host FROM cpu ORDER BY host;\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "host\na\nb\n");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.ends_with(" ms, 2 rows\n"), "{errors}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn results_go_to_a_file_and_statements_come_from_one() {
    let (node, dir) = (node(), tempfile::tempdir().unwrap());
    let (included, written) = (dir.path().join("in cluded.sql"), dir.path().join("out"));
    std::fs::write(&included, "SELECT 2 AS n;\n\\q\nSELECT 3 AS n;").unwrap();
    let script = format!(
        "\\format csv\n\\o {written}\nSELECT 1 AS n;\n\\i {included}\n\\o\nSELECT 4 AS n",
        written = written.display(),
        included = included.display()
    );
    assert_eq!(output(&node, &script), "n\n4\n");
    assert_eq!(std::fs::read_to_string(&written).unwrap(), "n\n1\nn\n2\n");
    check_error(&node, "\\i /nowhere.sql", "/nowhere.sql");
    check_error(&node, &format!("\\o {}", dir.path().display()), "directory");
}

#[test]
fn a_byte_order_mark_before_a_script_is_no_part_of_it() {
    let (node, dir) = (Node::start(&[]), tempfile::tempdir().unwrap());
    assert_eq!(output(&node, "\u{feff}\\format csv\nSELECT 1 AS n;"), "n\n1\n");
    let included = dir.path().join("marked.sql");
    std::fs::write(&included, "\u{feff}SELECT 2 AS n;").unwrap();
    let script = format!("\\format csv\n\\i {}\n", included.display());
    assert_eq!(output(&node, &script), "n\n2\n");
}

#[test]
fn a_file_that_takes_itself_in_is_refused() {
    let (node, dir) = (Node::start(&[]), tempfile::tempdir().unwrap());
    let file = dir.path().join("itself.sql");
    std::fs::write(&file, format!("\\i {}\n", file.display())).unwrap();
    check_error(&node, &format!("\\i {}", file.display()), "16 deep");
}

#[test]
fn a_command_that_cannot_be_carried_out_ends_a_script() {
    let node = node();
    check_error(&node, "\\nonsense\nDROP TABLE cpu;", "\\nonsense is no command; \\? lists them");
    check_error(&node, "SELECT 1;\n\\watch\nDROP TABLE cpu;", "\\watch is for the prompt");
    check_error(&node, "\\i nowhere.sql\nDROP TABLE cpu;", "nowhere.sql");
    assert_eq!(node.value("SELECT count(*) FROM cpu"), 2);
    assert_eq!(output(&node, "\\q\nDROP TABLE cpu;"), "");
    assert_eq!(node.value("SELECT count(*) FROM cpu"), 2);
}

#[test]
fn an_error_of_a_script_points_at_its_place() {
    let script = "SELECT 1;\nSELECT usage,\n  nope FROM cpu;";
    check_error(&node(), script, "at line 2, column 3\n    nope FROM cpu\n    ^\n");
}
