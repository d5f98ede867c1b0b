//! A Flight SQL client: what `quorate sql`, the SQL tests and the benches speak through.

use std::fmt::Debug;
use std::pin::Pin;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::Stream;

/// How to connect.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// `grpc://host:port`.
    pub addr: String,
    /// Call header `database`.
    pub database: Option<String>,
    /// Bearer token.
    pub token: Option<String>,
    /// Further call headers.
    pub headers: Vec<(String, String)>,
}

/// An error of the client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server cannot be reached.
    #[error("cannot connect to {addr}: {message}")]
    Connect {
        /// The address.
        addr: String,
        /// Why.
        message: String,
    },
    /// The server answered with an error.
    #[error("{message}")]
    Server {
        /// gRPC code, such as `INVALID_ARGUMENT`.
        code: String,
        /// Its message.
        message: String,
    },
}

/// What a statement gave.
pub enum ClientOutcome {
    /// Rows.
    Rows {
        /// Their schema.
        schema: SchemaRef,
        /// The batches; dropping the stream cancels the query.
        batches: Pin<Box<dyn Stream<Item = Result<RecordBatch, ClientError>> + Send>>,
    },
    /// Rows changed; `None` where they are not counted.
    Updated(Option<u64>),
}

impl Debug for ClientOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rows { schema, .. } => {
                f.debug_struct("Rows").field("schema", schema).finish_non_exhaustive()
            }
            Self::Updated(n) => f.debug_tuple("Updated").field(n).finish(),
        }
    }
}

/// A connection.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// Connects.
    pub async fn connect(_options: ClientOptions) -> Result<Self, ClientError> {
        unimplemented!()
    }
    /// Runs any statement: prepares it, sees what it is, and runs it as a query or an update.
    pub async fn execute(&mut self, _sql: &str) -> Result<ClientOutcome, ClientError> {
        unimplemented!()
    }
    /// Bulk ingest of batches into a table (`create_append`); returns the rows stored.
    pub async fn ingest(
        &mut self,
        _table: &str,
        _tags: Option<&str>,
        _batches: Vec<RecordBatch>,
    ) -> Result<u64, ClientError> {
        unimplemented!()
    }
    /// Changes the database of later calls.
    pub fn use_database(&mut self, _database: &str) {
        unimplemented!()
    }
}
