//! The state machine of the metadata group: catalog, routing, nodes, cluster key.
//!
//! Small and rarely changed, so every manifest holds all of it. Readers take the published [`MetaState`] without a lock
//! on apply. A new table gets its first routing record by the same entry that makes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use quorate_consensus::{Applied, Fatal, Snapshot, StateMachine};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::meta_versions::{STATE_VERSION, decode_state};
use super::routing::PendingRouting;
use super::{Member, Routing};
use crate::catalog::{Catalog, CatalogCommand, CatalogReply, OptionsChange, TableOptions};
use crate::manifest::{Manifest, ManifestStore};
use crate::shard::Remedy;
use crate::store::ShardId;
use crate::{ColumnId, Error, LogPosition, TableId, with_causes};

/// Version of the encoding of commands; the first byte.
const META_VERSION: u8 = 1;
/// Routing records of a table at most: every entry of its rows names the slices of all of them.
const ROUTING_RECORDS_MAX: usize = 128;

/// What an entry of the metadata group asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum MetaCommand {
    /// The first entry of a cluster; a later one changes nothing.
    Bootstrap {
        /// Signs handles and tickets.
        cluster_key: [u8; 32],
        /// Number of shards.
        shards: u32,
    },
    /// Changes the catalog.
    Catalog(CatalogCommand),
    /// Keeps ids that shards know of from being given again, after entries that gave them were lost.
    Reserve(KnownIds),
    /// The nodes that founded the cluster; once there are nodes, it changes nothing.
    Found(Vec<Member>),
    /// Takes a node in; its id is the entry's index. With `replaces`, that node is removed.
    AddNode {
        /// The node; its id is not looked at.
        member: Member,
        /// Id of the one that it stands in for.
        replaces: Option<u64>,
    },
    /// Removes a node: its replicas lose their votes, and it is not listened to any more.
    RemoveNode(u64),
    /// Begins a change of a table's routing; its epoch is the entry's index. Another retention is in force at once.
    BeginRouting {
        /// The table.
        table: TableId,
        /// Start of the first slice that may be routed anew: that behind the last row.
        first_slice: i64,
        /// What changes.
        change: OptionsChange,
    },
    /// Puts a change of routing in force, after all shards were fenced to its epoch.
    ConfirmRouting {
        /// The table.
        table: TableId,
        /// Which change: once it is confirmed, to repeat this changes nothing.
        epoch: u64,
        /// The slice behind the last row; `None` gives the change up: there is no such slice.
        first_slice: Option<i64>,
    },
}

/// A node, as the metadata group keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    /// The node.
    pub(crate) member: Member,
    /// It is kept to know the node again if it comes back.
    pub(crate) removed: bool,
}

/// Ids that are in use: as many as there are rows under them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownIds {
    /// The highest column id of each table.
    pub(crate) columns: BTreeMap<TableId, ColumnId>,
}

impl KnownIds {
    /// Adds a table's column.
    pub(crate) fn add(&mut self, table: TableId, column: ColumnId) {
        let highest = self.columns.entry(table).or_insert(column);
        *highest = column.max(*highest);
    }

    /// Whether a catalog would give one of them again.
    pub(crate) fn is_ahead_of(&self, catalog: &Catalog) -> bool {
        self.columns.iter().any(|(table, column)| {
            let known = catalog.tables.get(table);
            table.0 >= catalog.id_next || known.is_some_and(|t| column.0 >= t.column_id_next)
        })
    }
}

/// What it did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum MetaReply {
    /// The cluster is bootstrapped.
    Done,
    /// The catalog's answer.
    Catalog(CatalogReply),
    /// The node has this id.
    Node(u64),
    /// Nothing was changed; why.
    Refused(String),
    /// Nothing was changed: the command was made for another state than the one it met.
    Stale,
}

/// The metadata as of one log position. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct MetaState {
    /// Databases, tables, columns.
    pub(crate) catalog: Arc<Catalog>,
    /// Which shard holds what.
    pub(crate) routing: Arc<Routing>,
    /// Signs handles and tickets; `None` before the bootstrap.
    pub(crate) cluster_key: Option<[u8; 32]>,
    /// Nodes by id, those that were removed included; none on a node of its own.
    pub(crate) nodes: Arc<BTreeMap<u64, NodeRecord>>,
}

impl MetaState {
    /// Applies the command of log entry `index`; pure.
    fn apply(&mut self, index: u64, command: MetaCommand) -> MetaReply {
        match command {
            MetaCommand::Bootstrap { cluster_key, shards } => {
                if self.cluster_key.is_none() {
                    self.cluster_key = Some(cluster_key);
                    let shards = (0..shards).map(ShardId).collect();
                    self.routing = Arc::new(Routing { shards, ..Routing::default() });
                    Arc::make_mut(&mut self.catalog).apply(
                        index,
                        CatalogCommand::CreateDatabase {
                            name: "main".to_owned(),
                            if_not_exists: true,
                        },
                    );
                }
                MetaReply::Done
            }
            MetaCommand::Catalog(command) => {
                let reply = Arc::make_mut(&mut self.catalog).apply(index, command);
                if let CatalogReply::Changed { .. } = reply {
                    self.follow_catalog(index, &reply);
                }
                MetaReply::Catalog(reply)
            }
            MetaCommand::Reserve(known) => {
                if known.columns.is_empty() {
                    // Readers of the catalog need not look at it again.
                    return MetaReply::Done;
                }
                let catalog = Arc::make_mut(&mut self.catalog);
                for (table, column) in known.columns {
                    catalog.id_next = catalog.id_next.max(table.0 + 1);
                    if let Some(table) = catalog.tables.get_mut(&table) {
                        let next = table.column_id_next.max(column.0 + 1);
                        Arc::make_mut(table).column_id_next = next;
                    }
                }
                MetaReply::Done
            }
            MetaCommand::Found(founders) => {
                if self.nodes.is_empty() {
                    let record =
                        |member: Member| (member.id, NodeRecord { member, removed: false });
                    self.nodes = Arc::new(founders.into_iter().map(record).collect());
                }
                MetaReply::Done
            }
            MetaCommand::AddNode { member, replaces } => self.add_node(index, member, replaces),
            MetaCommand::RemoveNode(id) => self.remove_node(id),
            MetaCommand::BeginRouting { table, first_slice, change } => {
                self.begin_routing(index, table, first_slice, &change)
            }
            MetaCommand::ConfirmRouting { table, epoch, first_slice } => {
                self.confirm_routing(index, table, epoch, first_slice)
            }
        }
    }

    fn begin_routing(
        &mut self,
        index: u64,
        table: TableId,
        first_slice: i64,
        change: &OptionsChange,
    ) -> MetaReply {
        let after = match self.catalog.options_after(table, change) {
            Ok(after) => after,
            Err(rejection) => return MetaReply::Catalog(CatalogReply::Rejected(rejection)),
        };
        let options = self.catalog.tables.get(&table).map(|t| t.options.clone());
        let Some(options) = options else { return MetaReply::Stale };
        let records = self.routing.tables.get(&table).map_or(0, Vec::len);
        if records >= ROUTING_RECORDS_MAX {
            return MetaReply::Refused(format!(
                "time_slice and spread of a table change {} times at most; a new table begins anew",
                ROUTING_RECORDS_MAX - 1
            ));
        }
        let pending = PendingRouting {
            epoch: index,
            first_slice,
            slice_ns: after.time_slice_ns,
            spread: after.spread,
        };
        if !Arc::make_mut(&mut self.routing).begin(table, pending) {
            return MetaReply::Stale;
        }
        if after.retention_ns != options.retention_ns {
            let options = TableOptions { retention_ns: after.retention_ns, ..options };
            Arc::make_mut(&mut self.catalog).put_options(index, table, options);
        }
        MetaReply::Done
    }

    /// The table's columns count as changed with its slices: what the log says of a table is replaced by what is newer.
    fn confirm_routing(
        &mut self,
        index: u64,
        table: TableId,
        epoch: u64,
        first_slice: Option<i64>,
    ) -> MetaReply {
        let Some(options) = self.catalog.tables.get(&table).map(|t| t.options.clone()) else {
            return MetaReply::Stale;
        };
        let confirmed = Arc::make_mut(&mut self.routing).confirm(table, epoch, first_slice);
        let Some(PendingRouting { slice_ns, spread, .. }) = confirmed else {
            return MetaReply::Stale;
        };
        if first_slice.is_some() {
            let options = TableOptions { time_slice_ns: slice_ns, spread, ..options };
            Arc::make_mut(&mut self.catalog).put_options(index, table, options);
        }
        MetaReply::Done
    }

    fn add_node(&mut self, index: u64, member: Member, replaces: Option<u64>) -> MetaReply {
        let nodes = Arc::make_mut(&mut self.nodes);
        let known = nodes.values().find(|n| n.member.disk == member.disk);
        if let Some(known) = known {
            return if known.removed {
                MetaReply::Refused(format!(
                    "this disk was node {} and was removed; start it with an empty data directory",
                    known.member.name
                ))
            } else {
                MetaReply::Node(known.member.id)
            };
        }
        let gone = |n: &NodeRecord| n.removed || replaces == Some(n.member.id);
        if nodes.values().any(|n| n.member.name == member.name && !gone(n)) {
            return MetaReply::Refused(format!(
                "there is a node {} already; `quorate cluster replace` puts a new disk in its place",
                member.name
            ));
        }
        if let Some(old) = replaces {
            match nodes.get_mut(&old) {
                Some(node) if !node.removed => node.removed = true,
                Some(_) | None => {
                    return MetaReply::Refused(format!("there is no node with id {old}"));
                }
            }
        }
        nodes.insert(index, NodeRecord { member: Member { id: index, ..member }, removed: false });
        MetaReply::Node(index)
    }

    fn remove_node(&mut self, id: u64) -> MetaReply {
        let nodes = Arc::make_mut(&mut self.nodes);
        let left = nodes.values().filter(|n| !n.removed && n.member.id != id).count();
        match nodes.get_mut(&id) {
            Some(node) if !node.removed && left == 0 => {
                MetaReply::Refused(format!("{} is the last node", node.member.name))
            }
            Some(node) => {
                node.removed = true;
                MetaReply::Done
            }
            None => MetaReply::Refused(format!("there is no node with id {id}")),
        }
    }

    /// Makes the routing record of a new table, and forgets those of dropped ones.
    fn follow_catalog(&mut self, epoch: u64, reply: &CatalogReply) {
        if let CatalogReply::Changed { table: Some(id), .. } = reply
            && let Some(table) = self.catalog.tables.get(id)
        {
            if !self.routing.tables.contains_key(id) {
                let options = &table.options;
                Arc::make_mut(&mut self.routing).add_table(
                    epoch,
                    *id,
                    options.time_slice_ns,
                    options.spread,
                );
            }
            return;
        }
        let catalog = &self.catalog;
        if self.routing.tables.keys().any(|t| !catalog.tables.contains_key(t)) {
            Arc::make_mut(&mut self.routing).retain(|t| catalog.tables.contains_key(t));
        }
    }
}

/// A command as it goes into the log.
pub(crate) fn encode(command: &MetaCommand) -> Result<Bytes, Error> {
    postcard::to_extend(command, vec![META_VERSION])
        .map(Bytes::from)
        .map_err(|e| Error::Internal(format!("cannot encode a metadata command: {e}")))
}

/// Reads what [`encode`] made.
fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&META_VERSION, body)) => postcard::from_bytes(body).map_err(|e| e.to_string()),
        Some((version, _)) => Err(format!("version {version} is newer than {META_VERSION}")),
        None => Err("no bytes".to_owned()),
    }
}

/// A reply from the log.
pub(crate) fn decode_reply(bytes: &[u8]) -> Result<MetaReply, Error> {
    postcard::from_bytes(bytes)
        .map_err(|e| Error::Internal(format!("cannot decode a metadata reply: {e}")))
}

#[derive(Debug)]
struct Progress {
    state: MetaState,
    applied: Option<LogPosition>,
    membership: Bytes,
    /// The newest manifest and its hash.
    durable: Option<(Manifest, [u8; 32])>,
    commands_since: u64,
}

/// The metadata group's state machine and its manifests.
#[derive(Debug)]
pub(crate) struct MetaMachine {
    manifests: ManifestStore,
    progress: Mutex<Progress>,
    published: RwLock<MetaState>,
    /// Serialises the writing of manifests.
    writing: Mutex<()>,
    /// Why the process must end, once it must.
    failure: watch::Sender<Option<String>>,
}

impl MetaMachine {
    /// Loads the newest readable manifest. `purged` is the last position that the log no longer holds.
    pub(crate) fn open(
        manifests: ManifestStore,
        purged: Option<LogPosition>,
        remedy: &Remedy,
        failure: watch::Sender<Option<String>>,
    ) -> Result<Self, Error> {
        let loaded = manifests.load()?;
        for (path, what) in &loaded.damaged {
            tracing::error!("metadata manifest {} {what}", path.display());
        }
        let newest = loaded.manifests.into_iter().next();
        let covered = newest.as_ref().map(|(m, _)| m.position);
        if purged > covered {
            return Err(Error::Corrupt(format!(
                "the metadata group has no readable manifest that its log goes on from; {remedy}"
            )));
        }
        let mut progress = Progress {
            state: MetaState::default(),
            applied: None,
            membership: Bytes::new(),
            durable: None,
            commands_since: 0,
        };
        if let Some((manifest, hash)) = newest {
            progress.state = decode_state(&manifest.body)
                .map_err(|e| Error::Corrupt(format!("the metadata manifest: {e}")))?;
            progress.applied = Some(manifest.position);
            progress.membership = manifest.membership.clone();
            progress.durable = Some((manifest, hash));
        }
        let published = RwLock::new(progress.state.clone());
        let (progress, writing) = (Mutex::new(progress), Mutex::new(()));
        Ok(Self { manifests, progress, published, writing, failure })
    }

    /// The metadata as applied here.
    pub(crate) fn state(&self) -> MetaState {
        self.published.read().clone()
    }

    /// The metadata group's membership as applied here.
    pub(crate) fn membership(&self) -> Bytes {
        self.progress.lock().membership.clone()
    }

    /// Commands applied since the newest manifest.
    pub(crate) fn commands_since_manifest(&self) -> u64 {
        self.progress.lock().commands_since
    }

    /// Writes a manifest of what is applied now, if anything was applied since the last one; blocks on the disk.
    /// Returns the position of the manifest before it, up to which the log may be purged: the newest can be damaged.
    pub(crate) fn checkpoint(&self) -> Result<Option<LogPosition>, Error> {
        let _writing = self.writing.lock();
        let (manifest, commands) = {
            let progress = self.progress.lock();
            let Some(position) = progress.applied else { return Ok(None) };
            if progress.durable.as_ref().is_some_and(|(m, _)| m.position >= position) {
                return Ok(None);
            }
            let body = postcard::to_extend(&progress.state, vec![STATE_VERSION])
                .map_err(|e| Error::Internal(format!("cannot encode metadata: {e}")))?;
            let manifest = Manifest {
                group: 0,
                position,
                membership: progress.membership.clone(),
                previous: progress.durable.as_ref().map(|(_, hash)| *hash),
                body: body.into(),
            };
            (manifest, progress.commands_since)
        };
        let hash = self.manifests.write(&manifest)?;
        let mut progress = self.progress.lock();
        let before = progress.durable.replace((manifest, hash)).map(|(m, _)| m.position);
        progress.commands_since -= commands;
        Ok(before)
    }

    fn fatal(what: String) -> Fatal {
        Fatal { what, source: None }
    }
}

#[async_trait::async_trait]
impl StateMachine for MetaMachine {
    async fn durable(&self) -> Result<Snapshot, Fatal> {
        let progress = self.progress.lock();
        Ok(progress.durable.as_ref().map_or_else(Snapshot::default, |(manifest, _)| Snapshot {
            position: Some(manifest.position),
            membership: manifest.membership.clone(),
            manifest: manifest.body.clone(),
        }))
    }

    async fn apply(&self, entries: Vec<Applied>) -> Result<Vec<Bytes>, Fatal> {
        let mut progress = self.progress.lock();
        let mut replies = Vec::with_capacity(entries.len());
        for entry in entries {
            let reply = match &entry.command {
                None => Bytes::new(),
                Some(bytes) => {
                    let command: MetaCommand = decode(bytes).map_err(|e| {
                        Self::fatal(format!("metadata entry {}: {e}", entry.position.index))
                    })?;
                    let reply = progress.state.apply(entry.position.index, command);
                    progress.commands_since += 1;
                    postcard::to_stdvec(&reply)
                        .map_err(|e| Self::fatal(format!("cannot encode a reply: {e}")))?
                        .into()
                }
            };
            if let Some(membership) = entry.membership {
                progress.membership = membership;
            }
            progress.applied = Some(entry.position);
            replies.push(reply);
        }
        *self.published.write() = progress.state.clone();
        Ok(replies)
    }

    async fn install(&self, snapshot: Snapshot) -> Result<(), Fatal> {
        let state = decode_state(&snapshot.manifest).map_err(Self::fatal)?;
        let Some(position) = snapshot.position else { return Ok(()) };
        let manifest = Manifest {
            group: 0,
            position,
            membership: snapshot.membership.clone(),
            previous: None,
            body: snapshot.manifest,
        };
        let _writing = self.writing.lock();
        let hash = self.manifests.write(&manifest).map_err(|e| {
            // Nothing would start this replica again in a process that goes on.
            if e.is_io() {
                let what = format!("a leader's metadata: {}", with_causes(&e));
                self.failure.send_replace(Some(what));
            }
            Fatal { what: e.to_string(), source: Some(Box::new(e)) }
        })?;
        let mut progress = self.progress.lock();
        progress.state = state;
        progress.applied = Some(position);
        progress.membership = snapshot.membership;
        progress.durable = Some((manifest, hash));
        progress.commands_since = 0;
        *self.published.write() = progress.state.clone();
        Ok(())
    }
}

#[cfg(test)]
#[path = "meta_tests.rs"]
mod tests;
