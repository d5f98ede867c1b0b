//! Groups of one voter: start, restart, damage, a full disk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_consensus::{
    ErrorKind, Group, GroupId, GroupOptions, MemoryTransport, ReplicaId, Role, Timers,
};
use tempfile::TempDir;

use crate::cluster::{Cluster, GROUP, PATIENCE, eventually, nodes, open_wal, propose};
use crate::held_disk::HeldDisk;
use crate::machine::{Durable, Machine};

#[tokio::test(flavor = "multi_thread")]
async fn a_single_voter_answers_with_place_and_reply() {
    let cluster = Cluster::start(1).await;
    let group = cluster.group(1);
    let first = propose(&group, "one").await.unwrap();
    let second = propose(&group, "two").await.unwrap();
    assert_eq!(second.index, first.index + 1);
    assert_eq!(
        cluster.replica(1).machine.commands(),
        [(first, "one".to_owned()), (second, "two".to_owned())]
    );
    let status = group.status();
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.leader, Some(ReplicaId(1)));
    assert_eq!(status.voters, nodes([1]));
    assert_eq!(status.last, Some(second));
    assert_eq!(group.read_index(PATIENCE).await.unwrap(), second);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_has_a_membership_is_not_bootstrapped_again() {
    let cluster = Cluster::start(1).await;
    cluster.group(1).bootstrap(nodes([1, 2, 3])).await.unwrap();
    assert_eq!(cluster.group(1).status().voters, nodes([1]));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_applies_what_the_snapshot_does_not_cover() {
    let mut cluster = Cluster::start(1).await;
    for i in 0..100 {
        propose(&cluster.group(1), &format!("before {i}")).await.unwrap();
    }
    let flushed = cluster.replica(1).machine.flush();
    for i in 0..100 {
        propose(&cluster.group(1), &format!("after {i}")).await.unwrap();
    }
    let want = cluster.replica(1).machine.commands();
    cluster.stop(1).await;
    cluster.restart(1).await;
    cluster.group(1).wait_ready(PATIENCE).await.unwrap();
    let machine = &cluster.replica(1).machine;
    assert_eq!(machine.commands(), want);
    assert_eq!(machine.applied_here().first(), Some(&(flushed.index + 1)));
    // A new term, although nobody else could have led.
    let term = want.last().unwrap().0.term;
    assert!(propose(&cluster.group(1), "restarted").await.unwrap().term > term);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_snapshot_lets_the_log_go() {
    let mut cluster = Cluster::start(1).await;
    for i in 0..50 {
        propose(&cluster.group(1), &format!("before {i}")).await.unwrap();
    }
    let keep_after = propose(&cluster.group(1), "kept").await.unwrap();
    propose(&cluster.group(1), "kept too").await.unwrap();
    let flushed = cluster.replica(1).machine.flush();
    let last = propose(&cluster.group(1), "after").await.unwrap();
    let group = cluster.group(1);
    group.snapshot_moved(keep_after).await.unwrap();
    eventually("the purge", || group.status().purged == Some(keep_after)).await;
    let status = group.status();
    assert_eq!(status.snapshot, Some(flushed));
    assert_eq!(status.last, Some(last));
    assert!(status.purged <= status.snapshot && status.snapshot <= status.applied);
    assert!(status.applied <= status.committed && status.committed <= status.last);

    let want = cluster.replica(1).machine.commands();
    cluster.stop(1).await;
    cluster.restart(1).await;
    cluster.group(1).wait_ready(PATIENCE).await.unwrap();
    assert_eq!(cluster.replica(1).machine.commands(), want);
    assert_eq!(cluster.group(1).status().voters, nodes([1]), "from the snapshot");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nine_groups_share_a_log() {
    let dir = TempDir::new().unwrap();
    let durables: BTreeMap<u64, Durable> = (0..9).map(|id| (id, Durable::default())).collect();
    for round in 0..2 {
        let wal = open_wal(&HeldDisk::default(), &dir, 1);
        let mut groups = Vec::new();
        for (id, durable) in &durables {
            let group = Group::start(GroupOptions {
                cluster_name: "test".to_owned(),
                group: GroupId(*id),
                replica: ReplicaId(100 + id),
                log: wal.group(GroupId(*id)),
                machine: Arc::new(Machine::open(Arc::clone(durable))),
                transport: MemoryTransport::default().shared(),
                timers: Timers::default(),
            })
            .await
            .unwrap();
            group.bootstrap(nodes([100 + id])).await.unwrap();
            groups.push(group);
        }
        for group in &groups {
            group.wait_ready(PATIENCE).await.unwrap();
            propose(group, &format!("round {round}")).await.unwrap();
        }
        for group in groups {
            group.stop().await;
        }
        wal.close().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_that_arrive_during_a_sync_share_the_next_one() {
    let cluster = Cluster::start(1).await;
    let replica = cluster.replica(1);
    eventually("the leader's first entry is committed", || {
        let status = replica.group.status();
        status.committed.is_some() && status.committed == status.last
    })
    .await;
    replica.disk.hold();
    let before = replica.wal.status().syncs;
    let proposals: Vec<_> = (0..500)
        .map(|i| {
            let group = replica.group.clone();
            tokio::spawn(async move { propose(&group, &format!("command {i}")).await.unwrap() })
        })
        .collect();
    let last_before = replica.group.status().committed.unwrap().index;
    eventually("all in the log, none committed", || {
        replica.group.status().last.unwrap().index == last_before + 500
    })
    .await;
    assert_eq!(replica.group.status().committed.unwrap().index, last_before);
    replica.disk.release();
    for proposal in proposals {
        proposal.await.unwrap();
    }
    let syncs = replica.wal.status().syncs - before;
    assert!(syncs <= 20, "{syncs} syncs for 500 proposals");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_missed_its_deadline_may_still_be_applied() {
    let cluster = Cluster::start(1).await;
    let replica = cluster.replica(1);
    replica.disk.hold();
    let error = replica.group.propose("late".into(), Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown);
    assert!(replica.machine.commands().is_empty(), "nothing is acknowledged before the sync");
    replica.disk.release();
    eventually("the late command", || replica.machine.texts() == ["late"]).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_proposals_until_there_is_space() {
    let cluster = Cluster::start(1).await;
    let replica = cluster.replica(1);
    replica.disk.fill(true);
    let error = replica.group.propose("refused".into(), PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    replica.group.read_index(PATIENCE).await.unwrap();
    replica.disk.fill(false);
    propose(&replica.group, "taken").await.unwrap();
    assert_eq!(replica.machine.texts(), ["taken"]);
    cluster.stop_all().await;
}

async fn check_stops_only_its_group(command: &'static str) {
    let cluster = Cluster::start(1).await;
    let replica = cluster.replica(1);
    let other = Group::start(GroupOptions {
        cluster_name: "test".to_owned(),
        group: GroupId(GROUP.0 + 1),
        replica: ReplicaId(9),
        log: replica.wal.group(GroupId(GROUP.0 + 1)),
        machine: Arc::new(Machine::open(Durable::default())),
        transport: MemoryTransport::default().shared(),
        timers: Timers::default(),
    })
    .await
    .unwrap();
    other.bootstrap(nodes([9])).await.unwrap();
    other.wait_ready(PATIENCE).await.unwrap();

    let error = replica.group.propose(command.into(), PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unknown, "it is in the log: {error}");
    cluster.role(1, Role::Stopped).await;
    let error = replica.group.propose("more".into(), PATIENCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Fatal);
    assert_eq!(replica.group.read_index(PATIENCE).await.unwrap_err().kind(), ErrorKind::Fatal);
    propose(&other, "alive").await.unwrap();
    other.stop().await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_state_machine_stops_only_its_group() {
    check_stops_only_its_group("fatal").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panicking_state_machine_stops_only_its_group() {
    check_stops_only_its_group("panic").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_machine_that_forgets_a_reply_stops() {
    check_stops_only_its_group("short").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_wait_for_what_was_committed_before_them() {
    let cluster = Cluster::start(1).await;
    let group = cluster.group(1);
    for i in 0..50 {
        let written = propose(&group, &format!("command {i}")).await.unwrap();
        let reads = futures::future::join_all((0..8).map(|_| group.read_index(PATIENCE))).await;
        for read in reads {
            assert!(read.unwrap() >= written);
        }
    }
    cluster.stop_all().await;
}
