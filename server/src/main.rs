//! Quorate: a time-series SQL database that never loses an acknowledged point. The binary.
//!
//! It wires the crates together and decides nothing else: `settings` are read, [`node`] opens the engine and its two
//! doors (Flight SQL and HTTP; [`udp`] if it is asked for) and stops them in order, `cli` holds the commands.
//!
//! Exit status: 0 success, 1 failure, 2 usage, 74 after a failed sync.

mod cli;
mod http;
mod limits;
mod logging;
mod node;
mod settings;
mod udp;

use std::process::ExitCode;

// Without huge pages, of which each would keep two megabytes where a query holds some kilobytes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
