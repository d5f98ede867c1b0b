//! What each command of the catalog does, and why it is refused.

use quorate_segment::{FieldType, SeriesKey};

use super::*;
use crate::catalog::limits::{
    COLUMNS_PER_TABLE_MAX, LABELLED_SERIES_MAX, NAME_BYTES_MAX, TAGS_PER_TABLE_MAX,
};
use crate::catalog::{ExistingView, NoteChange, NoteTarget, Notes};

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

fn alter(table: TableId, change: TableChange) -> CatalogCommand {
    CatalogCommand::AlterTable { table, change }
}

fn changed(reply: &CatalogReply) -> TableId {
    match reply {
        CatalogReply::Changed { table: Some(table), .. } => *table,
        other => panic!("changed no table: {other:?}"),
    }
}

#[test]
fn names_change_and_repeated_commands_change_nothing() {
    let mut catalog = with_main();
    let cpu_id = changed(&catalog.apply(2, create("cpu", &cpu())));
    catalog.apply(3, create("mem", &cpu()));
    let usage = catalog.table("main", "cpu").unwrap().column("usage").unwrap().id;
    let rename =
        alter(cpu_id, TableChange::RenameColumn { column: usage, name: "load".to_owned() });
    changed(&catalog.apply(4, rename.clone()));
    assert!(matches!(catalog.apply(5, rename), CatalogReply::Unchanged { .. }));
    assert_eq!(catalog.table("main", "cpu").unwrap().column("load").unwrap().id, usage);
    assert_eq!(catalog.tables[&cpu_id].changed_at, 4);
    let taken = alter(cpu_id, TableChange::RenameColumn { column: usage, name: "host".to_owned() });
    assert!(rejection(catalog.apply(6, taken)).to_string().contains("already"));

    let rename = alter(cpu_id, TableChange::Rename("processors".to_owned()));
    changed(&catalog.apply(7, rename.clone()));
    assert!(matches!(catalog.apply(8, rename), CatalogReply::Unchanged { .. }));
    assert!(catalog.table("main", "cpu").is_none());
    assert_eq!(catalog.table("main", "processors").unwrap().id, cpu_id);
    let taken = alter(cpu_id, TableChange::Rename("mem".to_owned()));
    assert_eq!(rejection(catalog.apply(9, taken)), CatalogRejection::TableExists("mem".to_owned()));
    // The old name is free.
    assert_ne!(changed(&catalog.apply(10, create("cpu", &cpu()))), cpu_id);
}

#[test]
fn a_dropped_column_does_not_come_back_under_its_name() {
    let mut catalog = with_main();
    let id = changed(&catalog.apply(2, create("cpu", &cpu())));
    let column = |catalog: &Catalog, name: &str| catalog.tables[&id].column(name).map(|c| c.id);
    let usage = column(&catalog, "usage").unwrap();
    let drop = alter(id, TableChange::DropColumn(usage));
    changed(&catalog.apply(3, drop.clone()));
    assert!(matches!(catalog.apply(4, drop), CatalogReply::Unchanged { .. }));
    changed(&catalog.apply(5, extend("cpu", &[("time", ColumnKind::Time), ("usage", INT)])));
    assert!(column(&catalog, "usage").unwrap() > usage);
    for (name, why) in [("host", "is a tag"), ("time", "is the time")] {
        let drop = alter(id, TableChange::DropColumn(column(&catalog, name).unwrap()));
        assert!(rejection(catalog.apply(6, drop)).to_string().contains(why), "{name}");
    }
}

fn view(name: &str, query: &str, existing: ExistingView) -> CatalogCommand {
    let [database, name, query] = ["main", name, query].map(str::to_owned);
    CatalogCommand::CreateView { database, name, query, existing }
}

#[test]
fn views_share_names_with_tables_and_go_with_their_database() {
    use ExistingView::{Keep, Refuse, Replace};
    let mut catalog = with_main();
    let cpu_id = changed(&catalog.apply(2, create("cpu", &cpu())));
    catalog.apply(3, view("v", "SELECT 1", Refuse));
    let query = |catalog: &Catalog| catalog.view("main", "v").map(|view| view.query.clone());
    assert_eq!(query(&catalog).as_deref(), Some("SELECT 1"));
    let again = rejection(catalog.apply(4, view("v", "SELECT 2", Refuse)));
    assert_eq!(again, CatalogRejection::ViewExists("v".to_owned()));
    catalog.apply(5, view("v", "SELECT 2", Keep));
    assert_eq!(query(&catalog).as_deref(), Some("SELECT 1"));
    catalog.apply(6, view("v", "SELECT 3", Replace));
    assert_eq!((query(&catalog).as_deref(), catalog.index), (Some("SELECT 3"), 6));
    let same = catalog.apply(7, view("v", "SELECT 3", Replace));
    assert!(matches!(same, CatalogReply::Unchanged { .. }));

    let taken = CatalogRejection::ViewExists("v".to_owned());
    assert_eq!(rejection(catalog.apply(8, create("v", &cpu()))), taken);
    let rename = alter(cpu_id, TableChange::Rename("v".to_owned()));
    assert_eq!(rejection(catalog.apply(9, rename)), taken);
    let table = rejection(catalog.apply(10, view("cpu", "SELECT 1", Replace)));
    assert_eq!(table, CatalogRejection::TableExists("cpu".to_owned()));

    let drop = |if_exists| CatalogCommand::DropView {
        database: "main".to_owned(),
        name: "v".to_owned(),
        if_exists,
    };
    assert!(matches!(catalog.apply(11, drop(false)), CatalogReply::Changed { .. }));
    let missing = CatalogRejection::NoView("v".to_owned());
    assert_eq!(rejection(catalog.apply(12, drop(false))), missing);
    assert!(matches!(catalog.apply(13, drop(true)), CatalogReply::Unchanged { .. }));
    catalog.apply(14, view("w", "SELECT 1", Refuse));
    let gone = CatalogCommand::DropDatabase { name: "main".to_owned(), if_exists: false };
    catalog.apply(15, gone);
    assert!(catalog.views.is_empty());
}

fn annotate(target: NoteTarget, changes: Vec<NoteChange>) -> CatalogCommand {
    CatalogCommand::Annotate { target, changes }
}

fn comment(text: &str) -> NoteChange {
    NoteChange::Comment(Some(text.to_owned()))
}

#[test]
fn notes_follow_what_they_are_about() {
    let mut catalog = with_main();
    catalog.apply(2, create("cpu", &cpu()));
    let table = Arc::clone(catalog.table("main", "cpu").unwrap());
    let usage = table.column("usage").unwrap().id;
    let of_column = NoteTarget::Column(table.id, usage);
    let unit = NoteChange::Unit(Some("%".to_owned()));
    catalog.apply(3, annotate(NoteTarget::Table(table.id), vec![comment("ours")]));
    catalog.apply(4, annotate(of_column.clone(), vec![unit.clone(), comment("load")]));
    let rename = TableChange::Rename("load".to_owned());
    catalog.apply(5, CatalogCommand::AlterTable { table: table.id, change: rename });
    let notes = catalog.notes.of_table(table.id).unwrap();
    assert_eq!(notes.table.comment.as_deref(), Some("ours"));
    assert_eq!(notes.columns[&usage].unit.as_deref(), Some("%"));
    let again = catalog.apply(6, annotate(of_column.clone(), vec![unit]));
    assert!(matches!(again, CatalogReply::Unchanged { .. }), "{again:?}");
    assert_eq!(catalog.index, 5);
    assert_eq!(catalog.tables[&table.id].changed_at, 5, "a note is no change of the table");

    let drop = TableChange::DropColumn(usage);
    catalog.apply(7, CatalogCommand::AlterTable { table: table.id, change: drop });
    assert!(catalog.notes.of_table(table.id).unwrap().columns.is_empty());
    rejection(catalog.apply(8, annotate(of_column, vec![comment("late")])));
    catalog.apply(9, annotate(NoteTarget::Table(table.id), vec![NoteChange::Comment(None)]));
    assert_eq!(catalog.notes, Notes::default(), "nothing is kept of a note that says nothing");

    catalog.apply(10, annotate(NoteTarget::Table(table.id), vec![comment("ours")]));
    let main = catalog.database("main").unwrap().id;
    catalog.apply(11, annotate(NoteTarget::Database(main), vec![comment("all")]));
    let name = "main".to_owned();
    catalog.apply(12, CatalogCommand::DropDatabase { name, if_exists: false });
    assert_eq!(catalog.notes, Notes::default());
}

#[test]
fn labels_are_set_and_removed_by_series_within_limits() {
    let mut catalog = with_main();
    catalog.apply(2, create("cpu", &cpu()));
    let table = catalog.table("main", "cpu").unwrap().id;
    let key = |host: &str| SeriesKey::encode([Some(host)]);
    let label = |series: Vec<SeriesKey>, name: &str, value: Option<String>| {
        let labels = BTreeMap::from([(name.to_owned(), value)]);
        CatalogCommand::Label { table, series, labels }
    };
    let site = || Some("berlin".to_owned());
    catalog.apply(3, label(vec![key("a"), key("b")], "site", site()));
    catalog.apply(4, label(vec![key("a")], "site", None));
    let labels = &catalog.notes.of_table(table).unwrap().labels;
    assert_eq!(labels.keys().collect::<Vec<_>>(), [&key("b")]);
    assert_eq!(labels[&key("b")]["site"], "berlin");

    let before = catalog.clone();
    let long = rejection(catalog.apply(5, label(vec![key("a")], "site", Some("x".repeat(2_000)))));
    assert!(long.to_string().contains("more than 1024"), "{long}");
    let many = (0..=LABELLED_SERIES_MAX).map(|i| key(&i.to_string())).collect();
    let many = rejection(catalog.apply(6, label(many, "site", site())));
    assert!(many.to_string().contains("more than 10000"), "{many}");
    assert_eq!(catalog, before, "a rejected command changes nothing");
}
