//! [`Network`]: the links between nodes, each with a [`Proxy`] of its own.
//!
//! A link `i → j` carries the connections that node `i` opens to node `j`: `i`'s requests forward, `j`'s answers
//! backward. So what `i` says to `j` travels in two places, forward on `i → j` and backward on `j → i`, and
//! [`Network::hold`] is about both.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::proxy::{Flow, Proxy};

/// The links between some nodes. Nodes are counted from 0.
#[derive(Debug)]
pub struct Network {
    /// By who dials, then by who is dialled; nobody dials itself.
    links: Vec<Vec<Option<Proxy>>>,
    /// Runs the proxies; it stops after them.
    _runtime: Runtime,
}

impl Network {
    /// Links between so many nodes. Whoever is dialled is down until it is [`up`](Self::up).
    ///
    /// # Panics
    ///
    /// If there are no threads or ports to be had.
    pub fn new(nodes: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("network")
            .enable_all()
            .build()
            .expect("a thread can be started");
        let proxy = || Proxy::new(runtime.handle()).expect("there is a free port");
        let row = |from| (0..nodes).map(|to| (from != to).then(proxy)).collect();
        let links = (0..nodes).map(row).collect();
        Self { links, _runtime: runtime }
    }

    /// The address by which a node dials another.
    ///
    /// # Panics
    ///
    /// If the two are one.
    pub fn addr(&self, from: usize, to: usize) -> SocketAddr {
        self.link(from, to).addr()
    }

    /// A node listens there.
    pub fn up(&self, node: usize, addr: SocketAddr) {
        self.all(|_, to, link| {
            if to == node {
                link.set_target(Some(addr));
            }
        });
    }

    /// A node listens no more: whoever dials it is refused.
    pub fn down(&self, node: usize) {
        self.all(|_, to, link| {
            if to == node {
                link.set_target(None);
            }
        });
    }

    /// Cuts some nodes off from the others: connections are reset, and none can be opened.
    pub fn cut_off(&self, nodes: &[usize]) {
        self.between(nodes, |link| link.set_cut(true));
    }

    /// As [`Self::cut_off`], without telling anybody: connections stay, or are accepted, and nothing arrives.
    pub fn stall(&self, nodes: &[usize]) {
        self.between(nodes, |link| {
            link.set_forward(Flow::Hold);
            link.set_backward(Flow::Hold);
        });
    }

    /// Nothing that one node says arrives at the other; what that one says does.
    pub fn hold(&self, from: usize, to: usize) {
        self.link(from, to).set_forward(Flow::Hold);
        self.link(to, from).set_backward(Flow::Hold);
    }

    /// Everything takes this long, in each direction of every link.
    pub fn delay(&self, delay: Duration) {
        self.all(|_, _, link| {
            link.set_forward(Flow::Delay(delay));
            link.set_backward(Flow::Delay(delay));
        });
    }

    /// All links are as at first; what was held up arrives now.
    pub fn heal(&self) {
        self.all(|_, _, link| link.heal());
    }

    /// The links that lead into or out of a set of nodes.
    fn between(&self, nodes: &[usize], act: impl Fn(&Proxy)) {
        self.all(|from, to, link| {
            if nodes.contains(&from) != nodes.contains(&to) {
                act(link);
            }
        });
    }

    fn all(&self, act: impl Fn(usize, usize, &Proxy)) {
        for (from, links) in self.links.iter().enumerate() {
            for (to, link) in links.iter().enumerate() {
                if let Some(link) = link {
                    act(from, to, link);
                }
            }
        }
    }

    fn link(&self, from: usize, to: usize) -> &Proxy {
        self.links[from][to].as_ref().expect("nobody dials itself")
    }
}
