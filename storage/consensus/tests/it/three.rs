//! Groups of three voters: failover, cut links, snapshots, membership.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_consensus::{ErrorKind, ReplicaId, Role, Timers};
use tokio::time::Instant;

use crate::cluster::{Cluster, PATIENCE, eventually, nodes, propose};

/// The replicas but one.
fn others(id: u64) -> Vec<u64> {
    (1..=3).filter(|other| *other != id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_reach_every_replica_in_one_order() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.group(cluster.leader().await);
    let proposals: Vec<_> = (0..300)
        .map(|i| {
            let leader = leader.clone();
            tokio::spawn(async move {
                let deadline = Instant::now() + PATIENCE;
                loop {
                    match propose(&leader, &format!("command {i}")).await {
                        Ok(position) => break position,
                        // On a busy machine it may not have heard of the others for a while, and takes nothing.
                        Err(e)
                            if e.kind() == ErrorKind::Unavailable && Instant::now() < deadline =>
                        {
                            tokio::task::yield_now().await;
                        }
                        Err(e) => panic!("command {i}: {e}"),
                    }
                }
            })
        })
        .collect();
    let mut positions = BTreeSet::new();
    for proposal in proposals {
        positions.insert(proposal.await.unwrap());
    }
    assert_eq!(positions.len(), 300);
    cluster.propose("end").await;
    let commands = cluster.converge("end").await;
    assert_eq!(commands.len(), 301);
    assert!(positions.iter().all(|at| commands.iter().any(|(position, _)| position == at)));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_names_the_leader() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.group(others(leader)[0]);
    let want = ErrorKind::NotLeader { leader: Some(ReplicaId(leader)) };
    assert_eq!(follower.propose("no".into(), PATIENCE).await.unwrap_err().kind(), want);
    assert_eq!(follower.read_index(PATIENCE).await.unwrap_err().kind(), want);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_nothing_committed_is_lost() {
    let mut cluster = Cluster::start(3).await;
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        for i in 0..20 {
            let text = format!("round {round} command {i}");
            let position = cluster.propose(&text).await;
            acknowledged.push((position, text));
        }
        let leader = cluster.leader().await;
        cluster.lose_power(leader).await;
        cluster.propose(&format!("without {leader}")).await;
        cluster.restart(leader).await;
        cluster.leader().await;
    }
    cluster.propose("end").await;
    let commands = cluster.converge("end").await;
    for command in acknowledged {
        assert!(commands.contains(&command), "{command:?} is lost");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_neither_commits_nor_reads() {
    let cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    cluster.propose("before").await;
    cluster.isolate(old, true);
    let soon = Duration::from_millis(500);
    let error = cluster.group(old).propose("lost".into(), soon).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unknown | ErrorKind::Unavailable), "{error}");
    let error = cluster.group(old).read_index(soon).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::NotLeader { .. }),
        "{error}"
    );
    cluster.propose_among(&others(old), "meanwhile").await;
    cluster.isolate(old, false);
    cluster.leader().await;
    cluster.propose("after").await;
    let commands = cluster.converge("after").await;
    let texts: Vec<_> = commands.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["before", "meanwhile", "after"]);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_sends_but_does_not_hear_is_replaced() {
    let cluster = Cluster::start(3).await;
    let deaf = cluster.leader().await;
    for other in others(deaf) {
        cluster.transport.cut(ReplicaId(other), ReplicaId(deaf), true);
    }
    cluster.propose_among(&others(deaf), "heard").await;
    for other in others(deaf) {
        cluster.transport.cut(ReplicaId(other), ReplicaId(deaf), false);
    }
    cluster.propose("end").await;
    let commands = cluster.converge("end").await;
    assert_eq!(
        commands.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
        ["heard", "end"]
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_replicas_restart_from_their_logs() {
    let mut cluster = Cluster::start(3).await;
    for i in 0..30 {
        cluster.propose(&format!("command {i}")).await;
    }
    let want = cluster.converge("command 29").await;
    cluster.replica(2).machine.flush();
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.restart(id).await;
    }
    for id in 1..=3 {
        cluster.group(id).wait_ready(PATIENCE).await.unwrap();
        assert_eq!(cluster.replica(id).machine.commands(), want);
    }
    cluster.propose("end").await;
    cluster.converge("end").await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_behind_the_purged_log_is_sent_a_snapshot() {
    let mut cluster = Cluster::start(3).await;
    let behind = others(cluster.leader().await)[0];
    cluster.propose("seen by all").await;
    cluster.converge("seen by all").await;
    cluster.stop(behind).await;
    for i in 0..50 {
        cluster.propose(&format!("command {i}")).await;
    }
    cluster.converge("command 49").await;
    for id in cluster.ids() {
        let flushed = cluster.replica(id).machine.flush();
        let group = cluster.group(id);
        group.snapshot_moved(flushed).await.unwrap();
        eventually("the purge", || group.status().purged == Some(flushed)).await;
    }
    cluster.restart(behind).await;
    cluster.propose("end").await;
    cluster.converge("end").await;
    let replica = cluster.replica(behind);
    assert_eq!(replica.machine.installs(), 1);
    assert_eq!(replica.group.status().voters, nodes(1..=3));

    // What was installed is what it restarts from.
    cluster.stop(behind).await;
    cluster.restart(behind).await;
    cluster.group(behind).wait_ready(PATIENCE).await.unwrap();
    cluster.converge("end").await;
    assert_eq!(cluster.replica(behind).machine.installs(), 0);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn learners_catch_up_and_become_voters() {
    let mut cluster = Cluster::start(3).await;
    cluster.propose("before").await;
    cluster.add(4).await;
    let leader = cluster.group(cluster.leader_among(&[1, 2, 3]).await);
    leader.add_learners(nodes([4])).await.unwrap();
    assert_eq!(leader.status().learners, nodes([4]));
    cluster.role(4, Role::Learner).await;
    let last = propose(&leader, "with a learner").await.unwrap();
    eventually("the learner", || {
        leader.status().matched.get(&ReplicaId(4)).is_some_and(|at| *at >= last)
    })
    .await;

    // The leader goes, the learner stays.
    let old = leader.status().replica;
    let voters: BTreeSet<_> = (1..=4).map(ReplicaId).filter(|replica| *replica != old).collect();
    leader.set_voters(voters.clone()).await.unwrap();
    let ids: Vec<u64> = voters.iter().map(|replica| replica.0).collect();
    let new = cluster.leader_among(&ids).await;
    assert_eq!(cluster.group(new).status().voters, nodes(ids.clone()));
    cluster.stop(old.0).await;
    cluster.propose("end").await;
    let commands = cluster.converge("end").await;
    assert_eq!(commands.len(), 3);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_without_an_election_timeout() {
    let cluster = Cluster::start(3).await;
    cluster.propose("before").await;
    for _ in 0..4 {
        let old = cluster.leader().await;
        let to = others(old)[1];
        cluster.group(old).transfer_leader(ReplicaId(to)).await.unwrap();
        assert_eq!(cluster.leader().await, to);
        cluster.propose(&format!("led by {to}")).await;
    }
    cluster.propose("end").await;
    assert_eq!(cluster.converge("end").await.len(), 6);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_that_nobody_takes_is_not_lost_for_good() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let to = others(leader)[0];
    cluster.isolate(to, true);
    let error = cluster.group(leader).transfer_leader(ReplicaId(to)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable), "{error}");
    cluster.isolate(to, false);
    let deadline = Instant::now() + PATIENCE;
    cluster.propose("taken again").await;
    assert!(Instant::now() < deadline);
    cluster.converge("taken again").await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_offered_to_voters_only() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.group(cluster.leader().await);
    let error = leader.transfer_leader(ReplicaId(9)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    cluster.propose("still leads").await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_to_a_voter_that_has_just_restarted() {
    // It keeps out of elections for the longest lease: longer than everything else here.
    let long = Timers { election_max: Duration::from_secs(4), ..Timers::default() };
    let mut cluster = Cluster::start_with(3, long).await;
    let old = cluster.leader().await;
    cluster.propose("before").await;
    let new = others(old)[0];
    cluster.stop(new).await;
    cluster.restart(new).await;
    let leader = cluster.group(old);
    eventually("it has caught up", || {
        let status = leader.status();
        status.matched.get(&ReplicaId(new)).copied() == status.last
    })
    .await;
    assert!(cluster.group(new).elect().await.is_err(), "its gate is closed");
    leader.transfer_leader(ReplicaId(new)).await.unwrap();
    cluster.propose("after").await;
    assert_eq!(cluster.leader().await, new);
    cluster.stop_all().await;
}
