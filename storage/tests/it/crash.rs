//! Random histories with crashes: after each restart every acknowledged row is there, and nothing else.
//!
//! A crash kills the process or cuts the power of a simulated disk (what was not synced is lost, in part), with or
//! without writes in flight. A write that was in flight may be there or not, row by row at most: never a third value.

use std::time::Duration;

use quorate_storage::catalog::TableOptions;
use quorate_storage::scan::TimeRange;
use quorate_storage::{Delete, SeriesSelection, Store, WriteOptions};
use quorate_wal::SimDisk;
use tokio::runtime::{Builder, Runtime};

use crate::support::{DAY, Random, Rows, cpu, create_cpu, options, read, write};

const HOSTS: [&str; 5] = ["a", "b", "c", "d", "e"];

type Row = (&'static str, i64, f64);

/// A process: its runtime and its store, which die together.
struct Process {
    runtime: Runtime,
    store: Store,
}

impl Process {
    fn start(disk: &SimDisk) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let process = disk.process();
        let store = runtime.block_on(async {
            let store = Store::open(process, options("/data")).await.unwrap();
            create_cpu(&store, TableOptions::default()).await;
            store
        });
        Self { runtime, store }
    }

    fn die(self) {
        drop(self.store);
        self.runtime.shutdown_background();
    }
}

fn some_rows(random: &mut Random) -> Vec<Row> {
    (0..=random.below(12))
        .map(|_| {
            let host = HOSTS[usize::try_from(random.below(5)).unwrap()];
            let time = i64::try_from(random.below(3)).unwrap() * DAY
                + i64::try_from(random.below(20)).unwrap();
            (host, time, random.below(1_000) as f64)
        })
        .collect()
}

fn apply(model: &mut Rows, rows: &[Row]) {
    for (host, time, usage) in rows {
        model.insert(((*host).to_owned(), *time), *usage);
    }
}

/// Rows that a write in flight could have changed hold the old or the new value; all others are as the model says.
fn check(seed: u64, model: &Rows, in_flight: &[Row], found: &Rows) {
    for (key, value) in found {
        let new = in_flight
            .iter()
            .any(|(h, t, v)| (*h, *t) == (key.0.as_str(), key.1) && v.to_bits() == value.to_bits());
        assert!(new || model.get(key) == Some(value), "seed {seed}: {key:?} is {value}");
    }
    for key in model.keys() {
        assert!(found.contains_key(key), "seed {seed}: {key:?} was acknowledged and is lost");
    }
}

fn run(seed: u64) {
    let mut random = Random(seed);
    let disk = SimDisk::new(seed);
    let mut model = Rows::new();
    let mut process = Process::start(&disk);
    for _ in 0..40 {
        let store = process.store.clone();
        match random.below(12) {
            0..=5 => {
                let rows = some_rows(&mut random);
                process.runtime.block_on(write(&store, &rows)).unwrap();
                apply(&mut model, &rows);
            }
            6 => {
                let (start, days) = (random.below(20), random.below(3));
                let start = i64::try_from(start).unwrap();
                let time = TimeRange { start, end: start + i64::try_from(days).unwrap() * DAY + 3 };
                let delete = Delete { table: cpu(&store).id, time, series: SeriesSelection::All };
                process.runtime.block_on(store.delete(delete, &WriteOptions::default())).unwrap();
                model.retain(|(_, t), _| !(time.start..=time.end).contains(t));
            }
            7 | 8 => process.runtime.block_on(store.flush()).unwrap(),
            9 => process.runtime.block_on(store.compact()).unwrap(),
            _ => {
                let rows = some_rows(&mut random);
                let in_flight = match random.below(3) {
                    0 => Vec::new(),
                    _ => rows,
                };
                let power = random.below(2) == 0;
                let busy = random.below(4);
                if !in_flight.is_empty() {
                    let (store, rows) = (store.clone(), in_flight.clone());
                    process.runtime.spawn(async move { write(&store, &rows).await });
                }
                if busy == 0 {
                    let store = store.clone();
                    process.runtime.spawn(async move { store.flush().await });
                    // How far it gets is the machine's choice; every outcome must hold.
                    std::hint::spin_loop();
                }
                drop(store);
                if power {
                    disk.cut_power();
                } else {
                    disk.kill();
                }
                process.die();
                process = Process::start(&disk);
                let found = process.runtime.block_on(read(&process.store));
                check(seed, &model, &in_flight, &found);
                model = found;
                continue;
            }
        }
        drop(store);
        let found = process.runtime.block_on(read(&process.store));
        assert_eq!(found, model, "seed {seed}");
    }
    process.runtime.block_on(process.store.close()).unwrap();
    process.runtime.shutdown_timeout(Duration::from_secs(5));
}

#[test]
fn every_acknowledged_row_survives_crashes_and_nothing_else_appears() {
    for seed in 0..12 {
        println!("seed {seed}");
        run(seed);
    }
}
