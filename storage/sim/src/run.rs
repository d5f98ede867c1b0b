//! One run: a seed in, what was found out.

use std::fmt;
use std::time::Duration;

use quorate_wal::PlantedBug;

use crate::node::Settings;
use crate::planted;
use crate::random::Random;
use crate::trace::Trace;
use crate::workload::Mix;
use crate::world::World;

/// What is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Work and faults as the seed has it.
    Swarm,
    /// A story that leads to where a planted bug shows, with the bug or without it.
    Story {
        /// The bug that the story is about.
        about: PlantedBug,
        /// Whether it is planted.
        planted: bool,
    },
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// Hash over its trace.
    pub trace: u64,
    /// Events in the trace.
    pub events: u64,
    /// Operations begun, and acknowledged.
    pub operations: (usize, usize),
    /// Reads answered.
    pub reads: usize,
    /// Simulated time.
    pub time: Duration,
    /// Which faults came, and how often.
    pub faults: String,
    /// What cannot be; empty if all is well.
    pub findings: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, trace, events, operations: (begun, acked), reads, time, .. } = self;
        let verdict = if self.findings.is_empty() { "ok" } else { "FAILED" };
        write!(
            f,
            "seed {seed} {verdict}: trace {trace:016x} of {events} events, {acked} of {begun} writes \
             acknowledged, {reads} reads, {} s simulated, faults: {}",
            time.as_secs(),
            self.faults
        )?;
        for finding in &self.findings {
            write!(f, "\n  {finding}")?;
        }
        Ok(())
    }
}

/// Runs a seed. `verbose` prints the trace.
pub fn run(seed: u64, scenario: Scenario, verbose: bool) -> Report {
    let trace = Trace::new(verbose);
    let mut random = Random::new(seed);
    let world = match scenario {
        Scenario::Swarm => swarm(&mut random, &trace),
        Scenario::Story { about, planted } => planted::tell(about, planted, &mut random, &trace),
    };
    let (hash, events) = trace.digest();
    let (operations, reads) = {
        let history = world.workload.shared.history.lock();
        ((history.ops.len(), history.acked()), history.reads.len())
    };
    let faults: Vec<String> =
        world.nemesis.counts.iter().map(|(kind, count)| format!("{kind:?} {count}")).collect();
    let (time, faults) = (world.cluster.now, faults.join(", "));
    let findings = world.into_findings();
    Report { seed, trace: hash, events, operations, reads, time, faults, findings }
}

fn swarm(random: &mut Random, trace: &Trace) -> World {
    let settings = Settings {
        nodes: if random.permille(250) { 5 } else { 3 },
        flush_bytes: random.pick(&[2 << 20, 8 << 20]),
        wal_segment_bytes: random.pick(&[64 << 10, 256 << 10]),
        ..Settings::default()
    };
    let mix = Mix::swarm(random);
    let mut world = World::new(settings, mix, random, trace);
    trace.note(format_args!("{:?} {mix:?} {:?}", world.cluster.settings, world.nemesis.kinds()));
    if world.form() {
        let time = Duration::from_secs(random.between(8, 20));
        world.run_for(time);
        world.finish();
    }
    world
}
