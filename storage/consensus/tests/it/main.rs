//! Whole replicas over real logs: one alone, three together, and the hazards of restarts.

#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod cluster;
mod hazards;
mod held_disk;
mod machine;
mod single;
mod three;
mod timers;
