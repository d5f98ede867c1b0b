//! One node: the engine and its two doors, opened and closed in order.
//!
//! ```text
//! start   bind both addresses → HTTP answers "starting" → open the engine → serve both → write addresses.json
//! stop    refuse new requests → let those in progress end → close the engine → remove addresses.json
//! ```
//!
//! The addresses are bound first, so that a busy port is found before the data directory is touched. A failed sync
//! ends the process from wherever it is found, with status 74.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_engine::Engine;
use quorate_flight::{PeerServer, PeerTransport, PeerTransportOptions, Service, ServiceOptions};
use quorate_storage::cluster::{ClusterOptions, NodeService};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::http::{Door, DoorOptions, HEAD_WAIT, serve};
use crate::settings::{ClusterSettings, Settings};
use crate::udp::UdpDoor;

/// Exit status after a failed sync.
const SYNC_FAILED: i32 = 74;
/// File in the data directory that tells scripts where the node listens.
const ADDRESSES: &str = "addresses.json";
/// How long requests in progress may take after the node was told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Why a node cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// An address is taken, or is none of this machine.
    #[error("cannot serve {what} at {addr}")]
    Listen {
        /// `Flight SQL`, `HTTP`, …
        what: &'static str,
        /// The address.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The engine cannot be opened or closed.
    #[error(transparent)]
    Engine(#[from] quorate_engine::Error),
    /// The file of addresses cannot be written.
    #[error("cannot write {}", path.display())]
    Addresses {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Statements are parsed where they arrive, and their trees are as deep as they are written.
const STACK_BYTES: usize = 16 << 20;

/// The runtime of the doors, of Raft, and of everything that waits. Queries have one of their own.
pub(crate) fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .thread_name("quorate-io")
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()
}

/// How long a node that has opened its directory lets clients wait for the queries that it asks itself first.
const WARM_UP_PATIENCE: Duration = Duration::from_millis(200);

/// Makes calls and runs queries ahead of the first ones; what takes longer goes on beside those that are asked.
async fn warm_up(engine: &Arc<Engine>, service: &Service) {
    let (engine, service) = (Arc::clone(engine), service.clone());
    let warm = tokio::spawn(async move {
        if let Err(error) = service.warm_up().await {
            tracing::debug!("not all calls were made ahead of the first one: {error}");
        }
        if let Err(error) = engine.warm_up().await {
            tracing::debug!("not all queries were run ahead of the first one: {error}");
        }
    });
    // It goes on, or is done.
    drop(tokio::time::timeout(WARM_UP_PATIENCE, warm).await);
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    engine: Arc<Engine>,
    door: Arc<Door>,
    flight: SocketAddr,
    http: SocketAddr,
    addresses: PathBuf,
    shutdown: CancellationToken,
    doors: JoinSet<io::Result<()>>,
    peers: Option<Peers>,
}

/// What a node of a cluster serves to the others: from before the engine opens until after it is closed.
#[derive(Debug)]
struct Peers {
    options: ClusterOptions,
    addr: SocketAddr,
    shutdown: CancellationToken,
}

impl Peers {
    async fn start(
        settings: ClusterSettings,
        addresses: &Path,
        doors: &mut JoinSet<io::Result<()>>,
    ) -> Result<Self, NodeError> {
        let listener = listen("the cluster", settings.addr).await?;
        let addr = listener.local_addr().unwrap_or(settings.addr);
        let service = Arc::new(NodeService::default());
        let shutdown = CancellationToken::new();
        let server = PeerServer::new(Arc::<NodeService>::clone(&service));
        doors.spawn(server.serve(listener, shutdown.clone()));
        let transport = PeerTransport::of(
            Arc::<NodeService>::clone(&service),
            PeerTransportOptions { overrides: settings.peers },
        );
        let (introduced, path) = (Arc::clone(&service), addresses.to_owned());
        tokio::spawn(async move {
            // Others may need to know it before this node can serve.
            introduced.introduced().await;
            if let Err(error) = write_addresses(&path, &json!({ "cluster": addr })) {
                tracing::warn!("{error}");
            }
        });
        let options = ClusterOptions {
            name: settings.name,
            addr: settings.advertise.unwrap_or_else(|| addr.to_string()),
            seeds: settings.seeds,
            expect: settings.expect,
            transport: Arc::new(transport),
            service,
        };
        Ok(Self { options, addr, shutdown })
    }
}

impl Node {
    /// Starts a node.
    pub(crate) async fn start(settings: Settings) -> Result<Self, NodeError> {
        let flight_listener = listen("Flight SQL", settings.flight_addr).await?;
        let http_listener = listen("HTTP", settings.http_addr).await?;
        let addr = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
        let flight = addr(&flight_listener, settings.flight_addr);
        let http = addr(&http_listener, settings.http_addr);

        let body_bytes_max = usize::try_from(settings.max_body.0).unwrap_or(usize::MAX);
        let bodies = usize::try_from(settings.memory_limit.0 / 8).unwrap_or(usize::MAX);
        let door = Door::new(DoorOptions { body_bytes_max, bodies_bytes_max: bodies });
        let datagrams = match settings.udp_addr {
            Some(addr) => Some(listen_udp(addr, &door).await?),
            None => None,
        };
        let udp = datagrams.as_ref().and_then(|door| door.local_addr().ok());
        let udp_database = settings.udp_database.clone();
        let shutdown = CancellationToken::new();
        let mut doors = JoinSet::new();
        doors.spawn(serve(http_listener, door.router(), HEAD_WAIT, shutdown.clone()));

        tracing::info!(data_dir = %settings.data_dir.display(), "opening");
        let addresses = settings.data_dir.join(ADDRESSES);
        let disk = quorate_wal::disk_from_environment();
        let mut options = settings.engine();
        let peers = match settings.cluster {
            Some(cluster) => Some(Peers::start(cluster, &addresses, &mut doors).await?),
            None => None,
        };
        options.store.cluster = peers.as_ref().map(|peers| peers.options.clone());
        let engine = Engine::open(disk, options).await?;
        let service = Service::new(
            Arc::clone(&engine),
            ServiceOptions {
                message_bytes_max: body_bytes_max.max(16 << 20),
                messages_bytes_max: bodies,
                ..ServiceOptions::default()
            },
        );
        warm_up(&engine, &service).await;
        door.open(Arc::clone(&engine), service.clone());
        doors.spawn(service.serve(flight_listener, shutdown.clone().cancelled_owned()));

        if let Some(datagrams) = datagrams {
            doors.spawn(datagrams.serve(Arc::clone(&engine), udp_database, shutdown.clone()));
        }

        let cluster = peers.as_ref().map(|peers| peers.addr);
        write_addresses(
            &addresses,
            &json!({ "flight": flight, "http": http, "udp": udp, "cluster": cluster }),
        )?;
        tracing::info!(%flight, %http, "serving");
        Ok(Self { engine, door, flight, http, addresses, shutdown, doors, peers })
    }

    /// Where Flight SQL is served.
    pub(crate) fn flight(&self) -> SocketAddr {
        self.flight
    }

    /// Where HTTP is served.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http
    }

    /// Waits until a door fails, which none should. A failed sync ends the process at once: what was being written is
    /// unknown, nothing is guessed, and a restart reads the disk anew.
    pub(crate) async fn failed(&mut self) -> io::Error {
        let door = tokio::select! {
            door = self.doors.join_next() => door,
            what = self.engine.store().failed() => {
                tracing::error!(what, "a write or sync of the log failed; the node ends");
                std::process::exit(SYNC_FAILED);
            }
        };
        match door {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => io::Error::other(error),
            Some(Ok(Ok(()))) | None => io::Error::other("it ended by itself"),
        }
    }

    /// Stops in order.
    pub(crate) async fn stop(mut self) -> Result<(), NodeError> {
        tracing::info!("stopping");
        self.door.stop();
        self.shutdown.cancel();
        let peers = self.peers.take();
        let left = usize::from(peers.is_some());
        let drained = tokio::time::timeout(DRAIN, async {
            while self.doors.len() > left && self.doors.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::warn!(seconds = DRAIN.as_secs(), "requests in progress were cut off");
        }
        // Until then the other nodes are answered: leadership has to go somewhere.
        let closed = self.engine.close().await;
        if let Some(peers) = peers {
            peers.shutdown.cancel();
        }
        self.doors.shutdown().await;
        closed?;
        if let Err(error) = std::fs::remove_file(&self.addresses) {
            tracing::warn!(%error, path = %self.addresses.display(), "cannot remove");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

async fn listen(what: &'static str, addr: SocketAddr) -> Result<TcpListener, NodeError> {
    TcpListener::bind(addr).await.map_err(|source| NodeError::Listen { what, addr, source })
}

async fn listen_udp(addr: SocketAddr, door: &Door) -> Result<UdpDoor, NodeError> {
    let what = "line protocol over UDP";
    let bound = UdpDoor::bind(addr, Arc::clone(door.udp())).await;
    bound.map_err(|source| NodeError::Listen { what, addr, source })
}

/// Scripts wait for this file: it appears as a whole. On a node of a cluster it names the address for the others first,
/// and all once the node serves. It is not durable, and need not be.
fn write_addresses(path: &Path, addresses: &serde_json::Value) -> Result<(), NodeError> {
    let mut addresses = addresses.clone();
    if let Some(addresses) = addresses.as_object_mut() {
        addresses.retain(|_, addr| !addr.is_null());
        addresses.insert("pid".to_owned(), std::process::id().into());
    }
    let failed = |source| NodeError::Addresses { path: path.to_owned(), source };
    let temporary = path.with_extension("json.tmp");
    std::fs::write(&temporary, addresses.to_string()).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}
