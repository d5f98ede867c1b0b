//! What is picked, and that compactions add up.

use std::collections::BTreeSet;

use super::*;
use crate::version::tests::live;
use crate::version::{Edit, LiveSegment, Version};

/// Runs of these sizes in log order, written by flushes.
fn version(bytes: &[u64]) -> Version {
    let mut version = Version::default();
    for (at, bytes) in (0u64..).zip(bytes) {
        let mut segment = live(1, at * 10, at * 10 + 9);
        let mut meta = (*segment.meta).clone();
        meta.bytes = *bytes;
        segment.meta = meta.into();
        version = version.apply(&Edit { removed: vec![], added: vec![segment] }).unwrap();
    }
    version
}

/// First log indexes of the inputs.
fn picked(version: &Version, config: &Config) -> Option<Vec<u64>> {
    let choice = pick(version, config, &BTreeSet::new())?;
    let inputs = choice.inputs.iter().map(|name| version.find(name).unwrap());
    Some(inputs.map(LiveSegment::log_index_min).collect())
}

#[test]
fn four_runs_of_a_size_are_merged_and_older_ones_join_while_they_are_not_larger() {
    let config = Config::default();
    assert_eq!(picked(&version(&[10, 10, 10]), &config), None);
    assert_eq!(picked(&version(&[10, 10, 10, 10]), &config), Some(vec![0, 10, 20, 30]));
    assert_eq!(picked(&version(&[80, 10, 10, 10, 10]), &config), Some(vec![10, 20, 30, 40]));
    assert_eq!(picked(&version(&[40, 10, 10, 10, 10]), &config), Some(vec![0, 10, 20, 30, 40]));
}

#[test]
fn only_neighbours_in_log_order_are_merged() {
    // A large run between small ones: the small ones on both sides are never merged around it.
    let config = Config::default();
    assert_eq!(picked(&version(&[10, 10, 900, 10, 10]), &config), None);
    let choice = picked(&version(&[10, 10, 10, 10, 900, 10, 10]), &config);
    assert_eq!(choice, Some(vec![0, 10, 20, 30]));
}

#[test]
fn more_runs_than_allowed_are_merged_whatever_their_sizes() {
    let config = Config { runs_max: 5, ..Config::default() };
    let sizes = [64_000, 16_000, 4_000, 1_000, 250, 60];
    assert_eq!(picked(&version(&sizes), &config), Some(vec![20, 30, 40, 50]));
}

#[test]
fn only_a_merge_with_the_oldest_run_is_at_the_bottom() {
    let config = Config::default();
    let pick = |sizes: &[u64]| pick(&version(sizes), &config, &BTreeSet::new()).unwrap();
    assert!(pick(&[10, 10, 10, 10]).is_bottom);
    assert!(!pick(&[80, 10, 10, 10, 10]).is_bottom);
}

#[test]
fn a_slice_with_a_segment_in_a_pending_job_is_left_alone() {
    let version = version(&[10, 10, 10, 10]);
    let busy = BTreeSet::from([version.iter().next().unwrap().name()]);
    assert_eq!(pick(&version, &Config::default(), &busy), None);
    assert_eq!(pick(&version, &Config::full(), &busy), None);
}

#[test]
fn a_settled_slice_is_rewritten_once() {
    let mut two = version(&[10]);
    let mut other = live(1, 100, 109);
    other.slice_start = 1_000;
    two = two.apply(&Edit { removed: vec![], added: vec![other.clone()] }).unwrap();
    let choice = pick(&two, &Config::default(), &BTreeSet::new()).unwrap();
    assert_eq!((choice.slice_start, choice.inputs.len(), choice.level), (0, 1, 1));

    let mut merged = live(1, 0, 9);
    let mut meta = (*merged.meta).clone();
    meta.spec.compression = quorate_segment::Compression::Zstd;
    merged.meta = meta.into();
    (merged.job.index, merged.level) = (200, 1);
    let done = two.apply(&Edit { removed: choice.inputs, added: vec![merged] }).unwrap();
    assert_eq!(pick(&done, &Config::default(), &BTreeSet::new()), None);
}
