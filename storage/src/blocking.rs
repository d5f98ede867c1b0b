//! Work that blocks on the disk, kept away from the tasks of an async runtime.
//!
//! A runtime with several threads hands it to another thread. On a runtime of one thread (a simulation, where nothing may
//! run beside it, or a small test) it runs where it is.

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::Error;

/// Runs work elsewhere and waits for it. `what` names it should it panic.
pub(crate) async fn run<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    if is_alone() {
        // As on a thread of its own, others come first.
        tokio::task::yield_now().await;
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(Error::Internal(format!("{what} panicked: {e}"))))
}

/// Runs work here, while other tasks of this thread go elsewhere.
pub(crate) fn in_place<T>(work: impl FnOnce() -> T) -> T {
    if is_alone() { work() } else { tokio::task::block_in_place(work) }
}

fn is_alone() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}
