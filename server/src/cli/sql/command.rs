//! Commands that begin with a backslash, as psql's: what they are, and how they are read.
//!
//! A command has a line of its own. Its argument is the rest of the line; names are written as in SQL, files may stand in
//! quotes. A semicolon at its end is ignored, except after a file.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::Format;

/// The text of `\?`.
pub(super) const HELP: &str = "\
\\d                        tables and views of the database (\\dt: tables, \\dv: views)
\\d NAME                   columns of a table or view
\\l                        databases
\\c [DATABASE]             use another database, or tell which one is used
\\i FILE                   run the statements of a file
\\o [FILE]                 write results to a file, or to the terminal again
\\format [FORMAT]          table, csv, json, ndjson or arrow
\\x [on|off]               a line per column instead of a table
\\timing [on|off]          tell how long statements take
\\watch [SECONDS]          repeat the last statement until Ctrl-C (unless told: every 2 seconds)
\\pset pager [on|off]      show long results through $PAGER
\\?                        this (also help)
\\q                        leave (also quit, exit, Ctrl-D)

A statement ends with a semicolon and may take several lines. Ctrl-C throws it away, or cancels it while it runs. Tab
completes names and keywords.";

/// How often `\watch` repeats unless told.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Names of the commands, for completion.
pub(super) const NAMES: [&str; 15] = [
    "\\?", "\\c", "\\d", "\\dt", "\\dv", "\\format", "\\h", "\\i", "\\l", "\\o", "\\pset", "\\q",
    "\\timing", "\\watch", "\\x",
];

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl Switch {
    /// Whether it is on.
    pub(super) fn is_on(self) -> bool {
        self == Self::On
    }

    /// What is asked for, or the other position.
    pub(super) fn set(&mut self, asked: Option<Self>) {
        *self = match (asked, *self) {
            (Some(asked), _) => asked,
            (None, Self::On) => Self::Off,
            (None, Self::Off) => Self::On,
        };
    }

    /// Its name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// What `\d`, `\dt` and `\dv` list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relations {
    /// Tables and views.
    All,
    /// Tables alone.
    Tables,
    /// Views alone.
    Views,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `\?`, `\h`
    Help,
    /// `\q`
    Quit,
    /// `\d`, `\dt`, `\dv`
    List(Relations),
    /// `\d NAME`
    Describe(String),
    /// `\l`
    Databases,
    /// `\c DATABASE`; without one it tells which is used.
    Connect(Option<String>),
    /// `\i FILE`
    Include(PathBuf),
    /// `\o FILE`; without one results go to standard output.
    Output(Option<PathBuf>),
    /// `\format`; without one it tells which is used.
    Format(Option<Format>),
    /// `\x`
    Expanded(Option<Switch>),
    /// `\timing`
    Timing(Option<Switch>),
    /// `\pset pager`
    Pager(Option<Switch>),
    /// `\watch`
    Watch(Duration),
}

impl Command {
    /// Reads a line; an error says what is wrong with it.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let line = line.trim();
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let name = name.trim_end_matches(';');
        let argument = rest.trim().trim_end_matches(';').trim_end();
        let given = (!argument.is_empty()).then_some(argument);
        let alone = |command: Self| match given {
            None => Ok(command),
            Some(_) => Err(format!("{name} takes no argument")),
        };
        match name {
            "\\?" | "\\h" => Ok(Self::Help),
            "\\q" => alone(Self::Quit),
            "\\d" => Ok(match given {
                Some(name) => Self::Describe(name.to_owned()),
                None => Self::List(Relations::All),
            }),
            "\\dt" => alone(Self::List(Relations::Tables)),
            "\\dv" => alone(Self::List(Relations::Views)),
            "\\l" => alone(Self::Databases),
            "\\c" => Ok(Self::Connect(given.map(str::to_owned))),
            "\\i" => match file(rest) {
                Some(path) => Ok(Self::Include(path)),
                None => Err("\\i takes a file".to_owned()),
            },
            "\\o" => Ok(Self::Output(file(rest))),
            "\\format" => Ok(Self::Format(given.map(format).transpose()?)),
            "\\x" => Ok(Self::Expanded(switch(name, given)?)),
            "\\timing" => Ok(Self::Timing(switch(name, given)?)),
            "\\pset" => match argument.strip_prefix("pager").map(str::trim) {
                Some(value) => {
                    let value = (!value.is_empty()).then_some(value);
                    Ok(Self::Pager(switch("\\pset pager", value)?))
                }
                None => Err("\\pset takes pager on or pager off".to_owned()),
            },
            "\\watch" => Ok(Self::Watch(given.map_or(Ok(WATCH_INTERVAL), interval)?)),
            other => Err(format!("{other} is no command; \\? lists them")),
        }
    }
}

fn switch(name: &str, given: Option<&str>) -> Result<Option<Switch>, String> {
    match given.map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("on") => Ok(Some(Switch::On)),
        Some("off") => Ok(Some(Switch::Off)),
        Some(_) => Err(format!("{name} takes on or off")),
    }
}

fn format(name: &str) -> Result<Format, String> {
    Format::from_str(name, true)
        .map_err(|_| "\\format takes table, csv, json, ndjson or arrow".to_owned())
}

fn interval(seconds: &str) -> Result<Duration, String> {
    let wrong = || "\\watch takes a number of seconds, such as 0.5".to_owned();
    let seconds: f64 = seconds.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// A file in quotes, or with spaces and backslashes behind backslashes, as completion writes it.
fn file(text: &str) -> Option<PathBuf> {
    let text = text.trim();
    for quote in ['\'', '"'] {
        let inner = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            return Some(inner.into());
        }
    }
    let mut path = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => path.extend(characters.next()),
            c => path.push(c),
        }
    }
    (!path.is_empty()).then(|| path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, want: Command) {
        assert_eq!(Command::parse(line), Ok(want));
    }

    #[track_caller]
    fn check_error(line: &str, want: &str) {
        let error = Command::parse(line).unwrap_err();
        assert!(error.contains(want), "{error}");
    }

    #[test]
    fn commands_take_names_as_sql_writes_them() {
        check("\\d", Command::List(Relations::All));
        check("\\dv;", Command::List(Relations::Views));
        check("  \\d  \"Two words\" ; ", Command::Describe("\"Two words\"".to_owned()));
        check("\\c lab", Command::Connect(Some("lab".to_owned())));
        check("\\c", Command::Connect(None));
        check("\\?", Command::Help);
    }

    #[test]
    fn switches_are_on_off_or_the_other_position() {
        check("\\timing", Command::Timing(None));
        check("\\x ON;", Command::Expanded(Some(Switch::On)));
        check("\\pset pager off", Command::Pager(Some(Switch::Off)));
        check("\\pset pager", Command::Pager(None));
        check_error("\\x maybe", "\\x takes on or off");
        check_error("\\pset border 2", "pager");
        let mut switch = Switch::Off;
        switch.set(None);
        assert_eq!(switch, Switch::On);
        switch.set(Some(Switch::On));
        assert_eq!(switch, Switch::On);
    }

    #[test]
    fn files_may_have_spaces() {
        check("\\i a b.sql", Command::Include("a b.sql".into()));
        check("\\i a\\ b.sql", Command::Include("a b.sql".into()));
        check("\\i 'a\\b.sql'", Command::Include("a\\b.sql".into()));
        check("\\o \"x;\"", Command::Output(Some("x;".into())));
        check("\\o", Command::Output(None));
        check_error("\\i", "takes a file");
    }

    #[test]
    fn formats_and_intervals_are_checked() {
        check("\\format csv", Command::Format(Some(Format::Csv)));
        check("\\format", Command::Format(None));
        check("\\watch 0.5", Command::Watch(Duration::from_millis(500)));
        check("\\watch", Command::Watch(WATCH_INTERVAL));
        check_error("\\format xml", "ndjson");
        for wrong in ["soon", "-1", "NaN", "1e300"] {
            check_error(&format!("\\watch {wrong}"), "seconds");
        }
    }

    #[test]
    fn what_is_no_command_names_the_list() {
        check_error("\\nonsense", "\\nonsense is no command; \\? lists them");
        check_error("\\dt cpu", "no argument");
    }

    #[test]
    fn every_command_is_listed_and_known() {
        for name in NAMES {
            let unknown = |e: String| e.contains("is no command");
            assert!(!Command::parse(name).is_err_and(unknown), "{name}");
            assert!(name == "\\h" || HELP.contains(name), "{name}");
        }
    }
}
