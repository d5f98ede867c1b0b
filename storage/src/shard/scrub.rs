//! Reads every byte of a shard's segments again, so that damage is found before the last good copy is gone.
//!
//! A damaged file is fetched from another replica, over the one that is here, and opened anew; reads in progress keep
//! what they have open, of which they believe nothing that does not match its hash. On a node of its own it stays, and
//! what needs it fails by name. A file that could not be read for another reason counts as failed, never as sound.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::machine::ShardMachine;
use crate::scan::OpenSegment;
use crate::store::ShardId;
use crate::version::FileHash;
use crate::{blocking, with_causes};

/// How the latest pass over a shard stands, for `system.scrub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrubStatus {
    /// The shard.
    pub shard: ShardId,
    /// When it began, ns; none before the first.
    pub begun: Option<i64>,
    /// When it ended.
    pub finished: Option<i64>,
    /// Files to read.
    pub files: u64,
    /// Files read.
    pub files_done: u64,
    /// Bytes read.
    pub bytes_done: u64,
    /// Files that do not match their hashes, since the node started.
    pub damaged: u64,
    /// Damaged files that were fetched again, since the node started.
    pub repaired: u64,
    /// Files that could not be read, since the node started.
    pub failed: u64,
}

impl ScrubStatus {
    pub(crate) fn of(shard: ShardId) -> Self {
        Self {
            shard,
            begun: None,
            finished: None,
            files: 0,
            files_done: 0,
            bytes_done: 0,
            damaged: 0,
            repaired: 0,
            failed: 0,
        }
    }
}

/// One pass over a shard, at no more than `rate` bytes per second.
pub(crate) async fn scrub(
    machine: &Arc<ShardMachine>,
    rate: u64,
    now: impl Fn() -> i64,
    cancel: &CancellationToken,
) {
    let segments: Vec<Arc<OpenSegment>> = machine.live().files.values().cloned().collect();
    machine.scrubbed(|status| {
        status.begun = Some(now());
        status.finished = None;
        (status.files, status.files_done, status.bytes_done) = (segments.len() as u64, 0, 0);
    });
    for segment in segments {
        if cancel.is_cancelled() || machine.stopped().is_some() {
            return;
        }
        let begun = Instant::now();
        let bytes = segment.live.meta.bytes;
        check(machine, segment).await;
        machine.scrubbed(|status| {
            status.files_done += 1;
            status.bytes_done += bytes;
        });
        #[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
        let due = begun + Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64);
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep_until(due) => {}
        }
    }
    machine.scrubbed(|status| status.finished = Some(now()));
}

/// Looks at the inputs of a compaction at once, which met damage. Returns those that are damaged still.
pub(crate) async fn mend(machine: &Arc<ShardMachine>, job: u64) -> BTreeSet<FileHash> {
    let segments: Vec<Arc<OpenSegment>> = {
        let live = machine.live();
        let inputs = live.state.compactions.get(&job).map(|c| c.command.choice.inputs.clone());
        let inputs = inputs.unwrap_or_default();
        let named = inputs.iter().filter_map(|name| live.state.version.find(name));
        named.filter_map(|segment| live.files.get(&segment.meta.file_hash).cloned()).collect()
    };
    let mut damaged = BTreeSet::new();
    for segment in segments {
        let hash = segment.live.meta.file_hash;
        if !check(machine, segment).await {
            damaged.insert(hash);
        }
    }
    damaged
}

/// Reads a file, and fetches it again if it is damaged. Returns whether it is sound now.
async fn check(machine: &Arc<ShardMachine>, segment: Arc<OpenSegment>) -> bool {
    let reading = Arc::clone(&segment);
    let reading = move || Ok(reading.reader.verify());
    let read = blocking::run("reading a segment", reading).await;
    let (shard, name) = (machine.shard.0, segment.live.file_name());
    let damage = match read {
        Ok(Ok(())) => return true,
        Ok(Err(e)) if e.kind() == quorate_segment::ErrorKind::Corrupt => e,
        Ok(Err(e)) => {
            tracing::error!("segment {name} of shard {shard} cannot be read: {}", with_causes(&e));
            machine.scrubbed(|status| status.failed += 1);
            return false;
        }
        Err(e) => {
            tracing::error!("reading segment {name} of shard {shard}: {e}");
            machine.scrubbed(|status| status.failed += 1);
            return false;
        }
    };
    machine.scrubbed(|status| status.damaged += 1);
    tracing::error!("segment {name} of shard {shard} is damaged: {}", with_causes(&damage));
    let Some(fetcher) = &machine.files.fetcher else { return false };
    let meta = Arc::clone(&segment.live.meta);
    let fetched = fetcher.fetch_again(machine.shard, &machine.files, &meta).await;
    let opening = Arc::clone(machine);
    let repaired = match fetched {
        Ok(()) => blocking::run("opening a segment", move || opening.reopen(&segment.live)).await,
        Err(e) => Err(e),
    };
    match repaired {
        Ok(()) => {
            machine.scrubbed(|status| status.repaired += 1);
            tracing::warn!("segment {name} of shard {shard} was fetched again and is sound");
            true
        }
        Err(e) => {
            tracing::error!(
                "segment {name} of shard {shard} is not repaired yet: {}",
                with_causes(&e)
            );
            false
        }
    }
}
