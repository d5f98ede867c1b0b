//! The command line.

mod cluster;
mod demo;
mod output;
mod repair;
mod serve;
mod sql;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub(crate) use output::{fail, say};
pub(crate) use sql::{Format, SqlArgs};

use crate::settings::Layer;

/// Exit status of a usage error, as clap's own.
pub(crate) const USAGE: u8 = 2;

/// A time-series SQL database that never loses an acknowledged point
#[derive(Debug, Parser)]
#[command(name = "quorate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node
    Serve(Box<ServeArgs>),
    /// Run SQL: one statement, a file, or a prompt
    Sql(SqlArgs),
    /// Load files into a table (not supported yet)
    Load(LaterArgs),
    /// Start a node on a temporary directory, write sample data, query it, and open a prompt
    Demo(DemoArgs),
    /// Look after a cluster: its nodes, shards and replicas
    Cluster(cluster::ClusterArgs),
    /// Give up damaged log entries that no replica can replace, and record what goes
    Repair(RepairArgs),
    /// Write a backup (not supported yet)
    Backup(LaterArgs),
    /// Restore a backup (not supported yet)
    Restore(LaterArgs),
    /// Verify every byte of a data directory (not supported yet)
    Verify(LaterArgs),
}

/// Arguments of `serve`.
#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    /// File with the same settings, in TOML: `http_addr = "0.0.0.0:8086"`
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The settings.
    #[command(flatten)]
    pub(crate) settings: Layer,
}

/// Arguments of `demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Stop after the sample data was written and queried, instead of opening a prompt
    #[arg(long)]
    pub(crate) exit: bool,
    /// Nodes of the demo: 1, 3 or 5
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) nodes: u32,
}

/// Arguments of `repair`.
#[derive(Args, Debug)]
pub(crate) struct RepairArgs {
    /// Directory of the node, which must not run
    #[arg(long, env = "QUORATE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Give up what is damaged
    #[arg(long)]
    pub(crate) accept_loss: bool,
}

/// Arguments of a command that comes later: all are taken, none is looked at.
#[derive(Args, Debug)]
struct LaterArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<String>,
}

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let later = |name: &str| fail(format_args!("`quorate {name}` is not supported yet"));
    match cli.command {
        Command::Serve(arguments) => serve::run(*arguments, matches.subcommand_matches("serve")),
        Command::Sql(arguments) => sql::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::Load(_) => later("load"),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Backup(_) => later("backup"),
        Command::Restore(_) => later("restore"),
        Command::Verify(_) => later("verify"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
