//! What commands tell the user.

use std::fmt::{Arguments, Display};
use std::io::{self, Write};
use std::process::ExitCode;

/// Writes a line to standard output. A closed pipe is not our failure.
pub(crate) fn say(line: Arguments<'_>) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Writes an error to standard error; the exit status of a failure.
pub(crate) fn fail(message: impl Display) -> ExitCode {
    fail_with(message, 1)
}

/// As [`fail`], with another exit status.
pub(crate) fn fail_with(message: impl Display, status: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "error: {message}");
    ExitCode::from(status)
}

/// An error with all its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Transparent wrappers repeat what they wrap.
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
