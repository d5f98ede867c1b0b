//! Signed bytes that clients carry for us: prepared statements, tickets, cookies, bearer tokens.
//!
//! Nothing about a client is kept on the node that it happened to ask: what a later call needs is in the bytes that the
//! client brings back, and any node of the cluster can tell by the cluster's key that a node of it made them.
//!
//! ```text
//! version u8 │ purpose u8 │ BLAKE3 keyed hash of (version, purpose, body), 32 bytes │ body
//! ```
//!
//! They are signed, not encrypted: the body is what the client sent itself.

use blake3::Hash;
use bytes::{BufMut, Bytes, BytesMut};

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 2 + blake3::OUT_LEN;

/// What signed bytes are for; bytes made for one purpose are not accepted for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// A prepared statement's handle.
    Prepared = 1,
    /// A ticket that runs a statement.
    Ticket = 2,
    /// The state of a session.
    Cookie = 3,
    /// A bearer token.
    Token = 4,
}

/// Signs bytes and checks them.
#[derive(Clone)]
pub(crate) struct Seal {
    key: [u8; 32],
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seal").finish_non_exhaustive()
    }
}

impl Seal {
    /// A seal of the cluster with this key.
    pub(crate) fn new(cluster_key: &[u8; 32]) -> Self {
        Self { key: blake3::derive_key("quorate flight handles and tickets v1", cluster_key) }
    }

    /// The body, signed.
    pub(crate) fn close(&self, purpose: Purpose, body: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + body.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(purpose as u8);
        bytes.put_slice(self.hash(purpose, body).as_bytes());
        bytes.put_slice(body);
        bytes.freeze()
    }

    /// The body, if the signature is right.
    pub(crate) fn open<'a>(&self, purpose: Purpose, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (head, body) = bytes.split_at_checked(HEAD_BYTES)?;
        let (kind, hash) = head.split_at(2);
        let hash = Hash::from_slice(hash).ok()?;
        // The comparison of two `Hash`es takes the same time wherever they differ.
        (kind == [VERSION, purpose as u8] && hash == self.hash(purpose, body)).then_some(body)
    }

    fn hash(&self, purpose: Purpose, body: &[u8]) -> Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&[VERSION, purpose as u8]);
        hasher.update(body);
        hasher.finalize()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_opens() {
        let seal = Seal::new(&[7; 32]);
        let bytes = seal.close(Purpose::Ticket, b"SELECT 1");
        assert_eq!(seal.open(Purpose::Ticket, &bytes), Some(b"SELECT 1".as_ref()));
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let seal = Seal::new(&[7; 32]);
        let bytes = seal.close(Purpose::Ticket, b"SELECT 1");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.open(Purpose::Ticket, &bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn another_purpose_key_or_length_is_refused() {
        let seal = Seal::new(&[7; 32]);
        let bytes = seal.close(Purpose::Ticket, b"SELECT 1");
        assert_eq!(seal.open(Purpose::Prepared, &bytes), None);
        assert_eq!(Seal::new(&[8; 32]).open(Purpose::Ticket, &bytes), None);
        for length in 0..bytes.len() {
            assert_eq!(seal.open(Purpose::Ticket, &bytes[..length]), None, "{length}");
        }
    }
}
