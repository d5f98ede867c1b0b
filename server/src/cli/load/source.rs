//! The files: which ones are meant, what is in them, and how they are opened.
//!
//! A pattern that the shell did not expand is expanded here. Packed files are told by their first bytes. Standard input
//! cannot be read twice: its beginning is kept, for the look at its columns and for the load.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::ValueEnum;
use flate2::bufread::MultiGzDecoder;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum FileFormat {
    /// Comma-separated values, `.csv`, `.tsv`
    Csv,
    /// Parquet, `.parquet`, `.pq`
    Parquet,
    /// Arrow IPC, file or stream, `.arrow`, `.arrows`, `.feather`, `.ipc`
    Arrow,
    /// Line protocol, `.lp`, `.line`
    Lp,
}

/// Bytes of standard input that are kept for a look at its columns.
const HELD_BYTES: u64 = 1 << 20;

const BUFFER_BYTES: usize = 256 << 10;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Where bytes come from.
#[derive(Clone, Debug)]
enum Input {
    Path(PathBuf),
    /// Standard input, and its beginning.
    Stdin(Arc<[u8]>),
}

/// One file.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// As it is shown.
    pub(super) name: String,
    /// What tells it from others, wherever the command is run.
    pub(super) identity: String,
    pub(super) format: FileFormat,
    /// Whether its name says that tabs part its values.
    pub(super) tabs: bool,
    /// Its size, packed as it is; `None` of standard input.
    pub(super) bytes: Option<u64>,
    input: Input,
}

/// The files that arguments mean, in their order.
pub(super) fn sources(
    arguments: &[String],
    format: Option<FileFormat>,
) -> Result<Vec<Source>, String> {
    let mut sources = Vec::new();
    for argument in arguments {
        if argument == "-" {
            if sources.iter().any(|s: &Source| matches!(s.input, Input::Stdin(_))) {
                return Err("standard input can be read once only: `-` is there twice".to_owned());
            }
            sources.push(stdin(format)?);
            continue;
        }
        for path in expand(argument)? {
            sources.push(Source::of_path(path, format)?);
        }
    }
    Ok(sources)
}

/// The files of a pattern in the order of their names; a name that is a file is no pattern.
fn expand(argument: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(argument);
    if path.exists() || !argument.contains(['*', '?', '[']) {
        return Ok(vec![path.to_owned()]);
    }
    // By itself a last `**` matches directories only.
    let below = argument == "**" || argument.ends_with("/**");
    let pattern = if below { format!("{argument}/*") } else { argument.to_owned() };
    let paths = glob::glob(&pattern).map_err(|e| format!("{argument} is no pattern: {e}"))?;
    let mut files = Vec::new();
    for path in paths {
        let path = path.map_err(|e| format!("cannot look for {argument}: {e}"))?;
        if path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(format!("no file matches {argument}"));
    }
    Ok(files)
}

fn stdin(format: Option<FileFormat>) -> Result<Source, String> {
    let format = match format {
        Some(FileFormat::Parquet) => {
            return Err(
                "Parquet is read from its end, which standard input does not have: write it to \
                        a file first"
                    .to_owned(),
            );
        }
        Some(format) => format,
        None => return Err("what is in standard input? Say it with --format".to_owned()),
    };
    let mut held = Vec::new();
    let read = io::stdin().lock().take(HELD_BYTES).read_to_end(&mut held);
    read.map_err(|e| format!("cannot read standard input: {e}"))?;
    Ok(Source {
        name: "standard input".to_owned(),
        identity: "-".to_owned(),
        format,
        tabs: false,
        bytes: None,
        input: Input::Stdin(held.into()),
    })
}

impl Source {
    fn of_path(path: PathBuf, format: Option<FileFormat>) -> Result<Self, String> {
        let name = path.display().to_string();
        let cannot = |e: io::Error| format!("cannot read {name}: {e}");
        let metadata = std::fs::metadata(&path).map_err(cannot)?;
        if metadata.is_dir() {
            return Err(format!("{name} is a directory: give files, such as '{name}/*.csv'"));
        }
        let identity = std::fs::canonicalize(&path).map_err(cannot)?.display().to_string();
        let (found, tabs) = named_format(&path);
        let format = format.or(found).ok_or_else(|| {
            format!("the name of {name} does not tell what is in it: say it with --format")
        })?;
        let bytes = Some(metadata.len());
        Ok(Self { name, identity, format, tabs, bytes, input: Input::Path(path) })
    }

    /// Its bytes, unpacked. Those that were read of it are counted as they are.
    pub(super) fn open(&self, read: &Arc<AtomicU64>) -> Result<Box<dyn BufRead + Send>, String> {
        let raw: Box<dyn Read + Send> = match &self.input {
            Input::Path(path) => Box::new(File::open(path).map_err(|e| self.cannot_read(&e))?),
            Input::Stdin(held) => Box::new(Cursor::new(Arc::clone(held)).chain(io::stdin())),
        };
        self.unpacked(Counted { inner: raw, read: Arc::clone(read) })
    }

    /// Its beginning, for a look at it, and whether that may be cut off.
    pub(super) fn peek(&self) -> Result<(Box<dyn BufRead + Send>, bool), String> {
        match &self.input {
            Input::Path(_) => Ok((self.open(&Arc::default())?, false)),
            Input::Stdin(held) => {
                let cut = held.len() as u64 == HELD_BYTES;
                Ok((self.unpacked(Cursor::new(Arc::clone(held)))?, cut))
            }
        }
    }

    /// The file itself, for formats that are read back and forth; `None` of standard input.
    pub(super) fn file(&self) -> Result<Option<File>, String> {
        match &self.input {
            Input::Path(path) => File::open(path).map(Some).map_err(|e| self.cannot_read(&e)),
            Input::Stdin(_) => Ok(None),
        }
    }

    /// The error of a read.
    pub(super) fn cannot_read(&self, error: &dyn std::fmt::Display) -> String {
        format!("cannot read {}: {error}", self.name)
    }

    fn unpacked(&self, raw: impl Read + Send + 'static) -> Result<Box<dyn BufRead + Send>, String> {
        let mut raw = BufReader::with_capacity(BUFFER_BYTES, raw);
        let head = raw.fill_buf().map_err(|e| self.cannot_read(&e))?;
        if head.starts_with(&GZIP_MAGIC) {
            let unpacked = MultiGzDecoder::new(raw);
            return Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)));
        }
        Ok(Box::new(raw))
    }
}

/// What the name of a file tells of what is in it, and whether tabs part its values.
fn named_format(path: &Path) -> (Option<FileFormat>, bool) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let format = match extension {
        "csv" | "tsv" => Some(FileFormat::Csv),
        "parquet" | "pq" => Some(FileFormat::Parquet),
        "arrow" | "arrows" | "feather" | "ipc" => Some(FileFormat::Arrow),
        "lp" | "line" => Some(FileFormat::Lp),
        _ => None,
    };
    (format, extension == "tsv")
}

/// Counts what is read.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn names(sources: &[Source]) -> Vec<String> {
        let name = |s: &Source| s.name.rsplit('/').next().unwrap_or_default().to_owned();
        sources.iter().map(name).collect()
    }

    #[test]
    fn patterns_are_expanded_in_the_order_of_names() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", "c.lp", "odd[1].csv"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(dir.path().join("d.csv")).unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let found = sources(&[at("?.csv"), at("c.lp")], None).unwrap();
        assert_eq!(names(&found), ["a.csv", "b.csv", "c.lp"]);
        // A name that is there is that file, whatever characters it has.
        assert_eq!(names(&sources(&[at("odd[1].csv")], None).unwrap()), ["odd[1].csv"]);
        for (name, why) in
            [("*.parquet", "no file matches"), ("e.csv", "cannot read"), ("d.csv", "a directory")]
        {
            let error = sources(&[at(name)], None).unwrap_err();
            assert!(error.contains(why) && error.contains(name), "{error}");
        }
    }

    #[test]
    fn two_stars_at_the_end_match_the_files_below() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("x/y")).unwrap();
        for name in ["a.csv", "x/b.csv", "x/y/c.csv"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let pattern = dir.path().join("**").display().to_string();
        assert_eq!(names(&sources(&[pattern], None).unwrap()), ["a.csv", "b.csv", "c.csv"]);
    }

    #[test]
    fn names_tell_formats() {
        let check = |name: &str, want| assert_eq!(named_format(Path::new(name)), want, "{name}");
        check("a.CSV.gz", (Some(FileFormat::Csv), false));
        check("a.b.tsv", (Some(FileFormat::Csv), true));
        check("a.pq", (Some(FileFormat::Parquet), false));
        check("a.feather", (Some(FileFormat::Arrow), false));
        check("a.lp.gz", (Some(FileFormat::Lp), false));
        check("csv", (None, false));
        check("a.txt", (None, false));
    }

    #[test]
    fn packed_files_are_unpacked_whatever_their_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"time,n\n").unwrap();
        let packed = packed.finish().unwrap();
        std::fs::write(&path, &packed).unwrap();
        let source = &sources(&[path.display().to_string()], None).unwrap()[0];
        let read = Arc::default();
        let mut text = String::new();
        source.open(&read).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "time,n\n");
        assert_eq!(read.load(Ordering::Relaxed), packed.len() as u64);
    }
}
