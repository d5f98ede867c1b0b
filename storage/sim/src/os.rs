//! The two calls of the C library through which the standard library, Tokio and `rand` learn the time and draw their seeds,
//! replaced by the simulation's own: what an executable defines counts before what a shared library does.
//!
//! Time is the simulated clock's, and what is random follows from where the process began. Linux only: elsewhere the
//! simulation runs, in real time, and its runs cannot be repeated.

use std::sync::atomic::{AtomicU64, Ordering};

use quorate_sim::{monotonic_nanos, wall_nanos};

/// What the monotonic clock shows when a simulation begins: some machine that has been up for a day.
const UPTIME_SECONDS: i64 = 86_400;
const NANOS: i64 = 1_000_000_000;
/// `CLOCK_REALTIME`, and the coarse one.
const WALL_CLOCKS: [i32; 2] = [0, 5];

/// Draws so far, of the whole process: it has one thread.
static DRAWN: AtomicU64 = AtomicU64::new(0);

/// `struct timespec` on 64-bit Linux.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Timespec {
    seconds: i64,
    nanos: i64,
}

/// Tells the simulated time.
///
/// # Safety
///
/// As of `clock_gettime(2)`: `time` is null or points to a `timespec` that may be written.
#[expect(unsafe_code, reason = "the clock of the process is simulated; see the module")]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(clock: i32, time: *mut Timespec) -> i32 {
    let now = if WALL_CLOCKS.contains(&clock) {
        let wall = wall_nanos();
        Timespec { seconds: wall.div_euclid(NANOS), nanos: wall.rem_euclid(NANOS) }
    } else {
        let up = i64::try_from(monotonic_nanos()).unwrap_or(i64::MAX);
        Timespec { seconds: UPTIME_SECONDS + up / NANOS, nanos: up % NANOS }
    };
    if !time.is_null() {
        // SAFETY: the caller gives a pointer that may be written, as the call demands.
        unsafe { time.write(now) };
    }
    0
}

/// Fills a buffer with bytes that are the same in every run.
///
/// # Safety
///
/// As of `getrandom(2)`: `buffer` points to `len` bytes that may be written.
#[expect(unsafe_code, reason = "the randomness of the process is simulated; see the module")]
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(buffer: *mut u8, len: usize, _flags: u32) -> isize {
    for at in 0..len {
        let drawn = DRAWN.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let mixed = drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let byte = (mixed ^ (mixed >> 29)).to_le_bytes()[6];
        // SAFETY: `at` is less than `len`, up to which the caller lets the buffer be written.
        unsafe { buffer.add(at).write(byte) };
    }
    isize::try_from(len).unwrap_or(isize::MAX)
}
