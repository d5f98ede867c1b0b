//! Raft's timers, and the openraft configuration made of them.
//!
//! Four settings are about safety and liveness rather than speed; the decision record `2026-11-21-openraft-pin` gives
//! the reasons: no leader restore, pre-vote, quorum-loss probes, and no tolerance of logs that moved back.

use std::sync::Arc;
use std::time::Duration;

use openraft::{Config, ConfigError, SnapshotPolicy, StepDownPolicy};
use quorate_wal::{Faults, PlantedBug};

/// Entries in one append message at most; bytes are capped by the log reader.
const ENTRIES_PER_MESSAGE_MAX: u64 = 256;

/// How long a follower may take to answer the offer of a snapshot, in milliseconds. Who takes longer, since he fetches
/// files, goes on where he was with the next offer; who died without a word is asked again soon.
const SNAPSHOT_OFFER_MS: u64 = 10_000;

/// Raft's timers. Replicas of a group may differ in them: that costs elections, not safety, since no read relies on a
/// lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timers {
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Least time without a leader before a replica stands for election.
    pub election_min: Duration,
    /// Most time, and the leader's lease.
    pub election_max: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_min: Duration::from_millis(250),
            election_max: Duration::from_millis(400),
        }
    }
}

impl Timers {
    /// How long one append message may take. A dead link fails at once in the transport; this bounds a silent one, and
    /// must leave time for the follower's sync.
    pub(crate) fn append_deadline(&self) -> Duration {
        self.election_max * 5
    }

    /// How long a replica that voted before it restarted keeps out of elections: the longest lease that it may have
    /// confirmed to a leader.
    pub(crate) fn gate(&self) -> Duration {
        self.election_max
    }

    /// The configuration of one replica, without elections: the group allows them. `restores`: whoever leads by the
    /// log's vote goes on leading, which only a process that has lost nothing of its log may do.
    pub(crate) fn config(
        &self,
        cluster_name: &str,
        restores: bool,
    ) -> Result<Arc<Config>, ConfigError> {
        let election_timeout_max = millis(self.election_max);
        let config = Config {
            cluster_name: cluster_name.to_owned(),
            heartbeat_interval: millis(self.heartbeat),
            election_timeout_min: millis(self.election_min),
            election_timeout_max,
            heartbeat_min_interval: Some(0),
            // Set once the group knows that it may vote.
            enable_elect: false,
            enable_pre_vote: Some(true),
            // A leader that lost unsynced entries must not go on in its term: log ids would be used twice.
            enable_leader_restore: Some(restores),
            // A leader that can send but hears nobody falls silent now and then, so that others can be elected.
            quorum_loss_probe_interval: Some(election_timeout_max * 5 / 2),
            allow_log_reversion: None,
            max_payload_entries: ENTRIES_PER_MESSAGE_MAX,
            max_append_entries: Some(1024),
            api_batch_linger_ms: 0,
            api_channel_size: Some(4096),
            notification_channel_size: Some(4096),
            state_machine_channel_size: Some(256),
            snapshot_policy: SnapshotPolicy::Never,
            // Only `Group::snapshot_moved` purges.
            max_in_snapshot_log_to_keep: u64::MAX,
            replication_lag_threshold: 50_000,
            install_snapshot_timeout: SNAPSHOT_OFFER_MS,
            removed_leader_step_down: StepDownPolicy::After(150),
            backoff: "50ms 100ms 200ms ..1s".to_owned(),
            ..Config::default()
        };
        Ok(Arc::new(config.validate()?))
    }
}

/// The configuration with the bug that a simulator planted, if it did.
pub(crate) fn with_faults(config: Arc<Config>, faults: &Faults) -> Arc<Config> {
    if !faults.has(PlantedBug::RestoredLeader) {
        return config;
    }
    Arc::new(Config { enable_leader_restore: Some(true), ..(*config).clone() })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_timers_make_a_valid_configuration() {
        let config = Timers::default().config("test", false).unwrap();
        assert_eq!(config.enable_leader_restore, Some(false));
        assert_eq!(config.enable_pre_vote, Some(true));
        assert_eq!(config.quorum_loss_probe_interval, Some(1000));
        assert_eq!(config.allow_log_reversion, None);
        assert!(config.election_timeout_min > config.heartbeat_interval * 2);
    }

    #[test]
    fn every_profile_makes_a_valid_configuration() {
        for (heartbeat, election_min, election_max) in
            [(60, 200, 300), (100, 300, 500), (200, 600, 1000), (1000, 2500, 4000)]
        {
            let timers = Timers {
                heartbeat: Duration::from_millis(heartbeat),
                election_min: Duration::from_millis(election_min),
                election_max: Duration::from_millis(election_max),
            };
            timers.config("test", false).unwrap();
        }
    }

    #[test]
    fn timers_that_cannot_work_are_refused() {
        let timers = Timers { election_max: Duration::from_millis(100), ..Timers::default() };
        assert!(timers.config("test", false).is_err());
    }
}
