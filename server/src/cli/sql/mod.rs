//! `quorate sql`: one statement, a file, or a prompt.
//!
//! Statements and commands run one after the other in one `session`, so that `USE` and `SET` hold for those that follow;
//! the first error ends a script. The prompt reads them with an `editor`, `statements` cuts them apart, `command` knows
//! those that begin with a backslash, and `output` lays results out, which a `pager` shows if they are long. A statement
//! that takes its time shows its `progress`; one that is wrong is shown with the `place`. On Tab, `completion` offers `keywords` and the
//! `names` that the server knows. Results go to standard output, errors to standard error. A reader that goes away (`| head`) is
//! no error.

mod command;
mod completion;
mod editor;
mod keywords;
mod names;
mod output;
mod pager;
mod place;
mod progress;
mod prompt;
mod session;
mod statements;

use std::fmt::Display;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arrow::error::ArrowError;
use clap::{Args, ValueEnum};
use quorate_flight::{Client, ClientError, ClientOptions};

use self::output::is_broken_pipe;
use self::session::{Mode, Session};
use super::fail;

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns; large results are cut.
    Table,
    /// Comma-separated values, streamed.
    Csv,
    /// An array of one JSON object per row, streamed.
    Json,
    /// One JSON object per line, streamed.
    Ndjson,
    /// An Arrow IPC stream.
    Arrow,
}

impl Format {
    /// Its name on the command line.
    fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Arrow => "arrow",
        }
    }
}

/// Arguments of `sql`.
#[derive(Args, Clone, Debug)]
pub(crate) struct SqlArgs {
    /// Where Flight SQL is served
    #[arg(long, env = "QUORATE_ADDR", default_value = "grpc://127.0.0.1:50051")]
    pub(crate) addr: String,
    /// Database of unqualified names
    #[arg(long, env = "QUORATE_DATABASE", default_value = "main")]
    pub(crate) database: String,
    /// Bearer token
    #[arg(long, env = "QUORATE_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Statements to run, separated by semicolons
    // A text may begin with a comment.
    #[arg(
        short = 'c',
        long,
        value_name = "SQL",
        conflicts_with = "file",
        allow_hyphen_values = true
    )]
    pub(crate) command: Option<String>,
    /// File with statements to run; `-` is standard input
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How results are shown [default: table]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Call headers, set by other commands.
    #[arg(skip)]
    pub(crate) headers: Vec<(String, String)>,
}

/// What ends a statement early.
#[derive(Debug)]
enum Failure {
    /// The server, or the way to it, and the statement that was sent.
    Client(ClientError, String),
    /// A command that cannot be carried out.
    Command(String),
    /// Our output cannot be written.
    Output(ArrowError),
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(error, statement) => {
                let message = error.to_string();
                f.write_str(&message)?;
                match place::show(statement, &message) {
                    Some(place) => write!(f, "\n{place}"),
                    None => Ok(()),
                }
            }
            Self::Command(message) => f.write_str(message),
            Self::Output(error) => write!(f, "cannot write the result: {error}"),
        }
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        Self::Output(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error.into())
    }
}

/// Runs the command.
pub(crate) fn run(arguments: SqlArgs) -> ExitCode {
    // A thread of its own for the connection: while the prompt waits for the user, cancelled queries must be told to the
    // server, and its pings be answered.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("cannot start: {error}")),
    };
    let script = match script(&arguments) {
        Ok(script) => script,
        Err(message) => return fail(message),
    };
    let format = arguments.format.unwrap_or(Format::Table);
    let options = ClientOptions {
        addr: arguments.addr,
        database: Some(arguments.database),
        token: arguments.token,
        headers: arguments.headers,
    };
    let client = match runtime.block_on(Client::connect(options)) {
        Ok(client) => client,
        Err(error) => return fail(error),
    };
    match script {
        Some(text) => {
            let mut session = Session::new(client, format, Mode::Script);
            match runtime.block_on(session.run(&text)) {
                Ok(_) => ExitCode::SUCCESS,
                Err(Failure::Output(error)) if is_broken_pipe(&error) => ExitCode::SUCCESS,
                Err(error) => fail(error),
            }
        }
        None => prompt::run(&runtime, Session::new(client, format, Mode::Prompt)),
    }
}

/// The statements to run; `None` asks for a prompt.
fn script(arguments: &SqlArgs) -> Result<Option<String>, String> {
    if let Some(text) = &arguments.command {
        return Ok(Some(text.clone()));
    }
    let from_input = match &arguments.file {
        Some(path) if path != Path::new("-") => {
            return match std::fs::read_to_string(path) {
                Ok(text) => Ok(Some(text)),
                Err(error) => Err(format!("cannot read {}: {error}", path.display())),
            };
        }
        Some(_) => true,
        None => !io::stdin().is_terminal(),
    };
    if !from_input {
        return Ok(None);
    }
    let mut text = String::new();
    match io::stdin().read_to_string(&mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(format!("cannot read standard input: {error}")),
    }
}
