//! The settings in force, and where each one came from.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use quorate_engine::{EngineOptions, Setting};
use quorate_storage::StoreOptions;
use serde::Deserialize;

use super::layer::Layer;
use super::units::{ByteSize, Span};

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Display for LogFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Settings that make no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML, or names what is no setting.
    #[error("configuration file {}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A setting is missing.
    #[error("the data directory is missing: give --data-dir DIR")]
    NoDataDir,
    /// Settings of a cluster without a name for the node.
    #[error("settings of a cluster are given, and no name: give --node-name NAME")]
    NoName,
    /// A value that cannot be.
    #[error("{name} is {value}: {what}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is expected.
        what: &'static str,
    },
}

/// The settings in force.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    /// Where `COPY` reads and writes files; without it, nowhere.
    pub(crate) file_dir: Option<PathBuf>,
    pub(crate) flight_addr: SocketAddr,
    pub(crate) http_addr: SocketAddr,
    /// Where line protocol is taken over UDP; none is nowhere.
    pub(crate) udp_addr: Option<SocketAddr>,
    pub(crate) udp_database: String,
    pub(crate) max_body: ByteSize,
    pub(crate) log_format: LogFormat,
    pub(crate) log_filter: String,
    pub(crate) memory_limit: ByteSize,
    pub(crate) query_timeout: Span,
    pub(crate) query_partitions: usize,
    pub(crate) query_summaries: bool,
    pub(crate) write_deadline: Span,
    pub(crate) flush_size: ByteSize,
    pub(crate) flush_log_size: ByteSize,
    pub(crate) flush_age: Span,
    pub(crate) wal_segment_size: ByteSize,
    pub(crate) shards: u32,
    /// The cluster that the node belongs to; none for a node of its own.
    pub(crate) cluster: Option<ClusterSettings>,
    /// For `system.settings`.
    pub(crate) list: Vec<Setting>,
}

/// How a node takes part in a cluster.
#[derive(Clone, Debug)]
pub(crate) struct ClusterSettings {
    pub(crate) name: String,
    /// Where it listens for the others.
    pub(crate) addr: SocketAddr,
    /// What the others are told to dial, if not that.
    pub(crate) advertise: Option<String>,
    pub(crate) seeds: Vec<String>,
    pub(crate) expect: u32,
    /// How it dials others, by name, where that is not what they say themselves.
    pub(crate) peers: BTreeMap<String, String>,
}

/// Takes the first source that says something, and writes down which.
struct Resolver<'a> {
    matches: Option<&'a ArgMatches>,
    list: Vec<Setting>,
}

impl Resolver<'_> {
    fn take<T: Display>(
        &mut self,
        name: &'static str,
        description: &'static str,
        (given, file, default): (Option<T>, Option<T>, T),
    ) -> T {
        let (value, source) = match (given, file) {
            (Some(value), _) => (value, self.given(name)),
            (None, Some(value)) => (value, "file"),
            (None, None) => (default, "default"),
        };
        self.list.push(Setting {
            name: name.to_owned(),
            value: value.to_string(),
            source: source.to_owned(),
            description: description.to_owned(),
        });
        value
    }

    /// A setting without a default: it is empty where nobody says anything.
    fn optional(
        &mut self,
        name: &'static str,
        description: &'static str,
        [given, file]: [Option<String>; 2],
    ) {
        self.take(name, description, (given, file, String::new()));
    }

    /// Settings that name a place, and have none unless somebody says one.
    fn places(&mut self, given: &Layer, file: &Layer) {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let addr = |addr: Option<SocketAddr>| addr.map(|addr| addr.to_string());
        let data = [path(&given.data_dir), path(&file.data_dir)];
        self.optional("data_dir", "directory that holds everything", data);
        let files = [path(&given.file_dir), path(&file.file_dir)];
        self.optional("file_dir", "directory of the files of COPY; empty is none", files);
        let udp = [addr(given.udp_addr), addr(file.udp_addr)];
        self.optional("udp_addr", "where line protocol is taken over UDP; empty is nowhere", udp);
    }

    fn given(&self, name: &str) -> &'static str {
        match self.matches.and_then(|m| m.value_source(name)) {
            Some(ValueSource::EnvVariable) => "environment",
            _ => "flag",
        }
    }
}

impl Settings {
    /// Puts the flags and the environment (`given`, and clap's account of them) over the file over the defaults.
    pub(crate) fn resolve(
        given: Layer,
        matches: Option<&ArgMatches>,
        file: Option<&Path>,
    ) -> Result<Self, SettingsError> {
        let file = file.map_or_else(|| Ok(Layer::default()), read)?;
        let (g, f) = (given, file);
        let (given, file) = (ClusterLayer::of(&g), ClusterLayer::of(&f));
        let peers = f.cluster.clone().unwrap_or_default().peers;
        let data_dir = g.data_dir.clone().or_else(|| f.data_dir.clone());
        let data_dir = data_dir.ok_or(SettingsError::NoDataDir)?;
        let file_dir = g.file_dir.clone().or_else(|| f.file_dir.clone());
        let mut r = Resolver { matches, list: Vec::new() };
        let mib = |n: u64| ByteSize(n << 20);
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let seconds = |n: u64| Span(Duration::from_secs(n));
        let (text, info) = (LogFormat::Text, "info".to_owned());
        macro_rules! take {
            ($name:ident, $default:expr, $what:literal) => {
                r.take(stringify!($name), $what, (g.$name, f.$name, $default))
            };
        }
        r.places(&g, &f);
        let settings = Self {
            flight_addr: take!(flight_addr, local(50051), "where Flight SQL is served"),
            http_addr: take!(http_addr, local(8086), "where HTTP is served"),
            udp_addr: g.udp_addr.or(f.udp_addr),
            udp_database: take!(udp_database, "main".to_owned(), "database of UDP's line protocol"),
            max_body: take!(max_body, mib(64), "largest body of a write, decoded"),
            log_format: take!(log_format, text, "form of the log: text or json"),
            log_filter: take!(log_filter, info, "what is logged"),
            memory_limit: take!(
                memory_limit,
                half_of_memory(),
                "memory of queries, memtables and caches together"
            ),
            query_timeout: take!(query_timeout, seconds(300), "how long a query may run"),
            query_partitions: take!(
                query_partitions,
                0,
                "streams per scan and operator; 0 is one per core"
            ),
            query_summaries: take!(
                query_summaries,
                true,
                "whether aggregates are answered from the summaries of segments"
            ),
            write_deadline: take!(
                write_deadline,
                seconds(30),
                "how long a write may wait for its shards"
            ),
            flush_size: take!(flush_size, mib(64), "memtable of a shard that is flushed"),
            flush_log_size: take!(flush_log_size, mib(1024), "log that makes memtables be flushed"),
            flush_age: take!(
                flush_age,
                seconds(600),
                "age of a row in a memtable that makes it be flushed"
            ),
            wal_segment_size: take!(wal_segment_size, mib(64), "size of a file of the log"),
            shards: take!(shards, 8, "shards of a new data directory"),
            cluster: None,
            data_dir,
            file_dir,
            list: Vec::new(),
        };
        let cluster = resolve_cluster(&mut r, given, file, peers)?;
        Self { cluster, list: r.list, ..settings }.checked()
    }

    fn checked(mut self) -> Result<Self, SettingsError> {
        let wrong = |name, value: &dyn Display, what| {
            Err(SettingsError::Value { name, value: value.to_string(), what })
        };
        if let Some(dir) = self.file_dir.take() {
            match std::path::absolute(&dir) {
                Ok(absolute) if absolute.is_dir() => self.file_dir = Some(absolute),
                _ => {
                    return wrong(
                        "file_dir",
                        &dir.display(),
                        "a directory that is there is needed",
                    );
                }
            }
        }
        if self.shards == 0 || self.shards > 1024 {
            return wrong("shards", &self.shards, "1 to 1024 are possible");
        }
        if self.max_body.0 == 0 || self.max_body.0 > 1 << 30 {
            return wrong("max_body", &self.max_body, "up to 1GiB is possible");
        }
        if self.memory_limit < ByteSize(64 << 20) {
            return wrong("memory_limit", &self.memory_limit, "at least 64MiB are needed");
        }
        if self.wal_segment_size < ByteSize(1 << 20) {
            return wrong("wal_segment_size", &self.wal_segment_size, "at least 1MiB is needed");
        }
        if self.query_timeout.0.is_zero() {
            return wrong("query_timeout", &self.query_timeout, "it must be more than nothing");
        }
        if self.flush_size.0 == 0 {
            return wrong("flush_size", &self.flush_size, "it must be more than nothing");
        }
        Ok(self)
    }

    /// The engine's part of the settings. The memory is divided: half for queries, a quarter (at most 1 GiB) for
    /// memtables and writes on their way, an eighth (at most 1 GiB) for caches; the rest is slack.
    pub(crate) fn engine(&self) -> EngineOptions {
        let limit = self.memory_limit.0;
        let store = StoreOptions {
            shards: self.shards,
            flush_bytes: self.flush_size.0,
            flush_log_bytes: self.flush_log_size.0,
            flush_age: self.flush_age.0,
            wal_segment_bytes: self.wal_segment_size.0,
            write_deadline: self.write_deadline.0,
            cache_bytes: (limit / 8).min(1 << 30),
            memory_bytes: (limit / 4).min(1 << 30),
            ..StoreOptions::new(&self.data_dir)
        };
        EngineOptions {
            store,
            query_timeout: self.query_timeout.0,
            query_memory_bytes: limit / 2,
            partitions: self.query_partitions,
            spill_dir: None,
            file_dir: self.file_dir.clone(),
            summaries: self.query_summaries,
            settings: self.list.clone(),
        }
    }
}

fn read(path: &Path) -> Result<Layer, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error| SettingsError::File {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })
}

/// What one source says of a cluster.
struct ClusterLayer {
    name: Option<String>,
    addr: Option<SocketAddr>,
    advertise: Option<String>,
    seeds: Option<Vec<String>>,
    expect: Option<u32>,
}

impl ClusterLayer {
    fn of(layer: &Layer) -> Self {
        Self {
            name: layer.node_name.clone(),
            addr: layer.cluster_addr,
            advertise: layer.advertise_addr.clone(),
            seeds: layer.seeds.clone(),
            expect: layer.bootstrap_expect,
        }
    }

    fn says_something(&self) -> bool {
        self.addr.is_some()
            || self.advertise.is_some()
            || self.seeds.is_some()
            || self.expect.is_some()
    }
}

fn resolve_cluster(
    r: &mut Resolver<'_>,
    given: ClusterLayer,
    file: ClusterLayer,
    peers: BTreeMap<String, String>,
) -> Result<Option<ClusterSettings>, SettingsError> {
    if given.name.is_none() && file.name.is_none() {
        return if given.says_something() || file.says_something() || !peers.is_empty() {
            Err(SettingsError::NoName)
        } else {
            Ok(None)
        };
    }
    let none = String::new();
    let name = r.take("node_name", "name of this node", (given.name, file.name, none.clone()));
    let local = SocketAddr::from(([127, 0, 0, 1], 7001));
    let what = "where this node listens for the others";
    let addr = r.take("cluster_addr", what, (given.addr, file.addr, local));
    let what = "what the others are told to dial";
    let advertise = r.take("advertise_addr", what, (given.advertise, file.advertise, none.clone()));
    let text = |seeds: Option<Vec<String>>| seeds.map(|seeds| seeds.join(","));
    let what = "addresses of nodes to ask for the cluster";
    let seeds = r.take("seeds", what, (text(given.seeds), text(file.seeds), none));
    let what = "nodes with empty directories that found a new cluster together";
    let expect = r.take("bootstrap_expect", what, (given.expect, file.expect, 3));
    let wrong = |name, value: &dyn Display, what| {
        Err(SettingsError::Value { name, value: value.to_string(), what })
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
        return wrong(
            "node_name",
            &name,
            "1 to 63 letters, digits, dots, dashes, underscores are possible",
        );
    }
    if expect == 0 || expect > 9 || expect.is_multiple_of(2) {
        return wrong("bootstrap_expect", &expect, "1, 3, 5, 7 or 9 are possible");
    }
    let seeds: Vec<String> =
        seeds.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect();
    let advertise = Some(advertise).filter(|a| !a.is_empty());
    if let Some(seed) = seeds.iter().find(|seed| !can_be_dialled(seed)) {
        return wrong("seeds", seed, NOT_DIALLED);
    }
    if let Some(advertise) = advertise.as_ref().filter(|addr| !can_be_dialled(addr)) {
        return wrong("advertise_addr", advertise, NOT_DIALLED);
    }
    if let Some((name, addr)) = peers.iter().find(|(_, addr)| !can_be_dialled(addr)) {
        return wrong("cluster.peers", &format!("{name} = {addr}"), NOT_DIALLED);
    }
    if advertise.is_none() && addr.ip().is_unspecified() {
        return wrong("cluster_addr", &addr, "nobody can dial that; give --advertise-addr too");
    }
    Ok(Some(ClusterSettings { name, addr, advertise, seeds, expect, peers }))
}

/// What is wrong with an address that nobody can dial.
const NOT_DIALLED: &str = "host:port is expected, such as 10.0.0.1:7001 or [fd00::1]:7001";

/// Whether an address names a host and a port.
fn can_be_dialled(addr: &str) -> bool {
    let Some((host, port)) = addr.rsplit_once(':') else { return false };
    let bracketed = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let plain = !host.is_empty() && !host.contains([':', '/', '[', ']', ' ']);
    (bracketed || plain) && port.parse::<u16>().is_ok_and(|port| port != 0)
}

/// Half of the memory that this process may have: the machine's, or the control group's if that is less.
fn half_of_memory() -> ByteSize {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    let bytes = machine.unwrap_or(4 << 30).min(group.unwrap_or(u64::MAX));
    // Whole MiB, so that it reads well.
    ByteSize(((bytes / 2) >> 20 << 20).max(64 << 20))
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
