//! What Tab offers, with names that are given.

use super::*;

/// A database with the tables `cpu` and `My Disk`.
struct Given;

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

impl Names for Given {
    fn databases(&self) -> Vec<String> {
        texts(&["Lab", "main"])
    }

    fn tables(&self, schema: &str) -> Vec<String> {
        match schema {
            "public" => texts(&["My Disk", "cpu", "order"]),
            "system" => texts(&["queries", "tables"]),
            _ => Vec::new(),
        }
    }

    fn columns(&self, table: &[String]) -> Vec<String> {
        match table.last().map(String::as_str) {
            Some("cpu") => texts(&["time", "host", "Usage User", "usage"]),
            Some("My Disk") => texts(&["time", "used"]),
            _ => Vec::new(),
        }
    }

    fn functions(&self) -> Vec<String> {
        texts(&["date_bin", "date_trunc", "upper"])
    }
}

/// The words for the place of `|`, and what they replace.
fn words(line: &str) -> (String, Vec<String>) {
    let at = line.find('|').unwrap();
    let line = line.replacen('|', "", 1);
    match complete(&line, at, &Given) {
        Completion::Words(start, words) => (line.get(start..at).unwrap().to_owned(), words),
        Completion::File(_) => panic!("{line}: a file"),
    }
}

#[track_caller]
fn check(line: &str, replaces: &str, want: &[&str]) {
    assert_eq!(words(line), (replaces.to_owned(), texts(want)), "{line}");
}

#[track_caller]
fn check_has(line: &str, want: &str) {
    let (_, words) = words(line);
    assert!(words.iter().any(|word| word == want), "{line}: {words:?}");
}

#[track_caller]
fn check_lacks(line: &str, unwanted: &str) {
    let (_, words) = words(line);
    assert!(!words.iter().any(|word| word == unwanted), "{line}: {words:?}");
}

#[test]
fn a_statement_begins_with_a_verb_in_the_letters_of_the_user() {
    check("sel|", "sel", &["select"]);
    check("SELECT 1; Up|", "Up", &["UPDATE"]);
    check("EXPLAIN sel|", "sel", &["select"]);
    check_lacks("|", "WHERE");
}

#[test]
fn tables_follow_the_words_that_take_them() {
    check("SELECT * FROM c|", "c", &["cpu"]);
    check("SELECT * FROM cpu, m|", "m", &["\"My Disk\""]);
    check("SELECT * FROM cpu JOIN s|", "s", &["system"]);
    check("INSERT INTO c|", "c", &["cpu"]);
    check("drop table o|", "o", &["\"order\""]);
    check("DESC c|", "c", &["cpu"]);
    check_has("SELECT * FROM cpu ORDER BY time DESC L|", "LIMIT");
}

#[test]
fn columns_are_those_of_the_tables_of_the_statement() {
    check_has("SELECT us| FROM cpu", "usage");
    check_has("SELECT us| FROM cpu", "\"Usage User\"");
    check_lacks("SELECT us| FROM cpu", "used");
    check_lacks("SELECT us|; SELECT * FROM cpu", "usage");
    check_has("SELECT us| FROM cpu JOIN \"My Disk\" ON true", "used");
    check_has("UPDATE cpu SET u|", "usage");
    check_has("INSERT INTO cpu (h|", "host");
    check_has("SELECT ho| FROM main.public.cpu", "host");
}

#[test]
fn a_dot_asks_for_what_is_inside() {
    check("SELECT c.us| FROM cpu AS c", "us", &["\"Usage User\"", "usage"]);
    check("SELECT cpu.h| FROM cpu", "h", &["host"]);
    check("SELECT d.| FROM cpu c, \"My Disk\" d", "", &["time", "used"]);
    check("SELECT * FROM system.q|", "q", &["queries"]);
}

#[test]
fn names_that_need_quotes_come_quoted() {
    check("SELECT * FROM \"my|", "\"my", &["\"My Disk\""]);
    check("SELECT * FROM \"c|", "\"c", &["\"cpu\""]);
    check("USE l|", "l", &["\"Lab\""]);
    assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    assert_eq!(quote("größe"), "\"größe\"");
    assert_eq!(quote("2nd"), "\"2nd\"");
}

#[test]
fn functions_come_with_their_parenthesis() {
    check_has("SELECT DATE_|", "date_bin(");
    check_lacks("SELECT |", "date_bin(");
}

#[test]
fn texts_and_comments_are_left_alone() {
    check("SELECT 'sel|", "", &[]);
    check("SELECT 1 -- sel|", "", &[]);
    check("SELECT /* sel|", "", &[]);
    check_has("SELECT 1 /* done */ FR|", "FROM");
}

#[test]
fn databases_follow_use_and_connect() {
    check("USE m|", "m", &["main"]);
    check("DROP DATABASE m|", "m", &["main"]);
    check("SHOW TABLES FROM m|", "m", &["main"]);
    check("\\c l|", "l", &["\"Lab\""]);
}

#[test]
fn settings_follow_show_and_set() {
    check("SHOW D|", "D", &["DATABASES", "database"]);
    check("set t|", "t", &["timezone"]);
    check_lacks("RESET |", "DATABASES");
    check_has("UPDATE cpu SET us|", "usage");
}

#[test]
fn commands_are_completed_with_their_arguments() {
    check("\\ti|", "\\ti", &["\\timing"]);
    check("\\d c|", "c", &["cpu"]);
    check("\\timing o|", "o", &["on", "off"]);
    check("\\format nd|", "nd", &["ndjson"]);
    check("\\pset p|", "p", &["pager on", "pager off"]);
    assert_eq!(complete("\\i x", 4, &Given), Completion::File(3));
}

#[test]
fn cursors_between_letters_of_other_alphabets_are_survived() {
    check("SELECT 'größe', us| FROM nothing", "us", &["using"]);
}
