//! Random histories with power cuts, against a model.
//!
//! What must hold after each crash: the log is what the model was after some operation that is not before the last
//! acknowledged one. (One log, one order: that operation is the same for all groups.)

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use quorate_wal::{
    DiskFault, Entry, EntryKind, Error, GroupId, LogPosition, SimDisk, SyncCallback, Wal,
};

use crate::support::{cases, open_whole, read_all, synced};

const DIR: &str = "/wal";
const GROUPS: u64 = 3;

#[derive(Clone, Debug)]
enum Operation {
    Append {
        group: u64,
        lens: Vec<usize>,
    },
    Vote {
        group: u64,
    },
    Committed {
        group: u64,
    },
    Truncate {
        group: u64,
        back: usize,
    },
    Purge {
        group: u64,
        ahead: u64,
    },
    /// All before is acknowledged.
    Wait,
    /// A write or sync of a segment fails soon; the process then dies, with or without the power.
    Fault {
        fault: DiskFault,
        skip: u64,
    },
    CutPower,
    Kill,
    CloseAndOpen,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let group = 0..GROUPS;
    let len = prop_oneof![4 => 0_usize..300, 2 => 300_usize..6_000, 1 => 6_000_usize..40_000];
    let fault = prop_oneof![
        2 => Just(DiskFault::Sync),
        1 => Just(DiskFault::Write),
        1 => Just(DiskFault::ShortWrite),
        6 => Just(DiskFault::PowerCut),
    ];
    let operation = prop_oneof![
        12 => (group.clone(), prop::collection::vec(len, 0..5))
            .prop_map(|(group, lens)| Operation::Append { group, lens }),
        3 => group.clone().prop_map(|group| Operation::Vote { group }),
        3 => group.clone().prop_map(|group| Operation::Committed { group }),
        3 => (group.clone(), 0_usize..6)
            .prop_map(|(group, back)| Operation::Truncate { group, back }),
        4 => (group, 0_u64..8).prop_map(|(group, ahead)| Operation::Purge { group, ahead }),
        4 => Just(Operation::Wait),
        3 => (fault, 0_u64..6).prop_map(|(fault, skip)| Operation::Fault { fault, skip }),
        2 => Just(Operation::CutPower),
        1 => Just(Operation::Kill),
        1 => Just(Operation::CloseAndOpen),
    ];
    prop::collection::vec(operation, 1..80)
}

/// One group as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Group {
    term: u64,
    entries: Vec<Entry>,
    purged: Option<LogPosition>,
    vote: Option<Arc<[u8]>>,
}

impl Group {
    fn next_index(&self) -> u64 {
        let last = self.entries.last().map(|entry| entry.position).or(self.purged);
        last.map_or(0, |last| last.index + 1)
    }
}

type Groups = BTreeMap<u64, Group>;

/// The process under test and the model beside it.
struct Run {
    disk: SimDisk,
    wal: Wal,
    /// The model after each operation of this life, the state at its start first.
    history: Vec<Groups>,
    /// Up to where in the history operations are acknowledged.
    acknowledged: Arc<AtomicUsize>,
    committed: BTreeMap<u64, Vec<Option<Arc<[u8]>>>>,
    counter: u64,
}

impl Run {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let wal = open_whole(&disk.process(), Path::new(DIR));
        let history = vec![(0..GROUPS).map(|group| (group, Group::default())).collect()];
        let committed = (0..GROUPS).map(|group| (group, vec![None])).collect();
        let acknowledged = Arc::default();
        Self { disk, wal, history, acknowledged, committed, counter: 0 }
    }

    fn now(&self) -> &Groups {
        self.history.last().expect("it never is empty")
    }

    /// The callback of the operation that comes next in the history.
    fn callback(&self) -> SyncCallback {
        let (acknowledged, number) = (Arc::clone(&self.acknowledged), self.history.len());
        Box::new(move |result| {
            if result.is_ok() {
                acknowledged.fetch_max(number, Ordering::SeqCst);
            }
        })
    }

    fn change(&mut self, group: u64, change: impl FnOnce(&mut Group)) {
        let mut next = self.now().clone();
        change(next.get_mut(&group).expect("it is one of the groups"));
        self.history.push(next);
    }

    fn payload(&mut self, len: usize) -> Arc<[u8]> {
        self.counter += 1;
        let unique = self.counter.to_le_bytes();
        unique.iter().copied().cycle().take(len).collect()
    }

    fn append(&mut self, group: u64, lens: &[usize]) -> Result<(), Error> {
        let mut next = self.now()[&group].clone();
        let mut entries = Vec::new();
        for len in lens {
            let index = next.next_index();
            let kind = match index % 5 {
                0 => EntryKind::Membership,
                1 => EntryKind::Blank,
                _ => EntryKind::Normal,
            };
            let position = LogPosition { term: next.term, leader: 1, index };
            let entry = Entry { position, kind, payload: self.payload(*len) };
            next.entries.push(entry.clone());
            entries.push(entry);
        }
        self.wal.group(GroupId(group)).append(entries, self.callback())?;
        self.change(group, |group| *group = next);
        Ok(())
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::Append { group, lens } => self.append(*group, lens),
            Operation::Vote { group } => {
                let vote = self.payload(24);
                self.wal.group(GroupId(*group)).save_vote(Arc::clone(&vote), self.callback())?;
                self.change(*group, |group| group.vote = Some(vote));
                Ok(())
            }
            Operation::Committed { group } => {
                let committed = self.payload(24);
                self.wal.group(GroupId(*group)).save_committed(Arc::clone(&committed))?;
                self.committed.get_mut(group).unwrap().push(Some(committed));
                Ok(())
            }
            Operation::Truncate { group, back } => {
                let kept = self.now()[group].entries.len().saturating_sub(*back);
                let last = kept.checked_sub(1).map(|at| self.now()[group].entries[at].position);
                self.wal.group(GroupId(*group)).truncate_after(last)?;
                self.change(*group, |group| {
                    group.entries.truncate(kept);
                    // Who truncates is a leader of a later term.
                    group.term += 1;
                });
                Ok(())
            }
            Operation::Purge { group, ahead } => {
                let model = &self.now()[group];
                let from = model.purged.map_or(0, |purged| purged.index + 1);
                let upto = LogPosition { term: model.term, leader: 1, index: from + ahead };
                self.wal.group(GroupId(*group)).purge(upto)?;
                self.change(*group, |group| {
                    group.purged = Some(upto);
                    group.entries.retain(|entry| entry.position.index > upto.index);
                });
                Ok(())
            }
            Operation::Wait => {
                let log = self.wal.group(GroupId(0));
                let number = self.history.len() - 1;
                synced(|done| log.append(Vec::new(), done))?;
                self.acknowledged.fetch_max(number, Ordering::SeqCst);
                Ok(())
            }
            Operation::Fault { fault, skip } => {
                self.disk.inject(*fault, ".seg", *skip);
                Ok(())
            }
            Operation::CutPower => {
                self.disk.cut_power();
                self.reopen();
                Ok(())
            }
            Operation::Kill => {
                self.disk.kill();
                self.reopen();
                Ok(())
            }
            Operation::CloseAndOpen => {
                self.wal.close()?;
                self.acknowledged.store(self.history.len() - 1, Ordering::SeqCst);
                self.reopen();
                Ok(())
            }
        }
    }

    /// The next process: opens the log and compares.
    fn reopen(&mut self) {
        self.disk.clear_faults();
        self.wal = open_whole(&self.disk.process(), Path::new(DIR));
        let found: Groups = (0..GROUPS).map(|group| (group, self.found(group))).collect();
        let acknowledged = self.acknowledged.load(Ordering::SeqCst);
        let same = |model: &Groups| {
            model.iter().zip(&found).all(|((_, model), (_, found))| {
                let term = model.term;
                *model == Group { term, ..found.clone() }
            })
        };
        let Some(number) = self.history.iter().rposition(same).filter(|at| *at >= acknowledged)
        else {
            panic!(
                "found {found:#?}\nwhich is no state from operation {acknowledged} on: {:#?}",
                &self.history[acknowledged..]
            );
        };
        self.history = vec![self.history.swap_remove(number)];
        self.acknowledged = Arc::default();
    }

    fn found(&mut self, group: u64) -> Group {
        let log = self.wal.group(GroupId(group));
        let state = log.state();
        let entries = read_all(&log);
        assert_eq!(state.last, entries.last().map(|entry| entry.position));
        let known = self.committed.get_mut(&group).unwrap();
        let at = known.iter().rposition(|known| *known == state.committed);
        // Those before it must not come again.
        known.drain(..at.expect("a commit position that was saved"));
        Group { term: 0, entries, purged: state.purged, vote: state.vote }
    }
}

fn check(seed: u64, operations: &[Operation]) {
    let mut run = Run::new(seed);
    for (number, operation) in operations.iter().enumerate() {
        match run.apply(operation) {
            Ok(()) => {}
            Err(Error::Poisoned) => {
                // An injected fault showed: the process ends.
                if number % 2 == 0 {
                    run.disk.cut_power();
                } else {
                    run.disk.kill();
                }
                run.reopen();
            }
            Err(error) => panic!("{operation:?}: {error}"),
        }
    }
    run.disk.cut_power();
    run.reopen();
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_is_acknowledged_survives_and_nothing_else_appears(
        seed in any::<u64>(), operations in operations()
    ) {
        check(seed, &operations);
    }
}
