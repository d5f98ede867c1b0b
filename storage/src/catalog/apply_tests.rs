//! What each command of the catalog does, and why it is refused.

use quorate_segment::FieldType;

use super::*;
use crate::catalog::limits::{COLUMNS_PER_TABLE_MAX, NAME_BYTES_MAX, TAGS_PER_TABLE_MAX};

const DOUBLE: ColumnKind = ColumnKind::Field(FieldType::Float64);
const INT: ColumnKind = ColumnKind::Field(FieldType::Int64);

fn column(name: &str, kind: ColumnKind) -> ColumnDefinition {
    ColumnDefinition { name: name.to_owned(), kind }
}

fn create(name: &str, columns: &[(&str, ColumnKind)]) -> CatalogCommand {
    CatalogCommand::CreateTable {
        database: "main".to_owned(),
        name: name.to_owned(),
        columns: columns.iter().map(|(n, k)| column(n, *k)).collect(),
        options: TableOptions::default(),
        if_not_exists: false,
        extend: false,
    }
}

fn extend(name: &str, columns: &[(&str, ColumnKind)]) -> CatalogCommand {
    match create(name, columns) {
        CatalogCommand::CreateTable { database, name, columns, options, .. } => {
            CatalogCommand::CreateTable {
                database,
                name,
                columns,
                options,
                if_not_exists: true,
                extend: true,
            }
        }
        other => other,
    }
}

fn with_main() -> Catalog {
    let mut catalog = Catalog::default();
    let command = CatalogCommand::CreateDatabase { name: "main".to_owned(), if_not_exists: true };
    assert!(matches!(catalog.apply(1, command), CatalogReply::Changed { .. }));
    catalog
}

fn cpu() -> Vec<(&'static str, ColumnKind)> {
    vec![("time", ColumnKind::Time), ("host", ColumnKind::Tag), ("usage", DOUBLE)]
}

fn rejection(reply: CatalogReply) -> CatalogRejection {
    match reply {
        CatalogReply::Rejected(rejection) => rejection,
        CatalogReply::Changed { .. } | CatalogReply::Unchanged { .. } => {
            panic!("was not rejected: {reply:?}")
        }
    }
}

fn check_rejected(command: CatalogCommand, want: &str) {
    let mut catalog = with_main();
    catalog.apply(2, create("cpu", &cpu()));
    let before = catalog.clone();
    let got = rejection(catalog.apply(3, command));
    assert!(got.to_string().contains(want), "{got} does not contain {want:?}");
    assert_eq!(catalog, before, "a rejected command must change nothing");
}

#[test]
fn creating_a_table_twice_is_rejected_unless_it_may_exist() {
    check_rejected(create("cpu", &cpu()), "already exists");
    let mut catalog = with_main();
    catalog.apply(2, create("cpu", &cpu()));
    let reply = catalog.apply(3, extend("cpu", &cpu()));
    assert!(matches!(reply, CatalogReply::Unchanged { table: Some(_), .. }));
    assert_eq!(catalog.index, 2, "an unchanged catalog keeps its index");
}

#[test]
fn schema_on_write_appends_tags_and_fields_with_new_ids() {
    let mut catalog = with_main();
    catalog.apply(2, create("cpu", &cpu()));
    catalog.apply(3, extend("cpu", &[("region", ColumnKind::Tag), ("idle", INT)]));
    let table = catalog.table("main", "cpu").unwrap();
    let ids: Vec<_> = table.columns.iter().map(|c| (c.name.as_str(), c.id.0)).collect();
    assert_eq!(ids, [("time", 1), ("host", 2), ("usage", 3), ("region", 4), ("idle", 5)]);
    assert_eq!((table.changed_at, catalog.index), (3, 3));
}

#[test]
fn a_tag_and_a_field_never_share_a_name() {
    check_rejected(extend("cpu", &[("host", DOUBLE)]), "is a tag, not a float64 field");
    check_rejected(extend("cpu", &[("usage", ColumnKind::Tag)]), "is a float64 field, not a tag");
    check_rejected(extend("cpu", &[("usage", INT)]), "is a float64 field, not an int64 field");
    check_rejected(extend("cpu", &[("a", INT), ("a", ColumnKind::Tag)]), "is an int64 field");
}

#[test]
fn a_table_has_exactly_one_time_column() {
    check_rejected(create("t", &[("host", ColumnKind::Tag)]), "exactly one time column, not 0");
    let twice = [("a", ColumnKind::Time), ("b", ColumnKind::Time)];
    check_rejected(create("t", &twice), "exactly one time column, not 2");
    check_rejected(extend("cpu", &[("ts", ColumnKind::Time)]), "is \"time\", not \"ts\"");
}

#[test]
fn names_are_limited() {
    let time = ("time", ColumnKind::Time);
    check_rejected(create("", &[time]), "name of a table is empty");
    check_rejected(create("a\nb", &[time]), "control character");
    check_rejected(create(&"x".repeat(NAME_BYTES_MAX + 1), &[time]), "more than 255");
    check_rejected(create("t", &[time, ("", INT)]), "name of a column is empty");
    check_rejected(create("t", &[time, ("a", INT), ("a", INT)]), "defined twice");
    let mut catalog = with_main();
    let reply = catalog.apply(2, create(&"é".repeat(127), &[time]));
    assert!(matches!(reply, CatalogReply::Changed { .. }));
}

#[test]
fn columns_and_tags_are_limited() {
    let many = |n: usize, kind: ColumnKind| {
        let mut columns = vec![column("time", ColumnKind::Time)];
        columns.extend((0..n).map(|i| column(&format!("c{i}"), kind)));
        CatalogCommand::CreateTable {
            database: "main".to_owned(),
            name: "wide".to_owned(),
            columns,
            options: TableOptions::default(),
            if_not_exists: false,
            extend: false,
        }
    };
    check_rejected(many(TAGS_PER_TABLE_MAX + 1, ColumnKind::Tag), "more than 64");
    check_rejected(many(COLUMNS_PER_TABLE_MAX, INT), "more than 4096");
    let mut catalog = with_main();
    assert!(matches!(
        catalog.apply(2, many(TAGS_PER_TABLE_MAX, ColumnKind::Tag)),
        CatalogReply::Changed { .. }
    ));
    let got = rejection(catalog.apply(3, extend("wide", &[("one_more", ColumnKind::Tag)])));
    assert!(matches!(got, CatalogRejection::Limit(_)));
}

#[test]
fn ids_of_dropped_tables_and_databases_are_never_reused() {
    let mut catalog = with_main();
    catalog.apply(2, create("cpu", &cpu()));
    let first = catalog.table("main", "cpu").unwrap().id;
    catalog.apply(
        3,
        CatalogCommand::DropTable {
            database: "main".to_owned(),
            name: "cpu".to_owned(),
            if_exists: false,
        },
    );
    assert!(catalog.table("main", "cpu").is_none());
    assert!(catalog.dropped.contains(&first), "a tombstone stays");
    catalog.apply(4, create("cpu", &cpu()));
    let second = catalog.table("main", "cpu").unwrap().id;
    assert!(second > first, "{second:?} is not above {first:?}");
    catalog.apply(5, CatalogCommand::DropDatabase { name: "main".to_owned(), if_exists: false });
    assert!(catalog.dropped.contains(&second), "a dropped database drops its tables");
    catalog
        .apply(6, CatalogCommand::CreateDatabase { name: "main".to_owned(), if_not_exists: false });
    assert!(catalog.database("main").unwrap().id.0 > second.0);
}

#[test]
fn dropping_what_is_not_there_is_rejected_unless_it_may_be_missing() {
    let drop = |if_exists| CatalogCommand::DropTable {
        database: "main".to_owned(),
        name: "nope".to_owned(),
        if_exists,
    };
    check_rejected(drop(false), "does not exist");
    let mut catalog = with_main();
    assert!(matches!(catalog.apply(2, drop(true)), CatalogReply::Unchanged { .. }));
}

#[test]
fn options_are_checked_and_routing_options_are_fixed_once_made() {
    let set = |catalog: &mut Catalog, options: TableOptions| {
        let table = catalog.table("main", "cpu").unwrap().id;
        catalog.apply(
            9,
            CatalogCommand::AlterTable { table, change: TableChange::SetOptions(options) },
        )
    };
    let mut catalog = with_main();
    catalog.apply(2, create("cpu", &cpu()));
    let base = TableOptions::default();
    let kept = TableOptions { retention_ns: Some(1), ..base.clone() };
    assert!(matches!(set(&mut catalog, kept), CatalogReply::Changed { .. }));
    for bad in [
        TableOptions { retention_ns: Some(0), ..base.clone() },
        TableOptions { spread: 0, ..base.clone() },
        TableOptions { spread: 2_000, ..base.clone() },
        TableOptions { time_slice_ns: 5, ..base.clone() },
        TableOptions { spread: 2, ..base.clone() },
    ] {
        assert!(matches!(rejection(set(&mut catalog, bad)), CatalogRejection::Invalid(_)));
    }
}
