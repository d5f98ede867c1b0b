//! Three server processes that are one cluster; each is killed, stopped, paused and started again as a test wants.
//!
//! The first node is started with a seed that leads nowhere; it is the seed of the two others. A node keeps its data
//! directory and the address that its peers know; its other ports change with every start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;
use ureq::Agent;

use crate::{Server, ServerOptions};

/// Nodes of a cluster.
pub const NODES: usize = 3;

/// How long what must happen may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a node may take to answer one request: longer than its own deadlines, as tests set them.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);
/// A port that nobody listens on.
const NO_SEED: &str = "127.0.0.1:1";
const ANY_PORT: &str = "127.0.0.1:0";
const SQL: &str = "/api/v1/sql?db=main";

/// Tries until there is a result.
///
/// # Panics
///
/// If there is none after a minute; with the last reason.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let deadline = monotonic() + PATIENCE;
    loop {
        match attempt() {
            Ok(result) => return result,
            Err(why) => assert!(monotonic() < deadline, "{what}: not in {PATIENCE:?}: {why}"),
        }
        pause();
    }
}

/// A running cluster. Its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    agent: Agent,
    options: ServerOptions,
    /// Goes after the processes that use it.
    _data: TempDir,
}

#[derive(Debug)]
struct Node {
    name: String,
    dir: PathBuf,
    /// Where its peers find it, once it has listened for them.
    addr: OnceLock<String>,
    /// None while it is down.
    server: Mutex<Option<Server>>,
    /// Keeps the port of `addr`, from the first time on that the node was down.
    port: OnceLock<Option<TcpSocket>>,
}

/// What a node answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// The header `Quorate-Receipt`: of a write, where it stands.
    pub receipt: Option<String>,
}

impl Cluster {
    /// Starts three nodes on empty directories and waits until all are ready. They are `n1`, `n2` and `n3`, and counted
    /// from 0 here.
    ///
    /// # Panics
    ///
    /// If they do not form a cluster within a minute.
    pub fn start(options: &ServerOptions) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let nodes: Vec<Node> = (1..=NODES).map(|n| Node::new(data.path(), n)).collect();
        thread::scope(|scope| {
            let mut seed = NO_SEED;
            let mut starting = Vec::new();
            for node in &nodes {
                let start = scope.spawn(move || node.start(ANY_PORT, seed, options));
                let addr = node.listening(&start);
                if seed == NO_SEED {
                    seed = addr;
                }
                starting.push(start);
            }
            starting.into_iter().for_each(join);
        });
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER_DEADLINE))
            .build();
        Self { nodes, agent: agent.into(), options: options.clone(), _data: data }
    }

    /// The node of a name.
    pub fn node_named(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// A node's name.
    pub fn name(&self, node: usize) -> &str {
        &self.nodes[node].name
    }

    /// A node's data directory.
    pub fn dir(&self, node: usize) -> &Path {
        &self.nodes[node].dir
    }

    /// Ends nodes at the same moment, as `kill -9` does. They must have been alive: who died before is not hidden.
    pub fn kill(&self, nodes: &[usize]) {
        for node in nodes {
            eventually(&format!("{} answers /health", self.name(*node)), || self.health(*node));
        }
        for node in nodes {
            if let Some(server) = &*self.nodes[*node].server() {
                server.kill_now();
            }
        }
        for node in nodes {
            // Dropping it waits for the process, which holds the lock of the directory until then.
            drop(self.nodes[*node].server().take());
            self.nodes[*node].keep_port();
        }
    }

    /// Stops a node in order.
    ///
    /// # Panics
    ///
    /// If it does not run, or does not stop within half a minute.
    pub fn stop(&self, node: usize) {
        let server = self.nodes[node].server().take();
        server.expect("only a node that runs is stopped").stop();
        self.nodes[node].keep_port();
    }

    /// Starts nodes again, all at once, under the addresses that their peers know, and waits until they are ready.
    pub fn restart(&self, nodes: &[usize]) {
        thread::scope(|scope| {
            let start = |node: &usize| {
                let node = &self.nodes[*node];
                let others = self.nodes.iter().filter(|other| other.name != node.name);
                let seeds: Vec<&str> = others.filter_map(Node::addr).collect();
                let seeds = seeds.join(",");
                let addr = node.addr().unwrap_or(ANY_PORT);
                scope.spawn(move || node.start(addr, &seeds, &self.options))
            };
            let starting: Vec<_> = nodes.iter().map(start).collect();
            starting.into_iter().for_each(join);
        });
    }

    /// Halts a node's process; its connections stay open and silent.
    pub fn pause(&self, node: usize) {
        self.nodes[node].signal(Signal::STOP);
    }

    /// Lets a paused node go on.
    pub fn resume(&self, node: usize) {
        self.nodes[node].signal(Signal::CONT);
    }

    /// Sends line protocol to a node, once.
    pub fn write(&self, node: usize, key: &str, lines: &str) -> io::Result<Answer> {
        self.send(node, "/write?db=main", &[("Idempotency-Key", key)], lines)
    }

    /// Runs a statement that gives no rows.
    pub fn execute(&self, node: usize, sql: &str) {
        self.ask(node, sql, "application/json");
    }

    /// The rows of a query, as objects. The query sees all that was acknowledged before.
    ///
    /// # Panics
    ///
    /// If the node refuses the query, or cannot answer it for a minute.
    pub fn query(&self, node: usize, sql: &str) -> Vec<Value> {
        let text = self.ask(node, sql, "application/json");
        serde_json::from_str(&text).expect("rows are a list")
    }

    /// The rows of a query, as CSV with a header.
    pub fn csv(&self, node: usize, sql: &str) -> String {
        self.ask(node, sql, "text/csv")
    }

    /// The rows of a query over what the node holds itself, as old as that may be.
    pub fn local(&self, node: usize, sql: &str) -> Result<Vec<Value>, String> {
        let answer = self.send(node, SQL, &[("consistency", "local")], sql);
        match answer {
            Ok(Answer { status: 200, body, .. }) => {
                serde_json::from_str(&body).map_err(|e| e.to_string())
            }
            Ok(answer) => Err(format!("{answer:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Asks again while there is no leader, or the connection is lost.
    fn ask(&self, node: usize, sql: &str, accept: &str) -> String {
        let name = self.name(node);
        eventually(&format!("{name} answers {sql}"), || {
            let answer = self.send(node, SQL, &[("Accept", accept)], sql);
            let answer = answer.map_err(|e| e.to_string())?;
            match answer.status {
                200 | 204 => Ok(answer.body),
                503 => Err(answer.body),
                status => panic!("{name} answers {sql} with {status}: {}", answer.body),
            }
        })
    }

    fn health(&self, node: usize) -> Result<(), String> {
        let http = self.nodes[node].http().ok_or("it is down")?;
        let answer = self.agent.get(format!("{http}/health")).call();
        answer.map(|_| ()).map_err(|e| e.to_string())
    }

    fn send(
        &self,
        node: usize,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Answer> {
        let http = self.nodes[node].http();
        let http = http.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        let mut request = self.agent.post(format!("{http}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = request.send(body).map_err(io::Error::other)?;
        let receipt = answer.headers().get("quorate-receipt").and_then(|v| v.to_str().ok());
        let receipt = receipt.map(str::to_owned);
        let status = answer.status().as_u16();
        // Tables are longer than what is read without being asked for.
        let body = answer.body_mut().with_config().limit(u64::MAX).read_to_string();
        Ok(Answer { status, body: body.map_err(io::Error::other)?, receipt })
    }
}

impl Node {
    fn new(data: &Path, number: usize) -> Self {
        let name = format!("n{number}");
        Self {
            dir: data.join(&name),
            name,
            addr: OnceLock::new(),
            server: Mutex::new(None),
            port: OnceLock::new(),
        }
    }

    fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().expect("nobody panics while holding it")
    }

    fn addr(&self) -> Option<&str> {
        self.addr.get().map(String::as_str)
    }

    fn http(&self) -> Option<String> {
        self.server().as_ref().map(|server| server.http().to_owned())
    }

    fn start(&self, addr: &str, seeds: &str, options: &ServerOptions) {
        let expect = NODES.to_string();
        let mut own = vec!["--node-name", self.name.as_str(), "--cluster-addr", addr];
        own.extend(["--seeds", seeds, "--bootstrap-expect", expect.as_str()]);
        if std::env::var_os("QUORATE_LOG_FILTER").is_none() {
            own.extend(["--log-filter", "warn"]);
        }
        let mut options = options.clone();
        options.arguments.extend(own.into_iter().map(str::to_owned));
        let server = Server::start(&self.dir, &options);
        *self.server() = Some(server);
    }

    /// Waits until a node that was just started listens for its peers; it cannot be ready without them.
    fn listening(&self, start: &ScopedJoinHandle<'_, ()>) -> &str {
        let file = self.dir.join("addresses.json");
        let addr = eventually(&format!("{} listens for its peers", self.name), || {
            let ended = start.is_finished();
            let text = std::fs::read_to_string(&file).map_err(|e| e.to_string());
            let json = text.and_then(|text| {
                serde_json::from_str::<Value>(&text).map_err(|e| format!("{e} in {text}"))
            });
            match json.map(|json| json["cluster"].as_str().map(str::to_owned)) {
                Ok(Some(addr)) => Ok(addr),
                Ok(None) | Err(_) if ended => panic!("{} has ended", self.name),
                Ok(None) => Err("addresses.json names no address for them".to_owned()),
                Err(why) => Err(why),
            }
        });
        self.addr.get_or_init(|| addr)
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

    fn signal(&self, signal: Signal) {
        let pid = self.server().as_ref().map(Server::pid);
        let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        kill_process(pid.expect("the node runs"), signal).expect("the node is our child");
    }
}

/// Waits for a thread, and fails as it did.
fn join(thread: ScopedJoinHandle<'_, ()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[expect(clippy::disallowed_methods, reason = "deadlines over real processes need the real clock")]
fn monotonic() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "polls real processes")]
fn pause() {
    thread::sleep(Duration::from_millis(5));
}
