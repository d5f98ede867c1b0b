//! Regular expressions within limits.

use regex::{Regex, RegexBuilder};
use regex_syntax::Error as SyntaxError;
use regex_syntax::ParserBuilder;

/// Bytes that a compiled pattern may take. It is what Arrow's kernels, which match rows, allow by themselves.
const COMPILED_BYTES_MAX: usize = 10 << 20;
/// Groups and repetitions within each other.
const NESTED_MAX: u32 = 250;

/// Checks a pattern; the error says what is wrong with it, and where.
pub(crate) fn check(pattern: &str) -> Result<(), String> {
    let parsed = ParserBuilder::new().nest_limit(NESTED_MAX).build().parse(pattern);
    let (what, place) = match parsed {
        Ok(_) => return compile(pattern, pattern).map(|_| ()),
        Err(SyntaxError::Parse(e)) => (e.kind().to_string(), e.span().start.offset),
        Err(SyntaxError::Translate(e)) => (e.kind().to_string(), e.span().start.offset),
        Err(e) => return Err(format!("{pattern:?} is no regular expression: {e}")),
    };
    let place = pattern.get(..place).unwrap_or(pattern).chars().count() + 1;
    Err(format!("{pattern:?} is no regular expression: {what}, at character {place}"))
}

/// Compiles a pattern that a text must match as a whole.
pub(crate) fn whole(pattern: &str) -> Result<Regex, String> {
    check(pattern)?;
    compile(&format!("^(?:{pattern})$"), pattern)
}

fn compile(text: &str, pattern: &str) -> Result<Regex, String> {
    let compiled = RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
    compiled.map_err(|e| match e {
        regex::Error::CompiledTooBig(_) => format!(
            "{pattern:?} is too large a regular expression: compiled it takes more than {COMPILED_BYTES_MAX} bytes; \
             repeat less"
        ),
        other => format!("{pattern:?} is no regular expression: {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(pattern: &str, text: &str) {
        let error = check(pattern).unwrap_err();
        assert!(error.contains(text), "{pattern}: {error}");
    }

    #[test]
    fn a_wrong_pattern_is_told_with_its_place() {
        check_error("cpu[a", "unclosed character class, at character 4");
        check_error("ü(a", "unclosed group, at character 2");
        check_error("a{2,1}", "at character 2");
        check_error("*", "at character 1");
        check_error("(?=a)", "look-around");
    }

    #[test]
    fn a_pattern_that_would_explode_is_refused_with_the_limit() {
        check_error("(((a{1000}){1000}){1000}){1000}", "more than 10485760 bytes");
        check_error(&format!("{}a{}", "(".repeat(300), ")".repeat(300)), "at character");
    }

    #[test]
    fn a_whole_match_is_anchored_at_both_ends_of_every_alternative() {
        let regex = whole("cpu.*|mem").unwrap();
        for (text, want) in
            [("cpu", true), ("cpu1", true), ("mem", true), ("mem1", false), ("a_cpu", false)]
        {
            assert_eq!(regex.is_match(text), want, "{text}");
        }
    }
}
