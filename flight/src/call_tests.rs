//! Tests of the headers of calls.

use tonic::metadata::{AsciiMetadataKey, MetadataValue};

use super::*;
use crate::message::SessionState;

fn seal() -> Seal {
    Seal::new(&[1; 32])
}

fn read(headers: &[(&str, &str)]) -> Result<Call, Status> {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        metadata.append(
            AsciiMetadataKey::from_bytes(name.as_bytes()).unwrap(),
            MetadataValue::try_from(value.as_bytes()).unwrap(),
        );
    }
    Call::read(&metadata, None, &seal(), &parking_lot::Mutex::new(BoundedMap::new(4)))
}

#[track_caller]
fn check_error(header: (&str, &str), want: &str) {
    let status = read(&[header]).unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains(want), "{:?}", status.message());
}

#[test]
fn no_header_means_the_defaults() {
    let call = read(&[]).unwrap();
    assert_eq!(call.options.database, None);
    assert_eq!(call.options.read_level, ReadLevel::Linearizable);
    assert_eq!(call.options.write_level, WriteLevel::Quorum);
    assert!(!call.options.stateful);
    assert_eq!(call.holder, Holder::Nobody);
}

#[test]
fn every_header_is_read() {
    let call = read(&[
        ("database", "größe"),
        ("timezone", "Europe/Berlin"),
        ("consistency", "local, all"),
        ("query-timeout", "1500ms"),
        ("application-name", "report"),
        ("idempotency-key", "k1"),
        ("quorate-tags", "host, \"a,b\",\"c\"\"d\""),
        ("quorate-time", "ts"),
        ("x-unknown", "ignored"),
    ])
    .unwrap();
    assert_eq!(call.options.database.as_deref(), Some("größe"));
    assert_eq!(call.options.timezone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(call.options.read_level, ReadLevel::Local);
    assert_eq!(call.options.write_level, WriteLevel::All);
    assert_eq!(call.options.query_timeout, Some(Duration::from_millis(1500)));
    assert_eq!(call.options.application.as_deref(), Some("report"));
    assert_eq!(call.options.idempotency_key.as_deref(), Some("k1"));
    assert_eq!(call.tags, Some(vec!["host".into(), "a,b".into(), "c\"d".into()]));
    assert_eq!(call.time.as_deref(), Some("ts"));
}

#[test]
fn the_names_of_other_clients_mean_the_database() {
    for name in DATABASE {
        let call = read(&[(name, "d")]).unwrap();
        assert_eq!(call.options.database.as_deref(), Some("d"), "{name}");
    }
}

#[test]
fn a_wrong_value_is_an_error_that_names_the_header() {
    check_error(("database", ""), "header database is empty");
    check_error(("timezone", "Mars/Base"), "header timezone: \"Mars/Base\" is no time zone");
    check_error(("consistency", "eventual"), "header consistency: \"eventual\" is none of");
    check_error(("consistency", "session"), "header consistency: session needs the header");
    check_error(("query-timeout", "soon"), "header query-timeout: \"soon\" is no length of time");
    check_error(("query-timeout", "0s"), "header query-timeout: it must be more than nothing");
    check_error(("query-timeout", "99999999999999999h"), "header query-timeout");
    check_error(("timestamps", "local"), "header timestamps: \"local\" is neither");
    check_error(("idempotency-key", &"k".repeat(257)), "header idempotency-key has 257 bytes");
    check_error(("quorate-tags", "a,,b"), "header quorate-tags: a name is empty");
    check_error(("quorate-tags", "\"a"), "header quorate-tags: a quote is missing");
    check_error(("quorate-tags", "\"a\"b"), "header quorate-tags: a comma is missing");
}

#[test]
fn a_receipt_makes_reads_see_the_write() {
    let receipt = r#"[{"shard":2,"term":1,"index":9,"accepted":1,"rejected":0,"reason":null,"duplicate":false}]"#;
    let call = read(&[("consistency", "session"), ("quorate-receipt", receipt)]).unwrap();
    let ReadLevel::Session(receipts) = call.options.read_level else { panic!("not session") };
    assert_eq!((receipts[0].shard.0, receipts[0].index), (2, 9));
}

#[test]
fn what_the_session_changed_goes_before_the_headers() {
    let state = SessionState { database: Some("changed".into()), ..Default::default() };
    let cookie = session::cookie(&seal(), &state);
    let cookie = cookie.split(';').next().unwrap();
    let call = read(&[("database", "first"), ("timezone", "UTC"), ("cookie", cookie)]).unwrap();
    assert_eq!(call.options.database.as_deref(), Some("changed"));
    assert_eq!(call.options.timezone.as_deref(), Some("UTC"));
    assert_eq!(call.holder, Holder::Cookie);
    assert!(call.options.stateful);
}

#[test]
fn our_token_holds_a_session_and_another_does_not() {
    let ours = format!("Bearer {}", session::token(&seal(), &[5; 16]));
    assert_eq!(read(&[("authorization", &ours)]).unwrap().holder, Holder::Token([5; 16]));
    let other = read(&[("authorization", "Bearer apiv3_x")]).unwrap();
    assert_eq!(other.holder, Holder::Nobody);
}
