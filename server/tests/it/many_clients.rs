//! Many clients at once: nothing is lost, and writes share syncs.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::node::Node;

fn metric(node: &Node, name: &str) -> u64 {
    let text = node.get("/metrics");
    let line = text.text().lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is missing")).parse().unwrap()
}

#[test]
fn parallel_writers_lose_nothing_and_share_syncs() {
    let node = Node::start(&[]);
    node.write("p,c=0 f=0i 0");
    let before = metric(&node, "quorate_wal_syncs_total");
    let (clients, requests) = (16_u32, 25_u32);
    let stored = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (node, stored) = (&node, &stored);
            scope.spawn(move || {
                for request in 0..requests {
                    let line = |i| format!("p,c={client} f={i}i {}\n", request * 20 + i + 1);
                    let lines = (0..20).map(line).collect::<Vec<_>>().concat();
                    node.write(&lines);
                    stored.fetch_add(20, Ordering::Relaxed);
                }
            });
        }
    });
    let stored = stored.into_inner();
    assert_eq!(stored, clients * requests * 20);
    assert_eq!(node.value("SELECT count(*) FROM p"), stored + 1);
    let syncs = metric(&node, "quorate_wal_syncs_total") - before;
    assert!(
        syncs < u64::from(clients * requests),
        "{syncs} syncs for {} writes",
        clients * requests
    );
}

#[test]
fn parallel_writers_of_new_columns_agree_on_types() {
    let node = Node::start(&[]);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let node = &node;
            scope.spawn(move || {
                for column in 0..10 {
                    // Half of the clients say integer, half say float: each column has one winner.
                    let value = if client % 2 == 0 { "1i" } else { "1.5" };
                    let line = format!("t,c={client} both{column}={value},own{client}=1i {column}");
                    let answer = node.post("/write?db=main", &line);
                    assert!(matches!(answer.status, 204 | 400), "{}", answer.text());
                    if answer.status == 400 {
                        let data = answer.json()["data"][0].clone();
                        let message = data["error_message"].as_str().unwrap().to_owned();
                        assert!(message.contains("the line has"), "{message}");
                    }
                }
            });
        }
    });
    // Per column the four clients of the winning type, whichever that is.
    for column in 0..10 {
        assert_eq!(node.value(&format!("SELECT count(both{column}) FROM t")), 4);
    }
}
