//! `quorate cluster`: how the nodes of a cluster stand, and which belong to it.
//!
//! Every command is SQL, sent to any node: `system.nodes`, `system.shards`, `system.replicas`, and `ALTER CLUSTER`.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::fail_with;
use super::{Format, SqlArgs, USAGE, say, sql};

/// Tables of the status, in the order in which they are shown.
const STATUS: [(&str, &str); 3] = [
    ("nodes", "SELECT * FROM system.nodes ORDER BY node"),
    ("shards", "SELECT * FROM system.shards ORDER BY shard NULLS FIRST"),
    ("replicas", "SELECT * FROM system.replicas ORDER BY shard NULLS FIRST, node"),
];

/// Arguments of `cluster`.
#[derive(Args, Debug)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    command: Command,
    /// Where a node of the cluster serves Flight SQL
    #[arg(long, env = "QUORATE_ADDR", default_value = "grpc://127.0.0.1:50051", global = true)]
    addr: String,
    /// Bearer token
    #[arg(long, env = "QUORATE_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show nodes, shards and replicas
    Status {
        /// As one JSON object: `{"nodes": […], "shards": […], "replicas": […]}`
        #[arg(long)]
        json: bool,
    },
    /// Take in a node that waits for a place
    Add {
        /// Its name
        node: String,
    },
    /// Remove a node: its replicas lose their votes
    Remove {
        /// Its name
        node: String,
        /// Even if no majority of the others answers: writes stop until one does
        #[arg(long)]
        force: bool,
    },
    /// Give a node's place to one with an empty data directory, which waits for it
    Replace {
        /// The node that is lost
        node: String,
        /// The node that comes, if it has another name
        #[arg(long, value_name = "NODE")]
        with: Option<String>,
    },
    /// Move leadership of a shard (not supported yet: leaders are spread evenly, and leave a node that stops)
    Transfer {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        _arguments: Vec<String>,
    },
}

/// Runs the command.
pub(crate) fn run(arguments: &ClusterArgs) -> ExitCode {
    // The node that is asked answers from what it knows: most of all when nothing else works. A change is decided by
    // a majority all the same.
    let headers = || vec![("consistency".to_owned(), "local".to_owned())];
    let send = |statement: &str, format: Format| {
        sql::run(SqlArgs {
            headers: headers(),
            addr: arguments.addr.clone(),
            database: "main".to_owned(),
            token: arguments.token.clone(),
            command: Some(statement.to_owned()),
            file: None,
            format: Some(format),
        })
    };
    let text = |name: &str| format!("'{}'", name.replace('\'', "''"));
    match &arguments.command {
        Command::Status { json: true } => status_json(send),
        Command::Status { json: false } => status(send),
        Command::Add { node } => {
            send(&format!("ALTER CLUSTER ADD NODE {}", text(node)), Format::Table)
        }
        Command::Remove { node, force } => {
            let force = if *force { " FORCE" } else { "" };
            send(&format!("ALTER CLUSTER REMOVE NODE {}{force}", text(node)), Format::Table)
        }
        Command::Replace { node, with } => {
            let with = text(with.as_ref().unwrap_or(node));
            let statement = format!("ALTER CLUSTER REPLACE NODE {} WITH {with}", text(node));
            send(&statement, Format::Table)
        }
        Command::Transfer { .. } => fail_with(
            "`quorate cluster transfer` is not supported yet: leaders are spread evenly by \
             themselves, and leave a node that is stopped",
            USAGE,
        ),
    }
}

fn status(send: impl Fn(&str, Format) -> ExitCode) -> ExitCode {
    for (name, query) in STATUS {
        say(format_args!("{name}"));
        let code = send(query, Format::Table);
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    ExitCode::SUCCESS
}

fn status_json(send: impl Fn(&str, Format) -> ExitCode) -> ExitCode {
    let mut before = "{";
    for (name, query) in STATUS {
        // A reader that went away is noticed by the query.
        let _ = write!(io::stdout(), "{before}\"{name}\": ");
        before = ", ";
        let code = send(query, Format::Json);
        if code != ExitCode::SUCCESS {
            return code;
        }
    }
    say(format_args!("}}"));
    ExitCode::SUCCESS
}
