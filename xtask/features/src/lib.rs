//! One feature set of the shared dependencies.
//!
//! Cargo unifies features over the packages that it builds: `cargo test -p quorate-wal` alone would want other features
//! of, say, tokio than the whole workspace, and build it again. Every crate has this one among its dev-dependencies, so
//! that what is built once serves all. It holds nothing.
