//! Shows results that are taller than the terminal through a pager, as `less`.
//!
//! What fits is held back and written at the end; the line that no longer fits starts the pager, which gets all of it.
//! A pager that is left early breaks the pipe, which ends the result and is no error; one that cannot be started is
//! done without.

use std::io::{self, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use console::{Term, measure_text_width};

/// What is started unless `$PAGER` says otherwise: it ends by itself if all fits, and cuts long lines.
const LESS: [&str; 2] = ["less", "-SRFX"];

/// Standard output, through a pager where a result is long.
pub(super) struct Paged {
    screen: Screen,
    state: State,
}

/// What a terminal shows at once.
#[derive(Clone, Copy, Debug)]
struct Screen {
    rows: usize,
    columns: usize,
}

enum State {
    /// What fits so far, and the rows that its ended lines take.
    Held { text: Vec<u8>, rows: usize, counted: usize },
    /// All goes to the pager; the pipe is closed before its end is awaited.
    Pager { child: Child, pipe: Option<ChildStdin> },
    /// All goes to standard output.
    Plain,
}

impl Paged {
    /// Standard output through a pager, if it is a terminal.
    pub(super) fn new() -> Option<Self> {
        let terminal = Term::stdout();
        let (rows, columns) = terminal.size_checked().filter(|_| terminal.is_term())?;
        let screen = Screen { rows: rows.into(), columns: columns.into() };
        let state = State::Held { text: Vec::new(), rows: 0, counted: 0 };
        (screen.rows > 1 && screen.columns > 0).then_some(Self { screen, state })
    }

    /// Starts the pager, or does without, and writes what was held.
    fn open(&mut self) -> io::Result<()> {
        let started = pager().and_then(|mut command| command.stdin(Stdio::piped()).spawn().ok());
        let next = match started {
            Some(mut child) => State::Pager { pipe: child.stdin.take(), child },
            None => State::Plain,
        };
        match std::mem::replace(&mut self.state, next) {
            State::Held { text, .. } => self.write_all(&text),
            State::Pager { .. } | State::Plain => Ok(()),
        }
    }
}

impl Write for Paged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.state {
            State::Held { text, rows, counted } => {
                text.extend_from_slice(bytes);
                let fresh = text.get(*counted..).unwrap_or_default();
                let ended = fresh.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
                *rows += self.screen.height(fresh.get(..ended).unwrap_or_default());
                *counted += ended;
                // The prompt that follows takes a row, too.
                if *rows >= self.screen.rows {
                    self.open()?;
                }
                Ok(bytes.len())
            }
            State::Pager { pipe: Some(pipe), .. } => pipe.write(bytes),
            State::Pager { pipe: None, .. } => Err(io::ErrorKind::BrokenPipe.into()),
            State::Plain => io::stdout().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.state {
            State::Held { .. } => Ok(()),
            State::Pager { pipe, .. } => pipe.as_mut().map_or(Ok(()), Write::flush),
            State::Plain => io::stdout().flush(),
        }
    }
}

impl Drop for Paged {
    /// Writes what was held, or waits until the user leaves the pager.
    fn drop(&mut self) {
        match &mut self.state {
            State::Held { text, .. } => {
                let mut out = io::stdout();
                let _ = out.write_all(text).and_then(|()| out.flush());
            }
            State::Pager { child, pipe } => {
                drop(pipe.take());
                let _ = child.wait();
            }
            State::Plain => {}
        }
    }
}

impl Screen {
    /// The rows that whole lines take.
    fn height(self, lines: &[u8]) -> usize {
        let text = String::from_utf8_lossy(lines);
        text.lines().map(|line| measure_text_width(line).div_ceil(self.columns).max(1)).sum()
    }
}

/// `$PAGER`, or `less`; none if the variable is empty.
fn pager() -> Option<Command> {
    match std::env::var_os("PAGER") {
        Some(line) if line.is_empty() => None,
        Some(line) => {
            let mut command = Command::new("sh");
            command.arg("-c").arg(line);
            Some(command)
        }
        None => {
            let mut command = Command::new(LESS[0]);
            command.arg(LESS[1]);
            Some(command)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_take_the_rows_that_they_wrap_to() {
        let screen = Screen { rows: 24, columns: 10 };
        assert_eq!(screen.height(b""), 0);
        assert_eq!(screen.height(b"a\n\nb\n"), 3);
        assert_eq!(screen.height(b"0123456789\n0123456789a\n"), 3);
        assert_eq!(screen.height("温度温度温度\n".as_bytes()), 2);
    }
}
