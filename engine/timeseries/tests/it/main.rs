//! Time-series SQL over tables in memory.

mod fixture;
mod plain;
