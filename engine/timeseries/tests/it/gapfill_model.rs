//! Gap filling of random data, against a model of a few lines, over several partitions and small batches.

#![expect(clippy::unwrap_used, reason = "helpers of tests unwrap as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampSecondArray,
};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::Config;

use crate::fixture::session;
use crate::gapfill::rows;

/// A point: series, second, value.
type Point = (Option<u8>, i64, Option<i64>);

/// Points in batches of `size`, dealt out to three partitions.
fn table(points: &[Point], size: usize) -> MemTable {
    let batch = |points: &[Point]| {
        let hosts: StringArray = points.iter().map(|p| p.0.map(|h| format!("h{h}"))).collect();
        let times: TimestampSecondArray = points.iter().map(|p| Some(p.1)).collect();
        let values: Int64Array = points.iter().map(|p| p.2).collect();
        let floats: Float64Array = points.iter().map(|p| p.2.map(|v| v as f64)).collect();
        let columns: [(&str, ArrayRef); 4] = [
            ("host", Arc::new(hosts)),
            ("time", Arc::new(times)),
            ("v", Arc::new(values)),
            ("f", Arc::new(floats)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true)))
            .unwrap()
    };
    let mut partitions = vec![Vec::new(); 3];
    for (i, chunk) in points.chunks(size).enumerate() {
        partitions[i % 3].push(batch(chunk));
    }
    let schema = batch(&[]).schema();
    MemTable::try_new(schema, partitions).unwrap()
}

/// The first value of buckets, and its time.
fn valued<'a>(
    mut buckets: impl Iterator<Item = (&'a i64, &'a (u64, Option<i64>))>,
) -> Option<(i64, i64)> {
    buckets.find_map(|(time, (_, value))| value.map(|value| (*time, value)))
}

/// By start: how many points, and the greatest value.
type Buckets = BTreeMap<i64, (u64, Option<i64>)>;

/// What is to come: one line a bucket of `width` seconds, from `start` to `finish` without it.
fn model(points: &[Point], width: i64, (start, finish): (Option<i64>, i64)) -> Vec<String> {
    let within = |p: &&Point| p.1 < finish && start.is_none_or(|start| p.1 >= start);
    let mut series: BTreeMap<Option<u8>, Buckets> = BTreeMap::new();
    for (host, time, value) in points.iter().filter(within) {
        let bucket = time.div_euclid(width) * width;
        let entry = series.entry(*host).or_default().entry(bucket).or_insert((0, None));
        entry.0 += 1;
        entry.1 = entry.1.max(*value);
    }
    let mut lines = Vec::new();
    for (host, buckets) in series {
        let first = start.map_or(*buckets.keys().next().unwrap(), |s| s.div_euclid(width) * width);
        let step = usize::try_from(width).unwrap();
        let all: BTreeSet<i64> = (first..finish).step_by(step).collect();
        for bucket in all {
            let (count, value) = buckets.get(&bucket).copied().unwrap_or((0, None));
            let before = valued(buckets.range(..=bucket).rev());
            let after = valued(buckets.range(bucket..));
            let line = before.zip(after).map(|((t0, v0), (t1, v1))| {
                if t0 == t1 {
                    return v0;
                }
                let (distance, whole) = ((v1 - v0) * (bucket - t0), t1 - t0);
                // To the nearest, halves away from the earlier value.
                distance.signum() * ((2 * distance.abs() + whole) / (2 * whole)) + v0
            });
            let shown = |v: Option<i64>| v.map_or("NULL".to_owned(), |v| v.to_string());
            let mut text = String::new();
            let name = host.map_or("NULL".to_owned(), |h| format!("h{h}"));
            write!(
                text,
                "{name} {bucket} {count} {} {} {}",
                shown(value),
                shown(before.map(|b| b.1)),
                shown(line)
            )
            .unwrap();
            lines.push(format!("{text} {}", !buckets.contains_key(&bucket)));
        }
    }
    lines.sort();
    lines
}

fn context(points: &[Point], size: usize, batch: usize) -> SessionContext {
    let context = session();
    let state = context.state_ref();
    let name = "datafusion.execution.batch_size";
    state.write().config_mut().options_mut().set(name, &batch.to_string()).unwrap();
    context.register_table("points", Arc::new(table(points, size))).unwrap();
    context
}

fn points() -> impl Strategy<Value = Vec<Point>> {
    let host = prop_oneof![Just(None), (0..3_u8).prop_map(Some)];
    let value = prop_oneof![Just(None), (-50..50_i64).prop_map(Some)];
    proptest::collection::vec((host, -60..200_i64, value), 0..40)
}

proptest! {
    #![proptest_config(Config { cases: 150, ..Config::default() })]
    #[test]
    fn filled_rows_are_those_of_the_model(
        points in points(), size in 1..8_usize, batch in 1..6_usize, width in 1..20_i64,
        start in -70..100_i64, length in 1..200_i64, is_bounded in any::<bool>(), with_keys in any::<bool>()
    ) {
        let points: Vec<Point> =
            points.into_iter().map(|p| if with_keys { p } else { (None, p.1, p.2) }).collect();
        let finish = start + length;
        let lower = if is_bounded { format!("time >= to_timestamp_seconds({start}) AND") } else { String::new() };
        let sql = format!(
            "SELECT host, CAST(t AS BIGINT), c, m, l, i, g FROM (
               SELECT host, date_bin_gapfill('{width}s', time) AS t, count(*) AS c, max(v) AS m, locf(max(v)) AS l,
                      interpolate(max(v)) AS i, gap_filled() AS g
               FROM points WHERE {lower} time < to_timestamp_seconds({finish}) GROUP BY host, t)"
        );
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut got = runtime.block_on(async { rows(&context(&points, size, batch), &sql).await });
        got.sort();
        let want = model(&points, width, (is_bounded.then_some(start), finish));
        prop_assert_eq!(got, want, "{}", sql);
    }
}

proptest! {
    #![proptest_config(Config { cases: 60, ..Config::default() })]
    #[test]
    fn buckets_that_are_filled_in_a_time_zone_are_those_of_its_times(
        from in 1_262_300_000..1_900_000_000_i64, hours in 1..1_500_i64, half in 0..1_800_i64,
        width in prop_oneof![Just("30m"), Just("1h"), Just("90m"), Just("6h"), Just("1d"), Just("1w"), Just("1mo")],
        zone in prop_oneof![
            Just("Europe/Berlin"), Just("America/New_York"), Just("Australia/Lord_Howe"), Just("Pacific/Apia"), Just("UTC")
        ],
    ) {
        let until = from + hours * 3_600 + half;
        let instant = |seconds: &str| {
            format!("arrow_cast(to_timestamp_seconds({seconds}), 'Timestamp(Second, Some(\"UTC\"))')")
        };
        let (first, end) = (instant(&from.to_string()), instant(&until.to_string()));
        let filled = format!(
            "SELECT CAST(t AS BIGINT) FROM (
               SELECT time_bucket_gapfill('{width}', time, '{zone}', {first}, {end}) AS t
               FROM (SELECT {first} AS time WHERE false) AS none GROUP BY t
             ) ORDER BY 1"
        );
        // A clock changes on the hour or half of it, so that a quarter of an hour misses no bucket.
        let time = instant("value");
        let buckets = format!(
            "SELECT DISTINCT CAST(time_bucket('{width}', {time}, '{zone}') AS BIGINT) AS t FROM (
               SELECT value FROM generate_series({from}, {until} - 1, 900)
               UNION ALL SELECT {until} - 1
             ) ORDER BY t"
        );
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (got, want) = runtime.block_on(async {
            (rows(&session(), &filled).await, rows(&session(), &buckets).await)
        });
        prop_assert_eq!(got, want, "{}", filled);
    }
}
