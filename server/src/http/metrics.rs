//! Counters of the node as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use quorate_engine::QueryStatus;
use quorate_flight::CallCounts;
use quorate_storage::{Durations, ReadStatus, ShardStatus, StoreStatus};
use quorate_wal::BUCKETS;

use super::door::{Door, ROUTES};
use crate::udp::UdpCounters;

/// What the door counts itself.
#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    body_bytes: AtomicU64,
    points_stored: AtomicU64,
    lines_rejected: AtomicU64,
}

impl Counters {
    /// A request was answered. What is none of the routes is `other`, so that clients cannot make up series.
    pub(super) fn request(&self, path: &str, status: StatusCode) {
        let known = ROUTES.iter().map(|(known, _)| *known).find(|known| path == *known);
        let path = known.unwrap_or("other");
        *self.requests.lock().entry((path, status.as_u16())).or_default() += 1;
    }

    /// A body was read.
    pub(super) fn body(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Lines were written.
    pub(super) fn points(&self, stored: u64, rejected: u64) {
        self.points_stored.fetch_add(stored, Ordering::Relaxed);
        self.lines_rejected.fetch_add(rejected, Ordering::Relaxed);
    }
}

/// Prometheus text under construction.
#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    fn histogram(&mut self, name: &str, help: &str, durations: &Durations) {
        self.family(name, "histogram", help);
        for (limit, count) in BUCKETS.iter().zip(durations.up_to) {
            let labels = format!("{{le=\"{}\"}}", seconds(*limit));
            self.sample(&format!("{name}_bucket"), &labels, count);
        }
        self.sample(&format!("{name}_bucket"), "{le=\"+Inf\"}", durations.count);
        self.sample(&format!("{name}_sum"), "", seconds(durations.micros));
        self.sample(&format!("{name}_count"), "", durations.count);
    }

    fn of_shards(
        &mut self,
        (name, kind, help): (&str, &str, &str),
        shards: &[ShardStatus],
        value: impl Fn(&ShardStatus) -> u64,
    ) {
        self.family(name, kind, help);
        for shard in shards {
            self.sample(name, &format!("{{shard=\"{}\"}}", shard.shard.0), value(shard));
        }
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// `/metrics`.
pub(super) async fn metrics(State(door): State<Arc<Door>>) -> Response {
    let mut text = Text::default();
    text.family("quorate_build_info", "gauge", "The version that runs.");
    let version = format!("{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    text.sample("quorate_build_info", &version, 1);
    http(&mut text, &door.counters);
    if let Some(flight) = door.flight() {
        grpc(&mut text, flight.calls());
    }
    if door.udp.enabled() {
        udp(&mut text, &door.udp);
    }
    let engine = door.engine().ok();
    let ready = engine.is_some_and(|engine| engine.store().has_leaders());
    text.gauge("quorate_ready", "Whether the node serves reads and writes.", u8::from(ready));
    if let Some(engine) = engine {
        store(&mut text, &engine.store().status());
        queries(&mut text, &engine.query_status());
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text.0).into_response()
}

fn http(text: &mut Text, counters: &Counters) {
    let name = "quorate_http_requests_total";
    text.family(name, "counter", "HTTP requests by path and status.");
    for ((path, status), count) in counters.requests.lock().iter() {
        text.sample(name, &format!("{{path=\"{path}\",status=\"{status}\"}}"), count);
    }
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    text.counter(
        "quorate_http_body_bytes_total",
        "Bytes of bodies, unpacked.",
        load(&counters.body_bytes),
    );
    text.counter(
        "quorate_http_points_stored_total",
        "Points stored from line protocol.",
        load(&counters.points_stored),
    );
    text.counter(
        "quorate_http_lines_rejected_total",
        "Lines of line protocol that were rejected.",
        load(&counters.lines_rejected),
    );
}

fn grpc(text: &mut Text, calls: &CallCounts) {
    let name = "quorate_grpc_calls_total";
    text.family(name, "counter", "gRPC calls that have ended, by method and status.");
    for (method, status, count) in calls.ended() {
        text.sample(name, &format!("{{method=\"{method}\",status=\"{status}\"}}"), count);
    }
    text.gauge("quorate_grpc_calls_running", "gRPC calls that run now.", calls.running());
}

fn udp(text: &mut Text, counters: &UdpCounters) {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    for (name, help, counter) in [
        ("quorate_udp_datagrams_total", "Datagrams received.", &counters.datagrams),
        ("quorate_udp_bytes_total", "Bytes of datagrams received.", &counters.bytes),
        (
            "quorate_udp_points_stored_total",
            "Points stored from datagrams.",
            &counters.points_stored,
        ),
        (
            "quorate_udp_lines_rejected_total",
            "Lines of datagrams that were rejected.",
            &counters.lines_rejected,
        ),
    ] {
        text.counter(name, help, load(counter));
    }
    let name = "quorate_udp_datagrams_dropped_total";
    text.family(name, "counter", "Datagrams that were not stored, by reason.");
    let reasons = [
        ("queue_full", Some(load(&counters.dropped_full))),
        ("write_failed", Some(load(&counters.dropped_failed))),
        ("system", counters.dropped_by_system()),
    ];
    for (reason, count) in reasons {
        if let Some(count) = count {
            text.sample(name, &format!("{{reason=\"{reason}\"}}"), count);
        }
    }
}

fn queries(text: &mut Text, status: &QueryStatus) {
    text.gauge("quorate_queries_running", "Queries that run now.", status.running);
    let help = "Durations of queries, from planning to the last row or error.";
    text.histogram("quorate_query_seconds", help, &status.durations);
    text.gauge(
        "quorate_query_memory_bytes",
        "Memory that the running queries have reserved.",
        status.memory_bytes,
    );
    let help = "Plans of queries that were used again.";
    text.counter("quorate_query_plans_reused_total", help, status.plans_reused);
}

/// Reads of segments, by queries, compactions and checks.
fn reads(text: &mut Text, status: &ReadStatus) {
    for (name, help, value) in [
        (
            "quorate_segment_read_bytes_total",
            "Bytes of segments read from disk and verified.",
            status.bytes_read,
        ),
        (
            "quorate_cache_read_bytes_total",
            "Bytes of segments that the block cache had.",
            status.bytes_cached,
        ),
        (
            "quorate_segment_blocks_corrupt_total",
            "Blocks of segments that did not match their hash.",
            status.blocks_corrupt,
        ),
        ("quorate_segment_rows_decoded_total", "Rows decoded.", status.rows_decoded),
        (
            "quorate_segment_pages_skipped_total",
            "Pages that were left out of the row groups that were read.",
            status.pages_skipped,
        ),
    ] {
        text.counter(name, help, value);
    }
    text.gauge("quorate_cache_bytes", "Bytes that the block cache holds.", status.cache_bytes);
}

fn store(text: &mut Text, status: &StoreStatus) {
    text.counter("quorate_rows_accepted_total", "Rows accepted since start.", status.rows_accepted);
    text.gauge("quorate_writes_waiting", "Writes that wait for memory.", status.writes_waiting);
    let wal = &status.wal;
    text.gauge("quorate_wal_live_bytes", "Bytes of the log on disk.", wal.bytes_live);
    text.counter("quorate_wal_written_bytes_total", "Bytes written to the log.", wal.bytes_written);
    text.counter("quorate_wal_syncs_total", "Syncs of the log.", wal.syncs);
    text.counter("quorate_wal_entries_total", "Entries appended to the log.", wal.entries);
    let help = "Durations of the syncs of the log.";
    text.histogram("quorate_wal_sync_seconds", help, &wal.sync_durations);
    text.gauge(
        "quorate_wal_disk_full",
        "Whether writes are refused for want of space.",
        u8::from(wal.disk_full),
    );
    reads(text, &status.reads);
    let shards = &status.shards;
    let family = |name, kind, help| (name, kind, help);
    text.of_shards(
        family("quorate_shard_memtable_bytes", "gauge", "Bytes in memtables."),
        shards,
        |s| s.memtable_bytes,
    );
    text.of_shards(
        family("quorate_shard_segments", "gauge", "Segments of the current manifest."),
        shards,
        |s| s.segments,
    );
    text.of_shards(
        family("quorate_shard_flushes_pending", "gauge", "Flushes that wait or run."),
        shards,
        |s| s.flushes_pending,
    );
    text.of_shards(
        family("quorate_shard_compactions_pending", "gauge", "Compactions that wait or run."),
        shards,
        |s| s.compactions_pending,
    );
    text.of_shards(
        family("quorate_shard_rows_deduplicated_total", "counter", "Rows merged by primary key."),
        shards,
        |s| s.rows_deduplicated,
    );
    text.of_shards(
        family("quorate_shard_leads", "gauge", "Whether this node leads the shard."),
        shards,
        |s| u64::from(s.group.leader == Some(s.group.replica)),
    );
    text.of_shards(family("quorate_shard_term", "gauge", "Raft term."), shards, |s| s.group.term);
    text.of_shards(
        family("quorate_shard_applied_index", "gauge", "Last entry applied."),
        shards,
        |s| s.group.applied.map_or(0, |p| p.index),
    );
}
