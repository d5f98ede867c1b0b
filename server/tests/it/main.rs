//! The binary from outside: its HTTP door, its command line, its start and its end.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic, in its helpers too")]

mod node;

mod command_line;
mod hostile;
mod many_clients;
mod probes;
mod prompt;
mod scripts;
mod sql;
mod udp;
mod writes;
