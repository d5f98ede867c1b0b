//! Clients that mean harm, or are broken: connections without requests, requests without an end, answers without a reader,
//! and lines that are none.

use std::io::{Read, Write};
use std::net::TcpStream;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::node::Node;

/// What the process may grow by under any of these tests: far more than it does, far less than what clients declare.
const GROWTH_MAX: u64 = 256 << 20;

/// What a client of HTTP/2 begins with: the preface, and settings that change nothing.
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// So many connections, or as many as the system lets one process have, with something sent on each.
fn connect(address: &str, wanted: u64, sent: &[u8]) -> Vec<TcpStream> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    // Other tests of this process have files, too, and each of their servers has as many as this process may have.
    let count = limit.maximum.map_or(wanted, |most| wanted.min(most / 8));
    assert!(count == wanted || count > 100, "the system allows {count} connections");
    let address = address.split_once("://").unwrap().1;
    let open = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(sent).unwrap();
        stream
    };
    (0..count).map(open).collect()
}

/// Writes and queries as others do, and says by how much the process has grown.
fn grown_under_load(node: &Node, run: u64, before: u64) -> u64 {
    for i in 0..50 {
        node.write(&format!("load,run={run} f={i}i {}", i + 1));
    }
    assert_eq!(node.value(&format!("SELECT count(*) FROM load WHERE run = '{run}'")), 50);
    node.memory_bytes().saturating_sub(before)
}

/// A server that has served.
fn start() -> (Node, u64) {
    let node = Node::start(&[]);
    grown_under_load(&node, 0, 0);
    let before = node.memory_bytes();
    (node, before)
}

#[test]
fn a_thousand_idle_connections_at_each_door_are_nothing() {
    let (node, before) = start();
    let silent = connect(node.http(), 500, b"");
    let kept = connect(node.http(), 500, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    for mut stream in &kept {
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
    }
    let quiet = connect(node.flight(), 500, b"");
    let greeted = connect(node.flight(), 500, HTTP_2);
    let grown = grown_under_load(&node, 1, before);
    assert!(grown < GROWTH_MAX, "{grown} bytes for idle connections");
    drop((silent, kept, quiet, greeted));
    grown_under_load(&node, 2, before);
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn requests_without_an_end_cost_what_they_have_sent() {
    let (node, before) = start();
    let head = b"POST /write?db=main HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec();
    let heads = connect(node.http(), 300, &[head, vec![b'x'; 8 << 10]].concat());
    let body = "POST /write?db=main HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nm f=1";
    let bodies = connect(node.http(), 300, body.as_bytes());
    let chunk = "POST /write?db=main HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nm f=1";
    let chunks = connect(node.http(), 300, chunk.as_bytes());
    let grown = grown_under_load(&node, 1, before);
    assert!(grown < GROWTH_MAX, "{grown} bytes for unfinished requests");
    drop((heads, bodies, chunks));
    grown_under_load(&node, 2, before);
}

#[test]
fn bodies_that_are_only_declared_keep_nobody_out() {
    // Bodies share an eighth of it: as much as each of these says that it will have.
    let node = Node::start(&["--memory-limit", "512MiB", "--max-body", "64MiB"]);
    let declared =
        "POST /write?db=main HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\nm f=1";
    let waiting = connect(node.http(), 120, declared.as_bytes());
    for i in 1..20 {
        node.write(&format!("m f={i}i {i}"));
    }
    assert_eq!(node.value("SELECT count(*) FROM m"), 19);
    drop(waiting);
}

#[test]
fn answers_that_nobody_reads_are_not_made() {
    let (node, before) = start();
    let sql = "SELECT value FROM generate_series(1, 1000000000)";
    let request = format!(
        "POST /api/v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{sql}",
        sql.len()
    );
    let unread = connect(node.http(), 40, request.as_bytes());
    // Each has begun, and would have ten gigabytes.
    for mut stream in &unread {
        stream.read_exact(&mut [0; 15]).unwrap();
    }
    let grown = grown_under_load(&node, 1, before);
    // What a query and its answer hold on the way: some megabytes for each.
    assert!(grown < 2 * GROWTH_MAX, "{grown} bytes for unread answers");
    drop(unread);
    grown_under_load(&node, 2, before);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn packed_bodies_cost_no_more_than_plain_ones() {
    let (node, before) = start();
    let encoding = [("content-encoding", "gzip")];
    // A gibibyte of line ends in a mebibyte, in one member and in many.
    let bomb = gzip(&vec![b'\n'; 256 << 20]);
    for body in [bomb.clone(), bomb.repeat(4)] {
        assert_eq!(node.post_with("/write?db=main", body, &encoding).status, 413);
    }
    let packed = gzip(b"g f=1i 1\n");
    for (body, why) in [
        ([packed.clone(), b"garbage".to_vec()].concat(), "gzip"),
        (packed[..packed.len() - 3].to_vec(), "cut off"),
        (vec![0x1F, 0x8B], "cut off"),
        (b"\x1F\x8B\x08 and then nothing of the kind".to_vec(), "gzip"),
    ] {
        let answer = node.post_with("/write?db=main", body, &encoding);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains(why), "{}", answer.text());
    }
    for other in ["br", "zstd", "gzip, gzip"] {
        let answer = node.post_with("/write?db=main", &packed, &[("content-encoding", other)]);
        assert_eq!(answer.status, 415, "{other}");
    }
    let grown = grown_under_load(&node, 1, before);
    // A body of the largest size while it grows, and its copy.
    assert!(grown < 2 * GROWTH_MAX, "{grown} bytes for packed bodies");
    assert_eq!(
        node.post("/api/v1/sql", "SELECT f FROM g").status,
        404,
        "nothing of them is stored"
    );
}

/// Nasty lines: what is taken of each, as JSON, or a part of what is said of it. `good` lines stand between them.
const CORPUS: &[(&[u8], Result<&str, &str>)] = &[
    (b"n,t=\\ x f=1i 7", Ok(r#"{"t":" x","f":1}"#)),
    (b"n f=NaN 7", Err("cannot carry NaN")),
    (b"n f=-Infinity 7", Err("cannot carry NaN")),
    (b"n f=1e400 7", Err("out of the range of a double")),
    (b"n f=99999999999999999999i 7", Err("out of the range of an integer")),
    (b"n f=1i 99999999999999999999", Err("out of range")),
    (b"n f=\xff\xfe 7", Err("not valid UTF-8")),
    (b"n,t=a\0b f=1i 7", Ok(r#"{"t":"a\u0000b","f":1}"#)),
    (b"n f=1i 7\r", Ok(r#"{"f":1}"#)),
    (b"=", Err("the line has no fields")),
    (b",,,,", Err("the measurement is missing")),
    (b"n,=,=,= f=1i 7", Err("empty name")),
    (b"n f=1i,f=2i 7", Err("given twice")),
    (b"n g=0x1Fi 7", Err("follows the value")),
    (b"n f=1i 7 7 7", Err("follows the timestamp")),
    (b"\\", Err("")),
    // The last, as any quote that follows would close it.
    (b"n f=\"a\\\" f", Err("no closing quote")),
];

#[test]
fn each_nasty_line_is_taken_or_named_and_its_neighbours_are_stored() {
    let node = Node::start(&[]);
    let mut body = Vec::new();
    for (i, (line, _)) in CORPUS.iter().enumerate() {
        body.extend_from_slice(format!("good f={i}i {i}\n").as_bytes());
        body.extend_from_slice(line);
        // Lines without anything, and comments, are counted and skipped.
        body.extend_from_slice(b"\n   \n# a comment\n");
    }
    let answer = node.post("/write?db=main", &body);
    assert_eq!(answer.status, 400);
    let errors = answer.json()["data"].as_array().unwrap().clone();
    let of_line = |n: usize| errors.iter().find(|e| e["line_number"] == n);
    for (i, (line, want)) in CORPUS.iter().enumerate() {
        let shown = String::from_utf8_lossy(line);
        let said = of_line(4 * i + 2).map(|e| e["error_message"].as_str().unwrap().to_owned());
        match want {
            Ok(_) => assert_eq!(said, None, "{shown}"),
            Err(why) => assert!(said.as_deref().unwrap_or("").contains(why), "{shown}: {said:?}"),
        }
    }
    let refused = CORPUS.iter().filter(|(_, want)| want.is_err()).count();
    assert_eq!(errors.len(), refused, "{errors:?}");
    let good = CORPUS.len();
    assert_eq!(node.value("SELECT count(*) FROM good"), good);
    assert_eq!(node.value("SELECT sum(f) FROM good"), good * (good - 1) / 2);
    for (line, want) in CORPUS {
        let Ok(want) = want else { continue };
        let node = Node::start(&[]);
        assert_eq!(node.post("/write?db=main", line).status, 204);
        let mut row = node.rows("SELECT * FROM n")[0].as_object().unwrap().clone();
        assert_eq!(row.remove("time").unwrap(), "1970-01-01T00:00:00.000000007Z");
        let want: serde_json::Value = serde_json::from_str(want).unwrap();
        assert_eq!(serde_json::Value::Object(row), want, "{}", String::from_utf8_lossy(line));
    }
}

#[test]
fn lines_of_any_size_are_taken_or_named() {
    let node = Node::start(&[]);
    node.write("big f=0i 9");
    let tag = "x".repeat(1 << 20);
    let fields: Vec<String> = (0..100_000).map(|i| format!("f{i}=1i")).collect();
    let body = format!(
        "big f=1i 1\nbig,t={tag} f=2i 2\nbig {} 3\nbig f=4i 4\n{}\nbig f=5i 5\n",
        fields.join(","),
        " ".repeat(1 << 20)
    );
    let answer = node.post("/write?db=main", &body);
    assert_eq!(answer.status, 400);
    let errors = answer.json()["data"].as_array().unwrap().clone();
    let lines: Vec<u64> = errors.iter().map(|e| e["line_number"].as_u64().unwrap()).collect();
    assert!(lines.iter().all(|line| [2, 3].contains(line)) && lines.contains(&3), "{errors:?}");
    let want = if lines.contains(&2) { 10 } else { 12 };
    assert_eq!(node.value("SELECT sum(f) FROM big"), want);
}
