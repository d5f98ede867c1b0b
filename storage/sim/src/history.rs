//! What clients asked for and what they were told: the only thing that the checker believes.

use std::collections::BTreeMap;

use quorate_storage::WriteReceipt;

/// A point: series and time.
pub(crate) type Key = (String, i64);

/// Identity of a write or delete; the value of every row that a write writes.
pub(crate) type OpId = u64;

/// A place in the order of all events.
pub(crate) type Seq = u64;

/// Rows of the table, each with the write that made it.
pub(crate) type Rows = BTreeMap<Key, OpId>;

/// What one shard answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) shard: u32,
    pub(crate) term: u64,
    pub(crate) index: u64,
    pub(crate) accepted: u64,
    pub(crate) duplicate: bool,
}

/// The parts of a receipt.
pub(crate) fn parts(receipt: &WriteReceipt) -> Vec<Part> {
    let part = |part: &quorate_storage::ShardReceipt| Part {
        shard: part.shard.0,
        term: part.term,
        index: part.index,
        accepted: part.accepted,
        duplicate: part.duplicate,
    };
    receipt.shards.iter().map(part).collect()
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Nothing was heard, or that nothing is known.
    Unknown,
    /// It was refused, and nothing was done.
    Failed,
    /// It was acknowledged.
    Acked(Vec<Part>),
}

/// One time that a client asked.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) began: Seq,
    pub(crate) ended: Option<Seq>,
    pub(crate) outcome: Outcome,
}

/// What a write or delete is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// These points get the operation's id as value.
    Write(Vec<Key>),
    /// Points of a series go, both ends included.
    Delete { host: String, from: i64, to: i64 },
}

impl Work {
    pub(crate) fn touches(&self, key: &Key) -> bool {
        match self {
            Self::Write(rows) => rows.contains(key),
            Self::Delete { host, from, to } => key.0 == *host && (*from..=*to).contains(&key.1),
        }
    }
}

/// A write or delete, with all its attempts.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) work: Work,
    /// Its idempotency key.
    pub(crate) key: Option<String>,
    pub(crate) attempts: Vec<Attempt>,
}

impl Op {
    /// The first acknowledgement, and when it came.
    pub(crate) fn acked(&self) -> Option<(Seq, &[Part])> {
        let acked = self.attempts.iter().filter_map(|attempt| match &attempt.outcome {
            Outcome::Acked(parts) => Some((attempt.ended?, parts.as_slice())),
            Outcome::Unknown | Outcome::Failed => None,
        });
        acked.min_by_key(|(seq, _)| *seq)
    }

    /// Whether it is certain that nothing was done.
    pub(crate) fn failed(&self) -> bool {
        self.attempts.iter().all(|attempt| attempt.outcome == Outcome::Failed)
    }

    pub(crate) fn began(&self) -> Seq {
        self.attempts.first().map_or(0, |attempt| attempt.began)
    }
}

/// A read that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Read {
    pub(crate) node: usize,
    /// For a session's read, the write that it must see; otherwise it is linearizable.
    pub(crate) after: Option<OpId>,
    pub(crate) began: Seq,
    pub(crate) ended: Seq,
    pub(crate) rows: Rows,
}

/// Everything that clients know.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    seq: Seq,
    pub(crate) ops: BTreeMap<OpId, Op>,
    pub(crate) reads: Vec<Read>,
}

impl History {
    /// The next place in the order of events.
    pub(crate) fn tick(&mut self) -> Seq {
        self.seq += 1;
        self.seq
    }

    /// A new operation; its id.
    pub(crate) fn begin(&mut self, work: Work, key: Option<String>) -> OpId {
        let id = self.ops.last_key_value().map_or(1, |(id, _)| id + 1);
        self.ops.insert(id, Op { work, key, attempts: Vec::new() });
        id
    }

    /// An attempt begins; its number.
    pub(crate) fn attempt(&mut self, id: OpId) -> usize {
        let began = self.tick();
        let op = self.ops.get_mut(&id).expect("it was begun");
        op.attempts.push(Attempt { began, ended: None, outcome: Outcome::Unknown });
        op.attempts.len() - 1
    }

    /// An attempt was answered.
    pub(crate) fn end(&mut self, id: OpId, attempt: usize, outcome: Outcome) {
        let seq = self.tick();
        let op = self.ops.get_mut(&id).expect("it was begun");
        let attempt = &mut op.attempts[attempt];
        attempt.ended = Some(seq);
        attempt.outcome = outcome;
    }

    /// Acknowledged operations.
    pub(crate) fn acked(&self) -> usize {
        self.ops.values().filter(|op| op.acked().is_some()).count()
    }
}
