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
