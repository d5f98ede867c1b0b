//! A server process on a directory and free ports.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use quorate_flight::{Client, ClientError, ClientOptions};

/// What the server's disk does when the process dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disk {
    /// The operating system keeps what was written.
    #[default]
    Kept,
    /// Bytes that were not synced are gone: a power cut.
    UnsyncedLost,
    /// There is room for so many bytes, in memory; all is gone with the process.
    OfSize(u64),
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct ServerOptions {
    /// What its disk does when the process dies.
    pub disk: Disk,
    /// Further arguments of `quorate serve`.
    pub arguments: Vec<String>,
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// The data directory, as others than the server see it.
    dir: PathBuf,
    addresses: Addresses,
}

/// Where clients find a server, once it serves.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// For Flight SQL: `grpc://host:port`.
    pub flight: String,
    /// For HTTP: `http://host:port`.
    pub http: String,
}

/// Mounts a disk of a size (`$0`) over a directory (`$1`) and goes on as the program that follows.
const ON_OWN_DISK: &str = r#"mount -t tmpfs -o size="$0" quorate "$1" && shift && exec "$@""#;

/// How long a server may take until it is ready.
const START_MAX: Duration = Duration::from_mins(1);
/// How long it may take to say whether it is: it asks others.
const READY_MAX: Duration = Duration::from_secs(5);
/// File in a data directory.
const ADDRESSES: &str = "addresses.json";

/// The binary under test: `QUORATE_BINARY`, else beside the test's own binary.
///
/// # Panics
///
/// If the test lies outside of a target directory.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("QUORATE_BINARY") {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test knows its own path");
    let release = test.parent().and_then(Path::parent).expect("tests lie in target/release/deps");
    release.join("quorate")
}

impl Server {
    /// Starts a server on a data directory and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not start, or is not ready within a minute.
    pub fn start(data_dir: &Path, options: &ServerOptions) -> Self {
        let mut server = Self::spawn(data_dir, options);
        let deadline = monotonic() + START_MAX;
        loop {
            assert!(server.ended().is_none(), "the server ended while it was starting");
            let http = server.addresses().map(|addresses| addresses.http);
            if http.is_some_and(|http| is_ready(&http)) {
                return server;
            }
            assert!(monotonic() < deadline, "the server is not ready in {START_MAX:?}");
            pause();
        }
    }

    /// Starts a server on a data directory, and does not wait for it.
    ///
    /// # Panics
    ///
    /// If there is no such program.
    pub fn spawn(data_dir: &Path, options: &ServerOptions) -> Self {
        let _ = std::fs::remove_file(data_dir.join(ADDRESSES));
        let mut command = match options.disk {
            Disk::Kept | Disk::UnsyncedLost => Command::new(binary()),
            Disk::OfSize(bytes) => {
                std::fs::create_dir_all(data_dir).expect("a directory can be made");
                let mut command = Command::new("unshare");
                // Who is not root is root among its own mounts.
                let own = if rustix::process::getuid().is_root() { "--" } else { "-r" };
                command.args(["--mount", own, "sh", "-c", ON_OWN_DISK]).arg(bytes.to_string());
                command.arg(data_dir).arg(binary());
                command
            }
        };
        command.arg("serve").arg("--data-dir").arg(data_dir);
        command.args(["--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
        command.args(&options.arguments).stdin(Stdio::null()).stdout(Stdio::null());
        if options.disk == Disk::UnsyncedLost {
            command.env("QUORATE_DISK", "power-cut");
        }
        let process = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let dir = match options.disk {
            Disk::Kept | Disk::UnsyncedLost => data_dir.to_owned(),
            Disk::OfSize(_) => {
                let root = PathBuf::from(format!("/proc/{}/root", process.id()));
                root.join(data_dir.strip_prefix("/").expect("temporary directories are absolute"))
            }
        };
        Self { process, dir, addresses: Addresses::default() }
    }

    /// Where clients find it, or `None` while it does not serve yet.
    pub fn addresses(&mut self) -> Option<Addresses> {
        if self.addresses.http.is_empty() {
            let json = self.listening()?;
            self.addresses = Addresses {
                flight: format!("grpc://{}", json["flight"].as_str()?),
                http: format!("http://{}", json["http"].as_str()?),
            };
        }
        Some(self.addresses.clone())
    }

    /// Where other nodes find it, `host:port`, or `None` while it does not listen for them yet. It does so before it
    /// serves clients.
    pub fn peer_addr(&self) -> Option<String> {
        self.listening()?["cluster"].as_str().map(str::to_owned)
    }

    fn listening(&self) -> Option<serde_json::Value> {
        let text = std::fs::read_to_string(self.dir.join(ADDRESSES)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// How the process has ended, if it has.
    ///
    /// # Panics
    ///
    /// If the system does not know the process.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("the server is our child")
    }

    /// The data directory, through a path that is good as long as the process runs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where Flight SQL is served: `grpc://host:port`.
    pub fn flight(&self) -> &str {
        &self.addresses.flight
    }

    /// Where HTTP is served: `http://host:port`.
    pub fn http(&self) -> &str {
        &self.addresses.http
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A new connection to a database.
    pub async fn client(&self, database: &str) -> Result<Client, ClientError> {
        let options = ClientOptions {
            addr: self.addresses.flight.clone(),
            database: Some(database.to_owned()),
            ..ClientOptions::default()
        };
        Client::connect(options).await
    }

    /// Ends the process at once, as `kill -9` does; requests in flight fail.
    ///
    /// # Panics
    ///
    /// If the process was waited for already.
    pub fn kill_now(&self) {
        rustix::process::kill_process(self.process_id(), rustix::process::Signal::KILL)
            .expect("the server is our child and was not waited for");
    }

    fn process_id(&self) -> rustix::process::Pid {
        let id = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw);
        id.expect("a process id is positive")
    }

    /// Asks for an orderly stop and waits for it.
    ///
    /// # Panics
    ///
    /// If the server does not stop within half a minute, or with an error.
    pub fn stop(mut self) {
        rustix::process::kill_process(self.process_id(), rustix::process::Signal::TERM)
            .expect("the server runs");
        let deadline = monotonic() + Duration::from_secs(30);
        loop {
            if let Some(status) = self.process.try_wait().expect("the server is our child") {
                assert!(status.success(), "the server stopped with {status}");
                return;
            }
            assert!(monotonic() < deadline, "the server does not stop");
            pause();
        }
    }

    /// Posts line protocol; the answer's status and body.
    pub fn write(&self, database: &str, lines: &str) -> io::Result<(u16, String)> {
        self.post(&format!("/write?db={database}"), lines)
    }

    /// Posts a body; the answer's status and body.
    pub fn post(&self, path: &str, body: &str) -> io::Result<(u16, String)> {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer =
            agent.post(format!("{}{path}", self.http())).send(body).map_err(io::Error::other)?;
        let text = answer.body_mut().read_to_string().map_err(io::Error::other)?;
        Ok((answer.status().as_u16(), text))
    }
}

/// Whether a server says that it is ready.
pub(crate) fn is_ready(http: &str) -> bool {
    let request = ureq::get(format!("{http}/ready")).config().timeout_global(Some(READY_MAX));
    request.build().call().is_ok()
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already dead is fine: `kill_now` and `stop` end here, too.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "deadlines over a real process need the real clock")]
fn monotonic() -> Instant {
    Instant::now()
}

/// A moment between two looks at a process.
#[expect(clippy::disallowed_methods, reason = "polls a real process")]
pub fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
