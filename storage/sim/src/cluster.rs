//! The cluster: nodes, network, and true time, which goes on in ticks. In each tick packets arrive, and then every node has
//! its turn.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_consensus::{GroupStatus, Role};
use quorate_storage::Store;

use crate::network::{Network, Presence};
use crate::node::{Death, Node, Settings};
use crate::observer::Observer;
use crate::random::Random;
use crate::trace::Trace;

/// How finely time is cut.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// How often the replicas are looked at.
const OBSERVE_EVERY: u64 = 5;

/// A simulation's whole world.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: Settings,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Network,
    pub(crate) trace: Trace,
    pub(crate) observer: Observer,
    pub(crate) now: Duration,
    ticks: u64,
}

impl Cluster {
    /// Nodes with empty disks, none of which runs.
    pub(crate) fn new(
        settings: Settings,
        random: &mut Random,
        drift_ppm: &[i64],
        trace: Trace,
    ) -> Self {
        let network = Network::new(settings.nodes, random.fork(), trace.clone());
        let drift = |n: usize| drift_ppm.get(n).copied().unwrap_or(0);
        let nodes = (0..settings.nodes).map(|n| Node::new(n, drift(n), random.fork())).collect();
        let observer = Observer::default();
        let (now, ticks) = (Duration::from_secs(1), 0);
        Self { settings, nodes, network, trace, observer, now, ticks }
    }

    /// Starts a node.
    pub(crate) fn start(&mut self, node: usize) {
        self.trace.note(format_args!("start {node}"));
        let Self { nodes, network, settings, now, .. } = self;
        nodes[node].start(*now, network, settings);
        self.observer.restarted(node);
    }

    /// Ends a node's process.
    pub(crate) fn stop(&mut self, node: usize, death: Death, refuses: bool) {
        self.trace.note(format_args!("stop {node} {death:?} refuses {refuses}"));
        let presence = if refuses { Presence::Refusing } else { Presence::Silent };
        let Self { nodes, network, .. } = self;
        nodes[node].die(death, network, presence);
    }

    /// One tick.
    pub(crate) fn tick(&mut self) {
        self.now += TICK;
        self.ticks += 1;
        self.trace.advance(self.now);
        self.network.deliver(self.now);
        for node in &mut self.nodes {
            node.step(self.now);
        }
        if self.ticks.is_multiple_of(OBSERVE_EVERY) {
            self.observer.observe(&self.nodes);
        }
    }

    /// Nodes that run and are open.
    pub(crate) fn open(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].store().is_some()).collect()
    }

    /// Ticks until it is so, for some time at most. Returns whether it is.
    pub(crate) fn run_until(
        &mut self,
        most: Duration,
        mut done: impl FnMut(&Self) -> bool,
    ) -> bool {
        let end = self.now + most;
        while self.now < end {
            if done(self) {
                return true;
            }
            self.tick();
        }
        done(self)
    }

    /// Ticks for some time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick();
        }
    }

    /// Runs something on a node, while everything goes on; none if the node dies meanwhile or it takes too long.
    pub(crate) fn ask<T, A>(
        &mut self,
        node: usize,
        most: Duration,
        ask: impl FnOnce(Store) -> A,
    ) -> Option<T>
    where
        T: Send + 'static,
        A: Future<Output = T> + Send + 'static,
    {
        let store = self.nodes[node].store()?;
        let slot: Arc<Mutex<Option<T>>> = Arc::new(Mutex::new(None));
        let answer = Arc::clone(&slot);
        let asking = ask(store);
        self.nodes[node].runtime()?.spawn(async move {
            let got = asking.await;
            *answer.lock() = Some(got);
        });
        self.run_until(most, |_| slot.lock().is_some());
        slot.lock().take()
    }

    /// The node whose replica of a group leads, in the newest term.
    pub(crate) fn leader(&self, group: u64) -> Option<usize> {
        let mut leaders = Vec::new();
        for node in &self.nodes {
            let statuses = node.service().map(|service| service.statuses()).unwrap_or_default();
            let leads = |s: &&GroupStatus| s.group.0 == group && s.role == Role::Leader;
            leaders.extend(statuses.iter().find(leads).map(|s| (s.term, node.index)));
        }
        leaders.into_iter().max().map(|(_, node)| node)
    }
}
