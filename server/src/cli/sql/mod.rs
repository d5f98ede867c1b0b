//! `quorate sql`: one statement, a file, or a prompt.
//!
//! Statements run one after the other on one connection, so that `USE` and `SET` hold for those that follow; the first
//! error ends a script. Results go to standard output, errors to standard error. A reader that goes away (`| head`) is
//! no error.

mod editor;
mod output;
mod prompt;
mod statements;

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use clap::{Args, ValueEnum};
use futures::{Stream, StreamExt};
use quorate_flight::{Client, ClientError, ClientOptions, ClientOutcome};

use self::output::{More, Output, is_broken_pipe};
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
    #[arg(short = 'c', long, value_name = "SQL", conflicts_with = "file")]
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
    /// The server, or the way to it.
    Client(ClientError),
    /// Our output cannot be written.
    Output(ArrowError),
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Output(error) => write!(f, "cannot write the result: {error}"),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
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
    let mut client = match runtime.block_on(Client::connect(options)) {
        Ok(client) => client,
        Err(error) => return fail(error),
    };
    match script {
        Some(text) => runtime.block_on(run_script(&mut client, &text, format)),
        None => prompt::run(&runtime, &mut client, format),
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

async fn run_script(client: &mut Client, text: &str, format: Format) -> ExitCode {
    let cut = statements::cut(text);
    let last = cut.rest_is_statement.then(|| cut.rest.trim());
    for statement in cut.statements.into_iter().chain(last) {
        match run_statement(client, statement, format).await {
            Ok(()) => {}
            Err(Failure::Output(error)) if is_broken_pipe(&error) => return ExitCode::SUCCESS,
            Err(error) => return fail(error),
        }
    }
    ExitCode::SUCCESS
}

/// Runs one statement and writes what it gives.
async fn run_statement(
    client: &mut Client,
    statement: &str,
    format: Format,
) -> Result<(), Failure> {
    match client.execute(statement).await? {
        ClientOutcome::Rows { schema, batches } => write_rows(&schema, batches, format).await,
        ClientOutcome::Updated(count) => {
            // Other forms are read by programs, which expect rows or nothing.
            if format == Format::Table {
                writeln!(io::stdout(), "{}", done(statement, count))?;
            }
            Ok(())
        }
    }
}

async fn write_rows(
    schema: &SchemaRef,
    mut batches: impl Stream<Item = Result<arrow::array::RecordBatch, ClientError>> + Unpin,
    format: Format,
) -> Result<(), Failure> {
    let out = BufWriter::with_capacity(1 << 16, io::stdout());
    let mut output = Output::begin(format, schema, out)?;
    while let Some(batch) = batches.next().await {
        if output.write(&batch?)? == More::Enough {
            break;
        }
    }
    // Dropped before the table is drawn: the server stops working on rows that nobody will see.
    drop(batches);
    Ok(output.finish(format)?)
}

fn done(statement: &str, count: Option<u64>) -> String {
    let word = statement.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let counts = ["INSERT", "DELETE", "UPDATE", "COPY"].contains(&word.as_str());
    match count {
        Some(1) => "OK, 1 row".to_owned(),
        Some(n) if n > 1 || counts => format!("OK, {n} rows"),
        Some(_) | None => "OK".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_changed_are_counted_where_the_statement_counts_them() {
        assert_eq!(done("INSERT INTO t VALUES (1)", Some(1)), "OK, 1 row");
        assert_eq!(done("insert into t select 1", Some(0)), "OK, 0 rows");
        assert_eq!(done("DELETE FROM t", None), "OK");
        assert_eq!(done("CREATE TABLE t AS SELECT 1", Some(1000)), "OK, 1000 rows");
        assert_eq!(done("USE d", Some(0)), "OK");
    }
}
