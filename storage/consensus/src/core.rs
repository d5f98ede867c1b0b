//! [`Core`]: one run of openraft over a group's log and state machine.
//!
//! openraft copies its configuration when it is built, so other timers need another core: the group then runs the next
//! one over the same open log and state machine, which goes on from what is applied in memory. What the old core had
//! handed to the log is synced before the new one counts on it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use quorate_wal::{GroupId, GroupLog};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::applier::{Applier, Standing};
use crate::log::LogStore;
use crate::peers::Peers;
use crate::raft::Raft;
use crate::reads::Reads;
use crate::{Error, ReplicaId, StateMachine, Timers, Transport};

/// What every core of a replica is built over.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) cluster_name: String,
    pub(crate) group: GroupId,
    pub(crate) replica: ReplicaId,
    pub(crate) log: GroupLog,
    pub(crate) machine: Arc<dyn StateMachine>,
    pub(crate) transport: Arc<dyn Transport>,
    /// Where the state machine stands in memory.
    pub(crate) standing: Arc<Mutex<Standing>>,
}

/// How a core begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// After a start of the process: a lease that was confirmed is forgotten, and unsynced entries may be lost.
    Fresh,
    /// In the place of another core of this process, which led until now (or did not).
    InPlace {
        /// It goes on leading in its term: nothing of its log is lost.
        leads: bool,
        /// Until then, a lease that the old core confirmed may run.
        gate: Instant,
    },
}

/// One run of openraft.
pub(crate) struct Core {
    pub(crate) raft: Raft,
    pub(crate) reads: Arc<Reads>,
    pub(crate) timers: Timers,
    /// Until then, no part is taken in elections.
    pub(crate) gate: Option<Instant>,
    /// Another core takes over, or is about to.
    retired: AtomicBool,
    /// Ends when the task that applies has ended.
    applier: Mutex<Option<oneshot::Receiver<()>>>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("timers", &self.timers).finish_non_exhaustive()
    }
}

impl Core {
    /// Builds openraft and lets it run.
    pub(crate) async fn start(parts: &Parts, timers: Timers, begin: Begin) -> Result<Self, Error> {
        let Parts { cluster_name, group, replica, log, machine, transport, standing } = parts;
        let stopped =
            |what: &dyn fmt::Display| Error::Fatal { group: *group, what: what.to_string() };
        let leads = matches!(begin, Begin::InPlace { leads: true, .. });
        let config = timers.config(cluster_name, leads).map_err(|e| stopped(&e))?;
        let config = crate::timers::with_faults(config, log.faults());
        let voted = log.state().vote.is_some();
        let (applier, ended) = Applier::new(Arc::clone(machine), Arc::clone(standing));
        let peers = Peers {
            group: *group,
            replica: *replica,
            transport: Arc::clone(transport),
            append_deadline: timers.append_deadline(),
        };
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

        // A replica that gave a vote or followed a leader before it began anew has forgotten the lease that it
        // confirmed. Until that has run out it neither votes nor stands, lest a new leader be elected beside one who
        // still trusts it. The only voter of a group has confirmed itself alone, and one without a vote nobody.
        let alone = voters.len() == 1 && voters.contains(&replica.0);
        let gate = match begin {
            Begin::Fresh => Instant::now() + timers.gate(),
            Begin::InPlace { gate, .. } => gate,
        };
        let gate = (voted && !alone).then_some(gate);
        open_gate(&raft, gate, alone).await;
        Ok(Self {
            raft,
            reads: Arc::default(),
            timers,
            gate,
            retired: AtomicBool::new(false),
            applier: Mutex::new(Some(ended)),
        })
    }

    /// Whether what fails here should be tried on the core that takes over.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::SeqCst)
    }

    pub(crate) fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::SeqCst);
    }

    /// Ends it. On return the state machine is no longer called.
    pub(crate) async fn stop(&self, group: GroupId) {
        if let Err(e) = self.raft.shutdown().await {
            tracing::warn!(group = group.0, error = %e, "a stopping replica failed");
        }
        let applier = self.applier.lock().take();
        if let Some(applier) = applier {
            // Nothing is ever sent: an error is the end.
            applier.await.ok();
        }
    }
}

/// Waits until everything that was handed to the log is synced.
pub(crate) async fn sync(log: &GroupLog) -> Result<(), Error> {
    let failed = |source| Error::Log { group: log.id(), source };
    let (synced, wait) = oneshot::channel();
    let done = Box::new(move |result| {
        // Who waits may have been cancelled.
        drop(synced.send(result));
    });
    log.append(Vec::new(), done).map_err(failed)?;
    wait.await.unwrap_or(Err(quorate_wal::Error::Poisoned)).map_err(failed)
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
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn std::error::Error + 'static));

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
