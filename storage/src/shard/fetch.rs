//! [`Fetcher`]: segment files from other replicas, by hash.
//!
//! A file grows under `incoming/` as `<BLAKE3>.part`, and goes on there after a lost connection or a restart. Whole, its
//! hash is compared, it is synced and renamed to its place: a file under its name is right, or is found not to be when
//! it is read. Who has the file does not matter, so every member is asked in turn.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_consensus::{Node, Receiver as _};
use quorate_segment::SegmentMeta;
use quorate_wal::OpenMode;
use tokio::time::Instant;

use super::machine::{ShardFiles, file_name};
use crate::cluster::{Member, NodeService, PeerReply, PeerRequest, Peers};
use crate::manifest::{Manifest, newest_of};
use crate::store::ShardId;
use crate::version::FileHash;
use crate::{Error, blocking};

/// Bytes asked for at once. What of a piece has come is lost with a leader's offer that ends meanwhile, so that they are few
/// enough for slow links.
const PIECE_BYTES: u64 = 1 << 20;
const PIECE_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes per second of one shard: what a node serves beside must not starve.
const BYTES_PER_SECOND: f64 = (256 << 20) as f64;

/// Gets segment files from other replicas.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    peers: Peers,
    service: Arc<NodeService>,
}

/// A file that is being fetched.
struct Incoming<'a> {
    shard: ShardId,
    files: &'a ShardFiles,
    meta: &'a SegmentMeta,
    part: PathBuf,
}

impl Fetcher {
    pub(crate) fn new(peers: Peers, service: Arc<NodeService>) -> Self {
        Self { peers, service }
    }

    /// The newest manifest of a shard that another node has, and what the others answered instead.
    pub(crate) async fn newest_manifest(&self, shard: ShardId) -> (Option<Manifest>, String) {
        let own = self.service.identity().node;
        let members = self.service.members();
        let nodes: Vec<Node> = members.iter().filter(|m| m.id != own).map(Member::node).collect();
        newest_of(&self.peers, &nodes, super::group_of(shard)).await
    }

    /// Fetches those of the files that are not here. Returns how many came.
    pub(crate) async fn fetch_all(
        &self,
        shard: ShardId,
        files: &ShardFiles,
        segments: &[Arc<SegmentMeta>],
    ) -> Result<usize, Error> {
        let incoming = files.segments.with_file_name("incoming");
        let named: BTreeSet<FileHash> = segments.iter().map(|s| s.file_hash).collect();
        blocking::in_place(|| clear(files, &incoming, &named))?;
        let mut fetched = 0;
        for meta in segments {
            let name = file_name(&meta.file_hash);
            let path = files.segments.join(&name);
            let here = files.disk.exists(&path).map_err(|e| io("look for", &path, e))?;
            if !here {
                let part = incoming.join(format!("{name}.part"));
                self.fetch(&Incoming { shard, files, meta, part }).await?;
                fetched += 1;
            }
        }
        Ok(fetched)
    }

    /// Fetches a file again that is here and damaged, over what is here.
    pub(crate) async fn fetch_again(
        &self,
        shard: ShardId,
        files: &ShardFiles,
        meta: &SegmentMeta,
    ) -> Result<(), Error> {
        let incoming = files.segments.with_file_name("incoming");
        files.disk.create_dir_all(&incoming).map_err(|e| io("make", &incoming, e))?;
        let part = incoming.join(format!("{}.part", file_name(&meta.file_hash)));
        self.fetch(&Incoming { shard, files, meta, part }).await
    }

    async fn fetch(&self, incoming: &Incoming<'_>) -> Result<(), Error> {
        let own = self.service.identity().node;
        let mut trouble = Vec::new();
        for member in self.service.members().iter().filter(|m| m.id != own) {
            match self.fetch_from(&member.node(), incoming).await {
                Ok(()) => return Ok(()),
                Err(e) => trouble.push(format!("{}: {}", member.name, crate::with_causes(&e))),
            }
        }
        Err(Error::Exhausted(format!(
            "segment {} of shard {} cannot be fetched now: {}",
            file_name(&incoming.meta.file_hash),
            incoming.shard.0,
            trouble.join("; ")
        )))
    }

    async fn fetch_from(&self, from: &Node, incoming: &Incoming<'_>) -> Result<(), Error> {
        let begun = Instant::now();
        let mut came = 0_u64;
        let mut have = blocking::in_place(|| incoming.len())?;
        while have < incoming.meta.bytes {
            let asked = PeerRequest::Piece {
                shard: incoming.shard.0,
                hash: incoming.meta.file_hash,
                offset: have,
                len: PIECE_BYTES,
            };
            let answer = self.peers.ask(from, &asked, &[], PIECE_DEADLINE).await;
            let piece = match answer {
                Ok((PeerReply::Piece { .. }, piece)) if !piece.is_empty() => piece,
                Ok((PeerReply::Refused(refusal), _)) => {
                    let group = super::group_of(incoming.shard);
                    return Err(Error::Exhausted(refusal.into_error(group).to_string()));
                }
                Ok((reply, _)) => return Err(Error::Exhausted(format!("answered {reply:?}"))),
                Err(e) => return Err(Error::Exhausted(e.to_string())),
            };
            blocking::in_place(|| incoming.append(have, &piece))?;
            have += piece.len() as u64;
            came += piece.len() as u64;
            #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
            let due = Duration::from_secs_f64(came as f64 / BYTES_PER_SECOND);
            tokio::time::sleep_until(begun + due).await;
        }
        blocking::in_place(|| incoming.finish())
    }
}

impl Incoming<'_> {
    /// Bytes that came already.
    fn len(&self) -> Result<u64, Error> {
        let disk = &self.files.disk;
        if !disk.exists(&self.part).map_err(|e| io("look for", &self.part, e))? {
            return Ok(0);
        }
        let file = disk.open(&self.part, OpenMode::Read).map_err(|e| io("open", &self.part, e))?;
        file.len().map_err(|e| io("read", &self.part, e))
    }

    fn append(&self, at: u64, piece: &Bytes) -> Result<(), Error> {
        let disk = &self.files.disk;
        // A crash may have left it empty.
        let there = disk.exists(&self.part).map_err(|e| io("look for", &self.part, e))?;
        let mode = if there { OpenMode::ReadWrite } else { OpenMode::CreateNew };
        let file = disk.open(&self.part, mode).map_err(|e| io("open", &self.part, e))?;
        file.write_all_at(piece, at).map_err(|e| io("write", &self.part, e))
    }

    /// Compares the hash and moves the file to its place. One that is wrong goes: it is fetched anew.
    fn finish(&self) -> Result<(), Error> {
        let disk = &self.files.disk;
        let file =
            disk.open(&self.part, OpenMode::ReadWrite).map_err(|e| io("open", &self.part, e))?;
        let mut hasher = blake3::Hasher::new();
        let len = file.len().map_err(|e| io("read", &self.part, e))?;
        let mut at = 0;
        let mut buffer = vec![0; 1 << 20];
        while at < len {
            let take = usize::try_from((len - at).min(1 << 20)).unwrap_or(1 << 20);
            file.read_exact_at(&mut buffer[..take], at).map_err(|e| io("read", &self.part, e))?;
            hasher.update(&buffer[..take]);
            at += take as u64;
        }
        if hasher.finalize().as_bytes() != &self.meta.file_hash {
            drop(file);
            disk.remove(&self.part).map_err(|e| io("remove", &self.part, e))?;
            return Err(Error::Exhausted("what came has another hash".to_owned()));
        }
        file.sync_data().map_err(|e| io("sync", &self.part, e))?;
        drop(file);
        // The name that the file comes from, too: a rename of a file that was never made leaves nothing.
        let incoming = self.files.segments.with_file_name("incoming");
        disk.sync_dir(&incoming).map_err(|e| io("sync", &incoming, e))?;
        let path = self.files.segments.join(file_name(&self.meta.file_hash));
        disk.rename(&self.part, &path).map_err(|e| io("make", &path, e))?;
        disk.sync_dir(&self.files.segments).map_err(|e| io("sync", &self.files.segments, e))
    }
}

/// Removes what came of files that nobody asks for any more.
fn clear(files: &ShardFiles, incoming: &Path, named: &BTreeSet<FileHash>) -> Result<(), Error> {
    let disk = &files.disk;
    disk.create_dir_all(incoming).map_err(|e| io("make", incoming, e))?;
    let names: BTreeSet<String> = named.iter().map(|h| format!("{}.part", file_name(h))).collect();
    for name in disk.list(incoming).map_err(|e| io("list", incoming, e))? {
        if !names.contains(&name) {
            let path = incoming.join(&name);
            disk.remove(&path).map_err(|e| io("remove", &path, e))?;
        }
    }
    Ok(())
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> Error {
    Error::Io { action, path: path.to_path_buf(), source }
}
