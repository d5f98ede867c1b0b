//! Cuts text into statements at the semicolons that end them, and commands on lines of their own.
//!
//! A command begins with a backslash where no statement is under way, and goes to the end of its line.
//! A semicolon inside a quoted text, a quoted name, a comment or a dollar-quoted text ends nothing. Nothing else of SQL
//! is looked at: whether a statement is right is for the server to say.

/// What runs by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item<'a> {
    /// A statement without its semicolon.
    Statement(&'a str),
    /// A line that begins with a backslash.
    Command(&'a str),
}

/// Text as statements and commands, and what is left after them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut<'a> {
    /// In the order of the text; statements of nothing but comments are left out.
    pub(super) items: Vec<Item<'a>>,
    /// What follows the last of them, a comment included.
    pub(super) rest: &'a str,
    /// Whether the rest holds anything to run, or ends in the middle of a quote or comment.
    pub(super) rest_is_statement: bool,
}

/// Cuts a text.
pub(super) fn cut(text: &str) -> Cut<'_> {
    let mut items = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut holds = false;
    while let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        if c == '\\' && !holds && begins_line(text, at) {
            let length = rest.find('\n').unwrap_or(rest.len());
            items.push(Item::Command(rest.get(..length).unwrap_or_default().trim_end()));
            at += length;
            start = at;
            continue;
        }
        let (length, token) = token(rest, c);
        at += length;
        match token {
            Token::End => {
                let statement = text.get(start..at - 1).unwrap_or_default().trim();
                if holds {
                    items.push(Item::Statement(statement));
                }
                start = at;
                holds = false;
            }
            Token::Nothing => {}
            Token::Something => holds = true,
        }
    }
    let rest = text.get(start..).unwrap_or_default();
    Cut { items, rest, rest_is_statement: holds }
}

/// Whether nothing but blanks stands before a place on its line.
fn begins_line(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.rsplit('\n').next().is_none_or(|line| line.trim().is_empty())
}

enum Token {
    /// A semicolon.
    End,
    /// Blanks or a whole comment.
    Nothing,
    /// Anything else.
    Something,
}

/// The bytes of the token that the text begins with.
fn token(text: &str, first: char) -> (usize, Token) {
    match first {
        ';' => (1, Token::End),
        c if c.is_whitespace() => (c.len_utf8(), Token::Nothing),
        '-' if text.starts_with("--") => (text.find('\n').unwrap_or(text.len()), Token::Nothing),
        '/' if text.starts_with("/*") => match comment(text) {
            Some(length) => (length, Token::Nothing),
            None => (text.len(), Token::Something),
        },
        '\'' | '"' => (quoted(text, first), Token::Something),
        '$' => (dollar_quoted(text), Token::Something),
        c if c.is_alphanumeric() || c == '_' => (word(text), Token::Something),
        c => (c.len_utf8(), Token::Something),
    }
}

/// A piece of a statement, as far as completion tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    /// What it is.
    pub(super) kind: Kind,
    /// As it is written, quotes included.
    pub(super) text: &'a str,
}

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Blanks.
    Blank,
    /// A comment, which may lack its end.
    Comment,
    /// A keyword, a name without quotes, a number.
    Word,
    /// A name in double quotes, which may lack its end.
    Name,
    /// A text in quotes or dollars, which may lack its end.
    Text,
    /// Any other sign.
    Sign,
}

impl Piece<'_> {
    /// Whether it is neither blank nor comment.
    pub(super) fn is_code(&self) -> bool {
        !matches!(self.kind, Kind::Blank | Kind::Comment)
    }
}

/// The pieces of a text.
pub(super) fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (length, _) = token(rest, first);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        let kind = match first {
            c if c.is_whitespace() => Kind::Blank,
            '-' | '/' if piece.len() > 1 => Kind::Comment,
            '"' => Kind::Name,
            '\'' => Kind::Text,
            '$' if piece.len() > 1 => Kind::Text,
            c if c.is_alphanumeric() || c == '_' => Kind::Word,
            _ => Kind::Sign,
        };
        pieces.push(Piece { kind, text: piece });
        rest = after;
    }
    pieces
}

/// A word as a whole, so that a `$` inside a name begins no quote.
fn word(text: &str) -> usize {
    let end = |c: char| !(c.is_alphanumeric() || c == '_' || c == '$');
    text.find(end).unwrap_or(text.len())
}

/// Up to the closing quote; a doubled one closes and opens again, which comes to the same.
fn quoted(text: &str, quote: char) -> usize {
    let inner = text.get(1..).unwrap_or_default();
    inner.find(quote).map_or(text.len(), |end| end + 2)
}

/// `/* … */`, which may hold others; `None` if it does not end.
fn comment(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0_usize;
    let mut at = 0;
    while at + 1 < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => {
                depth += 1;
                at += 2;
            }
            Some(b"*/") => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// `$tag$ … $tag$`, or the `$` of a parameter.
fn dollar_quoted(text: &str) -> usize {
    let inner = text.get(1..).unwrap_or_default();
    let Some(end) = inner.find('$') else { return 1 };
    let tag = inner.get(..end).unwrap_or_default();
    let is_tag = !tag.starts_with(|c: char| c.is_ascii_digit())
        && tag.chars().all(|c| c.is_alphanumeric() || c == '_');
    if !is_tag {
        return 1;
    }
    let delimiter = text.get(..end + 2).unwrap_or_default();
    let body = text.get(delimiter.len()..).unwrap_or_default();
    body.find(delimiter).map_or(text.len(), |close| close + 2 * delimiter.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, statements: &[&str], rest: &str, rest_is_statement: bool) {
        let items = statements.iter().map(|statement| Item::Statement(statement)).collect();
        assert_eq!(cut(text), Cut { items, rest, rest_is_statement });
    }

    #[test]
    fn commands_have_lines_of_their_own() {
        let text = "\\timing on\n-- a\n  \\d cpu; \nSELECT 1;\n\\x\nSELECT '\n\\q';";
        let want = [
            Item::Command("\\timing on"),
            Item::Command("\\d cpu;"),
            Item::Statement("SELECT 1"),
            Item::Command("\\x"),
            Item::Statement("SELECT '\n\\q'"),
        ];
        assert_eq!(cut(text), Cut { items: want.to_vec(), rest: "", rest_is_statement: false });
    }

    #[test]
    fn a_backslash_inside_a_statement_or_after_one_is_no_command() {
        check("SELECT 1\n\\q\n;", &["SELECT 1\n\\q"], "", false);
        check("SELECT 1; \\q", &["SELECT 1"], " \\q", true);
    }

    #[test]
    fn statements_end_at_semicolons() {
        check("SELECT 1; SELECT 2;\n", &["SELECT 1", "SELECT 2"], "\n", false);
        check("SELECT 1", &[], "SELECT 1", true);
        check(";;", &[], "", false);
        check("", &[], "", false);
    }

    #[test]
    fn pieces_are_told_apart() {
        let code = |text| {
            let mut pieces = pieces(text);
            pieces.retain(Piece::is_code);
            pieces.into_iter().map(|p| (p.kind, p.text)).collect::<Vec<_>>()
        };
        let want = [
            (Kind::Word, "a_1"),
            (Kind::Sign, "."),
            (Kind::Name, "\"b c\""),
            (Kind::Sign, "-"),
            (Kind::Text, "'d"),
        ];
        assert_eq!(code("a_1 -- x\n.\"b c\" /* y */ - 'd"), want);
        assert_eq!(code("\"open"), [(Kind::Name, "\"open")]);
        assert_eq!(code("$$x$$ $1"), [(Kind::Text, "$$x$$"), (Kind::Sign, "$"), (Kind::Word, "1")]);
    }

    #[test]
    fn semicolons_in_quotes_end_nothing() {
        check("SELECT ';', 'it''s;';", &["SELECT ';', 'it''s;'"], "", false);
        check("SELECT \"a;\"\"b\";", &["SELECT \"a;\"\"b\""], "", false);
        check("SELECT 'open; SELECT 2;", &[], "SELECT 'open; SELECT 2;", true);
        check("SELECT $$a;b$$; x", &["SELECT $$a;b$$"], " x", true);
        check("SELECT $q$a;$$;b$q$;", &["SELECT $q$a;$$;b$q$"], "", false);
    }

    #[test]
    fn parameters_and_names_with_dollars_open_no_quote() {
        check("SELECT $1; SELECT $2;", &["SELECT $1", "SELECT $2"], "", false);
        check("SELECT a$b; SELECT c$d;", &["SELECT a$b", "SELECT c$d"], "", false);
        check("SELECT $host; SELECT 'x$';", &["SELECT $host", "SELECT 'x$'"], "", false);
    }

    #[test]
    fn semicolons_in_comments_end_nothing() {
        check("-- a; b\nSELECT 1;", &["-- a; b\nSELECT 1"], "", false);
        check("/* a; /* b; */ c; */ SELECT 1;", &["/* a; /* b; */ c; */ SELECT 1"], "", false);
        check("SELECT 1; -- done;", &["SELECT 1"], " -- done;", false);
        check("/* a; */;", &[], "", false);
        check("/* open;", &[], "/* open;", true);
    }

    #[test]
    fn other_alphabets_are_cut_between_characters() {
        check("SELECT 'größe;€'; SELECT ü;", &["SELECT 'größe;€'", "SELECT ü"], "", false);
    }
}
