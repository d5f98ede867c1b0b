//! Decoding and sorting, away from the threads that wait for the network.

use std::sync::LazyLock;

use tokio::sync::Semaphore;

use crate::{Error, ErrorKind};

/// As many at a time as there are cores: more would only take turns, and each holds its columns in memory meanwhile.
static CORES: LazyLock<Semaphore> = LazyLock::new(|| {
    Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
});

/// Runs `work` on a thread for blocking work, when a core is free.
pub(super) async fn on_cpu<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let core = CORES.acquire().await.expect("the semaphore is never closed");
    let done = tokio::task::spawn_blocking(work).await;
    drop(core);
    done.map_err(|e| Error::request(ErrorKind::Internal, format!("a write failed to decode: {e}")))
}
