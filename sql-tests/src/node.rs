//! One node of a [`Cluster`](crate::Cluster): a process that comes and goes, and what stays.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};

use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;

use crate::server::{Addresses, is_ready};
use crate::{Server, ServerOptions, eventually};

/// A node of a cluster: its name, its directory, and its process while there is one.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// Where its peers find it, once it has listened for them.
    addr: OnceLock<String>,
    /// None while it is down.
    server: Mutex<Option<Server>>,
    /// Where clients find it; none while it is down, or not ready yet.
    addresses: Mutex<Option<Addresses>>,
    /// Keeps the port of `addr`, from the first time on that the node was down.
    port: OnceLock<Option<TcpSocket>>,
}

impl Node {
    pub(crate) fn new(data: &Path, number: usize) -> Self {
        let name = format!("n{number}");
        Self {
            dir: data.join(&name),
            name,
            addr: OnceLock::new(),
            server: Mutex::new(None),
            addresses: Mutex::new(None),
            port: OnceLock::new(),
        }
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn addresses(&self) -> MutexGuard<'_, Option<Addresses>> {
        self.addresses.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.with_extension("toml")
    }

    pub(crate) fn addr(&self) -> Option<&str> {
        self.addr.get().map(String::as_str)
    }

    pub(crate) fn http(&self) -> Option<String> {
        self.addresses().as_ref().map(|addresses| addresses.http.clone())
    }

    pub(crate) fn spawn(&self, options: &ServerOptions) {
        let server = Server::spawn(&self.dir, options);
        *self.server() = Some(server);
    }

    /// Asks the process for something that it tells once it has got that far.
    ///
    /// # Panics
    ///
    /// If it has ended.
    fn told<T>(&self, ask: impl FnOnce(&mut Server) -> Option<T>) -> Result<T, String> {
        let mut slot = self.server();
        let server = slot.as_mut().ok_or("it was not started")?;
        let (ended, told) = (server.ended(), ask(server));
        drop(slot);
        if let Some(status) = ended {
            panic!("{} has ended while it was starting: {status}", self.name);
        }
        told.ok_or_else(|| "it has written no addresses yet".to_owned())
    }

    /// Waits until a node that was just started listens for its peers; it cannot be ready without them.
    pub(crate) fn listening(&self) -> SocketAddr {
        let addr: SocketAddr = eventually(&format!("{} listens for its peers", self.name), || {
            let addr = self.told(|server| server.peer_addr())?;
            addr.parse().map_err(|e| format!("{addr}: {e}"))
        });
        self.addr.get_or_init(|| addr.to_string());
        addr
    }

    pub(crate) fn wait_ready(&self) {
        let addresses = eventually(&format!("{} is ready", self.name), || {
            let addresses = self.told(Server::addresses)?;
            if is_ready(&addresses.http) { Ok(addresses) } else { Err("/ready says no".to_owned()) }
        });
        *self.addresses() = Some(addresses);
    }

    pub(crate) fn is_down(&self) {
        *self.addresses() = None;
        self.keep_port();
    }

    /// Keeps the node's port from being given to anybody else while the node is down, or is about to listen again.
    ///
    /// A socket that is bound and does not listen refuses connections, as a free port does, and lets the node listen
    /// beside it; but the system gives its port neither to who asks for any port nor to a connection.
    fn keep_port(&self) {
        self.port.get_or_init(|| {
            let socket = TcpSocket::new_v4().ok()?;
            socket.set_reuseaddr(true).ok()?;
            socket.bind(self.addr()?.parse().ok()?).ok()?;
            Some(socket)
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.server().as_ref().map(Server::pid);
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("the node runs"), signal).expect("the node is our child");
    }
}
