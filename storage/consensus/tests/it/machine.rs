//! A state machine that keeps every command, and becomes durable when it is told to.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use quorate_consensus::{Applied, Fatal, LogPosition, Snapshot, StateMachine};

/// A command and its place.
pub(crate) type Command = (LogPosition, String);

/// What survives the process.
pub(crate) type Durable = Arc<Mutex<Snapshot>>;

/// Keeps every command. The reply is the command, reversed. Three commands are special: `fatal` stops the replica,
/// `panic` panics, and `short` forgets to reply.
#[derive(Debug)]
pub(crate) struct Machine {
    durable: Durable,
    state: Mutex<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    position: Option<LogPosition>,
    membership: Bytes,
    commands: Vec<Command>,
    /// Indexes applied by this process, from the first one on.
    applied_here: Vec<u64>,
    installs: u64,
}

impl Machine {
    pub(crate) fn open(durable: Durable) -> Self {
        let snapshot = durable.lock().clone();
        let machine = Self { durable, state: Mutex::default() };
        machine.state.lock().load(&snapshot);
        machine
    }

    /// Makes the state durable, and returns its position.
    pub(crate) fn flush(&self) -> LogPosition {
        let state = self.state.lock();
        *self.durable.lock() = Snapshot {
            position: state.position,
            membership: state.membership.clone(),
            manifest: postcard::to_stdvec(&state.commands).unwrap().into(),
        };
        state.position.unwrap()
    }

    pub(crate) fn commands(&self) -> Vec<Command> {
        self.state.lock().commands.clone()
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.commands().into_iter().map(|(_, text)| text).collect()
    }

    pub(crate) fn applied_here(&self) -> Vec<u64> {
        self.state.lock().applied_here.clone()
    }

    pub(crate) fn installs(&self) -> u64 {
        self.state.lock().installs
    }
}

impl State {
    fn load(&mut self, snapshot: &Snapshot) {
        self.position = snapshot.position;
        self.membership = snapshot.membership.clone();
        self.commands = match snapshot.position {
            Some(_) => postcard::from_bytes(&snapshot.manifest).unwrap(),
            None => Vec::new(),
        };
    }
}

#[async_trait::async_trait]
impl StateMachine for Machine {
    async fn durable(&self) -> Result<Snapshot, Fatal> {
        Ok(self.durable.lock().clone())
    }

    async fn apply(&self, entries: Vec<Applied>) -> Result<Vec<Bytes>, Fatal> {
        let mut state = self.state.lock();
        let mut replies = Vec::new();
        for Applied { position, command, membership } in entries {
            if let Some(last) = state.position {
                assert_eq!(position.index, last.index + 1, "no gap, none twice");
                assert!(position.term >= last.term, "terms do not fall");
            }
            state.position = Some(position);
            state.applied_here.push(position.index);
            if let Some(membership) = membership {
                state.membership = membership;
            }
            let Some(command) = command else {
                replies.push(Bytes::new());
                continue;
            };
            let text = String::from_utf8(command.to_vec()).unwrap();
            match text.as_str() {
                "fatal" => return Err(Fatal { what: "told to stop".to_owned(), source: None }),
                "panic" => panic!("told to panic"),
                "short" => {}
                _ => replies.push(text.bytes().rev().collect()),
            }
            state.commands.push((position, text));
        }
        Ok(replies)
    }

    async fn install(&self, snapshot: Snapshot) -> Result<(), Fatal> {
        let mut state = self.state.lock();
        state.load(&snapshot);
        state.installs += 1;
        *self.durable.lock() = snapshot;
        Ok(())
    }
}
