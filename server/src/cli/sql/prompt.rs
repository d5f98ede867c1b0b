//! The prompt: statements over several lines until a semicolon, with a history, and commands that begin with `\`.
//!
//! Ctrl-C clears what is being written, or cancels the query that runs; Ctrl-D and `\q` leave.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use futures::FutureExt;
use quorate_flight::Client;
use quorate_wal::{Clock, SystemClock};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::output::is_broken_pipe;
use super::{Failure, Format, fail, run_statement, statements};

const HELP: &str = "\
\\d          tables of the current database
\\d TABLE    columns of a table
\\l          databases
\\timing     tell how long statements take, or stop telling
\\?          this
\\q          leave (also Ctrl-D)

A statement ends with a semicolon and may take several lines. Ctrl-C cancels it.
";

/// Reads and runs statements until the user leaves.
pub(super) fn run(runtime: &Runtime, client: &mut Client, format: Format) -> ExitCode {
    let mut editor = match DefaultEditor::new() {
        Ok(editor) => editor,
        Err(error) => return fail(format_args!("cannot read from the terminal: {error}")),
    };
    let history = history_path();
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    tell(format_args!("quorate {} — \\? for help, \\q to leave", env!("CARGO_PKG_VERSION")));
    let interrupts = runtime.block_on(async { signal(SignalKind::interrupt()) });
    let interrupts = match interrupts {
        Ok(interrupts) => interrupts,
        Err(error) => return fail(format_args!("cannot listen for signals: {error}")),
    };
    let mut prompt =
        Prompt { runtime, client, interrupts, format, timing: false, text: String::new() };
    loop {
        let mark = if prompt.text.trim().is_empty() { "quorate> " } else { "      -> " };
        match editor.readline(mark) {
            Ok(line) => {
                if prompt.take(&mut editor, &line) == Next::Leave {
                    break;
                }
            }
            Err(ReadlineError::Interrupted) => prompt.text.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return fail(format_args!("cannot read from the terminal: {error}")),
        }
        if let Some(path) = &history {
            save(&mut editor, path);
        }
    }
    ExitCode::SUCCESS
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

struct Prompt<'a> {
    runtime: &'a Runtime,
    client: &'a mut Client,
    interrupts: Signal,
    format: Format,
    timing: bool,
    /// What was written since the last semicolon.
    text: String,
}

impl Prompt<'_> {
    /// Takes a line.
    fn take(&mut self, editor: &mut DefaultEditor, line: &str) -> Next {
        if self.text.trim().is_empty() && line.trim_start().starts_with('\\') {
            let _ = editor.add_history_entry(line.trim());
            return self.command(line.trim());
        }
        self.text.push_str(line);
        self.text.push('\n');
        let text = std::mem::take(&mut self.text);
        let cut = statements::cut(&text);
        if !cut.statements.is_empty() {
            let ended = text.len() - cut.rest.len();
            let _ = editor.add_history_entry(text.get(..ended).unwrap_or_default().trim());
        }
        cut.rest.clone_into(&mut self.text);
        for statement in cut.statements {
            if !self.statement(statement) {
                // What was written after a failure was written in the belief that it would go well.
                self.text.clear();
                break;
            }
        }
        Next::Line
    }

    fn command(&mut self, line: &str) -> Next {
        let (command, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim().trim_end_matches(';');
        match (command.trim_end_matches(';'), argument) {
            ("\\q", _) => return Next::Leave,
            ("\\?" | "\\h", _) => tell(HELP.trim_end()),
            ("\\l", _) => drop(self.statement("SHOW DATABASES")),
            ("\\d", "") => drop(self.statement("SHOW TABLES")),
            ("\\d", table) => drop(self.statement(&format!("DESCRIBE {table}"))),
            ("\\timing", _) => {
                self.timing = !self.timing;
                tell(if self.timing { "timing is on" } else { "timing is off" });
            }
            (other, _) => tell(format_args!("{other} is no command; \\? lists them")),
        }
        Next::Line
    }

    /// Runs a statement; whether it went well.
    fn statement(&mut self, statement: &str) -> bool {
        let clock = SystemClock::default();
        let begun = clock.monotonic();
        let outcome = self.runtime.block_on(async {
            // A Ctrl-C from before is about nothing that runs now.
            tokio::task::yield_now().await;
            while self.interrupts.recv().now_or_never().is_some() {}
            tokio::select! {
                outcome = run_statement(self.client, statement, self.format) => Some(outcome),
                _ = self.interrupts.recv() => None,
            }
        });
        let went_well = match outcome {
            Some(Ok(())) => true,
            Some(Err(Failure::Output(error))) if is_broken_pipe(&error) => true,
            Some(Err(error)) => {
                fail(error);
                false
            }
            // The query ended with its stream.
            None => {
                fail("cancelled");
                false
            }
        };
        if self.timing {
            let taken = clock.monotonic().saturating_sub(begun);
            tell(format_args!("{:.3} ms", taken.as_secs_f64() * 1e3));
        }
        went_well
    }
}

fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// `$XDG_STATE_HOME/quorate/history`, or below `~/.local/state`.
fn history_path() -> Option<PathBuf> {
    let state = match std::env::var_os("XDG_STATE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".local/state"),
    };
    Some(state.join("quorate").join("history"))
}

/// A history that cannot be kept is no reason to stop.
fn save(editor: &mut DefaultEditor, path: &std::path::Path) {
    if let Some(dir) = path.parent()
        && std::fs::create_dir_all(dir).is_ok()
    {
        let _ = editor.save_history(path);
    }
}
