//! What Tab offers, given the names that there are.
//!
//! The statement under the cursor is read as words, names and signs, not parsed: it is unfinished. The word before the
//! cursor tells whether a table, a database, a column or anything of an expression may stand there; the tables that the
//! whole statement names, also behind the cursor, tell which columns.

use super::command;
use super::keywords::{CLAUSES, SETTINGS, SHOWN, STATEMENTS, is_reserved};
use super::statements::{self, Kind, Piece};

/// The names that there are.
pub(super) trait Names {
    /// Databases.
    fn databases(&self) -> Vec<String>;
    /// Tables and views of a schema of the session's database.
    fn tables(&self, schema: &str) -> Vec<String>;
    /// Columns of a table, which is named by one to three parts.
    fn columns(&self, table: &[String]) -> Vec<String>;
    /// Functions.
    fn functions(&self) -> Vec<String>;
}

/// What may stand before the cursor.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// One of these words, from this place on.
    Words(usize, Vec<String>),
    /// A file, whose path begins at this place.
    File(usize),
}

/// Schemas besides `public`.
const SCHEMAS: [&str; 2] = ["information_schema", "system"];

/// What may stand at a place of the input.
pub(super) fn complete(line: &str, at: usize, names: &impl Names) -> Completion {
    let before = line.get(..at).unwrap_or_default();
    let cut = statements::cut(before);
    if !cut.rest_is_statement && before.trim_start().starts_with('\\') && !before.contains('\n') {
        return of_command(before, names);
    }
    let start = at - cut.rest.len();
    let rest = line.get(start..).unwrap_or_default();
    let statement = Statement::read(cut.rest, rest);
    let (length, words) = statement.complete(names);
    Completion::Words(at - length, words)
}

/// What may stand in a command.
fn of_command(before: &str, names: &impl Names) -> Completion {
    let line = before.trim_start();
    let Some((name, argument)) = line.split_once(char::is_whitespace) else {
        let known = command::NAMES.iter().filter(|name| name.starts_with(line));
        return Completion::Words(
            before.len() - line.len(),
            known.map(|&n| n.to_owned()).collect(),
        );
    };
    let argument = argument.trim_start();
    let fixed = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
    let words = match name {
        "\\i" | "\\o" => return Completion::File(before.len() - argument.len()),
        "\\c" => matching(names.databases(), argument),
        "\\d" => matching(names.tables("public"), argument),
        "\\x" | "\\timing" => starting(fixed(&["on", "off"]), argument),
        "\\format" => starting(fixed(&["table", "csv", "json", "ndjson", "arrow"]), argument),
        "\\pset" => starting(fixed(&["pager on", "pager off"]), argument),
        _ => Vec::new(),
    };
    Completion::Words(before.len() - argument.len(), words)
}

/// A statement that is being written.
struct Statement<'a> {
    /// Pieces before the word at the cursor.
    before: Vec<Piece<'a>>,
    /// The word at the cursor, as far as it is written.
    prefix: &'a str,
    /// Whether the cursor is inside a text or a comment.
    literal: bool,
    /// Tables that the whole statement names.
    tables: Vec<Named>,
}

/// A table of a statement.
struct Named {
    parts: Vec<String>,
    alias: Option<String>,
}

impl<'a> Statement<'a> {
    /// Reads a statement: what stands before the cursor, and all that follows the last semicolon.
    fn read(before: &'a str, all: &str) -> Self {
        let mut pieces = statements::pieces(before);
        let last = pieces.last().copied();
        let (prefix, literal) = match last {
            Some(Piece { kind: Kind::Word, text }) => (text, false),
            Some(Piece { kind: Kind::Name, text }) if !is_closed(text) => (text, false),
            Some(Piece { kind: Kind::Text, .. }) => ("", true),
            Some(Piece { kind: Kind::Comment, text }) => ("", !text.ends_with("*/")),
            _ => ("", false),
        };
        if !prefix.is_empty() {
            pieces.pop();
        }
        pieces.retain(Piece::is_code);
        let mut whole = statements::pieces(all);
        whole.retain(Piece::is_code);
        let end = whole.iter().position(|piece| piece.text == ";").unwrap_or(whole.len());
        whole.truncate(end);
        Self { before: pieces, prefix, literal, tables: tables(&whole) }
    }

    /// How much of the text is replaced, and by what.
    fn complete(&self, names: &impl Names) -> (usize, Vec<String>) {
        let length = self.prefix.len();
        if self.literal {
            return (length, Vec::new());
        }
        if self.before.last().is_some_and(|piece| piece.text == ".") {
            return (length, matching(self.behind_dot(names), self.prefix));
        }
        let last = self.before.last().map(|piece| piece.text.to_ascii_uppercase());
        let words = match self.place(last.as_deref()) {
            Place::Begin => keywords(STATEMENTS, self.prefix),
            Place::Setting => {
                let shown = if self.says(0, "SHOW") { SHOWN } else { &[] };
                let mut words = keywords(shown, self.prefix);
                words.extend(starting(
                    SETTINGS.iter().map(|name| name.to_lowercase()).collect(),
                    &self.prefix.to_lowercase(),
                ));
                words
            }
            Place::Database => matching(names.databases(), self.prefix),
            Place::Table => {
                let mut words = matching(names.tables("public"), self.prefix);
                words.extend(matching(SCHEMAS.map(str::to_owned).to_vec(), self.prefix));
                words
            }
            Place::Expression => self.expression(names),
        };
        (length, words)
    }

    fn place(&self, last: Option<&str>) -> Place {
        let Some(last) = last else { return Place::Begin };
        let shows = self.says(0, "SHOW");
        match last {
            "SHOW" | "SET" | "RESET" if self.before.len() == 1 => Place::Setting,
            "USE" | "DATABASE" => Place::Database,
            "FROM" if shows && self.before.len() == 3 && self.says(1, "TABLES") => Place::Database,
            "FROM" | "JOIN" | "INTO" | "UPDATE" | "TABLE" | "DESCRIBE" | "VIEW" | "TRUNCATE" => {
                Place::Table
            }
            "DESC" if self.before.len() == 1 => Place::Table,
            "," if clause(&self.before) == Some("FROM") => Place::Table,
            "EXPLAIN" | "ANALYZE" | "VERBOSE" => Place::Begin,
            _ => Place::Expression,
        }
    }

    fn says(&self, n: usize, word: &str) -> bool {
        self.before.get(n).is_some_and(|piece| piece.text.eq_ignore_ascii_case(word))
    }

    /// Columns of the table, or tables of the schema, whose name ends before the dot.
    fn behind_dot(&self, names: &impl Names) -> Vec<String> {
        let mut parts = Vec::new();
        let mut rest = self.before.as_slice();
        while let [head @ .., name, Piece { text: ".", .. }] = rest
            && let Some(part) = plain(name)
        {
            parts.insert(0, part);
            rest = head;
        }
        let known = self.tables.iter().find(|table| {
            let alias = table.alias.as_ref().or(table.parts.last());
            table.parts == parts || (parts.len() == 1 && alias == parts.first())
        });
        match (known, parts.as_slice()) {
            (_, [schema]) if SCHEMAS.contains(&schema.as_str()) || schema == "public" => {
                names.tables(schema)
            }
            (Some(table), _) => names.columns(&table.parts),
            (None, parts) => names.columns(parts),
        }
    }

    /// Columns, what the tables are called, functions, keywords.
    fn expression(&self, names: &impl Names) -> Vec<String> {
        let mut words = Vec::new();
        for table in &self.tables {
            words.extend(names.columns(&table.parts));
        }
        for table in &self.tables {
            words.extend(table.alias.as_ref().or(table.parts.last()).cloned());
        }
        let mut words = matching(words, self.prefix);
        if self.prefix.starts_with('"') {
            return words;
        }
        // Without a letter of them there are too many.
        if !self.prefix.is_empty() {
            let functions = starting(names.functions(), &self.prefix.to_lowercase());
            words.extend(functions.into_iter().map(|name| format!("{name}(")));
        }
        words.extend(keywords(CLAUSES, self.prefix));
        words
    }
}

/// What may stand at the cursor.
enum Place {
    Begin,
    Setting,
    Database,
    Table,
    Expression,
}

/// The clause that the pieces end in, as far as it tells names of tables from others.
fn clause(pieces: &[Piece<'_>]) -> Option<&'static str> {
    const CLAUSES: [&str; 9] =
        ["FROM", "SELECT", "WHERE", "BY", "HAVING", "VALUES", "SET", "ON", "INTO"];
    let name = |piece: &Piece<'_>| {
        CLAUSES.into_iter().find(|clause| piece.text.eq_ignore_ascii_case(clause))
    };
    pieces.iter().rev().find_map(name)
}

/// The tables that a statement names.
fn tables(pieces: &[Piece<'_>]) -> Vec<Named> {
    const BEFORE_TABLE: [&str; 7] =
        ["FROM", "JOIN", "INTO", "UPDATE", "TABLE", "DESCRIBE", "TRUNCATE"];
    let mut found = Vec::new();
    for (n, piece) in pieces.iter().enumerate() {
        let begins = BEFORE_TABLE.iter().any(|word| piece.text.eq_ignore_ascii_case(word))
            || (piece.text == "," && clause(pieces.get(..n).unwrap_or_default()) == Some("FROM"));
        if begins && let Some(named) = named(pieces.get(n + 1..).unwrap_or_default()) {
            found.push(named);
        }
    }
    found
}

/// The table that pieces begin with: its name, and what it is called.
fn named(pieces: &[Piece<'_>]) -> Option<Named> {
    let mut rest = pieces.iter().peekable();
    let mut parts = vec![rest.next().and_then(plain)?];
    while rest.next_if(|piece| piece.text == ".").is_some() {
        parts.extend(rest.next().and_then(plain));
    }
    rest.next_if(|piece| piece.text.eq_ignore_ascii_case("AS"));
    let alias = rest.next().and_then(plain);
    Some(Named { parts, alias })
}

/// A name as the catalog has it; keywords are none.
fn plain(piece: &Piece<'_>) -> Option<String> {
    match piece.kind {
        Kind::Word => {
            let word = piece.text.to_lowercase();
            (!is_reserved(&word)).then_some(word)
        }
        Kind::Name if is_closed(piece.text) => {
            let inner = piece.text.get(1..piece.text.len() - 1)?;
            Some(inner.replace("\"\"", "\""))
        }
        _ => None,
    }
}

/// Whether a quoted name has its closing quote.
fn is_closed(name: &str) -> bool {
    name.len() > 1 && name.ends_with('"')
}

/// Names that begin with what is written, as SQL writes them. Capitals are looked for in small letters, too.
fn matching(names: Vec<String>, prefix: &str) -> Vec<String> {
    let wanted = prefix.strip_prefix('"').unwrap_or(prefix).to_lowercase();
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let quoted = if prefix.starts_with('"') { always_quoted(&name) } else { quote(&name) };
        if name.to_lowercase().starts_with(&wanted) && !found.contains(&quoted) {
            found.push(quoted);
        }
    }
    found
}

fn starting(words: Vec<String>, prefix: &str) -> Vec<String> {
    words.into_iter().filter(|word| word.starts_with(prefix)).collect()
}

/// Keywords that begin with what is written, in its letters.
fn keywords(words: &[&str], prefix: &str) -> Vec<String> {
    let upper = prefix.to_ascii_uppercase();
    let small = prefix.starts_with(|c: char| c.is_ascii_lowercase());
    let found = words.iter().filter(|word| word.starts_with(&upper));
    found.map(|word| if small { word.to_ascii_lowercase() } else { (*word).to_owned() }).collect()
}

/// A name as SQL writes it.
fn quote(name: &str) -> String {
    let bare = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if bare && !is_reserved(name) { name.to_owned() } else { always_quoted(name) }
}

fn always_quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
#[path = "completion_tests.rs"]
mod tests;
