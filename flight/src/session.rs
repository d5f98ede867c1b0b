//! What a session has changed, and who holds it between two calls.
//!
//! A Flight SQL connection is no connection: its calls may reach different nodes. So what `SET`, `USE` and
//! `SetSessionOptions` change is held by the client, in a signed cookie. A client that keeps no cookies but brings the
//! bearer token of our handshake has it held by this node, under the token's id. For any other client there is no place
//! to hold it, and `SET` is refused with an error that names the call headers.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use prost::Message;
use quorate_engine::{PreparedText, SessionOptions};
use quorate_storage::{ReadLevel, ShardId, ShardReceipt, WriteLevel};

use crate::message::{
    PreparedState, ReadLevelKind, ReadLevelState, ReceiptState, SessionState, WriteLevelState,
};
use crate::seal::{Purpose, Seal};

/// Name of the cookie.
const COOKIE: &str = "quorate_session";

/// Database and time zone of a session that says nothing of them.
pub(crate) const DATABASE: &str = "main";
pub(crate) const TIMEZONE: &str = "UTC";

/// Id of a bearer token.
pub(crate) type TokenId = [u8; 16];

/// Who holds the state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The client, by a cookie that it has brought.
    Cookie,
    /// This node, for the bearer of a token.
    Token(TokenId),
    /// Nobody.
    Nobody,
}

impl SessionState {
    /// All that matters of these options, the defaults by name, so that a call with other headers can make them again.
    pub(crate) fn of(options: &SessionOptions) -> Self {
        Self {
            database: options.database.clone().or_else(|| Some(DATABASE.to_owned())),
            timezone: options.timezone.clone().or_else(|| Some(TIMEZONE.to_owned())),
            query_timeout_ms: options.query_timeout.map(millis),
            read_level: Some(read_level_state(&options.read_level)),
            write_level: Some(write_level_state(options.write_level)),
            prepared: options.prepared.iter().map(prepared_state).collect(),
            application: options.application.clone(),
        }
    }

    /// Puts the state over these options.
    pub(crate) fn apply(&self, options: &mut SessionOptions) {
        if let Some(database) = &self.database {
            options.database = Some(database.clone());
        }
        if let Some(timezone) = &self.timezone {
            options.timezone = Some(timezone.clone());
        }
        if let Some(ms) = self.query_timeout_ms {
            options.query_timeout = Some(Duration::from_millis(ms));
        }
        if let Some(level) = &self.read_level {
            options.read_level = read_level(level);
        }
        if let Some(level) = self.write_level {
            options.write_level = if level == WriteLevelState::All as i32 {
                WriteLevel::All
            } else {
                WriteLevel::Quorum
            };
        }
        options.prepared = self.prepared.iter().map(prepared_text).collect();
        if let Some(application) = &self.application {
            options.application = Some(application.clone());
        }
    }

    /// Takes over what a statement changed; what it left alone stays as it was, not written down.
    pub(crate) fn record(&mut self, before: &SessionOptions, after: &SessionOptions) {
        if before.database != after.database {
            self.database.clone_from(&after.database);
        }
        if before.timezone != after.timezone {
            self.timezone.clone_from(&after.timezone);
        }
        if before.query_timeout != after.query_timeout {
            self.query_timeout_ms = after.query_timeout.map(millis);
        }
        if before.read_level != after.read_level {
            self.read_level = Some(read_level_state(&after.read_level));
        }
        if before.write_level != after.write_level {
            self.write_level = Some(write_level_state(after.write_level));
        }
        if before.prepared != after.prepared {
            self.prepared = after.prepared.iter().map(prepared_state).collect();
        }
        if before.application != after.application {
            self.application.clone_from(&after.application);
        }
    }
}

fn prepared_state(prepared: &PreparedText) -> PreparedState {
    let PreparedText { name, types, text } = prepared.clone();
    PreparedState { name, types, text }
}

fn prepared_text(state: &PreparedState) -> PreparedText {
    let PreparedState { name, types, text } = state.clone();
    PreparedText { name, types, text }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn write_level_state(level: WriteLevel) -> i32 {
    match level {
        WriteLevel::Quorum => WriteLevelState::Quorum as i32,
        WriteLevel::All => WriteLevelState::All as i32,
    }
}

pub(crate) fn read_level_state(level: &ReadLevel) -> ReadLevelState {
    match level {
        ReadLevel::Linearizable => {
            ReadLevelState { kind: ReadLevelKind::Linearizable as i32, receipts: vec![] }
        }
        ReadLevel::Local => ReadLevelState { kind: ReadLevelKind::Local as i32, receipts: vec![] },
        ReadLevel::Session(receipts) => ReadLevelState {
            kind: ReadLevelKind::Session as i32,
            receipts: receipts
                .iter()
                .map(|r| ReceiptState { shard: r.shard.0, term: r.term, index: r.index })
                .collect(),
        },
    }
}

fn read_level(state: &ReadLevelState) -> ReadLevel {
    match state.kind() {
        ReadLevelKind::Linearizable => ReadLevel::Linearizable,
        ReadLevelKind::Local => ReadLevel::Local,
        ReadLevelKind::Session => ReadLevel::Session(state.receipts.iter().map(receipt).collect()),
    }
}

/// Only the place in the log matters to a read.
fn receipt(state: &ReceiptState) -> ShardReceipt {
    ShardReceipt {
        shard: ShardId(state.shard),
        term: state.term,
        index: state.index,
        accepted: 0,
        rejected: 0,
        reason: None,
        duplicate: false,
    }
}

/// The value of a `set-cookie` header that holds the state.
pub(crate) fn cookie(seal: &Seal, state: &SessionState) -> String {
    let sealed = seal.close(Purpose::Cookie, &state.encode_to_vec());
    format!("{COOKIE}={}; Path=/; HttpOnly", BASE64_URL_SAFE_NO_PAD.encode(sealed))
}

/// The value of a `set-cookie` header that ends the session.
pub(crate) fn cookie_gone() -> String {
    format!("{COOKIE}=; Path=/; HttpOnly; Max-Age=0")
}

/// The state in a `cookie` header. One that another cluster signed, or nobody, is as good as none.
pub(crate) fn from_cookie(seal: &Seal, header: &str) -> Option<SessionState> {
    header.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        if name != COOKIE {
            return None;
        }
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(value.trim_matches('"')).ok()?;
        SessionState::decode(seal.open(Purpose::Cookie, &sealed)?).ok()
    })
}

/// A bearer token.
pub(crate) fn token(seal: &Seal, id: &TokenId) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(seal.close(Purpose::Token, id))
}

/// The id of a bearer token that a node of this cluster gave; `None` for any other.
pub(crate) fn from_token(seal: &Seal, token: &str) -> Option<TokenId> {
    let sealed = BASE64_URL_SAFE_NO_PAD.decode(token.trim()).ok()?;
    seal.open(Purpose::Token, &sealed)?.try_into().ok()
}

/// A map that forgets its oldest keys, so that clients that come and go do not fill memory.
#[derive(Debug)]
pub(crate) struct BoundedMap<K, V> {
    values: HashMap<K, Held<V>>,
    order: VecDeque<K>,
    keys_max: usize,
    bytes: usize,
    bytes_max: usize,
}

/// A value, and what it was said to weigh.
#[derive(Debug)]
struct Held<V> {
    value: V,
    bytes: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> BoundedMap<K, V> {
    /// An empty map of at most so many keys.
    pub(crate) fn new(keys_max: usize) -> Self {
        Self {
            values: HashMap::new(),
            order: VecDeque::new(),
            keys_max,
            bytes: 0,
            bytes_max: usize::MAX,
        }
    }

    /// The same map, of values that together weigh at most so much.
    pub(crate) fn with_bytes_max(self, bytes_max: usize) -> Self {
        Self { bytes_max, ..self }
    }

    /// A copy of the value.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        self.values.get(key).map(|held| held.value.clone())
    }

    /// Sets a value whose weight does not matter.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.insert_weighed(key, value, 0);
    }

    /// Sets a value that weighs so much. One that is too heavy by itself is forgotten at once.
    pub(crate) fn insert_weighed(&mut self, key: K, value: V, bytes: usize) {
        self.bytes += bytes;
        match self.values.insert(key.clone(), Held { value, bytes }) {
            Some(before) => self.bytes -= before.bytes,
            None => self.order.push_back(key),
        }
        while self.values.len() > self.keys_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else { break };
            self.forget(&oldest);
        }
    }

    /// Removes the key.
    pub(crate) fn remove(&mut self, key: &K) {
        if self.forget(key) {
            self.order.retain(|k| k != key);
        }
    }

    fn forget(&mut self, key: &K) -> bool {
        let held = self.values.remove(key);
        self.bytes -= held.as_ref().map_or(0, |held| held.bytes);
        held.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal() -> Seal {
        Seal::new(&[1; 32])
    }

    #[test]
    fn a_cookie_brings_the_state_back() {
        let state = SessionState {
            database: Some("größe; x=y".into()),
            timezone: Some("Europe/Berlin".into()),
            query_timeout_ms: Some(1500),
            read_level: Some(ReadLevelState {
                kind: ReadLevelKind::Session as i32,
                receipts: vec![ReceiptState { shard: 3, term: 1, index: 99 }],
            }),
            write_level: Some(WriteLevelState::All as i32),
            prepared: vec![PreparedState {
                name: "p".into(),
                types: vec!["INT".into()],
                text: "SELECT $1; 'ß'".into(),
            }],
            application: Some("report".into()),
        };
        let header = cookie(&seal(), &state);
        let pair = header.split(';').next().unwrap();
        let brought = format!("other=1; {pair}; more=2");
        assert_eq!(from_cookie(&seal(), &brought), Some(state));
    }

    #[test]
    fn a_cookie_of_another_cluster_is_none() {
        let header = cookie(&Seal::new(&[2; 32]), &SessionState::default());
        assert_eq!(from_cookie(&seal(), header.split(';').next().unwrap()), None);
        assert_eq!(from_cookie(&seal(), "quorate_session=; x"), None);
        assert_eq!(from_cookie(&seal(), ""), None);
    }

    #[test]
    fn a_token_brings_its_id_back() {
        let id = [9; 16];
        assert_eq!(from_token(&seal(), &token(&seal(), &id)), Some(id));
        assert_eq!(from_token(&seal(), "apiv3_something-else"), None);
    }

    #[test]
    fn options_survive_the_way_through_a_state() {
        let options = SessionOptions {
            database: Some("d".into()),
            timezone: Some("+02:00".into()),
            read_level: ReadLevel::Local,
            write_level: WriteLevel::All,
            query_timeout: Some(Duration::from_secs(7)),
            prepared: vec![PreparedText {
                name: "p".into(),
                types: vec![],
                text: "SELECT 1".into(),
            }],
            application: Some("report".into()),
            ..SessionOptions::default()
        };
        let mut made = SessionOptions::default();
        SessionState::of(&options).apply(&mut made);
        assert_eq!(format!("{made:?}"), format!("{options:?}"));
    }

    #[test]
    fn only_what_changed_is_recorded() {
        let before = SessionOptions { database: Some("d".into()), ..SessionOptions::default() };
        let after = SessionOptions { timezone: Some("UTC".into()), ..before.clone() };
        let mut state = SessionState::default();
        state.record(&before, &after);
        assert_eq!(state, SessionState { timezone: Some("UTC".into()), ..SessionState::default() });
    }

    #[test]
    fn a_bounded_map_forgets_its_oldest_key() {
        let mut map = BoundedMap::new(2);
        for key in 1..=3 {
            map.insert(key, key * 10);
        }
        assert_eq!((map.get(&1), map.get(&2), map.get(&3)), (None, Some(20), Some(30)));
        map.remove(&2);
        map.insert(4, 40);
        assert_eq!((map.get(&3), map.get(&4)), (Some(30), Some(40)));
    }

    #[test]
    fn a_bounded_map_forgets_what_is_too_heavy() {
        let mut map = BoundedMap::new(10).with_bytes_max(100);
        map.insert_weighed(1, 10, 60);
        map.insert_weighed(2, 20, 30);
        map.insert_weighed(2, 21, 40);
        assert_eq!((map.get(&1), map.get(&2)), (Some(10), Some(21)));
        map.insert_weighed(3, 30, 1);
        assert_eq!((map.get(&1), map.get(&2), map.get(&3)), (None, Some(21), Some(30)));
        map.remove(&2);
        map.insert_weighed(4, 40, 99);
        assert_eq!((map.get(&3), map.get(&4)), (Some(30), Some(40)));
        map.insert_weighed(5, 50, 101);
        assert_eq!((map.get(&3), map.get(&4), map.get(&5)), (None, None, None));
    }
}
