//! Time-series SQL over tables in memory.

mod counters;
mod fixture;
mod plain;
mod statistics;
