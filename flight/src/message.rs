//! Protobuf messages that arrow-flight does not have: those of sessions, and the contents of our own handles.
//!
//! The first part is of the protocol (`Flight.proto`, `FlightSql.proto`) and must keep its field numbers. The second
//! part is read by Quorate alone, any node of the cluster; fields may be added, numbers never used again.

use std::collections::HashMap;

use bytes::Bytes;

/// `ActionCreatePreparedStatementResult` with the field `is_update`, which tells drivers what the statement is without
/// a guess from its schema.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CreatePreparedStatementResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) prepared_statement_handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) parameter_schema: Bytes,
    #[prost(bool, optional, tag = "4")]
    pub(crate) is_update: Option<bool>,
}

/// `ActionCancelQueryResult`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct CancelQueryResult {
    #[prost(int32, tag = "1")]
    pub(crate) result: i32,
}

/// `SessionOptionValue`; no value erases the option.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SessionOptionValue {
    #[prost(oneof = "OptionValue", tags = "1, 2, 3, 4, 5")]
    pub(crate) option_value: Option<OptionValue>,
}

/// The value of a [`SessionOptionValue`].
#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum OptionValue {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(sfixed64, tag = "3")]
    Int64(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    StringList(StringListValue),
}

/// A list of strings.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct StringListValue {
    #[prost(string, repeated, tag = "1")]
    pub(crate) values: Vec<String>,
}

/// `SetSessionOptionsRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) session_options: HashMap<String, SessionOptionValue>,
}

/// `SetSessionOptionsResult`: the options that were not set.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) errors: HashMap<String, SessionOptionError>,
}

/// Why an option was not set.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct SessionOptionError {
    #[prost(enumeration = "SessionOptionErrorValue", tag = "1")]
    pub(crate) value: i32,
}

/// Values of [`SessionOptionError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum SessionOptionErrorValue {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

/// `GetSessionOptionsResult`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    pub(crate) session_options: HashMap<String, SessionOptionValue>,
}

/// `CloseSessionResult`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct CloseSessionResult {
    #[prost(enumeration = "CloseSessionStatus", tag = "1")]
    pub(crate) status: i32,
}

/// Values of [`CloseSessionResult`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum CloseSessionStatus {
    Unspecified = 0,
    Closed = 1,
    Closing = 2,
    NotCloseable = 3,
}

/// What a session has changed by `SET`, `USE` or `SetSessionOptions`: the content of a cookie, and of handles.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct SessionState {
    #[prost(string, optional, tag = "1")]
    pub(crate) database: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) timezone: Option<String>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) query_timeout_ms: Option<u64>,
    #[prost(message, optional, tag = "4")]
    pub(crate) read_level: Option<ReadLevelState>,
    #[prost(enumeration = "WriteLevelState", optional, tag = "5")]
    pub(crate) write_level: Option<i32>,
    /// What `PREPARE` has kept.
    #[prost(message, repeated, tag = "6")]
    pub(crate) prepared: Vec<PreparedState>,
    /// What the client calls itself.
    #[prost(string, optional, tag = "7")]
    pub(crate) application: Option<String>,
}

/// A statement that a session has kept.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct PreparedState {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// Types of its parameters as they were written.
    #[prost(string, repeated, tag = "2")]
    pub(crate) types: Vec<String>,
    #[prost(string, tag = "3")]
    pub(crate) text: String,
}

/// How fresh reads are.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct ReadLevelState {
    #[prost(enumeration = "ReadLevelKind", tag = "1")]
    pub(crate) kind: i32,
    #[prost(message, repeated, tag = "2")]
    pub(crate) receipts: Vec<ReceiptState>,
}

/// Names of read levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum ReadLevelKind {
    Linearizable = 0,
    Session = 1,
    Local = 2,
}

/// Names of write levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum WriteLevelState {
    Quorum = 0,
    All = 1,
}

/// What a read at session level must see.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(crate) struct ReceiptState {
    #[prost(uint32, tag = "1")]
    pub(crate) shard: u32,
    #[prost(uint64, tag = "2")]
    pub(crate) term: u64,
    #[prost(uint64, tag = "3")]
    pub(crate) index: u64,
}

/// A prepared statement, or one that a ticket runs.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub(crate) struct StatementMessage {
    /// Names the handle or the run; random.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) sql: String,
    /// The session that it was planned under.
    #[prost(message, optional, tag = "3")]
    pub(crate) session: Option<SessionState>,
    /// Bound parameters: an Arrow IPC stream.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) parameters: Option<Bytes>,
    #[prost(enumeration = "StatementKindState", tag = "5")]
    pub(crate) kind: i32,
    /// Hash of the wire schema that was announced; of tickets only.
    #[prost(bytes = "bytes", tag = "6")]
    pub(crate) schema_hash: Bytes,
    /// The client's idempotency key; without one, `id` is the key.
    #[prost(string, optional, tag = "7")]
    pub(crate) idempotency_key: Option<String>,
    /// Whether times lose their zone.
    #[prost(bool, tag = "8")]
    pub(crate) naive_times: bool,
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum StatementKindState {
    Query = 0,
    Update = 1,
    Command = 2,
}
