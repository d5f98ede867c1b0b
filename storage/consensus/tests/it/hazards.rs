//! What a restart must not break: log ids that are used twice, and leases that a replica confirmed and forgot.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_consensus::{ErrorKind, Group, ReplicaId, Timers};
use tokio::time::Instant;

use crate::cluster::{Cluster, eventually, propose};

/// Followers may commit entries that the leader has not synced. If it then loses power and came back as the leader of
/// the same term, it would use their log ids for other entries, which the followers take for the ones they have.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_lost_unsynced_entries_does_not_reuse_their_log_ids() {
    let mut cluster = Cluster::start(3).await;
    cluster.propose("before").await;
    cluster.converge("before").await;
    for round in 0..3 {
        let leader = cluster.leader().await;
        let replica = cluster.replica(leader);
        replica.disk.hold();
        // The followers are a quorum without the leader's disk.
        let text = format!("committed {round}");
        let committed = propose(&replica.group, &text).await.unwrap();
        eventually("the leader's sync", || replica.disk.is_syncing()).await;
        cluster.lose_power(leader).await;
        cluster.restart(leader).await;

        // If it believed to lead still, it would take this at the lost entry's index.
        let restarted = cluster.group(leader);
        let status = restarted.status();
        assert!(status.last.is_some_and(|last| last.index < committed.index), "nothing was lost");
        match restarted.propose("usurped".into(), Duration::from_secs(5)).await {
            Err(e) => assert!(!matches!(e.kind(), ErrorKind::Fatal), "{e}"),
            Ok((position, _)) => assert!(position.term > committed.term, "{position:?}"),
        }
        cluster.propose(&format!("after {round}")).await;
        let commands = cluster.converge(&format!("after {round}")).await;
        assert!(commands.contains(&(committed, text)), "an acknowledged command is lost");
        let by_index: BTreeMap<_, _> =
            commands.iter().map(|(position, text)| (position.index, text)).collect();
        assert_eq!(by_index.len(), commands.len(), "an index has one command");
    }
    cluster.stop_all().await;
}

fn slow_timers() -> Timers {
    Timers {
        heartbeat: Duration::from_millis(150),
        election_min: Duration::from_millis(600),
        election_max: Duration::from_millis(1500),
    }
}

/// When one of them was seen to lead, if one does before the end of `most`.
async fn when_one_leads(groups: &[Group], most: Duration) -> Option<Instant> {
    let end = Instant::now() + most;
    loop {
        if groups.iter().any(Group::is_leader) {
            return Some(Instant::now());
        }
        if Instant::now() >= end {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A follower that restarts has forgotten that it confirmed the leader's lease. If it voted at once, a second leader could
/// be elected while the first still trusts its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_follower_does_not_vote_within_a_lease_that_it_confirmed() {
    let mut cluster = Cluster::start_with(3, slow_timers()).await;
    cluster.propose("before").await;
    cluster.converge("before").await;
    let leader = cluster.leader().await;
    let ids: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    let (candidate, voter) = (ids[0], ids[1]);

    // The candidate hears nothing any more, and keeps asking for votes.
    cluster.isolate(candidate, true);
    cluster.transport.cut(ReplicaId(candidate), ReplicaId(voter), false);
    cluster.transport.cut(ReplicaId(voter), ReplicaId(candidate), false);
    tokio::time::sleep(cluster.timers.election_max * 2).await;
    let eager = cluster.group(candidate);
    assert_eq!(cluster.group(leader).status().leader, Some(ReplicaId(leader)));

    // The voter, which kept it from being elected, restarts; then it hears the candidate only.
    cluster.stop(voter).await;
    let started = Instant::now();
    cluster.restart(voter).await;
    cluster.transport.cut(ReplicaId(leader), ReplicaId(voter), true);
    cluster.transport.cut(ReplicaId(voter), ReplicaId(leader), true);
    // The voter may stand itself once it may vote; then the candidate, which hears it, is never elected.
    let pair = [eager.clone(), cluster.group(voter)];
    let mut elected = None;
    // Each attempt is in a newer term, and an answer counts in its own term only: if the pause between two attempts were
    // shorter than an answer takes on this machine, nobody would ever be elected.
    let mut pause = Duration::from_millis(10);
    while elected.is_none() {
        eager.elect().await.unwrap();
        elected = when_one_leads(&pair, pause).await;
        pause = (pause * 2).min(cluster.timers.election_min);
        assert!(started.elapsed() < crate::cluster::PATIENCE, "nobody is elected");
    }
    let waited = elected.unwrap() - started;
    assert!(waited >= cluster.timers.election_max, "elected {waited:?} after the restart");
    cluster.isolate(leader, false);
    cluster.propose("after").await;
    cluster.converge("after").await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_replica_does_not_stand_for_election_at_once() {
    let mut cluster = Cluster::start(3).await;
    cluster.propose("before").await;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    cluster.timers = Timers { election_max: Duration::from_mins(10), ..cluster.timers };
    cluster.restart(1).await;
    let error = cluster.group(1).elect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    cluster.stop_all().await;
}

/// Nobody but a lone voter could have been promised anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_voter_stands_at_once() {
    let mut cluster = Cluster::start(1).await;
    cluster.propose("before").await;
    cluster.stop(1).await;
    cluster.timers = Timers { election_max: Duration::from_mins(10), ..cluster.timers };
    cluster.restart(1).await;
    cluster.leader().await;
    cluster.propose("after").await;
    cluster.stop_all().await;
}
