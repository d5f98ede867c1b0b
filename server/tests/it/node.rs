//! A server process on a directory of its own and free ports.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use http::{HeaderMap, Response};
use serde_json::Value;
use tempfile::TempDir;

/// The binary under test.
pub(crate) fn quorate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.stdin(Stdio::null()).env_remove("QUORATE_CONFIG");
    command
}

/// A running server. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    process: Child,
    dir: Option<TempDir>,
    http: String,
    flight: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().unwrap())
    }

    /// The receipt of a write.
    pub(crate) fn receipt(&self) -> Vec<Value> {
        let receipt: Value = serde_json::from_str(self.header("quorate-receipt").unwrap()).unwrap();
        receipt.as_array().unwrap().clone()
    }
}

impl Node {
    /// Starts a server on a new directory, with further arguments.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut node = Self::start_on(dir.path(), arguments);
        node.dir = Some(dir);
        node
    }

    /// Starts a server on a directory and waits until it is ready.
    pub(crate) fn start_on(dir: &Path, arguments: &[&str]) -> Self {
        let addresses = dir.join("addresses.json");
        let _ = std::fs::remove_file(&addresses);
        let mut command = quorate();
        command.args(["serve", "--flight-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(dir).args(arguments).stdout(Stdio::null());
        let process = command.spawn().unwrap();
        let mut node = Self { process, dir: None, http: String::new(), flight: String::new() };
        let found = wait_for(|| {
            if let Some(status) = node.process.try_wait().unwrap() {
                panic!("the server ended while it was starting: {status}");
            }
            let text = std::fs::read_to_string(&addresses).ok()?;
            serde_json::from_str::<Value>(&text).ok()
        });
        node.http = format!("http://{}", found["http"].as_str().unwrap());
        node.flight = format!("grpc://{}", found["flight"].as_str().unwrap());
        wait_for(|| (node.get("/ready").status == 200).then_some(()));
        node
    }

    pub(crate) fn http(&self) -> &str {
        &self.http
    }

    pub(crate) fn flight(&self) -> &str {
        &self.flight
    }

    /// Bytes of memory that the process has.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = agent().get(format!("{}{path}", self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call().unwrap())
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.post_with(path, body, &[])
    }

    pub(crate) fn post_with(
        &self,
        path: &str,
        body: impl AsRef<[u8]>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = agent().post(format!("{}{path}", self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body.as_ref()).unwrap())
    }

    /// Writes lines that must all be stored.
    pub(crate) fn write(&self, lines: &str) {
        let answer = self.post("/write?db=main", lines);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// The rows of a query, as JSON.
    pub(crate) fn rows(&self, sql: &str) -> Value {
        let answer = self.post("/api/v1/sql", sql);
        assert_eq!(answer.status, 200, "{sql}: {}", answer.text());
        answer.json()
    }

    /// The one value of a query.
    pub(crate) fn value(&self, sql: &str) -> Value {
        self.rows(sql)[0].as_object().unwrap().values().next().unwrap().clone()
    }

    /// Asks for an orderly stop; the exit status.
    pub(crate) fn stop(mut self) -> Option<i32> {
        let pid = i32::try_from(self.process.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        wait_for(|| self.process.try_wait().unwrap()).code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Already dead is fine.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_mins(1)))
        .accept_encoding("identity")
        .build()
        .into()
}

fn answer(mut answer: Response<ureq::Body>) -> Answer {
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let mut body = Vec::new();
    answer.body_mut().as_reader().read_to_end(&mut body).unwrap();
    Answer { status, headers, body }
}

/// Polls something about a real process, for a minute at most.
#[expect(clippy::disallowed_methods, reason = "a real process needs the real clock")]
pub(crate) fn wait_for<T>(mut poll: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(Instant::now() < deadline, "nothing happened for a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}
