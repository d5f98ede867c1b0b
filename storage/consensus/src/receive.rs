//! The receiving side: messages of other replicas, handed to openraft, and its answers.

use bytes::Bytes;

use crate::codec::{
    self, AppendRecord, AppendReply, SnapshotRecord, SnapshotReply, TransferRecord, TransferReply,
    VoteAskRecord, VoteReply,
};
use crate::core::Parts;
use crate::raft::{RaftSnapshot, SnapshotMeta, log_id};
use crate::{Error, Group, Message, MessageKind, Snapshot};

impl Group {
    /// Takes a message from a peer and answers it.
    ///
    /// The first poll queues the message; poll messages of one peer in the order in which they arrived.
    pub async fn handle(&self, message: Message) -> Result<Bytes, Error> {
        let Parts { group, replica, .. } = &self.inner.parts;
        if message.group != *group || message.to != *replica {
            return Err(self.unavailable(format!("a message for replica {}", message.to.0)));
        }
        let unread = |source| Error::Message { group: *group, source };
        let core = self.core();
        let raft = &core.raft;
        let answer = match message.kind {
            MessageKind::Append | MessageKind::Heartbeat => {
                let record: AppendRecord<'_> = codec::decode(&message.payload).map_err(unread)?;
                let request = record.into_request().map_err(unread)?;
                if !request.entries.is_empty() {
                    self.check_space()?;
                }
                let response =
                    raft.append_entries(request).await.map_err(|e| self.ended(&core, &e))?;
                codec::encode(&AppendReply::from(response))
            }
            MessageKind::Vote => {
                self.check_gate()?;
                let record: VoteAskRecord = codec::decode(&message.payload).map_err(unread)?;
                let response = if record.pre_vote {
                    raft.pre_vote(record.into()).await
                } else {
                    raft.vote(record.into()).await
                };
                codec::encode(&VoteReply::from(response.map_err(|e| self.ended(&core, &e))?))
            }
            MessageKind::Snapshot => {
                let record: SnapshotRecord<'_> = codec::decode(&message.payload).map_err(unread)?;
                let last_membership =
                    codec::decode_membership(record.membership()).map_err(unread)?;
                let meta =
                    SnapshotMeta { last_log_id: record.position.map(log_id), last_membership };
                let manifest = message.payload.slice_ref(record.manifest());
                let offered = Snapshot {
                    position: record.position,
                    membership: message.payload.slice_ref(record.membership()),
                    manifest: manifest.clone(),
                };
                // Before Raft hears of it: what fails here stops nobody.
                if let Err(e) = self.inner.parts.machine.prepare(&offered).await {
                    return Err(self.unavailable(format!("the snapshot is not taken yet: {e}")));
                }
                let snapshot = RaftSnapshot { meta, snapshot: manifest };
                let installing = raft.install_full_snapshot(record.vote.into(), snapshot);
                let response = installing.await.map_err(|e| self.ended(&core, &e))?;
                codec::encode(&SnapshotReply::from(response))
            }
            // No gate: the leader gives its lease up, and nobody else's can run in its term.
            MessageKind::Transfer => {
                let record: TransferRecord = codec::decode(&message.payload).map_err(unread)?;
                let taking = raft.handle_transfer_leader(record.into());
                let response = taking.await.map_err(|e| self.ended(&core, &e))?;
                codec::encode(&TransferReply::from(response))
            }
        };
        Ok(answer.into())
    }
}
