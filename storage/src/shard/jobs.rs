//! The jobs of a shard: files for flushes and compactions, built beside the log and installed in its order.
//!
//! ```text
//! Flush applied ─▶ build (blocking thread) ─▶ install, manifest ─▶ propose Verify ─▶ applied: purge the log
//! Compact applied ─▶ wait for inputs ─▶ build ─▶ install ─▶ propose Verify ─▶ applied: inputs may go
//! ```
//!
//! A build that fails for want of space is tried again; the memtable stays in memory and in the log meanwhile. A
//! failed write or sync ends the process, as for the log: nobody knows what the disk holds. Damage, or a bug, stops
//! this shard alone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::build::{Built, build_compaction, build_flush};
use super::command::{Command, VerifyCommand};
use super::machine::ShardMachine;
use super::replica::Shard;
use super::scrub::mend;
use crate::scan::OpenSegment;
use crate::version::LiveSegment;
use crate::{Error, ErrorKind, blocking};

const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);
const VERIFY_DEADLINE: Duration = Duration::from_secs(10);

/// What the jobs of all shards of a node share.
#[derive(Clone, Debug)]
pub(crate) struct JobSlots {
    /// Flushes at once.
    pub(crate) flushes: Arc<Semaphore>,
    /// Compactions at once.
    pub(crate) compactions: Arc<Semaphore>,
    /// Why the process must end, once it must.
    pub(crate) failure: watch::Sender<Option<String>>,
    /// The store closes.
    pub(crate) cancel: CancellationToken,
}

/// Builds and installs flushes, one after the other, until the store closes. Runs from before the log is applied again,
/// since that may freeze more memtables than may wait.
pub(crate) async fn run_flushes(machine: Arc<ShardMachine>, slots: JobSlots) {
    let mut retry = Retry::new();
    loop {
        let work = machine.flush_work.notified();
        let next = machine.live().state.flushes.keys().next().copied();
        let Some(job) = next else {
            tokio::select! {
                () = slots.cancel.cancelled() => return,
                () = work => continue,
            }
        };
        let Ok(slot) = slots.flushes.acquire().await else { return };
        let built = run_blocking(&machine, move |machine| flush(machine, job)).await;
        drop(slot);
        match built {
            Ok(()) => {
                retry = Retry::new();
                machine.installed.notify_waiters();
                machine.work.notify_one();
            }
            // Another replica's manifest took the state's place meanwhile.
            Err(_) if !machine.live().state.flushes.contains_key(&job) => {}
            Err(e) => {
                let stop = failed(&machine, &slots, &format!("flush {job}"), &e);
                if stop || !retry.wait(&slots.cancel).await {
                    return;
                }
            }
        }
    }
}

/// Builds and installs compactions whose inputs are there, has the group agree on what jobs made, and clears up behind
/// verified ones, until the store closes.
pub(crate) async fn run_compactions(shard: Arc<Shard>, slots: JobSlots) {
    let machine = shard.machine();
    let mut retry = Retry::new();
    loop {
        let work = machine.work.notified();
        let verified = verify(&shard).await;
        clear_verified(&shard).await;
        let next = {
            let live = machine.live();
            let runnable = live.state.compactions.values().find(|c| live.state.runnable(c));
            runnable.map(|c| c.position.index)
        };
        let Some(job) = next else {
            let again = if verified { RETRY_MAX } else { RETRY_MIN };
            tokio::select! {
                () = slots.cancel.cancelled() => return,
                () = work => continue,
                () = tokio::time::sleep(again) => continue,
            }
        };
        let slot = tokio::select! {
            () = slots.cancel.cancelled() => return,
            slot = slots.compactions.acquire() => slot,
        };
        let Ok(slot) = slot else { return };
        let built = run_blocking(machine, move |machine| compact(machine, job)).await;
        drop(slot);
        match built {
            Ok(()) => retry = Retry::new(),
            // An input is damaged: another replica has it, or what became of it, and can be reached at some time.
            Err(e) if is_damage(&e) && machine.files.fetcher.is_some() => {
                if !mended(&shard, job).await && !retry.wait(&slots.cancel).await {
                    return;
                }
            }
            Err(e) => {
                let stop = failed(machine, &slots, &format!("compaction {job}"), &e);
                if stop || !retry.wait(&slots.cancel).await {
                    return;
                }
            }
        }
    }
}

/// Gets a compaction the inputs that are damaged here, or a state that does without them. Reads of what is damaged fail
/// by name until then.
async fn mended(shard: &Shard, job: u64) -> bool {
    let damaged = mend(shard.machine(), job).await;
    if damaged.is_empty() {
        return true;
    }
    match shard.go_on_without(&damaged).await {
        Ok(done) => done,
        Err(e) => {
            let why = crate::with_causes(&e);
            tracing::warn!("damaged files of shard {} are needed still: {why}", shard.id().0);
            false
        }
    }
}

/// Waits longer each time.
struct Retry(Duration);

impl Retry {
    fn new() -> Self {
        Self(RETRY_MIN)
    }

    /// False when the store closes meanwhile.
    async fn wait(&mut self, cancel: &CancellationToken) -> bool {
        let wait = self.0;
        self.0 = (wait * 2).min(RETRY_MAX);
        tokio::select! {
            () = cancel.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }
}

/// What a job made, as hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(super) job: u64,
    pub(super) content: [u8; 32],
    files: [u8; 32],
}

impl Made {
    fn of(job: u64, segments: &[LiveSegment]) -> Self {
        let mut files = blake3::Hasher::new();
        for segment in segments {
            files.update(&segment.meta.file_hash);
        }
        let content = content_of(segments);
        Self { job, content, files: *files.finalize().as_bytes() }
    }
}

/// Hash over the content hashes of what a job made, in the order of its parts.
pub(crate) fn content_of<'a>(segments: impl IntoIterator<Item = &'a LiveSegment>) -> [u8; 32] {
    let mut content = blake3::Hasher::new();
    for segment in segments {
        content.update(&segment.meta.content_hash);
    }
    *content.finalize().as_bytes()
}

async fn run_blocking<T: Send + 'static>(
    machine: &Arc<ShardMachine>,
    job: impl FnOnce(&ShardMachine) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let machine = Arc::clone(machine);
    blocking::run("a job", move || job(&machine)).await
}

fn open(machine: &ShardMachine, built: &Built) -> Result<Vec<Arc<OpenSegment>>, Error> {
    built.segments.iter().map(|s| machine.open_segment(s)).collect()
}

fn flush(machine: &ShardMachine, job: u64) -> Result<(), Error> {
    let built = build_flush(machine, job)?;
    let open = open(machine, &built)?;
    let made = Made::of(job, &built.segments);
    if machine.install_flush(job, built.segments, open, built.deduplicated)? {
        machine.note_made(made)?;
    }
    machine.remove_released()?;
    Ok(())
}

fn compact(machine: &ShardMachine, job: u64) -> Result<(), Error> {
    let Some(built) = build_compaction(machine, job)? else { return Ok(()) };
    let open = open(machine, &built)?;
    let made = Made::of(job, &built.segments);
    if machine.install_compaction(job, built.segments, open, built.deduplicated)? {
        machine.note_made(made)?;
    }
    Ok(())
}

/// Has the group agree on what jobs made; the leader does, and the others keep what they made in case that they lead
/// later. False if something is left to try again.
async fn verify(shard: &Shard) -> bool {
    let machine = shard.machine();
    let mut made = std::mem::take(&mut *machine.to_verify.lock());
    {
        let live = machine.live();
        made.retain(|made| live.state.made.contains_key(&made.job));
    }
    let leads = shard.leads();
    let mut left = Vec::new();
    let mut trouble = false;
    for next in made {
        if !leads || trouble {
            left.push(next);
            continue;
        }
        let agreed = shard.majority_made(next.job, &next.content, VERIFY_DEADLINE).await;
        let verified = match agreed {
            Ok(true) => {
                let command = Command::Verify(VerifyCommand {
                    job: next.job,
                    content_hash: next.content,
                    file_hash: next.files,
                });
                shard.propose(&command, VERIFY_DEADLINE).await.map(|_| ())
            }
            Ok(false) => {
                left.push(next);
                continue;
            }
            Err(e) => Err(e),
        };
        if let Err(e) = verified {
            tracing::warn!("job {} of shard {} is verified later: {e}", next.job, shard.id().0);
            left.push(next);
            trouble = true;
        }
    }
    let done = !leads || left.is_empty();
    machine.to_verify.lock().extend(left);
    done
}

/// Lets go what verified jobs replaced.
async fn clear_verified(shard: &Shard) {
    let machine = shard.machine();
    let verified = {
        let mut live = machine.live();
        let verified = std::mem::take(&mut live.verified);
        for job in &verified {
            live.held.remove(job);
        }
        verified
    };
    if verified.is_empty() {
        return;
    }
    if let Err(e) = shard.purge_log(false).await {
        tracing::warn!("the log of shard {} is not purged yet: {e}", shard.id().0);
    }
    let removed = run_blocking(machine, ShardMachine::remove_released).await;
    if let Err(e) = removed {
        tracing::warn!("replaced segments of shard {} stay for now: {e}", shard.id().0);
    }
}

/// Decides what a failed build means: true if no further one is tried.
fn failed(machine: &ShardMachine, slots: &JobSlots, what: &str, error: &Error) -> bool {
    if slots.cancel.is_cancelled() {
        return true;
    }
    let cause = chain(error);
    let shard = machine.shard.0;
    let stop = if error.kind() == ErrorKind::Exhausted {
        tracing::warn!("{what} of shard {shard} waits for space: {cause}");
        machine.failing.store(true, Ordering::SeqCst);
        false
    } else if error.is_io() {
        tracing::error!("{what} of shard {shard} failed: {cause}");
        slots.failure.send_replace(Some(format!("{what} of shard {shard}: {cause}")));
        true
    } else {
        machine.stop(&format!("{what}: {cause}"));
        true
    };
    machine.installed.notify_waiters();
    stop
}

fn is_damage(error: &Error) -> bool {
    matches!(error, Error::Segment(e) if e.kind() == quorate_segment::ErrorKind::Corrupt)
}

/// An error with its sources, for the log.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
