//! The manifests of other nodes.

use std::time::Duration;

use futures::future::join_all;
use quorate_consensus::Node;
use quorate_wal::GroupId;

use super::Manifest;
use crate::cluster::{PeerReply, PeerRequest, Peers};

/// How long a node may take to answer.
const ASK_DEADLINE: Duration = Duration::from_secs(5);

/// The newest manifest of a group that any of these nodes has, and what the others answered instead.
pub(crate) async fn newest_of(
    peers: &Peers,
    nodes: &[Node],
    group: GroupId,
) -> (Option<Manifest>, String) {
    let asked = PeerRequest::Manifest { group: group.0 };
    let (mut newest, mut trouble) = (None::<Manifest>, Vec::new());
    let asked = &asked;
    let asking = nodes.iter().map(|node| async move {
        let answer = peers.ask(node, asked, &[], ASK_DEADLINE).await;
        (node, answer)
    });
    for (node, answer) in join_all(asking).await {
        match answer {
            Ok((PeerReply::Manifest { position, membership }, body)) => {
                if newest.as_ref().is_none_or(|manifest| manifest.position < position) {
                    let (group, membership) = (group.0, membership.into());
                    newest = Some(Manifest { group, position, membership, previous: None, body });
                }
            }
            Ok((PeerReply::Refused(refusal), _)) => {
                trouble.push(format!("{}: {}", node.name, refusal.into_error(group)));
            }
            Ok((reply, _)) => trouble.push(format!("{} answered {reply:?}", node.name)),
            Err(e) => trouble.push(format!("{}: {e}", node.name)),
        }
    }
    (newest, trouble.join("; "))
}
