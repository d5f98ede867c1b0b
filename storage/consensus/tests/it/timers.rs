//! Timers that change while a group works.

use std::collections::BTreeSet;
use std::time::Duration;

use quorate_consensus::{ErrorKind, Role, Timers};
use tokio::time::Instant;

use crate::cluster::{Cluster, PATIENCE, propose};

fn slow() -> Timers {
    let millis = Duration::from_millis;
    Timers { heartbeat: millis(200), election_min: millis(600), election_max: millis(1000) }
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_change_while_commands_are_proposed_and_nothing_is_lost_or_doubled() {
    // Nobody is missed for as long as this takes, so that the leader stays the same on a busy machine too.
    let patient = |heartbeat| Timers {
        heartbeat: Duration::from_millis(heartbeat),
        election_min: Duration::from_secs(10),
        election_max: Duration::from_secs(15),
    };
    let cluster = Cluster::start(3).await;
    for id in 1..=3 {
        cluster.group(id).set_timers(patient(100)).await.unwrap();
    }
    let leader = cluster.leader().await;
    let term = cluster.group(leader).status().term;
    let proposing = {
        let leader = cluster.group(leader);
        tokio::spawn(async move {
            let deadline = Instant::now() + PATIENCE;
            let mut acknowledged = Vec::new();
            for i in 0..400 {
                let command = format!("command {i}");
                loop {
                    match propose(&leader, &command).await {
                        Ok(position) => acknowledged.push((position, command)),
                        // A leader that has just begun anew takes commands when a quorum has answered it.
                        Err(e) if e.kind() == ErrorKind::Unavailable => {
                            assert!(Instant::now() < deadline, "{e}");
                            tokio::task::yield_now().await;
                            continue;
                        }
                        Err(e) if e.kind() == ErrorKind::Unknown => {}
                        Err(e) => panic!("{command}: {e}"),
                    }
                    break;
                }
            }
            acknowledged
        })
    };
    for timers in [patient(200), patient(50), patient(300)] {
        for id in 1..=3 {
            cluster.group(id).set_timers(timers.clone()).await.unwrap();
            assert_eq!(cluster.group(id).timers(), timers);
        }
    }
    let acknowledged = proposing.await.unwrap();
    assert!(acknowledged.len() > 300, "{} of 400 were accepted", acknowledged.len());
    cluster.propose("end").await;
    let commands = cluster.converge("end").await;
    let distinct: BTreeSet<_> = commands.iter().map(|(_, text)| text).collect();
    assert_eq!(distinct.len(), commands.len(), "a command was applied twice");
    for command in acknowledged {
        assert!(commands.contains(&command), "{command:?} is lost");
    }
    assert_eq!(cluster.group(leader).status().role, Role::Leader, "nobody had to be elected");
    assert_eq!(cluster.group(leader).status().term, term);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_goes_on_waiting_on_the_next_core() {
    let cluster = Cluster::start(3).await;
    let last = cluster.propose("first").await;
    let follower = cluster.group((1..=3).find(|id| !cluster.group(*id).is_leader()).unwrap());
    let waiting = {
        let follower = follower.clone();
        tokio::spawn(async move { follower.wait_applied(last.index + 1, PATIENCE).await })
    };
    tokio::task::yield_now().await;
    follower.set_timers(slow()).await.unwrap();
    assert!(!waiting.is_finished());
    cluster.propose("second").await;
    waiting.await.unwrap().unwrap();
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_restarted_is_not_restored_by_other_timers() {
    let mut cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    cluster.propose("before").await;
    cluster.stop(old).await;
    // It finds its own vote in the log, and nobody to lead.
    cluster.isolate(old, true);
    cluster.restart(old).await;
    cluster.group(old).set_timers(slow()).await.unwrap();
    assert!(!cluster.group(old).is_leader(), "a leader came back in a term that it left");
    cluster.isolate(old, false);
    cluster.propose("after").await;
    cluster.converge("after").await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_delays_stop_writes_until_the_timers_fit() {
    let cluster = Cluster::start(3).await;
    let millis = Duration::from_millis;
    cluster.transport.set_delay(millis(500));
    let wan =
        Timers { heartbeat: millis(2000), election_min: millis(3000), election_max: millis(4500) };
    for id in 1..=3 {
        cluster.group(id).set_timers(wan.clone()).await.unwrap();
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leader = cluster.leader().await;
        match propose(&cluster.group(leader), "slowly").await {
            Ok(_) => break,
            Err(e) if !matches!(e.kind(), ErrorKind::Fatal) && Instant::now() < deadline => {
                // It fails at once while the leader hears no quorum.
                tokio::time::sleep(millis(50)).await;
            }
            Err(e) => panic!("nothing commits: {e}"),
        }
    }
    cluster.transport.set_delay(Duration::ZERO);
    cluster.converge("slowly").await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_that_cannot_work_change_nothing() {
    let cluster = Cluster::start(1).await;
    let bad = Timers { election_max: Duration::from_millis(100), ..Timers::default() };
    let error = cluster.group(1).set_timers(bad).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    cluster.propose("it goes on").await;
    cluster.group(1).set_timers(slow()).await.unwrap();
    cluster.propose("it still does").await;
    cluster.stop_all().await;
}
