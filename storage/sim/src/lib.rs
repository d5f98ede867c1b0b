//! The simulation: a whole replicated store in one seeded process, and an oracle that says whether it kept its promises.
//!
//! Three or five nodes, each a real store: log, Raft groups, memtables, segments, manifests. What is simulated is what they
//! stand on:
//!
//! ```text
//!   clients ─▶ store ─▶ Raft ─▶ log          one runtime of one thread per node; a crash drops it
//!                        │       │
//!             network (queue)   disk (sectors)   clock (per node: offset, drift)        ◀─ one seed
//! ```
//!
//! True time goes on in ticks of a millisecond. In each, packets that are due arrive, and then every node runs until it has
//! nothing left to do. Nothing runs beside it, so that the same seed gives the same run: the trace's hash says so.
//!
//! A run has phases: *form*; *safety*, with faults and clients; *heal*; *liveness*, in which every node has to take writes
//! and all replicas have to become alike within a bound of simulated time; then the checks. What is promised stands at the
//! head of `checker.rs` (what clients were told) and of `observer.rs` (Raft).
//!
//! **Invariants.** No clock, randomness or thread but those of the seed: the program of this crate replaces the two calls of
//! the C library that the standard library takes time and randomness from (`os.rs`), and runs one seed per process.
//!
//! **Limits.** Time is cut into milliseconds, and stands still while a node runs. Jobs build their files in one step: a crash
//! falls between two of its disk operations only where it was planned for one of its syncs. Files are read without time
//! passing. Transport and SQL are not here: tests of real processes have them.

mod checker;
mod cluster;
mod history;
mod log_driver;
mod nemesis;
mod network;
mod node;
mod observer;
mod planted;
mod random;
mod run;
mod table;
mod time;
mod trace;
mod workload;
mod world;

pub use quorate_wal::PlantedBug;
pub use run::{Report, Scenario, run};
pub use time::{monotonic_nanos, wall_nanos};
