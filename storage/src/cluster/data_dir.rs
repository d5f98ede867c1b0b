//! The data directory: what is where, whose it is, and that one process alone uses it.
//!
//! ```text
//! LOCK                        held (flock) while a process uses the directory
//! node.json                   format version, cluster id, id of this disk; in a cluster the node's place
//! wal/                        the node's shared log
//! meta/manifest/              Raft snapshots of the metadata group
//! shards/<n>/manifest/        manifests of shard n: <index>.manifest, the newest two
//! shards/<n>/segments/        its segments, <BLAKE3>.parquet
//! ```
//!
//! `node.json` is the first file that is made: synced under a temporary name, renamed, and the directory synced. A
//! crash before the rename leaves an empty directory in all but the lock; a log or shards without `node.json` are
//! somebody else's and refused, as are shards without a log: an empty one would begin a new cluster over their rows.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use quorate_wal::{Disk, DiskLock, OpenMode};
use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::Error;
use crate::store::ShardId;

/// Newest format of the directory that this version reads and the one that it writes.
pub(crate) const FORMAT: u32 = 1;

/// Whose directory it is. Identities are 128 random bits, hexadecimal in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeIdentity {
    /// The cluster; 0 before the node belongs to one.
    pub(crate) cluster: u128,
    /// The disk.
    pub(crate) node: u128,
}

/// How a directory is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// By a node of its own.
    Alone,
    /// By a node of a cluster.
    Clustered,
}

#[derive(Clone, Serialize, Deserialize)]
struct NodeFile {
    format: u32,
    /// Absent while the node waits for a cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    node: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
}

impl NodeFile {
    fn identity(&self) -> Result<NodeIdentity, String> {
        let id = |text: &str| {
            u128::from_str_radix(text, 16).map_err(|e| format!("node.json is damaged: {e}"))
        };
        let cluster = self.cluster.as_deref().map_or(Ok(0), id)?;
        Ok(NodeIdentity { cluster, node: id(&self.node)? })
    }
}

/// An open data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    file: Mutex<(NodeIdentity, Option<Place>)>,
    lock: Mutex<Option<Box<dyn DiskLock>>>,
}

impl DataDir {
    /// Locks the directory and reads whose it is; makes a new one where nothing is.
    pub(crate) fn open(disk: Arc<dyn Disk>, root: &Path, usage: Use) -> Result<Self, Error> {
        let refuse = |what: String| Error::DataDir { path: root.to_path_buf(), what };
        disk.create_dir_all(root).map_err(|e| refuse(format!("cannot be made: {e}")))?;
        let lock = disk.lock(&root.join("LOCK")).map_err(|e| {
            refuse(match e.kind() {
                io::ErrorKind::WouldBlock => "is in use by another process".to_owned(),
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    format!("is not writable: {e}")
                }
                _ => format!("cannot be locked: {e}"),
            })
        })?;
        let path = root.join("node.json");
        let there = disk.exists(&path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        let holds = |name: &str| {
            disk.exists(&root.join(name)).map_err(|e| refuse(format!("cannot be read: {e}")))
        };
        // The log is made before anything beside it.
        let beside = holds("meta")? || holds("shards")?;
        let log = if holds("wal")? {
            disk.list(&root.join("wal")).map_err(|e| refuse(format!("cannot be read: {e}")))?
        } else {
            Vec::new()
        };
        if beside && !(there && log.iter().any(|name| name != "LOCK")) {
            let missing = if there { "its log (wal)" } else { "node.json" };
            return Err(refuse(format!(
                "holds rows, but {missing} is missing; restore it from a backup"
            )));
        }
        let file = if there {
            let bytes = read_file(&*disk, &path)
                .map_err(|e| refuse(format!("node.json cannot be read: {e}")))?;
            let file = parse(&bytes).map_err(refuse)?;
            check_use(&file, usage).map_err(refuse)?;
            file
        } else {
            if !log.is_empty() {
                return Err(refuse("holds a log but no node.json".to_owned()));
            }
            let cluster: Option<u128> = (usage == Use::Alone).then(rand::random);
            let file = NodeFile {
                format: FORMAT,
                cluster: cluster.map(|cluster| format!("{cluster:032x}")),
                node: format!("{:032x}", rand::random::<u128>()),
                place: None,
            };
            write_node_file(&*disk, root, &file)?;
            file
        };
        let identity = file.identity().map_err(refuse)?;
        let file = Mutex::new((identity, file.place));
        Ok(Self { disk, root: root.to_path_buf(), file, lock: Mutex::new(Some(lock)) })
    }

    /// The node's place in its cluster; none before it has joined one, and for a node of its own.
    pub(crate) fn place(&self) -> Option<Place> {
        self.file.lock().1.clone()
    }

    /// Takes a place in a cluster, durably; once, and for good.
    pub(crate) fn join(&self, cluster: u128, place: &Place) -> Result<(), Error> {
        let mut known = self.file.lock();
        assert!(known.0.cluster == 0 && cluster != 0, "a node joins one cluster, once");
        let file = NodeFile {
            format: FORMAT,
            cluster: Some(format!("{cluster:032x}")),
            node: format!("{:032x}", known.0.node),
            place: Some(place.clone()),
        };
        write_node_file(&*self.disk, &self.root, &file)?;
        known.0.cluster = cluster;
        known.1 = Some(place.clone());
        Ok(())
    }

    /// Lets other processes use it.
    pub(crate) fn release(&self) {
        *self.lock.lock() = None;
    }

    /// Whose it is.
    pub(crate) fn identity(&self) -> NodeIdentity {
        self.file.lock().0
    }

    /// The disk that it is on.
    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The log.
    pub(crate) fn wal(&self) -> PathBuf {
        self.root.join("wal")
    }

    /// The metadata group's snapshots.
    pub(crate) fn meta(&self) -> PathBuf {
        self.root.join("meta").join("manifest")
    }

    /// A shard's manifests.
    pub(crate) fn manifests(&self, shard: ShardId) -> PathBuf {
        self.root.join("shards").join(shard.0.to_string()).join("manifest")
    }

    /// A shard's segments.
    pub(crate) fn segments(&self, shard: ShardId) -> PathBuf {
        self.root.join("shards").join(shard.0.to_string()).join("segments")
    }
}

/// A directory of a single node is not taken into a cluster, and the other way round: their logs have other voters.
fn check_use(file: &NodeFile, usage: Use) -> Result<(), String> {
    match (usage, &file.cluster, &file.place) {
        (Use::Clustered, Some(_), None) => Err("belongs to a node of its own: start it without \
             --node-name, or begin the cluster with an empty directory"
            .to_owned()),
        (Use::Alone, None, _) => Err("waits for a cluster: start it with --node-name, \
             --cluster-addr and --seeds, or take an empty directory"
            .to_owned()),
        (Use::Alone, Some(_), Some(place)) => {
            let name = place.members.iter().find(|m| m.id == place.id).map(|m| m.name.as_str());
            Err(format!(
                "belongs to node {} of a cluster: start it with --node-name, --cluster-addr and \
                 --seeds",
                name.unwrap_or("?")
            ))
        }
        (Use::Alone, Some(_), None)
        | (Use::Clustered, None, _)
        | (Use::Clustered, Some(_), Some(_)) => Ok(()),
    }
}

fn write_node_file(disk: &dyn Disk, root: &Path, file: &NodeFile) -> Result<(), Error> {
    let mut text =
        serde_json::to_vec_pretty(file).map_err(|e| Error::Internal(format!("node.json: {e}")))?;
    text.push(b'\n');
    write_file(disk, root, "node.json", &text).map_err(|e| Error::DataDir {
        path: root.to_path_buf(),
        what: format!("is not writable: {e}"),
    })
}

fn parse(bytes: &[u8]) -> Result<NodeFile, String> {
    // The version first: a newer format may have other fields.
    let value: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|e| format!("node.json is damaged: {e}"))?;
    let format = value.get("format").and_then(serde_json::Value::as_u64);
    match format {
        Some(f) if f > u64::from(FORMAT) => {
            return Err(format!("has format {f}; this version reads up to {FORMAT}"));
        }
        Some(_) => {}
        None => return Err("node.json is damaged: it names no format".to_owned()),
    }
    let file: NodeFile =
        serde_json::from_value(value).map_err(|e| format!("node.json is damaged: {e}"))?;
    file.identity()?;
    Ok(file)
}

/// All of a small file.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let len = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Makes or replaces `dir/name` in one step: after a crash the file is the old one or the new one, whole.
pub(crate) fn write_file(disk: &dyn Disk, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (path, temporary) = (dir.join(name), dir.join(format!("{name}.tmp")));
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let file = disk.open(&temporary, OpenMode::CreateNew)?;
    let written = file.write_all_at(bytes, 0).and_then(|()| file.sync_data());
    drop(file);
    if let Err(e) = written {
        // Space that a failed write holds is given back; the error that counts is the first.
        let _ = disk.remove(&temporary);
        return Err(e);
    }
    disk.rename(&temporary, &path)?;
    disk.sync_dir(dir)
}
