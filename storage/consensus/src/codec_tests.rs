//! What is encoded comes back, and other bytes are refused.

use super::*;
use crate::raft::LogId;

fn at(index: u64) -> LogId {
    log_id(LogPosition { term: 3, leader: 2, index })
}

fn membership() -> Membership {
    let voters = BTreeSet::from([1, 2]);
    let node = |node| Node { node, name: format!("n{node}"), addr: format!("10.0.0.{node}:7001") };
    Membership::new(vec![voters], BTreeMap::from([(1, node(1)), (2, node(2)), (7, node(7))]))
        .unwrap()
}

#[test]
fn votes_survive_a_round_trip() {
    for vote in [Vote::new(5, 1), Vote::new_committed(u64::MAX, 3)] {
        let bytes = encode(&VoteRecord::from(&vote));
        assert_eq!(Vote::from(decode::<VoteRecord>(&bytes).unwrap()), vote);
    }
}

#[test]
fn memberships_survive_a_round_trip() {
    let stored = StoredMembership::new(Some(at(9)), membership());
    assert_eq!(decode_membership(&encode_membership(&stored)).unwrap(), stored);
    let empty = StoredMembership::default();
    assert_eq!(decode_membership(&encode_membership(&empty)).unwrap(), empty);
    assert_eq!(decode_membership(&[]).unwrap(), empty);
}

#[test]
fn appends_survive_a_round_trip() {
    let payloads = [
        Payload::Blank,
        Payload::Normal(Command(Arc::from(*b"\0command"))),
        Payload::Normal(Command(Arc::from([]))),
        Payload::Membership(membership()),
    ];
    let entries: Vec<_> =
        (4..).zip(payloads).map(|(i, payload)| Entry { log_id: at(i), payload }).collect();
    let request = AppendEntriesRequest {
        vote: Vote::new_committed(3, 2),
        prev_log_id: Some(at(3)),
        entries: entries.clone(),
        leader_commit: None,
    };
    let bytes = encode_append(&request);
    let got = decode::<AppendRecord<'_>>(&bytes).unwrap().into_request().unwrap();
    assert_eq!(got.vote, request.vote);
    assert_eq!(got.prev_log_id, request.prev_log_id);
    assert_eq!(got.leader_commit, None);
    assert_eq!(got.entries, entries);
}

#[test]
fn transfers_survive_a_round_trip() {
    let request = TransferLeaderRequest::new(Vote::new_committed(3, 2), 1, Some(at(8)));
    let bytes = encode(&TransferRecord::from(&request));
    assert_eq!(TransferLeaderRequest::from(decode::<TransferRecord>(&bytes).unwrap()), request);
    for response in [
        Ok(()),
        Err(TransferLeaderError::LogNotFlushed { expected: Some(at(8)), actual: None }),
        Err(TransferLeaderError::VoteChanged {
            expected: Vote::new_committed(3, 2),
            actual: Vote::new(4, 1),
        }),
    ] {
        let bytes = encode(&TransferReply::from(response.clone()));
        let reply: TransferReply = decode(&bytes).unwrap();
        assert_eq!(TransferLeaderResponse::from(reply), response);
    }
}

#[test]
fn records_of_another_version_cut_short_or_too_long_are_refused() {
    let bytes = encode(&VoteRecord::from(&Vote::new(5, 1)));
    for len in 0..bytes.len() {
        assert!(decode::<VoteRecord>(&bytes[..len]).is_err(), "{len} bytes");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(decode::<VoteRecord>(&longer).is_err());
    let mut newer = bytes;
    newer[0] = VERSION + 1;
    assert!(decode::<VoteRecord>(&newer).is_err());
}
