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
        let key = Self(bytes.into());
        let tags = key.try_decode()?;
        if Self::encode(tags.iter().map(Option::as_deref)) == key {
            Ok(key)
        } else {
            Err(SeriesKeyError)
        }
    }

    /// Takes bytes out of a verified directory.
    pub(crate) fn from_verified(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The tag values; tags beyond the last present one are left out.
    ///
    /// # Panics
    ///
    /// Never: keys are made by [`SeriesKey::encode`], or checked.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;

    fn hex(key: &SeriesKey) -> String {
        key.as_bytes().iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"))
    }

    #[test]
    fn keys_and_hashes_are_those_of_the_format_document() {
        let vectors: [(&[Option<&str>], &str, u64); 6] = [
            (&[], "", 0x2d06_8005_38d3_94c2),
            (&[None, Some("")], "", 0x2d06_8005_38d3_94c2),
            (&[Some("a")], "01610000", 0x8961_e9b7_0595_97d7),
            (&[None, Some("a"), None], "0001610000", 0x8a89_c268_efbf_c157),
            (&[Some("host_0"), Some("eu")], "01686f73745f3000000165750000", 0x9658_46bd_0514_ad46),
            (&[Some("a\0b"), None, Some("é")], "016100ff6200000001c3a90000", 0x4646_ed81_f15b_3f09),
        ];
        for (tags, want, hash) in vectors {
            let key = SeriesKey::encode(tags.iter().copied());
            assert_eq!(hex(&key), want, "{tags:?}");
            assert_eq!(key.hash64(), hash, "{tags:?} {:016x}", key.hash64());
        }
    }

    #[test]
    fn bytes_that_encode_does_not_make_are_no_key() {
        for bytes in [
            &[0][..],
            &[2],
            &[1],
            &[1, 97],
            &[1, 97, 0],
            &[1, 97, 0, 1, 0, 0],
            &[1, 0, 0],
            &[1, 0xC3, 0, 0],
        ] {
            assert_eq!(SeriesKey::from_bytes(bytes), Err(SeriesKeyError), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn keys_sort_like_tags(a in any::<[Option<String>; 3]>(), b in any::<[Option<String>; 3]>()) {
            let canonical = |tags: &[Option<String>; 3]| tags.clone().map(|tag| tag.filter(|t| !t.is_empty()));
            let key = |tags: &[Option<String>; 3]| SeriesKey::encode(tags.iter().map(Option::as_deref));
            prop_assert_eq!(key(&a).cmp(&key(&b)), canonical(&a).cmp(&canonical(&b)));
            let mut decoded = key(&a).decode();
            decoded.resize(3, None);
            prop_assert_eq!(decoded, canonical(&a));
            prop_assert_eq!(SeriesKey::from_bytes(key(&a).as_bytes()), Ok(key(&a)));
        }
    }
}
