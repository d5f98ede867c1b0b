//! `IN` lists side by side, against SQL's logic of three values.

use std::fmt::Write as _;

use crate::fixture::Fixture;

/// What the column holds, NULL included; `y` is always 2.
const VALUES: [Option<i64>; 5] = [None, Some(1), Some(2), Some(3), Some(4)];
const Y: i64 = 2;

/// An item of a list.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Item {
    Value(i64),
    Null,
    Y,
}

/// A list, and whether it is after `NOT IN`.
#[derive(Clone, Copy, Debug)]
struct List {
    items: &'static [Item],
    negated: bool,
}

use Item::{Null, Value};

const LISTS: [&[Item]; 6] = [
    &[Value(1), Value(2), Value(3), Value(4), Value(9)],
    &[Value(1), Value(2)],
    &[Value(3), Value(4), Value(5), Value(6)],
    &[Value(2), Null],
    &[Value(1), Value(3), Null],
    &[Value(1), Item::Y],
];

/// The kind of the column: a field, or a tag.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Column {
    Field,
    Tag,
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Column::Field => "x",
            Column::Tag => "host",
        }
    }

    fn other(self) -> &'static str {
        match self {
            Column::Field => "y",
            Column::Tag => "region",
        }
    }

    fn literal(self, value: i64) -> String {
        match self {
            Column::Field => value.to_string(),
            Column::Tag => format!("'{value}'"),
        }
    }
}

impl List {
    fn sql(self, column: Column) -> String {
        let items = self.items.iter().map(|item| match item {
            Value(value) => column.literal(*value),
            Null => "NULL".to_owned(),
            Item::Y => column.other().to_owned(),
        });
        let items = items.collect::<Vec<_>>().join(", ");
        let not = if self.negated { "NOT " } else { "" };
        format!("{} {not}IN ({items})", column.name())
    }

    fn holds(self, x: Option<i64>) -> Option<bool> {
        let x = x?;
        let is = |item: &Item| match item {
            Value(value) => Some(*value == x),
            Null => None,
            Item::Y => Some(Y == x),
        };
        let mut found = Some(false);
        for item in self.items {
            found = or(found, is(item));
        }
        if self.negated { not(found) } else { found }
    }
}

fn not(a: Option<bool>) -> Option<bool> {
    a.map(|a| !a)
}

fn or(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(true), _) | (_, Some(true)) => Some(true),
        (Some(false), Some(false)) => Some(false),
        _ => None,
    }
}

fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    not(or(not(a), not(b)))
}

type Truth = Option<bool>;
type Meaning = fn(Truth, Truth) -> Truth;

/// Where two lists stand together: SQL, and what it means. `{n}` is `n > 0`, always true.
const PLACES: [(&str, Meaning); 9] = [
    ("{p} AND {q}", and),
    ("{p} OR {q}", or),
    ("NOT ({p} AND {q})", |p, q| not(and(p, q))),
    ("NOT ({p} OR NOT ({q}))", |p, q| not(or(p, not(q)))),
    ("(n > 0 AND {p}) OR (n > 0 AND {q})", or),
    ("({p} AND {q}) = false", |p, q| and(p, q).map(|pq| !pq)),
    ("({p} AND {q}) IS NULL", |p, q| Some(and(p, q).is_none())),
    ("({p} OR {q}) IS NOT TRUE", |p, q| Some(or(p, q) != Some(true))),
    ("CASE WHEN {p} AND {q} THEN false ELSE {p} OR {q} END", |p, q| {
        if and(p, q) == Some(true) { Some(false) } else { or(p, q) }
    }),
];

fn pairs() -> Vec<(List, List)> {
    let lists = LISTS
        .iter()
        .flat_map(|items| [List { items, negated: false }, List { items, negated: true }]);
    let lists = lists.collect::<Vec<_>>();
    lists.iter().flat_map(|p| lists.iter().map(move |q| (*p, *q))).collect()
}

fn filled(place: &str, p: List, q: List, column: Column) -> String {
    place.replace("{p}", &p.sql(column)).replace("{q}", &q.sql(column))
}

/// The values whose rows a filter keeps, as [`rows`] gives them.
fn kept(meaning: Meaning, p: List, q: List) -> Vec<String> {
    let is_kept = |x: &Option<i64>| meaning(p.holds(*x), q.holds(*x)) == Some(true);
    VALUES.into_iter().filter(is_kept).map(text).collect()
}

fn text(value: Option<i64>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
}

async fn insert(db: &Fixture, table: &str) {
    let mut sql = format!("INSERT INTO {table} (time, host, region, x, y, n) VALUES ");
    for (i, value) in VALUES.iter().enumerate() {
        let tag = value.map_or_else(|| "NULL".to_owned(), |value| format!("'{value}'"));
        let comma = if i == 0 { "" } else { ", " };
        write!(sql, "{comma}('2024-01-01T00:00:0{i}Z', {tag}, '{Y}', {}, {Y}, 1)", text(*value))
            .unwrap();
    }
    db.run(&sql).await;
}

async fn tables(names: &[&str]) -> Fixture {
    let db = Fixture::new().await;
    for table in names {
        db.run(&format!(
            "CREATE TABLE {table} (time TIMESTAMP NOT NULL, host STRING, region STRING, x BIGINT, y BIGINT,
             n BIGINT, PRIMARY KEY (host, region, time))"
        ))
        .await;
        insert(&db, table).await;
    }
    db
}

#[tokio::test]
async fn filters_over_lists_keep_what_holds() {
    let db = tables(&["t"]).await;
    for (i, (p, q)) in pairs().into_iter().enumerate() {
        for (j, (place, meaning)) in PLACES.into_iter().enumerate() {
            let column = if (i + j) % 2 == 0 { Column::Field } else { Column::Tag };
            let filter = filled(place, p, q, column);
            let rows = db.rows(&format!("SELECT x FROM t WHERE {filter} ORDER BY time")).await;
            assert_eq!(rows, kept(meaning, p, q), "{filter}");
        }
    }
}

#[tokio::test]
async fn lists_side_by_side_are_true_false_or_null() {
    let db = tables(&["t"]).await;
    for (place, meaning) in PLACES {
        for column in [Column::Field, Column::Tag] {
            let pairs = pairs();
            let columns = pairs
                .iter()
                .enumerate()
                .map(|(i, (p, q))| format!("{} AS c{i}", filled(place, *p, *q, column)));
            let sql =
                format!("SELECT {} FROM t ORDER BY time", columns.collect::<Vec<_>>().join(", "));
            let rows = db.rows(&sql).await;
            for (row, x) in rows.iter().zip(VALUES) {
                for (got, (p, q)) in row.split(' ').zip(&pairs) {
                    let want = meaning(p.holds(x), q.holds(x));
                    let want = want.map_or_else(|| "NULL".to_owned(), |want| want.to_string());
                    assert_eq!(got, want, "{} where x is {x:?}", filled(place, *p, *q, column));
                }
            }
        }
    }
}

#[tokio::test]
async fn filters_that_come_to_stand_side_by_side_keep_what_holds() {
    let db = tables(&["t"]).await;
    for (p, q) in pairs() {
        for column in [Column::Field, Column::Tag] {
            let sql = format!(
                "SELECT x FROM (SELECT * FROM t WHERE {}) v WHERE {} ORDER BY time",
                p.sql(column),
                q.sql(column)
            );
            assert_eq!(db.rows(&sql).await, kept(and, p, q), "{sql}");
        }
    }
}

#[tokio::test]
async fn deletes_and_updates_by_lists_touch_what_holds_and_no_more() {
    let db = tables(&["deleted", "updated"]).await;
    let cases = pairs().into_iter().enumerate().flat_map(|(i, (p, q))| {
        // A third of them: every pair of lists, and every place with every third pair.
        let places = PLACES.into_iter().enumerate().filter(move |(j, _)| (i + j) % 3 == 0);
        places.map(move |(j, (place, meaning))| {
            let column = if (i / 3 + j) % 2 == 0 { Column::Field } else { Column::Tag };
            (filled(place, p, q, column), kept(meaning, p, q))
        })
    });
    for (filter, kept) in cases {
        let left =
            VALUES.into_iter().map(text).filter(|value| !kept.contains(value)).collect::<Vec<_>>();
        db.run(&format!("DELETE FROM deleted WHERE {filter}")).await;
        assert_eq!(db.rows("SELECT x FROM deleted ORDER BY time").await, left, "{filter}");
        insert(&db, "deleted").await;

        db.run(&format!("UPDATE updated SET n = 2 WHERE {filter}")).await;
        let rows = db.rows("SELECT x FROM updated WHERE n = 2 ORDER BY time").await;
        assert_eq!(rows, kept, "{filter}");
        insert(&db, "updated").await;
    }
}
