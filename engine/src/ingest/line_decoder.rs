//! Line protocol to columns: the hot path of HTTP writes.
//!
//! [`decode`] reads one chunk of a body. Per line it looks the bytes of the series (measurement and tags) up as they
//! stand: a series that was seen in the chunk costs one hash and one comparison, its tags are not parsed again. Fields
//! are expected in the order of the line before, so a name costs one comparison, too. Values go straight to typed
//! columns ([`FieldColumn`]).
//!
//! ```text
//! cpu,host=a,region=eu usage=1.5,idle=98i 1700000000000000000
//! └── looked up ─────┘ └ position 0 ┘└ 1 ┘
//! ```
//!
//! A line that fails leaves no trace: everything that it added stands at the end of some list and is cut off again.
//! Types are those of the catalog; a field that the catalog lacks has the type of the first line that has it.
//!
//! Invariants: every table in the result has a row; every series, tag and new field in it is used by a row.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use quorate_storage::catalog::{Catalog, Database, Table};
use quorate_storage::{ColumnKind, FieldType};

use super::hash::BytesHash;
use super::line_columns::{FieldColumn, Values};
use super::line_syntax::{
    LineProblem, Value, ValueProblem, integer, line_end, scan_to, series_end, shown, unescape,
    unescape_text, value, value_end,
};
use super::{LineError, Precision};

/// Bytes of a body after which a chunk ends, at the end of the line: the first version of the rule. A retry under an
/// idempotency key must cut its bytes alike, so another rule would need another version in the key.
pub(super) const CHUNK_BYTES: usize = 8 << 20;
/// Values, missing ones included, after which a chunk ends likewise: what a chunk costs in memory.
const CHUNK_CELLS: usize = 16 << 20;
/// Bad lines of a chunk that are listed; all are counted.
const ERRORS_LISTED: usize = 10_000;
/// Bytes of a name; the metadata group checks the same limit.
const NAME_BYTES_MAX: usize = 255;

/// What a chunk is decoded against.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// The catalog.
    pub(super) catalog: Arc<Catalog>,
    /// The database that is written to.
    pub(super) database: String,
    /// Unit of the timestamps.
    pub(super) precision: Precision,
    /// Time of lines that have none, ns.
    pub(super) now: i64,
    /// Tables that the catalog would not give new columns, and why.
    pub(super) refused: HashMap<String, String>,
    /// Bytes after which the chunk ends.
    pub(super) chunk_bytes: usize,
    /// Whether the whole body is valid UTF-8, so that lines need not be looked at.
    pub(super) valid_utf8: bool,
}

/// Where a chunk begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its first byte.
    pub(super) byte: usize,
    /// The number of its first line, from 1.
    pub(super) line: u64,
}

impl Place {
    /// The first byte and line.
    pub(super) const START: Self = Self { byte: 0, line: 1 };
}

/// What a chunk holds.
#[derive(Debug)]
pub(super) struct Decoded {
    /// Tables with rows.
    pub(super) tables: Vec<DecodedTable>,
    /// Bad lines, the first ones of them.
    pub(super) errors: Vec<LineError>,
    /// How many lines are bad.
    pub(super) errors_total: u64,
    /// Whether a line had no timestamp.
    pub(super) untimed: bool,
    /// Where the next chunk begins.
    pub(super) end: Place,
    /// Whether the chunk ended for its number of values, not its bytes.
    pub(super) cells_exceeded: bool,
}

/// Rows of one table, by names.
#[derive(Debug)]
pub(super) struct DecodedTable {
    /// Its name.
    pub(super) name: String,
    /// Names of the tags that occur.
    pub(super) tags: Vec<String>,
    /// Per series as written: which tag, and where in `text` its value is.
    pub(super) series: Vec<Vec<(usize, Range<usize>)>>,
    /// Values of the tags.
    pub(super) text: String,
    /// Per row, its series.
    pub(super) series_of_row: Vec<u32>,
    /// Per row, its time in ns.
    pub(super) times: Vec<i64>,
    /// The fields; shorter than the rows where the last rows lack them.
    pub(super) fields: Vec<FieldColumn>,
}

/// Decodes one chunk of `body`.
pub(super) fn decode(body: &[u8], from: Place, rules: &Rules) -> Decoded {
    Decoder::new(body, from, rules).run()
}

/// A table under construction, and what finds its parts.
struct Building<'a> {
    decoded: DecodedTable,
    /// The table's record, if there is one.
    known: Option<&'a Arc<Table>>,
    /// Fields by name.
    by_name: HashMap<String, usize>,
    /// Fields by their spelling in the lines.
    by_spelling: HashMap<&'a [u8], usize, BytesHash>,
    /// The fields of the line before, in its order.
    layout: Vec<usize>,
}

/// A series of the chunk.
#[derive(Clone, Copy)]
struct SeriesPlace {
    table: usize,
    series: u32,
}

/// Lengths to go back to when a line fails.
struct Mark {
    tables: usize,
    tags: usize,
    series: usize,
    text: usize,
}

struct Decoder<'a> {
    body: &'a [u8],
    from: Place,
    rules: &'a Rules,
    database: Option<&'a Arc<Database>>,
    tables: Vec<Building<'a>>,
    tables_by_name: HashMap<String, usize>,
    series: HashMap<&'a [u8], SeriesPlace, BytesHash>,
    errors: Vec<LineError>,
    errors_total: u64,
    untimed: bool,
}

impl<'a> Decoder<'a> {
    fn new(body: &'a [u8], from: Place, rules: &'a Rules) -> Self {
        Self {
            body,
            from,
            rules,
            database: rules.catalog.database(&rules.database),
            tables: Vec::new(),
            tables_by_name: HashMap::new(),
            series: HashMap::default(),
            errors: Vec::new(),
            errors_total: 0,
            untimed: false,
        }
    }

    fn run(mut self) -> Decoded {
        let mut at = self.from;
        let mut cells_exceeded = false;
        while at.byte < self.body.len() {
            let found = line_end(self.body, at.byte);
            let line = &self.body[at.byte..found.end];
            match self.line(line) {
                Ok(None) => {}
                Ok(Some(table)) => cells_exceeded = self.tables[table].cells() >= CHUNK_CELLS,
                Err(problem) => self.reject(at.line, line, &problem),
            }
            at = Place { byte: found.next, line: at.line + 1 + found.feeds };
            if cells_exceeded || at.byte - self.from.byte >= self.rules.chunk_bytes {
                break;
            }
        }
        Decoded {
            tables: self.tables.into_iter().map(|t| t.decoded).collect(),
            errors: self.errors,
            errors_total: self.errors_total,
            untimed: self.untimed,
            end: at,
            cells_exceeded,
        }
    }

    fn reject(&mut self, number: u64, line: &[u8], problem: &LineProblem) {
        self.errors_total += 1;
        if self.errors.len() < ERRORS_LISTED {
            let start = line.iter().position(|b| !is_blank(*b)).unwrap_or(0);
            self.errors.push(LineError {
                line_number: number,
                error_message: problem.to_string(),
                original_line: shown(&line[start..]),
            });
        }
    }

    /// Decodes one line; the table that got a row, if one did.
    fn line(&mut self, line: &'a [u8]) -> Result<Option<usize>, LineProblem> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let blanks = line.iter().take_while(|b| is_blank(**b)).count();
        let line = &line[blanks..];
        if line.is_empty() || line[0] == b'#' {
            return Ok(None);
        }
        if !self.rules.valid_utf8 && std::str::from_utf8(line).is_err() {
            return Err(LineProblem::NotUtf8);
        }
        let (raw, rest) = line.split_at(series_end(line));
        if let Some(place) = self.series.get(raw).copied() {
            return match self.row(place, rest) {
                Ok(()) => Ok(Some(place.table)),
                Err(problem) => {
                    self.tables[place.table].roll_back();
                    Err(problem)
                }
            };
        }
        self.first_line_of_series(raw, rest).map(Some)
    }

    fn first_line_of_series(
        &mut self,
        raw: &'a [u8],
        rest: &'a [u8],
    ) -> Result<usize, LineProblem> {
        let (measurement, tags) = parse_series(raw)?;
        let tables = self.tables.len();
        let table = self.table(measurement)?;
        let mark = self.tables[table].mark(tables);
        let added = self.tables[table].add_series(self.rules, tags);
        let added = added.and_then(|series| {
            let place = SeriesPlace { table, series };
            self.row(place, rest).map(|()| place)
        });
        match added {
            Ok(place) => {
                self.series.insert(raw, place);
                Ok(table)
            }
            Err(problem) => {
                self.tables[table].forget(&mark);
                if table >= mark.tables {
                    let gone = self.tables.pop().expect("the table was added for this line");
                    self.tables_by_name.remove(&gone.decoded.name);
                }
                Err(problem)
            }
        }
    }

    fn table(&mut self, name: String) -> Result<usize, LineProblem> {
        if let Some(at) = self.tables_by_name.get(&name) {
            return Ok(*at);
        }
        let known = self
            .database
            .and_then(|d| d.tables.get(&name))
            .and_then(|id| self.rules.catalog.tables.get(id));
        if known.is_none() {
            check_name("table", &name)?;
            if let Some(why) = self.rules.refused.get(&name) {
                return Err(LineProblem::Refused { table: name, why: why.clone() });
            }
        }
        self.tables.push(Building::new(name.clone(), known));
        self.tables_by_name.insert(name, self.tables.len() - 1);
        Ok(self.tables.len() - 1)
    }

    /// Appends the fields and the time of a line to its table.
    #[inline]
    fn row(&mut self, place: SeriesPlace, rest: &'a [u8]) -> Result<(), LineProblem> {
        let table = &mut self.tables[place.table];
        let mut at = rest.iter().take_while(|b| **b == b' ').count();
        if at == rest.len() {
            return Err(LineProblem::NoFields);
        }
        let mut position = 0;
        loop {
            at = table.field(self.rules, rest, at, position)?;
            position += 1;
            match rest.get(at) {
                Some(b',') => at += 1,
                None | Some(b' ') => break,
                Some(_) => return Err(LineProblem::AfterValue(shown(&rest[at..]))),
            }
        }
        let time = if let Some(time) = timestamp(rest, at)? {
            let precision = self.rules.precision;
            precision
                .to_nanos(time)
                .ok_or_else(|| LineProblem::TimeOutOfRange(format!("{time}{}", precision.unit())))?
        } else {
            self.untimed = true;
            self.rules.now
        };
        table.decoded.series_of_row.push(place.series);
        table.decoded.times.push(time);
        Ok(())
    }
}

impl<'a> Building<'a> {
    fn new(name: String, known: Option<&'a Arc<Table>>) -> Self {
        Self {
            decoded: DecodedTable {
                name,
                tags: Vec::new(),
                series: Vec::new(),
                text: String::new(),
                series_of_row: Vec::new(),
                times: Vec::new(),
                fields: Vec::new(),
            },
            known,
            by_name: HashMap::new(),
            by_spelling: HashMap::default(),
            layout: Vec::new(),
        }
    }

    fn cells(&self) -> usize {
        self.decoded.times.len() * (self.decoded.fields.len() + 2)
    }

    fn mark(&self, tables: usize) -> Mark {
        Mark {
            tables,
            tags: self.decoded.tags.len(),
            series: self.decoded.series.len(),
            text: self.decoded.text.len(),
        }
    }

    /// Takes back what the first line of a series added.
    fn forget(&mut self, mark: &Mark) {
        self.decoded.tags.truncate(mark.tags);
        self.decoded.series.truncate(mark.series);
        self.decoded.text.truncate(mark.text);
        self.roll_back();
    }

    /// Takes back the values of a row that failed, and the fields that it added.
    fn roll_back(&mut self) {
        let rows = self.decoded.times.len();
        self.decoded.fields.iter_mut().for_each(|field| field.truncate(rows));
        // A field that no row has stands at the end.
        while self.decoded.fields.pop_if(|field| field.len() == 0).is_some() {}
        let fields = self.decoded.fields.len();
        self.by_name.retain(|_, at| *at < fields);
        self.by_spelling.retain(|_, at| *at < fields);
        self.layout.retain(|at| *at < fields);
    }

    fn add_series(&mut self, rules: &Rules, tags: Vec<Tag<'_>>) -> Result<u32, LineProblem> {
        let mut series = Vec::with_capacity(tags.len());
        for (name, value) in tags {
            let at = match self.decoded.tags.iter().position(|t| *t == name) {
                Some(at) => at,
                None => self.add_tag(rules, &name)?,
            };
            if series.iter().any(|(tag, _)| *tag == at) {
                return Err(LineProblem::TagTwice(name.into_owned()));
            }
            let start = self.decoded.text.len();
            self.decoded.text.push_str(&value);
            series.push((at, start..self.decoded.text.len()));
        }
        self.decoded.series.push(series);
        Ok(u32::try_from(self.decoded.series.len() - 1).expect("fewer series than bytes of a body"))
    }

    fn add_tag(&mut self, rules: &Rules, name: &str) -> Result<usize, LineProblem> {
        let table = || self.decoded.name.clone();
        match self.known.and_then(|t| t.column(name)).map(|c| c.kind) {
            Some(ColumnKind::Tag) => {}
            Some(ColumnKind::Time) => {
                return Err(LineProblem::NamedTime { kind: "a tag", name: name.to_owned() });
            }
            Some(ColumnKind::Field(_)) => {
                return Err(LineProblem::TagIsField { table: table(), name: name.to_owned() });
            }
            None => {
                if name == "time" {
                    return Err(LineProblem::NamedTime { kind: "a tag", name: name.to_owned() });
                }
                check_name("tag", name)?;
                if self.by_name.contains_key(name) {
                    return Err(LineProblem::TagIsField { table: table(), name: name.to_owned() });
                }
                if let Some(why) = rules.refused.get(&self.decoded.name) {
                    return Err(LineProblem::Refused { table: table(), why: why.clone() });
                }
            }
        }
        self.decoded.tags.push(name.to_owned());
        Ok(self.decoded.tags.len() - 1)
    }

    /// Parses `name=value` at `at` and appends the value; where it ends.
    #[inline]
    fn field(
        &mut self,
        rules: &Rules,
        line: &'a [u8],
        at: usize,
        position: usize,
    ) -> Result<usize, LineProblem> {
        let expected = self.layout.get(position).copied();
        let hit = expected.filter(|column| {
            let raw = &self.decoded.fields[*column].raw;
            let name = line.get(at..at + raw.len());
            name.is_some_and(|name| is_same(name, raw)) && line.get(at + raw.len()) == Some(&b'=')
        });
        if let Some(column) = hit {
            let at = at + self.decoded.fields[column].raw.len() + 1;
            let (value, end) = self.value(line, at, column)?;
            self.append(column, value)?;
            return Ok(end);
        }
        self.unexpected_field(rules, line, at, position)
    }

    /// As [`Building::field`], for a field that the line before had elsewhere, or not at all.
    fn unexpected_field(
        &mut self,
        rules: &Rules,
        line: &'a [u8],
        at: usize,
        position: usize,
    ) -> Result<usize, LineProblem> {
        let end = scan_to(line, at, |b| b == b'=' || b == b' ' || b == b'\t');
        let raw = &line[at..end];
        if line.get(end) != Some(&b'=') {
            return Err(match raw {
                [] => LineProblem::EmptyFieldName,
                _ => LineProblem::FieldWithoutValue(shown(raw)),
            });
        }
        let (column, value_end) = if let Some(column) = self.by_spelling.get(raw).copied() {
            let (value, value_end) = self.value(line, end + 1, column)?;
            self.append(column, value)?;
            (column, value_end)
        } else {
            let name = field_name(raw)?;
            let (value, value_end) =
                value(line, end + 1).map_err(|p| value_problem(p, &name, line, end + 1))?;
            let column = match self.by_name.get(&*name) {
                Some(column) => *column,
                None => self.add_field(rules, &name, raw, value)?,
            };
            self.by_spelling.insert(raw, column);
            self.append(column, value)?;
            (column, value_end)
        };
        if position < self.layout.len() {
            self.layout[position] = column;
        } else {
            self.layout.push(column);
        }
        Ok(value_end)
    }

    #[inline]
    fn value(
        &self,
        line: &'a [u8],
        at: usize,
        column: usize,
    ) -> Result<(Value<'a>, usize), LineProblem> {
        value(line, at).map_err(|p| value_problem(p, &self.decoded.fields[column].name, line, at))
    }

    fn add_field(
        &mut self,
        rules: &Rules,
        name: &str,
        raw: &'a [u8],
        value: Value<'_>,
    ) -> Result<usize, LineProblem> {
        let table = || self.decoded.name.clone();
        let mut values = empty(field_type(value));
        match self.known.and_then(|t| t.column(name)).map(|c| c.kind) {
            Some(ColumnKind::Field(FieldType::Timestamp)) => {
                return Err(LineProblem::TypeConflict {
                    table: table(),
                    field: name.to_owned(),
                    have: type_text(FieldType::Timestamp),
                    found: type_text(field_type(value)),
                });
            }
            // The type of the table, even if the first line has another one: that line fails.
            Some(ColumnKind::Field(known)) => values = empty(known),
            Some(ColumnKind::Tag) => {
                return Err(LineProblem::FieldIsTag { table: table(), name: name.to_owned() });
            }
            Some(ColumnKind::Time) => {
                return Err(LineProblem::NamedTime { kind: "a field", name: name.to_owned() });
            }
            None => {
                if name == "time" {
                    return Err(LineProblem::NamedTime { kind: "a field", name: name.to_owned() });
                }
                check_name("field", name)?;
                if self.decoded.tags.iter().any(|t| t == name) {
                    return Err(LineProblem::FieldIsTag { table: table(), name: name.to_owned() });
                }
                if let Some(why) = rules.refused.get(&self.decoded.name) {
                    return Err(LineProblem::Refused { table: table(), why: why.clone() });
                }
            }
        }
        self.decoded.fields.push(FieldColumn::new(name.to_owned(), raw, values));
        let column = self.decoded.fields.len() - 1;
        self.by_name.insert(name.to_owned(), column);
        Ok(column)
    }

    #[inline]
    fn append(&mut self, column: usize, value: Value<'_>) -> Result<(), LineProblem> {
        let row = self.decoded.times.len();
        let field = &mut self.decoded.fields[column];
        let len = field.len();
        if len > row {
            return Err(LineProblem::FieldTwice(field.name.clone()));
        }
        if field.field_type() != field_type(value) {
            return Err(LineProblem::TypeConflict {
                table: self.decoded.name.clone(),
                field: field.name.clone(),
                have: type_text(field.field_type()),
                found: type_text(field_type(value)),
            });
        }
        if len < row {
            field.pad(row);
        }
        match (&mut field.values, value) {
            (Values::Float(values), Value::Float(v)) => values.push(v),
            (Values::Integer(values), Value::Integer(v)) => values.push(v),
            (Values::Unsigned(values), Value::Unsigned(v)) => values.push(v),
            (Values::Boolean(values), Value::Boolean(v)) => values.push(v),
            (Values::Text { bytes, ends }, Value::Text(raw, escaped)) => {
                if escaped {
                    unescape_text(raw, bytes);
                } else {
                    bytes.extend_from_slice(raw);
                }
                ends.push(i32::try_from(bytes.len()).expect("a body is smaller than 2 GiB"));
            }
            _ => unreachable!("the types were compared above"),
        }
        Ok(())
    }
}

fn empty(field: FieldType) -> Values {
    match field {
        FieldType::Float64 => Values::Float(Vec::new()),
        FieldType::Int64 | FieldType::Timestamp => Values::Integer(Vec::new()),
        FieldType::UInt64 => Values::Unsigned(Vec::new()),
        FieldType::Boolean => Values::Boolean(Vec::new()),
        FieldType::Utf8 => Values::Text { bytes: Vec::new(), ends: Vec::new() },
    }
}

fn field_type(value: Value<'_>) -> FieldType {
    match value {
        Value::Float(_) => FieldType::Float64,
        Value::Integer(_) => FieldType::Int64,
        Value::Unsigned(_) => FieldType::UInt64,
        Value::Boolean(_) => FieldType::Boolean,
        Value::Text(..) => FieldType::Utf8,
    }
}

fn type_text(field: FieldType) -> &'static str {
    match field {
        FieldType::Float64 => "a float",
        FieldType::Int64 => "an integer",
        FieldType::UInt64 => "an unsigned integer",
        FieldType::Boolean => "a boolean",
        FieldType::Utf8 => "text",
        FieldType::Timestamp => "a timestamp, which line protocol cannot carry",
    }
}

/// Whether two names of the same length are equal. They are short: calling `memcmp` takes longer.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let word = |bytes: &[u8; 8]| u64::from_ne_bytes(*bytes);
    match (a.last_chunk(), b.last_chunk()) {
        (Some(a_end), Some(b_end)) => {
            let (a_words, b_words) = (a.as_chunks().0, b.as_chunks().0);
            word(a_end) == word(b_end)
                && a_words.iter().map(word).zip(b_words.iter().map(word)).all(|(a, b)| a == b)
        }
        _ => a.iter().eq(b),
    }
}

fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// A name and a value of a tag.
type Tag<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Splits `measurement,tag=value,…`; tags with an empty value are left out.
fn parse_series(raw: &[u8]) -> Result<(String, Vec<Tag<'_>>), LineProblem> {
    if scan_to(raw, 0, |b| b == b'\t') < raw.len() {
        return Err(LineProblem::Tab);
    }
    let end = scan_to(raw, 0, |b| b == b',');
    let measurement = unescape(&raw[..end], b",\\ ")?;
    if measurement.is_empty() {
        return Err(LineProblem::NoMeasurement);
    }
    let mut tags: Vec<Tag<'_>> = Vec::new();
    let mut at = end;
    while at < raw.len() {
        at += 1;
        let equals = scan_to(raw, at, |b| b == b'=' || b == b',');
        let name = unescape(&raw[at..equals], b"\\,= ")?;
        match raw.get(equals) {
            Some(b'=') if name.is_empty() => return Err(LineProblem::EmptyTagName),
            Some(b'=') => {}
            _ => return Err(LineProblem::TagWithoutValue(name.chars().take(80).collect())),
        }
        at = scan_to(raw, equals + 1, |b| b == b',');
        let value = unescape(&raw[equals + 1..at], b"\\,= ")?;
        if tags.iter().any(|(n, _)| *n == name) {
            return Err(LineProblem::TagTwice(name.into_owned()));
        }
        if !value.is_empty() {
            tags.push((name, value));
        }
    }
    Ok((measurement.into_owned(), tags))
}

fn field_name(raw: &[u8]) -> Result<Cow<'_, str>, LineProblem> {
    if scan_to(raw, 0, |b| b == b',') < raw.len() {
        return Err(LineProblem::CommaInName(shown(raw)));
    }
    let name = unescape(raw, b"\\,= ")?;
    if name.is_empty() { Err(LineProblem::EmptyFieldName) } else { Ok(name) }
}

fn value_problem(problem: ValueProblem, field: &str, line: &[u8], at: usize) -> LineProblem {
    let found = shown(&line[at..value_end(line, at)]);
    let field = field.to_owned();
    match problem {
        ValueProblem::OutOfRange(kind) => LineProblem::OutOfRange { field, value: found, kind },
        ValueProblem::NoClosingQuote => LineProblem::NoClosingQuote(field),
        ValueProblem::NotAValue if found.is_empty() => LineProblem::FieldWithoutValue(field),
        ValueProblem::NotAValue => {
            let bare = found.trim_start_matches(['+', '-']).to_ascii_lowercase();
            if matches!(bare.as_str(), "nan" | "inf" | "infinity") {
                LineProblem::NotFinite { field, value: found }
            } else {
                LineProblem::NotAValue { field, value: found }
            }
        }
    }
}

/// What follows the fields, `line[at]` being a space or the end: a timestamp, or nothing.
#[inline]
fn timestamp(line: &[u8], at: usize) -> Result<Option<i64>, LineProblem> {
    let blanks = line[at..].iter().take_while(|b| **b == b' ').count();
    let rest = &line[at + blanks..];
    if rest.is_empty() {
        return Ok(None);
    }
    let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(end);
    if !rest.iter().all(|b| *b == b' ') {
        return Err(LineProblem::AfterTimestamp(shown(rest.trim_ascii())));
    }
    let sign = usize::from(digits[0] == b'-');
    if digits.len() == sign || !digits[sign..].iter().all(u8::is_ascii_digit) {
        return Err(LineProblem::NotATimestamp(shown(digits)));
    }
    integer(digits).map(Some).ok_or_else(|| LineProblem::TimeOutOfRange(shown(digits)))
}

fn check_name(kind: &'static str, name: &str) -> Result<(), LineProblem> {
    if name.len() > NAME_BYTES_MAX {
        return Err(LineProblem::NameTooLong { kind, bytes: name.len(), max: NAME_BYTES_MAX });
    }
    if name.chars().any(char::is_control) {
        return Err(LineProblem::ControlCharacter { kind, name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
#[path = "line_decoder_tests.rs"]
mod tests;
