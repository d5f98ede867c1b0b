//! Time-series SQL over tables in memory.

#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

mod asof;
mod asof_model;
mod buckets;
mod buckets_model;
mod by_time;
mod by_time_model;
mod counters;
mod durations;
mod extremes;
mod fixture;
mod gapfill;
mod gapfill_model;
mod plain;
mod runs;
mod statistics;
mod within;
