//! Processes that are killed, paused, and stopped in order.

use std::time::Duration;

use super::Round;
use crate::wait;

/// How long a paused process stays so, besides the time until writes go on without it.
const PAUSED_FOR: Duration = Duration::from_secs(3);

pub(super) fn killed(round: &mut Round<'_>) {
    let victims = round.victims();
    round.cluster.kill(&victims);
    round.load.goes_on();
    round.cluster.restart(&victims);
    round.load.goes_on();
}

/// Those who led take themselves for leaders when they wake up, and must not answer as such.
pub(super) fn paused(round: &mut Round<'_>) {
    let victims = round.victims();
    for node in &victims {
        round.cluster.pause(*node);
    }
    round.load.goes_on();
    wait(PAUSED_FOR);
    for node in &victims {
        round.cluster.resume(*node);
    }
    round.load.goes_on();
}

/// The stop by itself: what waits for a node that comes back and reads its log on the same cores is left out.
pub(super) fn stopped_in_order(round: &mut Round<'_>) {
    let node = round.victims()[0];
    round.cluster.stop(node);
    round.load.goes_on();
    round.pause = Some(round.load.history.pause());
    round.cluster.restart(&[node]);
    round.load.goes_on();
}

/// One node after the other, a node a round.
pub(super) fn restarted_in_order(round: &mut Round<'_>) {
    let all = round.cluster.all();
    let turn = usize::try_from(round.number).expect("few rounds") % all.len();
    round.cluster.stop(all[turn]);
    round.cluster.restart(&[all[turn]]);
    round.load.goes_on();
}
