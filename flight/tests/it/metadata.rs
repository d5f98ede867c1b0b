//! Metadata commands.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Schema;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, SqlInfo};
use arrow_flight::{FlightInfo, IpcMessage};
use futures::TryStreamExt;
use tonic::transport::Channel;

use crate::server::{Server, change, cpu, pretty};

type Client = FlightSqlServiceClient<Channel>;

async fn fetch(client: &mut Client, info: FlightInfo) -> RecordBatch {
    let schema = info.clone().try_decode_schema().unwrap();
    let mut stream = client.do_get(info.endpoint[0].ticket.clone().unwrap()).await.unwrap();
    let mut batches: Vec<RecordBatch> = Vec::new();
    while let Some(batch) = stream.try_next().await.unwrap() {
        batches.push(batch);
    }
    let streamed = stream.schema().unwrap();
    assert_eq!(streamed.as_ref(), &schema);
    arrow::compute::concat_batches(streamed, &batches).unwrap()
}

/// Columns of the primary key.
pub(crate) async fn primary_keys(client: &mut Client, table: &str) -> Vec<String> {
    let request = CommandGetPrimaryKeys { catalog: None, db_schema: None, table: table.to_owned() };
    let info = client.get_primary_keys(request).await.unwrap();
    let batch = fetch(client, info).await;
    batch.column(3).as_string::<i32>().iter().map(|n| n.unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_are_catalogs_with_a_public_schema() {
    let server = Server::start().await;
    let mut client = server.flight_sql().await;
    change(&mut server.client().await, "CREATE DATABASE other").await;
    let info = client.get_catalogs().await.unwrap();
    let names = pretty(&[fetch(&mut client, info).await]);
    assert!(names.contains("main") && names.contains("other"), "{names}");
    let info = client.get_db_schemas(CommandGetDbSchemas {
        catalog: Some("other".into()),
        db_schema_filter_pattern: Some("pub%".into()),
    });
    let info = info.await.unwrap();
    assert_eq!(pretty(&[fetch(&mut client, info).await]), "other public");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_are_listed_by_pattern_and_type() {
    let server = Server::start().await;
    let mut client = server.flight_sql().await;
    cpu(&mut server.client().await).await;
    let mut check = async |types: &[&str], pattern: &str, want: usize| {
        let request = CommandGetTables {
            table_name_filter_pattern: Some(pattern.to_owned()),
            table_types: types.iter().map(|t| (*t).to_owned()).collect(),
            ..CommandGetTables::default()
        };
        let info = client.get_tables(request).await.unwrap();
        assert_eq!(fetch(&mut client, info).await.num_rows(), want, "{types:?} {pattern}");
    };
    check(&[], "cpu", 1).await;
    check(&["BASE TABLE"], "c_u", 1).await;
    check(&["table"], "cpu%", 1).await;
    check(&["VIEW"], "cpu", 0).await;
    check(&[], "nothing", 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_of_every_table_is_that_of_its_query() {
    let server = Server::start().await;
    for headers in [&[][..], &[("timestamps", "naive")], &[("timezone", "Europe/Berlin")]] {
        let mut client = server.flight_sql().await;
        for (name, value) in headers {
            client.set_header(*name, *value);
        }
        schemas_of_tables_and_queries_agree(&server, client).await;
    }
    server.stop().await;
}

async fn schemas_of_tables_and_queries_agree(server: &Server, mut client: Client) {
    let mut ours = server.client().await;
    change(
        &mut ours,
        "CREATE TABLE IF NOT EXISTS wide (time TIMESTAMP NOT NULL, \"Größe x\" STRING, f DOUBLE, i BIGINT, \
         u BIGINT UNSIGNED, b BOOLEAN, s STRING, t TIMESTAMP, PRIMARY KEY (\"Größe x\", time))",
    )
    .await;
    let request = CommandGetTables { include_schema: true, ..CommandGetTables::default() };
    let info = client.get_tables(request).await.unwrap();
    let tables = fetch(&mut client, info).await;
    assert!(tables.num_rows() >= 1);
    for row in 0..tables.num_rows() {
        let name = |column: usize| tables.column(column).as_string::<i32>().value(row).to_owned();
        let described =
            bytes::Bytes::copy_from_slice(tables.column(4).as_binary::<i32>().value(row));
        let described = Schema::try_from(IpcMessage(described)).unwrap();
        let sql = format!("SELECT * FROM \"{}\".\"{}\".\"{}\" LIMIT 0", name(0), name(1), name(2));
        let info = client.execute(sql.clone(), None).await.unwrap();
        let queried = info.try_decode_schema().unwrap();
        let columns = |schema: &Schema| {
            let fields = schema.fields().iter();
            fields.map(|f| (f.name().clone(), f.data_type().clone())).collect::<Vec<_>>()
        };
        assert_eq!(columns(&described), columns(&queried), "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn primary_keys_are_the_tags_and_the_time() {
    let server = Server::start().await;
    let mut client = server.flight_sql().await;
    cpu(&mut server.client().await).await;
    assert_eq!(primary_keys(&mut client, "cpu").await, ["host", "region", "time"]);
    assert!(primary_keys(&mut client, "nothing").await.is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_tells_what_it_can() {
    let server = Server::start().await;
    let mut client = server.flight_sql().await;
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName]).await.unwrap();
    let batch = fetch(&mut client, info).await;
    let value = batch.column(1).as_union().value(0);
    assert_eq!(value.as_string::<i32>().value(0), "Quorate");
    let info = client.get_sql_info(Vec::new()).await.unwrap();
    assert!(fetch(&mut client, info).await.num_rows() > 60);
    let info = client.get_table_types().await.unwrap();
    assert_eq!(pretty(&[fetch(&mut client, info).await]), "SYSTEM TABLE\nTABLE\nVIEW");
    server.stop().await;
}
