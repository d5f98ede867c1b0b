//! Shows the place that an error names: the line of the statement, and a caret below the column.

use console::{measure_text_width, truncate_str};

/// Columns of the terminal that a line may take.
const WIDTH_MAX: usize = 96;

/// Columns that are shown before the place when the line is cut.
const BEFORE: usize = 60;

/// The line that a message ends in (`… at line 2, column 7`), with a caret below the column; `None` if it names none, or
/// one that the statement does not have.
pub(super) fn show(statement: &str, message: &str) -> Option<String> {
    let (line, column) = place(message)?;
    let line = statement.lines().nth(line.checked_sub(1)?)?;
    let before: String = line.chars().take(column.checked_sub(1)?).map(printed).collect();
    let after: String = line.chars().skip(column - 1).map(printed).collect();
    if after.is_empty() && column > line.chars().count() + 1 {
        return None;
    }
    let shown = tail(&before, BEFORE);
    let caret = measure_text_width(&shown);
    let whole = format!("{shown}{after}");
    Some(format!("  {}\n  {:caret$}^", truncate_str(&whole, WIDTH_MAX, "…"), ""))
}

/// Line and column, from 1.
fn place(message: &str) -> Option<(usize, usize)> {
    let (_, place) = message.trim_end().rsplit_once(" at line ")?;
    let (line, column) = place.split_once(", column ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// Tabs and other signs of no width would move the caret.
fn printed(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// The end of a text, of a width at most.
fn tail(text: &str, width: usize) -> String {
    if measure_text_width(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars().rev() {
        if measure_text_width(&kept) + 2 > width {
            break;
        }
        kept.insert(0, c);
    }
    format!("…{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(statement: &str, message: &str, want: &str) {
        assert_eq!(show(statement, message).as_deref(), Some(want));
    }

    #[test]
    fn the_caret_stands_below_the_column() {
        check(
            "SELECT foo FROM cpu",
            "no foo at line 1, column 8",
            "  SELECT foo FROM cpu\n         ^",
        );
        check("SELECT *\nFRM cpu", "found: FRM at line 2, column 1", "  FRM cpu\n  ^");
        check("SELECT (", "found: EOF at line 1, column 9", "  SELECT (\n          ^");
    }

    #[test]
    fn columns_are_characters_and_carets_follow_their_width() {
        check(
            "SELECT 'größe', x",
            "x at line 1, column 17",
            "  SELECT 'größe', x\n                  ^",
        );
        check(
            "SELECT '温度', x",
            "x at line 1, column 14",
            "  SELECT '温度', x\n                 ^",
        );
        check("\tx y", "y at line 1, column 4", "   x y\n     ^");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let statement = format!("SELECT {}, wrong, {}", "a".repeat(300), "b".repeat(300));
        let shown = show(&statement, "no wrong at line 1, column 310").unwrap();
        let (line, caret) = shown.split_once('\n').unwrap();
        let at = caret.chars().position(|c| c == '^').unwrap();
        let rest: String = line.chars().skip(at).collect();
        assert!(rest.starts_with("wrong, b") && rest.ends_with('…'), "{shown}");
        assert!(line.starts_with("  …aaa") && measure_text_width(line) <= WIDTH_MAX + 2, "{shown}");
    }

    #[test]
    fn messages_without_a_place_of_the_statement_show_nothing() {
        for message in [
            "no such table",
            "at line 1, column 1 there is more",
            "x at line 3, column 1",
            "x at line 1, column 40",
            "x at line 0, column 0",
            "x at line 1, column 0",
        ] {
            assert_eq!(show("SELECT 1\n", message), None, "{message}");
        }
    }
}
