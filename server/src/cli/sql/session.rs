//! What the prompt and scripts share: one connection, how results are shown, and where they go.
//!
//! Statements and commands of a text run one after the other; the first failure ends the text. Dropping the future of a
//! run cancels the statement that runs.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryStreamExt};
use quorate_flight::{Client, ClientOutcome};
use quorate_wal::{Clock, SystemClock};
use tokio::sync::Mutex;

use super::command::{Command, HELP, Relations, Switch};
use super::names::Changes;
use super::output::{More, Output, Shape, is_broken_pipe};
use super::pager::Paged;
use super::progress::Progress;
use super::statements::{self, Item};
use super::{Failure, Format};

/// How deep files may take in files.
const INCLUDES_MAX: usize = 16;

/// The database of unqualified names; the setting of the session, as a query sees it.
pub(super) const CURRENT_DATABASE: &str = "(SELECT value FROM information_schema.df_settings \
                                WHERE name = 'datafusion.catalog.default_catalog')";

/// Who gives the statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// A user, who is told what commands did.
    Prompt,
    /// A file or a pipe, whose output may be read by a program.
    Script,
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// With what follows.
    GoOn,
    /// `\q`
    Leave,
}

/// A connection, with what commands set.
pub(super) struct Session {
    client: Arc<Mutex<Client>>,
    mode: Mode,
    format: Format,
    expanded: Switch,
    timing: Switch,
    pager: Switch,
    /// Results go here instead of to standard output.
    file: Option<Arc<File>>,
    /// What `\watch` repeats.
    last: Option<String>,
    /// `\watch` repeats, and nobody is to leave a pager each time.
    watching: bool,
    changes: Changes,
}

impl Session {
    /// A session on a connection.
    pub(super) fn new(client: Client, format: Format, mode: Mode) -> Self {
        Self {
            client: Arc::new(Mutex::new(client)),
            mode,
            format,
            expanded: Switch::Off,
            timing: Switch::Off,
            pager: Switch::On,
            file: None,
            last: None,
            watching: false,
            changes: Changes::default(),
        }
    }

    /// Its connection, for what completion asks.
    pub(super) fn client(&self) -> Arc<Mutex<Client>> {
        Arc::clone(&self.client)
    }

    /// Counts the statements after which names may be others.
    pub(super) fn changes(&self) -> Changes {
        Arc::clone(&self.changes)
    }

    /// Runs the statements and commands of a text; a last statement may lack its semicolon.
    pub(super) async fn run(&mut self, text: &str) -> Result<Next, Failure> {
        // One that was cancelled did not say so.
        self.watching = false;
        self.run_included(text, 0).await
    }

    /// Boxed, as files take in files.
    fn run_included<'a>(
        &'a mut self,
        text: &'a str,
        depth: usize,
    ) -> BoxFuture<'a, Result<Next, Failure>> {
        Box::pin(async move {
            // Editors put a byte-order mark at the beginning of a file.
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            let cut = statements::cut(text);
            let last = cut.rest_is_statement.then(|| Item::Statement(cut.rest.trim()));
            for item in cut.items.into_iter().chain(last) {
                match item {
                    Item::Statement(statement) => {
                        self.last = Some(statement.to_owned());
                        self.statement(statement).await?;
                    }
                    Item::Command(line) => {
                        let command = Command::parse(line).map_err(Failure::Command)?;
                        if self.command(command, depth).await? == Next::Leave {
                            return Ok(Next::Leave);
                        }
                    }
                }
            }
            Ok(Next::GoOn)
        })
    }

    async fn command(&mut self, command: Command, depth: usize) -> Result<Next, Failure> {
        match command {
            Command::Quit => return Ok(Next::Leave),
            Command::Help => writeln!(io::stdout(), "{HELP}")?,
            Command::List(relations) => self.statement(&list(relations)).await?,
            Command::Describe(name) => self.statement(&format!("DESCRIBE {name}")).await?,
            Command::Databases => self.statement("SHOW DATABASES").await?,
            Command::Connect(None) => self.statement("SHOW database").await?,
            Command::Connect(Some(name)) => {
                self.execute(&format!("USE {name}")).await?;
                self.tell(format_args!("the database is {name}"));
            }
            Command::Include(path) => return self.include(&path, depth).await,
            Command::Output(path) => self.redirect(path)?,
            Command::Format(format) => {
                self.format = format.unwrap_or(self.format);
                self.tell(format_args!("the format is {}", self.format.name()));
            }
            Command::Expanded(switch) => {
                self.expanded.set(switch);
                self.tell(format_args!("a line per column is {}", self.expanded.name()));
            }
            Command::Timing(switch) => {
                self.timing.set(switch);
                self.tell(format_args!("timing is {}", self.timing.name()));
            }
            Command::Pager(switch) => {
                self.pager.set(switch);
                self.tell(format_args!("the pager is {}", self.pager.name()));
            }
            Command::Watch(interval) => self.watch(interval).await?,
        }
        Ok(Next::GoOn)
    }

    /// Runs a file; `\q` ends the file alone.
    async fn include(&mut self, path: &Path, depth: usize) -> Result<Next, Failure> {
        let refused = |why: String| Failure::Command(format!("{}: {why}", path.display()));
        if depth >= INCLUDES_MAX {
            return Err(refused(format!("files take in files at most {INCLUDES_MAX} deep")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| refused(error.to_string()))?;
        self.run_included(&text, depth + 1).await.map(|_| Next::GoOn)
    }

    fn redirect(&mut self, path: Option<PathBuf>) -> Result<(), Failure> {
        self.file = match path {
            None => None,
            Some(path) => match File::create(&path) {
                Ok(file) => Some(Arc::new(file)),
                Err(error) => {
                    return Err(Failure::Command(format!("{}: {error}", path.display())));
                }
            },
        };
        Ok(())
    }

    /// Repeats the last statement until the future is dropped, or the statement fails.
    async fn watch(&mut self, interval: Duration) -> Result<(), Failure> {
        let refused = |why: &str| Failure::Command(format!("\\watch {why}"));
        if self.mode == Mode::Script {
            return Err(refused("is for the prompt: nothing would end it in a script"));
        }
        let Some(statement) = self.last.clone() else {
            return Err(refused("repeats the last statement, and there is none"));
        };
        self.watching = true;
        loop {
            let now = chrono::DateTime::from_timestamp_nanos(SystemClock::default().now_nanos());
            self.tell(format_args!("{} (Ctrl-C ends it)", now.format("%Y-%m-%dT%H:%M:%SZ")));
            self.statement(&statement).await?;
            tokio::time::sleep(interval).await;
        }
    }

    /// Runs one statement, and tells how long it took if that is wanted.
    async fn statement(&mut self, statement: &str) -> Result<(), Failure> {
        let clock = SystemClock::default();
        let begun = clock.monotonic();
        let rows = self.execute(statement).await?;
        if self.timing.is_on() {
            let taken = clock.monotonic().saturating_sub(begun).as_secs_f64() * 1e3;
            // Not to standard output, where a program may read the result.
            let _ = writeln!(io::stderr(), "{taken:.3} ms, {}", counted(rows));
        }
        Ok(())
    }

    /// Runs one statement and writes what it gives; the rows it gave or changed.
    async fn execute(&mut self, statement: &str) -> Result<u64, Failure> {
        let progress = Progress::default();
        progress.beside(self.execute_with(statement, &progress)).await
    }

    async fn execute_with(&mut self, statement: &str, progress: &Progress) -> Result<u64, Failure> {
        let failed = |error| Failure::Client(error, statement.to_owned());
        let client = Arc::clone(&self.client);
        let mut client = client.lock().await;
        if changes_names(statement) {
            // One that fails, or is cancelled, may have done its work.
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        match client.execute(statement).await.map_err(failed)? {
            ClientOutcome::Rows { schema, batches } => {
                let batches = batches.map_err(failed);
                match self.write(&schema, batches, progress).await {
                    // At the prompt the only reader is a pager, which may be left before the end.
                    Err(Failure::Output(error))
                        if self.mode == Mode::Prompt && is_broken_pipe(&error) =>
                    {
                        Ok(progress.rows())
                    }
                    written => written,
                }
            }
            ClientOutcome::Updated(count) => {
                progress.end();
                // Other forms are read by programs, which expect rows or nothing.
                if self.format == Format::Table {
                    writeln!(self.sink(), "{}", done(statement, count))?;
                }
                Ok(count.unwrap_or(0))
            }
        }
    }

    async fn write(
        &mut self,
        schema: &SchemaRef,
        mut batches: impl Stream<Item = Result<RecordBatch, Failure>> + Unpin,
        progress: &Progress,
    ) -> Result<u64, Failure> {
        let shape = match (self.format, self.expanded) {
            (Format::Table, Switch::On) => Shape::Records,
            (format, _) => Shape::Plain(format),
        };
        let streams = self.format != Format::Table;
        let mut output = Output::begin(shape, schema, self.long_sink())?;
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            progress.add(batch.num_rows() as u64);
            // Both may be the terminal, and a spinner among rows would spoil them.
            if streams && self.at_terminal() {
                progress.end();
            }
            if output.write(&batch)? == More::Enough {
                break;
            }
        }
        // Dropped before the table is drawn: the server stops working on rows that nobody will see.
        drop(batches);
        progress.end();
        output.finish()?;
        Ok(progress.rows())
    }

    /// Where results go that may be long.
    fn long_sink(&self) -> BufWriter<Box<dyn Write + Send>> {
        // Arrow is for programs.
        let wanted = self.pager.is_on() && !self.watching && self.format != Format::Arrow;
        let paged = wanted && self.mode == Mode::Prompt && self.at_terminal();
        let sink: Box<dyn Write + Send> = match Paged::new().filter(|_| paged) {
            Some(paged) => Box::new(paged),
            None => self.sink(),
        };
        BufWriter::with_capacity(1 << 16, sink)
    }

    /// Whether results are written to the terminal.
    fn at_terminal(&self) -> bool {
        self.file.is_none() && io::stdout().is_terminal()
    }

    /// Where results go.
    fn sink(&self) -> Box<dyn Write + Send> {
        match &self.file {
            Some(file) => Box::new(Arc::clone(file)),
            None => Box::new(io::stdout()),
        }
    }

    /// Tells the user what a command did. A script's output is its results alone.
    fn tell(&self, text: std::fmt::Arguments<'_>) {
        if self.mode == Mode::Prompt {
            let _ = writeln!(io::stdout(), "{text}");
        }
    }
}

/// Whether names may be others after a statement.
fn changes_names(statement: &str) -> bool {
    let pieces = statements::pieces(statement);
    pieces.iter().find(|piece| piece.is_code()).is_some_and(|verb| {
        ["ALTER", "CREATE", "DROP", "RESET", "SET", "USE"]
            .iter()
            .any(|word| verb.text.eq_ignore_ascii_case(word))
    })
}

/// The query of `\d`, `\dt`, `\dv`.
fn list(relations: Relations) -> String {
    let only = match relations {
        Relations::All => "",
        Relations::Tables => " AND table_type = 'BASE TABLE'",
        Relations::Views => " AND table_type = 'VIEW'",
    };
    format!(
        "SELECT table_name AS name, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind \
         FROM information_schema.tables WHERE table_schema = 'public' \
         AND table_catalog = {CURRENT_DATABASE}{only} ORDER BY name"
    )
}

fn done(statement: &str, count: Option<u64>) -> String {
    let word = statement.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    let counts = ["INSERT", "DELETE", "UPDATE", "COPY"].contains(&word.as_str());
    match count {
        Some(1) => "OK, 1 row".to_owned(),
        Some(n) if n > 1 || counts => format!("OK, {n} rows"),
        Some(_) | None => "OK".to_owned(),
    }
}

/// `1 row`, `2 rows`.
fn counted(rows: u64) -> String {
    format!("{rows} row{}", if rows == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_changed_are_counted_where_the_statement_counts_them() {
        assert_eq!(done("INSERT INTO t VALUES (1)", Some(1)), "OK, 1 row");
        assert_eq!(done("insert into t select 1", Some(0)), "OK, 0 rows");
        assert_eq!(done("DELETE FROM t", None), "OK");
        assert_eq!(done("CREATE TABLE t AS SELECT 1", Some(1000)), "OK, 1000 rows");
        assert_eq!(done("USE d", Some(0)), "OK");
    }

    #[test]
    fn definitions_and_another_database_change_names() {
        for statement in ["create table t (time TIMESTAMP)", "-- x\nUSE lab", "DROP VIEW v"] {
            assert!(changes_names(statement), "{statement}");
        }
        assert!(!changes_names("SELECT 'CREATE'") && !changes_names("INSERT INTO t VALUES (1)"));
    }
}
