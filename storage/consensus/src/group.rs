//! [`Group`]: one replica of one Raft group, started, asked, and stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{
    ClientWriteError, ForwardReason, ForwardToLeader, InitializeError, RaftError,
};
use openraft::{ChangeMembers, RaftMetrics};
use parking_lot::Mutex;
use quorate_wal::{GroupId, GroupLog, LogPosition};
use tokio::sync::{RwLock, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::applier::Standing;
use crate::core::{Begin, Chain, Core, Parts, sync};
use crate::log::begin_behind;
use crate::raft::{Command, Outcome, Reply, TypeConfig, position};
use crate::reads::NoRead;
use crate::{Error, Fatal, GroupStatus, Node, ReplicaId, Role, StateMachine, Timers, Transport};

/// How long a change of the membership may take.
const MEMBERSHIP_DEADLINE: Duration = Duration::from_secs(30);
/// How long the core may take to note a snapshot that is durable already.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(10);

/// How long a change of the timers waits for proposals that are under way.
const PROPOSALS_DRAIN: Duration = Duration::from_secs(2);

/// What a replica needs to run.
#[derive(Debug)]
pub struct GroupOptions {
    /// Name of the cluster, for messages.
    pub cluster_name: String,
    /// The group.
    pub group: GroupId,
    /// This replica.
    pub replica: ReplicaId,
    /// Its log.
    pub log: GroupLog,
    /// What it applies to.
    pub machine: Arc<dyn StateMachine>,
    /// How it reaches the others.
    pub transport: Arc<dyn Transport>,
    /// Raft's timers.
    pub timers: Timers,
}

/// One replica of one Raft group. Cheap to clone; it runs until [`Group::stop`].
///
/// Its tasks run on the Tokio runtime on which it was started.
#[derive(Clone)]
pub struct Group {
    pub(crate) inner: Arc<Inner>,
}

/// What the clones of a [`Group`] share.
pub(crate) struct Inner {
    pub(crate) parts: Parts,
    /// The one that runs now.
    cores: watch::Sender<Arc<Core>>,
    /// The log's last index at start: what may have been committed then.
    last_at_start: Option<u64>,
    /// Held while the snapshot is moved.
    moving: tokio::sync::Mutex<()>,
    /// Held (shared) by each proposal until its outcome is known, so that a change of the core may wait for them.
    proposing: RwLock<()>,
    /// Held while the core is changed; whether the group is stopped for good.
    changing: tokio::sync::Mutex<bool>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { group, replica, .. } = &self.inner.parts;
        f.debug_struct("Group")
            .field("group", group)
            .field("replica", replica)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// Starts the replica over what its log and state machine hold. Entries above the durable snapshot and up to the
    /// saved commit position are applied again before this returns.
    pub async fn start(options: GroupOptions) -> Result<Self, Error> {
        let GroupOptions { cluster_name, group, replica, log, machine, transport, timers } =
            options;
        let standing = Standing::durable(&*machine)
            .await
            .map_err(|e| Error::Fatal { group, what: Chain(&e).to_string() })?;
        let last_at_start = log.state().last.map(|last| last.index);
        let standing = Arc::new(Mutex::new(standing));
        let parts = Parts { cluster_name, group, replica, log, machine, transport, standing };
        let core = Core::start(&parts, timers, Begin::Fresh).await?;
        let inner = Inner {
            parts,
            cores: watch::Sender::new(Arc::new(core)),
            last_at_start,
            moving: tokio::sync::Mutex::default(),
            proposing: RwLock::default(),
            changing: tokio::sync::Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The core that runs now.
    pub(crate) fn core(&self) -> Arc<Core> {
        Arc::clone(&self.inner.cores.borrow())
    }

    /// Raft's timers here.
    pub fn timers(&self) -> Timers {
        self.core().timers.clone()
    }

    /// Changes Raft's timers at this replica, which goes on in its role and term. Proposals that are under way are
    /// waited for, a while; the outcome of those that take longer is unknown to who made them.
    pub async fn set_timers(&self, timers: Timers) -> Result<(), Error> {
        let Inner { parts, changing, .. } = &*self.inner;
        timers.config(&parts.cluster_name, false).map_err(|e| self.unavailable(e.to_string()))?;
        let stopped = changing.lock().await;
        if *stopped {
            return Err(self.fatal("it was stopped"));
        }
        let old = self.core();
        if old.timers == timers {
            return Ok(());
        }
        self.change_core(&old, timers, async { Ok(()) }).await
    }

    /// Puts the state machine back to where `replace` makes it stand durably, and applies the log from there again.
    /// The replica keeps its role and term. What `replace` refuses changes nothing; it must leave the state machine as
    /// it was then.
    pub async fn go_back(
        &self,
        replace: impl Future<Output = Result<(), Fatal>> + Send,
    ) -> Result<(), Error> {
        let Inner { parts, changing, .. } = &*self.inner;
        let stopped = changing.lock().await;
        if *stopped {
            return Err(self.fatal("it was stopped"));
        }
        let old = self.core();
        let replacing = async {
            let failed = |e: &(dyn std::error::Error + 'static)| {
                self.unavailable(format!("the state machine stays as it is: {}", Chain(e)))
            };
            replace.await.map_err(|e| failed(&e))?;
            let standing = Standing::durable(&*parts.machine).await.map_err(|e| failed(&e))?;
            if let Some(position) = standing.position() {
                let begun = begin_behind(&parts.log, position);
                begun.map_err(|source| Error::Log { group: parts.group, source })?;
            }
            *parts.standing.lock() = standing;
            Ok(())
        };
        self.change_core(&old, old.timers.clone(), replacing).await
    }

    /// Puts another core in the place of this one; `between` runs while there is none.
    async fn change_core(
        &self,
        old: &Core,
        timers: Timers,
        between: impl Future<Output = Result<(), Error>>,
    ) -> Result<(), Error> {
        let Inner { parts, cores, moving, proposing, .. } = &*self.inner;
        let _moving = moving.lock().await;
        // While one waits here, new proposals wait too.
        let _proposals = timeout(PROPOSALS_DRAIN, proposing.write()).await.ok();
        let leads = old.raft.is_leader();
        old.set_retired(true);
        old.stop(parts.group).await;
        let gate = Instant::now() + old.timers.gate();
        let begin = Begin::InPlace { leads, gate };
        let (changed, started) = match sync(&parts.log).await {
            Ok(()) => (between.await, Core::start(parts, timers, begin).await),
            Err(e) => (Ok(()), Err(e)),
        };
        match started {
            Ok(core) => {
                if leads {
                    // It takes commands once a quorum has answered it, which it would ask at its next heartbeat only.
                    core.raft.trigger().heartbeat().await.ok();
                }
                cores.send_replace(Arc::new(core));
                changed
            }
            Err(e) => {
                // Whoever waits for the next core is told that there is none.
                old.set_retired(false);
                cores.send_modify(|_| {});
                Err(e)
            }
        }
    }

    /// Makes a new group with these voters. A group that has a membership already is left alone.
    ///
    /// Call it on one of the voters, or on all of them with the same set.
    pub async fn bootstrap(&self, voters: BTreeMap<ReplicaId, Node>) -> Result<(), Error> {
        let alone = voters.len() == 1 && voters.contains_key(&self.inner.parts.replica);
        let members: BTreeMap<_, _> = voters.into_iter().map(|(id, node)| (id.0, node)).collect();
        loop {
            let core = self.core();
            match core.raft.initialize(members.clone()).await {
                Ok(()) if alone => return self.elect().await,
                Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => return Ok(()),
                Err(RaftError::APIError(e @ InitializeError::NotInMembers(_))) => {
                    return Err(self.unavailable(e.to_string()));
                }
                Err(RaftError::Fatal(_)) if core.is_retired() => {
                    self.next_core(&core, Instant::now() + MEMBERSHIP_DEADLINE).await?;
                }
                Err(RaftError::Fatal(e)) => return Err(self.fatal(&e)),
            }
        }
    }

    /// Proposes a command and waits until it is committed and applied here. Returns its place and the reply.
    ///
    /// Many proposals may wait at once: those that arrive while the log syncs share the next sync.
    pub async fn propose(
        &self,
        command: Bytes,
        deadline: Duration,
    ) -> Result<(LogPosition, Bytes), Error> {
        let deadline = Instant::now() + deadline;
        self.check_space()?;
        let Ok(_proposing) = timeout_at(deadline, self.inner.proposing.read()).await else {
            return Err(self.unavailable("it takes no commands now".to_owned()));
        };
        let core = self.core();
        // A replica that is stopping still takes commands for a moment, and forgets them.
        if let Err(e) = &core.raft.metrics().borrow_watched().running_state {
            return Err(self.ended(&core, e));
        }
        let (reply, outcome) = oneshot::channel();
        let command = Command(Arc::from(&*command));
        let proposal = core.raft.write(command).responder(Reply(reply));
        match timeout_at(deadline, proposal.into_future()).await {
            Err(_) => return Err(self.unavailable("it takes no commands now".to_owned())),
            Ok(Err(e)) => return Err(self.ended(&core, &e)),
            Ok(Ok(())) => {}
        }
        match timeout_at(deadline, outcome).await {
            Err(_) => Err(self.unknown("not committed before the deadline".to_owned())),
            Ok(Err(_)) => Err(self.unknown("the replica stopped".to_owned())),
            Ok(Ok(outcome)) => self.outcome(outcome),
        }
    }

    /// Takes a linearizable read index (shared by waiting callers) and waits until it is applied here.
    pub async fn read_index(&self, deadline: Duration) -> Result<LogPosition, Error> {
        let deadline = Instant::now() + deadline;
        let group = self.inner.parts.group;
        let read = loop {
            let core = self.core();
            if let Some(read) = self.alone_at(&core) {
                return Ok(read);
            }
            let round = core.reads.join(&core.raft, core.timers.election_max * 2);
            match timeout_at(deadline, round).await {
                Err(_) => return Err(self.unavailable("no quorum answered in time".to_owned())),
                Ok(Ok(read)) => break read,
                Ok(Err(NoRead::NotLeader(leader))) => {
                    return Err(Error::NotLeader { group, leader });
                }
                Ok(Err(NoRead::NoQuorum(what))) => return Err(self.unavailable(what)),
                Ok(Err(NoRead::Stopped(what))) if !core.is_retired() => {
                    return Err(Error::Fatal { group, what });
                }
                Ok(Err(NoRead::Stopped(_))) => self.next_core(&core, deadline).await?,
            }
        };
        self.applied_until(read.index, deadline).await?;
        Ok(read)
    }

    /// Where reads stand if nobody can know more: this replica is the only member of its group, leads it, and has applied its
    /// whole log. A write is acknowledged when it is applied, so that what is acknowledged shows here; and another member
    /// comes by entries of this very log, the first of which ends this. Nobody is asked, which saves a narrow query two changes
    /// of threads.
    fn alone_at(&self, core: &Core) -> Option<LogPosition> {
        let metrics = core.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let me = self.inner.parts.replica.0;
        let is_alone = membership.nodes().map(|(id, _)| *id).eq([me])
            && membership.get_joint_config().iter().all(|voters| voters.iter().eq([&me]));
        let leads = metrics.state == ServerState::Leader && metrics.running_state.is_ok();
        let applied = metrics.last_applied.as_ref().map(position)?;
        let log = self.inner.parts.log.state();
        let is_whole = log.last.or(log.purged) == Some(applied);
        (is_alone && leads && is_whole && !core.is_retired()).then_some(applied)
    }

    /// Waits until an entry (and all before it) is applied here.
    pub async fn wait_applied(&self, index: u64, deadline: Duration) -> Result<(), Error> {
        self.applied_until(index, Instant::now() + deadline).await
    }

    async fn applied_until(&self, index: u64, deadline: Instant) -> Result<(), Error> {
        let applied = |metrics: &RaftMetrics<TypeConfig>| {
            metrics.last_applied.is_some_and(|applied| applied.index() >= index)
        };
        self.wait(deadline, "the state machine lags", applied).await
    }

    /// Waits until the replica knows a leader and has applied what was committed when it started.
    pub async fn wait_ready(&self, deadline: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + deadline;
        // What was committed lies within what the log held; the leader may since have cut an uncommitted tail.
        let at_start = self.inner.last_at_start;
        let caught_up = |metrics: &RaftMetrics<TypeConfig>| {
            let committed = metrics.cluster_committed.map(|id| id.index());
            let applied = metrics.last_applied.map(|id| id.index());
            metrics.current_leader.is_some()
                && committed.is_some()
                && committed >= at_start.min(metrics.last_log_index)
                && applied >= at_start.min(metrics.last_log_index)
        };
        self.wait(deadline, "no leader, or not caught up", caught_up).await
    }

    /// The group.
    pub fn id(&self) -> GroupId {
        self.inner.parts.group
    }

    /// Who leads, if known.
    pub fn leader(&self) -> Option<ReplicaId> {
        self.core().raft.metrics().borrow_watched().current_leader.map(ReplicaId)
    }

    /// Whether this replica leads, as far as it knows: it may have been replaced without having heard of it.
    pub fn is_leader(&self) -> bool {
        self.core().raft.is_leader()
    }

    /// Where it stands.
    pub fn status(&self) -> GroupStatus {
        let parts = &self.inner.parts;
        let last = parts.log.state();
        let metrics = self.core().raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let (voters, learners) = membership
            .nodes()
            .map(|(id, node)| (ReplicaId(*id), node.clone()))
            .partition(|(id, _)| voters.contains(&id.0));
        let role = match metrics.state {
            _ if metrics.running_state.is_err() => Role::Stopped,
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Leader => Role::Leader,
            ServerState::Shutdown => Role::Stopped,
        };
        let matched = metrics.replication.into_iter().flatten();
        GroupStatus {
            group: parts.group,
            replica: parts.replica,
            role,
            term: metrics.current_term,
            leader: metrics.current_leader.map(ReplicaId),
            last: last.last.or(last.purged),
            committed: metrics.local_committed.as_ref().map(position),
            applied: metrics.last_applied.as_ref().map(position),
            snapshot: metrics.snapshot.as_ref().map(position),
            purged: metrics.purged.as_ref().map(position),
            voters,
            learners,
            matched: matched.filter_map(|(id, at)| Some((ReplicaId(id), position(&at?)))).collect(),
        }
    }

    /// Tells Raft that the state machine's durable snapshot moved, and purges the log up to `keep_after`
    /// (at most the snapshot's position).
    ///
    /// A leader purges what it still sends to a follower once that is done.
    pub async fn snapshot_moved(&self, keep_after: LogPosition) -> Result<(), Error> {
        let _moving = self.inner.moving.lock().await;
        let core = self.core();
        let raft = &core.raft;
        let deadline = Instant::now() + SNAPSHOT_DEADLINE;
        let noted = |metrics: &RaftMetrics<TypeConfig>| {
            metrics.snapshot.is_some_and(|snapshot| snapshot.index() >= keep_after.index)
        };
        loop {
            raft.trigger().snapshot().await.map_err(|e| self.fatal(&e))?;
            // A trigger is dropped while an earlier one is under way.
            let soon = deadline.min(Instant::now() + Duration::from_millis(100));
            match self.wait(soon, "the snapshot is not noted", noted).await {
                Err(Error::Unavailable { .. }) if Instant::now() < deadline => {}
                result => {
                    result?;
                    break;
                }
            }
        }
        raft.trigger().purge_log(keep_after.index).await.map_err(|e| self.fatal(&e))
    }

    /// Adds learners.
    pub async fn add_learners(&self, learners: BTreeMap<ReplicaId, Node>) -> Result<(), Error> {
        let learners = learners.into_iter().map(|(id, node)| (id.0, node)).collect();
        self.change_membership(ChangeMembers::AddNodes(learners)).await
    }

    /// Changes the voters by joint consensus; who goes is removed. New voters must be learners already, and should
    /// have caught up: from the first step on, a quorum of the new voters is needed too.
    pub async fn set_voters(&self, voters: BTreeSet<ReplicaId>) -> Result<(), Error> {
        let voters = voters.into_iter().map(|id| id.0).collect();
        self.change_membership(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    /// Hands leadership to a voter, and waits until it leads. No command is taken meanwhile.
    pub async fn transfer_leader(&self, to: ReplicaId) -> Result<(), Error> {
        let Parts { group, replica, .. } = &self.inner.parts;
        let core = self.core();
        let (raft, timers) = (&core.raft, &core.timers);
        let status = self.status();
        if status.role != Role::Leader {
            return Err(Error::NotLeader { group: *group, leader: status.leader });
        }
        if to == *replica {
            return Ok(());
        }
        if !status.voters.contains_key(&to) {
            return Err(self.unavailable(format!("replica {} has no vote", to.0)));
        }
        raft.trigger().transfer_leader(to.0).await.map_err(|e| self.ended(&core, &e))?;
        let leads = |metrics: &RaftMetrics<TypeConfig>| metrics.current_leader == Some(to.0);
        let patience = timers.election_max * 2;
        let what = "leadership was not taken over";
        let result = self.wait(Instant::now() + patience, what, leads).await;
        if result.is_err() && self.leader() == Some(*replica) {
            // The leader that offered its place takes no more commands. It falls silent until somebody is elected.
            raft.runtime_config().heartbeat(false);
            let changed = |metrics: &RaftMetrics<TypeConfig>| {
                metrics.current_leader != Some(replica.0) || metrics.current_term > status.term
            };
            let result = self.wait(Instant::now() + patience * 2, what, changed).await;
            raft.runtime_config().heartbeat(true);
            return result.and(Err(self.unavailable(what.to_owned())));
        }
        result
    }

    /// Starts an election now; it is lost while the others still hear a leader.
    pub async fn elect(&self) -> Result<(), Error> {
        self.check_gate()?;
        let voters = self.status().voters;
        let alone = voters.len() <= 1;
        let core = self.core();
        core.raft.trigger().elect(!alone).await.map_err(|e| self.ended(&core, &e))
    }

    /// Stops the replica; its log and state stay. On return the state machine is no longer called.
    pub async fn stop(&self) {
        let mut stopped = self.inner.changing.lock().await;
        *stopped = true;
        self.core().stop(self.inner.parts.group).await;
    }
}

impl Group {
    async fn change_membership(&self, change: ChangeMembers<u64, Node>) -> Result<(), Error> {
        let core = self.core();
        let changing = core.raft.change_membership(change, false);
        match timeout(MEMBERSHIP_DEADLINE, changing).await {
            Err(_) => Err(self.unknown("the membership change was not committed".to_owned())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(e))) => self.outcome(Err(e)).map(|_| ()),
            Ok(Err(RaftError::Fatal(_))) if core.is_retired() => {
                Err(self.unknown("the timers changed meanwhile".to_owned()))
            }
            Ok(Err(RaftError::Fatal(e))) => Err(self.fatal(&e)),
        }
    }

    fn outcome(&self, outcome: Outcome) -> Result<(LogPosition, Bytes), Error> {
        match outcome {
            Ok(done) => Ok((position(&done.log_id), done.data.into())),
            Err(ClientWriteError::ForwardToLeader(forward)) => Err(self.not_leader(&forward)),
            Err(ClientWriteError::LogEntryDiscarded(_)) => {
                Err(self.unknown("another replica leads now".to_owned()))
            }
            Err(ClientWriteError::ChangeMembershipError(e)) => Err(self.unavailable(e.to_string())),
            Err(ClientWriteError::PreconditionFailed(e)) => Err(self.unavailable(e.to_string())),
        }
    }

    /// Waits until the metrics have it so.
    async fn wait(
        &self,
        deadline: Instant,
        what: &str,
        reached: impl Fn(&RaftMetrics<TypeConfig>) -> bool + Send,
    ) -> Result<(), Error> {
        loop {
            let core = self.core();
            let mut metrics = core.raft.metrics();
            loop {
                {
                    let now = metrics.borrow_and_update();
                    if reached(&now) {
                        return Ok(());
                    }
                    if let Err(e) = &now.running_state {
                        if core.is_retired() {
                            break;
                        }
                        return Err(self.fatal(e));
                    }
                }
                match timeout_at(deadline, metrics.changed()).await {
                    Err(_) => return Err(self.unavailable(what.to_owned())),
                    Ok(Err(_)) if core.is_retired() => break,
                    Ok(Err(_)) => return Err(self.fatal("its core has ended")),
                    Ok(Ok(())) => {}
                }
            }
            self.next_core(&core, deadline).await?;
        }
    }

    /// Waits until another core runs in the place of this one.
    async fn next_core(&self, core: &Arc<Core>, deadline: Instant) -> Result<(), Error> {
        let mut cores = self.inner.cores.subscribe();
        let taken_over = |now: &Arc<Core>| !Arc::ptr_eq(now, core) || !core.is_retired();
        let next = timeout_at(deadline, cores.wait_for(taken_over)).await;
        match next.map(|next| next.map(|next| Arc::clone(&next))) {
            Err(_) => Err(self.unavailable("its timers are being changed".to_owned())),
            Ok(Ok(next)) if !Arc::ptr_eq(&next, core) => Ok(()),
            Ok(Ok(_) | Err(_)) => Err(self.fatal("its core has ended")),
        }
    }

    /// The error of a core that has ended: nothing was done, where another one takes over.
    pub(crate) fn ended(&self, core: &Core, what: &(impl fmt::Display + ?Sized)) -> Error {
        if core.is_retired() {
            return self.unavailable("its timers are being changed".to_owned());
        }
        self.fatal(what)
    }

    /// Refuses what the log would refuse, before Raft counts on it.
    pub(crate) fn check_space(&self) -> Result<(), Error> {
        let Parts { group, log, .. } = &self.inner.parts;
        log.admit().map_err(|source| Error::Log { group: *group, source })
    }

    pub(crate) fn check_gate(&self) -> Result<(), Error> {
        match self.core().gate {
            Some(gate) if Instant::now() < gate => {
                Err(self.unavailable("the replica has just restarted".to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn not_leader(&self, forward: &ForwardToLeader<TypeConfig>) -> Error {
        let group = self.inner.parts.group;
        match forward.reason {
            ForwardReason::LeaseExpired => {
                self.unavailable("the leader hears no quorum".to_owned())
            }
            ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
                Error::NotLeader { group, leader: forward.leader_id.map(ReplicaId) }
            }
        }
    }

    pub(crate) fn unavailable(&self, what: String) -> Error {
        Error::Unavailable { group: self.inner.parts.group, what }
    }

    fn unknown(&self, what: String) -> Error {
        Error::Unknown { group: self.inner.parts.group, what }
    }

    pub(crate) fn fatal(&self, what: &(impl fmt::Display + ?Sized)) -> Error {
        Error::Fatal { group: self.inner.parts.group, what: what.to_string() }
    }
}
