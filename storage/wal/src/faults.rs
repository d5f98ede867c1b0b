//! What only a simulator asks of a store: to run the log without threads, and bugs planted on purpose, which its checks
//! must find.
//!
//! [`Faults`] is a field of [`crate::WalOptions`], and of the store's options above it. Its default asks for nothing, and
//! no setting, environment variable or build feature of a shipped program leads here.

use std::fmt::Debug;
use std::sync::Arc;

use crate::Wal;
use crate::shared::Shared;

/// A bug that can be planted: each breaks one promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Frames of the log are acknowledged without a sync.
    SkippedSync,
    /// Writes are acknowledged when they are proposed, not when they are committed.
    EarlyAcknowledgement,
    /// A damaged entry of the log counts as its end.
    TruncatedDamage,
    /// Manifests are written without the dedup window.
    DroppedDedup,
    /// A leader that restarts leads on in its old term.
    RestoredLeader,
    /// Compactions merge segments that are not neighbours in log order.
    DistantMerge,
}

/// What a simulator asks for; the default asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    planted: Option<PlantedBug>,
    pub(crate) driver: Option<Arc<dyn LogDriver>>,
}

impl Faults {
    /// Has the log run without threads: `driver` says when it goes on.
    #[must_use]
    pub fn driven_by(driver: Arc<dyn LogDriver>) -> Self {
        Self { planted: None, driver: Some(driver) }
    }

    /// Plants a bug.
    #[must_use]
    pub fn with_bug(self, bug: Option<PlantedBug>) -> Self {
        Self { planted: bug, ..self }
    }

    /// Whether a bug is planted.
    pub fn has(&self, bug: PlantedBug) -> bool {
        self.planted == Some(bug)
    }
}

/// Decides when a log without threads writes and syncs.
pub trait LogDriver: Debug + Send + Sync + 'static {
    /// The log is open. Called once, from [`crate::Wal::open`].
    fn drive(&self, log: &Wal, stepper: LogStepper);
    /// Something waits to be written. Called with locks held: it must not step.
    fn filled(&self);
}

/// Does what the threads of a log would do, one batch at a time. Keeps nothing open: once the log is closed or dropped,
/// steps do nothing.
#[derive(Debug)]
pub struct LogStepper {
    shared: std::sync::Weak<Shared>,
}

impl LogStepper {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::downgrade(shared) }
    }

    /// Writes and syncs one batch of what waits, and runs its callbacks. False if nothing could be done: nothing waits, or
    /// the disk is full.
    pub fn step(&self) -> bool {
        self.shared.upgrade().is_some_and(|shared| shared.step())
    }

    /// Whether something waits.
    pub fn has_work(&self) -> bool {
        self.shared.upgrade().is_some_and(|shared| !shared.queue.lock().is_empty())
    }
}
