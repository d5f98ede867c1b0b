//! Links that are cut, in both directions or in one, and slow ones.

use std::time::Duration;

use quorate_sql_tests::eventually;

use super::Round;
use crate::wait;

/// How long a cut lasts, besides the time until writes go on.
const CUT_FOR: Duration = Duration::from_secs(2);
const SLOW: Duration = Duration::from_millis(500);
/// How long writes may take to go on over slow links.
const GO_ON: Duration = Duration::from_mins(1);
/// No write waits as long as this once links are fast again: less than a slow one takes at best.
const FAST: Duration = Duration::from_millis(900);

pub(super) fn cut_off(round: &mut Round<'_>) {
    let victims = round.victims();
    round.cluster.network().cut_off(&victims);
    last(round);
}

pub(super) fn stalled(round: &mut Round<'_>) {
    let victims = round.victims();
    round.cluster.network().stall(&victims);
    last(round);
}

/// The victims go on sending heartbeats and entries, and hear nobody.
pub(super) fn deaf(round: &mut Round<'_>) {
    let victims = round.victims();
    for victim in &victims {
        for other in round.others(&victims) {
            round.cluster.network().hold(other, *victim);
        }
    }
    last(round);
}

/// The victims hear everybody, and nobody hears them.
pub(super) fn mute(round: &mut Round<'_>) {
    let victims = round.victims();
    for victim in &victims {
        for other in round.others(&victims) {
            round.cluster.network().hold(*victim, other);
        }
    }
    last(round);
}

/// Writes go on, the cut lasts, and is healed.
fn last(round: &mut Round<'_>) {
    round.load.goes_on();
    wait(CUT_FOR);
    round.cluster.network().heal();
    round.load.goes_on();
}

/// Writes should go on and keep going on; they must when links are fast again, and be fast.
pub(super) fn slow(round: &mut Round<'_>) {
    round.cluster.network().delay(SLOW);
    if !(0..3).all(|_| round.load.goes_on_within(GO_ON)) {
        let what =
            format!("writes to some shards were not acknowledged in {GO_ON:?} of slow links");
        round.shortcoming = Some(what);
    }
    let slow = round.load.history.pause();
    round.cluster.network().heal();
    eventually("writes are fast again", || {
        round.load.history.begin_round();
        round.load.goes_on();
        let pause = round.load.history.pause();
        if pause < FAST { Ok(()) } else { Err(format!("one waited for {pause:?}")) }
    });
    round.load.history.waited(slow);
}
