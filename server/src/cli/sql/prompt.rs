//! The prompt: statements that end with a semicolon, and commands that begin with `\`.
//!
//! Ctrl-C throws away what is being written, or cancels the query that runs; Ctrl-D, `quit` and `\q` leave.

use std::io::{self, Write};
use std::process::ExitCode;

use futures::FutureExt;
use quorate_flight::Client;
use quorate_wal::{Clock, SystemClock};
use rustyline::error::ReadlineError;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::editor::{Editor, Word};
use super::output::is_broken_pipe;
use super::{Failure, Format, fail, run_statement, statements};

const HELP: &str = "\
\\d          tables of the current database
\\d TABLE    columns of a table
\\l          databases
\\timing     tell how long statements take, or stop telling
\\?          this (also help)
\\q          leave (also quit, exit, Ctrl-D)

A statement ends with a semicolon and may take several lines. Ctrl-C throws it away, or cancels it while it runs.
";

/// Reads and runs statements until the user leaves.
pub(super) fn run(runtime: &Runtime, client: &mut Client, format: Format) -> ExitCode {
    let mut editor = match Editor::open() {
        Ok(editor) => editor,
        Err(error) => return fail(format_args!("cannot read from the terminal: {error}")),
    };
    tell(format_args!("quorate {} — \\? for help, \\q to leave", env!("CARGO_PKG_VERSION")));
    let interrupts = runtime.block_on(async { signal(SignalKind::interrupt()) });
    let interrupts = match interrupts {
        Ok(interrupts) => interrupts,
        Err(error) => return fail(format_args!("cannot listen for signals: {error}")),
    };
    let mut prompt = Prompt { runtime, client, interrupts, format, timing: false };
    loop {
        match editor.read("quorate> ") {
            Ok(text) => {
                if prompt.take(&text) == Next::Leave {
                    break;
                }
            }
            // What was written is gone.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return fail(format_args!("cannot read from the terminal: {error}")),
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
}

impl Prompt<'_> {
    /// Takes an input: a command, or statements that run until one fails.
    fn take(&mut self, text: &str) -> Next {
        match Word::parse(text) {
            Some(Word::Quit) => return Next::Leave,
            Some(Word::Help) => {
                tell(HELP.trim_end());
                return Next::Line;
            }
            None => {}
        }
        if text.trim_start().starts_with('\\') {
            return self.command(text.trim());
        }
        for statement in statements::cut(text).statements {
            // What was written after a failure was written in the belief that it would go well.
            if !self.statement(statement) {
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
