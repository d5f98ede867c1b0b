//! Which shards are asked, and how a change of routing comes into force.

use quorate_segment::SeriesKey;

use super::*;

const DAY: i64 = 86_400_000_000_000;

fn routing(spread: u32) -> Routing {
    let mut routing = Routing { shards: (0..8).map(ShardId).collect(), ..Routing::default() };
    routing.add_table(5, TableId(3), DAY, spread);
    routing
}

fn shard(routing: &Routing, series: &SeriesKey, time: i64) -> Option<ShardId> {
    let slice = routing.slices(TableId(3)).unwrap().of(time);
    routing.shard(TableId(3), series.hash64(), slice.start)
}

#[test]
fn a_query_asks_every_shard_that_holds_rows_of_its_range() {
    for spread in [1, 4] {
        let routing = routing(spread);
        for (start, days) in [(0, 1), (-5 * DAY + 3, 2), (17 * DAY + 1, 9)] {
            let time = TimeRange { start, end: start + days * DAY };
            let asked = routing.shards_of(TableId(3), time);
            for i in 0..200 {
                let series = SeriesKey::encode([Some(format!("h{i}").as_str())]);
                for t in [time.start, time.start + DAY / 2, time.end] {
                    let shard = shard(&routing, &series, t).unwrap();
                    assert!(asked.contains(&shard), "spread {spread}: {shard:?} not in {asked:?}");
                }
            }
        }
    }
}

#[test]
fn a_short_range_of_a_small_table_asks_one_shard_and_all_of_time_asks_all() {
    let routing = routing(1);
    let hour = TimeRange { start: 10 * DAY, end: 10 * DAY + 3_600_000_000_000 };
    assert_eq!(routing.shards_of(TableId(3), hour).len(), 1);
    assert_eq!(routing.shards_of(TableId(3), TimeRange::ALL).len(), 8);
}

#[test]
fn one_series_moves_over_all_shards_as_time_goes_on() {
    let routing = routing(1);
    let series = SeriesKey::encode([Some("a")]);
    let shards: BTreeSet<ShardId> =
        (0..100).filter_map(|d| shard(&routing, &series, d * DAY)).collect();
    assert_eq!(shards.len(), 8);
}

#[test]
fn a_later_record_is_in_force_from_its_first_slice_on() {
    let mut routing = routing(1);
    let later = RoutingRecord {
        epoch: 9,
        first_slice: 10 * DAY,
        slice_ns: DAY / 2,
        spread: 4,
        shards: vec![ShardId(8)],
    };
    routing.tables.get_mut(&TableId(3)).unwrap().push(later);
    let series = SeriesKey::encode([Some("a")]);
    assert_ne!(shard(&routing, &series, 10 * DAY - 1), Some(ShardId(8)));
    assert_eq!(shard(&routing, &series, 10 * DAY), Some(ShardId(8)));
    assert_eq!(routing.epoch(TableId(3)), Some(9));
    let across = TimeRange { start: 10 * DAY - 1, end: 10 * DAY };
    assert_eq!(routing.shards_of(TableId(3), across).len(), 2);
}

#[test]
fn an_unknown_table_has_no_shard() {
    assert_eq!(routing(1).shard(TableId(4), 0, 0), None);
    assert!(routing(1).shards_of(TableId(4), TimeRange::ALL).is_empty());
}

fn change(epoch: u64, first_slice: i64, slice_ns: i64, spread: u32) -> PendingRouting {
    PendingRouting { epoch, first_slice, slice_ns, spread }
}

#[test]
fn a_change_comes_into_force_where_it_is_confirmed_and_writers_wait_until_then() {
    let (table, mut routing) = (TableId(3), routing(1));
    assert!(!routing.begin(table, change(9, 10 * DAY + 1, DAY, 4)), "no slice starts there");
    assert!(!routing.begin(table, change(9, i64::MIN, DAY, 4)), "rows may be there");
    assert!(routing.begin(table, change(9, 10 * DAY, DAY / 2, 4)));
    assert!(!routing.begin(table, change(10, 10 * DAY, DAY, 2)), "one at a time");
    assert_eq!(routing.epoch(table), Some(9), "who writes from here on passes the fences");
    assert!(!routing.waits(table, 10 * DAY - 1) && routing.waits(table, 10 * DAY));
    assert_eq!(routing.record(table, 11 * DAY).unwrap().epoch, 5);

    assert_eq!(routing.confirm(table, 8, Some(10 * DAY)), None, "another one's");
    assert_eq!(routing.confirm(table, 9, Some(9 * DAY)), None, "rows were written there since");
    assert_eq!(routing.confirm(table, 9, Some(12 * DAY + 1)), None, "no slice starts there");
    assert!(routing.confirm(table, 9, Some(12 * DAY)).is_some());
    assert_eq!(routing.confirm(table, 9, Some(11 * DAY)), None, "it is done");
    assert!(!routing.waits(table, i64::MAX));
    assert_eq!(routing.record(table, 12 * DAY - 1).unwrap().epoch, 5);
    let record = routing.record(table, 12 * DAY).unwrap();
    assert_eq!((record.epoch, record.slice_ns, record.spread), (9, DAY / 2, 4));
    assert_eq!(
        (routing.later_record(table, 0), routing.later_record(table, i64::MAX)),
        (None, Some(9))
    );
}

#[test]
fn a_change_that_is_given_up_leaves_an_epoch_that_passes_its_fences() {
    let (table, mut routing) = (TableId(3), routing(1));
    assert_eq!(routing.slice_after(table, Some(i64::MAX)), None);
    assert!(routing.begin(table, change(9, 10 * DAY, DAY, 4)));
    assert!(routing.confirm(table, 9, None).is_some());
    assert_eq!((routing.epoch(table), routing.tables[&table].len()), (Some(9), 1));
    assert!(routing.begin(table, change(12, 10 * DAY, DAY, 4)));
    assert_eq!(routing.epoch(table), Some(12));
}

/// Rows stay where they are, through changes of widths and spreads that fit each other badly.
#[test]
fn no_change_moves_a_row_or_a_slice_that_holds_one() {
    const TABLE: TableId = TableId(3);
    let widths = [DAY, DAY / 24, 7 * DAY, 5 * 3_600_000_000_007, DAY / 2, 40 * DAY, 1_000_000_000];
    for seed in 0..40_u32 {
        let mut routing = routing(1);
        let mut last: Option<i64> = None;
        let mut rows: BTreeMap<(u32, i64), (ShardId, TimeRange)> = BTreeMap::new();
        for step in 0..12_u32 {
            let first = routing.slice_after(TABLE, last).unwrap();
            let epoch = 100 + u64::from(step);
            let width = widths[(seed + step * 3) as usize % widths.len()];
            let pending = change(epoch, first, width, 1 + seed * step % 5);
            assert!(routing.begin(TABLE, pending));
            assert!(routing.confirm(TABLE, epoch, Some(first)).is_some());
            let place = |routing: &Routing, host: u32, time: i64| {
                let slice = routing.slices(TABLE).unwrap().of(time);
                let series = SeriesKey::encode([Some(format!("h{host}").as_str())]);
                (routing.shard(TABLE, series.hash64(), slice.start).unwrap(), slice)
            };
            for ((host, time), was) in &rows {
                assert_eq!(place(&routing, *host, *time), *was, "seed {seed}, step {step}: {time}");
                let time = TimeRange { start: *time, end: *time };
                assert!(routing.shards_of(TABLE, time).contains(&was.0));
            }
            // Some steps write nothing; others write before and behind the boundary.
            for host in 0..(seed + step) % 4 {
                let days = i64::from(step) - i64::from(host);
                let time = (20_000 + days * 3) * DAY + i64::from(host) * 1_234_567_891;
                rows.insert((host, time), place(&routing, host, time));
                last = last.max(Some(time));
            }
        }
    }
}
