//! The runtime that openraft's cores run on: Tokio's, whose ticks fall together.
//!
//! Every core ticks by itself, several times per heartbeat, with a phase of its own. A node has a core for every group,
//! and an idle one would mostly wake up for ticks that find nothing to do. Here all sleeps until an instant end on one
//! grid, so that the cores of a process tick, send and answer heartbeats at one wake-up.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use openraft::async_runtime::Instant as _;
use openraft::impls::TokioRuntime;
use openraft::{AsyncRuntime, OptionalSend};
use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

/// How far apart sleeps end. Every tick costs the core some work, so this is longer than the time between two ticks of
/// openraft's own: half of the heartbeat on a local network, and a little more, so that a heartbeat is never missed by a
/// hair and put off until the next tick. An election begins later by this at most.
const GRID: Duration = Duration::from_millis(51);

/// Shorter sleeps are pauses within an operation and are not made longer.
const EXACT_BELOW: Duration = Duration::from_millis(5);

/// Tokio, with sleeps until an instant that end on a grid.
#[derive(Debug)]
pub(crate) struct GridRuntime(TokioRuntime);

/// Where the grid of each runtime begins. It is told by runtime, not by process, since a simulator's runtimes have
/// clocks of their own, and the same seed must give the same trace whatever ran before it. The hash has no random keys
/// for the same reason.
static ORIGINS: Mutex<HashMap<Id, Instant, BuildHasherDefault<DefaultHasher>>> =
    Mutex::new(HashMap::with_hasher(BuildHasherDefault::new()));

/// `wait` from `now`, made longer so that it ends on the grid that begins at `origin`.
fn on_grid(origin: Instant, now: Instant, wait: Duration) -> Duration {
    if wait < EXACT_BELOW {
        return wait;
    }
    let end = now.saturating_duration_since(origin) + wait;
    let past = u64::try_from(end.as_nanos() % GRID.as_nanos()).unwrap_or_default();
    let past = Duration::from_nanos(past);
    if past.is_zero() { wait } else { wait + GRID.saturating_sub(past) }
}

impl AsyncRuntime for GridRuntime {
    type JoinError = <TokioRuntime as AsyncRuntime>::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::JoinHandle<T>;
    type Sleep = <TokioRuntime as AsyncRuntime>::Sleep;
    type Instant = <TokioRuntime as AsyncRuntime>::Instant;
    type TimeoutError = <TokioRuntime as AsyncRuntime>::TimeoutError;
    type Timeout<R, T: Future<Output = R> + OptionalSend> =
        <TokioRuntime as AsyncRuntime>::Timeout<R, T>;
    type ThreadLocalRng = <TokioRuntime as AsyncRuntime>::ThreadLocalRng;
    type Mpsc = <TokioRuntime as AsyncRuntime>::Mpsc;
    type Watch = <TokioRuntime as AsyncRuntime>::Watch;
    type Oneshot = <TokioRuntime as AsyncRuntime>::Oneshot;
    type Mutex<T: OptionalSend + 'static> = <TokioRuntime as AsyncRuntime>::Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        TokioRuntime::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        TokioRuntime::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        let wait = deadline.saturating_duration_since(Self::Instant::now());
        let now = Instant::now();
        let origin = *ORIGINS.lock().entry(Handle::current().id()).or_insert(now);
        tokio::time::sleep_until(now + on_grid(origin, now, wait))
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        TokioRuntime::timeout_at(deadline, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        TokioRuntime::is_panic(join_error)
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        TokioRuntime::thread_rng()
    }

    fn new(threads: usize) -> Self {
        Self(TokioRuntime::new(threads))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn waits_end_on_the_grid_and_never_early() {
        let origin = Instant::now();
        for (passed, wait, ends) in
            [(0, 51, 51), (0, 52, 102), (7, 20, 51), (40, 12, 102), (3, 997, 1020)]
        {
            let (passed, wait) = (Duration::from_millis(passed), Duration::from_millis(wait));
            let longer = on_grid(origin, origin + passed, wait);
            assert_eq!(passed + longer, Duration::from_millis(ends));
        }
        let pause = Duration::from_micros(1);
        assert_eq!(on_grid(origin, origin + Duration::from_millis(7), pause), pause);
    }

    #[tokio::test]
    async fn sleeps_of_different_phases_end_together() {
        let now = <GridRuntime as AsyncRuntime>::Instant::now();
        let ends = [23, 29, 37, 51].map(|millis| {
            let sleep = GridRuntime::sleep_until(now + Duration::from_millis(millis));
            sleep.deadline()
        });
        let distinct: BTreeSet<_> = ends.iter().collect();
        assert!(distinct.len() <= 2, "four phases within 28 ms: {ends:?}");
        for pair in ends.windows(2) {
            let apart = (pair[1] - pair[0]).as_nanos();
            assert_eq!(apart % GRID.as_nanos(), 0, "{ends:?}");
        }
    }
}
