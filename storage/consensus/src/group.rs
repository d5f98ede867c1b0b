//! [`Group`]: one replica of one Raft group, started, asked, and stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
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
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::applier::Applier;
use crate::log::LogStore;
use crate::peers::Peers;
use crate::raft::{Command, Outcome, Raft, Reply, TypeConfig, position};
use crate::reads::{NoRead, Reads};
use crate::{Error, GroupStatus, Node, ReplicaId, Role, StateMachine, Timers, Transport};

/// How long a change of the membership may take.
const MEMBERSHIP_DEADLINE: Duration = Duration::from_secs(30);
/// How long the core may take to note a snapshot that is durable already.
const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(10);

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
    pub(crate) group: GroupId,
    pub(crate) replica: ReplicaId,
    timers: Timers,
    log: GroupLog,
    pub(crate) machine: Arc<dyn StateMachine>,
    pub(crate) raft: Raft,
    reads: Arc<Reads>,
    /// Until then, no part is taken in elections.
    gate: Option<Instant>,
    /// The log's last index at start: what may have been committed then.
    last_at_start: Option<u64>,
    /// Held while the snapshot is moved.
    moving: tokio::sync::Mutex<()>,
    /// Ends when the task that applies has ended.
    applier: Mutex<Option<oneshot::Receiver<()>>>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { group, replica, .. } = &*self.inner;
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
        let stopped = |what: &dyn fmt::Display| Error::Fatal { group, what: what.to_string() };
        let config = timers.config(&cluster_name).map_err(|e| stopped(&e))?;
        let state = log.state();
        let (applier, ended) =
            Applier::open(Arc::clone(&machine)).await.map_err(|e| stopped(&Chain(&e)))?;
        let peers = Peers { group, replica, transport, append_deadline: timers.append_deadline() };
        let store = LogStore::new(log.clone());
        let raft = Raft::build(replica.0, config, peers, store, applier)
            .await
            .map_err(|e| stopped(&Chain(&e)))?;
        raft.run();
        let voters = raft
            .with_raft_state(|state| {
                state.membership_state.effective().voter_ids().collect::<BTreeSet<_>>()
            })
            .await
            .map_err(|e| stopped(&e))?;

        // A replica that gave a vote or followed a leader before the restart has forgotten the lease that it confirmed.
        // Until that has run out it neither votes nor stands, lest a new leader be elected beside one who still trusts
        // it. The only voter of a group has confirmed itself alone, and one without a vote nobody.
        let alone = voters.len() == 1 && voters.contains(&replica.0);
        let gate = (state.vote.is_some() && !alone).then(|| Instant::now() + timers.gate());
        open_gate(&raft, gate, alone).await;
        let inner = Inner {
            group,
            replica,
            timers,
            log,
            machine,
            raft,
            reads: Arc::default(),
            gate,
            last_at_start: state.last.map(|last| last.index),
            moving: tokio::sync::Mutex::default(),
            applier: Mutex::new(Some(ended)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Makes a new group with these voters. A group that has a membership already is left alone.
    ///
    /// Call it on one of the voters, or on all of them with the same set.
    pub async fn bootstrap(&self, voters: BTreeMap<ReplicaId, Node>) -> Result<(), Error> {
        let alone = voters.len() == 1 && voters.contains_key(&self.inner.replica);
        let members: BTreeMap<_, _> = voters.into_iter().map(|(id, node)| (id.0, node)).collect();
        match self.inner.raft.initialize(members).await {
            Ok(()) if alone => self.elect().await,
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(RaftError::APIError(e @ InitializeError::NotInMembers(_))) => {
                Err(self.unavailable(e.to_string()))
            }
            Err(RaftError::Fatal(e)) => Err(self.fatal(&e)),
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
        // A replica that is stopping still takes commands for a moment, and forgets them.
        if let Err(e) = &self.inner.raft.metrics().borrow_watched().running_state {
            return Err(self.fatal(e));
        }
        let (reply, outcome) = oneshot::channel();
        let command = Command(Arc::from(&*command));
        let proposal = self.inner.raft.write(command).responder(Reply(reply));
        match timeout_at(deadline, proposal.into_future()).await {
            Err(_) => return Err(self.unavailable("it takes no commands now".to_owned())),
            Ok(Err(e)) => return Err(self.fatal(&e)),
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
        let inner = &self.inner;
        let round = inner.reads.join(&inner.raft, inner.timers.election_max * 2);
        let read = match timeout_at(deadline, round).await {
            Err(_) => return Err(self.unavailable("no quorum answered in time".to_owned())),
            Ok(Ok(read)) => read,
            Ok(Err(NoRead::NotLeader(leader))) => {
                return Err(Error::NotLeader { group: inner.group, leader });
            }
            Ok(Err(NoRead::NoQuorum(what))) => return Err(self.unavailable(what)),
            Ok(Err(NoRead::Stopped(what))) => {
                return Err(Error::Fatal { group: inner.group, what });
            }
        };
        self.applied_until(read.index, deadline).await?;
        Ok(read)
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
        self.inner.group
    }

    /// Who leads, if known.
    pub fn leader(&self) -> Option<ReplicaId> {
        self.inner.raft.metrics().borrow_watched().current_leader.map(ReplicaId)
    }

    /// Whether this replica leads, as far as it knows: it may have been replaced without having heard of it.
    pub fn is_leader(&self) -> bool {
        self.inner.raft.is_leader()
    }

    /// Where it stands.
    pub fn status(&self) -> GroupStatus {
        let inner = &self.inner;
        let last = inner.log.state();
        let metrics = inner.raft.metrics().borrow_watched().clone();
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
            group: inner.group,
            replica: inner.replica,
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
        let raft = &self.inner.raft;
        let _moving = self.inner.moving.lock().await;
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
        let Inner { group, replica, raft, timers, .. } = &*self.inner;
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
        raft.trigger().transfer_leader(to.0).await.map_err(|e| self.fatal(&e))?;
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
        self.inner.raft.trigger().elect(!alone).await.map_err(|e| self.fatal(&e))
    }

    /// Stops the replica; its log and state stay. On return the state machine is no longer called.
    pub async fn stop(&self) {
        if let Err(e) = self.inner.raft.shutdown().await {
            tracing::warn!(group = self.inner.group.0, error = %e, "a stopping replica failed");
        }
        let applier = self.inner.applier.lock().take();
        if let Some(applier) = applier {
            // Nothing is ever sent: an error is the end.
            applier.await.ok();
        }
    }
}

impl Group {
    async fn change_membership(&self, change: ChangeMembers<u64, Node>) -> Result<(), Error> {
        let changing = self.inner.raft.change_membership(change, false);
        match tokio::time::timeout(MEMBERSHIP_DEADLINE, changing).await {
            Err(_) => Err(self.unknown("the membership change was not committed".to_owned())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(e))) => self.outcome(Err(e)).map(|_| ()),
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
        let mut metrics = self.inner.raft.metrics();
        loop {
            {
                let now = metrics.borrow_and_update();
                if reached(&now) {
                    return Ok(());
                }
                if let Err(e) = &now.running_state {
                    return Err(self.fatal(e));
                }
            }
            match timeout_at(deadline, metrics.changed()).await {
                Err(_) => return Err(self.unavailable(what.to_owned())),
                Ok(Err(_)) => return Err(self.fatal("its core has ended")),
                Ok(Ok(())) => {}
            }
        }
    }

    /// Refuses what the log would refuse, before Raft counts on it.
    pub(crate) fn check_space(&self) -> Result<(), Error> {
        let Inner { group, log, .. } = &*self.inner;
        log.admit().map_err(|source| Error::Log { group: *group, source })
    }

    pub(crate) fn check_gate(&self) -> Result<(), Error> {
        match self.inner.gate {
            Some(gate) if Instant::now() < gate => {
                Err(self.unavailable("the replica has just restarted".to_owned()))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn not_leader(&self, forward: &ForwardToLeader<TypeConfig>) -> Error {
        let group = self.inner.group;
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
        Error::Unavailable { group: self.inner.group, what }
    }

    fn unknown(&self, what: String) -> Error {
        Error::Unknown { group: self.inner.group, what }
    }

    pub(crate) fn fatal(&self, what: &(impl fmt::Display + ?Sized)) -> Error {
        Error::Fatal { group: self.inner.group, what: what.to_string() }
    }
}

/// Lets the replica stand for election: now, or once its gate is open.
async fn open_gate(raft: &Raft, gate: Option<Instant>, alone: bool) {
    let Some(gate) = gate else {
        raft.runtime_config().elect(true);
        if alone {
            // Nobody else can be elected: no reason to wait for a tick.
            raft.trigger().elect(false).await.ok();
        }
        return;
    };
    let raft = raft.clone();
    tokio::spawn(async move {
        tokio::time::sleep_until(gate).await;
        raft.runtime_config().elect(true);
    });
}

/// An error and its causes on one line.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
