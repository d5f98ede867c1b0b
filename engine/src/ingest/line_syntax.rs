//! The grammar of line protocol: where a line ends, names with escapes, values.
//!
//! The decoder ([`super::line_decoder`]) calls these on bytes that are valid UTF-8. Every delimiter is ASCII, so bytes
//! can be looked at one by one. The rules are those of InfluxDB's own parser (the crate `influxdb-line-protocol`; a
//! property test compares the two), and where we are different we say so here:
//!
//! - an empty tag value is an absent tag (InfluxDB: an error);
//! - `\r` before the end of a line, and blanks after a line without a timestamp, are skipped (InfluxDB: an error);
//! - an unescaped comma in a tag or field name is an error (InfluxDB: part of the name), and so is a number beyond the
//!   range of a double (InfluxDB: infinity), and a name that occurs twice in a line;
//! - a quote that never closes spoils its line only, not the rest of the body.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3};

/// Why a line was refused. Goes to the client, with the line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineProblem {
    #[error("the line is not valid UTF-8")]
    NotUtf8,
    #[error("the measurement is missing")]
    NoMeasurement,
    #[error("the line has no fields")]
    NoFields,
    #[error("the tag {0:?} has no value: name=value is expected")]
    TagWithoutValue(String),
    #[error("a tag has an empty name")]
    EmptyTagName,
    #[error("the field {0:?} has no value: name=value is expected")]
    FieldWithoutValue(String),
    #[error("a field has an empty name")]
    EmptyFieldName,
    #[error("the name {0:?} holds a comma that is not escaped")]
    CommaInName(String),
    #[error("{0:?} ends with a backslash, which names and tag values may not")]
    EndsWithBackslash(String),
    #[error("the tag {0:?} is given twice")]
    TagTwice(String),
    #[error("the field {0:?} is given twice")]
    FieldTwice(String),
    #[error("field {field:?} has the value {value:?}, which is no number, boolean, or quoted text")]
    NotAValue { field: String, value: String },
    #[error(
        "field {field:?} has the value {value}: line protocol cannot carry NaN or infinities; leave the field out"
    )]
    NotFinite { field: String, value: String },
    #[error("field {field:?} has the value {value}, which is out of the range of {kind}")]
    OutOfRange { field: String, value: String, kind: &'static str },
    #[error("the text of field {0:?} has no closing quote")]
    NoClosingQuote(String),
    #[error("{0:?} is not a timestamp")]
    NotATimestamp(String),
    #[error("the timestamp {0} is out of range: 1677-09-21 to 2262-04-11 can be stored")]
    TimeOutOfRange(String),
    #[error("{0:?} follows the timestamp")]
    AfterTimestamp(String),
    #[error("{0:?} follows the value of a field")]
    AfterValue(String),
    #[error("a tab stands where only a space or a comma may")]
    Tab,
    #[error("{kind} cannot be called {name:?}: that is the name of the time column")]
    NamedTime { kind: &'static str, name: String },
    #[error("the name of a {kind} has {bytes} bytes, more than {max}")]
    NameTooLong { kind: &'static str, bytes: usize, max: usize },
    #[error("the name of the {kind} {name:?} holds a control character")]
    ControlCharacter { kind: &'static str, name: String },
    #[error("{name:?} is a tag of table {table:?}, and cannot be a field too")]
    FieldIsTag { table: String, name: String },
    #[error("{name:?} is a field of table {table:?}, and cannot be a tag too")]
    TagIsField { table: String, name: String },
    #[error("field {field:?} of table {table:?} is {have}, the line has {found}")]
    TypeConflict { table: String, field: String, have: &'static str, found: &'static str },
    #[error("table {table:?} cannot take new columns: {why}")]
    Refused { table: String, why: String },
}

/// A piece of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Where its text ends (the line feed, or the end of the body).
    pub(super) end: usize,
    /// Where the next line begins.
    pub(super) next: usize,
    /// Line feeds within the line.
    pub(super) feeds: u64,
}

/// Finds the end of the line that begins at `start`. Line feeds within quoted field values, and escaped ones, are part
/// of the line.
pub(super) fn line_end(body: &[u8], start: usize) -> Line {
    let rest = &body[start..];
    match memchr3(b'\n', b'"', b'\\', rest) {
        None => Line { end: body.len(), next: body.len(), feeds: 0 },
        Some(at) if rest[at] == b'\n' => Line { end: start + at, next: start + at + 1, feeds: 0 },
        // What a comment quotes ends with its line.
        Some(_) if is_comment(rest) => plain_line_end(body, start),
        Some(_) => quoted_line_end(body, start),
    }
}

fn is_comment(line: &[u8]) -> bool {
    line.iter().find(|b| !matches!(b, b' ' | b'\t')) == Some(&b'#')
}

fn plain_line_end(body: &[u8], start: usize) -> Line {
    match memchr(b'\n', &body[start..]) {
        Some(at) => Line { end: start + at, next: start + at + 1, feeds: 0 },
        None => Line { end: body.len(), next: body.len(), feeds: 0 },
    }
}

/// As [`line_end`], for lines with quotes or backslashes: InfluxDB's `scanLine`, byte by byte. A quote opens text only
/// behind the `=` of a field.
fn quoted_line_end(body: &[u8], start: usize) -> Line {
    let (mut quoted, mut fields, mut escaped) = (false, false, false);
    let (mut equals, mut commas, mut feeds) = (0_u64, 0_u64, 0_u64);
    for (at, &b) in body.iter().enumerate().skip(start) {
        if b == b'\n' && (quoted || escaped) {
            feeds += 1;
        }
        if escaped {
            escaped = false;
            continue;
        }
        match b {
            b'\\' => escaped = true,
            b' ' => fields = true,
            b'=' if fields && !quoted => equals += 1,
            b',' if fields && !quoted => commas += 1,
            b'"' if fields && equals > commas => quoted = !quoted,
            b'\n' if !quoted => return Line { end: at, next: at + 1, feeds },
            _ => {}
        }
    }
    if quoted {
        // Nothing closes the text: all that follows would be lost in it. There is no unescaped quote behind this
        // place, so this happens once per body at most.
        return plain_line_end(body, start);
    }
    Line { end: body.len(), next: body.len(), feeds }
}

/// Where the series of a line ends: its first blank that is not escaped.
pub(super) fn series_end(line: &[u8]) -> usize {
    match memchr2(b' ', b'\\', line) {
        None => line.len(),
        Some(at) if line[at] == b' ' => at,
        Some(at) => scan_to(line, at, |b| b == b' '),
    }
}

/// The first unescaped byte that stops the scan, from `at` on.
pub(super) fn scan_to(line: &[u8], mut at: usize, stop: impl Fn(u8) -> bool) -> usize {
    while at < line.len() {
        match line[at] {
            b'\\' => at += 2,
            b if stop(b) => return at,
            _ => at += 1,
        }
    }
    line.len()
}

/// A name or tag value without its escapes: a backslash before one of `escapable` goes, any other one stays.
pub(super) fn unescape<'a>(raw: &'a [u8], escapable: &[u8]) -> Result<Cow<'a, str>, LineProblem> {
    let text = if memchr(b'\\', raw).is_none() {
        Cow::Borrowed(text(raw))
    } else {
        let mut out = Vec::with_capacity(raw.len());
        let mut at = 0;
        while at < raw.len() {
            if raw[at] == b'\\' && at + 1 < raw.len() {
                if !escapable.contains(&raw[at + 1]) {
                    out.push(b'\\');
                }
                // An escaped multi-byte character: its other bytes follow as plain ones.
                out.push(raw[at + 1]);
                at += 2;
            } else {
                out.push(raw[at]);
                at += 1;
            }
        }
        Cow::Owned(String::from_utf8(out).expect("escapes are ASCII: the rest stays valid UTF-8"))
    };
    if text.ends_with('\\') {
        return Err(LineProblem::EndsWithBackslash(text.into_owned()));
    }
    Ok(text)
}

/// Bytes of the body as text; the decoder has checked them.
pub(super) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("cut at ASCII bytes out of a line that is valid UTF-8")
}

/// As [`text`], for messages only, cut after 80 characters.
pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(80).collect()
}

/// A field's value as the line has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Float(f64),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    /// Between the quotes, escapes and all; and whether there are any.
    Text(&'a [u8], bool),
}

/// Why [`value`] failed; the decoder adds the field's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueProblem {
    NotAValue,
    OutOfRange(&'static str),
    NoClosingQuote,
}

const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// Parses the value at `at`; returns it and where it ends.
pub(super) fn value(line: &[u8], at: usize) -> Result<(Value<'_>, usize), ValueProblem> {
    match line.get(at) {
        Some(b'0'..=b'9' | b'-') => number(line, at),
        Some(b'"') => quoted(line, at),
        Some(b't' | b'T' | b'f' | b'F') => boolean(line, at),
        _ => Err(ValueProblem::NotAValue),
    }
}

/// Where the value at `at` ends, as far as one can tell, for messages.
pub(super) fn value_end(line: &[u8], at: usize) -> usize {
    scan_to(line, at, |b| b == b',' || b == b' ')
}

fn digits(line: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(digit) = line.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

#[inline]
fn number(line: &[u8], start: usize) -> Result<(Value<'_>, usize), ValueProblem> {
    let negative = line[start] == b'-';
    let first = start + usize::from(negative);
    let mut mantissa = 0_u64;
    let whole_end = digits(line, first, &mut mantissa);
    if whole_end == first {
        return Err(ValueProblem::NotAValue);
    }
    let mut end = whole_end;
    let mut fraction = 0;
    match line.get(end) {
        Some(b'i') => {
            let n = integer(&line[start..end]).ok_or(ValueProblem::OutOfRange("an integer"))?;
            return Ok((Value::Integer(n), end + 1));
        }
        Some(b'u') if !negative => {
            let n = text(&line[start..end]).parse();
            let n = n.map_err(|_| ValueProblem::OutOfRange("an unsigned integer"))?;
            return Ok((Value::Unsigned(n), end + 1));
        }
        Some(b'u') => return Err(ValueProblem::OutOfRange("an unsigned integer")),
        Some(b'.') => {
            end = digits(line, whole_end + 1, &mut mantissa);
            fraction = end - whole_end - 1;
            if fraction == 0 || matches!(line.get(end), Some(b'i' | b'u')) {
                return Err(ValueProblem::NotAValue);
            }
        }
        _ => {}
    }
    if let Some(b'e' | b'E') = line.get(end) {
        let sign = usize::from(matches!(line.get(end + 1), Some(b'+' | b'-')));
        let exponent = end + 1 + sign;
        end = digits(line, exponent, &mut 0);
        if end == exponent {
            return Err(ValueProblem::NotAValue);
        }
    } else if end - first <= 19 && mantissa <= 1 << 53 && fraction < POWERS_OF_TEN.len() {
        // Both numbers are exact doubles, so the quotient is rounded once, correctly (Clinger 1990).
        let magnitude = mantissa as f64 / POWERS_OF_TEN[fraction];
        return Ok((Value::Float(if negative { -magnitude } else { magnitude }), end));
    }
    let float: f64 = text(&line[start..end]).parse().map_err(|_| ValueProblem::NotAValue)?;
    if float.is_finite() {
        Ok((Value::Float(float), end))
    } else {
        Err(ValueProblem::OutOfRange("a double"))
    }
}

/// The number that eight digits are: pairs of them at once, then pairs of those, and again. Lemire, "Quickly parsing eight
/// digits", 2018.
fn eight_digits(digits: [u8; 8]) -> u64 {
    const EVEN: u64 = 0x0000_00FF_0000_00FF;
    let digits = u64::from_le_bytes(digits) & 0x0F0F_0F0F_0F0F_0F0F;
    let pairs = digits * 10 + (digits >> 8);
    let high = (pairs & EVEN).wrapping_mul(100 + (1_000_000 << 32));
    let low = ((pairs >> 16) & EVEN).wrapping_mul(1 + (10_000 << 32));
    high.wrapping_add(low) >> 32
}

/// Parses a decimal number of any length; `None` if it does not fit.
pub(super) fn integer(digits: &[u8]) -> Option<i64> {
    let (negative, number) = match digits.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, digits),
    };
    if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Nineteen digits, as nanoseconds of our days have, are below 2^64.
    if number.len() > 19 {
        return text(digits).parse().ok();
    }
    let (eights, rest) = number.as_chunks();
    let n = eights.iter().fold(0, |n, eight| n * 100_000_000 + eight_digits(*eight));
    let n = rest.iter().fold(n, |n, d| n * 10 + u64::from(d - b'0'));
    if negative { 0_i64.checked_sub_unsigned(n) } else { i64::try_from(n).ok() }
}

fn quoted(line: &[u8], start: usize) -> Result<(Value<'_>, usize), ValueProblem> {
    let mut at = start + 1;
    let mut escaped = false;
    loop {
        match memchr2(b'"', b'\\', line.get(at..).unwrap_or_default()) {
            None => return Err(ValueProblem::NoClosingQuote),
            Some(n) if line[at + n] == b'"' => {
                return Ok((Value::Text(&line[start + 1..at + n], escaped), at + n + 1));
            }
            // A backslash escapes a quote or a backslash only, but no other byte can be mistaken for either.
            Some(n) => {
                escaped = true;
                at += n + 2;
            }
        }
    }
}

/// The text of a quoted value: `\"` and `\\` lose their backslash, any other one stays.
pub(super) fn unescape_text(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < raw.len() {
        if raw[at] == b'\\' && matches!(raw.get(at + 1), Some(b'"' | b'\\')) {
            at += 1;
        }
        out.push(raw[at]);
        at += 1;
    }
}

fn boolean(line: &[u8], start: usize) -> Result<(Value<'_>, usize), ValueProblem> {
    let end = value_end(line, start);
    match &line[start..end] {
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok((Value::Boolean(true), end)),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok((Value::Boolean(false), end)),
        _ => Err(ValueProblem::NotAValue),
    }
}
