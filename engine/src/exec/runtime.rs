//! The runtime that queries compute on: threads of their own, so that a heartbeat never waits for a query.

use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::{Error, ErrorKind};

/// Planning goes down expressions by recursion, and some of DataFusion's rules take kilobytes a level.
const STACK_BYTES: usize = 32 << 20;

/// How long the threads may take to end when the engine closes.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(5);

/// Threads for planning and executing queries.
#[derive(Debug)]
pub(crate) struct QueryRuntime {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
}

impl QueryRuntime {
    /// Starts the threads.
    pub(crate) fn start(threads: usize) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("quorate-query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|e| {
                Error::request(ErrorKind::Internal, format!("cannot start query threads: {e}"))
            })?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Mutex::new(Some(runtime)) })
    }

    /// Where tasks are spawned.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Runs a future on the query threads. Dropping the caller drops the future.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let task = {
            let _entered = self.handle.enter();
            SpawnedTask::spawn(work)
        };
        match task.join().await {
            Ok(outcome) => outcome,
            Err(e) => Err(lost(&e)),
        }
    }

    /// Ends the threads once their tasks yield, without waiting for them.
    pub(crate) fn stop(&self) {
        if let Some(runtime) = self.runtime.lock().take() {
            runtime.shutdown_background();
        }
    }

    /// Ends the threads and waits for them.
    pub(crate) async fn stop_and_wait(&self) {
        let runtime = self.runtime.lock().take();
        if let Some(runtime) = runtime {
            // A runtime must not be waited for on an async thread.
            let stopped = tokio::task::spawn_blocking(move || {
                runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
            });
            if stopped.await.is_err() {
                tracing::error!("the query threads did not stop");
            }
        }
    }
}

impl Drop for QueryRuntime {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The error for a task that ended without an answer.
pub(crate) fn lost(error: &tokio::task::JoinError) -> Error {
    if error.is_panic() {
        tracing::error!("a query panicked");
        Error::request(ErrorKind::Internal, "the query failed unexpectedly; the node goes on")
    } else {
        Error::request(ErrorKind::Unavailable, "the node is shutting down")
    }
}
