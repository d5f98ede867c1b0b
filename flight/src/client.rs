//! A Flight SQL client: what `quorate sql`, the SQL tests and the benches speak through.
//!
//! A statement is prepared first: the answer says whether it is a query or an update, so that the caller need not know.
//! Cookies are kept, so that `SET` and `USE` hold for later calls. Dropping a stream of rows cancels the query.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, Any, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, CommandStatementIngest, DoPutUpdateResult, ProstMessageExt,
    TableDefinitionOptions, TableExistsOption, TableNotExistOption,
};
use arrow_flight::{Action, FlightData, FlightDescriptor, IpcMessage, PutResult, Ticket};
use futures::{Stream, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use prost::Message;
use quorate_storage::ShardReceipt;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::ingest::{REJECTED_LISTED, REJECTED_OPTION, Rejected};
use crate::message::CreatePreparedStatementResult;
use crate::status::code_name;
use crate::wire::encode_upload;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that the server may send ahead; the defaults of HTTP/2 would bound a download by round trips.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

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
    /// The server answered with something that is not Flight SQL.
    #[error("unexpected answer: {message}")]
    Protocol {
        /// What is wrong with it.
        message: String,
    },
}

impl From<Status> for ClientError {
    fn from(status: Status) -> Self {
        let code = code_name(status.code()).to_owned();
        let message = if status.message().is_empty() {
            format!(
                "the server answers {code} and nothing else: is Flight SQL served at this address?"
            )
        } else {
            status.message().to_owned()
        };
        Self::Server { code, message }
    }
}

impl From<FlightError> for ClientError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => (*status).into(),
            other => Self::Protocol { message: other.to_string() },
        }
    }
}

impl From<prost::DecodeError> for ClientError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Protocol { message: error.to_string() }
    }
}

impl From<arrow::error::ArrowError> for ClientError {
    fn from(error: arrow::error::ArrowError) -> Self {
        Self::Protocol { message: error.to_string() }
    }
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

/// One batch for a table that is there.
#[derive(Clone, Debug)]
pub struct IngestChunk {
    /// The table, in the database of the connection.
    pub table: String,
    /// A repeat under it has no second effect.
    pub idempotency_key: String,
    /// The rows.
    pub batch: RecordBatch,
}

/// What became of an [`IngestChunk`].
#[derive(Clone, Debug, Default)]
pub struct IngestAnswer {
    /// Rows stored; of a repeat, those of the first time.
    pub rows: u64,
    /// Per shard, where the rows stand, and whether they were known.
    pub receipts: Vec<ShardReceipt>,
    /// Rows that were not stored.
    pub rejected: Rejected,
}

/// A connection.
#[derive(Debug)]
pub struct Client {
    service: FlightServiceClient<Channel>,
    headers: MetadataMap,
    /// `name=value` of the session's cookie.
    cookie: Mutex<Option<String>>,
}

impl Client {
    /// Connects.
    pub async fn connect(options: ClientOptions) -> Result<Self, ClientError> {
        let refused =
            |message: String| ClientError::Connect { addr: options.addr.clone(), message };
        let endpoint = Endpoint::from_shared(http_uri(&options.addr)?)
            .map_err(|e| refused(e.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let channel = endpoint.connect().await.map_err(|e| refused(root_cause(&e)))?;
        let mut headers = MetadataMap::new();
        if let Some(token) = &options.token {
            insert(&mut headers, "authorization", &format!("Bearer {token}"))?;
        }
        if let Some(database) = &options.database {
            insert(&mut headers, "database", database)?;
        }
        for (name, value) in &options.headers {
            insert(&mut headers, name, value)?;
        }
        let service = FlightServiceClient::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        Ok(Self { service, headers, cookie: Mutex::new(None) })
    }

    /// Runs any statement: prepares it, sees what it is, and runs it as a query or an update.
    pub async fn execute(&mut self, sql: &str) -> Result<ClientOutcome, ClientError> {
        let prepared = self.prepare(sql).await?;
        if prepared.is_update.unwrap_or(prepared.dataset_schema.is_empty()) {
            self.update(&prepared).await
        } else {
            self.query(&prepared).await
        }
    }

    /// Bulk ingest of batches into a table (`create_append`); returns the rows stored.
    pub async fn ingest(
        &mut self,
        table: &str,
        tags: Option<&str>,
        batches: Vec<RecordBatch>,
    ) -> Result<u64, ClientError> {
        let Some(schema) = batches.first().map(RecordBatch::schema) else { return Ok(0) };
        let command = CommandStatementIngest {
            table_definition_options: Some(TableDefinitionOptions {
                if_not_exist: TableNotExistOption::Create.into(),
                if_exists: TableExistsOption::Append.into(),
            }),
            table: table.to_owned(),
            options: tags
                .map(|tags| ("quorate-tags".to_owned(), tags.to_owned()))
                .into_iter()
                .collect(),
            ..CommandStatementIngest::default()
        };
        let schema = crate::wire::wire_schema(&schema, crate::wire::Times::Zoned);
        let (upload, failed) = upload(&schema, &command, batches);
        let count = self.put(upload).await;
        if let Some(error) = failed.lock().take() {
            return Err(error.into());
        }
        Ok(count?.unwrap_or(0))
    }

    /// Writes one batch under a key into a table that is there. Rows that do not fit are listed, and are no error.
    pub async fn ingest_chunk(&mut self, chunk: IngestChunk) -> Result<IngestAnswer, ClientError> {
        let command = CommandStatementIngest {
            table_definition_options: Some(TableDefinitionOptions {
                if_not_exist: TableNotExistOption::Fail.into(),
                if_exists: TableExistsOption::Append.into(),
            }),
            table: chunk.table,
            options: [(REJECTED_OPTION.to_owned(), REJECTED_LISTED.to_owned())].into(),
            ..CommandStatementIngest::default()
        };
        let schema = crate::wire::wire_schema(&chunk.batch.schema(), crate::wire::Times::Zoned);
        let (upload, failed) = upload(&schema, &command, vec![chunk.batch]);
        let mut request = self.request(upload);
        insert(request.metadata_mut(), "idempotency-key", &chunk.idempotency_key)?;
        let answer = self.service.do_put(request).await;
        if let Some(error) = failed.lock().take() {
            return Err(error.into());
        }
        let response = answer?;
        self.keep_cookie(response.metadata());
        let receipts = response.metadata().get("quorate-receipt").map(AsciiMetadataValue::as_bytes);
        let malformed = |e: serde_json::Error| ClientError::Protocol { message: e.to_string() };
        let receipts = match receipts {
            Some(json) => serde_json::from_slice(json).map_err(malformed)?,
            None => Vec::new(),
        };
        let mut results = response.into_inner();
        let empty = || ClientError::Protocol { message: "it ends early".to_owned() };
        let count = results.message().await?.ok_or_else(empty)?;
        let count = DoPutUpdateResult::decode(count.app_metadata)?.record_count;
        let listed = results.message().await?.ok_or_else(empty)?;
        let rejected = serde_json::from_slice(&listed.app_metadata).map_err(malformed)?;
        Ok(IngestAnswer { rows: u64::try_from(count).unwrap_or(0), receipts, rejected })
    }

    /// Changes the database of later calls.
    pub fn use_database(&mut self, database: &str) {
        // What the session changed goes before headers, so the session begins anew.
        *self.cookie.get_mut() = None;
        if let Ok(value) = AsciiMetadataValue::try_from(database.as_bytes()) {
            self.headers.insert("database", value);
        }
    }

    async fn prepare(&mut self, sql: &str) -> Result<CreatePreparedStatementResult, ClientError> {
        let command =
            ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
        let action = Action::new("CreatePreparedStatement", command.as_any().encode_to_vec());
        let request = self.request(action);
        let response = self.service.do_action(request).await?;
        self.keep_cookie(response.metadata());
        let body = single(response.into_inner()).await?.body;
        Ok(CreatePreparedStatementResult::decode(Any::decode(body)?.value)?)
    }

    async fn update(
        &mut self,
        prepared: &CreatePreparedStatementResult,
    ) -> Result<ClientOutcome, ClientError> {
        let command = CommandPreparedStatementUpdate {
            prepared_statement_handle: prepared.prepared_statement_handle.clone(),
        };
        let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
        let message = FlightData::new().with_descriptor(descriptor);
        let count = self.put(futures::stream::iter([message])).await?;
        Ok(ClientOutcome::Updated(count))
    }

    async fn put(
        &mut self,
        upload: impl Stream<Item = FlightData> + Send + 'static,
    ) -> Result<Option<u64>, ClientError> {
        let request = self.request(upload);
        let response = self.service.do_put(request).await?;
        self.keep_cookie(response.metadata());
        let put: PutResult = single(response.into_inner()).await?;
        let result = DoPutUpdateResult::decode(put.app_metadata)?;
        Ok(u64::try_from(result.record_count).ok())
    }

    async fn query(
        &mut self,
        prepared: &CreatePreparedStatementResult,
    ) -> Result<ClientOutcome, ClientError> {
        let command = CommandPreparedStatementQuery {
            prepared_statement_handle: prepared.prepared_statement_handle.clone(),
        };
        // The handle is taken as a ticket, which saves the round trip of GetFlightInfo.
        let ticket = Ticket::new(command.as_any().encode_to_vec());
        let request = self.request(ticket);
        let response = self.service.do_get(request).await?;
        self.keep_cookie(response.metadata());
        let schema = Schema::try_from(IpcMessage(prepared.dataset_schema.clone()))?;
        let messages = response.into_inner().map_err(FlightError::from);
        let batches = FlightRecordBatchStream::new_from_flight_data(messages);
        Ok(ClientOutcome::Rows {
            schema: Arc::new(schema),
            batches: batches.map_err(ClientError::from).boxed(),
        })
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let mut headers = self.headers.clone();
        if let Some(cookie) = &*self.cookie.lock()
            && let Ok(value) = AsciiMetadataValue::try_from(cookie)
        {
            headers.insert("cookie", value);
        }
        *request.metadata_mut() = headers;
        request
    }

    fn keep_cookie(&self, headers: &MetadataMap) {
        for value in headers.get_all("set-cookie") {
            let Ok(text) = value.to_str() else { continue };
            let pair = text.split(';').next().unwrap_or_default().trim();
            *self.cookie.lock() = Some(pair.to_owned());
        }
    }
}

/// A failure to encode an upload, once there is one.
type UploadFailure = Arc<Mutex<Option<FlightError>>>;

/// Batches as messages. Casts to the wire's types cannot fail on the client's own batches; one that does ends the upload
/// early and is reported instead of the server's answer.
fn upload(
    schema: &SchemaRef,
    command: &CommandStatementIngest,
    batches: Vec<RecordBatch>,
) -> (impl Stream<Item = FlightData> + Send + 'static, UploadFailure) {
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let failed = UploadFailure::default();
    let note = Arc::clone(&failed);
    let messages = encode_upload(schema, descriptor, futures::stream::iter(batches))
        .map_err(move |error| *note.lock() = Some(error))
        .take_while(|message| futures::future::ready(message.is_ok()))
        .filter_map(|message| futures::future::ready(message.ok()));
    (messages, failed)
}

async fn single<T>(mut stream: Streaming<T>) -> Result<T, ClientError> {
    let first = stream.message().await?;
    first.ok_or_else(|| ClientError::Protocol { message: "it is empty".to_owned() })
}

fn insert(headers: &mut MetadataMap, name: &str, value: &str) -> Result<(), ClientError> {
    let wrong = || ClientError::Protocol {
        message: format!("header {name:?} with the value {value:?} cannot be sent"),
    };
    let key = AsciiMetadataKey::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
    let value = AsciiMetadataValue::try_from(value.as_bytes()).map_err(|_| wrong())?;
    headers.insert(key, value);
    Ok(())
}

/// An address as tonic wants it. Who asks for encryption must not get a connection without.
fn http_uri(addr: &str) -> Result<String, ClientError> {
    let (scheme, rest) = addr.split_once("://").unwrap_or(("grpc", addr));
    let message = match scheme {
        "grpc" | "grpc+tcp" | "http" => return Ok(format!("http://{rest}")),
        "grpc+tls" | "grpcs" | "https" => "TLS is not supported; write grpc://host:port".to_owned(),
        other => format!("{other:?} is no scheme of an address; write grpc://host:port"),
    };
    Err(ClientError::Connect { addr: addr.to_owned(), message })
}

/// The innermost message: `Connection refused` rather than `transport error`.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_in_every_spelling() {
        assert_eq!(http_uri("grpc://127.0.0.1:50051").unwrap(), "http://127.0.0.1:50051");
        assert_eq!(http_uri("127.0.0.1:50051").unwrap(), "http://127.0.0.1:50051");
        for (addr, why) in [("grpc+tls://h:1", "TLS is not"), ("postgres://h:1", "no scheme")] {
            let error = http_uri(addr).unwrap_err().to_string();
            assert!(error.contains(addr) && error.contains(why), "{error}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = Service::uri(listener.local_addr().unwrap());
        drop(listener);
        let options = ClientOptions { addr: addr.clone(), ..ClientOptions::default() };
        let error = Client::connect(options).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot connect to {addr}: ")), "{error}");
        assert!(error.to_lowercase().contains("refused"), "{error}");
    }

    use crate::Service;
}
