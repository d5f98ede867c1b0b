//! Where a file of `COPY` lies: below the directory that the operator has given, and nowhere else.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use super::super::action::unsupported;
use crate::{Engine, Error, ErrorKind};

/// The file's path below the directory, checked by name only.
pub(super) fn path_of(engine: &Engine, file: &str) -> Result<PathBuf, Error> {
    let Some(dir) = &engine.options().file_dir else {
        return Err(Error::request(
            ErrorKind::Unsupported,
            "COPY reads and writes files of the node, which needs its setting file_dir (`quorate serve --file-dir \
             DIR`); `quorate load` loads files of the client",
        ));
    };
    if file.contains("://") {
        return Err(unsupported("COPY with a URL (name a file below file_dir)"));
    }
    let path = Path::new(file);
    let path = path.strip_prefix(dir).unwrap_or(path);
    let inside =
        path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !inside || path.file_name().is_none() {
        return Err(outside(file));
    }
    Ok(dir.join(path))
}

fn outside(file: &str) -> Error {
    let message =
        format!("{file:?} is not below file_dir; COPY takes relative names, without `..`");
    Error::request(ErrorKind::Invalid, message)
}

/// Follows links, and refuses what they lead to outside of the directory.
fn real(dir: &Path, path: &Path, file: &str) -> Result<PathBuf, Error> {
    let failed = |e: io::Error| cannot("find", file, &e);
    let real = path.canonicalize().map_err(failed)?;
    if real.starts_with(dir.canonicalize().map_err(failed)?) {
        Ok(real)
    } else {
        Err(outside(file))
    }
}

/// Opens a file that is there.
pub(super) fn open(dir: &Path, path: &Path, file: &str) -> Result<File, Error> {
    let real = real(dir, path, file)?;
    let failed = |e: io::Error| cannot("open", file, &e);
    // Before it is opened: that would wait for whoever writes into a pipe.
    if fs::metadata(&real).map_err(failed)?.is_file() {
        return File::open(&real).map_err(failed);
    }
    Err(Error::request(ErrorKind::Invalid, format!("{file:?} is not a file")))
}

/// A file that takes its name when it is whole; until then it has another, and goes if it never becomes so.
#[derive(Debug)]
pub(super) struct NewFile {
    written: PathBuf,
    wanted: PathBuf,
    file: String,
    kept: bool,
    note: Note,
}

impl NewFile {
    /// Makes the file, in a directory that is there. What it leaves behind at a crash is noted among `notes`.
    pub(super) fn create(
        dir: &Path,
        path: &Path,
        file: &str,
        notes: &Path,
    ) -> Result<(Self, File), Error> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(outside(file));
        };
        let parent = real(dir, parent, file)?;
        let wanted = parent.join(name);
        if wanted.is_dir() {
            return Err(Error::request(ErrorKind::Invalid, format!("{file:?} is a directory")));
        }
        let ending = format!("{:016x}.part", rand::random::<u64>());
        let written = parent.join(format!(".{}.{ending}", name.to_string_lossy()));
        let failed = |e: io::Error| cannot("create", file, &e);
        let note = Note::write(notes, &ending, &written).map_err(failed)?;
        let opened = OpenOptions::new().write(true).create_new(true).open(&written);
        let opened = opened.map_err(failed)?;
        Ok((Self { written, wanted, file: file.to_owned(), kept: false, note }, opened))
    }

    /// Makes the rows durable, then the name.
    pub(super) fn keep(mut self, written: &File) -> Result<(), Error> {
        let failed = |e: io::Error| cannot("write", &self.file, &e);
        written.sync_all().map_err(failed)?;
        fs::rename(&self.written, &self.wanted).map_err(failed)?;
        self.kept = true;
        let parent = self.wanted.parent().unwrap_or(Path::new("."));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_file(&self.written)
        {
            tracing::warn!(%error, path = %self.written.display(), "cannot remove what COPY has not finished");
            // The next start tries again.
            self.note.stays = true;
        }
    }
}

/// Says, in the data directory, where an unfinished file lies. The directory of the files may be shared with other nodes
/// and hold files of others, so a start removes what its own notes name and looks for nothing.
///
/// Crashes: the note is durable before the file is there, and goes after it; a note without its file is harmless.
#[derive(Debug)]
struct Note {
    path: PathBuf,
    stays: bool,
}

impl Note {
    fn write(notes: &Path, name: &str, of: &Path) -> io::Result<Self> {
        fs::create_dir_all(notes)?;
        let note = Self { path: notes.join(name), stays: false };
        let mut file = OpenOptions::new().write(true).create_new(true).open(&note.path)?;
        file.write_all(of.as_os_str().as_bytes())?;
        file.sync_all()?;
        File::open(notes)?.sync_all()?;
        Ok(note)
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if !self.stays
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(%error, path = %self.path.display(), "cannot remove a note of COPY");
        }
    }
}

/// Removes the files that a crash has left unfinished, as the notes name them. What fails is logged and tried again at
/// the next start.
pub(crate) fn remove_unfinished(notes: &Path) {
    let Ok(entries) = fs::read_dir(notes) else { return };
    for note in entries.flatten().map(|entry| entry.path()) {
        if let Err(error) = remove_noted(&note) {
            tracing::warn!(%error, note = %note.display(), "cannot remove what COPY has left unfinished");
        }
    }
}

fn remove_noted(note: &Path) -> io::Result<()> {
    let path = PathBuf::from(OsString::from_vec(fs::read(note)?));
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    // A note that was cut short by a crash names no file: its own had not been made.
    let ours = name(&path).zip(name(note)).is_some_and(|(file, ending)| {
        file.starts_with('.') && file.ends_with(&format!(".{ending}"))
    });
    if ours {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
    }
    fs::remove_file(note)
}

/// The error for a file that cannot be used.
pub(super) fn cannot(what: &str, file: &str, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
        _ => ErrorKind::Invalid,
    };
    Error::request(kind, format!("COPY cannot {what} {file:?} of the node: {error}"))
}
