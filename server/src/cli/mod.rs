//! The command line.

mod cluster;
mod demo;
mod load;
mod output;
mod repair;
mod serve;
mod shell;
mod sql;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

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
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Run SQL: one statement, a file, or a prompt
    #[command(after_help = SQL_EXAMPLES)]
    Sql(SqlArgs),
    /// Load files into a node: CSV, Parquet, Arrow, line protocol
    #[command(after_help = LOAD_EXAMPLES)]
    Load(Box<load::LoadArgs>),
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
    /// Print a script that completes this command line in a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write one per command
    Man {
        /// Directory of the pages, made if it is not there; without it the first page is printed
        dir: Option<PathBuf>,
    },
}

const SERVE_EXAMPLES: &str = "\
Examples:
  A node of its own, for programs on this machine
    quorate serve --data-dir ./data
  The same, with its settings in a file
    quorate serve --config /etc/quorate.toml
  The first of three nodes; the others differ in name and addresses
    quorate serve --data-dir ./n1 --node-name n1 --cluster-addr 10.0.0.1:7001 --bootstrap-expect 3 \\
      --seeds 10.0.0.1:7001,10.0.0.2:7001,10.0.0.3:7001";

const SQL_EXAMPLES: &str = "\
Examples:
  A prompt
    quorate sql
  One query, as CSV
    quorate sql --format csv -c \"SELECT host, avg(usage) FROM cpu GROUP BY host\"
  A script, in another database
    quorate sql --database lab -f tables.sql
  The tables of a database; `\\?` lists the commands
    quorate sql -c '\\d'";

const LOAD_EXAMPLES: &str = "\
Examples:
  See what the columns become, then load
    quorate load --dry-run --table cpu cpu.csv
    quorate load --table cpu cpu.csv
  Many files; rejected rows go to a file. What was interrupted is run again: nothing is stored twice
    quorate load --table trips 'trips-*.csv.gz' --time pickup --tags vendor,zone --rejected bad.csv
  Times as seconds since 1970, in a file without a line with names
    quorate load --table cpu --header time,host,usage --time-unit s cpu.csv
  Line protocol, which names its tables itself, from a pipe
    zstdcat backup.lp.zst | quorate load --format lp -

Exit status: 0 when all rows are stored, 1 when some were rejected (but for --allow-rejected) or the
load failed, 2 for wrong usage.";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  quorate completions bash > ~/.local/share/bash-completion/completions/quorate
  quorate completions zsh > \"${fpath[1]}/_quorate\"
  quorate completions fish > ~/.config/fish/completions/quorate.fish";

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
        Command::Load(arguments) => load::run(*arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Backup(_) => later("backup"),
        Command::Restore(_) => later("restore"),
        Command::Verify(_) => later("verify"),
        Command::Completions { shell } => shell::completions(Cli::command(), shell),
        Command::Man { dir } => shell::man(Cli::command(), dir.as_deref()),
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
