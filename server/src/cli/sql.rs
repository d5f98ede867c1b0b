//! `quorate sql`: one statement, a file, or a prompt.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::fail;

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns; large results are cut.
    Table,
    /// Comma-separated values, streamed.
    Csv,
    /// One JSON object per row, streamed.
    Json,
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
    /// File with statements to run
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How results are shown [default: table]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
}

/// Runs the command.
pub(crate) fn run(arguments: SqlArgs) -> ExitCode {
    drop(arguments);
    fail("`quorate sql` is not supported yet")
}
