//! The log on standard error: text for people, JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::settings::LogFormat;

/// Starts the log. `filter` is a level, or targets with levels.
pub(crate) fn start(format: LogFormat, filter: &str) -> Result<(), ParseError> {
    // Raft's own log is for those who debug Raft; its outer part calls a replica that is stopped in order an error.
    let quiet = "openraft=error,openraft::raft=off,h2=warn,hyper=warn";
    let filter = EnvFilter::builder().parse(format!("{quiet},{filter}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
