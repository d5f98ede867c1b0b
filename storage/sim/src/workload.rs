//! Clients: they write, overwrite, delete, repeat, read, flush and compact, each one thing at a time, through any node.
//!
//! Points of hosts `u<n>` are written once, by one write: what is there proves which. Hosts `c<n>` are written by everybody;
//! hosts `d<n>` are deleted, too. The value of every row is the id of the write.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quorate_storage::catalog::OptionsChange;
use quorate_storage::scan::TimeRange;
use quorate_storage::{
    Delete, Error, ErrorKind, ReadLevel, SeriesSelection, ShardReceipt, Store, WriteLevel,
    WriteOptions, WriteReceipt, with_causes,
};

use crate::cluster::Cluster;
use crate::history::{History, Key, OpId, Outcome, Read, Work, parts};
use crate::random::Random;
use crate::table::{self, DAY, DAYS, OnlyHost};
use crate::trace::Trace;

/// How often a keyed write is tried before its client gives it up.
const ATTEMPTS_MAX: usize = 12;
/// How long a flush or compaction is waited for.
const JOB_PATIENCE: Duration = Duration::from_secs(8);
/// How long a change of routing is waited for: what is not done then is left in the middle.
const ALTER_PATIENCE_MS: u64 = 1_500;
/// How often the days of new points go on, where they do.
const DAY_GOES_ON_MS: u128 = 400;
/// No call takes longer, whatever happens.
const CALL_MAX: Duration = Duration::from_mins(1);

/// What clients do, in parts of a thousand; the rest are linearizable reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    pub(crate) clients: usize,
    /// Longest pause between two calls of a client, in microseconds.
    pub(crate) pause_us: u64,
    pub(crate) keyed: u64,
    pub(crate) unkeyed: u64,
    pub(crate) deletes: u64,
    pub(crate) session_reads: u64,
    pub(crate) flushes: u64,
    pub(crate) compactions: u64,
    /// Changes of the table's routing. Where there are some, the days of the points go on with time: only slices behind
    /// the last row are routed anew.
    pub(crate) alters: u64,
}

impl Mix {
    /// Something of everything; how much is drawn.
    pub(crate) fn swarm(random: &mut Random) -> Self {
        Self {
            clients: random.pick(&[3, 5, 8]),
            pause_us: random.pick(&[20_000, 60_000, 200_000]),
            keyed: random.pick(&[200, 400]),
            unkeyed: random.pick(&[150, 300]),
            deletes: random.pick(&[0, 30, 80]),
            session_reads: 60,
            flushes: random.pick(&[0, 10, 40]),
            compactions: random.pick(&[0, 10, 30]),
            alters: random.pick(&[0, 5, 15]),
        }
    }
}

/// What all clients share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    pub(crate) history: Arc<Mutex<History>>,
    /// What a client saw that cannot be.
    pub(crate) findings: Arc<Mutex<Vec<String>>>,
    pub(crate) trace: Trace,
}

impl Shared {
    fn found(&self, what: String) {
        let mut findings = self.findings.lock();
        if findings.len() < 20 {
            findings.push(what);
        }
    }
}

/// A call that is under way.
#[derive(Debug)]
struct Busy {
    node: usize,
    life: u64,
    done: Arc<AtomicBool>,
    /// The keyed operation that it is an attempt of.
    keyed: Option<OpId>,
    until: Duration,
}

type Latest = Arc<Mutex<Option<(OpId, Vec<ShardReceipt>)>>>;

#[derive(Debug)]
struct Client {
    name: usize,
    random: Random,
    busy: Option<Busy>,
    next_at: Duration,
    /// A keyed operation to be tried again.
    again: Option<OpId>,
    /// Keyed operations that may be repeated although they were acknowledged.
    repeats: Vec<OpId>,
    latest: Latest,
    /// The earliest day that points are in now.
    first_day: i64,
    is_routed_anew: bool,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) shared: Shared,
    mix: Mix,
    clients: Vec<Client>,
}

impl Workload {
    pub(crate) fn new(mix: Mix, shared: Shared, random: &mut Random) -> Self {
        let client = |name| Client {
            name,
            random: random.fork(),
            busy: None,
            next_at: Duration::ZERO,
            again: None,
            repeats: Vec::new(),
            latest: Latest::default(),
            first_day: 0,
            is_routed_anew: mix.alters > 0,
        };
        Self { shared, mix, clients: (0..mix.clients).map(client).collect() }
    }

    /// A tick: clients that are free begin something, unless the work is to end.
    pub(crate) fn step(&mut self, cluster: &Cluster, ending: bool) {
        for client in &mut self.clients {
            client.look(cluster, &self.shared);
            if client.busy.is_none() && cluster.now >= client.next_at {
                client.begin(cluster, &self.shared, &self.mix, ending);
            }
        }
    }

    /// The last day that has points, where days go on.
    pub(crate) fn newest_day(&self) -> Option<i64> {
        let newest = self.clients.iter().map(|client| client.first_day + DAYS - 1).max();
        newest.filter(|_| self.mix.alters > 0)
    }

    /// Whether no client waits for anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.clients.iter().all(|client| client.busy.is_none())
    }
}

impl Client {
    /// Whether what it waits for has come, or never will.
    fn look(&mut self, cluster: &Cluster, shared: &Shared) {
        let Some(busy) = &self.busy else { return };
        let node = &cluster.nodes[busy.node];
        let died = !node.is_up() || node.life != busy.life;
        let done = busy.done.load(Ordering::Relaxed);
        if !done && !died {
            if cluster.now > busy.until {
                shared.found(format!(
                    "a call of client {} at node {} never ends",
                    self.name, busy.node
                ));
                self.busy = None;
            }
            return;
        }
        let keyed = busy.keyed;
        self.busy = None;
        let Some(id) = keyed else { return };
        let history = shared.history.lock();
        let op = &history.ops[&id];
        if op.acked().is_none() && op.attempts.len() < ATTEMPTS_MAX {
            self.again = Some(id);
        } else if self.repeats.len() < 16 && op.attempts.len() < ATTEMPTS_MAX {
            self.repeats.push(id);
        }
    }

    fn begin(&mut self, cluster: &Cluster, shared: &Shared, mix: &Mix, ending: bool) {
        self.next_at = cluster.now + Duration::from_micros(self.random.below(mix.pause_us));
        if mix.alters > 0 {
            let days = cluster.now.as_millis() / DAY_GOES_ON_MS;
            self.first_day = i64::try_from(days).expect("a short simulation");
        }
        let open = cluster.open();
        if open.is_empty() {
            return;
        }
        let node = self.random.pick(&open);
        let (Some(store), Some(runtime)) =
            (cluster.nodes[node].store(), cluster.nodes[node].runtime())
        else {
            return;
        };
        let done = Arc::new(AtomicBool::new(false));
        let Some((keyed, call)) = self.choose(store, shared, mix, node, ending) else { return };
        let ended = Arc::clone(&done);
        runtime.spawn(async move {
            call.await;
            ended.store(true, Ordering::Relaxed);
        });
        let life = cluster.nodes[node].life;
        self.busy = Some(Busy { node, life, done, keyed, until: cluster.now + CALL_MAX });
    }

    /// What to do next.
    fn choose(
        &mut self,
        store: Store,
        shared: &Shared,
        mix: &Mix,
        node: usize,
        ending: bool,
    ) -> Option<(Option<OpId>, Call)> {
        if let Some(id) = self.again.take() {
            return Some((Some(id), self.write(store, shared, id)));
        }
        if ending {
            return None;
        }
        if !self.repeats.is_empty() && self.random.permille(60) {
            let at = self.random.index(self.repeats.len());
            let id = self.repeats.swap_remove(at);
            return Some((Some(id), self.write(store, shared, id)));
        }
        let mut draw = self.random.below(1_000);
        let mut takes = |part: u64| {
            let hit = draw < part;
            draw = draw.saturating_sub(part);
            if hit {
                draw = u64::MAX;
            }
            hit
        };
        if takes(mix.keyed) || takes(mix.unkeyed) {
            let is_keyed = self.random.below(mix.keyed + mix.unkeyed) < mix.keyed;
            let id = self.new_write(shared, is_keyed);
            return Some((is_keyed.then_some(id), self.write(store, shared, id)));
        }
        if takes(mix.deletes) {
            let id = self.new_delete(shared);
            return Some((None, self.write(store, shared, id)));
        }
        let call: Call = if takes(mix.alters) {
            let patience = Duration::from_millis(1 + self.random.below(ALTER_PATIENCE_MS));
            let change = OptionsChange {
                time_slice_ns: self
                    .random
                    .permille(600)
                    .then(|| self.random.pick(&[DAY / 4, DAY / 2, DAY, 2 * DAY, 5 * DAY / 3])),
                spread: self.random.permille(700).then(|| self.random.pick(&[1, 2, 4, 7])),
                retention_ns: None,
            };
            Box::pin(alter(store, shared.trace.clone(), node, change, patience))
        } else if takes(mix.flushes) {
            Box::pin(job(shared.trace.clone(), node, "flush", async move { store.flush().await }))
        } else if takes(mix.compactions) {
            Box::pin(job(
                shared.trace.clone(),
                node,
                "compact",
                async move { store.compact().await },
            ))
        } else {
            let session = takes(mix.session_reads);
            let after = if session { self.latest.lock().clone() } else { None };
            Box::pin(read(store, shared.clone(), node, after))
        };
        Some((None, call))
    }

    fn day(&mut self) -> i64 {
        let day = i64::try_from(self.random.below(DAYS.unsigned_abs())).expect("a few days");
        (self.first_day + day) * DAY
    }

    fn time(&mut self, day: i64, times: u64) -> i64 {
        day + i64::try_from(self.random.below(times)).expect("a few times")
    }

    fn new_write(&mut self, shared: &Shared, is_keyed: bool) -> OpId {
        let mut days = vec![self.day()];
        if self.random.permille(150) {
            days.push(self.day());
        }
        let history = &mut *shared.history.lock();
        let mut keys: Vec<Key> = Vec::new();
        let id = history.ops.last_key_value().map_or(1, |(id, _)| id + 1);
        let unique = i64::try_from(id).expect("few operations") * 100 + 1_000;
        for day in days {
            for n in 0..=self.random.below(4) {
                let n = i64::try_from(n).expect("a few");
                keys.push((format!("u{}", self.name), day + unique + n));
            }
            for _ in 0..self.random.below(3) {
                let host = format!("c{}", self.random.below(3));
                keys.push((host, self.time(day, 4)));
            }
            if self.random.permille(300) {
                let host = format!("d{}", self.random.below(2));
                keys.push((host, self.time(day, 12)));
            }
        }
        keys.sort_unstable();
        keys.dedup();
        let key = is_keyed.then(|| format!("key-{id}"));
        history.begin(Work::Write(keys), key)
    }

    fn new_delete(&mut self, shared: &Shared) -> OpId {
        let day = self.day();
        let host = format!("d{}", self.random.below(2));
        let (a, b) = (self.time(day, 12), self.time(day, 12));
        let work = Work::Delete { host, from: a.min(b), to: a.max(b) };
        shared.history.lock().begin(work, None)
    }

    fn write(&mut self, store: Store, shared: &Shared, id: OpId) -> Call {
        let mut history = shared.history.lock();
        let attempt = history.attempt(id);
        let op = &history.ops[&id];
        shared
            .trace
            .note(format_args!("call {} op {id} attempt {attempt} {:?}", self.name, op.work));
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&id.to_le_bytes());
        let options = WriteOptions {
            idempotency_key: op.key.clone().map(|key| (key, 0)),
            digest: op.key.is_some().then_some(digest),
            level: if self.random.permille(50) { WriteLevel::All } else { WriteLevel::Quorum },
            ..WriteOptions::default()
        };
        let call = Attempted {
            store,
            shared: shared.clone(),
            id,
            attempt,
            is_routed_anew: self.is_routed_anew,
            work: op.work.clone(),
            options,
            latest: Arc::clone(&self.latest),
        };
        Box::pin(call.run())
    }
}

type Call = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// One attempt of a write or delete.
struct Attempted {
    store: Store,
    shared: Shared,
    id: OpId,
    attempt: usize,
    /// Whether points of one day may be in several shards.
    is_routed_anew: bool,
    work: Work,
    options: WriteOptions,
    latest: Latest,
}

impl Attempted {
    async fn run(self) {
        let result = self.call().await;
        let outcome = match result {
            None => Outcome::Failed,
            Some(Ok(receipt)) => {
                if !receipt.rejected.is_empty() || receipt.shards.iter().any(|p| p.rejected > 0) {
                    self.shared.found(format!("operation {} has rejections: {receipt:?}", self.id));
                }
                let parts = parts(&receipt);
                *self.latest.lock() = Some((self.id, receipt.shards));
                Outcome::Acked(parts)
            }
            Some(Err(e)) => {
                self.shared.trace.note(format_args!(
                    "error of op {}: {}",
                    self.id,
                    with_causes(&e)
                ));
                self.outcome_of(&e)
            }
        };
        self.shared.trace.note(format_args!("end op {} {outcome:?}", self.id));
        self.shared.history.lock().end(self.id, self.attempt, outcome);
    }

    /// None where the node does not know the table yet.
    async fn call(&self) -> Option<Result<WriteReceipt, Error>> {
        match &self.work {
            Work::Write(keys) => {
                let batch = table::batch(&self.store, keys, self.id)?;
                Some(self.store.write(batch, &self.options).await)
            }
            Work::Delete { host, from, to } => {
                let delete = Delete {
                    table: table::find(&self.store)?.id,
                    time: TimeRange { start: *from, end: *to },
                    series: SeriesSelection::Matching(Arc::new(OnlyHost(host.clone()))),
                };
                Some(self.store.delete(delete, &self.options).await)
            }
        }
    }

    /// An error of one shard says whether that shard did something; of several, the others may have.
    fn outcome_of(&self, error: &Error) -> Outcome {
        let one_shard = match &self.work {
            Work::Write(keys) if self.is_routed_anew => keys.len() == 1,
            Work::Write(keys) => {
                keys.iter().all(|k| k.1.div_euclid(DAY) == keys[0].1.div_euclid(DAY))
            }
            Work::Delete { .. } => !self.is_routed_anew,
        };
        match error.kind() {
            ErrorKind::NotLeader | ErrorKind::Unavailable | ErrorKind::Conflict if one_shard => {
                Outcome::Failed
            }
            ErrorKind::Invalid | ErrorKind::NotFound => {
                self.shared.found(format!("operation {}: {}", self.id, with_causes(error)));
                Outcome::Unknown
            }
            _ => Outcome::Unknown,
        }
    }
}

async fn alter(store: Store, trace: Trace, node: usize, change: OptionsChange, patience: Duration) {
    let Some(table) = table::find(&store) else { return };
    let ended = tokio::time::timeout(patience, store.change_options(table.id, &change)).await;
    let ended = ended.map(|result| result.map_err(|e| with_causes(&e)));
    trace.note(format_args!("{change:?} at {node}: {ended:?}, {:?}", store.routing(table.id)));
}

async fn job(
    trace: Trace,
    node: usize,
    name: &'static str,
    job: impl Future<Output = Result<(), Error>> + Send,
) {
    let ended = tokio::time::timeout(JOB_PATIENCE, job).await;
    let ended = ended.map(|result| result.map_err(|e| with_causes(&e)));
    trace.note(format_args!("{name} at {node}: {ended:?}"));
}

async fn read(store: Store, shared: Shared, node: usize, after: Option<(OpId, Vec<ShardReceipt>)>) {
    let Some(table) = table::find(&store) else { return };
    let began = shared.history.lock().tick();
    let (after, level) = match after {
        Some((id, receipts)) => (Some(id), ReadLevel::Session(receipts)),
        None => (None, ReadLevel::Linearizable),
    };
    let rows = match store.view(table.id, TimeRange::ALL, &level).await {
        Ok(view) => table::rows(&view),
        Err(e) => Err(e),
    };
    match rows {
        Ok(Ok(rows)) => {
            shared.trace.note(format_args!("read at {node}: {} rows", rows.len()));
            let mut history = shared.history.lock();
            let ended = history.tick();
            history.reads.push(Read { node, after, began, ended, rows });
        }
        Ok(Err(what)) => shared.found(format!("C2 a read at node {node}: {what}")),
        Err(e) => shared.trace.note(format_args!("read at {node}: {}", with_causes(&e))),
    }
}
