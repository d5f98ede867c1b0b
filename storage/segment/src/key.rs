//! A series' key: its tag values as bytes that sort like the tags.
//!
//! Position i holds tag i of the table (ascending by column id): `0x00` for an absent tag; otherwise `0x01`, the
//! UTF-8 bytes with `0x00` written as `0x00 0xFF`, and the end mark `0x00 0x00`. Trailing absent tags are cut off, so
//! that a tag that is added later changes no key. `memcmp` of two keys is the order (tags, NULLS FIRST).

use std::sync::Arc;

/// A series' key. Canonical: equal tags have equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey(Arc<[u8]>);

impl serde::Serialize for SeriesKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// Refuses bytes that are no canonical key.
impl<'de> serde::Deserialize<'de> for SeriesKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> serde::de::Visitor<'de> for Bytes {
            type Value = SeriesKey;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the bytes of a series key")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<SeriesKey, E> {
                SeriesKey::from_bytes(bytes).map_err(E::custom)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<SeriesKey, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element::<u8>()? {
                    bytes.push(byte);
                }
                self.visit_bytes(&bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Whether `encode` gives these bytes for some tags: checked for every key of every log entry, hence without an
/// allocation.
fn is_canonical(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut ends_present = true;
    while let [mark, after @ ..] = rest {
        rest = after;
        ends_present = *mark == 1;
        if *mark > 1 {
            return false;
        }
        let mut is_empty = true;
        while ends_present {
            // A zero is a character of its own, so that what stands between two of them is text.
            let Some(zero) = rest.iter().position(|b| *b == 0) else { return false };
            if std::str::from_utf8(&rest[..zero]).is_err() {
                return false;
            }
            is_empty &= zero == 0;
            match rest.get(zero + 1) {
                Some(0) if is_empty => return false,
                Some(0) => {
                    rest = &rest[zero + 2..];
                    break;
                }
                Some(0xFF) => rest = &rest[zero + 2..],
                Some(_) | None => return false,
            }
            is_empty = false;
        }
    }
    ends_present
}

/// Bytes that are no series key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes are not a series key")]
pub struct SeriesKeyError;

impl SeriesKey {
    /// The key of these tag values, in the order of the tags' column ids. `None` and `""` are absent.
    pub fn encode<'a>(tags: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let mut out = Vec::with_capacity(64);
        let mut len = 0;
        for tag in tags {
            match tag {
                None | Some("") => out.push(0),
                Some(text) => {
                    out.push(1);
                    for &b in text.as_bytes() {
                        out.push(b);
                        if b == 0 {
                            out.push(0xFF);
                        }
                    }
                    out.extend_from_slice(&[0, 0]);
                    len = out.len();
                }
            }
        }
        out.truncate(len);
        Self(out.into())
    }

    /// Takes bytes that [`SeriesKey::encode`] made.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SeriesKeyError> {
        if is_canonical(bytes) { Ok(Self(bytes.into())) } else { Err(SeriesKeyError) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The tag values; tags beyond the last present one are left out.
    pub fn decode(&self) -> Vec<Option<String>> {
        self.try_decode().expect("a key is made by encode, or checked by from_bytes")
    }

    fn try_decode(&self) -> Result<Vec<Option<String>>, SeriesKeyError> {
        let mut tags = Vec::new();
        let mut rest = self.0.iter().copied();
        while let Some(mark) = rest.next() {
            if mark == 0 {
                tags.push(None);
                continue;
            }
            if mark != 1 {
                return Err(SeriesKeyError);
            }
            let mut text = Vec::new();
            loop {
                match rest.next().ok_or(SeriesKeyError)? {
                    0 => match rest.next().ok_or(SeriesKeyError)? {
                        0 => break,
                        0xFF => text.push(0),
                        _ => return Err(SeriesKeyError),
                    },
                    b => text.push(b),
                }
            }
            tags.push(Some(String::from_utf8(text).map_err(|_| SeriesKeyError)?));
        }
        Ok(tags)
    }

    /// A fixed hash of the key: part of the routing token, never to change.
    pub fn hash64(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }
}
