//! What one source says about the settings: everything is optional.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Deserializer, de};

use super::resolve::LogFormat;
use super::units::{ByteSize, Span};

/// Settings as flags, as environment variables, or as keys of the file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    /// Directory that holds everything; made if it is not there
    #[arg(long, env = "QUORATE_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where Flight SQL is served [default: 127.0.0.1:50051]
    #[arg(long, env = "QUORATE_FLIGHT_ADDR", value_name = "ADDR")]
    pub(crate) flight_addr: Option<SocketAddr>,
    /// Where HTTP is served: line protocol, SQL, health, metrics, and gRPC too [default: 127.0.0.1:8086]
    #[arg(long, env = "QUORATE_HTTP_ADDR", value_name = "ADDR", value_parser = http_addr)]
    #[serde(default, deserialize_with = "http_addr_of_file")]
    pub(crate) http_addr: Option<SocketAddr>,
    /// Where line protocol is taken over UDP, acknowledged to nobody [default: none]
    #[arg(long, env = "QUORATE_UDP_ADDR", value_name = "ADDR")]
    pub(crate) udp_addr: Option<SocketAddr>,
    /// Database that line protocol over UDP goes to [default: main]
    #[arg(long, env = "QUORATE_UDP_DATABASE", value_name = "NAME")]
    pub(crate) udp_database: Option<String>,
    /// Largest body of a write, decoded [default: 64MiB]
    #[arg(long, env = "QUORATE_MAX_BODY", value_name = "SIZE")]
    pub(crate) max_body: Option<ByteSize>,
    /// Directory that COPY may read and write files in [default: none]
    #[arg(long, env = "QUORATE_FILE_DIR", value_name = "DIR")]
    pub(crate) file_dir: Option<PathBuf>,
    /// Form of the log on standard error [default: text]
    #[arg(long, env = "QUORATE_LOG_FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: a level, or targets with levels such as `info,quorate=debug` [default: info]
    #[arg(long, env = "QUORATE_LOG_FILTER", value_name = "FILTER")]
    pub(crate) log_filter: Option<String>,
    /// Memory of queries, memtables and caches together [default: half of the machine's]
    #[arg(long, env = "QUORATE_MEMORY_LIMIT", value_name = "SIZE")]
    pub(crate) memory_limit: Option<ByteSize>,
    /// How long a query may run [default: 5m]
    #[arg(long, env = "QUORATE_QUERY_TIMEOUT", value_name = "TIME")]
    pub(crate) query_timeout: Option<Span>,
    /// Streams per scan and operator; 0 is one per core [default: 0]
    #[arg(long, env = "QUORATE_QUERY_PARTITIONS", value_name = "N")]
    pub(crate) query_partitions: Option<usize>,
    /// Whether aggregates are answered from the summaries of segments [default: true]
    #[arg(long, env = "QUORATE_QUERY_SUMMARIES", value_name = "BOOL")]
    pub(crate) query_summaries: Option<bool>,
    /// How long a write may wait for its shards [default: 30s]
    #[arg(long, env = "QUORATE_WRITE_DEADLINE", value_name = "TIME")]
    pub(crate) write_deadline: Option<Span>,
    /// Memtable of a shard that is flushed [default: 64MiB]
    #[arg(long, env = "QUORATE_FLUSH_SIZE", value_name = "SIZE")]
    pub(crate) flush_size: Option<ByteSize>,
    /// Log that makes memtables be flushed [default: 1GiB]
    #[arg(long, env = "QUORATE_FLUSH_LOG_SIZE", value_name = "SIZE")]
    pub(crate) flush_log_size: Option<ByteSize>,
    /// Age of a row in a memtable that makes it be flushed [default: 10m]
    #[arg(long, env = "QUORATE_FLUSH_AGE", value_name = "TIME")]
    pub(crate) flush_age: Option<Span>,
    /// Size of a file of the log [default: 64MiB]
    #[arg(long, env = "QUORATE_WAL_SEGMENT_SIZE", value_name = "SIZE")]
    pub(crate) wal_segment_size: Option<ByteSize>,
    /// Shards of a new data directory [default: 8]
    #[arg(long, env = "QUORATE_SHARDS", value_name = "N")]
    pub(crate) shards: Option<u32>,
    /// Name of this node in a cluster; without it, a node of its own
    #[arg(long, env = "QUORATE_NODE_NAME", value_name = "NAME")]
    pub(crate) node_name: Option<String>,
    /// Where this node listens for the others [default: 127.0.0.1:7001]
    #[arg(long, env = "QUORATE_CLUSTER_ADDR", value_name = "ADDR")]
    pub(crate) cluster_addr: Option<SocketAddr>,
    /// What the others are told to dial, if it is another address: host and port
    #[arg(long, env = "QUORATE_ADVERTISE_ADDR", value_name = "ADDR")]
    pub(crate) advertise_addr: Option<String>,
    /// Addresses of nodes to ask for the cluster
    #[arg(long, env = "QUORATE_SEEDS", value_name = "A,B,C", value_delimiter = ',')]
    pub(crate) seeds: Option<Vec<String>>,
    /// Nodes with empty directories that found a new cluster together [default: 3]
    #[arg(long, env = "QUORATE_BOOTSTRAP_EXPECT", value_name = "N")]
    pub(crate) bootstrap_expect: Option<u32>,
    /// The file's `[cluster]`.
    #[arg(skip)]
    pub(crate) cluster: Option<ClusterTable>,
}

/// An address, which may be written as the clients of the same environment variable write it: `http://host:port`.
fn http_addr(text: &str) -> Result<SocketAddr, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if !scheme.eq_ignore_ascii_case("http") {
        return Err(format!("{scheme} is not served; write host:port, or http://host:port"));
    }
    let addr = rest.strip_suffix('/').unwrap_or(rest);
    addr.parse().map_err(|e: std::net::AddrParseError| format!("{e}, such as 127.0.0.1:8086"))
}

fn http_addr_of_file<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    http_addr(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

/// What the file alone can say of a cluster.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterTable {
    /// How this node dials others, by name, where that is not what they say themselves.
    #[serde(default)]
    pub(crate) peers: BTreeMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_http_may_be_a_url() {
        let want: SocketAddr = "127.0.0.1:8086".parse().unwrap();
        for text in ["127.0.0.1:8086", "http://127.0.0.1:8086", "HTTP://127.0.0.1:8086/"] {
            assert_eq!(http_addr(text), Ok(want), "{text}");
        }
        for text in ["https://127.0.0.1:8086", "http://127.0.0.1:8086/x", "127.0.0.1", ""] {
            assert!(http_addr(text).unwrap_err().contains(':'), "{text}");
        }
        let layer: Layer = toml::from_str("http_addr = \"http://127.0.0.1:8086\"").unwrap();
        assert_eq!(layer.http_addr, Some(want));
        assert_eq!(toml::from_str::<Layer>("").unwrap().http_addr, None);
    }
}
