//! `quorate repair`: gives up what is damaged and cannot be fetched from a replica.

use std::process::ExitCode;

use quorate_storage::{Store, StoreOptions, with_causes};

use super::output::{fail, fail_with};
use super::{RepairArgs, USAGE, say};
use crate::node;

/// Runs the command: opens the data directory once with the loss accepted, which records what goes.
pub(crate) fn run(arguments: &RepairArgs) -> ExitCode {
    if !arguments.accept_loss {
        let message = "repair gives up damaged log entries for good: say --accept-loss";
        return fail_with(message, USAGE);
    }
    if !arguments.data_dir.is_dir() {
        return fail(format_args!("there is no directory {}", arguments.data_dir.display()));
    }
    if let Err(error) = crate::logging::start(crate::settings::LogFormat::Text, "warn") {
        return fail(error);
    }
    let runtime = match node::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("cannot start the threads: {error}")),
    };
    let options =
        StoreOptions { accept_loss: true, ..StoreOptions::new(arguments.data_dir.clone()) };
    let repaired = runtime.block_on(async {
        let store = Store::open(quorate_wal::disk_from_environment(), options).await?;
        store.close().await
    });
    match repaired {
        Ok(()) => {
            say(format_args!(
                "{} opens again; the log above says what went",
                arguments.data_dir.display()
            ));
            ExitCode::SUCCESS
        }
        Err(error) => fail(with_causes(&error)),
    }
}
