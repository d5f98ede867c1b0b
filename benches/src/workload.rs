//! TSBS-like cpu rows, the same for the same arguments.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Fields of a row, numbers of 0 to 100.
pub(crate) const FIELDS: [&str; 10] = [
    "usage_user",
    "usage_system",
    "usage_idle",
    "usage_nice",
    "usage_iowait",
    "usage_irq",
    "usage_softirq",
    "usage_steal",
    "usage_guest",
    "usage_guest_nice",
];
/// Tags of a row.
pub(crate) const TAGS: [&str; 10] = [
    "hostname",
    "region",
    "datacenter",
    "rack",
    "os",
    "arch",
    "team",
    "service",
    "service_version",
    "service_environment",
];
const REGIONS: [&str; 5] =
    ["us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-northeast-1"];
const STEP_NS: i64 = 10_000_000_000;
/// 2016-01-01T00:00:00Z.
pub(crate) const BASE_NS: i64 = 1_451_606_400_000_000_000;

/// A host.
pub(crate) struct Host {
    /// Its number, from 0.
    pub(crate) number: u32,
    /// The values of [`TAGS`].
    pub(crate) tags: [String; 10],
}

/// A number of hosts over a number of steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    hosts: u32,
    steps: u64,
    decimals: i32,
}

impl Workload {
    /// One row per host every 10 s, values of so many digits after the point.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of steps, far below 2^53"
    )]
    pub(crate) fn new(hosts: u32, hours: f64, decimals: i32) -> Self {
        Self { hosts, steps: (hours * 360.0) as u64, decimals }
    }

    /// Rows in all.
    pub(crate) fn rows(self) -> u64 {
        u64::from(self.hosts) * self.steps
    }

    /// Hosts.
    pub(crate) fn hosts(self) -> u32 {
        self.hosts
    }

    /// Seconds that the rows span.
    pub(crate) fn seconds(self) -> i64 {
        i64::try_from(self.steps).unwrap_or(i64::MAX) * (STEP_NS / 1_000_000_000)
    }

    /// Writes the rows as line protocol, in the order of time.
    pub(crate) fn write_lines(self, path: &Path) -> std::io::Result<()> {
        self.write(path, |out, host, values, time| {
            out.write_all(b"cpu")?;
            for (name, tag) in TAGS.iter().zip(host) {
                write!(out, ",{name}={tag}")?;
            }
            for (number, (name, value)) in FIELDS.iter().zip(values).enumerate() {
                let mark = if number == 0 { ' ' } else { ',' };
                write!(out, "{mark}{name}={value}")?;
            }
            writeln!(out, " {time}")
        })
    }

    /// Writes the same rows as CSV with a header, times in seconds.
    pub(crate) fn write_csv(self, path: &Path) -> std::io::Result<()> {
        let mut has_header = false;
        self.write(path, |out, host, values, time| {
            if !std::mem::replace(&mut has_header, true) {
                writeln!(out, "time,{},{}", TAGS.join(","), FIELDS.join(","))?;
            }
            let seconds = time.rem_euclid(86_400_000_000_000) / 1_000_000_000;
            let day = (time - BASE_NS) / 86_400_000_000_000 + 1;
            let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            write!(out, "2016-01-{day:02} {hour:02}:{minute:02}:{second:02}")?;
            for tag in host {
                write!(out, ",{tag}")?;
            }
            for value in values {
                write!(out, ",{value}")?;
            }
            writeln!(out)
        })
    }

    fn write(
        self,
        path: &Path,
        mut row: impl FnMut(&mut dyn Write, &[String; 10], [f64; 10], i64) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
        self.each_row(|host, values, time| row(&mut out, &host.tags, values, time))?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.sync_all()
    }

    /// The rows, in the order of time.
    pub(crate) fn each_row(
        self,
        mut row: impl FnMut(&Host, [f64; 10], i64) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let unit = 10_f64.powi(self.decimals);
        let mut rng = StdRng::seed_from_u64(1);
        let hosts: Vec<Host> =
            (0..self.hosts).map(|number| Host { number, tags: tags(number, &mut rng) }).collect();
        let mut state: Vec<[f64; 10]> = (0..self.hosts)
            .map(|_| std::array::from_fn(|_| rng.random_range(0.0..100.0)))
            .collect();
        for step in 0..self.steps {
            let time = BASE_NS + i64::try_from(step).map_err(std::io::Error::other)? * STEP_NS;
            for (host, values) in hosts.iter().zip(&mut state) {
                for value in values.iter_mut() {
                    *value = (*value + rng.random_range(-1.7..1.7)).clamp(0.0, 100.0);
                }
                row(host, values.map(|value| (value * unit).trunc() / unit), time)?;
            }
        }
        Ok(())
    }
}

fn tags(host: u32, rng: &mut StdRng) -> [String; 10] {
    let region = REGIONS[rng.random_range(0..REGIONS.len())];
    [
        format!("host_{host}"),
        region.to_owned(),
        format!("{region}{}", ['a', 'b', 'c'][rng.random_range(0..3)]),
        rng.random_range(0..100).to_string(),
        ["Ubuntu16.10", "Ubuntu16.04LTS", "Ubuntu15.10"][rng.random_range(0..3)].to_owned(),
        ["x64", "x86"][rng.random_range(0..2)].to_owned(),
        ["SF", "NYC", "LON", "CHI"][rng.random_range(0..4)].to_owned(),
        rng.random_range(0..20).to_string(),
        rng.random_range(0..2).to_string(),
        ["production", "staging", "test"][rng.random_range(0..3)].to_owned(),
    ]
}
