//! What a node of a cluster gets from its peers before a group starts: damaged entries of its log, and a manifest.
//!
//! Until its log is whole a replica abstains: it neither votes nor acknowledges anything, since it cannot tell what it
//! once did. What it holds is told to the others all the same, so that replicas whose logs are damaged in different
//! places mend each other.
//!
//! | what the peers have | what is done |
//! |---|---|
//! | the entry | its bytes are written where they were, if they are those that were appended |
//! | a manifest that covers it | the manifest is taken with its files, and the log begins behind it |
//! | all others have no such entry | it was never committed and never will be: it goes, and what follows it |
//! | not all answer | they are asked again; then the shard refuses service, and the other shards go on |
//!
//! This is protocol-aware recovery (Alagappan et al., FAST '18) outside of the protocol: a log is never cut because its
//! bytes are damaged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use quorate_consensus::Node;
use quorate_wal::{GroupId, LogPosition};
use tokio::time::sleep;

use super::ShardId;
use super::starting::{ROUND, ROUNDS, Starting, TELL_ROUNDS, blocking};
use crate::cluster::{Member, PeerReply, PeerRequest};
use crate::manifest::{Manifest, ManifestStore, ShardRecord, newest_of};
use crate::{Error, with_causes};

/// How long a peer may take to answer.
const ASK_DEADLINE: Duration = Duration::from_secs(5);

/// What the other nodes say of an entry.
enum Found {
    Copies(Vec<Bytes>),
    /// A manifest covers it.
    Purged,
    /// All others have answered, and none ever had it.
    Never,
    /// Somebody who may have it does not answer.
    Unknown(String),
}

/// The shard of a group; none for the metadata group.
fn shard_of(group: GroupId) -> Option<ShardId> {
    group.0.checked_sub(1).and_then(|shard| u32::try_from(shard).ok()).map(ShardId)
}

impl Starting {
    /// Makes a group's log whole again. Returns why it could not.
    pub(super) async fn mend_log(
        self: &Arc<Self>,
        group: GroupId,
    ) -> Result<Option<String>, Error> {
        let log = self.wal.group(group);
        let damaged = log.faulty().len();
        tracing::warn!("group {}: {damaged} entries of the log are damaged", group.0);
        let rounds = if group.0 == 0 { u32::MAX } else { ROUNDS };
        let mut waits_for = String::new();
        for round in 0..rounds {
            if round > 0 {
                sleep(ROUND).await;
            }
            while let Some(position) = log.faulty().first().copied() {
                let why = match self.look_for(group, position).await {
                    Found::Copies(copies) => self.mend_entry(group, position, copies).await?,
                    Found::Purged => self.begin_behind(group, position).await.err(),
                    Found::Never => {
                        self.accept_loss(group).await?;
                        None
                    }
                    Found::Unknown(why) => Some(Error::Exhausted(why)),
                };
                if let Some(why) = why {
                    waits_for = with_causes(&why);
                    break;
                }
            }
            if log.faulty().is_empty() {
                tracing::warn!("group {}: {damaged} damaged entries are mended", group.0);
                return Ok(None);
            }
            if round % TELL_ROUNDS == 1 {
                tracing::warn!("group {} abstains until its log is whole: {waits_for}", group.0);
            }
        }
        Ok(Some(format!(
            "{} entries of its log are damaged, and are not to be had from the other nodes: {waits_for}",
            log.faulty().len()
        )))
    }

    /// The other nodes of the cluster, as far as this one knows.
    fn others(&self) -> Vec<Node> {
        let (Some(cluster), Some(place)) = (&self.options.cluster, &self.place) else {
            return Vec::new();
        };
        let members = cluster.service.members();
        members.iter().filter(|m| m.id != place.id).map(Member::node).collect()
    }

    /// Whether the cluster is the one that was founded: no node came or went. Only then is it certain who may have
    /// acknowledged what.
    fn is_as_founded(&self) -> bool {
        let (Some(cluster), Some(place)) = (&self.options.cluster, &self.place) else {
            return false;
        };
        let members = cluster.service.members();
        members.len() == place.founders.len()
            && members.iter().all(|m| place.founders.iter().any(|f| f.id == m.id))
    }

    async fn ask_others(
        &self,
        request: &PeerRequest,
    ) -> Vec<(Node, std::io::Result<(PeerReply, Bytes)>)> {
        let Some(peers) = self.peers() else { return Vec::new() };
        let peers = &peers;
        join_all(self.others().into_iter().map(|node| async move {
            let answer = peers.ask(&node, request, &[], ASK_DEADLINE).await;
            (node, answer)
        }))
        .await
    }

    async fn look_for(&self, group: GroupId, position: LogPosition) -> Found {
        let asked = PeerRequest::Entry { group: group.0, position };
        let (mut copies, mut purged, mut trouble) = (Vec::new(), false, Vec::new());
        for (node, answer) in self.ask_others(&asked).await {
            match answer {
                Ok((PeerReply::Entry, bytes)) => copies.push(bytes),
                Ok((PeerReply::NoEntry { purged: covered }, _)) => purged |= covered,
                Ok((PeerReply::Refused(refusal), _)) => {
                    trouble.push(format!("{}: {}", node.name, refusal.into_error(group)));
                }
                Ok((reply, _)) => trouble.push(format!("{} answered {reply:?}", node.name)),
                Err(e) => trouble.push(format!("{}: {e}", node.name)),
            }
        }
        if !copies.is_empty() {
            Found::Copies(copies)
        } else if purged {
            Found::Purged
        } else if trouble.is_empty() && self.is_as_founded() {
            Found::Never
        } else if trouble.is_empty() {
            Found::Unknown(format!("no node has entry {}", position.index))
        } else {
            Found::Unknown(trouble.join("; "))
        }
    }

    /// Writes the first copy that is what was appended. Returns why none is.
    async fn mend_entry(
        &self,
        group: GroupId,
        position: LogPosition,
        copies: Vec<Bytes>,
    ) -> Result<Option<Error>, Error> {
        let log = self.wal.group(group);
        blocking(move || {
            let mut refused = None;
            for copy in copies {
                match log.mend(position, &copy) {
                    Ok(()) => return Ok(None),
                    Err(e) => refused = Some(Error::from(e)),
                }
            }
            Ok(refused)
        })
        .await
    }

    /// Lets the log begin behind an entry, once a manifest that covers it is here.
    async fn begin_behind(
        self: &Arc<Self>,
        group: GroupId,
        position: LogPosition,
    ) -> Result<(), Error> {
        let starting = Arc::clone(self);
        let own = blocking(move || starting.newest_manifest(group)).await?;
        match own.filter(|own| own.index >= position.index) {
            Some(own) => self.go_on_from(group, own),
            None => self.take_manifest(group, Some(position)).await,
        }
    }

    fn manifests(&self, group: GroupId) -> Result<ManifestStore, Error> {
        let disk = Arc::clone(self.dir.disk());
        match shard_of(group) {
            None => ManifestStore::open(disk, &self.dir.meta()),
            Some(shard) => ManifestStore::open(disk, &self.dir.manifests(shard)),
        }
    }

    /// Position of the newest manifest of a group that can be read.
    pub(super) fn newest_manifest(&self, group: GroupId) -> Result<Option<LogPosition>, Error> {
        let loaded = self.manifests(group)?.load()?;
        Ok(loaded.manifests.first().map(|(manifest, _)| manifest.position))
    }

    /// Whether a shard has no readable manifest that its log goes on from.
    pub(super) async fn lacks_manifest(self: &Arc<Self>, shard: ShardId) -> Result<bool, Error> {
        let group = crate::shard::group_of(shard);
        let starting = Arc::clone(self);
        let newest = blocking(move || starting.newest_manifest(group)).await?;
        Ok(self.purged(group) > newest)
    }

    /// Takes the newest manifest that a peer has, with its files; it covers at least `covers`. The log goes on from it.
    pub(super) async fn take_manifest(
        self: &Arc<Self>,
        group: GroupId,
        covers: Option<LogPosition>,
    ) -> Result<(), Error> {
        let Some(peers) = self.peers() else {
            return Err(Error::Corrupt("a node of its own has nobody to ask".to_owned()));
        };
        let (newest, trouble) = newest_of(&peers, &self.others(), group).await;
        let enough =
            |manifest: &Manifest| covers.is_none_or(|at| manifest.position.index >= at.index);
        let Some(manifest) = newest.filter(enough) else {
            return Err(Error::Corrupt(format!(
                "no other node that answers has a manifest that reaches as far as this log; {trouble}"
            )));
        };
        if let Some(shard) = shard_of(group) {
            let starting = Arc::clone(self);
            let files = blocking(move || starting.shard_files(shard)).await?;
            let record = ShardRecord::decode(&manifest.body)?;
            let segments: Vec<_> = record.version.iter().map(|s| Arc::clone(&s.meta)).collect();
            if let Some(fetcher) = &files.fetcher {
                fetcher.fetch_all(shard, &files, &segments).await?;
            }
        }
        let position = manifest.position;
        let starting = Arc::clone(self);
        blocking(move || starting.manifests(group)?.write(&manifest)).await?;
        tracing::warn!("group {}: another node's manifest of {position:?} is taken", group.0);
        self.go_on_from(group, position)
    }

    /// Lets the log begin behind a manifest. What stands in its place under another name was never committed.
    fn go_on_from(&self, group: GroupId, manifest: LogPosition) -> Result<(), Error> {
        let log = self.wal.group(group);
        if log.position_at(manifest.index).is_some_and(|own| own != manifest) {
            log.truncate_after(log.state().purged)?;
        }
        Ok(log.purge(manifest)?)
    }
}
