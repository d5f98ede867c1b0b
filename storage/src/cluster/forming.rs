//! How nodes with empty disks become a cluster, and how a node finds its place in one.
//!
//! Every node asks the seeds, and whomever it hears of from them, who they are. Nobody is told anything: places are
//! fetched.
//!
//! - Once a node has been answered by exactly as many nodes as are expected, itself included, all without a cluster, and
//!   its name is the first of them, it founds the cluster: it draws the cluster's id and writes its own place down.
//! - A node that asks a member gets its place, if the member knows its name and disk: as a founder, or because the node
//!   was added since. It writes the place down, and has it for good.
//! - The first name is the first in every complete view, so one node alone can found. Nodes whose views differ name
//!   different numbers of nodes and wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_consensus::Node;
use tokio::time::{Instant, sleep};

use super::place::{ClusterOptions, Member, Place};
use super::replica::Peers;
use super::wire::{Hello, PeerReply, PeerRequest};
use super::{DataDir, NodeService};
use crate::Error;

const EVERY: Duration = Duration::from_millis(100);
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// A node counts while it answered within this.
const FRESH: Duration = Duration::from_secs(3);
/// How often somebody who waits is told for what, and how long it takes until the first time.
const TELL_EVERY: Duration = Duration::from_secs(10);
const TELL_FIRST: Duration = Duration::from_secs(2);

/// What is known of a node that belongs to no cluster.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    /// What it said.
    pub(crate) hello: Hello,
    /// When it spoke itself, if it did.
    at: Option<Instant>,
}

/// Notes what a node said of itself, or what others say of it.
pub(crate) fn hear(
    known: &mut BTreeMap<String, Heard>,
    hello: Hello,
    directly: bool,
) -> Result<(), String> {
    let now = Instant::now();
    let fresh = |at: Option<Instant>| at.is_some_and(|at| now.duration_since(at) < FRESH);
    match known.get_mut(&hello.name) {
        Some(heard) if heard.hello.disk != hello.disk && fresh(heard.at) => {
            if directly {
                return Err(format!(
                    "two nodes are called {}: one at {}, one at {}; give each its own --node-name",
                    hello.name, heard.hello.addr, hello.addr
                ));
            }
        }
        Some(heard) if directly || heard.hello.disk != hello.disk && !fresh(heard.at) => {
            *heard = Heard { hello, at: directly.then_some(now) };
        }
        Some(_) => {}
        None => {
            let name = hello.name.clone();
            known.insert(name, Heard { hello, at: directly.then_some(now) });
        }
    }
    Ok(())
}

/// The members of the cluster that this node founds, if it is to found one.
fn founders(own: &Hello, known: &BTreeMap<String, Heard>) -> Result<Vec<Member>, String> {
    let now = Instant::now();
    let fresh = |h: &&Heard| h.at.is_some_and(|at| now.duration_since(at) < FRESH);
    let mut all: Vec<&Hello> = known.values().filter(fresh).map(|heard| &heard.hello).collect();
    all.push(own);
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let names = || all.iter().map(|h| h.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(other) = all.iter().find(|h| h.expect != own.expect) {
        return Err(format!(
            "{} expects {} nodes, {} expects {}: give all the same --bootstrap-expect",
            own.name, own.expect, other.name, other.expect
        ));
    }
    let expect = own.expect as usize;
    if all.len() < expect {
        return Err(format!("{} of {expect} nodes are there: {}", all.len(), names()));
    }
    if all.len() > expect {
        return Err(format!(
            "{} nodes are there, and {expect} are expected: {}",
            all.len(),
            names()
        ));
    }
    let Some(first) = all.first().filter(|first| first.disk == own.disk) else {
        return Err(format!("{} founds the cluster of {}", all[0].name, names()));
    };
    debug_assert_eq!(first.name, own.name);
    Ok(all
        .iter()
        .zip(1..)
        .map(|(hello, id)| Member {
            id,
            name: hello.name.clone(),
            addr: hello.addr.clone(),
            disk: hello.disk,
        })
        .collect())
}

/// Returns once the node has a place, written down.
pub(crate) async fn join(
    dir: &DataDir,
    options: &ClusterOptions,
    shards: u32,
    clock: Arc<dyn quorate_wal::Clock>,
) -> Result<Place, Error> {
    let identity = dir.identity();
    let own = Hello {
        name: options.name.clone(),
        disk: identity.node,
        addr: options.addr.clone(),
        cluster: (identity.cluster != 0).then_some(identity.cluster),
        expect: options.expect,
    };
    let service = &options.service;
    service.introduce(own.clone(), clock);
    if let Some(place) = dir.place() {
        check_name(dir, options, &place)?;
        service.join(identity.cluster, &place);
        return Ok(place);
    }
    let peers = Peers::new(Arc::clone(&options.transport));
    // What is wrong in the first moments rights itself.
    let mut told = Instant::now() - TELL_EVERY + TELL_FIRST;
    loop {
        let (found, trouble, silent) = ask_all(&own, options, service, &peers).await;
        let (cluster, place, waits_for) = match found {
            Some((cluster, place)) => (cluster, Some(place), String::new()),
            None => match founders(&own, &service.heard()) {
                Ok(founders) if trouble.is_empty() => {
                    let place = Place { id: 1, members: founders.clone(), founders, shards };
                    (rand::random(), Some(place), String::new())
                }
                Ok(_) => (0, None, String::new()),
                Err(waits_for) => (0, None, waits_for),
            },
        };
        if let Some(place) = place {
            dir.join(cluster, &place)?;
            service.join(cluster, &place);
            tracing::info!("node {} has place {} in cluster {cluster:032x}", own.name, place.id);
            return Ok(place);
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tracing::info!("waiting for a cluster: {waits_for}");
            for trouble in trouble.into_iter().chain(silent) {
                tracing::warn!("{trouble}");
            }
        }
        sleep(EVERY).await;
    }
}

/// A node keeps the name that its place has.
fn check_name(dir: &DataDir, options: &ClusterOptions, place: &Place) -> Result<(), Error> {
    let own = place.members.iter().find(|m| m.id == place.id);
    match own {
        Some(member) if member.name != options.name => Err(Error::DataDir {
            path: dir.root().to_path_buf(),
            what: format!("belongs to node {}, and --node-name is {}", member.name, options.name),
        }),
        Some(_) | None => Ok(()),
    }
}

/// Asks the seeds and all who were heard of. Returns this node's place, if a member knows one, what went wrong, and who
/// cannot be reached.
async fn ask_all(
    own: &Hello,
    options: &ClusterOptions,
    service: &NodeService,
    peers: &Peers,
) -> (Option<(u128, Place)>, Vec<String>, Vec<String>) {
    let heard = service.heard();
    let mut targets: BTreeMap<String, Node> = BTreeMap::new();
    for seed in &options.seeds {
        let node = Node { node: 0, name: String::new(), addr: seed.clone() };
        targets.insert(seed.clone(), node);
    }
    for (name, heard) in heard {
        let addr = heard.hello.addr;
        targets.insert(addr.clone(), Node { node: 0, name, addr });
    }
    targets.remove(&own.addr);
    let asked = targets.values().map(|node| async move {
        let hello = PeerRequest::Hello(own.clone());
        (node, peers.ask(node, &hello, &[], ASK_DEADLINE).await)
    });
    let mut found = None;
    let (mut trouble, mut silent) = (Vec::new(), Vec::new());
    for (node, answer) in futures::future::join_all(asked).await {
        match answer {
            Ok((PeerReply::Hello { own: peer, known, place }, _)) => {
                if let (Some(cluster), None) = (peer.cluster, &place) {
                    trouble.push(format!(
                        "{} belongs to cluster {cluster:032x}, which does not know this node; \
                         `quorate cluster add`, or `replace` if it stands in for another, takes it in",
                        peer.name
                    ));
                }
                found = found.or(place);
                let others = known.into_iter().map(|hello| (hello, false));
                for (hello, directly) in std::iter::once((peer, true)).chain(others) {
                    trouble.extend(service.hear(hello, directly).err());
                }
            }
            Ok((PeerReply::Refused(refusal), _)) => {
                let error = refusal.into_error(quorate_consensus::GroupId(0));
                trouble.push(format!("{}: {error}", node.addr));
            }
            Ok((reply, _)) => trouble.push(format!("{} answered with {reply:?}", node.addr)),
            Err(e) if e.kind() == std::io::ErrorKind::NotConnected => {
                silent.push(format!("{} cannot be reached: {e}", node.addr));
            }
            Err(e) => trouble.push(format!("{}: {e}", node.addr)),
        }
    }
    (found, trouble, silent)
}
