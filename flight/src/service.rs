//! The Flight SQL service: its listener, and the calls of the protocol by what they ask for.
//!
//! [`Service`] implements arrow-flight's `FlightService` itself: each call decodes its command and goes to the module
//! that carries it out.
//!
//! ```text
//! GetFlightInfo, GetSchema ─┬─ statement, prepared ─→ query      DoPut ─┬─ bind ─→ prepare
//! DoGet ────────────────────┴─ GetTables …         ─→ metadata          ├─ update ─→ update
//! DoAction ─→ action                Handshake ─→ handshake              └─ ingest ─→ ingest
//! ```
//!
//! No call keeps anything on the node that a later call needs: see [`crate::seal`] and [`crate::session`].
//!
//! There are no users yet. Any credentials are taken, and none are needed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, Result as ActionResult, SchemaResult,
    Ticket,
};
use bytes::Bytes;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use prost::Message;
use quorate_engine::{Engine, Session, SessionOptions};
use tokio::sync::Semaphore;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Extensions, Request, Response, Status, Streaming};

use crate::ahead::Ahead;
use crate::call::Call;
use crate::counts::{CallCounts, Counted};
use crate::message::SessionState;
use crate::room::{self, Roomed};
use crate::running::{RanOnce, Running};
use crate::seal::Seal;
use crate::session::{self, BoundedMap, Holder, TokenId};
use crate::{action, handshake, ingest, json_ticket, metadata, prepare, query, status, update};

/// Sessions of bearer tokens that a node holds.
const SESSIONS_MAX: usize = 10_000;

/// Statements whose parameters a node remembers for clients that ignore the handle that binding gives them.
const BOUND_MAX: usize = 1_000;

/// Bytes of these parameters.
const BOUND_BYTES_MAX: usize = 64 << 20;

/// Bytes that a client may send ahead on one stream, and on one connection. The defaults of HTTP/2 would make bulk
/// ingest wait for a round trip every megabyte.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;

/// How often a silent connection is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Messages of a response on their way out.
pub(crate) type Outgoing<T> = BoxStream<'static, Result<T, Status>>;

/// Settings of the service.
#[derive(Clone, Debug)]
pub struct ServiceOptions {
    /// Largest message that is taken.
    pub message_bytes_max: usize,
    /// Bytes of all messages that have begun to come and are not whole yet.
    pub messages_bytes_max: usize,
    /// How long a query that was started with the question for its schema waits for the one for its rows.
    pub head_start: Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            message_bytes_max: 256 << 20,
            messages_bytes_max: 1 << 30,
            head_start: Duration::from_secs(1),
        }
    }
}

/// The Flight SQL service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    pub(crate) shared: Arc<Shared>,
}

/// What all calls share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) seal: Seal,
    pub(crate) running: Running,
    pub(crate) ahead: Ahead,
    pub(crate) ran_once: RanOnce,
    /// Sessions of clients that bring a token and no cookie.
    pub(crate) sessions: Mutex<BoundedMap<TokenId, SessionState>>,
    /// Parameters by the id of a prepared statement.
    pub(crate) bound: Mutex<BoundedMap<Bytes, RecordBatch>>,
    /// Of messages on their way in.
    room: Arc<Semaphore>,
    calls: Arc<CallCounts>,
    pub(crate) options: ServiceOptions,
}

impl Service {
    /// A service over an engine.
    pub fn new(engine: Arc<Engine>, options: ServiceOptions) -> Self {
        let seal = Seal::new(&engine.store().cluster_key());
        Self {
            shared: Arc::new(Shared {
                engine,
                seal,
                running: Running::default(),
                ahead: Ahead::new(options.head_start),
                ran_once: RanOnce::default(),
                sessions: Mutex::new(BoundedMap::new(SESSIONS_MAX)),
                bound: Mutex::new(BoundedMap::new(BOUND_MAX).with_bytes_max(BOUND_BYTES_MAX)),
                room: room::room(options.messages_bytes_max.max(options.message_bytes_max)),
                calls: Arc::default(),
                options,
            }),
        }
    }

    /// What was called, through every door.
    pub fn calls(&self) -> &CallCounts {
        &self.shared.calls
    }

    /// Serves on a listener until `shutdown` resolves; streams in progress end first.
    pub async fn serve(
        self,
        listener: tokio::net::TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> std::io::Result<()> {
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        Server::builder()
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_service(self.into_server())
            .serve_with_incoming_shutdown(incoming, shutdown)
            .await
            .map_err(std::io::Error::other)
    }

    /// As routes, so that the HTTP listener answers gRPC too (`routes().into_axum_router()`).
    pub fn routes(self) -> tonic::service::Routes {
        tonic::service::Routes::new(self.into_server())
    }

    /// Where a client finds a bound address.
    pub fn uri(addr: SocketAddr) -> String {
        format!("grpc://{addr}")
    }

    pub(crate) fn into_server(self) -> Counted<Roomed<FlightServiceServer<Self>>> {
        let message_bytes_max = self.shared.options.message_bytes_max;
        let (room, calls) = (Arc::clone(&self.shared.room), Arc::clone(&self.shared.calls));
        let server = FlightServiceServer::new(self)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(message_bytes_max)
            .max_encoding_message_size(usize::MAX);
        Counted::new(Roomed::new(server, room), calls)
    }
}

impl Shared {
    /// The options of a call, from its headers.
    pub(crate) fn call(
        &self,
        metadata: &MetadataMap,
        extensions: &Extensions,
    ) -> Result<Call, Status> {
        let peer = extensions
            .get::<tonic::transport::server::TcpConnectInfo>()
            .and_then(tonic::transport::server::TcpConnectInfo::remote_addr);
        Call::read(metadata, peer, &self.seal, &self.sessions)
    }

    /// A session of the engine.
    pub(crate) fn session(&self, options: SessionOptions) -> Session {
        self.engine.session(options)
    }

    /// Lets the client, or this node for it, hold what the session has changed: see [`crate::session`].
    pub(crate) fn hold(&self, call: &Call, state: &SessionState, response: &mut MetadataMap) {
        match call.holder {
            Holder::Cookie | Holder::Token(_) if *state == call.state => {}
            Holder::Token(id) => self.sessions.lock().insert(id, state.clone()),
            Holder::Cookie | Holder::Nobody => {
                set_cookie(response, &session::cookie(&self.seal, state));
            }
        }
    }
}

/// Adds a `set-cookie` header.
pub(crate) fn set_cookie(response: &mut MetadataMap, cookie: &str) {
    if let Ok(value) = AsciiMetadataValue::try_from(cookie) {
        response.append("set-cookie", value);
    }
}

/// The command in a descriptor. Flights by path are another way to name what is wanted.
pub(crate) fn command_of(descriptor: &FlightDescriptor) -> Result<Command, Status> {
    if !descriptor.path.is_empty() {
        return Err(status::unsupported("a descriptor that is a path"));
    }
    command(&descriptor.cmd)
}

/// The command in the bytes of a descriptor or ticket.
pub(crate) fn command(bytes: &[u8]) -> Result<Command, Status> {
    let any = any(bytes)?;
    Command::try_from(any).map_err(|e| status::invalid(format!("the command cannot be read: {e}")))
}

/// The `Any` around a command.
pub(crate) fn any(bytes: &[u8]) -> Result<Any, Status> {
    Any::decode(bytes)
        .map_err(|e| status::invalid(format!("the request is no Flight SQL command: {e}")))
}

/// An answer to a command that this server does not have.
pub(crate) fn unknown(command: &Command) -> Status {
    match command.type_url().rsplit('.').next() {
        None | Some("") => status::invalid("the request is no Flight SQL command: it names none"),
        Some(name) => status::unsupported(name),
    }
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = Outgoing<HandshakeResponse>;
    type ListFlightsStream = Outgoing<FlightInfo>;
    type DoGetStream = Outgoing<FlightData>;
    type DoPutStream = Outgoing<PutResult>;
    type DoExchangeStream = Outgoing<FlightData>;
    type DoActionStream = Outgoing<ActionResult>;
    type ListActionsStream = Outgoing<ActionType>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        handshake::shake(&self.shared, request).await
    }

    async fn list_flights(
        &self,
        _request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(status::unsupported("ListFlights"))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let call = self.shared.call(request.metadata(), request.extensions())?;
        let descriptor = request.into_inner();
        let mut response = match command_of(&descriptor)? {
            Command::CommandStatementQuery(c) => {
                query::statement_info(&self.shared, &call, c, descriptor).await?
            }
            Command::CommandPreparedStatementQuery(c) => {
                query::prepared_info(&self.shared, &call, &c, descriptor).await?
            }
            other => metadata::info(&other, descriptor)?,
        };
        self.shared.hold(&call, &call.state, response.metadata_mut());
        Ok(response)
    }

    async fn poll_flight_info(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        Err(status::unsupported("PollFlightInfo"))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let call = self.shared.call(request.metadata(), request.extensions())?;
        let schema = match command_of(request.get_ref())? {
            Command::CommandStatementQuery(c) => {
                query::statement_schema(&self.shared, &call, &c.query).await?
            }
            Command::CommandPreparedStatementQuery(c) => {
                query::prepared_schema(&self.shared, &call, &c).await?
            }
            other => metadata::schema(&other)?,
        };
        Ok(Response::new(SchemaResult { schema: crate::wire::schema_bytes(&schema)? }))
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let call = self.shared.call(request.metadata(), request.extensions())?;
        let ticket = request.into_inner().ticket;
        if ticket.first() == Some(&b'{') {
            return json_ticket::get(&self.shared, call, &ticket).await;
        }
        match command(&ticket)? {
            Command::TicketStatementQuery(c) => {
                query::get_ticket(&self.shared, call, &c.statement_handle).await
            }
            Command::CommandStatementQuery(c) => {
                query::get_statement(&self.shared, call, c.query).await
            }
            Command::CommandPreparedStatementQuery(c) => {
                query::get_prepared(&self.shared, call, &c).await
            }
            other => metadata::get(&self.shared, &call, other).await,
        }
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let call = self.shared.call(request.metadata(), request.extensions())?;
        let (command, upload) =
            update::begin(request.into_inner(), self.shared.options.message_bytes_max).await?;
        match command {
            Command::CommandStatementUpdate(c) => update::statement(&self.shared, &call, c).await,
            Command::CommandPreparedStatementUpdate(c) => {
                update::prepared(&self.shared, &call, &c, upload).await
            }
            Command::CommandPreparedStatementQuery(c) => {
                prepare::bind(&self.shared, &c, upload).await
            }
            Command::CommandStatementIngest(c) => {
                ingest::ingest(&self.shared, call, c, upload).await
            }
            other => Err(unknown(&other)),
        }
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(status::unsupported("DoExchange"))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let call = self.shared.call(request.metadata(), request.extensions())?;
        action::run(&self.shared, &call, request.into_inner()).await
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(Response::new(action::list()))
    }
}
