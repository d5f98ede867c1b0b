//! Plans, column by column.

use super::*;

fn wishes() -> Wishes {
    Wishes { table: "t".to_owned(), ..Wishes::default() }
}

fn file(values: Values, columns: &[(&str, Option<Type>)]) -> FileColumns {
    let columns = columns.iter().map(|(name, t)| ((*name).to_owned(), Sample::of_type(*t)));
    FileColumns { file: "f".to_owned(), columns: columns.collect(), values }
}

fn column(name: &str, data_type: Type, role: Role) -> Column {
    Column { name: name.to_owned(), data_type, role }
}

fn roles(plan: &Plan) -> Vec<String> {
    let show = |c: &Column| format!("{} {} {}", c.name, c.data_type, c.role.name());
    plan.columns.iter().map(show).collect()
}

#[track_caller]
fn refused(files: &[FileColumns], table: Option<&[Column]>, wishes: &Wishes, why: &str) {
    let error = Plan::new(files, table, wishes).unwrap_err();
    assert!(error.contains(why), "{error}");
}

const CPU: [(&str, Option<Type>); 5] = [
    ("usage", Some(Type::Double)),
    ("at", Some(Type::Time)),
    ("host", Some(Type::Text)),
    ("n", Some(Type::Integer)),
    ("empty", None),
];

#[test]
fn a_new_table_has_the_only_time_and_all_texts_as_tags() {
    let plan = Plan::new(&[file(Values::Text, &CPU)], None, &wishes()).unwrap();
    let want = ["time TIMESTAMP time", "host STRING tag", "usage DOUBLE field", "n BIGINT field"];
    assert_eq!(roles(&plan), want);
    assert_eq!(plan.time_source, "at");
    assert_eq!(plan.notices.len(), 2, "{:?}", plan.notices);
    let want = "CREATE TABLE IF NOT EXISTS \"t\" (\n  \"time\" TIMESTAMP NOT NULL,\n  \"host\" STRING,\n  \
                \"usage\" DOUBLE,\n  \"n\" BIGINT,\n  PRIMARY KEY (\"host\", \"time\")\n)";
    assert_eq!(plan.statements(), [want]);
}

#[test]
fn tags_that_are_named_are_the_only_ones() {
    let asked = Wishes { tags: Some(vec!["n".to_owned()]), ..wishes() };
    let plan = Plan::new(&[file(Values::Text, &CPU)], None, &asked).unwrap();
    assert_eq!(roles(&plan)[1..3], ["n STRING tag", "usage DOUBLE field"]);
    assert!(roles(&plan).contains(&"host STRING field".to_owned()));
    refused(&[file(Values::Typed, &CPU)], None, &asked, "\"n\" of f is BIGINT");
    let asked = Wishes { tags: Some(vec!["rack".to_owned()]), ..wishes() };
    refused(&[file(Values::Text, &CPU)], None, &asked, "no column \"rack\"");
}

#[test]
fn a_table_that_is_there_says_what_its_columns_are() {
    let table = [
        column("when", Type::Time, Role::Time),
        column("host", Type::Text, Role::Tag),
        column("n", Type::Double, Role::Field),
    ];
    let columns = [
        ("at", Some(Type::Time)),
        ("host", Some(Type::Integer)),
        ("n", Some(Type::Integer)),
        ("note", Some(Type::Text)),
    ];
    let plan = Plan::new(&[file(Values::Text, &columns)], Some(&table), &wishes()).unwrap();
    let want = ["when TIMESTAMP time", "host STRING tag", "n DOUBLE field", "note STRING field"];
    assert_eq!(roles(&plan), want);
    assert_eq!(plan.statements(), ["ALTER TABLE \"t\" ADD COLUMN IF NOT EXISTS \"note\" STRING"]);
    refused(&[file(Values::Typed, &columns)], Some(&table), &wishes(), "\"host\" of f is BIGINT");
    let asked = Wishes { tags: Some(vec!["n".to_owned()]), ..wishes() };
    refused(&[file(Values::Text, &columns)], Some(&table), &asked, "field and cannot be a tag");
    let asked = Wishes { types: vec![("n".to_owned(), Type::Boolean)], ..wishes() };
    refused(&[file(Values::Text, &columns)], Some(&table), &asked, "is DOUBLE already");
}

#[test]
fn an_interrupted_load_is_planned_the_same_way_again() {
    let files = [
        file(Values::Text, &[("time", Some(Type::Time)), ("a", Some(Type::Integer))]),
        file(Values::Text, &[("time", Some(Type::Time)), ("a", Some(Type::Double)), ("b", None)]),
    ];
    let first = Plan::new(&files, None, &wishes()).unwrap();
    let again = Plan::new(&files, Some(&first.columns), &wishes()).unwrap();
    assert_eq!(first.columns, again.columns);
    assert_eq!(again.statements(), Vec::<String>::new());
}

#[test]
fn no_time_or_more_than_one_is_an_error() {
    refused(&[file(Values::Text, &[("n", Some(Type::Integer))])], None, &wishes(), "needs a time");
    let two = [("a", Some(Type::Time)), ("b", Some(Type::Time))];
    refused(&[file(Values::Text, &two)], None, &wishes(), "(a, b)");
    let asked = Wishes { time: Some("b".to_owned()), ..wishes() };
    let plan = Plan::new(&[file(Values::Text, &two)], None, &asked).unwrap();
    assert_eq!(roles(&plan), ["time TIMESTAMP time", "a TIMESTAMP field"]);
    let asked = Wishes { time: Some("c".to_owned()), ..wishes() };
    refused(&[file(Values::Text, &two)], None, &asked, "no column \"c\"");
    let both = [("time", Some(Type::Time)), ("b", Some(Type::Time))];
    let asked = Wishes { time: Some("b".to_owned()), ..wishes() };
    refused(&[file(Values::Text, &both)], None, &asked, "there is a column \"time\", too");
}

#[test]
fn integers_are_times_once_their_unit_is_told() {
    let columns = [("time", Some(Type::Integer)), ("n", Some(Type::Double))];
    for values in [Values::Text, Values::Typed] {
        refused(&[file(values, &columns)], None, &wishes(), "--time-unit");
        let asked = Wishes { time_unit: Some(TimeUnit::Second), ..wishes() };
        let plan = Plan::new(&[file(values, &columns)], None, &asked).unwrap();
        assert_eq!(roles(&plan), ["time TIMESTAMP time", "n DOUBLE field"]);
    }
}

#[test]
fn every_file_needs_the_time_and_has_each_name_once() {
    let good = file(Values::Text, &[("time", Some(Type::Time)), ("n", Some(Type::Double))]);
    let other = file(Values::Text, &[("n", Some(Type::Double))]);
    refused(&[good, other], None, &wishes(), "has no column \"time\"");
    let twice = file(Values::Text, &[("time", Some(Type::Time)), ("time", None)]);
    refused(&[twice], None, &wishes(), "twice");
    refused(&[file(Values::Text, &[("", None)])], None, &wishes(), "has no name");
}
