//! The routing token: a fixed hash that decides a row's shard.
//!
//! ```text
//! slice  = start of the row's time slice            (i64, ns)
//! fold   = xxh3_64(series key) mod spread           (u32)
//! token  = xxh3_64(table id BE u64 ‖ slice BE i64 ‖ fold BE u32)
//! shard  = shards[token mod n]
//! ```
//!
//! The bytes never change: rows stay where a token once put them. `docs/format.md` has test vectors.

use quorate_segment::TableId;

/// The token of all rows of one table, slice and fold of the series.
pub(crate) fn token(table: TableId, slice_start: i64, fold: u32) -> u64 {
    let mut bytes = [0_u8; 20];
    bytes[..8].copy_from_slice(&table.0.to_be_bytes());
    bytes[8..16].copy_from_slice(&slice_start.to_be_bytes());
    bytes[16..].copy_from_slice(&fold.to_be_bytes());
    xxhash_rust::xxh3::xxh3_64(&bytes)
}

/// Which of `spread` folds a series belongs to, by its [`quorate_segment::SeriesKey::hash64`].
pub(crate) fn fold(series_hash: u64, spread: u32) -> u32 {
    u32::try_from(series_hash % u64::from(spread.max(1))).expect("less than a u32")
}

#[cfg(test)]
mod tests {
    use quorate_segment::SeriesKey;

    use super::*;

    #[test]
    fn tokens_are_those_of_the_documented_vectors() {
        let none = SeriesKey::encode([]);
        let host = SeriesKey::encode([Some("server01"), None, Some("eu")]);
        assert_eq!(none.hash64(), 0x2d06_8005_38d3_94c2);
        assert_eq!(host.hash64(), 1_387_185_778_383_982_458);
        let got: Vec<u64> = [
            token(TableId(1), 0, 0),
            token(TableId(2), 1_735_689_600_000_000_000, 0),
            token(TableId(2), 1_735_689_600_000_000_000, fold(host.hash64(), 16)),
            token(TableId(7), i64::MIN, 1_023),
        ]
        .into();
        let want = [
            0x8096_4dbe_ff34_6830,
            0xab85_43ef_a29d_f677,
            0x5424_d07c_91a0_1a73,
            0xeabc_9576_c1d8_6bb3,
        ];
        assert_eq!(got, want, "{got:#x?}");
    }

    #[test]
    fn a_spread_of_one_keeps_a_slice_together_and_a_larger_one_parts_it() {
        assert!((0..1_000).all(|h| fold(h * 7_919, 1) == 0));
        let folds: std::collections::BTreeSet<u32> = (0..1_000).map(|h| fold(h, 16)).collect();
        assert_eq!(folds.len(), 16);
    }
}
