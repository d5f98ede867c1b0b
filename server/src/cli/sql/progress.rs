//! Tells that a query still runs: a spinner on standard error with the time it took and the rows that came so far.
//!
//! It is drawn at a terminal only, a second after the query began, and wiped away before the result is written.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use parking_lot::Mutex;

/// How long a query runs unmarked.
const PATIENCE: Duration = Duration::from_secs(1);

/// Between two drawings.
const TICK: Duration = Duration::from_millis(100);

/// The progress of one statement.
#[derive(Debug, Default)]
pub(super) struct Progress {
    rows: AtomicU64,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
enum Shown {
    #[default]
    NotYet,
    Drawn(ProgressBar),
    /// The result is being written.
    Over,
}

impl Progress {
    /// Rows came.
    pub(super) fn add(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Rows so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// Wipes the spinner away for good.
    pub(super) fn end(&self) {
        if let Shown::Drawn(bar) = std::mem::replace(&mut *self.shown.lock(), Shown::Over) {
            bar.finish_and_clear();
        }
    }

    /// Does the work, with the spinner beside it.
    pub(super) async fn beside<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            outcome = &mut work => outcome,
            never = self.draw() => match never {},
        }
    }

    async fn draw(&self) -> Infallible {
        tokio::time::sleep(PATIENCE).await;
        loop {
            self.tick();
            tokio::time::sleep(TICK).await;
        }
    }

    fn tick(&self) {
        let mut shown = self.shown.lock();
        if matches!(*shown, Shown::NotYet) {
            *shown = Shown::Drawn(bar());
        }
        if let Shown::Drawn(bar) = &*shown {
            bar.set_message(format!("{} rows", HumanCount(self.rows())));
            bar.tick();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

/// Hidden by itself where standard error is no terminal.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {elapsed_precise}  {msg}");
    let bar = ProgressBar::new_spinner().with_elapsed(PATIENCE);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
