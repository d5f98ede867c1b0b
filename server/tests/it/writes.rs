//! Line protocol in: every path, every answer.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::node::Node;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn each_path_has_its_own_parameters_and_precision() {
    let node = Node::start(&[]);
    let nanos = 1_700_000_000_000_000_000_i64;
    for (n, (address, time)) in [
        ("/write?db=main", "1700000000000000000"),
        ("/write?db=main&precision=n&rp=autogen&consistency=one", "1700000000000000000"),
        ("/write?db=main&precision=%C2%B5", "1700000000000000"),
        ("/write?db=main&precision=u", "1700000000000000"),
        ("/write?db=main&precision=ms", "1700000000000"),
        ("/write?db=main&precision=s&consistency=all", "1700000000"),
        ("/api/v2/write?bucket=main&org=any", "1700000000000000000"),
        ("/api/v2/write?bucket=main/autogen&precision=us", "1700000000000000"),
        ("/api/v2/write?bucket=main&precision=s", "1700000000"),
        ("/api/v3/write_lp?db=main", "1700000000"),
        ("/api/v3/write_lp?db=main&precision=auto", "1700000000000000"),
        ("/api/v3/write_lp?db=main&precision=millisecond&no_sync=true", "1700000000000"),
        ("/api/v3/write_lp?db=main&precision=nanosecond", "1700000000000000000"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = node.post(address, format!("p,n={n} f=1i {time}\n"));
        assert_eq!(answer.status, 204, "{address}: {}", answer.text());
        assert!(answer.body.is_empty());
        let receipt = answer.receipt();
        assert_eq!(receipt.iter().map(|r| r["accepted"].as_u64().unwrap()).sum::<u64>(), 1);
        assert!(receipt.iter().all(|r| r["duplicate"] == false));
    }
    assert_eq!(node.value("SELECT count(*) FROM p"), 13);
    assert_eq!(
        node.rows("SELECT DISTINCT CAST(time AS BIGINT) AS t FROM p"),
        json!([{ "t": nanos }])
    );
    node.post("/write?db=main&precision=m", "q f=1i 28333333");
    node.post("/write?db=main&precision=h", "q f=1i 472222");
    assert_eq!(
        node.rows("SELECT time FROM q ORDER BY time"),
        json!([{ "time": "2023-11-14T22:00:00Z" }, { "time": "2023-11-14T22:13:00Z" }])
    );
}

#[test]
fn wrong_parameters_are_named() {
    let node = Node::start(&[]);
    for (address, status, want) in [
        ("/write", 400, "db is missing"),
        ("/api/v2/write", 400, "bucket is missing"),
        ("/api/v3/write_lp", 400, "db is missing"),
        ("/write?db=main&precision=fortnight", 400, "\"fortnight\""),
        ("/api/v2/write?bucket=main&precision=h", 400, "precision is \"h\""),
        ("/api/v3/write_lp?db=main&precision=x", 400, "none of auto"),
        ("/api/v3/write_lp?db=main&accept_partial=maybe", 400, "accept_partial"),
        ("/write?db=main&consistency=most", 400, "consistency is \"most\""),
        ("/write?db=nowhere", 404, "database not found: \"nowhere\""),
        ("/api/v2/write?bucket=nowhere/rp", 404, "database \"nowhere\" does not exist"),
        ("/api/v3/write_lp?db=nowhere", 404, "database \"nowhere\" does not exist"),
    ] {
        let answer = node.post(address, "m f=1 1");
        assert_eq!(answer.status, status, "{address}");
        let body = answer.json();
        for key in ["error", "message"] {
            assert!(body[key].as_str().unwrap().contains(want), "{address}: {body}");
        }
    }
    assert_eq!(node.get("/write?db=main").status, 405);
    assert_eq!(node.post_with("/write?db=main", "m f=1", &[("idempotency-key", "")]).status, 400);
}

#[test]
fn good_lines_are_stored_and_bad_ones_listed() {
    let node = Node::start(&[]);
    let long = format!("m f=x{} 1", "y".repeat(200));
    let body = format!("m,t=a f=1.5 1\n{long}\nm,t=b f=2.5 2\nm f=NaN 3\n");
    for address in
        ["/write?db=main", "/api/v2/write?bucket=main", "/api/v3/write_lp?db=main&precision=ns"]
    {
        let answer = node.post(address, &body);
        assert_eq!(answer.status, 400);
        let json = answer.json();
        assert_eq!(json["error"], "partial write of line protocol occurred");
        assert_eq!(json["points_stored"], 2);
        assert_eq!(json["lines_rejected"], 2);
        let data = json["data"].as_array().unwrap();
        assert_eq!(data.len(), 2);
        assert_eq!(data[0]["line_number"], 2);
        assert_eq!(data[0]["original_line"].as_str(), long.get(..80));
        assert_eq!(data[1]["line_number"], 4);
        assert!(data[1]["error_message"].as_str().unwrap().contains("NaN"));
        assert_eq!(
            answer.receipt().iter().map(|r| r["accepted"].as_u64().unwrap()).sum::<u64>(),
            2
        );
    }
    assert_eq!(node.value("SELECT count(*) FROM m"), 2);
    // A conflict of types takes its point only.
    let answer = node.post("/write?db=main", "m,t=c f=3.5 3\nm,t=d f=4i 4\nm,t=e f=5.5 5");
    assert_eq!(answer.json()["data"][0]["line_number"], 2);
    assert_eq!(node.value("SELECT count(*) FROM m"), 4);
}

#[test]
fn all_or_nothing_stores_nothing_of_a_bad_body() {
    let node = Node::start(&[]);
    let address = "/api/v3/write_lp?db=main&accept_partial=false";
    let answer = node.post(address, "m f=1 1\nm f=bad 2\n");
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json()["error"], "parsing failed for write_lp endpoint");
    assert_eq!(answer.json()["points_stored"], 0);
    assert_eq!(node.post("/api/v1/sql", "SELECT * FROM m").status, 404);
    assert_eq!(node.post(address, "m f=1 1\nm f=2 2\n").status, 204);
    assert_eq!(node.value("SELECT count(*) FROM m"), 2);
}

#[test]
fn gzip_is_unpacked_and_its_damage_found() {
    let node = Node::start(&[]);
    let lines = (0..1000).map(|i| format!("g,h=a f={i}i {i}\n")).collect::<Vec<_>>().concat();
    let packed = gzip(&lines);
    let encoding = [("content-encoding", "gzip")];
    assert_eq!(node.post_with("/write?db=main", &packed, &encoding).status, 204);
    assert_eq!(node.value("SELECT count(*) FROM g"), 1000);
    let cut = node.post_with("/write?db=main", &packed[..packed.len() / 2], &encoding);
    assert_eq!(cut.status, 400);
    assert!(cut.json()["error"].as_str().unwrap().contains("cut off"));
    let plain = node.post_with("/write?db=main", "g f=1i 1", &encoding);
    assert_eq!(plain.status, 400);
    assert!(plain.json()["error"].as_str().unwrap().contains("not gzip"));
    let other = node.post_with("/write?db=main", "g f=1i 1", &[("content-encoding", "br")]);
    assert_eq!(other.status, 415);
    assert_eq!(node.value("SELECT count(*) FROM g"), 1000);
}

#[test]
fn a_body_over_the_limit_is_refused_packed_or_not() {
    let node = Node::start(&["--max-body", "10KiB"]);
    let fits = format!("m f=\"{}\" 1", "x".repeat(10 * 1024 - 8));
    assert_eq!(fits.len(), 10 * 1024);
    assert_eq!(node.post("/write?db=main", &fits).status, 204);
    let over = format!("m f=\"{}\" 1", "x".repeat(10 * 1024 - 7));
    let encoding = [("content-encoding", "gzip")];
    for answer in [
        node.post("/write?db=main", &over),
        node.post_with("/write?db=main", gzip(&over), &encoding),
        node.post_with("/write?db=main", gzip(&over.repeat(1000)), &encoding),
        node.post_with(
            "/write?db=main",
            [gzip(&over.repeat(1000)), gzip("m f=1 1")].concat(),
            &encoding,
        ),
    ] {
        assert_eq!(answer.status, 413);
        assert!(answer.json()["error"].as_str().unwrap().contains("10240 bytes"));
    }
    assert_eq!(node.value("SELECT count(*) FROM m"), 1);
}

#[test]
fn a_key_makes_a_retry_harmless_and_another_body_an_error() {
    let node = Node::start(&[]);
    let key = [("idempotency-key", "load-7")];
    // No timestamp: without the key, each try would be a point of its own.
    let body = "k,h=a f=1i\nk,h=b f=oops\n";
    let first = node.post_with("/write?db=main", body, &key);
    assert_eq!(first.status, 400);
    for _ in 0..3 {
        let again = node.post_with("/write?db=main", body, &key);
        assert_eq!(again.status, 400);
        assert_eq!(again.json()["data"], first.json()["data"]);
        assert!(again.receipt().iter().all(|r| r["duplicate"] == true));
    }
    assert_eq!(node.value("SELECT count(*) FROM k"), 1);
    let other = node.post_with("/write?db=main", "k,h=c f=1i\n", &key);
    assert_eq!(other.status, 400);
    assert!(other.json()["error"].as_str().unwrap().contains("different body"));
    assert_eq!(node.value("SELECT count(*) FROM k"), 1);
    let known = node.get("/api/v1/keys/load-7").json();
    let accepted = known["committed"].as_array().unwrap().iter().map(|e| e["accepted"].as_u64());
    assert_eq!(accepted.sum::<Option<u64>>(), Some(1), "{known}");
    assert_eq!(node.get("/api/v1/keys/load-8").status, 404);
}

#[test]
fn the_same_points_written_often_are_the_same_points() {
    let node = Node::start(&[]);
    for _ in 0..100 {
        node.write("r,h=a f=1i,g=2i 1\nr,h=b f=1i 1\n");
    }
    node.write("r,h=a g=3i 1");
    assert_eq!(
        node.rows("SELECT h, f, g FROM r ORDER BY h"),
        json!([{ "h": "a", "f": 1, "g": 3 }, { "h": "b", "f": 1, "g": null }])
    );
}

#[test]
fn every_value_comes_back_as_it_went_in() {
    let node = Node::start(&[]);
    node.write(concat!(
        "v,k=max i=9223372036854775807i,u=18446744073709551615u,f=1.7976931348623157e308,b=t,s=\"é \\\"q\\\" \\\\ ,=\nline\" 9223372036854775807\n",
        "v,k=min i=-9223372036854775808i,u=0u,f=-5e-324,b=f,s=\"\" -1\n",
        "v,k=zero f=-0.0,i=0i 1\n",
    ));
    assert_eq!(node.rows("SELECT * FROM v ORDER BY time").as_array().unwrap().len(), 3);
    let max =
        &node.rows("SELECT i, u, f, b, s, CAST(time AS BIGINT) AS t FROM v WHERE k = 'max'")[0];
    assert_eq!(max["i"], i64::MAX);
    assert_eq!(max["u"], u64::MAX);
    assert_eq!(max["f"].as_f64(), Some(f64::MAX));
    assert_eq!(max["b"], true);
    assert_eq!(max["s"], "é \"q\" \\ ,=\nline");
    assert_eq!(max["t"], i64::MAX);
    let min =
        &node.rows("SELECT i, u, f, b, s, CAST(time AS BIGINT) AS t FROM v WHERE k = 'min'")[0];
    assert_eq!(min["i"], i64::MIN);
    assert_eq!(min["u"], 0);
    assert_eq!(min["f"].as_f64(), Some(-5e-324));
    assert_eq!(min["s"], "");
    assert_eq!(min["t"], -1);
    let zero = node.post("/api/v1/sql", "SELECT f FROM v WHERE k = 'zero'");
    assert_eq!(zero.text(), "[{\"f\":-0.0}]\n");
}

#[test]
fn odd_names_are_kept_and_impossible_ones_refused() {
    let node = Node::start(&[]);
    node.write("my\\ \"table\",ta\\ g=v\\,1,größe=L fi\\=eld=1i 1");
    assert_eq!(
        node.rows(r#"SELECT "ta g", "größe", "fi=eld" FROM "my ""table""""#),
        json!([{ "ta g": "v,1", "größe": "L", "fi=eld": 1 }])
    );
    let long = "n".repeat(300);
    for (line, want) in [
        (format!("{long} f=1 1"), "300 bytes"),
        (format!("m,{long}=x f=1 1"), "300 bytes"),
        (format!("m {long}=1 1"), "300 bytes"),
        ("m,time=x f=1 1".to_owned(), "time"),
        ("m time=1 1".to_owned(), "time"),
        ("m,a=x a=1 1".to_owned(), "\"a\" is a tag of table \"m\""),
    ] {
        let answer = node.post("/write?db=main", &line);
        assert_eq!(answer.status, 400);
        let message = answer.json()["data"][0]["error_message"].as_str().unwrap().to_owned();
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn more_columns_than_a_table_may_have_reject_their_lines_only() {
    let node = Node::start(&[]);
    node.write("w f0=0i 1");
    let mut body = (1..5000).map(|i| format!("w f{i}={i}i 1\n")).collect::<Vec<_>>().concat();
    body.push_str("w f0=7i 2\n");
    let answer = node.post("/write?db=main", &body);
    assert_eq!(answer.status, 400);
    let message = answer.json()["data"][0]["error_message"].as_str().unwrap().to_owned();
    assert!(message.contains("cannot take new columns"), "{message}");
    assert_eq!(node.value("SELECT max(f0) FROM w"), 7);
}
