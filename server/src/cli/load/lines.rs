//! Line protocol: its lines in chunks, and the tables that they would make.
//!
//! A chunk ends where a line ends. A line end inside a text in quotes is part of its line, as the node reads it, too: such a
//! line is never cut. The lines themselves are for the node to read.

use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use influxdb_line_protocol::{FieldValue, parse_lines};

use super::chunk::{CHUNK_BYTES, CHUNK_ROWS};
use super::columns::{Column, Role, Sample, Type};
use super::plan::Plan;
use super::source::Source;

/// Longest line.
const LINE_BYTES_MAX: u64 = 8 << 20;

/// Some lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LineChunk {
    pub(super) bytes: Vec<u8>,
    /// The line that it begins with, from 1.
    pub(super) first_line: u64,
    /// Points, as far as one can tell without reading them.
    pub(super) points: u64,
}

/// The lines of a file, in chunks.
pub(super) struct Lines {
    source: Source,
    reader: Box<dyn BufRead + Send>,
    line: u64,
    ended: bool,
}

impl Lines {
    /// Opens a file.
    pub(super) fn open(source: &Source, read: &Arc<AtomicU64>) -> Result<Self, String> {
        let reader = source.open(read)?;
        Ok(Self { source: source.clone(), reader, line: 1, ended: false })
    }

    fn chunk(&mut self) -> Result<Option<LineChunk>, String> {
        let mut chunk = LineChunk { bytes: Vec::new(), first_line: self.line, points: 0 };
        let mut points = 0;
        while points < CHUNK_ROWS && chunk.bytes.len() < CHUNK_BYTES {
            let start = chunk.bytes.len();
            if !self.point(&mut chunk.bytes)? {
                self.ended = true;
                break;
            }
            let line = chunk.bytes.get(start..).unwrap_or_default();
            let first = line.iter().find(|b| !b.is_ascii_whitespace());
            points += usize::from(first.is_some_and(|b| *b != b'#'));
        }
        chunk.points = points as u64;
        Ok((!chunk.bytes.is_empty()).then_some(chunk))
    }

    /// Appends a point, or an empty line or comment; whether there was one.
    fn point(&mut self, bytes: &mut Vec<u8>) -> Result<bool, String> {
        let (start, name) = (bytes.len(), &self.source.name);
        let mut scan = Scan::default();
        loop {
            let at = bytes.len();
            let read = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', bytes);
            let read = read.map_err(|e| {
                format!("cannot read {name} after line {}: {e}", self.line.saturating_sub(1))
            })?;
            let line = bytes.get(at..).unwrap_or_default();
            if !line.ends_with(b"\n") {
                if read as u64 == LINE_BYTES_MAX {
                    let line = self.line;
                    return Err(format!(
                        "line {line} of {name} is longer than {LINE_BYTES_MAX} bytes"
                    ));
                }
                return Ok(bytes.len() > start);
            }
            self.line += 1;
            scan.pass(line);
            // A text that goes on for so long lacks its quote: the node rejects the line where it begins.
            if scan.is_over() || (bytes.len() - start) as u64 > LINE_BYTES_MAX {
                return Ok(true);
            }
        }
    }
}

/// Finds out whether a line end is part of the line: it is inside the quotes of a text, or escaped. The rule is the
/// node's: a quote opens text only behind the `=` of a field.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    state: State,
    equals: u64,
    commas: u64,
    /// Whether the last byte was escaped.
    escaped: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Blank,
    Comment,
    Series,
    Fields,
    Text,
    Escaped(Behind),
}

/// What a backslash stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Series,
    Fields,
    Text,
}

impl Behind {
    fn state(self) -> State {
        match self {
            Self::Series => State::Series,
            Self::Fields => State::Fields,
            Self::Text => State::Text,
        }
    }
}

impl Scan {
    /// Goes over the next bytes, which end with a line end.
    fn pass(&mut self, bytes: &[u8]) {
        if self.state == State::Blank && memchr::memchr2(b'"', b'\\', bytes).is_none() {
            return;
        }
        for &byte in bytes {
            self.escaped = matches!(self.state, State::Escaped(_));
            self.state = self.step(byte);
        }
    }

    fn step(&mut self, byte: u8) -> State {
        match (self.state, byte) {
            (State::Escaped(behind), _) => behind.state(),
            (State::Comment, _) | (State::Blank, b'#') => State::Comment,
            (State::Blank, b' ' | b'\t') => State::Blank,
            (State::Blank | State::Series, b'\\') => State::Escaped(Behind::Series),
            (State::Fields, b'\\') => State::Escaped(Behind::Fields),
            (State::Text, b'\\') => State::Escaped(Behind::Text),
            (State::Series, b' ') | (State::Text, b'"') => State::Fields,
            (State::Blank | State::Series, _) => State::Series,
            (State::Fields, b'"') if self.equals > self.commas => State::Text,
            (State::Text, _) => State::Text,
            (State::Fields, _) => {
                self.equals += u64::from(byte == b'=');
                self.commas += u64::from(byte == b',');
                State::Fields
            }
        }
    }

    /// Whether the line end that was passed last ends the line.
    fn is_over(self) -> bool {
        self.state != State::Text && !self.escaped
    }
}

impl Iterator for Lines {
    type Item = Result<LineChunk, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let chunk = self.chunk().transpose();
        self.ended |= !matches!(chunk, Some(Ok(_)));
        chunk
    }
}

/// The tables that the first lines of a file would make, and how many points were looked at. Lines that are none are
/// passed over: the node names them.
pub(super) fn look(source: &Source, points_max: usize) -> Result<(Vec<Plan>, usize), String> {
    let mut tables = BTreeMap::new();
    let mut points = 0;
    let (mut reader, _) = source.peek()?;
    let mut line = Vec::new();
    while points < points_max {
        line.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        // The beginning of a packed standard input ends anywhere.
        if read.is_err() && source.bytes.is_none() {
            break;
        }
        if read.map_err(|e| source.cannot_read(&e))? == 0 {
            break;
        }
        points += see(&String::from_utf8_lossy(&line), &mut tables);
    }
    let plans = tables.into_iter().map(|(table, columns): (String, Columns)| {
        let time = Column { name: "time".to_owned(), data_type: Type::Time, role: Role::Time };
        let mut all = vec![time];
        for role in [Role::Tag, Role::Field] {
            for (name, (kind, sample)) in columns.iter().filter(|(_, (kind, _))| *kind == role) {
                let data_type = sample.data_type().unwrap_or(Type::Text);
                all.push(Column { name: name.clone(), data_type, role: *kind });
            }
        }
        Plan {
            table,
            new: all.clone(),
            columns: all,
            exists: false,
            time_source: "time".to_owned(),
            notices: Vec::new(),
        }
    });
    Ok((plans.collect(), points))
}

type Columns = BTreeMap<String, (Role, Sample)>;

fn see(text: &str, tables: &mut BTreeMap<String, Columns>) -> usize {
    let mut points = 0;
    for point in parse_lines(text).flatten() {
        points += 1;
        let columns = tables.entry(point.series.measurement.to_string()).or_default();
        for (name, _) in point.series.tag_set.iter().flatten() {
            columns
                .entry(name.to_string())
                .or_insert((Role::Tag, Sample::of_type(Some(Type::Text))));
        }
        for (name, value) in &point.field_set {
            let data_type = match value {
                FieldValue::I64(_) => Type::Integer,
                FieldValue::U64(_) => Type::Unsigned,
                FieldValue::F64(_) => Type::Double,
                FieldValue::String(_) => Type::Text,
                FieldValue::Boolean(_) => Type::Boolean,
            };
            // The first value decides, as it does in the node.
            columns
                .entry(name.to_string())
                .or_insert((Role::Field, Sample::of_type(Some(data_type))));
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::super::source::{FileFormat, sources};
    use super::*;

    fn chunks(text: &str) -> Result<Vec<LineChunk>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lp");
        std::fs::write(&path, text).unwrap();
        let source = &sources(&[path.display().to_string()], Some(FileFormat::Lp)).unwrap()[0];
        Lines::open(source, &Arc::default()).unwrap().collect()
    }

    #[test]
    fn chunks_end_at_line_ends_and_know_their_lines() {
        let mut text = "# head\n\n".to_owned();
        for n in 0..CHUNK_ROWS + 2 {
            writeln!(text, "m n={n}i {n}").unwrap();
        }
        let text = text.trim_end();
        let chunks = chunks(text).unwrap();
        let joined: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes.clone()).collect();
        assert_eq!(joined, text.as_bytes());
        let shape: Vec<_> = chunks.iter().map(|chunk| (chunk.first_line, chunk.points)).collect();
        assert_eq!(shape, [(1, CHUNK_ROWS as u64), (CHUNK_ROWS as u64 + 3, 2)]);
    }

    fn is_over(line: &str) -> bool {
        let mut scan = Scan::default();
        scan.pass(line.as_bytes());
        scan.is_over()
    }

    #[test]
    fn a_line_with_line_ends_in_a_text_is_not_cut() {
        for open in
            ["m s=\"a\n", "m,t=\"x s=1,b=\"\\\"\n", "m s=\"a\\\n", "m s=\"a\",b=\"\n", "m n=1\\\n"]
        {
            assert!(!is_over(open), "{open:?}");
        }
        for whole in ["m s=\"a\" 1\n", "# \"\n", "m,t=\" n=1\n", "m s=\"\\\"\"\n", "m\"x n=1\n"] {
            assert!(is_over(whole), "{whole:?}");
        }
        let text = "m s=\"a\nb\" 1\nm s=\"c\" 2\n";
        let chunks = chunks(text).unwrap();
        assert_eq!((chunks.len(), chunks[0].points), (1, 2));
    }

    #[test]
    fn a_quote_that_never_ends_does_not_fill_the_memory() {
        let text = format!("m n=1\nm s=\"{}", "x\n".repeat(9 << 20));
        let found = chunks(&text).unwrap();
        let longest = found.iter().map(|chunk| chunk.bytes.len() as u64).max().unwrap();
        assert!(longest < LINE_BYTES_MAX + CHUNK_BYTES as u64 + 10, "{longest}");
        assert_eq!(found.iter().map(|chunk| chunk.bytes.len()).sum::<usize>(), text.len());
        let error = chunks(&"x".repeat(9 << 20)).unwrap_err();
        assert!(error.contains("line 1 of") && error.contains("longer"), "{error}");
    }

    #[test]
    fn the_tables_of_lines_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.lp");
        std::fs::write(&path, "m,host=a n=1i,x=2.5 1\nbad\nk on=true\nm,rack=r n=2i 2\n").unwrap();
        let source = &sources(&[path.display().to_string()], None).unwrap()[0];
        let (plans, points) = look(source, 100).unwrap();
        assert_eq!(points, 3);
        let names: Vec<&str> = plans.iter().map(|plan| plan.table.as_str()).collect();
        assert_eq!(names, ["k", "m"]);
        let columns: Vec<_> =
            plans[1].columns.iter().map(|c| (c.name.as_str(), c.data_type, c.role)).collect();
        let want = [
            ("time", Type::Time, Role::Time),
            ("host", Type::Text, Role::Tag),
            ("rack", Type::Text, Role::Tag),
            ("n", Type::Integer, Role::Field),
            ("x", Type::Double, Role::Field),
        ];
        assert_eq!(columns, want);
    }
}
