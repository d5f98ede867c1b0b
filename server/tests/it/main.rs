//! The binary from outside: its HTTP door, its command line, its start and its end.

mod node;

mod command_line;
mod many_clients;
mod probes;
mod sql;
mod writes;
