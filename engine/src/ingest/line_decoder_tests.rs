//! Stories of single lines, and a comparison with InfluxDB's own parser.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, UInt64Type};
use influxdb_line_protocol::{FieldValue, parse_lines};
use proptest::prelude::*;
use quorate_storage::catalog::{Column, DatabaseId, TableOptions};
use quorate_storage::{ColumnId, TableId};

use super::*;

const NOW: i64 = 42;

/// A row by names: measurement, tags, fields, time.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    table: String,
    tags: BTreeMap<String, String>,
    fields: BTreeMap<String, String>,
    time: i64,
}

fn rules(catalog: Catalog, precision: Precision) -> Rules {
    Rules {
        catalog: Arc::new(catalog),
        database: "main".to_owned(),
        precision,
        now: NOW,
        refused: HashMap::new(),
        chunk_bytes: CHUNK_BYTES,
        valid_utf8: false,
    }
}

/// A catalog with the table `cpu`: tag `host`, fields `usage` (float) and `at` (timestamp).
fn catalog() -> Catalog {
    let columns = [
        ("time", ColumnKind::Time),
        ("host", ColumnKind::Tag),
        ("usage", ColumnKind::Field(FieldType::Float64)),
        ("at", ColumnKind::Field(FieldType::Timestamp)),
    ];
    let columns: Vec<Column> = columns
        .into_iter()
        .zip(0..)
        .map(|((name, kind), id)| Column { id: ColumnId(id), name: name.to_owned(), kind })
        .collect();
    let (database, id) = (DatabaseId(1), TableId(2));
    let table = Table {
        id,
        database,
        name: "cpu".to_owned(),
        column_id_next: 4,
        columns,
        options: TableOptions::default(),
        changed_at: 1,
    };
    let main = Database {
        id: database,
        name: "main".to_owned(),
        tables: BTreeMap::from([("cpu".to_owned(), id)]),
    };
    Catalog {
        databases: BTreeMap::from([(database, Arc::new(main))]),
        tables: BTreeMap::from([(id, Arc::new(table))]),
        ..Catalog::default()
    }
}

fn value_text(array: &dyn Array, row: usize) -> String {
    match array.data_type() {
        arrow::datatypes::DataType::Float64 => {
            format!("f{:016x}", array.as_primitive::<Float64Type>().value(row).to_bits())
        }
        arrow::datatypes::DataType::Int64 => {
            format!("i{}", array.as_primitive::<Int64Type>().value(row))
        }
        arrow::datatypes::DataType::UInt64 => {
            format!("u{}", array.as_primitive::<UInt64Type>().value(row))
        }
        arrow::datatypes::DataType::Boolean => format!("b{}", array.as_boolean().value(row)),
        arrow::datatypes::DataType::Utf8 => format!("s{}", array.as_string::<i32>().value(row)),
        other => panic!("a decoder makes no {other}"),
    }
}

/// The rows of a chunk, table by table.
fn points(decoded: Decoded) -> Vec<Point> {
    let mut points = Vec::new();
    for table in decoded.tables {
        let rows = table.times.len();
        assert!(rows > 0, "table {} has no row", table.name);
        let fields: Vec<_> =
            table.fields.into_iter().map(|f| (f.name.clone(), f.finish(rows))).collect();
        for row in 0..rows {
            let series = &table.series[table.series_of_row[row] as usize];
            let tags = series
                .iter()
                .map(|(tag, range)| {
                    (table.tags[*tag].clone(), table.text.get(range.clone()).unwrap().to_owned())
                })
                .collect();
            let fields = fields
                .iter()
                .filter(|(_, array)| array.is_valid(row))
                .map(|(name, array)| (name.clone(), value_text(array, row)))
                .collect();
            points.push(Point { table: table.name.clone(), tags, fields, time: table.times[row] });
        }
        for (name, array) in &fields {
            assert!(array.null_count() < rows, "field {name} has no value");
        }
    }
    points
}

fn decode_all(text: &[u8], rules: &Rules) -> Decoded {
    decode(text, Place::START, rules)
}

/// The points of a body, written as `table{tag=value}field=value@time`, and the errors as `line: message`.
fn check(body: &str, want: &[&str]) {
    check_with(body, &rules(catalog(), Precision::Nanosecond), want);
}

fn check_with(body: &str, rules: &Rules, want: &[&str]) {
    let decoded = decode_all(body.as_bytes(), rules);
    let errors: Vec<String> =
        decoded.errors.iter().map(|e| format!("{}: {}", e.line_number, e.error_message)).collect();
    let list = |map: &BTreeMap<String, String>| {
        map.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
    };
    let mut found: Vec<String> = points(decoded)
        .iter()
        .map(|p| format!("{}{{{}}}{}@{}", p.table, list(&p.tags), list(&p.fields), p.time))
        .collect();
    found.extend(errors);
    assert_eq!(found, want, "{body}");
}

#[test]
fn every_type_of_value_is_decoded() {
    check(
        "m,t=x f=1i,g=2u,h=t,i=\"text\",j=FALSE 7\n",
        &["m{t=x}f=i1,g=u2,h=btrue,i=stext,j=bfalse@7"],
    );
    let bits = |f: f64| format!("m{{}}f=f{:016x}@1", f.to_bits());
    for (text, float) in [
        ("0", 0.0),
        ("-0", -0.0),
        ("-0.0", -0.0),
        ("1.5", 1.5),
        ("0.1", 0.1),
        ("1e3", 1e3),
        ("1.5E-7", 1.5e-7),
        ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
        ("9007199254740993", 9_007_199_254_740_992.0),
        ("1.7976931348623157e308", f64::MAX),
        ("5e-324", 5e-324),
        ("2.2250738585072011e-308", f64::from_bits(0x000f_ffff_ffff_ffff)),
    ] {
        check(&format!("m f={text} 1"), &[&bits(float)]);
    }
    check("m f=9223372036854775807i 1", &["m{}f=i9223372036854775807@1"]);
    check("m f=-9223372036854775808i 1", &["m{}f=i-9223372036854775808@1"]);
    check("m f=18446744073709551615u 1", &["m{}f=u18446744073709551615@1"]);
    check("m f=0000000000000000000000012i 1", &["m{}f=i12@1"]);
}

#[test]
fn names_with_blanks_quotes_and_unicode_are_kept() {
    check(
        "my\\ table,ta\\=g=va\\,l\\ ue,größe=日本 fi\\ eld=1i,\"q\"=2i 1\n",
        &["my table{größe=日本,ta=g=va,l ue}\"q\"=i2,fi eld=i1@1"],
    );
    check(r#"m f="a \"quoted\" \\ back\slash" 1"#, &[r#"m{}f=sa "quoted" \ back\slash@1"#]);
    check(
        "m f=\"two\nlines, a=b\" 1\nm f=\"next\" 2",
        &["m{}f=stwo\nlines, a=b@1", "m{}f=snext@2"],
    );
}

#[test]
fn an_empty_tag_is_no_tag() {
    check("m,a=,b=1 f=1i 1\nm,b=1,a= f=1i 2", &["m{b=1}f=i1@1", "m{b=1}f=i1@2"]);
}

#[test]
fn comments_blank_lines_and_carriage_returns_are_skipped() {
    check(
        "# a comment with a \"quote, x y=\"\n\n  \r\nm f=1i 1\r\n\tm f=2i 2 \n#",
        &["m{}f=i1@1", "m{}f=i2@2"],
    );
}

#[test]
fn a_line_without_a_timestamp_has_the_servers_time() {
    let decoded = decode_all(b"m f=1i\nm f=2i  \n", &rules(catalog(), Precision::Second));
    assert!(decoded.untimed);
    assert_eq!(points(decoded).iter().map(|p| p.time).collect::<Vec<_>>(), [NOW, NOW]);
}

#[test]
fn timestamps_are_scaled_and_checked() {
    let seconds = rules(catalog(), Precision::Second);
    check_with(
        "m f=1i 2\nm f=1i -3\nm f=1i 9223372037",
        &seconds,
        &[
            "m{}f=i1@2000000000",
            "m{}f=i1@-3000000000",
            "3: the timestamp 9223372037 s is out of range: 1677-09-21 to 2262-04-11 can be stored",
        ],
    );
    check(
        "m f=1i 99999999999999999999\nm f=1i 1.5\nm f=1i 1 2\nm f=1i -",
        &[
            "1: the timestamp 99999999999999999999 is out of range: 1677-09-21 to 2262-04-11 can be stored",
            "2: \"1.5\" is not a timestamp",
            "3: \"2\" follows the timestamp",
            "4: \"-\" is not a timestamp",
        ],
    );
}

#[test]
fn bad_lines_name_what_is_wrong() {
    for (line, want) in [
        ("m", "the line has no fields"),
        ("m ", "the line has no fields"),
        (",a=b f=1", "the measurement is missing"),
        (" =1", "the line has no fields"),
        ("m,a f=1", "the tag \"a\" has no value: name=value is expected"),
        ("m,=b f=1", "a tag has an empty name"),
        ("m,a=1,a=2 f=1", "the tag \"a\" is given twice"),
        ("m,a=1,a= f=1", "the tag \"a\" is given twice"),
        ("m f", "the field \"f\" has no value: name=value is expected"),
        ("m f=", "the field \"f\" has no value: name=value is expected"),
        ("m =1", "a field has an empty name"),
        ("m f=1,f=1", "the field \"f\" is given twice"),
        ("m f=1,,g=2", "the name \",g\" holds a comma that is not escaped"),
        ("m f=1.", "field \"f\" has the value \"1.\", which is no number, boolean, or quoted text"),
        (
            "m f=yes",
            "field \"f\" has the value \"yes\", which is no number, boolean, or quoted text",
        ),
        (
            "m f=tru",
            "field \"f\" has the value \"tru\", which is no number, boolean, or quoted text",
        ),
        ("m f=1.5x", "\"x\" follows the value of a field"),
        (
            "m f=-1u",
            "field \"f\" has the value -1u, which is out of the range of an unsigned integer",
        ),
        (
            "m f=1.5i",
            "field \"f\" has the value \"1.5i\", which is no number, boolean, or quoted text",
        ),
        ("m f=\"a", "the text of field \"f\" has no closing quote"),
        (
            "m f=9223372036854775808i",
            "field \"f\" has the value 9223372036854775808i, which is out of the range of an integer",
        ),
        ("m f=1e999", "field \"f\" has the value 1e999, which is out of the range of a double"),
        ("m\\\\ f=1", "\"m\\\\\" ends with a backslash, which names and tag values may not"),
        ("m,a=b\tc f=1", "a tab stands where only a space or a comma may"),
        ("m,time=1 f=1", "a tag cannot be called \"time\": that is the name of the time column"),
        ("m time=1", "a field cannot be called \"time\": that is the name of the time column"),
        ("m,a=1 a=1", "\"a\" is a tag of table \"m\", and cannot be a field too"),
        ("cpu,usage=1 f=1", "\"usage\" is a field of table \"cpu\", and cannot be a tag too"),
        ("cpu host=1", "\"host\" is a tag of table \"cpu\", and cannot be a field too"),
        ("cpu usage=1i", "field \"usage\" of table \"cpu\" is a float, the line has an integer"),
        (
            "cpu at=1i",
            "field \"at\" of table \"cpu\" is a timestamp, which line protocol cannot carry, the line has an integer",
        ),
    ] {
        check(&format!("{line}\nok f=1i 1"), &["ok{}f=i1@1", &format!("1: {want}")]);
    }
    for value in ["NaN", "nan", "-Inf", "+infinity", "inf"] {
        let want = format!(
            "1: field \"f\" has the value {value}: line protocol cannot carry NaN or infinities; leave the field out"
        );
        check(&format!("m f={value}"), &[&want]);
    }
}

#[test]
fn long_names_and_control_characters_are_errors() {
    let long = "n".repeat(256);
    for line in [format!("{long} f=1"), format!("m,{long}=a f=1"), format!("m {long}=1")] {
        let decoded = decode_all(line.as_bytes(), &rules(catalog(), Precision::Nanosecond));
        assert!(decoded.errors[0].error_message.ends_with("has 256 bytes, more than 255"));
        assert_eq!(decoded.errors[0].original_line.chars().count(), 80);
        assert!(decoded.tables.is_empty());
    }
    check("m\u{1} f=1", &["1: the name of the table \"m\\u{1}\" holds a control character"]);
}

#[test]
fn a_line_that_fails_leaves_no_trace() {
    // The tag `a`, the field `b` and the table `n` are only in lines that fail.
    check(
        "m,a=1 f=1i,b=x 1\nm f=2i 2\nm a=3i 3\nm,b=4 f=4i 4\nn f=x",
        &[
            "m{}f=i2@2",
            "m{}a=i3@3",
            "m{b=4}f=i4@4",
            "1: field \"b\" has the value \"x\", which is no number, boolean, or quoted text",
            "5: field \"f\" has the value \"x\", which is no number, boolean, or quoted text",
        ],
    );
    // The first field of the line is taken back with the second.
    check(
        "m f=1i,g=1i 1\nm f=2i,g=2 2\nm g=3i 3\nm f=4i 4",
        &[
            "m{}f=i1,g=i1@1",
            "m{}g=i3@3",
            "m{}f=i4@4",
            "2: field \"g\" of table \"m\" is an integer, the line has a float",
        ],
    );
}

#[test]
fn a_quote_that_never_closes_spoils_its_line_only() {
    check(
        "m f=\"open 1\nm f=2i 2\nm f=3i 3",
        &["m{}f=i2@2", "m{}f=i3@3", "1: the text of field \"f\" has no closing quote"],
    );
}

#[test]
fn bytes_that_are_not_utf8_spoil_their_line_only() {
    let decoded =
        decode_all(b"m,a=\xff f=1i 1\nm f=2i 2", &rules(catalog(), Precision::Nanosecond));
    assert_eq!(decoded.errors[0].error_message, "the line is not valid UTF-8");
    assert_eq!(points(decoded).len(), 1);
}

#[test]
fn a_refused_table_takes_what_fits() {
    let mut rules = rules(catalog(), Precision::Nanosecond);
    rules.refused.insert("cpu".to_owned(), "it is full".to_owned());
    check_with(
        "cpu,host=a usage=1 1\ncpu,host=a,rack=b usage=1 1\ncpu,host=a more=1 1",
        &rules,
        &[
            "cpu{host=a}usage=f3ff0000000000000@1",
            "2: table \"cpu\" cannot take new columns: it is full",
            "3: table \"cpu\" cannot take new columns: it is full",
        ],
    );
}

#[test]
fn chunks_end_at_lines_and_miss_none() {
    let line = |i: i64| format!("m,t={} f={i}i,g=\"a\nb\" {i}\n", i % 7);
    let body = (0..100).map(line).collect::<Vec<_>>().concat();
    let mut rules = rules(catalog(), Precision::Nanosecond);
    for chunk_bytes in [1, 10, 100, 1000] {
        rules.chunk_bytes = chunk_bytes;
        let (mut place, mut found) = (Place::START, Vec::new());
        while place.byte < body.len() {
            let decoded = decode(body.as_bytes(), place, &rules);
            assert!(decoded.end.byte > place.byte);
            place = decoded.end;
            found.extend(points(decoded));
        }
        assert_eq!(place.line, 201);
        assert_eq!(found.iter().map(|p| p.time).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }
}

/// What InfluxDB's parser makes of one line; `None` if it refuses it.
fn reference(line: &str) -> Option<Vec<Point>> {
    let mut points = Vec::new();
    for parsed in parse_lines(line) {
        let parsed = parsed.ok()?;
        let tags = parsed.series.tag_set.iter().flatten();
        let value = |v: &FieldValue<'_>| match v {
            FieldValue::I64(v) => format!("i{v}"),
            FieldValue::U64(v) => format!("u{v}"),
            FieldValue::F64(v) => format!("f{:016x}", v.to_bits()),
            FieldValue::String(v) => format!("s{v}"),
            FieldValue::Boolean(v) => format!("b{v}"),
        };
        points.push(Point {
            table: parsed.series.measurement.to_string(),
            tags: tags.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            fields: parsed.field_set.iter().map(|(k, v)| (k.to_string(), value(v))).collect(),
            time: parsed.timestamp.unwrap_or(NOW),
        });
    }
    Some(points)
}

/// Reasons for which we refuse what InfluxDB's parser takes.
fn stricter(message: &str) -> bool {
    [
        "empty name",
        "not escaped",
        "has no value: name=value",
        "twice",
        "of a double",
        "called \"time\"",
        "cannot be a",
        "control character",
        "the line has",
        "cannot carry",
        "ends with a backslash",
    ]
    .iter()
    .any(|reason| message.contains(reason))
}

fn compare(body: &str) -> Result<(), TestCaseError> {
    let decoded = decode_all(body.as_bytes(), &rules(Catalog::default(), Precision::Nanosecond));
    let refused = decoded.errors.first().map(|e| e.error_message.clone());
    let mine = points(decoded);
    match (reference(body), refused) {
        (Some(want), None) => {
            // Tables are listed one after another here.
            let mut want = want;
            let mut mine = mine;
            let key = |p: &Point| format!("{p:?}");
            want.sort_by_key(key);
            mine.sort_by_key(key);
            prop_assert_eq!(mine, want);
        }
        (Some(_), Some(message)) => {
            prop_assert!(stricter(&message), "only we refuse it: {}", message);
        }
        (None, None) => {
            let lenient = body.contains("=,")
                || body.contains("= ")
                || body.lines().any(|l| l.ends_with([' ', '\t', '\r']))
                || body.ends_with(' ');
            prop_assert!(lenient, "only we accept it: {:?}", mine);
        }
        (None, Some(_)) => {}
    }
    Ok(())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]{1,2}",
        1 => r#"(a|é|\\ |\\,|\\=|\\\\x|\\x|"|'|#){1,4}"#,
    ]
}

fn field_value() -> impl Strategy<Value = String> {
    prop_oneof![
        "-?[0-9]{1,25}(\\.[0-9]{1,25})?([eE][+-]?[0-9]{1,2})?",
        "-?[0-9]{1,20}i",
        "[0-9]{1,21}u",
        "t|T|true|True|TRUE|f|F|false|False|FALSE",
        r#""([a-z ,=\n]|\\"|\\\\|\\n|é){0,8}""#,
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f}")),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
        any::<i64>().prop_map(|i| format!("{i}i")),
    ]
}

prop_compose! {
    fn line()(
        measurement in name(),
        tags in prop::collection::btree_map(name(), name(), 0..4),
        fields in prop::collection::btree_map(name(), field_value(), 1..5),
        time in prop::option::of(any::<i64>()),
    ) -> String {
        let tags = tags.iter().map(|(k, v)| format!(",{k}={v}")).collect::<Vec<_>>().concat();
        let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let time = time.map_or_else(String::new, |t| format!(" {t}"));
        format!("{measurement}{tags} {}{time}", fields.join(","))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8 * ProptestConfig::default().cases))]

    #[test]
    fn well_formed_lines_decode_as_with_influxdbs_parser(line in line()) {
        compare(&line)?;
    }

    #[test]
    fn bodies_decode_as_with_influxdbs_parser(lines in prop::collection::vec(line(), 1..6)) {
        compare(&lines.join("\n"))?;
    }

    #[test]
    fn broken_lines_decode_as_with_influxdbs_parser(
        line in line(),
        at in any::<prop::sample::Index>(),
        broken in "[ ,=\"\\\\a1\\.\t-]{0,2}",
        cut in 0_usize..3,
    ) {
        let chars: Vec<char> = line.chars().collect();
        let at = at.index(chars.len());
        let end = (at + cut).min(chars.len());
        let line: String = chars[..at].iter().chain(broken.chars().collect::<Vec<_>>().iter()).chain(&chars[end..]).collect();
        compare(&line)?;
    }

    #[test]
    fn any_bytes_are_decoded_without_a_panic(body in prop::collection::vec(prop_oneof![
        3 => prop::sample::select(&b" ,=\"\\\nabt1-.ei#\r\t"[..]), 1 => any::<u8>()], 0..200)) {
        let decoded = decode_all(&body, &rules(catalog(), Precision::Auto));
        prop_assert_eq!(decoded.end.byte, body.len());
        points(decoded);
    }
}

#[test]
fn names_of_every_length_are_compared_whole() {
    let name: Vec<u8> = (0..40).collect();
    for len in 0..=name.len() {
        assert!(is_same(&name[..len], &name[..len]));
        for at in 0..len {
            let mut other = name[..len].to_vec();
            other[at] = 0xFF;
            assert!(!is_same(&name[..len], &other), "byte {at} of {len}");
        }
    }
}

#[test]
fn integers_are_read_to_their_bounds() {
    for (digits, want) in [
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("9999999999999999999", None),
        ("-9223372036854775808", Some(i64::MIN)),
        ("-9223372036854775809", None),
        ("18446744073709551616", None),
        ("0000000000000000000000042", Some(42)),
        ("-1700000000000000001", Some(-1_700_000_000_000_000_001)),
        ("-", None),
        ("1a", None),
    ] {
        assert_eq!(integer(digits.as_bytes()), want, "{digits}");
    }
}
