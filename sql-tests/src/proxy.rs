//! [`Proxy`]: a port in front of a server, over which connections are delayed, held up, reset and refused.
//!
//! Each connection that is accepted is joined with one of its own to the server, by two pumps:
//!
//! ```text
//! dialler ──→ forward  ──→ queue of (arrival, bytes) ──→ server
//!         ←── queue of (arrival, bytes) ←── backward ←──
//! ```
//!
//! A pump looks at the rule of its direction when a chunk is first in its queue, and again whenever a rule changes: it
//! sends the chunk on, or waits until it is old enough, or until it is let go. So a delay keeps order and throughput,
//! and a change of rules holds at once, for what is under way, too. The end of a connection is a chunk as well: held up
//! and delayed like the others.
//!
//! Limits: a network that loses packets is one that holds bytes until it is healed, as TCP repeats them. A queue has
//! 64 MiB; who sends more waits.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

const CHUNK_BYTES: usize = 64 << 10;
const QUEUE_CHUNKS: usize = 1 << 10;
const BACKLOG: u32 = 128;

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// They are sent on.
    #[default]
    Pass,
    /// They are sent on when this much time has passed since they arrived.
    Delay(Duration),
    /// They stay, until there is another rule.
    Hold,
}

/// The rules of a proxy.
#[derive(Clone, Copy, Debug, Default)]
struct Rules {
    /// Where connections lead; without, they are refused.
    target: Option<SocketAddr>,
    /// No connection is left or taken.
    cut: bool,
    /// Dialler to server.
    forward: Flow,
    /// Server to dialler.
    backward: Flow,
}

/// A port in front of a server. It is open as long as this exists.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    rules: watch::Sender<Rules>,
}

impl Proxy {
    /// A proxy on a free port. It refuses connections until it has a [target](Self::set_target).
    pub fn new(runtime: &Handle) -> io::Result<Self> {
        let port = TcpSocket::new_v4()?;
        port.set_reuseaddr(true)?;
        port.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let addr = port.local_addr()?;
        let (rules, changes) = watch::channel(Rules::default());
        runtime.spawn(serve(port, addr, changes));
        Ok(Self { addr, rules })
    }

    /// Where to dial.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where connections lead from now on; `None` refuses them, as a server that is down does.
    pub fn set_target(&self, target: Option<SocketAddr>) {
        self.rules.send_modify(|rules| rules.target = target);
    }

    /// Resets all connections and refuses new ones, or takes them again.
    pub fn set_cut(&self, cut: bool) {
        self.rules.send_modify(|rules| rules.cut = cut);
    }

    /// What happens to bytes from the dialler to the server.
    pub fn set_forward(&self, flow: Flow) {
        self.rules.send_modify(|rules| rules.forward = flow);
    }

    /// What happens to bytes from the server to the dialler.
    pub fn set_backward(&self, flow: Flow) {
        self.rules.send_modify(|rules| rules.backward = flow);
    }

    /// Everything passes.
    pub fn heal(&self) {
        self.rules.send_modify(|rules| {
            *rules = Rules { target: rules.target, ..Rules::default() };
        });
    }
}

/// Listens while it may. The port belongs to `_port`, a socket that never listens, in between.
async fn serve(_port: TcpSocket, addr: SocketAddr, mut rules: watch::Receiver<Rules>) {
    let open = |rules: &Rules| !rules.cut && rules.target.is_some();
    loop {
        if rules.wait_for(open).await.is_err() {
            return;
        }
        let listener = listen(addr).expect("the port is ours");
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                changed = rules.changed() => match changed {
                    Err(_) => return,
                    Ok(()) if open(&rules.borrow()) => continue,
                    Ok(()) => break,
                },
            };
            if let Ok((dialler, _)) = accepted {
                tokio::spawn(join(dialler, rules.clone()));
            }
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Joins a connection with one to the target, until both directions have ended, one has failed, or all are reset.
async fn join(mut dialler: TcpStream, mut rules: watch::Receiver<Rules>) {
    let target = rules.borrow().target;
    let server = match target {
        Some(target) => TcpStream::connect(target).await,
        None => Err(io::ErrorKind::NotConnected.into()),
    };
    let Ok(mut server) = server else {
        let _ = dialler.set_zero_linger();
        return;
    };
    // Delays are for the rules to make.
    let _ = (dialler.set_nodelay(true), server.set_nodelay(true));
    let changes = rules.clone();
    let ended = {
        let (from_dialler, to_dialler) = dialler.split();
        let (from_server, to_server) = server.split();
        let forward = pump(from_dialler, to_server, changes.clone(), |rules| rules.forward);
        let backward = pump(from_server, to_dialler, changes, |rules| rules.backward);
        tokio::select! {
            ended = async { tokio::try_join!(forward, backward) } => ended.is_ok(),
            _ = rules.wait_for(|rules| rules.cut) => false,
        }
    };
    if !ended {
        let _ = (dialler.set_zero_linger(), server.set_zero_linger());
    }
}

/// Bytes on their way, or the end of them.
#[derive(Debug)]
enum Chunk {
    Bytes(Box<[u8]>),
    End,
    Reset,
}

/// Carries bytes in one direction until they end; fails as soon as one side has failed.
async fn pump(
    from: ReadHalf<'_>,
    to: WriteHalf<'_>,
    rules: watch::Receiver<Rules>,
    flow: impl Fn(&Rules) -> Flow,
) -> io::Result<()> {
    let (queue, queued) = mpsc::channel(QUEUE_CHUNKS);
    let ((), sent) = tokio::join!(take(from, queue), send(queued, to, rules, flow));
    sent
}

/// Reads until the end, or until nobody wants more.
async fn take(mut from: ReadHalf<'_>, queue: mpsc::Sender<(Instant, Chunk)>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let (chunk, last) = match from.read(&mut buffer).await {
            Ok(0) => (Chunk::End, true),
            Ok(bytes) => (Chunk::Bytes(buffer[..bytes].into()), false),
            Err(_) => (Chunk::Reset, true),
        };
        if queue.send((Instant::now(), chunk)).await.is_err() || last {
            return;
        }
    }
}

async fn send(
    mut queued: mpsc::Receiver<(Instant, Chunk)>,
    mut to: WriteHalf<'_>,
    mut rules: watch::Receiver<Rules>,
    flow: impl Fn(&Rules) -> Flow,
) -> io::Result<()> {
    while let Some((arrived, chunk)) = queued.recv().await {
        loop {
            let rule = flow(&rules.borrow_and_update());
            let due = match rule {
                Flow::Pass => break,
                Flow::Delay(delay) if arrived + delay <= Instant::now() => break,
                Flow::Delay(delay) => Some(arrived + delay),
                Flow::Hold => None,
            };
            tokio::select! {
                () = sleep_until(due.unwrap_or(arrived)), if due.is_some() => {}
                changed = rules.changed() => changed.map_err(io::Error::other)?,
            }
        }
        match chunk {
            Chunk::Bytes(bytes) => to.write_all(&bytes).await?,
            Chunk::End => return to.shutdown().await,
            Chunk::Reset => return Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
