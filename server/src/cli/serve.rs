//! `quorate serve`: runs a node until it is told to stop.

use std::process::ExitCode;

use clap::ArgMatches;
use tokio::signal::unix::{SignalKind, signal};

use quorate_storage::with_causes;

use super::output::{fail, fail_with};
use super::{ServeArgs, USAGE, say};
use crate::node::{self, Node};
use crate::settings::Settings;
use crate::{limits, logging};

/// Runs the command.
pub(crate) fn run(arguments: ServeArgs, matches: Option<&ArgMatches>) -> ExitCode {
    let file = arguments.config.as_deref();
    let settings = match Settings::resolve(arguments.settings, matches, file) {
        Ok(settings) => settings,
        Err(error) => return fail_with(error, USAGE),
    };
    if let Err(error) = logging::start(settings.log_format, &settings.log_filter) {
        return fail_with(format_args!("log_filter: {error}"), USAGE);
    }
    limits::raise_open_files();
    let runtime = match node::runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("cannot start the threads: {error}")),
    };
    let status = runtime.block_on(serve(settings));
    // Blocking calls that hang must not keep the process: what matters is closed.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    status
}

async fn serve(settings: Settings) -> ExitCode {
    // Before anything else, so that a signal during the start is not lost.
    let (Ok(mut term), Ok(mut int)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return fail("cannot listen for signals");
    };
    let node = tokio::select! {
        node = Node::start(settings) => node,
        _ = term.recv() => return ExitCode::SUCCESS,
        _ = int.recv() => return ExitCode::SUCCESS,
    };
    let mut node = match node {
        Ok(node) => node,
        Err(error) => return fail(with_causes(&error)),
    };
    say(format_args!("Flight SQL at grpc://{}, HTTP at http://{}", node.flight(), node.http()));
    let failed = tokio::select! {
        _ = term.recv() => None,
        _ = int.recv() => None,
        error = node.failed() => Some(error),
    };
    let stopped = tokio::select! {
        stopped = node.stop() => stopped,
        _ = term.recv() => return fail("stopped at once by a second signal"),
        _ = int.recv() => return fail("stopped at once by a second signal"),
    };
    match (failed, stopped) {
        (Some(error), _) => fail(format_args!("a listener failed: {error}")),
        (None, Err(error)) => fail(with_causes(&error)),
        (None, Ok(())) => ExitCode::SUCCESS,
    }
}
