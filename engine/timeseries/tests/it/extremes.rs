//! `min` and `max` of doubles that are not numbers, with and without groups.

use crate::fixture::check;

/// The values in both orders of rows: the answer is the same, with groups and without.
async fn check_extremes(first: &str, second: &str, want: &str) {
    for (one, other) in [(first, second), (second, first)] {
        let rows = format!("(VALUES (1, {one}), (1, {other})) AS t (k, v)");
        let names = "low high";
        check(&format!("SELECT min(v) AS low, max(v) AS high FROM {rows}"), &[names, want]).await;
        let grouped = format!("SELECT min(v) AS low, max(v) AS high FROM {rows} GROUP BY k");
        check(&grouped, &[names, want]).await;
        let single = arrow_single(&rows);
        check(&single, &[names, want]).await;
    }
}

/// The same in single precision.
fn arrow_single(rows: &str) -> String {
    format!(
        "SELECT CAST(min(v) AS DOUBLE) AS low, CAST(max(v) AS DOUBLE) AS high
         FROM (SELECT k, arrow_cast(v, 'Float32') AS v FROM {rows}) GROUP BY k"
    )
}

#[tokio::test]
async fn nan_is_the_greatest_in_any_order_of_rows() {
    check_extremes("'NaN'::DOUBLE", "1.0", "1.0 NaN").await;
    check_extremes("'NaN'::DOUBLE", "'Infinity'::DOUBLE", "inf NaN").await;
    check_extremes("'NaN'::DOUBLE", "NULL", "NaN NaN").await;
}

#[tokio::test]
async fn infinities_alone_stay_infinite() {
    check_extremes("'-Infinity'::DOUBLE", "'-Infinity'::DOUBLE", "-inf -inf").await;
    check_extremes("'Infinity'::DOUBLE", "'Infinity'::DOUBLE", "inf inf").await;
    check_extremes("'Infinity'::DOUBLE", "'-Infinity'::DOUBLE", "-inf inf").await;
}

#[tokio::test]
async fn the_zero_with_a_sign_is_the_smaller_one() {
    check_extremes("-0.0", "0.0", "-0.0 0.0").await;
}

#[tokio::test]
async fn groups_of_nothing_have_no_extremes() {
    check_extremes("NULL::DOUBLE", "NULL::DOUBLE", "NULL NULL").await;
}
