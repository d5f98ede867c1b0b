//! Disks that lose what was not synced, have no room, or are lost.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use super::Round;
use crate::{leader_of_most, wait};

/// How long a disk stays full, besides the time until writes go on.
const FULL_FOR: Duration = Duration::from_secs(2);
/// How long writes may take to go on without the nodes whose disks are full.
const GO_ON: Duration = Duration::from_secs(20);

pub(super) fn some_lose_power(round: &mut Round<'_>) {
    let victims = round.victims();
    round.cluster.kill(&victims);
    round.load.goes_on();
    round.cluster.restart(&victims);
    round.load.goes_on();
}

/// Nobody is left to go on until all are back.
pub(super) fn all_lose_power(round: &mut Round<'_>) {
    let all = round.cluster.all();
    round.cluster.kill(&all);
    round.cluster.restart(&all);
    round.load.goes_on();
}

/// Another file takes all that was left of the disks. Writes should go on without them; once there is room again, they
/// must.
pub(super) fn full(round: &mut Round<'_>) {
    let victims = round.victims();
    let ballast: Vec<_> = victims.iter().map(|v| round.cluster.disk(*v).join("ballast")).collect();
    for path in &ballast {
        fill(path).expect("a file can be made beside the data");
    }
    if round.load.goes_on_within(GO_ON) {
        wait(FULL_FOR);
    } else {
        let what =
            format!("writes to some shards were not acknowledged in {GO_ON:?} of a full disk");
        round.shortcoming = Some(what);
    }
    for path in &ballast {
        fs::remove_file(path).expect("the ballast can be removed");
    }
    round.load.goes_on();
}

/// Writes a file until there is no room.
fn fill(path: &Path) -> io::Result<()> {
    let mut file = File::create(path)?;
    for bytes in [1 << 20, 1 << 12] {
        let block = vec![0xa5; bytes];
        let full = loop {
            if let Err(error) = file.write_all(&block) {
                break error;
            }
        };
        if full.kind() != io::ErrorKind::StorageFull {
            return Err(full);
        }
    }
    Ok(())
}

/// A node comes back with nothing, and is replaced by itself; its old disk is not taken.
pub(super) fn lost(round: &mut Round<'_>) {
    let victim = leader_of_most(round.cluster);
    let asked = round.others(&[victim])[0];
    round.cluster.kill(&[victim]);
    round.load.goes_on();
    let old = round.cluster.take_disk(victim);
    round.cluster.replace(victim, asked);
    round.load.goes_on();
    let status = round.cluster.refused(victim, &old);
    assert!(!status.success(), "a node on a disk that was replaced ended well");
    round.load.goes_on();
    fs::remove_dir_all(old).expect("a disk that nobody uses can be removed");
}
