//! What a shard finds on disk at start: the newest manifest that the log goes on from, its files, and no others.
//!
//! ```text
//! newest manifest readable, log covers it ──▶ use it
//! damaged or missing: the one before it, if the log still covers it ──▶ use that one, and say so
//! none: the log from its first entry, if nothing of it was purged
//! otherwise: the shard refuses service and names the remedy
//! ```
//!
//! Files that neither generation names were made by jobs that had not ended, or replaced by jobs that had: they are
//! collected. A job that had not ended is in the log (or listed in the manifest) and makes its files again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quorate_segment::SegmentMeta;

use super::machine::{ShardFiles, file_name, open_segment};
use crate::manifest::{Loaded, Manifest, ShardRecord};
use crate::scan::OpenSegment;
use crate::store::ShardId;
use crate::version::{FileHash, LiveSegment, SegmentPin};
use crate::{Error, LogPosition, with_causes};

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The manifest to go on from, with its hash.
    pub(crate) current: Option<(Manifest, [u8; 32])>,
    /// Its body.
    pub(crate) record: ShardRecord,
    /// Position of the readable manifest before it.
    pub(crate) previous: Option<LogPosition>,
    /// Its segments, open.
    pub(crate) open: BTreeMap<FileHash, Arc<OpenSegment>>,
    /// Pins of the generations on disk, oldest first.
    pub(crate) generations: Vec<Vec<Arc<SegmentPin>>>,
    /// Orphans that were removed.
    pub(crate) orphans: usize,
}

/// Reads a shard's directory. `purged` is the last position that its log no longer holds. Where losses are accepted,
/// `accept_loss` holds the membership to go on with if no manifest can tell it. Blocks on the disk.
pub(crate) fn recover(
    shard: ShardId,
    files: &ShardFiles,
    purged: Option<LogPosition>,
    accept_loss: Option<&Bytes>,
) -> Result<Recovered, Error> {
    let loaded = files.manifests.load()?;
    for (path, what) in &loaded.damaged {
        tracing::error!("shard {}: manifest {} {what}", shard.0, path.display());
    }
    let mut recovered = choose(shard, files, loaded, purged, accept_loss)?;
    open_all(shard, files, &mut recovered, accept_loss.is_some())?;
    recovered.orphans = collect_orphans(files, &recovered)?;
    if recovered.orphans > 0 {
        tracing::info!("shard {}: {} files of unfinished jobs removed", shard.0, recovered.orphans);
    }
    Ok(recovered)
}

/// Picks the manifest to go on from.
fn choose(
    shard: ShardId,
    files: &ShardFiles,
    loaded: Loaded,
    purged: Option<LogPosition>,
    accept_loss: Option<&Bytes>,
) -> Result<Recovered, Error> {
    let damaged = !loaded.damaged.is_empty();
    let mut generations = Vec::new();
    for (manifest, hash) in loaded.manifests {
        let record = ShardRecord::decode(&manifest.body)?;
        generations.push((manifest, hash, record));
    }
    let pins_of = |record: &ShardRecord| -> Vec<Arc<SegmentPin>> {
        record.version.iter().map(|s| files.pins.pin(&s.meta)).collect()
    };
    let mut recovered = Recovered {
        generations: generations.iter().rev().map(|(_, _, record)| pins_of(record)).collect(),
        previous: generations.get(1).map(|(manifest, _, _)| manifest.position),
        ..Recovered::default()
    };
    let mut newest = generations.into_iter().next();
    let covered = newest.as_ref().map(|(manifest, _, _)| manifest.position);
    if purged > covered {
        let Some(membership) = accept_loss else {
            let what = if damaged { "is damaged" } else { "is missing" };
            return Err(needs_repair(
                shard,
                &files.remedy,
                &format!("its newest manifest {what} and the log before it was purged"),
            ));
        };
        let Some(position) = purged else { return Ok(recovered) };
        tracing::error!(
            "shard {}: what its log held between {covered:?} and {position:?} is given up",
            shard.0
        );
        if newest.is_none() {
            set_aside(shard, files)?;
        }
        newest = Some(give_up_until(shard, files, newest, position, membership)?);
    } else if damaged {
        tracing::warn!("shard {} goes on from its manifest of {covered:?} and the log", shard.0);
    }
    if let Some((manifest, hash, record)) = newest {
        recovered.current = Some((manifest, hash));
        recovered.record = record;
    }
    Ok(recovered)
}

/// The manifest (or an empty one) with its position moved to where the log begins.
fn give_up_until(
    shard: ShardId,
    files: &ShardFiles,
    newest: Option<(Manifest, [u8; 32], ShardRecord)>,
    position: LogPosition,
    membership: &Bytes,
) -> Result<(Manifest, [u8; 32], ShardRecord), Error> {
    let (membership, previous, record) = newest.map_or_else(
        // Without a membership the group would wait for a leader for ever.
        || (membership.clone(), None, ShardRecord::default()),
        |(manifest, hash, record)| (manifest.membership, Some(hash), record),
    );
    let group = u64::from(shard.0) + 1;
    let manifest = Manifest { group, position, membership, previous, body: record.encode()? };
    let hash = files.manifests.write(&manifest)?;
    Ok((manifest, hash, record))
}

/// Moves the segments that no manifest describes any more out of the way, for whoever wants to look into them.
fn set_aside(shard: ShardId, files: &ShardFiles) -> Result<(), Error> {
    let lost = files.segments.with_file_name("lost");
    let io = |action, source| Error::Io { action, path: lost.clone(), source };
    files.disk.create_dir_all(&lost).map_err(|e| io("make", e))?;
    let names = files.disk.list(&files.segments).map_err(|e| io("list", e))?;
    for name in &names {
        let (from, to) = (files.segments.join(name), lost.join(name));
        files.disk.rename(&from, &to).map_err(|e| io("move to", e))?;
    }
    files.disk.sync_dir(&lost).map_err(|e| io("sync", e))?;
    tracing::error!("shard {}: {} segments are in {}", shard.0, names.len(), lost.display());
    Ok(())
}

/// Opens all segments of the manifest.
fn open_all(
    shard: ShardId,
    files: &ShardFiles,
    recovered: &mut Recovered,
    accept_loss: bool,
) -> Result<(), Error> {
    let mut lost: Vec<LiveSegment> = Vec::new();
    for segment in recovered.record.version.iter() {
        // Who accepts losses wants to read what is left: every block of it is looked at.
        let opened = open_segment(files, segment).and_then(|open| {
            if accept_loss {
                open.reader.verify()?;
            }
            Ok(open)
        });
        match opened {
            Ok(open) => {
                recovered.open.insert(segment.meta.file_hash, open);
            }
            Err(e) if accept_loss => {
                tracing::error!(
                    "shard {}: segment {} with {} rows of table {} is given up: {}",
                    shard.0,
                    segment.file_name(),
                    segment.meta.rows,
                    segment.table().0,
                    with_causes(&e)
                );
                lost.push(segment.clone());
            }
            Err(e) => {
                let (name, why) = (segment.file_name(), with_causes(&e));
                let text = format!("segment {name} cannot be used: {why}");
                return Err(needs_repair(shard, &files.remedy, &text));
            }
        }
    }
    if lost.is_empty() {
        return Ok(());
    }
    let version = &mut recovered.record.version;
    for segments in version.segments.values_mut() {
        segments.retain(|s| !lost.iter().any(|l| l.name() == s.name()));
    }
    version.segments.retain(|_, segments| !segments.is_empty());
    if let Some((manifest, hash)) = &mut recovered.current {
        manifest.previous = Some(*hash);
        manifest.body = recovered.record.encode()?;
        *hash = files.manifests.write(manifest)?;
    }
    Ok(())
}

/// The segments of the newest readable manifest that cannot be opened. Blocks on the disk.
pub(crate) fn damaged_segments(files: &ShardFiles) -> Result<Vec<Arc<SegmentMeta>>, Error> {
    let loaded = files.manifests.load()?;
    let Some((newest, _)) = loaded.manifests.into_iter().next() else { return Ok(Vec::new()) };
    let record = ShardRecord::decode(&newest.body)?;
    let damaged = record.version.iter().filter(|s| open_segment(files, s).is_err());
    Ok(damaged.map(|s| Arc::clone(&s.meta)).collect())
}

/// Removes every file of the segment directory that no generation names.
fn collect_orphans(files: &ShardFiles, recovered: &Recovered) -> Result<usize, Error> {
    let named: BTreeSet<String> = recovered
        .generations
        .iter()
        .flatten()
        .map(|pin| file_name(&pin.meta().file_hash))
        .collect();
    let io = |action, source| Error::Io { action, path: files.segments.clone(), source };
    let mut orphans = 0;
    for name in files.disk.list(&files.segments).map_err(|e| io("list", e))? {
        if !named.contains(&name) {
            files.disk.remove(&files.segments.join(&name)).map_err(|e| io("clean", e))?;
            orphans += 1;
        }
    }
    Ok(orphans)
}

/// What an operator can do about damage that the node cannot mend itself.
#[derive(Clone, Debug)]
pub(crate) enum Remedy {
    /// A node of its own, with this directory.
    Repair(PathBuf),
    /// A node of a cluster.
    Replace,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repair(root) => write!(
                f,
                "restore the data directory from a backup, or give up what is lost with `quorate \
                 repair --accept-loss --data-dir {}`",
                root.display()
            ),
            Self::Replace => f.write_str(
                "start this node again while the others run, or put one with an empty data \
                 directory in its place with `quorate cluster replace`",
            ),
        }
    }
}

/// The error of a shard that serves nothing until an operator has decided.
pub(crate) fn needs_repair(shard: ShardId, remedy: &Remedy, what: &str) -> Error {
    Error::Corrupt(format!("shard {} refuses service: {what}; {remedy}", shard.0))
}
