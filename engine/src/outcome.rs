//! What a statement is, and what it gives.

use std::fmt::{Debug, Display, Formatter};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;

/// A running query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

impl Display for QueryId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementKind {
    /// Returns rows and changes nothing: `SELECT`, `SHOW`, `DESCRIBE`, `EXPLAIN`.
    Query,
    /// Changes rows and counts them: `INSERT`, `DELETE`.
    Update,
    /// Changes the catalog or the session: `CREATE`, `DROP`, `SET`, `KILL`.
    Command,
}

/// A statement that was planned, not run.
#[derive(Clone, Debug)]
pub struct StatementPlan {
    /// What it does.
    pub kind: StatementKind,
    /// Schema of its rows; for updates and commands one `count: Int64` column.
    pub schema: SchemaRef,
    /// Its parameters in order (`$1`, or `?` from left to right), nullable; unknown types are Utf8, those of `LIMIT` and
    /// `OFFSET` Int64.
    pub parameters: SchemaRef,
}

/// Rows on their way.
pub struct QueryStream {
    /// For cancellation. The query ends when the stream is dropped, too.
    pub id: QueryId,
    /// Schema as planned; the wire casts it.
    pub schema: SchemaRef,
    /// The batches, computed on the query runtime.
    pub batches: SendableRecordBatchStream,
}

impl Debug for QueryStream {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryStream")
            .field("id", &self.id)
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}

/// What a statement gives.
#[derive(Debug)]
pub enum Outcome {
    /// Rows.
    Rows(QueryStream),
    /// Rows changed; `None` where they are not counted (a delete by range).
    Updated(Option<u64>),
    /// Done.
    Done,
}
