//! When a node's log writes and syncs: after a while that is drawn from the seed, or not before it is let go.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use quorate_wal::{LogDriver, LogStepper, Wal};
use tokio::sync::Notify;

use crate::random::Random;

/// While the disk is full, or held, it is looked again so often.
const AGAIN: Duration = Duration::from_millis(5);

/// The driver of one node's log. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SimLog {
    state: Arc<Mutex<State>>,
    filled: Arc<Notify>,
}

#[derive(Debug)]
struct State {
    random: Random,
    /// How long a sync takes, in microseconds: from, to.
    sync_us: (u64, u64),
    held: bool,
    log: Option<Wal>,
}

impl SimLog {
    pub(crate) const SYNC_US: (u64, u64) = (500, 4_000);

    pub(crate) fn new(random: Random) -> Self {
        let state = State { random, sync_us: Self::SYNC_US, held: false, log: None };
        Self { state: Arc::new(Mutex::new(state)), filled: Arc::default() }
    }

    /// How long syncs take from here on.
    pub(crate) fn set_sync(&self, sync_us: (u64, u64)) {
        self.state.lock().sync_us = sync_us;
    }

    /// Keeps the log from writing, or lets it go.
    pub(crate) fn hold(&self, held: bool) {
        self.state.lock().held = held;
    }

    /// The log, while it is open.
    pub(crate) fn log(&self) -> Option<Wal> {
        self.state.lock().log.clone()
    }

    /// The process has died.
    pub(crate) fn forget(&self) {
        let log = self.state.lock().log.take();
        drop(log);
    }

    fn takes(&self) -> Duration {
        let state = &mut *self.state.lock();
        let (low, high) = state.sync_us;
        Duration::from_micros(state.random.between(low, high))
    }

    async fn run(self, stepper: LogStepper) {
        loop {
            self.filled.notified().await;
            while stepper.has_work() {
                tokio::time::sleep(self.takes()).await;
                while self.state.lock().held {
                    tokio::time::sleep(AGAIN).await;
                }
                if !stepper.step() {
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }
}

impl LogDriver for SimLog {
    fn drive(&self, log: &Wal, stepper: LogStepper) {
        self.state.lock().log = Some(log.clone());
        tokio::spawn(self.clone().run(stepper));
    }

    fn filled(&self) {
        self.filled.notify_one();
    }
}
