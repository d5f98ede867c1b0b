//! The prompt: statements that end with a semicolon, and commands that begin with `\`.
//!
//! Ctrl-C throws away what is being written, or cancels the query that runs; Ctrl-D, `quit` and `\q` leave.

use std::io::{self, Write};
use std::process::ExitCode;

use futures::FutureExt;
use rustyline::error::ReadlineError;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::command::HELP;
use super::editor::{Editor, Word};
use super::fail;
use super::names::ServerNames;
use super::session::{Next, Session};

/// Reads and runs statements until the user leaves.
pub(super) fn run(runtime: &Runtime, session: Session) -> ExitCode {
    let names = ServerNames::new(runtime, session.client(), session.changes());
    let mut editor = match Editor::open(names) {
        Ok(editor) => editor,
        Err(error) => return fail(format_args!("cannot read from the terminal: {error}")),
    };
    tell(format_args!("quorate {} — \\? for help, \\q to leave", env!("CARGO_PKG_VERSION")));
    let interrupts = runtime.block_on(async { signal(SignalKind::interrupt()) });
    let interrupts = match interrupts {
        Ok(interrupts) => interrupts,
        Err(error) => return fail(format_args!("cannot listen for signals: {error}")),
    };
    let mut prompt = Prompt { runtime, session, interrupts };
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

struct Prompt<'a> {
    runtime: &'a Runtime,
    session: Session,
    interrupts: Signal,
}

impl Prompt<'_> {
    /// Takes an input: a word, or statements and commands that run until one fails. What was written after a failure was
    /// written in the belief that it would go well.
    fn take(&mut self, text: &str) -> Next {
        match Word::parse(text) {
            Some(Word::Quit) => return Next::Leave,
            Some(Word::Help) => {
                tell(HELP);
                return Next::GoOn;
            }
            None => {}
        }
        let outcome = self.runtime.block_on(async {
            // A Ctrl-C from before is about nothing that runs now.
            tokio::task::yield_now().await;
            while self.interrupts.recv().now_or_never().is_some() {}
            tokio::select! {
                outcome = self.session.run(text) => Some(outcome),
                _ = self.interrupts.recv() => None,
            }
        });
        match outcome {
            Some(Ok(next)) => return next,
            Some(Err(error)) => drop(fail(error)),
            // The query ended with its stream.
            None => drop(fail("cancelled")),
        }
        Next::GoOn
    }
}

fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(io::stdout(), "{text}");
}
