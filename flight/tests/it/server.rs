//! A server on a free port over a data directory of its own, and clients of it.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use quorate_engine::{Engine, EngineOptions};
use quorate_flight::{Client, ClientError, ClientOptions, ClientOutcome, Service, ServiceOptions};
use quorate_storage::StoreOptions;
use quorate_wal::RealDisk;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// A running server. It stops in order when [`Server::stop`] is called, else with its runtime.
pub(crate) struct Server {
    pub(crate) uri: String,
    pub(crate) service: Service,
    engine: Arc<Engine>,
    shutdown: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(ServiceOptions::default()).await
    }

    pub(crate) async fn start_with(settings: ServiceOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = StoreOptions::new(dir.path().join("data"));
        store.shards = 2;
        let options = EngineOptions {
            store,
            query_timeout: Duration::from_mins(2),
            query_memory_bytes: 256 << 20,
            partitions: 2,
            spill_dir: None,
            file_dir: None,
            summaries: true,
            settings: Vec::new(),
        };
        let engine = Engine::open(RealDisk::shared(), options).await.unwrap();
        let service = Service::new(Arc::clone(&engine), settings);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = Service::uri(listener.local_addr().unwrap());
        let (shutdown, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(service.clone().serve(listener, async {
            let _ = stopped.await;
        }));
        Self { uri, service, engine, shutdown, serving, _dir: dir }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
        self.engine.close().await.unwrap();
    }

    /// Our client.
    pub(crate) async fn client(&self) -> Client {
        self.client_with(&[]).await
    }

    /// Our client with call headers.
    pub(crate) async fn client_with(&self, headers: &[(&str, &str)]) -> Client {
        let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let options = ClientOptions { addr: self.uri.clone(), headers, ..Default::default() };
        Client::connect(options).await.unwrap()
    }

    /// arrow-flight's client of Flight.
    pub(crate) async fn flight(&self) -> FlightServiceClient<Channel> {
        let uri = self.uri.replace("grpc://", "http://");
        let channel = Channel::from_shared(uri).unwrap().connect().await.unwrap();
        FlightServiceClient::new(channel)
    }

    /// arrow-flight's client of Flight SQL.
    pub(crate) async fn flight_sql(&self) -> FlightSqlServiceClient<Channel> {
        FlightSqlServiceClient::new_from_inner(self.flight().await)
    }
}

/// Runs a statement and gives its rows.
pub(crate) async fn rows(client: &mut Client, sql: &str) -> Vec<RecordBatch> {
    match client.execute(sql).await.unwrap() {
        ClientOutcome::Rows { batches, .. } => batches.try_collect().await.unwrap(),
        ClientOutcome::Updated(count) => panic!("{sql} changed {count:?} rows"),
    }
}

/// Runs a statement and gives its rows as a table of text.
pub(crate) async fn table(client: &mut Client, sql: &str) -> String {
    pretty(&rows(client, sql).await)
}

/// Batches as a table of text, one line a row, without its frame.
pub(crate) fn pretty(batches: &[RecordBatch]) -> String {
    let text = arrow::util::pretty::pretty_format_batches(batches).unwrap().to_string();
    let cells = |line: &str| {
        let cells = line.trim_matches('|').split('|').map(str::trim);
        cells.collect::<Vec<_>>().join(" ").trim().to_owned()
    };
    let lines = text.lines().filter(|line| line.starts_with('|')).skip(1).map(cells);
    lines.collect::<Vec<_>>().join("\n")
}

/// Runs a statement that changes something.
pub(crate) async fn change(client: &mut Client, sql: &str) -> Option<u64> {
    match client.execute(sql).await.unwrap() {
        ClientOutcome::Updated(count) => count,
        ClientOutcome::Rows { schema, .. } => panic!("{sql} gave rows of {schema:?}"),
    }
}

/// Runs a statement that fails: code and message.
pub(crate) async fn failure(client: &mut Client, sql: &str) -> (String, String) {
    let error = match client.execute(sql).await {
        Err(error) => error,
        Ok(ClientOutcome::Rows { batches, .. }) => {
            batches.try_collect::<Vec<_>>().await.expect_err("the query should fail")
        }
        Ok(ClientOutcome::Updated(count)) => panic!("{sql} changed {count:?} rows"),
    };
    match error {
        ClientError::Server { code, message } => (code, message),
        other => panic!("{sql} gave {other:?}"),
    }
}

/// A table `cpu` with three rows.
pub(crate) async fn cpu(client: &mut Client) {
    change(
        client,
        "CREATE TABLE cpu (time TIMESTAMP NOT NULL, host STRING, region STRING, usage DOUBLE, \
         n BIGINT, PRIMARY KEY (host, region, time))",
    )
    .await;
    let count = change(
        client,
        "INSERT INTO cpu (time, host, region, usage, n) VALUES \
         ('2024-01-01T00:00:00Z', 'a', 'eu', 0.5, 1), ('2024-01-01T00:00:01Z', 'b', 'eu', 1.5, 2), \
         ('2024-01-01T00:00:02Z', 'a', 'us', 2.5, 3)",
    )
    .await;
    assert_eq!(count, Some(3));
}
