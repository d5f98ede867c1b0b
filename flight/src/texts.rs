//! Text views as plain text: what takes most of the time of a large result with tags.

use arrow::array::{Array, ByteView, StringArray, StringViewArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::error::ArrowError;

/// Bytes of a text that its view holds itself.
const INLINE: usize = 12;

/// Makes of the first `length` bytes as many times as many.
fn repeat(bytes: &mut [u8], length: usize, times: usize) {
    let mut done = 1;
    while done < times {
        let more = done.min(times - done);
        bytes.copy_within(..more * length, done * length);
        done += more;
    }
}

/// An offset that is not behind the last one, which fits.
fn offset(bytes: usize) -> i32 {
    i32::try_from(bytes).expect("no offset is behind the last one")
}

/// The same texts, one behind the other. Short ones are copied at their longest, without a look at their length: the next
/// one overwrites what was too much.
pub(crate) fn plain(views: &StringViewArray) -> Result<StringArray, ArrowError> {
    let nulls = views.nulls().filter(|nulls| nulls.null_count() > 0);
    let length = |row: usize, view: &u128| {
        let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
        if is_null { 0 } else { ByteView::from(*view).length as usize }
    };
    let total = views.views().iter().enumerate().map(|(row, view)| length(row, view)).sum();
    i32::try_from(total).map_err(|_| ArrowError::OffsetOverflowError(total))?;
    let mut bytes = vec![0; total + INLINE];
    let mut offsets = Vec::with_capacity(views.len() + 1);
    let mut end = 0;
    offsets.push(0);
    let mut row = 0;
    while let Some(view) = views.views().get(row) {
        let length = length(row, view);
        if length <= INLINE {
            bytes[end..end + INLINE].copy_from_slice(&view.to_le_bytes()[4..]);
        } else {
            bytes[end..end + length].copy_from_slice(views.value(row).as_bytes());
        }
        // Tags of neighbouring rows are mostly the same.
        let same = |next: &&u128| *next == view;
        let run = match nulls {
            None => 1 + views.views()[row + 1..].iter().take_while(same).count(),
            Some(_) => 1,
        };
        repeat(&mut bytes[end..], length, run);
        offsets.extend((1..=run).map(|n| offset(end + n * length)));
        end += length * run;
        row += run;
    }
    bytes.truncate(total);
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    StringArray::try_new(offsets, Buffer::from(bytes), nulls.cloned())
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, StringViewBuilder};
    use arrow::compute::cast;
    use arrow::datatypes::DataType;

    use super::*;

    fn check(views: &StringViewArray) {
        let want = cast(views, &DataType::Utf8).unwrap();
        assert_eq!(&plain(views).unwrap(), want.as_string::<i32>());
    }

    #[test]
    fn texts_of_all_lengths_are_those_of_a_cast() {
        let mut builder = StringViewBuilder::new();
        for length in (0..30).rev().chain(0..30) {
            builder.append_value("é".repeat(length / 2) + &"x".repeat(length % 2));
            builder.append_null();
        }
        let views = builder.finish();
        check(&views);
        for start in 0..14 {
            check(&views.slice(start, 40));
        }
        check(&views.slice(0, 0));
        let runs = [("a", 5), ("", 3), ("twelve bytes", 1), ("a text that is long", 9), ("é", 70)];
        let runs = runs.into_iter().flat_map(|(text, times)| std::iter::repeat_n(text, times));
        check(&StringViewArray::from_iter_values(runs));
        check(&StringViewArray::from(vec!["a", "", "twelve bytes", "and a longer one"]));
    }

    #[test]
    fn what_stands_under_a_null_is_left_out() {
        let views = StringViewArray::from(vec!["short", "a text that is long", "last"]);
        let nulls = Some(vec![true, false, true].into());
        let buffers = views.data_buffers().to_vec();
        let views = StringViewArray::new(views.views().clone(), buffers, nulls);
        check(&views);
        assert_eq!(plain(&views).unwrap().value_data(), b"shortlast");
    }
}
