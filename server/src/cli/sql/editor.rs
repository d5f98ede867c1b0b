//! The line editor of the prompt: a whole statement is edited at once, and kept in a history.
//!
//! Enter ends the input when nothing is left open: no statement that lacks its semicolon, no quote, no comment. Until
//! then it begins another line of the same input, so that a statement of many lines is one entry of the history and comes
//! back whole. The history is a file that only its owner may read, as statements hold data; input that begins with a
//! space is not kept, nor is anything where the file cannot be written.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context};

use super::completion::{self, Completion};
use super::names::ServerNames;
use super::statements;

/// Entries of the history.
const HISTORY_ENTRIES_MAX: usize = 10_000;

/// Reads what the user writes.
pub(super) struct Editor<'a> {
    lines: rustyline::Editor<Helper<'a>, FileHistory>,
    history: Option<PathBuf>,
}

impl<'a> Editor<'a> {
    /// Opens the terminal and the history; Tab offers names.
    pub(super) fn open(names: ServerNames<'a>) -> Result<Self, ReadlineError> {
        let config = Config::builder()
            .max_history_size(HISTORY_ENTRIES_MAX)?
            .history_ignore_dups(true)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let mut lines = rustyline::Editor::with_config(config)?;
        lines.set_helper(Some(Helper { names, files: FilenameCompleter::new() }));
        let history = history_path();
        if let Some(path) = &history {
            // The first time there is none.
            let _ = lines.load_history(path);
        }
        Ok(Self { lines, history })
    }

    /// The next input: statements that are ended, a command, or nothing.
    pub(super) fn read(&mut self, mark: &str) -> Result<String, ReadlineError> {
        let text = self.lines.readline(mark)?;
        self.keep(&text);
        Ok(text)
    }

    /// A history that cannot be kept is no reason to stop.
    fn keep(&mut self, text: &str) {
        let added = self.lines.add_history_entry(text.trim_end()).unwrap_or(false);
        if let (true, Some(path)) = (added, &self.history)
            && path.parent().is_some_and(made)
        {
            let _ = self.lines.append_history(path);
        }
    }
}

/// What the editor asks about the input.
struct Helper<'a> {
    names: ServerNames<'a>,
    files: FilenameCompleter,
}

impl rustyline::Helper for Helper<'_> {}

impl Hinter for Helper<'_> {
    type Hint = String;
}

impl Highlighter for Helper<'_> {}

impl Completer for Helper<'_> {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        self.names.begin();
        match completion::complete(line, at, &self.names) {
            Completion::Words(start, words) => {
                let pair = |word: String| Pair { display: word.clone(), replacement: word };
                Ok((start, words.into_iter().map(pair).collect()))
            }
            Completion::File(start) => {
                let path = line.get(start..at).unwrap_or_default();
                let (within, files) = self.files.complete_path(path, path.len())?;
                Ok((start + within, files))
            }
        }
    }
}

impl Validator for Helper<'_> {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_whole(context.input()) {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

/// A word that is understood instead of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// `help`
    Help,
    /// `quit`, `exit`
    Quit,
}

impl Word {
    /// The input as a word, with or without a semicolon.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.trim().trim_end_matches(';').trim_end().to_ascii_lowercase().as_str() {
            "help" => Some(Self::Help),
            "quit" | "exit" => Some(Self::Quit),
            _ => None,
        }
    }
}

/// Whether Enter ends the input.
fn is_whole(text: &str) -> bool {
    Word::parse(text).is_some() || !statements::cut(text).rest_is_statement
}

/// `$XDG_STATE_HOME/quorate/sql_history`, or below `~/.local/state`.
fn history_path() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    Some(state.join("quorate").join("sql_history"))
}

fn made(dir: &Path) -> bool {
    dir.is_dir() || DirBuilder::new().recursive(true).mode(0o700).create(dir).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enter_ends_what_is_whole() {
        for text in ["", "  ", "SELECT 1;", "SELECT\n1\n;", "\\d cpu", "help", " Quit ;", "-- a"] {
            assert!(is_whole(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT 1; SELECT", "SELECT ';", "/* a", "helpful", "help me"] {
            assert!(!is_whole(text), "{text}");
        }
    }

    #[test]
    fn words_are_taken_alone() {
        assert_eq!(Word::parse("exit;\n"), Some(Word::Quit));
        assert_eq!(Word::parse("HELP"), Some(Word::Help));
        assert_eq!(Word::parse("exit now"), None);
        assert_eq!(Word::parse(""), None);
    }
}
