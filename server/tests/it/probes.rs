//! Health, metrics, and what is nowhere.

use crate::node::Node;

#[test]
fn probes_answer_as_clients_expect() {
    let node = Node::start(&[]);
    let health = node.get("/health");
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("pass")));
    assert_eq!(node.get("/ready").json()["status"], "ready");
    let ping = node.get("/ping");
    assert_eq!(ping.status, 204);
    assert!(ping.header("x-influxdb-version").unwrap().starts_with("1."));
    assert!(ping.header("x-influxdb-build").unwrap().starts_with("Quorate"));
    assert_eq!(node.get("/ping?verbose=true").status, 200);
    let nowhere = node.get("/api/v9/write");
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.json()["error"].as_str().unwrap().contains("/api/v9/write"));
}

#[test]
fn metrics_count_what_happened() {
    let node = Node::start(&[]);
    node.write("m f=1 1\nm f=2 2");
    node.post("/write?db=main", "m f=bad 3");
    node.get("/nowhere");
    let metrics = node.get("/metrics");
    assert!(metrics.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = metrics.text();
    for line in [
        "quorate_http_requests_total{path=\"/write\",status=\"204\"} 1",
        "quorate_http_requests_total{path=\"/write\",status=\"400\"} 1",
        "quorate_http_requests_total{path=\"other\",status=\"404\"} 1",
        "quorate_http_points_stored_total 2",
        "quorate_http_lines_rejected_total 1",
        "quorate_ready 1",
        "quorate_rows_accepted_total 2",
        "quorate_wal_disk_full 0",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is missing:\n{text}");
    }
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("quorate_") && value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn influxdb_1_clients_can_make_their_database() {
    let node = Node::start(&[]);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = node.post_with("/query", "q=CREATE+DATABASE+%22tele+graf%22", &form);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(node.post("/write?db=tele%20graf", "m f=1 1").status, 204);
    assert_eq!(node.get("/query?q=SHOW%20DATABASES").status, 400);
}
