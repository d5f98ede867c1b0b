//! Whole replicas over real logs: one alone, three together, and the hazards of restarts.

mod cluster;
mod hazards;
mod held_disk;
mod machine;
mod single;
mod three;
