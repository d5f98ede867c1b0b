//! The TSBS-like workload generator and runner.
