//! Measures peers and the own disk twice a second, gives the groups the timers that fit, and leadership away while the disk
//! stalls.
//!
//! It begins before the groups do and works while the store waits for others.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use quorate_consensus::{Node, Receiver as _, Timers};
use quorate_wal::{Wal, WalStatus};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::placement;
use crate::cluster::{
    ClusterOptions, Member, NodeService, Pace, Pacer, PeerReply, PeerRequest, Peers,
};

/// How often peers are asked.
const EVERY: Duration = Duration::from_millis(500);
/// Longest answer that is waited for.
const PING_DEADLINE: Duration = Duration::from_secs(8);
/// Questions to one peer that wait for an answer, at most.
const PINGS_MAX: usize = 8;
/// A write of the log that takes longer stalls.
const STALL: Duration = Duration::from_secs(1);
/// How long a disk must have been well before the node may lead again.
const WELL_FOR: Duration = Duration::from_secs(10);
/// How often it is told that the others refuse this node.
const TELL_EVERY: Duration = Duration::from_mins(1);
/// Between two attempts to give leadership away.
const LEAVE_EVERY: Duration = Duration::from_secs(2);

/// Starts the task.
pub(super) fn start(
    wal: &Wal,
    cluster: &ClusterOptions,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let mut timing = Timing {
        wal: wal.clone(),
        cluster: cluster.clone(),
        pacer: Pacer::default(),
        disk: DiskWatch::default(),
        pings: JoinSet::new(),
        under_way: BTreeMap::new(),
        refusals: BTreeMap::new(),
        told: None,
        left: None,
    };
    let cancel = cancel.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = timing.run() => {}
        }
    });
}

/// What came of a question.
enum Answer {
    /// It came, and took so long, the peer's sync included.
    Took(Duration),
    /// The peer does not talk to this node.
    Refused(String),
    None,
}

struct Timing {
    wal: Wal,
    cluster: ClusterOptions,
    pacer: Pacer,
    disk: DiskWatch,
    /// Who was asked, and what came of it.
    pings: JoinSet<(u64, Answer)>,
    under_way: BTreeMap<u64, usize>,
    /// Who does not talk to this node any more, and why.
    refusals: BTreeMap<u64, String>,
    /// When it was last told that nobody does.
    told: Option<Instant>,
    /// When leadership was last given away.
    left: Option<Instant>,
}

impl Timing {
    async fn run(&mut self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    fn service(&self) -> &Arc<NodeService> {
        &self.cluster.service
    }

    async fn look(&mut self) {
        let now = Instant::now();
        while let Some(answer) = self.pings.try_join_next() {
            let Ok((peer, answer)) = answer else { continue };
            *self.under_way.entry(peer).or_insert(1) -= 1;
            match answer {
                Answer::Took(took) => {
                    self.refusals.remove(&peer);
                    self.pacer.note(peer, now, took);
                }
                Answer::Refused(why) => {
                    self.refusals.insert(peer, why);
                }
                Answer::None => {}
            }
        }
        let own = self.service().identity().node;
        let members = self.service().members();
        let peers: Vec<Node> = members.iter().filter(|m| m.id != own).map(Member::node).collect();
        let ids: Vec<u64> = peers.iter().map(|peer| peer.node).collect();
        self.pacer.keep(&ids);
        self.refusals.retain(|peer, _| ids.contains(peer));
        self.see_expulsion(now, ids.len());
        if self.pacer.decide(now, peers.len()) {
            let Timers { heartbeat, election_max, .. } = self.pacer.timers();
            tracing::info!(
                "answers of the other nodes take another time now: heartbeats every {heartbeat:?}, elections after \
                 {election_max:?} at most"
            );
        }
        let timers = self.pacer.timers();
        let status = self.wal.status();
        let disk_stalls = self.disk.look(now, &status, timers.election_max);
        self.service().set_pace(Pace {
            timers: timers.clone(),
            sync_micros: status.sync_micros_recent_p99.max(status.pending_micros),
            disk_stalls,
        });
        self.ask(&peers);
        self.set_timers(&timers).await;
        if disk_stalls {
            self.leave(now).await;
        }
    }

    /// A node that a majority of the others does not talk to any more serves nothing: what it knows gets old.
    fn see_expulsion(&mut self, now: Instant, peers: usize) {
        let why = self.refusals.values().next().filter(|_| self.refusals.len() * 2 > peers);
        if let Some(why) = why
            && self.told.is_none_or(|at| now.duration_since(at) > TELL_EVERY)
        {
            tracing::error!("this node serves nothing any more, the others refuse it: {why}");
            self.told = Some(now);
        }
        self.cluster.service.set_expelled(why.cloned());
    }

    /// Asks all peers for a sign of life.
    fn ask(&mut self, peers: &[Node]) {
        for peer in peers {
            let under_way = self.under_way.entry(peer.node).or_default();
            if *under_way >= PINGS_MAX {
                continue;
            }
            *under_way += 1;
            let asking = Peers::new(Arc::clone(&self.cluster.transport));
            let peer = peer.clone();
            self.pings.spawn(async move {
                let begun = Instant::now();
                let answer = asking.ask(&peer, &PeerRequest::Ping, &[], PING_DEADLINE).await;
                let answer = match answer {
                    Ok((PeerReply::Pong { sync_micros }, _)) => {
                        Answer::Took(begun.elapsed() + Duration::from_micros(sync_micros))
                    }
                    Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                        Answer::Refused(e.to_string())
                    }
                    Ok(_) | Err(_) => Answer::None,
                };
                (peer.node, answer)
            });
        }
    }

    async fn set_timers(&self, timers: &Timers) {
        let groups = self.service().groups();
        let changed = groups.iter().filter(|group| group.timers() != *timers);
        let changes = changed.map(|group| async move {
            if let Err(e) = group.set_timers(timers.clone()).await {
                tracing::warn!("the timers of group {} stay as they are: {e}", group.id().0);
            }
        });
        join_all(changes).await;
    }

    /// Gives away what this node leads.
    async fn leave(&mut self, now: Instant) {
        if self.left.is_some_and(|at| now.duration_since(at) < LEAVE_EVERY) {
            return;
        }
        self.left = Some(now);
        let groups = self.service().groups();
        let led = groups.iter().filter(|group| group.is_leader());
        join_all(led.map(|group| placement::hand_over_to_any(&self.cluster, group))).await;
    }
}

/// Sees whether the disk stalls, or is full: either way the node had better not lead.
#[derive(Debug, Default)]
struct DiskWatch {
    /// When it was last seen to stall.
    stalled: Option<Instant>,
}

impl DiskWatch {
    /// Whether the disk stalls, or did so a moment ago.
    fn look(&mut self, now: Instant, status: &WalStatus, election_max: Duration) -> bool {
        let pending = Duration::from_micros(status.pending_micros);
        let usual = Duration::from_micros(status.sync_micros_recent_p50);
        if pending > STALL || usual > election_max / 2 || status.disk_full {
            if self.stalled.is_none() && status.disk_full {
                tracing::warn!("the disk is full: leadership goes to other nodes");
            } else if self.stalled.is_none() {
                tracing::warn!(
                    "the disk stalls (the write under way takes {pending:?} so far, half of the last ones took more \
                     than {usual:?}): leadership goes to other nodes"
                );
            }
            self.stalled = Some(now);
        }
        if self.stalled.is_some_and(|at| now.duration_since(at) > WELL_FOR) {
            tracing::info!("the disk is well again");
            self.stalled = None;
        }
        self.stalled.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_stalls_until_it_has_been_well_for_a_while() {
        let mut disk = DiskWatch::default();
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let well = WalStatus { sync_micros_recent_p50: 2000, ..WalStatus::default() };
        let stuck = WalStatus { pending_micros: 1_500_000, ..well };
        let slow = WalStatus { sync_micros_recent_p50: 300_000, ..WalStatus::default() };
        let lease = Duration::from_millis(400);
        assert!(!disk.look(after(0), &well, lease));
        assert!(disk.look(after(1), &stuck, lease));
        assert!(disk.look(after(9), &well, lease));
        assert!(!disk.look(after(12), &well, lease));
        assert!(disk.look(after(13), &slow, lease));
        assert!(!disk.look(after(30), &well, lease));
        assert!(!disk.look(after(31), &slow, Duration::from_secs(1)), "slower timers allow for it");
        let full = WalStatus { disk_full: true, ..well };
        assert!(disk.look(after(32), &full, lease));
    }
}
