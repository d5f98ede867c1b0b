//! Server processes that are one cluster; each is killed, stopped, paused, emptied and started again as a test wants.
//!
//! The nodes dial each other directly or, where a test is about the network, through the links of a [`Network`], which
//! their configuration files name. Clients talk to them directly.
//!
//! Without a network, the first node is started with a seed that leads nowhere and is the seed of the others. A node
//! keeps its data directory and the address that its peers know; its other ports change with every start.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use ureq::Agent;

use crate::node::Node;
use crate::server::{binary, is_ready};
use crate::{Network, Server, ServerOptions};

/// Nodes of a cluster, unless a test wants more.
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

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// How many nodes.
    pub nodes: usize,
    /// Whether they reach each other through a [`Network`].
    pub behind_proxies: bool,
    /// How long a node may take to answer one request.
    pub answer_deadline: Duration,
    /// How each is started.
    pub server: ServerOptions,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            nodes: NODES,
            behind_proxies: false,
            answer_deadline: ANSWER_DEADLINE,
            server: ServerOptions::default(),
        }
    }
}

/// A running cluster. Its processes are killed when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    network: Option<Network>,
    agent: Agent,
    options: ClusterOptions,
    /// Goes after the processes that use it.
    _data: TempDir,
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
    /// Starts three nodes on empty directories, directly connected, and waits until all are ready. They are `n1`, `n2`
    /// and `n3`, and counted from 0 here.
    ///
    /// # Panics
    ///
    /// If they do not form a cluster within a minute.
    pub fn start(options: &ServerOptions) -> Self {
        Self::with(ClusterOptions { server: options.clone(), ..ClusterOptions::default() })
    }

    /// Starts nodes on empty directories and waits until all are ready.
    ///
    /// # Panics
    ///
    /// If they do not form a cluster within a minute.
    pub fn with(options: ClusterOptions) -> Self {
        let data = tempfile::tempdir().expect("a temporary directory can be made");
        let nodes = (1..=options.nodes).map(|n| Node::new(data.path(), n)).collect();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(options.answer_deadline))
            .build();
        let network = options.behind_proxies.then(|| Network::new(options.nodes));
        let agent = agent.into();
        let cluster = Self { nodes, network, agent, options, _data: data };
        cluster.write_config();
        cluster.start_nodes(&cluster.all());
        cluster
    }

    /// All nodes.
    pub fn all(&self) -> Vec<usize> {
        Range { start: 0, end: self.nodes.len() }.collect()
    }

    /// The links between the nodes.
    ///
    /// # Panics
    ///
    /// If they are connected directly.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the cluster was started behind proxies")
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

    /// The data directory of a node that runs, wherever its disk is.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn disk(&self, node: usize) -> PathBuf {
        let server = self.nodes[node].server();
        server.as_ref().expect("only a node that runs has a disk").dir().to_owned()
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
            self.is_down(*node);
        }
    }

    /// Starts a node that is down on an empty directory, and has it take its own place.
    ///
    /// # Panics
    ///
    /// If it is not ready a minute after the cluster has agreed.
    pub fn replace(&self, node: usize, asked: usize) {
        let own = &self.nodes[node];
        own.spawn(&self.server_options(node, own.addr().unwrap_or(ANY_PORT)));
        let addr = own.listening();
        if let Some(network) = &self.network {
            network.up(node, addr);
        }
        eventually(&format!("{} is replaced", own.name), || {
            self.command(asked, &["cluster", "replace", &own.name])
        });
        own.wait_ready();
    }

    /// Stops a node in order.
    ///
    /// # Panics
    ///
    /// If it does not run, or does not stop within half a minute.
    pub fn stop(&self, node: usize) {
        let server = self.nodes[node].server().take();
        server.expect("only a node that runs is stopped").stop();
        self.is_down(node);
    }

    /// Starts nodes again, all at once, under the addresses that their peers know, and waits until they are ready.
    pub fn restart(&self, nodes: &[usize]) {
        self.start_nodes(nodes);
    }

    /// Takes the disk of a node that is down away. Returns where it lies now.
    ///
    /// # Panics
    ///
    /// If it cannot be moved.
    pub fn take_disk(&self, node: usize) -> PathBuf {
        let dir = &self.nodes[node].dir;
        let mut names = (1..100).map(|n| dir.with_extension(format!("old{n}")));
        let aside = names.find(|dir| !dir.exists());
        let aside = aside.expect("few disks are taken away");
        fs::rename(dir, &aside).expect("the directory of a node that is down can be moved");
        aside
    }

    /// Starts a node on a directory of its own choice, under its name and beside the one that runs. Returns how it ends.
    ///
    /// # Panics
    ///
    /// If it is not refused within a minute.
    pub fn refused(&self, node: usize, dir: &Path) -> ExitStatus {
        let mut server = Server::spawn(dir, &self.server_options(node, ANY_PORT));
        eventually(&format!("{} ends on {}", self.name(node), dir.display()), || {
            server.ended().ok_or_else(|| format!("it runs: {:?}", server.addresses()))
        })
    }

    /// Runs `quorate` with the address of a node's Flight SQL. Returns what it says, or complains of.
    pub fn command(&self, node: usize, arguments: &[&str]) -> Result<String, String> {
        let addresses = self.nodes[node].addresses().clone();
        let addresses = addresses.ok_or("it is down")?;
        let mut command = Command::new(binary());
        let out = command.args(arguments).args(["--addr", &addresses.flight]).output();
        let out = out.map_err(|error| error.to_string())?;
        let told = if out.status.success() { &out.stdout } else { &out.stderr };
        let told = String::from_utf8_lossy(told).into_owned();
        if out.status.success() { Ok(told) } else { Err(told) }
    }

    /// Waits until nodes say that they are ready: each shard of theirs has a leader, and they have caught up.
    pub fn wait_ready(&self, nodes: &[usize]) {
        for node in nodes {
            eventually(&format!("{} is ready", self.name(*node)), || {
                let http = self.nodes[*node].http().ok_or("it is down")?;
                if is_ready(&http) { Ok(()) } else { Err("/ready says no".to_owned()) }
            });
        }
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

    /// The rows of a query that is tried once; over what the node holds itself if `consistency` is `local`.
    pub fn try_csv(&self, node: usize, sql: &str, consistency: &str) -> Result<String, String> {
        let headers = [("consistency", consistency), ("Accept", "text/csv")];
        match self.send(node, SQL, &headers, sql) {
            Ok(Answer { status: 200, body, .. }) => Ok(body),
            Ok(answer) => Err(format!("{answer:?}")),
            Err(error) => Err(error.to_string()),
        }
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

    /// Starts nodes at once and waits until they are ready.
    fn start_nodes(&self, nodes: &[usize]) {
        thread::scope(|scope| {
            let mut starting = Vec::new();
            for node in nodes {
                let own = &self.nodes[*node];
                let options = self.server_options(*node, own.addr().unwrap_or(ANY_PORT));
                own.spawn(&options);
                let addr = own.listening();
                if let Some(network) = &self.network {
                    network.up(*node, addr);
                }
                starting.push(scope.spawn(|| own.wait_ready()));
            }
            starting.into_iter().for_each(join);
        });
    }

    fn server_options(&self, node: usize, addr: &str) -> ServerOptions {
        let own = &self.nodes[node];
        let expect = self.nodes.len().to_string();
        let seeds: Vec<String> = if let Some(network) = &self.network {
            let others = self.all().into_iter().filter(|other| *other != node);
            others.map(|other| network.addr(node, other).to_string()).collect()
        } else {
            let others = self.nodes.iter().filter(|other| other.name != own.name);
            others.filter_map(Node::addr).map(str::to_owned).collect()
        };
        let seeds = if seeds.is_empty() { NO_SEED.to_owned() } else { seeds.join(",") };
        let mut all = vec!["--node-name", own.name.as_str(), "--cluster-addr", addr];
        all.extend(["--seeds", &seeds, "--bootstrap-expect", &expect]);
        let config = own.config().display().to_string();
        if self.network.is_some() {
            all.extend(["--config", &config]);
        }
        if std::env::var_os("QUORATE_LOG_FILTER").is_none() {
            all.extend(["--log-filter", "warn"]);
        }
        let mut options = self.options.server.clone();
        options.arguments.extend(all.into_iter().map(str::to_owned));
        options
    }

    /// Tells each node to dial the others through its own links.
    fn write_config(&self) {
        let Some(network) = &self.network else { return };
        for (from, node) in self.nodes.iter().enumerate() {
            let mut text = "[cluster.peers]\n".to_owned();
            for to in self.all().into_iter().filter(|to| *to != from) {
                let (name, addr) = (self.name(to), network.addr(from, to));
                writeln!(text, "{name} = \"{addr}\"").expect("a String takes text");
            }
            fs::write(node.config(), text).expect("a temporary file can be written");
        }
    }

    /// A process has ended.
    fn is_down(&self, node: usize) {
        self.nodes[node].is_down();
        if let Some(network) = &self.network {
            network.down(node);
        }
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
