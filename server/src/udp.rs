//! Line protocol over UDP: nobody is told what becomes of a datagram, so everything is counted.
//!
//! ```text
//! socket → receive → queue (bounded; what does not fit is dropped) → write, all that waits at once → store
//! ```
//!
//! What the system drops before it is received is its own count, `/proc/net/udp`.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quorate_engine::ingest::Precision;
use quorate_engine::{Engine, ErrorKind, SessionOptions};
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A datagram cannot be longer.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Datagrams that may wait to be written; with [`DATAGRAM_BYTES_MAX`] that bounds the memory.
const QUEUE_DATAGRAMS: usize = 256;
/// Bytes after which no more datagrams join a write.
const WRITE_BYTES: usize = 1 << 20;
/// Failures of one kind are logged this often; in between they are counted.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// What has been received, and what became of it.
#[derive(Debug, Default)]
pub(crate) struct UdpCounters {
    pub(crate) datagrams: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) points_stored: AtomicU64,
    pub(crate) lines_rejected: AtomicU64,
    /// Datagrams for which there was no room in the queue.
    pub(crate) dropped_full: AtomicU64,
    /// Datagrams whose write failed as a whole: it may have happened or not.
    pub(crate) dropped_failed: AtomicU64,
    /// Where they come to; 0 is nowhere.
    port: AtomicU64,
}

impl UdpCounters {
    /// Whether there is anything to count.
    pub(crate) fn enabled(&self) -> bool {
        self.port.load(Ordering::Relaxed) != 0
    }

    /// Datagrams that the system dropped as its own buffer was full, where it tells.
    pub(crate) fn dropped_by_system(&self) -> Option<u64> {
        let port = self.port.load(Ordering::Relaxed);
        let tables = ["/proc/net/udp", "/proc/net/udp6"].map(std::fs::read_to_string);
        let drops: Vec<u64> =
            tables.iter().flatten().flat_map(|table| drops_of(table, port)).collect();
        (!drops.is_empty()).then(|| drops.iter().sum())
    }
}

/// The drops of the sockets at a port, from a table of the system: the second column is the local address in
/// hexadecimal, the last the drops (`proc_net_udp(5)`).
fn drops_of(table: &str, port: u64) -> Vec<u64> {
    let of_line = |line: &str| {
        let mut columns = line.split_whitespace();
        let (_, local) = columns.nth(1)?.rsplit_once(':')?;
        let at_port = u64::from_str_radix(local, 16).ok()? == port;
        let drops = columns.next_back()?.parse().ok()?;
        at_port.then_some(drops)
    };
    table.lines().skip(1).filter_map(of_line).collect()
}

/// A socket that takes line protocol.
#[derive(Debug)]
pub(crate) struct UdpDoor {
    socket: UdpSocket,
    counters: Arc<UdpCounters>,
}

impl UdpDoor {
    /// Binds the address.
    pub(crate) async fn bind(addr: SocketAddr, counters: Arc<UdpCounters>) -> io::Result<Self> {
        let socket = UdpSocket::bind(addr).await?;
        counters.port.store(u64::from(socket.local_addr()?.port()), Ordering::Relaxed);
        Ok(Self { socket, counters })
    }

    /// Where it is bound.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Takes datagrams into a database until it is told to stop; what was received by then is written.
    pub(crate) async fn serve(
        self,
        engine: Arc<Engine>,
        database: String,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel(QUEUE_DATAGRAMS);
        let writing =
            tokio::spawn(write_all(engine, database, receiver, Arc::clone(&self.counters)));
        let received = tokio::select! {
            () = stop.cancelled() => Ok(()),
            received = self.receive(sender) => received,
        };
        // The sender is gone: what waits is written.
        writing.await.map_err(io::Error::other)?;
        received
    }

    async fn receive(&self, sender: mpsc::Sender<Bytes>) -> io::Result<()> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            let length = match self.socket.recv_from(&mut buffer).await {
                Ok((length, _)) => length,
                // An earlier answer of the system about somebody else's port; nothing of ours is lost.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => continue,
                Err(e) => return Err(e),
            };
            self.counters.datagrams.fetch_add(1, Ordering::Relaxed);
            self.counters.bytes.fetch_add(length as u64, Ordering::Relaxed);
            if sender.try_send(Bytes::copy_from_slice(&buffer[..length])).is_err() {
                self.counters.dropped_full.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Failed writes that were not logged yet, by kind: a sender that goes on must not fill the log.
#[derive(Debug, Default)]
struct Failures {
    kinds: HashMap<ErrorKind, Failed>,
}

/// Failures of one kind.
#[derive(Debug, Default)]
struct Failed {
    logged: Option<Instant>,
    writes: u64,
    datagrams: u64,
    last_error: String,
}

impl Failures {
    /// Counts a failed write. Tells what to log: all of its kind since the last time, unless that was just now.
    fn add(
        &mut self,
        kind: ErrorKind,
        error: String,
        datagrams: u64,
        now: Instant,
    ) -> Option<Failed> {
        let failed = self.kinds.entry(kind).or_default();
        failed.writes += 1;
        failed.datagrams += datagrams;
        failed.last_error = error;
        let due = failed.logged.is_none_or(|at| now.duration_since(at) >= WARNING_INTERVAL);
        due.then(|| std::mem::replace(failed, Failed { logged: Some(now), ..Failed::default() }))
    }

    /// What was counted and not logged.
    fn rest(self) -> impl Iterator<Item = Failed> {
        self.kinds.into_values().filter(|failed| failed.writes > 0)
    }
}

impl Failed {
    fn log(&self) {
        let Self { writes, datagrams, last_error, .. } = self;
        tracing::warn!(writes, datagrams, "writes of datagrams failed, the last one: {last_error}");
    }
}

async fn write_all(
    engine: Arc<Engine>,
    database: String,
    mut receiver: mpsc::Receiver<Bytes>,
    counters: Arc<UdpCounters>,
) {
    let mut failures = Failures::default();
    while let Some(first) = receiver.recv().await {
        let mut body = BytesMut::from(&first[..]);
        let mut datagrams = 1;
        while body.len() < WRITE_BYTES
            && let Ok(more) = receiver.try_recv()
        {
            body.extend_from_slice(b"\n");
            body.extend_from_slice(&more);
            datagrams += 1;
        }
        let options = SessionOptions {
            database: Some(database.clone()),
            client: "udp".to_owned(),
            ..SessionOptions::default()
        };
        let session = engine.session(options);
        match session.write_lines(body.freeze(), Precision::Nanosecond, true).await {
            Ok(report) => {
                counters.points_stored.fetch_add(report.points, Ordering::Relaxed);
                counters.lines_rejected.fetch_add(report.rejected_total, Ordering::Relaxed);
                if let Some(line) = report.rejected.first() {
                    tracing::debug!(
                        lines = report.rejected_total,
                        "lines over UDP were rejected, the first: {}",
                        line.error_message
                    );
                }
            }
            Err(error) => {
                counters.dropped_failed.fetch_add(datagrams, Ordering::Relaxed);
                let now = Instant::now();
                if let Some(failed) = failures.add(error.kind(), error.to_string(), datagrams, now)
                {
                    failed.log();
                }
            }
        }
    }
    failures.rest().for_each(|failed| failed.log());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_a_kind_are_logged_once_an_interval_with_their_count() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let mut add = |kind, after| {
            let logged = failures.add(kind, "why".to_owned(), 2, start + after);
            logged.map(|failed| (failed.writes, failed.datagrams))
        };
        let (missing, full) = (ErrorKind::NotFound, ErrorKind::Exhausted);
        let second = Duration::from_secs(1);
        assert_eq!(add(missing, Duration::ZERO), Some((1, 2)));
        assert_eq!(add(missing, second), None);
        assert_eq!(add(full, second), Some((1, 2)), "another kind is told at once");
        assert_eq!(add(missing, WARNING_INTERVAL / 2), None);
        assert_eq!(add(missing, WARNING_INTERVAL), Some((3, 6)));
        assert_eq!(add(missing, WARNING_INTERVAL + second), None);
        let rest: Vec<_> =
            failures.rest().map(|failed| (failed.writes, failed.last_error)).collect();
        assert_eq!(rest, [(1, "why".to_owned())]);
    }

    #[test]
    fn the_systems_drops_are_those_of_the_port() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            \x20 461: 0100007F:1F99 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 12345 2 0000000000000000 17\n\
            \x20 462: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12346 2 0000000000000000 3\n";
        assert_eq!(drops_of(table, 8089), [17]);
        assert_eq!(drops_of(table, 53), [3]);
        assert!(drops_of(table, 1).is_empty());
    }
}
