//! The second copy of what must never be forgotten: votes.
//!
//! A vote is a promise. Where the log has lost the record of one, this file still has it; and a vote here
//! that the log does not know proves that the log has lost records. The file also knows the newest segment,
//! so that a segment missing at the end of the log is noticed.
//!
//! ```text
//! │ head │ head │ group │ group │ group │ group │ …      blocks of 4 KiB, each thing in two of them
//! ```
//!
//! Of the two blocks of a thing the one with the greater generation is valid; a write goes to the other one.
//! So a torn write leaves the older content, and what is newer was not acknowledged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes::{BLOCK, Fields, put_bytes, put_position, put_u32, put_u64, put_u128};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::log_segment::{Identity, Image};
use crate::record::GroupImage;
use crate::{Error, GroupId, LogPosition};

/// Name of the file.
pub(crate) const HARDSTATE: &str = "hardstate";
const TEMPORARY: &str = "hardstate.tmp";

const MAGIC_HEAD: [u8; 8] = *b"QWLHEAD\n";
const MAGIC_GROUP: [u8; 8] = *b"QWLVOTE\n";
const VERSION: u32 = 1;
const GROUPS_RESERVED: u64 = 64;

/// What the file knows of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HardVote {
    pub(crate) vote: Option<Arc<[u8]>>,
    pub(crate) vote_seq: u64,
    pub(crate) purged: Option<LogPosition>,
}

/// Which two blocks hold a thing, and how often it was written.
#[derive(Clone, Copy, Debug)]
struct Region {
    number: u64,
    generation: u64,
}

impl Region {
    fn next_offset(&mut self) -> u64 {
        self.generation += 1;
        (self.number * 2 + self.generation % 2) * BLOCK as u64
    }
}

/// The file, open for writing.
#[derive(Debug)]
pub(crate) struct HardState {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    identity: Identity,
    head: Region,
    groups: BTreeMap<GroupId, Region>,
    regions: u64,
}

/// What the file held when it was opened.
#[derive(Debug, Default)]
pub(crate) struct HardStateFound {
    pub(crate) votes: BTreeMap<GroupId, HardVote>,
    pub(crate) newest_segment: u64,
    /// The file was missing, or has a thing of which neither copy can be read.
    pub(crate) damaged: bool,
}

impl HardState {
    /// Makes the file of a new log.
    pub(crate) fn create(disk: &dyn Disk, dir: &Path, identity: Identity) -> Result<Self, Error> {
        let temporary = dir.join(TEMPORARY);
        let path = dir.join(HARDSTATE);
        let failed = |source| Error::Io { action: "create", path: path.clone(), source };
        if disk.exists(&temporary).map_err(failed)? {
            disk.remove(&temporary).map_err(failed)?;
        }
        let file = disk.open(&temporary, OpenMode::CreateNew).map_err(failed)?;
        let zeros = vec![0; BLOCK * 2 * (1 + usize::try_from(GROUPS_RESERVED).unwrap_or(0))];
        file.write_all_at(&zeros, 0).map_err(failed)?;
        let head = Region { number: 0, generation: 0 };
        let mut state = Self { path, file, identity, head, groups: BTreeMap::new(), regions: 1 };
        state.save_newest_segment(0)?;
        disk.rename(&temporary, &state.path)
            .and_then(|()| disk.sync_dir(dir))
            .map_err(|source| Error::Io { action: "create", path: state.path.clone(), source })?;
        Ok(state)
    }

    /// Opens the file and reads what it holds.
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        identity: Identity,
    ) -> Result<(Self, HardStateFound), Error> {
        let path = dir.join(HARDSTATE);
        let failed = |source| Error::Io { action: "read", path: path.clone(), source };
        let file = disk.open(&path, OpenMode::ReadWrite).map_err(failed)?;
        file.sync_data().and_then(|()| file.forget_cached()).map_err(failed)?;
        let mut image = Image::default();
        image.load(&*file).map_err(failed)?;

        let mut found = HardStateFound::default();
        let mut head = Region { number: 0, generation: 0 };
        let mut groups = BTreeMap::new();
        let mut regions = 1;
        for (pair, number) in image.bytes.chunks(2 * BLOCK).zip(0..) {
            if pair.iter().all(|byte| *byte == 0) && number > 0 {
                continue;
            }
            regions = number + 1;
            let magic = if number == 0 { MAGIC_HEAD } else { MAGIC_GROUP };
            let newest = pair
                .chunks(BLOCK)
                .filter_map(|block| decode_block(block, magic, &path).transpose())
                .collect::<Result<Vec<_>, Error>>()?
                .into_iter()
                .max_by_key(|(generation, _)| *generation);
            let Some((generation, body)) = newest else {
                found.damaged = true;
                continue;
            };
            let region = Region { number, generation };
            if number == 0 {
                head = region;
                found.newest_segment = check_head(body, identity, &path)?;
            } else if let Some((group, vote)) = decode_vote(body) {
                groups.insert(group, region);
                found.votes.insert(group, vote);
            } else {
                found.damaged = true;
            }
        }
        Ok((Self { path, file, identity, head, groups, regions }, found))
    }

    /// Records that a segment exists; durable on return.
    pub(crate) fn save_newest_segment(&mut self, segment: u64) -> Result<(), Error> {
        let mut body = Vec::new();
        put_u128(&mut body, self.identity.cluster);
        put_u128(&mut body, self.identity.node);
        put_u64(&mut body, segment);
        let offset = self.head.next_offset();
        self.write_block(offset, MAGIC_HEAD, self.head.generation, &body)?;
        self.sync()
    }

    /// Writes a group's vote; durable after [`HardState::sync`].
    pub(crate) fn save_vote(&mut self, group: GroupId, image: &GroupImage) -> Result<(), Error> {
        let mut body = Vec::new();
        put_u64(&mut body, group.0);
        put_u64(&mut body, image.vote_seq);
        body.push(u8::from(image.purged.is_some()));
        put_position(&mut body, image.purged);
        put_bytes(&mut body, image.vote.as_deref());
        let regions = &mut self.regions;
        let region = self.groups.entry(group).or_insert_with(|| {
            *regions += 1;
            Region { number: *regions - 1, generation: 0 }
        });
        let offset = region.next_offset();
        let generation = region.generation;
        self.write_block(offset, MAGIC_GROUP, generation, &body)
    }

    pub(crate) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|source| self.failed("sync", source))
    }

    fn write_block(
        &self,
        offset: u64,
        magic: [u8; 8],
        generation: u64,
        body: &[u8],
    ) -> Result<(), Error> {
        let block = encode_block(magic, generation, body);
        self.file.write_all_at(&block, offset).map_err(|source| self.failed("write", source))
    }

    fn failed(&self, action: &'static str, source: std::io::Error) -> Error {
        Error::Io { action, path: self.path.clone(), source }
    }
}

const BLOCK_HEAD_LEN: usize = 8 + 4 + 4 + 8 + 4;

fn encode_block(magic: [u8; 8], generation: u64, body: &[u8]) -> Vec<u8> {
    assert!(body.len() + BLOCK_HEAD_LEN <= BLOCK, "vote of {} bytes", body.len());
    let mut out = Vec::with_capacity(BLOCK);
    out.extend_from_slice(&magic);
    put_u32(&mut out, VERSION);
    put_u32(&mut out, u32::try_from(body.len()).expect("it fits a block"));
    put_u64(&mut out, generation);
    let crc = crc32c::crc32c_append(crc32c::crc32c(&out), body);
    put_u32(&mut out, crc);
    out.extend_from_slice(body);
    out.resize(BLOCK, 0);
    out
}

/// Generation and body of a block; `None` for anything that is not intact.
fn decode_block<'a>(
    block: &'a [u8],
    magic: [u8; 8],
    path: &Path,
) -> Result<Option<(u64, &'a [u8])>, Error> {
    let Some((version, generation, body)) = decode_intact_block(block, magic) else {
        return Ok(None);
    };
    if version > VERSION {
        return Err(Error::newer_format(path, u64::from(version)));
    }
    Ok(Some((generation, body)))
}

fn decode_intact_block(block: &[u8], magic: [u8; 8]) -> Option<(u32, u64, &[u8])> {
    let mut fields = Fields::new(block);
    if fields.bytes(8)? != magic {
        return None;
    }
    let version = fields.u32()?;
    let len = fields.u32()? as usize;
    let generation = fields.u64()?;
    let crc = fields.u32()?;
    let body = fields.bytes(len)?;
    let head = &block[..BLOCK_HEAD_LEN - 4];
    (crc32c::crc32c_append(crc32c::crc32c(head), body) == crc)
        .then_some((version, generation, body))
}

fn check_head(body: &[u8], identity: Identity, path: &Path) -> Result<u64, Error> {
    let mut fields = Fields::new(body);
    let mut read = || Some((fields.u128()?, fields.u128()?, fields.u64()?));
    let (cluster, node, newest_segment) = read().unwrap_or_default();
    identity.check(Identity { cluster, node }, path)?;
    Ok(newest_segment)
}

fn decode_vote(body: &[u8]) -> Option<(GroupId, HardVote)> {
    let mut fields = Fields::new(body);
    let group = GroupId(fields.u64()?);
    let vote_seq = fields.u64()?;
    let has_purged = fields.u8()? != 0;
    let purged = fields.position()?;
    let vote = fields.optional_bytes()?.map(Arc::from);
    Some((group, HardVote { vote, vote_seq, purged: has_purged.then_some(purged) }))
}

impl Identity {
    /// Refuses files of another cluster or node.
    pub(crate) fn check(self, found: Self, path: &Path) -> Result<(), Error> {
        if self == found {
            return Ok(());
        }
        let what = if self.cluster == found.cluster {
            format!("belongs to node {:032x}, not to {:032x}", found.node, self.node)
        } else {
            format!("belongs to cluster {:032x}, not to {:032x}", found.cluster, self.cluster)
        };
        Err(Error::Conflict { path: path.to_owned(), what })
    }
}
