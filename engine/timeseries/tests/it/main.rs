//! Time-series SQL over tables in memory.

mod asof;
mod asof_model;
mod counters;
mod fixture;
mod plain;
mod statistics;
