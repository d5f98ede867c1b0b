//! The background thread: prepares the next segment, and removes those that are not needed.
//!
//! One spare segment is always ready (written with zeros and synced), so that the writer never runs out of
//! space in the middle of a commit, and so that a sync has no metadata to write. A disk that is full shows
//! here first; the thread then waits until it is asked again.
//!
//! What crashes leave: a spare, ready or not, which recovery removes; segments that were to be removed, which
//! recovery recognises (each frame says which is the oldest segment that is needed) and has removed again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::disk::{DiskFile, OpenMode};
use crate::log_segment::{SPARE, segment_path};
use crate::shared::Shared;

/// How long the writer waits before it asks again on a full disk.
const RETRY: Duration = Duration::from_millis(100);
/// The spare is synced after each of these, so that no sync of the log waits behind a large one.
const ZEROS_LEN: usize = 4 << 20;

/// A prepared segment.
#[derive(Clone, Debug)]
pub(crate) struct Spare {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) len: u64,
}

#[derive(Debug, Default)]
enum SpareState {
    #[default]
    Wanted,
    Ready(Spare),
    /// The writer has it, and has not given it its name yet.
    Taken,
    /// The disk is full.
    OutOfSpace,
    /// The disk failed: the writer ends when it needs a segment.
    Failed(io::Error),
}

/// What is known about space for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// There is a place.
    Enough,
    /// It will be known when the writer or this thread has done what it is at.
    Later,
    /// The disk is full. This has the thread try again.
    None,
}

#[derive(Debug, Default)]
struct State {
    spare: SpareState,
    /// Segments below this one can go.
    remove_below: u64,
    removed_below: u64,
    stopping: bool,
}

impl State {
    /// Whether the thread has something to do.
    fn waits(&self) -> bool {
        let spare_wanted = !self.stopping && matches!(self.spare, SpareState::Wanted);
        self.remove_below > self.removed_below || spare_wanted
    }
}

/// What the thread is asked to do, and what it has done.
#[derive(Debug, Default)]
pub(crate) struct Background {
    state: Mutex<State>,
    changed: Condvar,
}

impl Background {
    pub(crate) fn stop(&self) {
        self.state.lock().stopping = true;
        self.changed.notify_all();
    }

    pub(crate) fn remove_below(&self, segment: u64) {
        let mut state = self.state.lock();
        if segment > state.remove_below {
            state.remove_below = segment;
            self.changed.notify_all();
        }
    }

    /// Whether the spare has room for this many bytes that do not fit into the segment being written. `alone`:
    /// nothing else waits for it, so that they get a segment as long as they need.
    pub(crate) fn room(&self, bytes: u64, alone: bool) -> Room {
        let mut state = self.state.lock();
        if matches!(state.spare, SpareState::OutOfSpace) {
            state.spare = SpareState::Wanted;
            self.changed.notify_all();
            return Room::None;
        }
        match &state.spare {
            SpareState::Ready(spare) if bytes <= spare.len || alone => Room::Enough,
            // The writer finds out, and ends.
            SpareState::Failed(_) => Room::Enough,
            SpareState::Ready(_)
            | SpareState::Wanted
            | SpareState::Taken
            | SpareState::OutOfSpace => Room::Later,
        }
    }

    /// Takes the spare, waiting for it. [`Background::spare_named`] must follow.
    /// On a full disk this waits for space until `give_up` says not to.
    pub(crate) fn take_spare(&self, give_up: impl Fn() -> bool) -> io::Result<Spare> {
        let mut state = self.state.lock();
        loop {
            match std::mem::replace(&mut state.spare, SpareState::Taken) {
                SpareState::Ready(spare) => return Ok(spare),
                SpareState::Failed(error) => return Err(error),
                SpareState::OutOfSpace => {
                    if give_up() {
                        return Err(io::ErrorKind::StorageFull.into());
                    }
                    state.spare = SpareState::OutOfSpace;
                    self.changed.wait_for(&mut state, RETRY);
                    if matches!(state.spare, SpareState::OutOfSpace) {
                        state.spare = SpareState::Wanted;
                        self.changed.notify_all();
                    }
                }
                SpareState::Wanted | SpareState::Taken => {
                    if state.stopping {
                        return Err(io::ErrorKind::Interrupted.into());
                    }
                    state.spare = SpareState::Wanted;
                    self.changed.notify_all();
                    self.changed.wait(&mut state);
                }
            }
        }
    }

    /// The spare that was taken has its name: the next one can be made.
    pub(crate) fn spare_named(&self) {
        self.state.lock().spare = SpareState::Wanted;
        self.changed.notify_all();
    }

    /// Does something that takes space, again and again while the disk is full and `give_up` says not to.
    pub(crate) fn wait_for_space(
        &self,
        action: impl Fn() -> io::Result<()>,
        give_up: impl Fn() -> bool,
    ) -> io::Result<()> {
        loop {
            match action() {
                Err(error) if error.kind() == io::ErrorKind::StorageFull && !give_up() => {
                    self.changed.wait_for(&mut self.state.lock(), RETRY);
                }
                result => return result,
            }
        }
    }

    /// The thread.
    pub(crate) fn run(&self, shared: &Shared) {
        loop {
            while self.step(shared) {}
            let mut state = self.state.lock();
            if state.waits() {
                continue;
            }
            if state.stopping {
                break;
            }
            self.changed.wait(&mut state);
        }
    }

    /// Has the thread, or who stands in for it, try again on a full disk. Returns whether there was no space.
    pub(crate) fn retry_space(&self) -> bool {
        let mut state = self.state.lock();
        let full = matches!(state.spare, SpareState::OutOfSpace);
        if full {
            state.spare = SpareState::Wanted;
        }
        full
    }

    /// Does one thing that was asked for. False if there was nothing to do.
    pub(crate) fn step(&self, shared: &Shared) -> bool {
        let mut state = self.state.lock();
        if !state.waits() {
            return false;
        }
        if state.remove_below > state.removed_below {
            let below = state.remove_below;
            drop(state);
            remove_segments(shared, below);
            self.state.lock().removed_below = below;
        } else {
            drop(state);
            let made = make_spare(shared);
            state = self.state.lock();
            state.spare = match made {
                Ok(spare) => SpareState::Ready(spare),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => SpareState::OutOfSpace,
                Err(error) => {
                    tracing::warn!(%error, "cannot prepare a log segment");
                    SpareState::Failed(error)
                }
            };
            self.changed.notify_all();
            drop(state);
            shared.room_changed();
        }
        true
    }
}

fn make_spare(shared: &Shared) -> io::Result<Spare> {
    let path = shared.options.dir.join(SPARE);
    if shared.disk.exists(&path)? {
        shared.disk.remove(&path)?;
    }
    let file = shared.disk.open(&path, OpenMode::CreateNew)?;
    let len = shared.options.segment_bytes;
    match write_zeros(&*file, len) {
        Ok(()) => Ok(Spare { file, len }),
        Err(error) => {
            // Half a spare takes the space that others wait for.
            drop(file);
            shared.disk.remove(&path)?;
            Err(error)
        }
    }
}

fn write_zeros(file: &dyn DiskFile, len: u64) -> io::Result<()> {
    file.allocate(len)?;
    let zeros = vec![0; usize::try_from(len).map_or(ZEROS_LEN, |len| len.min(ZEROS_LEN))];
    let mut at = 0;
    while at < len {
        let rest = usize::try_from(len - at).map_or(zeros.len(), |rest| rest.min(zeros.len()));
        file.write_all_at(&zeros[..rest], at)?;
        file.sync_data()?;
        at += rest as u64;
    }
    Ok(())
}

/// Removes from the oldest on, each durably before the next, so that the rest stays without holes.
fn remove_segments(shared: &Shared, below: u64) {
    let dir = &shared.options.dir;
    let gone: Vec<u64> = shared.segments.read().range(..below).map(|(number, _)| *number).collect();
    for number in gone {
        let path = segment_path(dir, number);
        if let Err(error) = shared.disk.remove(&path).and_then(|()| shared.disk.sync_dir(dir)) {
            tracing::warn!(path = %path.display(), %error, "cannot remove a log segment");
            return;
        }
        shared.segments.write().remove(&number);
    }
}
