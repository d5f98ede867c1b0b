//! Line protocol: text in, rows in the store.

use quorate_storage::WriteReceipt;

use crate::{Error, Session};

/// Unit of the timestamps of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Nanoseconds.
    Nanosecond,
    /// Microseconds.
    Microsecond,
    /// Milliseconds.
    Millisecond,
    /// Seconds.
    Second,
    /// Guessed per timestamp from its magnitude, as InfluxDB 3 does (`precision=auto`).
    Auto,
}

/// A line that was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineError {
    /// From 1.
    pub line_number: u64,
    /// Why.
    pub error_message: String,
    /// Its first 80 characters.
    pub original_line: String,
}

/// What a request did.
#[derive(Clone, Debug, Default)]
pub struct LinesReport {
    /// Per shard.
    pub receipt: WriteReceipt,
    /// Points stored (accepted by every shard).
    pub points: u64,
    /// Lines that were rejected; the others are stored.
    pub rejected: Vec<LineError>,
}

impl Session {
    /// Writes line protocol into the session's database; tables and columns are made as needed. `accept_partial` false
    /// stores nothing when any line is bad.
    pub async fn write_lines(
        &self,
        _body: &[u8],
        _precision: Precision,
        _accept_partial: bool,
    ) -> Result<LinesReport, Error> {
        unimplemented!()
    }
}
