//! Histories made by hand, each with one thing wrong: the checker has to find it, and nothing else in a good one.

use std::collections::BTreeMap;

use quorate_storage::ShardId;

use super::*;
use crate::history::Attempt;

fn place(shard: u32, epoch: u64) -> RowPlace {
    RowPlace { shard: ShardId(shard), epoch }
}

/// One shard for all.
fn one_shard(_: &Key) -> RowPlace {
    place(0, 0)
}

/// Even times are shard 0's, odd ones shard 1's.
fn two_shards((_, time): &Key) -> RowPlace {
    place(u32::from(time % 2 != 0), 0)
}

/// From time 10 on, what was placed anew stays in shard 0.
fn placed_anew((_, time): &Key) -> RowPlace {
    place(0, if *time < 10 { 0 } else { 9 })
}

fn key(host: &str, time: i64) -> Key {
    (host.to_owned(), time)
}

fn part(shard: u32, index: u64, accepted: u64) -> Part {
    Part { shard, term: 1, index, accepted, duplicate: false }
}

/// A history, and what the replicas hold.
#[derive(Default)]
struct Story {
    history: History,
    end: Final,
}

impl Story {
    fn op(&mut self, work: Work, name: Option<&str>, outcome: Outcome) -> OpId {
        let id = self.history.begin(work, name.map(str::to_owned));
        let attempt = self.history.attempt(id);
        self.history.end(id, attempt, outcome);
        id
    }

    fn write(&mut self, keys: &[Key], outcome: Outcome) -> OpId {
        self.op(Work::Write(keys.to_vec()), None, outcome)
    }

    fn acked(&mut self, host: &str, time: i64, index: u64) -> OpId {
        self.write(&[key(host, time)], Outcome::Acked(vec![part(0, index, 1)]))
    }

    fn delete(&mut self, host: &str, index: u64) -> OpId {
        let work = Work::Delete { host: host.to_owned(), from: 0, to: 100 };
        self.op(work, None, Outcome::Acked(vec![part(0, index, 0)]))
    }

    /// All replicas hold these rows.
    fn hold(&mut self, rows: &[(&str, i64, OpId)]) {
        let rows: Rows = rows.iter().map(|(host, time, id)| (key(host, *time), *id)).collect();
        for node in 0..3 {
            self.end.replicas.insert(node, rows.clone());
        }
    }

    fn read(&mut self, rows: &[(&str, i64, OpId)]) {
        let began = self.history.tick();
        self.read_from(began, rows);
    }

    fn read_from(&mut self, began: Seq, rows: &[(&str, i64, OpId)]) {
        let rows = rows.iter().map(|(host, time, id)| (key(host, *time), *id)).collect();
        let ended = self.history.tick();
        self.history.reads.push(Read { node: 0, after: None, began, ended, rows });
    }

    /// The rules that are broken.
    fn check(&self, want: &[&str]) {
        self.check_by(want, &one_shard);
    }

    fn check_by(&self, want: &[&str], place_of: &dyn Fn(&Key) -> RowPlace) {
        let found = check(&self.history, &self.end, place_of);
        let rules: BTreeSet<&str> = found.iter().filter_map(|f| f.get(..2)).collect();
        assert_eq!(rules, want.iter().copied().collect(), "{found:#?}");
    }
}

#[test]
fn a_good_history_has_no_findings() {
    let mut story = Story::default();
    let a = story.acked("a", 1, 5);
    story.read(&[("a", 1, a)]);
    let b = story.acked("a", 1, 6);
    story.read(&[("a", 1, b)]);
    story.acked("d", 1, 7);
    story.delete("d", 8);
    let unknown = story.write(&[key("u", 1)], Outcome::Unknown);
    story.write(&[key("f", 1)], Outcome::Failed);
    story.hold(&[("a", 1, b), ("u", 1, unknown)]);
    story.check(&[]);
    story.hold(&[("a", 1, b)]);
    story.check(&[]);
}

#[test]
fn a_lost_point_is_found() {
    let mut story = Story::default();
    let a = story.acked("a", 1, 5);
    story.acked("a", 2, 6);
    story.hold(&[("a", 1, a)]);
    story.check(&["C1"]);
}

#[test]
fn rows_that_were_not_accepted_are_found() {
    let mut story = Story::default();
    let a = story.write(&[key("a", 1), key("b", 1)], Outcome::Acked(vec![part(0, 5, 1)]));
    story.hold(&[("a", 1, a), ("b", 1, a)]);
    story.check(&["C1"]);
}

#[test]
fn a_phantom_is_found() {
    let mut story = Story::default();
    let a = story.acked("a", 1, 5);
    story.hold(&[("a", 1, a), ("a", 2, 99)]);
    story.check(&["C2"]);
    story.hold(&[("a", 1, a), ("b", 1, a)]);
    story.check(&["C2"]);
}

#[test]
fn a_point_of_a_refused_write_is_found() {
    let mut story = Story::default();
    let refused = story.write(&[key("a", 1)], Outcome::Failed);
    story.hold(&[("a", 1, refused)]);
    story.check(&["C2"]);
}

#[test]
fn half_a_write_is_found_and_one_shard_of_two_is_not_half() {
    let mut story = Story::default();
    let keys = [key("a", 0), key("a", 2), key("a", 1)];
    let unknown = story.write(&keys, Outcome::Unknown);
    story.hold(&[("a", 0, unknown), ("a", 2, unknown)]);
    story.check_by(&[], &two_shards);
    story.hold(&[("a", 0, unknown), ("a", 1, unknown)]);
    story.check_by(&["C3"], &two_shards);
}

#[test]
fn an_old_value_is_found() {
    let mut story = Story::default();
    let a = story.acked("a", 1, 5);
    story.acked("a", 1, 6);
    story.hold(&[("a", 1, a)]);
    story.check(&["C4"]);
}

#[test]
fn a_deleted_point_that_is_back_is_found() {
    let mut story = Story::default();
    let a = story.acked("a", 1, 5);
    story.delete("a", 6);
    story.hold(&[("a", 1, a)]);
    story.check(&["C4"]);
    let mut story = Story::default();
    story.delete("a", 6);
    let a = story.acked("a", 1, 7);
    story.hold(&[("a", 1, a)]);
    story.check(&[]);
}

#[test]
fn a_key_that_counts_twice_is_found() {
    let mut story = Story::default();
    let first = Outcome::Acked(vec![part(0, 5, 1)]);
    let id = story.op(Work::Write(vec![key("a", 1)]), Some("k"), first);
    story.hold(&[("a", 1, id)]);
    let again = story.history.attempt(id);
    let duplicate = Part { duplicate: true, ..part(0, 5, 1) };
    story.history.end(id, again, Outcome::Acked(vec![duplicate]));
    story.check(&[]);
    let again = story.history.attempt(id);
    story.history.end(id, again, Outcome::Acked(vec![part(0, 9, 1)]));
    story.check(&["C5"]);
}

#[test]
fn a_key_whose_status_says_no_is_not_there() {
    let mut story = Story::default();
    let id = story.op(Work::Write(vec![key("a", 1)]), Some("k"), Outcome::Unknown);
    story.hold(&[]);
    story.end.keyed.insert(id, BTreeMap::from([(place(0, 0), 5)]));
    story.check(&["C1"]);
    story.hold(&[("a", 1, id)]);
    story.check(&[]);
}

#[test]
fn replicas_that_differ_are_found() {
    let mut story = Story::default();
    let a = story.acked("a", 1, 5);
    story.hold(&[("a", 1, a)]);
    story.end.segments.insert(0, BTreeSet::from(["s".to_owned()]));
    story.end.segments.insert(1, BTreeSet::from(["t".to_owned()]));
    story.check(&["C6"]);
    story.end.segments.clear();
    story.end.replicas.insert(2, Rows::new());
    story.check(&["C6"]);
}

#[test]
fn a_stale_read_is_found() {
    let mut story = Story::default();
    let a = story.acked("a", 1, 5);
    let began = story.history.tick();
    let b = story.acked("a", 1, 6);
    story.read_from(began, &[("a", 1, a)]);
    story.hold(&[("a", 1, b)]);
    story.check(&[]);
    story.read(&[("a", 1, a)]);
    story.check(&["C8"]);
}

#[test]
fn a_read_that_misses_a_point_is_found() {
    let mut story = Story::default();
    let a = story.acked("a", 1, 5);
    story.read(&[]);
    story.hold(&[("a", 1, a)]);
    story.check(&["C8"]);
}

#[test]
fn reads_that_go_back_are_found() {
    let mut story = Story::default();
    // Acknowledged only after both reads: neither has to see it.
    let old = story.acked("a", 1, 5);
    let new = story.history.begin(Work::Write(vec![key("a", 1)]), None);
    let attempt = story.history.attempt(new);
    story.read(&[("a", 1, new)]);
    story.read(&[("a", 1, old)]);
    story.history.end(new, attempt, Outcome::Acked(vec![part(0, 6, 1)]));
    story.hold(&[("a", 1, new)]);
    story.check(&["C4"]);
}

#[test]
fn a_session_sees_its_own_write() {
    let mut story = Story::default();
    let a = story.acked("a", 1, 5);
    let began = story.history.tick();
    let (ended, rows) = (story.history.tick(), Rows::new());
    story.history.reads.push(Read { node: 0, after: Some(a), began, ended, rows });
    story.hold(&[("a", 1, a)]);
    story.check(&["C8"]);
}

#[test]
fn an_attempt_without_an_answer_is_neither_there_nor_refused() {
    let mut story = Story::default();
    let id = story.history.begin(Work::Write(vec![key("a", 1)]), None);
    let attempt = Attempt { began: 1, ended: None, outcome: Outcome::Unknown };
    story.history.ops.get_mut(&id).unwrap().attempts.push(attempt);
    story.hold(&[]);
    story.check(&[]);
    story.hold(&[("a", 1, id)]);
    story.check(&[]);
}

#[test]
fn a_write_across_a_change_of_routing_may_be_two_entries_of_one_shard() {
    let mut story = Story::default();
    let keys = [key("a", 1), key("a", 11)];
    let parts = vec![part(0, 5, 1), part(0, 9, 1)];
    let id = story.op(Work::Write(keys.to_vec()), Some("k"), Outcome::Acked(parts));
    story.hold(&[("a", 1, id), ("a", 11, id)]);
    story.check_by(&[], &placed_anew);
    story.check_by(&["C5"], &one_shard);
    story.hold(&[("a", 1, id)]);
    story.check_by(&["C1"], &placed_anew);

    let mut story = Story::default();
    let id = story.op(Work::Write(keys.to_vec()), Some("k"), Outcome::Unknown);
    story.end.keyed.insert(id, BTreeMap::from([(place(0, 0), 5)]));
    story.hold(&[("a", 1, id)]);
    story.check_by(&[], &placed_anew);
    story.hold(&[]);
    story.check_by(&["C1"], &placed_anew);
}
