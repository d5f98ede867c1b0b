//! [`Mailbox`]: the messages to one node, from `send` to their answers.
//!
//! Only a data structure: [`PeerStream`](super::stream::PeerStream) locks it and decides when it drains.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem;

use bytes::Bytes;
use quorate_storage::cluster::{Message, MessageKind};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::envelope::{AnswerItem, RequestItem};
use super::{ENVELOPE_BYTES_MAX, ENVELOPE_ITEMS_MAX};

/// Number of classes of urgency.
pub(super) const CLASSES: usize = 3;

/// How urgent a message is; 0 goes first.
pub(super) fn class(kind: MessageKind) -> usize {
    match kind {
        MessageKind::Vote | MessageKind::Transfer => 0,
        MessageKind::Heartbeat => 1,
        MessageKind::Append | MessageKind::Snapshot => 2,
    }
}

/// Messages that wait to be written, and those written that wait for their answer.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    /// By class, then in the order of their numbers, which is that of arrival.
    queued: [BTreeMap<u64, Queued>; CLASSES],
    written: HashMap<u64, oneshot::Sender<io::Result<Bytes>>>,
    /// The last number given. None is given twice, so that no answer of an older stream is taken for a new one.
    corr: u64,
}

#[derive(Debug)]
struct Queued {
    item: RequestItem,
    answer: oneshot::Sender<io::Result<Bytes>>,
    room: OwnedSemaphorePermit,
}

/// Names a message in the mailbox.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    class: usize,
    corr: u64,
}

/// Why the stream is gone, and what that means to those who wait.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// For messages that were written.
    pub(super) written: io::ErrorKind,
    /// For those that were not.
    pub(super) queued: io::ErrorKind,
    /// For operators.
    pub(super) why: String,
}

impl Mailbox {
    /// Puts a message in; its answer comes out of the receiver.
    pub(super) fn push(
        &mut self,
        message: Message,
        room: OwnedSemaphorePermit,
    ) -> (Ticket, oneshot::Receiver<io::Result<Bytes>>) {
        self.corr += 1;
        let ticket = Ticket { class: class(message.kind), corr: self.corr };
        let (answer, answered) = oneshot::channel();
        let item = RequestItem::new(ticket.corr, message);
        self.queued[ticket.class].insert(ticket.corr, Queued { item, answer, room });
        (ticket, answered)
    }

    /// The content of the next envelope, the most urgent first; they count as written.
    pub(super) fn drain(&mut self) -> Vec<RequestItem> {
        let mut items: Vec<RequestItem> = Vec::new();
        let mut bytes = 0;
        for queue in &mut self.queued {
            while let Some(next) = queue.first_entry() {
                bytes += next.get().item.payload.len();
                let full = items.len() >= ENVELOPE_ITEMS_MAX || bytes > ENVELOPE_BYTES_MAX;
                if full && !items.is_empty() {
                    return items;
                }
                let Queued { item, answer, room } = next.remove();
                drop(room);
                self.written.insert(item.corr, answer);
                items.push(item);
            }
        }
        items
    }

    /// Hands an answer to its caller, if it still waits.
    pub(super) fn answer(&mut self, answer: AnswerItem) {
        if let Some(caller) = self.written.remove(&answer.corr) {
            let _gone = caller.send(answer.into_outcome());
        }
    }

    /// Takes a message out; tells whether it was still unwritten.
    pub(super) fn withdraw(&mut self, ticket: Ticket) -> bool {
        self.written.remove(&ticket.corr);
        self.queued[ticket.class].remove(&ticket.corr).is_some()
    }

    /// Fails everything.
    pub(super) fn fail(&mut self, lost: &Lost) {
        for caller in mem::take(&mut self.written).into_values() {
            let _gone = caller.send(Err(io::Error::new(lost.written, lost.why.clone())));
        }
        for queue in &mut self.queued {
            for queued in mem::take(queue).into_values() {
                let _gone = queued.answer.send(Err(io::Error::new(lost.queued, lost.why.clone())));
            }
        }
    }

    /// Number of messages that were written or wait to be.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.written.len() + self.queued.iter().map(BTreeMap::len).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use quorate_storage::GroupId;
    use quorate_storage::cluster::ReplicaId;
    use tokio::sync::Semaphore;

    use super::*;

    fn push(mailbox: &mut Mailbox, kind: MessageKind, payload: Bytes) -> Ticket {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let (from, to) = (ReplicaId(1), ReplicaId(2));
        mailbox.push(Message { group: GroupId(0), from, to, kind, payload }, room).0
    }

    fn payloads(items: &[RequestItem]) -> Vec<&[u8]> {
        items.iter().map(|item| &item.payload[..]).collect()
    }

    #[test]
    fn urgent_messages_go_first_and_others_keep_their_order() {
        let mut mailbox = Mailbox::default();
        push(&mut mailbox, MessageKind::Append, Bytes::from_static(b"a1"));
        push(&mut mailbox, MessageKind::Snapshot, Bytes::from_static(b"a2"));
        push(&mut mailbox, MessageKind::Heartbeat, Bytes::from_static(b"h1"));
        push(&mut mailbox, MessageKind::Append, Bytes::from_static(b"a3"));
        push(&mut mailbox, MessageKind::Transfer, Bytes::from_static(b"v1"));
        push(&mut mailbox, MessageKind::Vote, Bytes::from_static(b"v2"));
        let items = mailbox.drain();
        let want: [&[u8]; 6] = [b"v1", b"v2", b"h1", b"a1", b"a2", b"a3"];
        assert_eq!(payloads(&items), want);
        assert!(mailbox.drain().is_empty());
    }

    #[test]
    fn an_envelope_is_bounded_but_takes_one_large_message() {
        let mut mailbox = Mailbox::default();
        let large = Bytes::from(vec![0; ENVELOPE_BYTES_MAX + 1]);
        push(&mut mailbox, MessageKind::Append, large.clone());
        push(&mut mailbox, MessageKind::Append, large);
        for _ in 0..=ENVELOPE_ITEMS_MAX {
            push(&mut mailbox, MessageKind::Append, Bytes::new());
        }
        let sizes: Vec<usize> =
            std::iter::from_fn(|| Some(mailbox.drain().len())).take_while(|len| *len > 0).collect();
        assert_eq!(sizes, [1, 1, ENVELOPE_ITEMS_MAX, 1]);
    }

    #[test]
    fn a_withdrawn_message_is_neither_written_nor_answered() {
        let mut mailbox = Mailbox::default();
        let first = push(&mut mailbox, MessageKind::Append, Bytes::from_static(b"1"));
        let second = push(&mut mailbox, MessageKind::Append, Bytes::from_static(b"2"));
        assert!(mailbox.withdraw(first));
        assert_eq!(payloads(&mailbox.drain()), [b"2"]);
        assert!(!mailbox.withdraw(second));
        assert_eq!(mailbox.len(), 0);
        mailbox.answer(AnswerItem::new(second.corr, Ok(Bytes::new())));
    }
}
