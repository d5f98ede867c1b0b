//! Time-series SQL over tables in memory.

mod asof;
mod asof_model;
mod counters;
mod fixture;
mod gapfill;
mod gapfill_model;
mod plain;
mod statistics;
