//! Chunks to the node, one after the other: where a point is there twice, the later one wins.
//!
//! A chunk that found the node busy, starting or gone is sent again under its key, for a while.

use std::time::Duration;

use quorate_flight::{Client, ClientError, IngestChunk};
use quorate_storage::ShardReceipt;

use super::chunk::{Keys, Rejection, RowChunk};
use super::http::LineWriter;
use super::lines::LineChunk;
use super::source::Source;

/// How long is waited before a chunk is sent again: about a minute in all, in which a node starts.
const WAITS_MS: [u64; 9] = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 20_000];

/// gRPC codes of what may pass.
const PASSING: [&str; 4] = ["UNAVAILABLE", "ABORTED", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"];

/// Part of the reason why a shard did not store some rows.
const OF_SHARD: &str = "rows of the batch were not stored";

/// Why a chunk was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SendError {
    /// It may be, later.
    Later(String),
    /// It will not be.
    Final(String),
}

/// What became of a chunk.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    /// Rows stored now.
    pub(super) stored: u64,
    /// Rows that an earlier load stored under the same key.
    pub(super) known: u64,
    /// Rows that were not stored, as far as they are listed, and how many there are.
    pub(super) rejected: Vec<Rejection>,
    pub(super) rejected_total: u64,
}

impl Sent {
    /// Counts the rows of a chunk. What is known of one that was sent before now was stored now: the answer was lost.
    fn count(&mut self, receipts: &[ShardReceipt], resent: bool) {
        for receipt in receipts {
            if receipt.duplicate && !resent {
                self.known += receipt.accepted;
            } else {
                self.stored += receipt.accepted;
            }
        }
    }
}

/// Where a file's rows go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) table: String,
    pub(super) keys: Keys,
}

/// Sends rows.
pub(super) async fn send_rows(
    client: &mut Client,
    target: &Target,
    number: u64,
    chunk: RowChunk,
) -> Result<Sent, String> {
    let RowChunk { batch, places, rejected } = chunk;
    let mut sent = Sent { rejected_total: rejected.len() as u64, rejected, ..Sent::default() };
    if batch.num_rows() == 0 {
        return Ok(sent);
    }
    let idempotency_key = target.keys.of_rows(number, &batch);
    let idempotency_key = idempotency_key.map_err(|e| format!("cannot encode the rows: {e}"))?;
    let chunk = IngestChunk { table: target.table.clone(), idempotency_key, batch };
    let mut waits = WAITS_MS.iter();
    let mut resent = false;
    let answer = loop {
        match client.ingest_chunk(chunk.clone()).await {
            Ok(answer) => break answer,
            Err(error) => wait(waits.next(), flight_error(error)).await?,
        }
        resent = true;
    };
    sent.count(&answer.receipts, resent);
    sent.rejected_total += answer.rejected.total;
    for (row, reason) in answer.rejected.rows {
        // What a shard refused has no place: its number is that of rows sent before it.
        let row = usize::try_from(row).ok().filter(|_| !reason.contains(OF_SHARD));
        sent.rejected.push(places.rejection(row.unwrap_or(usize::MAX), reason));
    }
    sent.rejected.sort_by_key(|rejection| rejection.line);
    Ok(sent)
}

/// Sends lines.
pub(super) async fn send_lines(
    writer: &LineWriter,
    keys: &Keys,
    number: u64,
    chunk: LineChunk,
) -> Result<Sent, String> {
    let key = keys.of_lines(number, &chunk.bytes);
    let LineChunk { bytes, first_line, .. } = chunk;
    let bytes = bytes::Bytes::from(bytes);
    let mut waits = WAITS_MS.iter();
    let mut resent = false;
    let answer = loop {
        let (writer, key, body) = (writer.clone(), key.clone(), bytes.clone());
        let answer = tokio::task::spawn_blocking(move || writer.write(&key, &body)).await;
        match answer.map_err(|e| format!("a request ended without an answer: {e}"))? {
            Ok(answer) => break answer,
            Err(error) => wait(waits.next(), error).await?,
        }
        resent = true;
    };
    let mut sent = Sent { rejected_total: answer.rejected_total, ..Sent::default() };
    sent.count(&answer.receipts, resent);
    let lines: Vec<&[u8]> = if answer.rejected.is_empty() {
        Vec::new()
    } else {
        bytes.split(|byte| *byte == b'\n').collect()
    };
    for rejected in answer.rejected {
        let at = usize::try_from(rejected.line_number).ok().and_then(|n| n.checked_sub(1));
        let text = at.and_then(|at| lines.get(at)).map(|line| String::from_utf8_lossy(line));
        sent.rejected.push(Rejection {
            line: at.map_or(0, |at| first_line + at as u64),
            reason: rejected.error_message,
            text: text.unwrap_or_default().trim_end_matches('\r').to_owned(),
        });
    }
    Ok(sent)
}

/// Waits before a chunk is sent again, or gives up.
async fn wait(millis: Option<&u64>, error: SendError) -> Result<(), String> {
    match (error, millis) {
        (SendError::Later(_), Some(millis)) => {
            tokio::time::sleep(Duration::from_millis(*millis)).await;
            Ok(())
        }
        (SendError::Later(message), None) => {
            Err(format!("{message}; run the load again to go on, nothing is stored twice"))
        }
        (SendError::Final(message), _) => Err(explained(message)),
    }
}

fn flight_error(error: ClientError) -> SendError {
    match error {
        ClientError::Server { code, message } if PASSING.contains(&code.as_str()) => {
            SendError::Later(message)
        }
        // A connection that breaks has no code of the server's.
        ClientError::Server { code, message } if code == "UNKNOWN" || code == "CANCELLED" => {
            SendError::Later(message)
        }
        other => SendError::Final(other.to_string()),
    }
}

/// A key that was used for other bytes is nothing that the user chose.
fn explained(message: String) -> String {
    if message.contains("was used before with a different body") {
        return format!(
            "{message}: another version sent this part of the file otherwise; --again sends all parts \
             under new keys, and rows that are there stay one by their tags and time"
        );
    }
    message
}

/// An error, with the part of the file that it is about.
pub(super) fn in_file(source: &Source, chunk: u64, message: &str) -> String {
    format!("{}, part {}: {message}", source.name, chunk + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_rows_are_told_from_new_ones() {
        let receipt = |accepted, duplicate| -> ShardReceipt {
            serde_json::from_value(serde_json::json!({
                "shard": 1, "term": 1, "index": 1, "accepted": accepted, "rejected": 0,
                "reason": null, "duplicate": duplicate,
            }))
            .unwrap()
        };
        let receipts = [receipt(3, false), receipt(4, true), receipt(5, false)];
        let mut sent = Sent::default();
        sent.count(&receipts, false);
        assert_eq!((sent.stored, sent.known), (8, 4));
        // Sent again by this load after the answer was lost: no earlier load stored them.
        let mut sent = Sent::default();
        sent.count(&receipts, true);
        assert_eq!((sent.stored, sent.known), (12, 0));
    }

    #[tokio::test]
    async fn what_does_not_pass_ends_the_load_and_says_what_to_do() {
        let refused = ClientError::Server {
            code: "INVALID_ARGUMENT".to_owned(),
            message: "idempotency key \"k\" was used before with a different body".to_owned(),
        };
        let error = wait(Some(&0), flight_error(refused)).await.unwrap_err();
        assert!(error.contains("--again"), "{error}");
        let busy =
            ClientError::Server { code: "UNAVAILABLE".to_owned(), message: "busy".to_owned() };
        assert_eq!(wait(Some(&0), flight_error(busy)).await, Ok(()));
        let error = wait(None, SendError::Later("busy".to_owned())).await.unwrap_err();
        assert!(error.starts_with("busy; run the load again"), "{error}");
    }
}
