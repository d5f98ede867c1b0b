//! Three nodes in one process, over links that can be cut.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_consensus::{MemoryTransport, ReplicaId};
use quorate_storage::catalog::TableOptions;
use quorate_storage::cluster::{ClusterOptions, NodeService};
use quorate_storage::scan::TimeRange;
use quorate_storage::{Error, ErrorKind, ReadLevel, Store, StoreOptions, WriteLevel, WriteOptions};
use quorate_wal::{Clock, DiskFault, ManualClock, RealDisk, SimDisk, SystemClock};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{
    DAY, Rows, cpu, create_cpu, expect, keyed, options, read, rows, valid, write,
};

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A cluster that nodes join, leave and come back to.
pub(crate) struct Cluster {
    pub(crate) transport: MemoryTransport,
    pub(crate) nodes: Vec<Node>,
}

pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) dir: TempDir,
    service: Arc<NodeService>,
    clock: Arc<dyn Clock>,
    /// Instead of the machine's.
    disk: Option<SimDisk>,
    store: Option<Store>,
}

pub(crate) fn addr(name: &str) -> String {
    format!("memory:{name}")
}

impl Cluster {
    pub(crate) fn empty() -> Self {
        Self { transport: MemoryTransport::default(), nodes: Vec::new() }
    }

    /// `n1` to `n<count>`, formed.
    pub(crate) async fn start(count: usize) -> Self {
        let mut cluster = Self::empty();
        for n in 1..=count {
            cluster.add(&format!("n{n}"));
        }
        cluster.form().await;
        cluster
    }

    pub(crate) async fn form(&mut self) {
        let cluster = self;
        let count = cluster.nodes.len();
        let opening: Vec<_> = (0..count).map(|n| cluster.open(n, count)).collect();
        let opened = futures::future::join_all(opening).await;
        for (node, store) in cluster.nodes.iter_mut().zip(opened) {
            node.store = Some(store);
        }
    }

    pub(crate) fn add(&mut self, name: &str) {
        self.nodes.push(Node {
            name: name.to_owned(),
            dir: tempfile::tempdir().unwrap(),
            service: Arc::default(),
            clock: Arc::new(SystemClock::new()),
            disk: None,
            store: None,
        });
    }

    /// Opens a node's store; ready on return.
    pub(crate) fn open(&self, n: usize, expect: usize) -> impl Future<Output = Store> + use<> {
        let opening = self.try_open(n, expect);
        async move { opening.await.unwrap() }
    }

    pub(crate) fn try_open(
        &self,
        n: usize,
        expect: usize,
    ) -> impl Future<Output = Result<Store, Error>> + use<> {
        let node = &self.nodes[n];
        let service = Arc::clone(&node.service);
        self.transport.register_node(&addr(&node.name), Arc::<NodeService>::clone(&service));
        let options = StoreOptions {
            shards: 2,
            wal_segment_bytes: 1 << 20,
            clock: Arc::clone(&node.clock),
            cluster: Some(ClusterOptions {
                name: node.name.clone(),
                addr: addr(&node.name),
                seeds: vec![addr("n1"), addr("n2")],
                expect: u32::try_from(expect).unwrap(),
                transport: self.transport.of(Arc::<NodeService>::clone(&service)).shared(),
                service,
            }),
            ..StoreOptions::new(node.dir.path())
        };
        let disk = node.disk.as_ref().map_or_else(RealDisk::shared, SimDisk::process);
        async move {
            tokio::time::timeout(PATIENCE, Store::open(disk, options))
                .await
                .expect("the node starts")
        }
    }

    pub(crate) fn store(&self, n: usize) -> &Store {
        self.nodes[n].store.as_ref().unwrap()
    }

    pub(crate) async fn stop(&mut self, n: usize) {
        self.nodes[n].store.take().unwrap().close().await.unwrap();
        self.transport.unregister_node(&addr(&self.nodes[n].name));
    }

    pub(crate) async fn restart(&mut self, n: usize) {
        let count = self.nodes.len();
        let store = self.open(n, count).await;
        self.nodes[n].store = Some(store);
    }

    /// Cuts (or mends) all links of a node.
    pub(crate) fn isolate(&self, n: usize, cut: bool) {
        let own = id(n);
        for other in (0..self.nodes.len()).filter(|other| *other != n) {
            self.transport.cut(own, id(other), cut);
            self.transport.cut(id(other), own, cut);
        }
    }

    /// The rows that a node holds itself.
    pub(crate) async fn local(&self, n: usize) -> Rows {
        let store = self.store(n);
        let view = store.view(cpu(store).id, TimeRange::ALL, &ReadLevel::Local).await.unwrap();
        rows(&view).unwrap()
    }

    /// Waits until every node holds these rows itself.
    pub(crate) async fn converge(&self, expected: &Rows) {
        for n in 0..self.nodes.len() {
            let deadline = Instant::now() + PATIENCE;
            while self.local(n).await != *expected {
                assert!(Instant::now() < deadline, "{} does not catch up", self.nodes[n].name);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    pub(crate) async fn close(mut self) {
        for n in 0..self.nodes.len() {
            if self.nodes[n].store.is_some() {
                self.stop(n).await;
            }
        }
    }
}

/// Nodes are numbered by name.
pub(crate) fn id(n: usize) -> ReplicaId {
    ReplicaId(n as u64 + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_any_write_and_any_read() {
    let cluster = Cluster::start(3).await;
    create_cpu(cluster.store(1), TableOptions::default()).await;
    let mut all = Vec::new();
    for n in 0..3 {
        let store = cluster.store(n);
        store.catalog_linearizable().await.unwrap();
        let day = i64::try_from(n).unwrap() * DAY;
        let rows = [("a", day, 1.0), ("b", day + 5, 2.0)];
        write(store, &rows).await.unwrap();
        all.extend(rows);
        for reader in 0..3 {
            assert_eq!(read(cluster.store(reader)).await, expect(&all), "written at {n}");
        }
    }
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minority_that_is_cut_off_neither_stops_writes_nor_answers_wrongly() {
    let cluster = Cluster::start(3).await;
    create_cpu(cluster.store(0), TableOptions::default()).await;
    let mut all = vec![("a", 0, 1.0)];
    write(cluster.store(0), &all).await.unwrap();
    cluster.converge(&expect(&all)).await;
    for n in 0..3 {
        cluster.isolate(n, true);
        let time = i64::try_from(n).unwrap() + 1;
        let other = cluster.store((n + 1) % 3);
        let rows = [("a", time, 1.0), ("b", time * DAY, 1.0)];
        let written = loop {
            match write(other, &rows).await {
                // Handed to a leader that was cut off meanwhile: written again, which changes nothing.
                Err(e) if e.kind() == ErrorKind::Unknown => {}
                written => break written,
            }
        };
        written.unwrap();
        all.extend(rows);
        let alone = cluster.store(n);
        let options =
            WriteOptions { deadline: Some(Duration::from_secs(1)), ..WriteOptions::default() };
        alone.write(valid(alone, &[("never", 9, 9.0)]), &options).await.unwrap_err();
        cluster.isolate(n, false);
        // What a leader that was cut off has taken goes when it hears of the entries that were committed instead.
        assert_eq!(read(cluster.store(n)).await, expect(&all));
        assert_eq!(read(other).await, expect(&all));
    }
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

/// Three nodes with rows, the third of which is down and has missed more than the logs of the others still hold.
async fn one_far_behind(disk: Option<SimDisk>) -> (Cluster, Vec<(&'static str, i64, f64)>) {
    let mut cluster = Cluster::empty();
    for name in ["n1", "n2", "n3"] {
        cluster.add(name);
    }
    cluster.nodes[2].disk = disk;
    cluster.form().await;
    create_cpu(cluster.store(0), TableOptions::default()).await;
    let mut all = vec![("a", 0, 1.0)];
    write(cluster.store(0), &all).await.unwrap();
    cluster.converge(&expect(&all)).await;
    let last: BTreeMap<_, _> = cluster
        .store(2)
        .status()
        .shards
        .iter()
        .map(|s| (s.shard, s.group.last.map(|at| at.index)))
        .collect();
    cluster.stop(2).await;
    // Log that manifests cover goes: what the node missed is in files only.
    for round in 1..6 {
        let rows = [("a", round, 1.0), ("b", round * DAY, 1.0), ("c", (round + 50) * DAY, 2.0)];
        write(cluster.store(0), &rows).await.unwrap();
        all.extend(rows);
        cluster.store(0).flush().await.unwrap();
        cluster.store(1).flush().await.unwrap();
    }
    cluster.store(0).compact().await.unwrap();
    // At both, for either may lead a shard.
    let purged = || {
        let of = |n| cluster.store(n).status().shards.into_iter();
        of(0).chain(of(1)).all(|s| s.group.purged.map(|at| at.index) > last[&s.shard])
    };
    let deadline = Instant::now() + PATIENCE;
    while !purged() {
        assert!(Instant::now() < deadline, "the log is not purged");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (cluster, all)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_for_long_takes_the_leaders_manifest() {
    let (mut cluster, mut all) = one_far_behind(None).await;
    cluster.restart(2).await;
    cluster.converge(&expect(&all)).await;
    assert_eq!(read(cluster.store(2)).await, expect(&all));
    // What it took is durable.
    cluster.stop(2).await;
    cluster.restart(2).await;
    write(cluster.store(2), &[("d", 1, 1.0)]).await.unwrap();
    all.push(("d", 1, 1.0));
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_disk_fails_while_it_takes_a_manifest_ends_and_goes_on_after_a_restart() {
    let disk = SimDisk::new(1);
    let (mut cluster, all) = one_far_behind(Some(disk.clone())).await;
    disk.inject(DiskFault::Sync, "/shards/0/manifest", 0);
    cluster.restart(2).await;
    // Without it the shard would refuse for ever in a process that looks well.
    let what = tokio::time::timeout(PATIENCE, cluster.store(2).failed()).await.unwrap();
    assert!(what.contains("manifest for shard 0"), "{what}");
    disk.kill();
    drop(cluster.nodes[2].store.take());
    cluster.restart(2).await;
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_cluster_restarts() {
    let mut cluster = Cluster::start(3).await;
    create_cpu(cluster.store(0), TableOptions::default()).await;
    let all = [("a", 0, 1.0), ("b", DAY, 2.0)];
    let first = cluster.store(0).write(valid(cluster.store(0), &all), &keyed("k", 1)).await;
    let first = first.unwrap();
    for n in 0..3 {
        cluster.stop(n).await;
    }
    let opening: Vec<_> = (0..3).map(|n| cluster.open(n, 3)).collect();
    let opened = futures::future::join_all(opening).await;
    for (node, store) in cluster.nodes.iter_mut().zip(opened) {
        node.store = Some(store);
    }
    assert_eq!(read(cluster.store(1)).await, expect(&all));
    // A repeat at another node finds what the first did.
    let store = cluster.store(2);
    let again = store.write(valid(store, &all), &keyed("k", 1)).await.unwrap();
    assert!(again.shards.iter().all(|s| s.duplicate));
    let places = |r: &quorate_storage::WriteReceipt| {
        r.shards.iter().map(|s| (s.shard, s.index)).collect::<Vec<_>>()
    };
    assert_eq!(places(&again), places(&first));
    let known = store.key_status("k").await.unwrap();
    assert_eq!(known.iter().map(|k| k.receipt.accepted).sum::<u64>(), 2, "{known:?}");
    assert_eq!(store.key_status("other").await.unwrap(), []);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_means_every_voter_and_says_so_when_one_is_down() {
    let mut cluster = Cluster::start(3).await;
    create_cpu(cluster.store(0), TableOptions::default()).await;
    let store = cluster.store(1);
    store.catalog_linearizable().await.unwrap();
    let all = WriteOptions { level: WriteLevel::All, ..WriteOptions::default() };
    let receipt = store.write(valid(store, &[("a", 1, 1.0)]), &all).await.unwrap();
    assert!(!receipt.not_everywhere);
    let written = &receipt.shards[0];
    for n in 0..3 {
        // A status is what a group has told last, which may be a moment ago.
        let told = || {
            let shards = cluster.store(n).status().shards;
            shards.iter().find(|s| s.shard == written.shard).and_then(|s| s.group.last)
        };
        let wait = async {
            while told().is_none_or(|at| at.index < written.index) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("node {n} has {:?} of {receipt:?}", told()));
    }
    cluster.stop(2).await;
    let store = cluster.store(1);
    let soon = WriteOptions { deadline: Some(Duration::from_secs(3)), ..all };
    let receipt = store.write(valid(store, &[("a", 2, 1.0)]), &soon).await.unwrap();
    assert!(receipt.not_everywhere, "{receipt:?}");
    assert_eq!(read(store).await, expect(&[("a", 1, 1.0), ("a", 2, 1.0)]), "it is committed");
    cluster.close().await;
}

/// Every region of a file: its head, its blocks, its directory, its footer.
#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_cannot_be_opened_is_fetched_from_another_replica() {
    let mut cluster = Cluster::start(3).await;
    create_cpu(cluster.store(0), TableOptions::default()).await;
    let many: Vec<_> = (0..50_000).map(|n| ("a", n, 1.0)).collect();
    write(cluster.store(0), &many).await.unwrap();
    for n in 0..3 {
        cluster.store(n).flush().await.unwrap();
    }
    cluster.stop(1).await;
    let files = segment_files(cluster.nodes[1].dir.path());
    assert!(!files.is_empty());
    for file in &files {
        let mut bytes = std::fs::read(file).unwrap();
        let last = bytes.len() - 5;
        bytes[last] ^= 0x10;
        std::fs::write(file, bytes).unwrap();
    }
    cluster.restart(1).await;
    assert_eq!(cluster.local(1).await, expect(&many));
    cluster.stop(1).await;
    for file in &files {
        std::fs::remove_file(file).unwrap();
        // A fetch that was cut off before the first byte came.
        let incoming = file.parent().unwrap().with_file_name("incoming");
        let part = format!("{}.part", file.file_name().unwrap().to_str().unwrap());
        std::fs::write(incoming.join(part), []).unwrap();
    }
    cluster.restart(1).await;
    cluster.converge(&expect(&many)).await;
    cluster.close().await;
}

/// Head, block, directory, footer: whatever is hit.
#[tokio::test(flavor = "multi_thread")]
async fn damage_under_a_running_node_is_found_and_mended_from_another_replica() {
    let cluster = Cluster::start(3).await;
    create_cpu(cluster.store(0), TableOptions::default()).await;
    let many: Vec<_> = (0..50_000).map(|n| ("a", n, 1.0)).collect();
    write(cluster.store(0), &many).await.unwrap();
    for n in 0..3 {
        cluster.store(n).flush().await.unwrap();
    }
    let mut repaired = 0;
    for region in 0..10 {
        for file in segment_files(cluster.nodes[1].dir.path()) {
            let mut bytes = std::fs::read(&file).unwrap();
            let at = (bytes.len() - 1) * region / 9;
            bytes[at] ^= 0x04;
            // In place: the node has the file open.
            std::fs::write(&file, bytes).unwrap();
        }
        let status = cluster.store(1).scrub().await;
        let now: u64 = status.iter().map(|s| s.repaired).sum();
        assert!(now > repaired, "region {region}: {status:?}");
        assert_eq!(status.iter().map(|s| s.damaged).sum::<u64>(), now, "region {region}");
        repaired = now;
        assert_eq!(cluster.local(1).await, expect(&many), "region {region}");
    }
    let clean = cluster.store(1).scrub().await;
    assert_eq!(clean.iter().map(|s| s.repaired).sum::<u64>(), repaired, "what came is sound");
    assert!(clean.iter().all(|s| s.files_done == s.files && s.finished >= s.begun));
    cluster.close().await;
}

pub(crate) fn segment_files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for shard in std::fs::read_dir(dir.join("shards")).unwrap() {
        let segments = shard.unwrap().path().join("segments");
        files.extend(std::fs::read_dir(segments).unwrap().map(|file| file.unwrap().path()));
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_disk_is_replaced_and_does_not_come_back() {
    let mut cluster = Cluster::start(3).await;
    create_cpu(cluster.store(0), TableOptions::default()).await;
    let mut all = vec![("a", 0, 1.0), ("b", DAY, 2.0)];
    write(cluster.store(0), &all).await.unwrap();
    cluster.store(0).flush().await.unwrap();
    cluster.stop(2).await;
    let unknown = cluster.store(0).add_node("n3", Some("n3")).await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Invalid, "{unknown}");

    let old = std::mem::replace(&mut cluster.nodes[2].dir, tempfile::tempdir().unwrap());
    let opening = tokio::spawn(cluster.open(2, 3));
    let deadline = Instant::now() + PATIENCE;
    let id = loop {
        // It has to say hello first.
        match cluster.store(0).add_node("n3", Some("n3")).await {
            Ok(id) => break id,
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(id > 3, "ids are not given again");
    cluster.nodes[2].store = Some(opening.await.unwrap());
    write(cluster.store(1), &[("c", 5, 1.0)]).await.unwrap();
    all.push(("c", 5, 1.0));
    cluster.converge(&expect(&all)).await;
    let everywhere = || {
        let shards = cluster.store(0).status().shards;
        shards.iter().all(|s| s.group.voters.keys().map(|id| id.0).eq([1, 2, id]))
    };
    while !everywhere() {
        assert!(Instant::now() < deadline, "the new node gets no vote");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The new node counts: the cluster goes on without another one.
    cluster.stop(1).await;
    write(cluster.store(0), &[("d", 5, 1.0)]).await.unwrap();
    all.push(("d", 5, 1.0));
    assert_eq!(read(cluster.store(2)).await, expect(&all));
    cluster.restart(1).await;

    cluster.stop(2).await;
    let new = std::mem::replace(&mut cluster.nodes[2].dir, old);
    let refused = cluster.try_open(2, 3).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    assert!(refused.to_string().contains("removed"), "{refused}");
    cluster.nodes[2].dir = new;
    cluster.restart(2).await;
    cluster.converge(&expect(&all)).await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_majority_is_not_removed() {
    let mut cluster = Cluster::start(3).await;
    let status = cluster.store(0).cluster_status().await;
    assert_eq!(status.nodes.len(), 3);
    assert!(status.nodes.iter().all(|node| node.report.is_ok()), "{status:?}");
    cluster.stop(2).await;
    let error = cluster.store(0).remove_node("n2", false).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    cluster.store(0).remove_node("n3", false).await.unwrap();
    let gone = cluster.store(0).remove_node("n3", false).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::Invalid, "{gone}");
    create_cpu(cluster.store(1), TableOptions::default()).await;
    write(cluster.store(1), &[("a", 0, 1.0)]).await.unwrap();
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_spread_over_the_nodes() {
    let cluster = Cluster::start(3).await;
    let deadline = Instant::now() + PATIENCE;
    loop {
        // Two shards and the metadata group: a turn for each node.
        let status = cluster.store(0).cluster_status().await;
        let led = |node: &quorate_storage::NodeStatus| {
            let replicas = &node.report.as_ref().unwrap().replicas;
            replicas.iter().filter(|r| r.role == "leader").count()
        };
        if status.nodes.iter().all(|node| led(node) == 1) {
            break;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.close().await;
}

/// The clock of the shard's own leader is a century ahead.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_runs_ahead_expires_nothing() {
    let clocks: Vec<_> = (0..3).map(|_| Arc::new(ManualClock::new(100 * DAY))).collect();
    let mut cluster = Cluster::empty();
    for (n, clock) in clocks.iter().enumerate() {
        cluster.add(&format!("n{}", n + 1));
        cluster.nodes[n].clock = Arc::<ManualClock>::clone(clock);
    }
    cluster.form().await;
    let table = TableOptions { retention_ns: Some(10 * DAY), ..TableOptions::default() };
    create_cpu(cluster.store(0), table).await;
    let rows = [("a", 95 * DAY, 1.0), ("a", 99 * DAY, 2.0)];
    let receipt = write(cluster.store(0), &rows).await.unwrap();
    // Groups are led by turns: this node's turn is the group of the last row's shard.
    let fast = (receipt.shards.last().unwrap().shard.0 as usize + 1) % 3;
    clocks[fast].advance(Duration::from_hours(24 * 365 * 100));
    let other = (0..3).find(|n| *n != fast).unwrap();
    clocks[other].advance(Duration::from_hours(24 * 7));
    let deadline = Instant::now() + PATIENCE;
    while read(cluster.store(0)).await.len() == 2 {
        assert!(Instant::now() < deadline, "nothing expires");
        // Whoever leads looks when its own clock says that it is time.
        for clock in &clocks {
            clock.advance(Duration::from_secs(31));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(read(cluster.store(0)).await, expect(&rows[1..]));
    cluster.close().await;
}

/// Of every replica, and of the groups that wrote nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_goes_on_every_node_when_nothing_is_written() {
    let clocks: Vec<_> = (0..3).map(|_| Arc::new(ManualClock::new(100 * DAY))).collect();
    let mut cluster = Cluster::empty();
    for (n, clock) in clocks.iter().enumerate() {
        cluster.add(&format!("n{}", n + 1));
        cluster.nodes[n].clock = Arc::<ManualClock>::clone(clock);
    }
    cluster.form().await;
    create_cpu(cluster.store(0), TableOptions::default()).await;
    let file_bytes = options("").wal_segment_bytes;
    let live = |n: usize| cluster.store(n).status().wal.bytes_live;
    let mut all = Vec::new();
    while live(0) < 3 * file_bytes {
        let from = i64::try_from(all.len()).unwrap();
        let value = |i: i64| (i.wrapping_mul(0x1e37_79b9_7f4a_7c15) >> 12) as f64;
        let rows: Vec<_> = (from..from + 20_000).map(|i| ("a", i * 1_000_003, value(i))).collect();
        write(cluster.store(0), &rows).await.unwrap();
        all.extend(rows);
    }
    let deadline = Instant::now() + PATIENCE;
    while (0..3).any(|n| live(n) > file_bytes) {
        assert!(Instant::now() < deadline, "{:?}", [live(0), live(1), live(2)]);
        for clock in &clocks {
            clock.advance(Duration::from_millis(250));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(read(cluster.store(0)).await, expect(&all));
    cluster.close().await;
}
