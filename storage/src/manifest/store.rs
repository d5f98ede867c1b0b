//! Manifest files: written whole, checked whole, two generations kept.
//!
//! ```text
//! "QRTMNFST" │ format u32 LE │ header len u32 LE │ body len u64 LE │ postcard(header) │ body │ BLAKE3 of all before
//! ```
//!
//! A file is written under a temporary name, synced, renamed to `<index>.manifest`, and the directory is synced: a crash
//! at any point leaves the previous generation current. Each header holds the hash of the manifest before it, a chain
//! that an auditor can follow.
//!
//! Invariants:
//! - a file with the final name is whole, unless the disk damaged it later;
//! - positions ascend from generation to generation.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorate_wal::Disk;
use serde::{Deserialize, Serialize};

use crate::cluster::{read_file, write_file};
use crate::{Error, LogPosition};

const MAGIC: &[u8; 8] = b"QRTMNFST";
/// Newest format that this version reads, and the one that it writes.
const FORMAT: u32 = 1;
const FIXED_BYTES: usize = 8 + 4 + 4 + 8;
const HASH_BYTES: usize = 32;
const SUFFIX: &str = ".manifest";
/// Generations kept.
const GENERATIONS: usize = 2;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    group: u64,
    position: LogPosition,
    membership: Vec<u8>,
    previous: Option<[u8; 32]>,
}

/// One manifest.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manifest {
    /// The Raft group.
    pub(crate) group: u64,
    /// Last log position that it covers.
    pub(crate) position: LogPosition,
    /// The group's membership as of that position.
    pub(crate) membership: Bytes,
    /// Hash of the manifest before it.
    pub(crate) previous: Option<[u8; 32]>,
    /// The state, encoded by its owner.
    pub(crate) body: Bytes,
}

impl Manifest {
    /// As a file.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, Error> {
        let header = Header {
            group: self.group,
            position: self.position,
            membership: self.membership.to_vec(),
            previous: self.previous,
        };
        let header = postcard::to_stdvec(&header)
            .map_err(|e| Error::Internal(format!("cannot encode a manifest: {e}")))?;
        let header_len = u32::try_from(header.len())
            .map_err(|e| Error::Internal(format!("a manifest's header is too long: {e}")))?;
        let mut out = Vec::with_capacity(FIXED_BYTES + header.len() + self.body.len() + HASH_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&header_len.to_le_bytes());
        out.extend_from_slice(&(self.body.len() as u64).to_le_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(&self.body);
        let hash = blake3::hash(&out);
        out.extend_from_slice(hash.as_bytes());
        Ok(out)
    }

    /// Reads a file; the error says what is wrong with it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some(checked) = bytes.len().checked_sub(HASH_BYTES).filter(|n| *n >= FIXED_BYTES)
        else {
            return Err(format!("is cut short at {} bytes", bytes.len()));
        };
        let (content, hash) = bytes.split_at(checked);
        if content[..8] != MAGIC[..] {
            return Err("is no manifest".to_owned());
        }
        let format = u32::from_le_bytes(content[8..12].try_into().expect("four bytes"));
        if format > FORMAT {
            return Err(format!("has format {format}; this version reads up to {FORMAT}"));
        }
        if blake3::hash(content).as_bytes() != hash {
            return Err("does not match its checksum".to_owned());
        }
        let header_len = u32::from_le_bytes(content[12..16].try_into().expect("four bytes"));
        let body_len = u64::from_le_bytes(content[16..24].try_into().expect("eight bytes"));
        let rest = &content[FIXED_BYTES..];
        let header_len = usize::try_from(header_len).map_err(|e| e.to_string())?;
        if (rest.len() as u64).checked_sub(body_len) != Some(header_len as u64) {
            return Err("has lengths that do not add up".to_owned());
        }
        let (header, body) = rest.split_at(header_len);
        let header: Header =
            postcard::from_bytes(header).map_err(|e| format!("has a malformed header: {e}"))?;
        Ok(Self {
            group: header.group,
            position: header.position,
            membership: header.membership.into(),
            previous: header.previous,
            body: Bytes::copy_from_slice(body),
        })
    }
}

/// What loading found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Readable manifests with their hashes, newest first.
    pub(crate) manifests: Vec<(Manifest, [u8; HASH_BYTES])>,
    /// Files that could not be read, with the reason; newer than the first readable one or between.
    pub(crate) damaged: Vec<(PathBuf, String)>,
}

/// The manifests of one group.
#[derive(Debug)]
pub(crate) struct ManifestStore {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl ManifestStore {
    /// Of this directory, which is made where it is missing.
    pub(crate) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { action: "make", path: dir.to_path_buf(), source };
        disk.create_dir_all(dir).map_err(io)?;
        Ok(Self { disk, dir: dir.to_path_buf() })
    }

    fn name(index: u64) -> String {
        format!("{index:020}{SUFFIX}")
    }

    fn names(&self) -> Result<Vec<String>, Error> {
        let mut names = self.disk.list(&self.dir).map_err(|source| self.io("list", source))?;
        names.retain(|n| n.ends_with(SUFFIX));
        names.sort_unstable();
        Ok(names)
    }

    fn io(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Io { action, path: self.dir.clone(), source }
    }

    /// Reads what is there. Leftovers of a write that a crash cut short are removed.
    pub(crate) fn load(&self) -> Result<Loaded, Error> {
        for name in self.disk.list(&self.dir).map_err(|e| self.io("list", e))? {
            if Path::new(&name).extension().is_some_and(|e| e == "tmp") {
                let path = self.dir.join(&name);
                self.disk.remove(&path).map_err(|e| self.io("clean", e))?;
            }
        }
        let mut loaded = Loaded::default();
        for name in self.names()?.into_iter().rev() {
            let path = self.dir.join(&name);
            let bytes = read_file(&*self.disk, &path).map_err(|e| format!("cannot be read: {e}"));
            if let Some(format) = bytes.as_deref().ok().and_then(newer_format) {
                let what =
                    format!("has format {format}; this version of Quorate reads up to {FORMAT}");
                return Err(Error::DataDir { path, what });
            }
            let manifest = bytes.and_then(|bytes| Ok((Manifest::decode(&bytes)?, hash_of(&bytes))));
            match manifest {
                Ok(manifest) => loaded.manifests.push(manifest),
                Err(what) => loaded.damaged.push((path, what)),
            }
        }
        Ok(loaded)
    }

    /// Makes a manifest current; durable on return. Returns its hash. Generations before the last two go.
    pub(crate) fn write(&self, manifest: &Manifest) -> Result<[u8; 32], Error> {
        let bytes = manifest.encode()?;
        let name = Self::name(manifest.position.index);
        write_file(&*self.disk, &self.dir, &name, &bytes).map_err(|e| self.io("write to", e))?;
        let names = self.names()?;
        let old = names.len().saturating_sub(GENERATIONS);
        for name in names.iter().take(old) {
            self.disk.remove(&self.dir.join(name)).map_err(|e| self.io("clean", e))?;
        }
        // No sync: a removed file that comes back after a crash is removed by the next write.
        Ok(hash_of(&bytes))
    }
}

/// The format of a whole manifest that a newer version wrote: it is not damaged, and nothing of it must be given up.
fn newer_format(bytes: &[u8]) -> Option<u32> {
    let content = bytes.len().checked_sub(HASH_BYTES).filter(|n| *n >= FIXED_BYTES)?;
    let (content, hash) = bytes.split_at(content);
    let format = u32::from_le_bytes(*content[8..].first_chunk()?);
    let whole = content.starts_with(MAGIC) && blake3::hash(content).as_bytes() == hash;
    (whole && format > FORMAT).then_some(format)
}

/// The hash at the end of a whole file.
fn hash_of(bytes: &[u8]) -> [u8; HASH_BYTES] {
    bytes.last_chunk().copied().expect("every manifest ends with its hash")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(index: u64) -> Manifest {
        Manifest {
            group: 4,
            position: LogPosition { term: 2, leader: 1, index },
            membership: Bytes::from_static(b"voters"),
            previous: Some([7; 32]),
            body: Bytes::from(vec![index.to_le_bytes()[0]; 300]),
        }
    }

    #[test]
    fn a_newer_format_is_refused_and_not_taken_for_damage() {
        let disk = quorate_wal::SimDisk::new(1).process();
        let dir = Path::new("/manifest");
        let store = ManifestStore::open(Arc::clone(&disk), dir).unwrap();
        store.write(&manifest(1)).unwrap();
        let mut bytes = manifest(2).encode().unwrap();
        let content = bytes.len() - HASH_BYTES;
        bytes[8..12].copy_from_slice(&(FORMAT + 1).to_le_bytes());
        let hash = blake3::hash(&bytes[..content]);
        bytes[content..].copy_from_slice(hash.as_bytes());
        write_file(&*disk, dir, &ManifestStore::name(2), &bytes).unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains("has format 2"), "{error}");
        bytes[content] ^= 1;
        write_file(&*disk, dir, &ManifestStore::name(2), &bytes).unwrap();
        let loaded = store.load().unwrap();
        assert_eq!((loaded.manifests.len(), loaded.damaged.len()), (1, 1));
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_detected() {
        let bytes = manifest(9).encode().unwrap();
        assert_eq!(Manifest::decode(&bytes), Ok(manifest(9)));
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x10;
            assert!(Manifest::decode(&damaged).is_err(), "byte {i}");
            assert!(Manifest::decode(&bytes[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let mut bytes = manifest(9).encode().unwrap();
        bytes[8] = 2;
        let error = Manifest::decode(&bytes).unwrap_err();
        assert_eq!(error, "has format 2; this version reads up to 1");
    }
}
