//! Many clients at a time, each with a connection of its own, that ask `single-groupby-1-1-1` again and again.

use std::time::Duration;

use futures::TryStreamExt;
use quorate_flight::{Client, ClientOutcome};
use quorate_sql_tests::Server;
use serde_json::json;

use crate::peers::Dialect;
use crate::queries::{Parameters, Statement};
use crate::questdb::QuestDb;
use crate::workload::Workload;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// How many ask, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) clients: usize,
    pub(crate) time: Duration,
}

impl Crowd {
    /// Asks the server over Flight SQL.
    pub(crate) async fn ask(self, server: &Server, workload: Workload) -> Result<(), Failed> {
        let mut tasks = Vec::new();
        for seed in 0..self.clients {
            let client = server.client("main").await.map_err(|e| e.to_string())?;
            let asked = self.ask_one(client, Parameters::new(seed as u64, workload));
            tasks.push(tokio::spawn(asked));
        }
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        self.print("quorate", times);
        Ok(())
    }

    async fn ask_one(
        self,
        mut client: Client,
        mut parameters: Parameters,
    ) -> Result<Vec<Duration>, Failed> {
        let (mut times, begun) = (Vec::new(), crate::now());
        while begun.elapsed() < self.time {
            let statement = narrow(&mut parameters)(Dialect::Quorate);
            let started = crate::now();
            let asked = client.execute(&statement).await.map_err(|e| e.to_string())?;
            let ClientOutcome::Rows { batches, .. } = asked else { return Err("no rows".into()) };
            let batches: Vec<_> = batches.try_collect().await.map_err(|e| e.to_string())?;
            if batches.is_empty() {
                return Err(format!("{statement} gave no rows").into());
            }
            times.push(started.elapsed());
        }
        Ok(times)
    }

    /// Asks `QuestDB`, which has the rows, over HTTP.
    pub(crate) fn ask_questdb(self, url: &str, workload: Workload) -> Result<(), Failed> {
        let times = std::thread::scope(|scope| {
            let work = |seed| move || self.ask_questdb_one(url, Parameters::new(seed, workload));
            let workers: Vec<_> =
                (0..self.clients as u64).map(|seed| scope.spawn(work(seed))).collect();
            let mut times = Vec::new();
            for worker in workers {
                times.extend(worker.join().expect("a client does not panic")?);
            }
            Ok::<_, Failed>(times)
        })?;
        self.print("questdb", times);
        Ok(())
    }

    fn ask_questdb_one(
        self,
        url: &str,
        mut parameters: Parameters,
    ) -> Result<Vec<Duration>, Failed> {
        let questdb = QuestDb::at(url);
        let (mut times, begun) = (Vec::new(), crate::now());
        while begun.elapsed() < self.time {
            let statement = narrow(&mut parameters)(Dialect::Questdb);
            let started = crate::now();
            questdb.text(&statement).map_err(|e| e.to_string())?;
            times.push(started.elapsed());
        }
        Ok(times)
    }

    fn print(self, system: &str, mut times: Vec<Duration>) {
        times.sort_unstable();
        let ms = |percent: usize| {
            let at = times.len() * percent / 100;
            times.get(at).map(|time| time.as_secs_f64() * 1e3)
        };
        crate::print(&json!({
            "system": system,
            "clients": self.clients,
            "queries_per_second": (times.len() as f64 / self.time.as_secs_f64()).round(),
            "median_ms": ms(50),
            "p99_ms": ms(99),
        }));
    }
}

fn narrow(parameters: &mut Parameters) -> Statement {
    parameters.single_groupby(1, 1, 1)
}
