//! Replicas of one group in one process, each over its own log; they can be stopped, lose power, and come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_consensus::{
    Error, ErrorKind, Group, GroupId, GroupOptions, LogPosition, MemoryTransport, Node, ReplicaId,
    Role, Timers,
};
use quorate_wal::{Wal, WalOptions};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::held_disk::HeldDisk;
use crate::machine::{Command, Durable, Machine};

pub(crate) const GROUP: GroupId = GroupId(4);
/// Nothing takes this long, unless it never ends.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A replica that runs.
pub(crate) struct Replica {
    pub(crate) disk: HeldDisk,
    pub(crate) wal: Wal,
    pub(crate) machine: Arc<Machine>,
    pub(crate) group: Group,
}

/// What is left of a replica while it does not run.
struct Home {
    dir: TempDir,
    durable: Durable,
}

pub(crate) struct Cluster {
    pub(crate) transport: MemoryTransport,
    pub(crate) timers: Timers,
    homes: BTreeMap<u64, Home>,
    replicas: BTreeMap<u64, Replica>,
}

pub(crate) fn node(id: u64) -> Node {
    Node { node: id, name: format!("n{id}"), addr: format!("memory:{id}") }
}

pub(crate) fn nodes(ids: impl IntoIterator<Item = u64>) -> BTreeMap<ReplicaId, Node> {
    ids.into_iter().map(|id| (ReplicaId(id), node(id))).collect()
}

pub(crate) fn open_wal(disk: &HeldDisk, dir: &TempDir, node: u64) -> Wal {
    let options =
        WalOptions { segment_bytes: 1 << 20, ..WalOptions::new(dir.path(), 1, node.into()) };
    let (wal, recovery) = Wal::open(Arc::new(disk.clone()), options).unwrap();
    assert_eq!(recovery.lost, None);
    wal
}

impl Cluster {
    /// A cluster of `voters` voters, started and with a leader.
    pub(crate) async fn start(voters: u64) -> Self {
        Self::start_with(voters, Timers::default()).await
    }

    pub(crate) async fn start_with(voters: u64, timers: Timers) -> Self {
        let mut cluster = Self {
            transport: MemoryTransport::default(),
            timers,
            homes: BTreeMap::new(),
            replicas: BTreeMap::new(),
        };
        for id in 1..=voters {
            cluster.add(id).await;
        }
        cluster.group(1).bootstrap(nodes(1..=voters)).await.unwrap();
        cluster.leader().await;
        cluster
    }

    /// Starts a new replica, which is no member yet.
    pub(crate) async fn add(&mut self, id: u64) {
        let home = Home { dir: TempDir::new().unwrap(), durable: Durable::default() };
        self.homes.insert(id, home);
        self.restart(id).await;
    }

    /// Starts a replica over what it left behind.
    pub(crate) async fn restart(&mut self, id: u64) {
        let home = &self.homes[&id];
        let disk = HeldDisk::default();
        let wal = open_wal(&disk, &home.dir, id);
        let machine = Arc::new(Machine::open(Arc::clone(&home.durable)));
        let group = Group::start(GroupOptions {
            cluster_name: "test".to_owned(),
            group: GROUP,
            replica: ReplicaId(id),
            log: wal.group(GROUP),
            machine: Arc::clone(&machine) as _,
            transport: self.transport.clone().shared(),
            timers: self.timers.clone(),
        })
        .await
        .unwrap();
        self.transport.register(ReplicaId(id), group.clone());
        self.replicas.insert(id, Replica { disk, wal, machine, group });
    }

    /// Stops a replica; everything that it wrote stays.
    pub(crate) async fn stop(&mut self, id: u64) {
        let replica = self.replicas.remove(&id).unwrap();
        self.transport.unregister(GROUP, ReplicaId(id));
        replica.group.stop().await;
        replica.wal.close().unwrap();
    }

    /// Ends a replica at once; what its held disk had not synced is gone.
    pub(crate) async fn lose_power(&mut self, id: u64) {
        let replica = self.replicas.remove(&id).unwrap();
        self.transport.unregister(GROUP, ReplicaId(id));
        replica.disk.lose_power();
        replica.group.stop().await;
        // It is poisoned: the last sync failed.
        replica.wal.close().ok();
    }

    pub(crate) fn replica(&self, id: u64) -> &Replica {
        &self.replicas[&id]
    }

    pub(crate) fn group(&self, id: u64) -> Group {
        self.replicas[&id].group.clone()
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.replicas.keys().copied().collect()
    }

    /// Cuts or mends every link of a replica.
    pub(crate) fn isolate(&self, id: u64, cut: bool) {
        for other in self.homes.keys().copied().filter(|other| *other != id) {
            self.transport.cut(ReplicaId(id), ReplicaId(other), cut);
            self.transport.cut(ReplicaId(other), ReplicaId(id), cut);
        }
    }

    /// Who leads, once the replicas that run agree on it.
    pub(crate) async fn leader(&self) -> u64 {
        self.leader_among(&self.ids()).await
    }

    pub(crate) async fn leader_among(&self, ids: &[u64]) -> u64 {
        let agreed = || {
            let leader = self.replicas[&ids[0]].group.leader()?;
            let agree = ids.iter().all(|id| self.replicas[id].group.leader() == Some(leader));
            let leads = ids.contains(&leader.0) && self.replicas[&leader.0].group.is_leader();
            (agree && leads).then_some(leader.0)
        };
        eventually("a leader that all know", || agreed().is_some()).await;
        match agreed() {
            Some(leader) => leader,
            None => Box::pin(self.leader_among(ids)).await,
        }
    }

    /// Proposes to whoever leads among these, until it is accepted. The outcome must not be left open.
    pub(crate) async fn propose_among(&self, ids: &[u64], text: &str) -> LogPosition {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let leader = self.leader_among(ids).await;
            match propose(&self.group(leader), text).await {
                Ok(position) => return position,
                Err(e) => {
                    let again =
                        matches!(e.kind(), ErrorKind::NotLeader { .. } | ErrorKind::Unavailable);
                    assert!(again && Instant::now() < deadline, "proposing {text}: {e}");
                }
            }
        }
    }

    pub(crate) async fn propose(&self, text: &str) -> LogPosition {
        self.propose_among(&self.ids(), text).await
    }

    /// Waits until the replicas that run hold the same commands, this one the last, and returns them.
    pub(crate) async fn converge(&self, last: &str) -> Vec<Command> {
        let ids = self.ids();
        let same = || {
            let first = self.replicas[&ids[0]].machine.commands();
            let done = first.last().is_some_and(|(_, text)| text == last)
                && ids.iter().all(|id| self.replicas[id].machine.commands() == first);
            done.then_some(first)
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(commands) = same() {
                return commands;
            }
            assert!(Instant::now() < deadline, "replicas never held the same: {}", self.describe());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the replicas are at, for those who wait in vain.
    fn describe(&self) -> String {
        let describe = |id: u64| {
            let (commands, status) =
                (self.replicas[&id].machine.commands(), self.group(id).status());
            let last = commands.last();
            format!("\n{id}: {} commands, the last {last:?}; {status:?}", commands.len())
        };
        self.ids().into_iter().map(describe).collect()
    }

    /// Waits until a replica has a role.
    pub(crate) async fn role(&self, id: u64, role: Role) {
        let group = self.group(id);
        eventually("the role", || group.status().role == role).await;
    }

    pub(crate) async fn stop_all(mut self) {
        for id in self.ids() {
            self.stop(id).await;
        }
    }
}

/// Proposes and checks the reply.
pub(crate) async fn propose(group: &Group, text: &str) -> Result<LogPosition, Error> {
    let (position, reply) = group.propose(text.to_owned().into(), PATIENCE).await?;
    let reversed: String = text.chars().rev().collect();
    assert_eq!(reply, reversed);
    Ok(position)
}
