//! Where the values of neighbouring rows differ.

use datafusion::arrow::array::types::ByteViewType;
use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, GenericByteViewArray, PrimitiveArray,
    downcast_primitive_array, make_comparator,
};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::compute::kernels::cmp::distinct;
use datafusion::arrow::datatypes::ArrowNativeTypeOp;
use datafusion::error::Result;

/// Rows of which the first and the last are compared before all others.
const LEAP: usize = 1024;

/// Bytes up to which a view holds the text itself.
const INLINE: u128 = 12;

/// Sets the mark of each row whose value is not that of the row before it. Null is not distinct from null; floats are
/// told apart by their bits.
pub(crate) fn mark_changes(array: &ArrayRef, marks: &mut [bool]) -> Result<()> {
    if array.len() < 2 {
        return Ok(());
    }
    if array.null_count() == 0 {
        let array = array.as_ref();
        if let Some(texts) = array.as_string_view_opt() {
            mark_views(texts, marks);
            return Ok(());
        }
        downcast_primitive_array!(
            array => { mark_values(array, marks); return Ok(()); },
            _ => {}
        );
    }
    let pairs = array.len() - 1;
    let (before, after) = (array.slice(0, pairs), array.slice(1, pairs));
    let differ = distinct(&before, &after)?;
    for pair in differ.values().set_indices() {
        marks[pair + 1] = true;
    }
    Ok(())
}

/// Sets the marks of rows that differ from the row before them in any column. Rows are sorted by these columns, so that all
/// rows between two that are alike are like them: most of long runs is not looked at.
pub(crate) fn mark_changes_of_sorted(columns: &[ArrayRef], marks: &mut [bool]) -> Result<()> {
    let compare = columns
        .iter()
        .map(|column| make_comparator(column, column, SortOptions::default()))
        .collect::<Result<Vec<_>, _>>()?;
    let rows = marks.len();
    for start in (0..rows).step_by(LEAP) {
        // From the last row before these on.
        let (from, end) = (start.saturating_sub(1), rows.min(start + LEAP));
        if compare.iter().all(|compare| compare(from, end - 1).is_eq()) {
            continue;
        }
        for column in columns {
            mark_changes(&column.slice(from, end - from), &mut marks[from..end])?;
        }
    }
    Ok(())
}

fn mark_values<T: ArrowPrimitiveType>(array: &PrimitiveArray<T>, marks: &mut [bool]) {
    let values: &[T::Native] = array.values();
    for (mark, pair) in marks[1..].iter_mut().zip(values.windows(2)) {
        *mark |= !pair[0].is_eq(pair[1]);
    }
}

/// Equal views are equal texts; of unequal ones, only long texts of one length need a look at their bytes.
fn mark_views<T: ByteViewType + ?Sized>(array: &GenericByteViewArray<T>, marks: &mut [bool]) {
    let views: &[u128] = array.views();
    for (at, pair) in views.windows(2).enumerate() {
        if pair[0] != pair[1] && !marks[at + 1] {
            let length = |view: u128| view & u128::from(u32::MAX);
            let may_equal = length(pair[0]) == length(pair[1]) && length(pair[0]) > INLINE;
            let bytes = |row| -> &[u8] { AsRef::<[u8]>::as_ref(array.value(row)) };
            marks[at + 1] = !may_equal || bytes(at) != bytes(at + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        BooleanArray, Float64Array, Int64Array, StringArray, StringViewArray,
    };

    use super::*;

    #[test]
    fn runs_of_sorted_rows_are_leapt_over() {
        for run in [1, 7, 1000, 1024, 1025, 3000] {
            let hosts =
                (0..5000).map(|row| (row / run > 0).then(|| format!("host {:05}", row / run)));
            let cores: Int64Array = (0..5000).map(|row| Some(row % run / 600)).collect();
            let hosts: StringViewArray = hosts.collect();
            let columns = [Arc::new(hosts) as ArrayRef, Arc::new(cores) as ArrayRef];
            let (mut want, mut got) = (vec![false; 5000], vec![false; 5000]);
            for column in &columns {
                mark_changes(column, &mut want).unwrap();
            }
            mark_changes_of_sorted(&columns, &mut got).unwrap();
            assert_eq!(got, want, "{run}");
        }
    }

    fn marks(array: impl Array + 'static) -> Vec<usize> {
        let mut marks = vec![false; array.len()];
        mark_changes(&(Arc::new(array) as ArrayRef), &mut marks).unwrap();
        (0..marks.len()).filter(|row| marks[*row]).collect()
    }

    #[test]
    fn changes_are_where_values_differ() {
        assert_eq!(marks(Int64Array::from(vec![1, 1, 2, 2, 1])), [2, 4]);
        let with_null = vec![None, None, Some(1), None, Some(1), Some(1)];
        assert_eq!(marks(Int64Array::from(with_null)), [2, 3, 4]);
        assert_eq!(marks(BooleanArray::from(vec![true, true, false])), [2]);
        assert_eq!(marks(StringArray::from(vec!["a", "a", "", "a"])), [2, 3]);
        assert_eq!(marks(Float64Array::from(vec![0.0, -0.0, f64::NAN, f64::NAN])), [1, 2]);
        assert_eq!(marks(Int64Array::from(Vec::<i64>::new())), [0usize; 0]);
        assert_eq!(marks(Int64Array::from(vec![7])), [0usize; 0]);
    }

    #[test]
    fn long_texts_are_compared_by_their_bytes() {
        let long = "a text that no view can hold";
        let other = "a text that no view can hole";
        let rows = vec![long, long, other, "short", "short", long, "a text that no view can"];
        assert_eq!(marks(StringViewArray::from(rows)), [2, 3, 5, 6]);
        let with_null = vec![Some(long), Some(long), None, None, Some(other)];
        assert_eq!(marks(StringViewArray::from(with_null)), [2, 4]);
    }
}
