//! The prompt of `quorate sql`, at a terminal.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rexpect::reader::Options;
use rexpect::session::{PtySession, spawn_with_options};
use tempfile::TempDir;

use crate::node::{Node, quorate, wait_for};

/// How long a terminal may stay silent before a test fails.
const PATIENCE_MS: u64 = 60_000;

/// `quorate sql` at a terminal of 24 lines.
struct Terminal {
    session: PtySession,
}

impl Terminal {
    /// Opens a prompt whose history lies below `state`.
    fn open(node: &Node, state: &Path) -> Self {
        Self::open_with(node, state, &[])
    }

    /// As [`Self::open`], with variables of the environment.
    fn open_with(node: &Node, state: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "stty rows 24 cols 100; exec \"$0\" sql --addr \"$1\""]);
        command.arg(quorate().get_program()).arg(node.flight());
        command.env("XDG_STATE_HOME", state).env("TERM", "xterm").env("PAGER", "");
        command.envs(environment.iter().copied());
        let options = Options::new().timeout_ms(Some(PATIENCE_MS)).strip_ansi_escape_codes(true);
        let mut terminal = Self { session: spawn_with_options(command, options).unwrap() };
        terminal.expect("to leave");
        terminal.expect("quorate> ");
        terminal
    }

    /// Types keys.
    fn keys(&mut self, keys: &str) {
        self.session.send(keys).unwrap();
        self.session.flush().unwrap();
    }

    /// Types a line, and waits for what it gives and for the next prompt.
    fn line(&mut self, line: &str, want: &str) {
        self.keys(&format!("{line}\r"));
        self.expect(want);
        self.expect("quorate> ");
    }

    /// Waits for a text; what came before it.
    fn expect(&mut self, want: &str) -> String {
        self.session.exp_string(want).unwrap_or_else(|error| panic!("{want:?}: {error}"))
    }

    /// Waits for the end.
    fn ends(mut self) {
        self.session.exp_eof().unwrap();
        let status = format!("{:?}", self.session.process().wait().unwrap());
        assert!(status.starts_with("Exited(") && status.ends_with(", 0)"), "{status}");
    }
}

fn state() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("quorate/sql_history");
    (dir, file)
}

#[test]
fn a_half_typed_statement_goes_with_ctrl_c() {
    let (node, (state, _)) = (Node::start(&[]), state());
    let mut terminal = Terminal::open(&node, state.path());
    terminal.keys("SELECT 1 +\r2 +");
    terminal.expect("2 +");
    terminal.keys("\x03");
    // What is typed ahead of the prompt goes, too.
    terminal.expect("quorate> ");
    terminal.line("SELECT 40 + 2 AS answer;", "| 42 ");
    terminal.keys("\x04");
    terminal.ends();
}

#[test]
fn ctrl_c_cancels_the_query_and_not_the_prompt() {
    let (node, (state, _)) = (Node::start(&[]), state());
    let mut terminal = Terminal::open(&node, state.path());
    terminal.keys("SELECT count(*) FROM generate_series(1, 900000000000) t(v) WHERE v % 7 = 8;\r");
    let running = "SELECT count(*) FROM system.queries WHERE query LIKE '%900000000000) t%' \
                   AND query NOT LIKE '%system.queries%'";
    wait_for(|| (node.value(running) == 1).then_some(()));
    terminal.line("\x03", "error: cancelled");
    wait_for(|| (node.value(running) == 0).then_some(()));
    terminal.line("SELECT 40 + 2 AS answer;", "| 42 ");
}

#[test]
fn words_and_commands_help_and_leave() {
    let (node, (state, _)) = (Node::start(&[]), state());
    for leave in ["quit", "exit;", "\\q"] {
        let mut terminal = Terminal::open(&node, state.path());
        terminal.line("help", "A statement ends with a semicolon");
        terminal.line("\\?", "A statement ends with a semicolon");
        terminal.line("\\nonsense", "\\nonsense is no command; \\? lists them");
        terminal.keys(&format!("{leave}\r"));
        terminal.ends();
    }
}

#[test]
fn the_history_brings_statements_of_many_lines_back_whole() {
    let (node, (state, file)) = (Node::start(&[]), state());
    let mut terminal = Terminal::open(&node, state.path());
    terminal.line(" SELECT 7 * 11 AS secret;", "| 77 ");
    terminal.line("SELECT 40\r + 2 AS answer;", "| 42 ");
    terminal.keys("\\q\r");
    terminal.ends();
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("AS answer;") && !kept.contains("secret"), "{kept}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let mut terminal = Terminal::open(&node, state.path());
    // Before the last command there is the statement, with both of its lines.
    terminal.line("\x1b[A\x1b[A", "| 42 ");
    terminal.keys("\\q\r");
    terminal.ends();
}

#[test]
fn a_history_that_cannot_be_written_is_no_error() {
    let (node, (state, _)) = (Node::start(&[]), state());
    let file = state.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mut terminal = Terminal::open(&node, &file);
    terminal.line("SELECT 40 + 2 AS answer;", "| 42 ");
    terminal.keys("\\q\r");
    terminal.ends();
    assert_eq!(std::fs::read(&file).unwrap(), b"");
}

#[test]
fn commands_tell_what_they_did() {
    let (node, (state, _)) = (Node::start(&[]), state());
    assert_eq!(node.post("/api/v1/sql", "CREATE DATABASE lab").status, 204);
    let mut terminal = Terminal::open(&node, state.path());
    terminal.line("\\timing", "timing is on");
    terminal.line("SELECT 40 + 2 AS answer;", " ms, 1 row");
    terminal.line("\\x", "a line per column is on");
    terminal.line("SELECT 40 + 2 AS answer;", "answer | 42");
    terminal.line("\\c lab", "the database is lab");
    terminal.line("\\format csv", "the format is csv");
    terminal.line("SHOW database;", "database,lab");
    terminal.line("\\pset pager off", "the pager is off");
    terminal.line("\\nonsense", "error: \\nonsense is no command; \\? lists them");
}

#[test]
fn watch_repeats_the_last_statement_until_ctrl_c() {
    let (node, (state, _)) = (Node::start(&[]), state());
    node.write("cpu,host=a usage=1 1");
    let mut terminal = Terminal::open(&node, state.path());
    terminal.line("\\watch", "there is none");
    terminal.line("SELECT count(*) + 40 AS n FROM cpu;", "| 41 ");
    terminal.keys("\\watch 0.01\r");
    terminal.expect("| 41 ");
    node.write("cpu,host=b usage=1 1");
    terminal.expect("| 42 ");
    terminal.line("\x03", "error: cancelled");
    terminal.line("SELECT 40 + 3 AS answer;", "| 43 ");
}

#[test]
fn tab_completes_what_the_server_knows_now() {
    let (node, (state, _)) = (Node::start(&[]), state());
    node.write("cpu,host=a usageOfAll=42 1");
    let mut terminal = Terminal::open(&node, state.path());
    // The column of the table behind the cursor comes with its quotes: to the begin of the line, seven to the right.
    let right = "\x06".repeat(7);
    terminal.line(&format!("SELECT  FROM cp\t;\x01{right}usageO\t"), "| 42.0 ");
    // A table that is new is known after the statement that made it.
    terminal.line("CREATE TABLE disk AS SELECT time, 43 AS used FROM cpu;", "OK, 1 row");
    terminal.line("SELECT used FROM di\t;", "| 43 ");
    terminal.line("\\d di\t", "used");
    terminal.line("\\timi\t on", "timing is on");
}

#[test]
fn tab_completes_keywords_when_the_server_is_gone() {
    let (node, (state, _)) = (Node::start(&[]), state());
    let mut terminal = Terminal::open(&node, state.path());
    assert_eq!(node.stop(), Some(0));
    terminal.keys("vac\t");
    terminal.expect("vacuum");
    terminal.keys("\x03");
    terminal.expect("quorate> ");
    terminal.line("SELECT x\t;", "error: ");
}

#[test]
fn tab_completes_files() {
    let (node, (state, _)) = (Node::start(&[]), state());
    let file = state.path().join("two words.sql");
    std::fs::write(&file, "SELECT 40 + 2 AS answer").unwrap();
    let mut terminal = Terminal::open(&node, state.path());
    terminal.line(&format!("\\i {}/two\t", state.path().display()), "| 42 ");
}

#[test]
fn long_results_go_through_the_pager() {
    let (node, (state, _)) = (Node::start(&[]), state());
    let pager = [("PAGER", "sed 's/^/paged: /'")];
    let mut terminal = Terminal::open_with(&node, state.path(), &pager);
    terminal.keys("SELECT value FROM generate_series(1, 18);\r");
    let short = terminal.expect("18 rows");
    assert!(short.contains("| 18 ") && !short.contains("paged"), "{short}");
    terminal.line("SELECT value FROM generate_series(1, 30);", "paged: 30 rows");
    terminal.line("\\format csv", "the format is csv");
    terminal.line("SELECT value FROM generate_series(1, 30);", "paged: 30");
    terminal.line("\\pset pager off", "the pager is off");
    terminal.keys("SELECT value FROM generate_series(1, 30);\r");
    let off = terminal.expect("29\r\n30");
    assert!(!off.contains("paged"), "{off}");
}

#[test]
fn a_pager_that_is_left_early_is_no_error() {
    let (node, (state, _)) = (Node::start(&[]), state());
    let pager = [("PAGER", "sed -n 's/value/left early/p;q'")];
    let mut terminal = Terminal::open_with(&node, state.path(), &pager);
    terminal.line("\\format csv", "the format is csv");
    // The result has no end: it is the pager that ends it, and the statement behind it runs.
    terminal.keys("SELECT value FROM generate_series(1, 900000000000); SELECT 40 + 2 AS answer;\r");
    let first = terminal.expect("left early");
    let second = terminal.expect("answer\r\n42");
    assert!(!first.contains("error") && !second.contains("error"), "{first}{second}");
}

#[test]
fn a_query_that_takes_long_shows_that_it_runs() {
    let (node, (state, _)) = (Node::start(&[]), state());
    let mut terminal = Terminal::open(&node, state.path());
    terminal.keys("SELECT count(*) FROM generate_series(1, 900000000000) t(v) WHERE v % 7 = 8;\r");
    terminal.expect("00:00:02  0 rows");
    terminal.line("\x03", "error: cancelled");
}

#[test]
fn an_error_points_at_its_place() {
    let (node, (state, _)) = (Node::start(&[]), state());
    let mut terminal = Terminal::open(&node, state.path());
    terminal.line("SELECT 1,\r  2 +* 3;", "\r\n    2 +* 3\r\n       ^\r\n");
    terminal.line("SELECT 40 + 2 AS answer;", "| 42 ");
}
