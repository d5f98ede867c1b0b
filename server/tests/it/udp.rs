//! Line protocol over UDP.

use std::net::UdpSocket;

use serde_json::Value;

use crate::node::{Node, wait_for};

/// Where a node takes datagrams.
fn udp_of(node: &Node) -> String {
    let text = std::fs::read_to_string(node.dir().join("addresses.json")).unwrap();
    let addresses: Value = serde_json::from_str(&text).unwrap();
    addresses["udp"].as_str().unwrap().to_owned()
}

/// A counter of `/metrics`, with its labels.
fn counter(node: &Node, name: &str) -> u64 {
    let metrics = node.get("/metrics");
    let line = metrics.text().lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn datagrams_are_stored_and_what_is_not_is_counted() {
    let node = Node::start(&["--udp-addr", "127.0.0.1:0", "--udp-database", "main"]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = udp_of(&node);
    // One after the other, so that the system has no reason to drop any.
    for i in 0..20_u64 {
        let lines = format!("cpu,host=a usage={i} {i}\ncpu,host=b usage={i}i {i}\nno line\n");
        socket.send_to(lines.as_bytes(), &to).unwrap();
        wait_for(|| (counter(&node, "quorate_udp_datagrams_total") == i + 1).then_some(()));
    }
    socket.send_to(&[0xff, 0xfe, b'\n'], &to).unwrap();
    // `usage` is a float from its first line on: the integers of host b are rejected, as is what is no line.
    let points = "quorate_udp_points_stored_total";
    let rejected = "quorate_udp_lines_rejected_total";
    wait_for(|| (counter(&node, points) + counter(&node, rejected) == 61).then_some(()));
    assert_eq!(counter(&node, points), 20);
    assert_eq!(node.value("SELECT count(*) FROM cpu WHERE host = 'a'"), 20);
    for reason in ["queue_full", "write_failed"] {
        let name = format!("quorate_udp_datagrams_dropped_total{{reason=\"{reason}\"}}");
        assert_eq!(counter(&node, &name), 0, "{reason}");
    }
    assert_eq!(node.stop(), Some(0));
}

#[test]
fn without_the_setting_nothing_is_taken_or_counted() {
    let node = Node::start(&[]);
    assert!(!node.get("/metrics").text().contains("quorate_udp_"));
    assert_eq!(node.stop(), Some(0));
}
