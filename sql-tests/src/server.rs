//! A server process on a directory and free ports.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
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
    flight: String,
    http: String,
}

/// The binary under test: `QUORATE_BINARY`, else beside the test's own binary.
fn binary() -> PathBuf {
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
        let addresses = data_dir.join("addresses.json");
        let _ = std::fs::remove_file(&addresses);
        let mut command = Command::new(binary());
        command.arg("serve").arg("--data-dir").arg(data_dir);
        command.args(["--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
        command.args(&options.arguments).stdin(Stdio::null()).stdout(Stdio::null());
        if options.disk == Disk::UnsyncedLost {
            command.env("QUORATE_DISK", "power-cut");
        }
        let process =
            command.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", binary().display()));
        let mut server = Self { process, flight: String::new(), http: String::new() };
        server.wait_ready(&addresses);
        server
    }

    fn wait_ready(&mut self, addresses: &Path) {
        let deadline = monotonic() + Duration::from_mins(1);
        loop {
            if let Some(status) = self.process.try_wait().expect("the server is our child") {
                panic!("the server ended while it was starting: {status}");
            }
            if self.http.is_empty() {
                self.read_addresses(addresses);
            } else if ureq::get(format!("{}/ready", self.http)).call().is_ok() {
                return;
            }
            assert!(monotonic() < deadline, "the server is not ready after a minute");
            pause();
        }
    }

    fn read_addresses(&mut self, path: &Path) {
        let Ok(text) = std::fs::read_to_string(path) else { return };
        let Ok(json) = serde_json::from_str::<serde_json::Value>(&text) else { return };
        if let (Some(flight), Some(http)) = (json["flight"].as_str(), json["http"].as_str()) {
            self.flight = format!("grpc://{flight}");
            self.http = format!("http://{http}");
        }
    }

    /// Where Flight SQL is served: `grpc://host:port`.
    pub fn flight(&self) -> &str {
        &self.flight
    }

    /// Where HTTP is served: `http://host:port`.
    pub fn http(&self) -> &str {
        &self.http
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A new connection to a database.
    pub async fn client(&self, database: &str) -> Result<Client, ClientError> {
        let options = ClientOptions {
            addr: self.flight.clone(),
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
            agent.post(format!("{}{path}", self.http)).send(body).map_err(io::Error::other)?;
        let text = answer.body_mut().read_to_string().map_err(io::Error::other)?;
        Ok((answer.status().as_u16(), text))
    }
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

#[expect(clippy::disallowed_methods, reason = "polls a real process")]
fn pause() {
    std::thread::sleep(Duration::from_millis(5));
}
