//! The patterns of `SIMILAR TO` as regular expressions: SQL:2003, part 2, 8.6 *similar predicate*.
//!
//! | in the pattern | means |
//! |---|---|
//! | `%`, `_` | any text, any one character, line ends included |
//! | `\|`, `( )` | alternatives, a group |
//! | `*`, `+`, `?`, `{m}`, `{m,}`, `{m,n}` | repetition of what stands before |
//! | `[abc]`, `[a-z]`, `[^a]`, `[[:DIGIT:]]` | one character of a set |
//! | the escape character (`\` unless `ESCAPE` says another) and a character | that character |
//!
//! The whole text must match. `.`, `^`, `$` stand for themselves.

use std::fmt::Write as _;

/// The regular expression of a pattern, anchored at both ends.
pub(super) fn regex_of(pattern: &str, escape: Option<char>) -> Result<String, String> {
    let escape = escape.unwrap_or('\\');
    let mut out = String::from("^(?s:");
    let mut characters = pattern.chars().enumerate();
    let mut groups: Vec<usize> = Vec::new();
    // Whether something stands before that can be repeated.
    let mut repeatable = false;
    let wrong = |what: &str, at: usize| {
        Err(format!("SIMILAR TO {pattern:?} is no pattern: {what}, at character {}", at + 1))
    };
    while let Some((at, c)) = characters.next() {
        if c == escape {
            let Some((_, next)) = characters.next() else {
                return wrong("nothing follows the escape character", at);
            };
            literal(&mut out, next);
            repeatable = true;
            continue;
        }
        let was_repeatable = std::mem::replace(&mut repeatable, true);
        match c {
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => {
                groups.push(at);
                out.push_str("(?:");
                repeatable = false;
            }
            ')' => match groups.pop() {
                Some(_) => out.push(')'),
                None => return wrong("a group is closed that was not opened", at),
            },
            '|' => {
                out.push('|');
                repeatable = false;
            }
            '*' | '+' | '?' | '{' if !was_repeatable => {
                return wrong(&format!("nothing stands before {c}"), at);
            }
            '*' | '+' | '?' => {
                out.push(c);
                // The standard has no `**`; the regular expression `+?` would mean another thing.
                repeatable = false;
            }
            '{' => {
                let mut counts = String::new();
                let closed = characters.by_ref().map(|(_, c)| c).any(|c| {
                    if c != '}' {
                        counts.push(c);
                    }
                    c == '}'
                });
                if !closed || !is_counts(&counts) {
                    return wrong("a repetition is {m}, {m,} or {m,n}", at);
                }
                write!(out, "{{{counts}}}").expect("a String takes every write");
                repeatable = false;
            }
            '[' => match set(&mut characters, escape) {
                Some(set) => out.push_str(&set),
                None => return wrong("a set of characters is not closed, or empty", at),
            },
            other => literal(&mut out, other),
        }
    }
    if let Some(at) = groups.pop() {
        return wrong("a group is not closed", at);
    }
    out.push_str(")$");
    Ok(out)
}

fn literal(out: &mut String, c: char) {
    out.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])));
}

/// `m`, `m,` or `m,n`.
fn is_counts(counts: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    match counts.split_once(',') {
        None => number(counts),
        Some((from, to)) => number(from) && (to.is_empty() || number(to)),
    }
}

/// What follows `[`, up to its `]`.
fn set(characters: &mut impl Iterator<Item = (usize, char)>, escape: char) -> Option<String> {
    let mut out = String::from("[");
    let mut members = 0;
    let (_, mut c) = characters.next()?;
    if c == '^' {
        out.push('^');
        (_, c) = characters.next()?;
    }
    loop {
        match c {
            ']' if members > 0 => {
                out.push(']');
                return Some(out);
            }
            ']' => return None,
            '[' => {
                // `[:ALPHA:]`, which regular expressions write in small letters.
                let class: String =
                    characters.by_ref().map(|(_, c)| c).take_while(|c| *c != ']').collect();
                let name = class.strip_prefix(':')?.strip_suffix(':')?;
                let name = match name.to_ascii_lowercase().as_str() {
                    "whitespace" => "space".to_owned(),
                    other => other.to_owned(),
                };
                write!(out, "[:{name}:]").expect("a String takes every write");
            }
            '-' if members > 0 => out.push('-'),
            c if c == escape => literal(&mut out, characters.next()?.1),
            c => literal_in_set(&mut out, c),
        }
        members += 1;
        (_, c) = characters.next()?;
    }
}

fn literal_in_set(out: &mut String, c: char) {
    if matches!(c, '&' | '~' | '^' | '-' | '\\' | '[' | ']') {
        out.push('\\');
    }
    out.push(c);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let regex = regex::Regex::new(&regex_of(pattern, None).unwrap()).unwrap();
        for text in matching {
            assert!(regex.is_match(text), "{pattern} matches {text:?}: {regex}");
        }
        for text in other {
            assert!(!regex.is_match(text), "{pattern} does not match {text:?}: {regex}");
        }
    }

    #[test]
    fn the_whole_text_must_match() {
        check("abc", &["abc"], &["abcd", "xabc", "ABC", "abc\n"]);
        check("a|b", &["a", "b"], &["ab", "xa", "bx"]);
        check("%(b|d)%", &["abc", "xdx"], &["ac"]);
        check("", &[""], &["a"]);
    }

    #[test]
    fn wildcards_repetitions_and_sets_are_those_of_the_standard() {
        check("a_c", &["abc", "a\nc"], &["ac", "abbc"]);
        check("a%", &["a", "a\nb"], &["ba"]);
        check("(ab)*c?d+", &["d", "ababcdd"], &["abab"]);
        check("a{2}b{1,}c{0,1}", &["aab", "aabbc"], &["ab", "aabcc"]);
        check("[a-c]_[^x]", &["a1y", "c__"], &["d1y", "a1x"]);
        check("[[:DIGIT:]]+[[:alpha:]]", &["12a"], &["a1"]);
        check("a.c^$", &["a.c^$"], &["abc^$"]);
        check("[a&&b]", &["&"], &["c"]);
    }

    #[test]
    fn the_escape_character_takes_meanings_away() {
        check(r"100\%", &["100%"], &["1000"]);
        check(r"\(a\)\\", &[r"(a)\"], &["a"]);
        let regex = regex_of("a#%", Some('#')).unwrap();
        assert!(regex::Regex::new(&regex).unwrap().is_match("a%"));
        assert!(!regex::Regex::new(&regex).unwrap().is_match("ab"));
    }

    #[test]
    fn wrong_patterns_are_told_with_their_place() {
        for (pattern, text) in [
            ("(a", "not closed, at character 1"),
            ("a)", "not opened, at character 2"),
            ("*a", "nothing stands before *, at character 1"),
            ("a**", "nothing stands before *, at character 3"),
            ("a{x}", "{m,n}, at character 2"),
            ("ü[]", "at character 2"),
            ("a\\", "escape character, at character 2"),
        ] {
            let error = regex_of(pattern, None).unwrap_err();
            assert!(error.contains(text), "{pattern}: {error}");
        }
    }
}
