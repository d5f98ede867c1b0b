//! SQL cases and conformance runs of real clients.
