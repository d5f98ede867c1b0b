//! Uploads, tickets, handles and actions of a client that means harm, or is broken: errors, and the server goes on.

use arrow::array::RecordBatch;
use arrow::datatypes::{Field, Schema};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, CommandPreparedStatementQuery,
    CommandPreparedStatementUpdate, CommandStatementIngest, CommandStatementQuery, ProstMessageExt,
    TicketStatementQuery,
};
use arrow_flight::{Action, CancelFlightInfoRequest, FlightData, FlightDescriptor, Ticket};
use bytes::Bytes;
use futures::TryStreamExt;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::mutation::{Mutator, bound, cases, seed, stored, uploads};
use crate::server::{Server, cpu, table};

type Flight = FlightServiceClient<Channel>;

/// Codes of a request that was understood to be wrong, or to want too much.
const REFUSALS: [Code; 6] = [
    Code::InvalidArgument,
    Code::NotFound,
    Code::AlreadyExists,
    Code::Unimplemented,
    Code::ResourceExhausted,
    Code::OutOfRange,
];

#[track_caller]
fn expect_refusal<T>(answer: Result<T, Status>, what: &str) {
    if let Err(status) = answer {
        assert!(REFUSALS.contains(&status.code()), "{what}: {status}");
    }
}

async fn put(
    flight: &mut Flight,
    command: impl ProstMessageExt,
    mut messages: Vec<FlightData>,
) -> Result<(), Status> {
    if messages.is_empty() {
        messages.push(FlightData::default());
    }
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    messages[0].flight_descriptor = Some(descriptor);
    let answers = flight.do_put(futures::stream::iter(messages)).await?;
    answers.into_inner().try_collect::<Vec<_>>().await.map(drop)
}

fn ingest(table: &str) -> CommandStatementIngest {
    CommandStatementIngest { table: table.to_owned(), ..CommandStatementIngest::default() }
}

async fn prepare(flight: &mut Flight, query: &str) -> Bytes {
    let request =
        ActionCreatePreparedStatementRequest { query: query.to_owned(), transaction_id: None };
    let action = Action::new("CreatePreparedStatement", request.as_any().encode_to_vec());
    let answers = flight.do_action(action).await.unwrap().into_inner();
    let answers: Vec<_> = answers.try_collect().await.unwrap();
    let any = Any::decode(&*answers[0].body).unwrap();
    let made: ActionCreatePreparedStatementResult = any.unpack().unwrap().unwrap();
    made.prepared_statement_handle
}

/// Columns under the names that positions have.
fn numbered(batch: &RecordBatch, columns: &[usize]) -> RecordBatch {
    let batch = batch.project(columns).unwrap();
    let fields = batch
        .schema()
        .fields()
        .iter()
        .enumerate()
        .map(|(i, f)| Field::new(i.to_string(), f.data_type().clone(), true))
        .collect::<Vec<_>>();
    RecordBatch::try_new(Schema::new(fields).into(), batch.columns().to_vec()).unwrap()
}

/// Writes something that is in order, and reads it back.
async fn expect_service(server: &Server, start: i64) {
    let mut client = server.client().await;
    client.ingest("witness", None, vec![stored(start)]).await.unwrap();
    let sql = format!(
        "SELECT count(*), sum(int), min(view), max(wide) FROM witness \
         WHERE CAST(time AS BIGINT) BETWEEN {start} * 1000 AND ({start} + 23) * 1000"
    );
    let name = |i| format!("a value that is longer than twelve bytes {i}");
    let want = format!("24 276 {} {}", name(0), name(4));
    assert_eq!(table(&mut client, &sql).await, want);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_uploads_are_refused_and_the_server_goes_on() {
    let seed = seed();
    let server = Server::start().await;
    let mut flight = server.flight().await;
    put(&mut flight, ingest("m"), uploads(&[stored(0)]).remove(0)).await.unwrap();
    let insert = "INSERT INTO m (time, host, int) VALUES ($1, $2, $3)";
    let insert = CommandPreparedStatementUpdate {
        prepared_statement_handle: prepare(&mut flight, insert).await,
    };
    let query = "SELECT $1, $2, $3, $4, $5, $6, $7 FROM m LIMIT 1";
    let query = CommandPreparedStatementQuery {
        prepared_statement_handle: prepare(&mut flight, query).await,
    };
    let batches = uploads(&[stored(0), stored(99)]);
    let rows = uploads(&[numbered(&stored(0), &[0, 1, 8])]);
    let values = uploads(&[numbered(&bound().slice(0, 1), &[0, 1, 2, 3, 4, 5, 6])]);
    let mut mutator = Mutator::new(seed);
    for case in 0..cases(400) {
        let what = format!("seed {seed}, case {case}");
        let answer = put(&mut flight, ingest("m"), mutator.upload(&batches)).await;
        expect_refusal(answer, &what);
        let answer = put(&mut flight, insert.clone(), mutator.upload(&rows)).await;
        expect_refusal(answer, &what);
        let answer = put(&mut flight, query.clone(), mutator.upload(&values)).await;
        expect_refusal(answer, &what);
        let get = Ticket::new(query.as_any().encode_to_vec());
        expect_refusal(collect(&mut flight, get).await, &what);
    }
    expect_service(&server, 1_000_000_000).await;
    server.stop().await;
}

async fn collect(flight: &mut Flight, ticket: Ticket) -> Result<Vec<FlightData>, Status> {
    flight.do_get(ticket).await?.into_inner().try_collect().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_tickets_handles_and_actions_are_refused() {
    let seed = seed();
    let server = Server::start().await;
    cpu(&mut server.client().await).await;
    let mut flight = server.flight().await;
    let sql = "SELECT n FROM cpu ORDER BY n";
    let handle = prepare(&mut flight, sql).await;
    let command = CommandStatementQuery { query: sql.to_owned(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let info = flight.get_flight_info(descriptor.clone()).await.unwrap().into_inner();
    let ticket = info.endpoint[0].ticket.clone().unwrap().ticket;
    let prepared = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
    let json = br#"{"database": "main", "sql_query": "SELECT n FROM cpu WHERE host = $host", "params": {"host": "a"}}"#;
    let tickets = [ticket, prepared.as_any().encode_to_vec().into(), json.to_vec().into()];
    let close = ActionClosePreparedStatementRequest { prepared_statement_handle: handle };
    // Another query: what is cancelled gives no rows any more, and the ticket shall be refused for its damage alone.
    let other = flight.get_flight_info(descriptor.clone()).await.unwrap().into_inner();
    let cancel = CancelFlightInfoRequest { info: Some(other) };
    let actions = [
        ("ClosePreparedStatement", close.as_any().encode_to_vec()),
        ("CancelFlightInfo", cancel.encode_to_vec()),
        ("SetSessionOptions", b"\n\x11\n\x07catalog\x12\x06\n\x04main".to_vec()),
    ];
    let mut mutator = Mutator::new(seed);
    for case in 0..cases(400) {
        let what = format!("seed {seed}, case {case}");
        for ticket in &tickets {
            let damaged = mutator.bytes(ticket);
            expect_refusal(collect(&mut flight, Ticket::new(damaged)).await, &what);
        }
        for (name, body) in &actions {
            let action = Action::new(*name, mutator.bytes(body));
            expect_refusal(flight.do_action(action).await, &what);
        }
        let damaged =
            FlightDescriptor { cmd: mutator.bytes(&descriptor.cmd).into(), ..descriptor.clone() };
        expect_refusal(flight.get_flight_info(damaged.clone()).await, &what);
        expect_refusal(flight.get_schema(damaged.clone()).await, &what);
        let upload = FlightData::new().with_descriptor(damaged);
        expect_refusal(flight.do_put(futures::stream::iter([upload])).await, &what);
    }
    expect_service(&server, 0).await;
    assert_eq!(table(&mut server.client().await, "SELECT count(*) FROM cpu").await, "3");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_cookies_and_tokens_are_as_good_as_none() {
    let seed = seed();
    let server = Server::start().await;
    let mut flight = server.flight().await;
    let command = CommandStatementQuery { query: "SELECT 1".to_owned(), transaction_id: None };
    let ticket = Ticket::new(command.as_any().encode_to_vec());
    let mut mutator = Mutator::new(seed);
    for case in 0..cases(200) {
        let mut request = Request::new(ticket.clone());
        for (header, value) in [
            ("cookie", &b"quorate_session=AQNhYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg; a=b"[..]),
            ("authorization", b"Bearer AQRhYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg"),
            ("consistency", b"session"),
            ("quorate-receipt", br#"[{"shard":1,"term":1,"index":1,"accepted":0,"rejected":0}]"#),
            ("query-timeout", b"30s"),
        ] {
            let mut value = mutator.bytes(value);
            value.retain(|byte| (0x20..0x7F).contains(byte));
            request
                .metadata_mut()
                .insert(header, String::from_utf8(value).unwrap().parse().unwrap());
        }
        let answer = flight.do_get(request).await;
        // A level or a timeout may mean something else now, and that cannot be had.
        if let Err(status) = answer {
            let codes = [Code::InvalidArgument, Code::DeadlineExceeded, Code::NotFound];
            assert!(codes.contains(&status.code()), "seed {seed}, case {case}: {status}");
        }
    }
    expect_service(&server, 0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_of_another_cluster_is_refused() {
    let (one, other) = (Server::start().await, Server::start().await);
    let mut flight = one.flight().await;
    let handle = prepare(&mut flight, "SELECT 1").await;
    let prepared = CommandPreparedStatementQuery { prepared_statement_handle: handle.clone() };
    let ticket = Ticket::new(prepared.as_any().encode_to_vec());
    assert!(collect(&mut flight, ticket.clone()).await.is_ok());
    let as_ticket = TicketStatementQuery { statement_handle: handle }.as_any().encode_to_vec();
    let status = collect(&mut flight, Ticket::new(as_ticket)).await.unwrap_err();
    assert!(status.message().contains("not of this cluster"), "{status}");
    let status = collect(&mut other.flight().await, ticket).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("not of this cluster"), "{status}");
    one.stop().await;
    other.stop().await;
}
