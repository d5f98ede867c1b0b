//! Tag values of a series key, without an allocation per value.

use std::borrow::Cow;

use crate::SeriesKey;

/// Calls `each` with the position and text of every present tag, ascending.
pub(crate) fn each_tag(key: &SeriesKey, mut each: impl FnMut(usize, &str)) {
    let bytes = key.as_bytes();
    let (mut at, mut position) = (0, 0);
    while at < bytes.len() {
        at += 1;
        if bytes[at - 1] == 1 {
            let (text, end) = text_at(bytes, at);
            each(position, std::str::from_utf8(&text).expect("a key holds valid text"));
            at = end;
        }
        position += 1;
    }
}

/// Number of tags up to the last present one.
pub(crate) fn tag_count(key: &SeriesKey) -> usize {
    let mut count = 0;
    each_tag(key, |position, _| count = position + 1);
    count
}

/// The text that starts here, and where what follows its end mark starts.
fn text_at(bytes: &[u8], start: usize) -> (Cow<'_, [u8]>, usize) {
    let mut text = Cow::Borrowed(&[][..]);
    let mut from = start;
    loop {
        let zero = bytes[from..].iter().position(|b| *b == 0);
        let zero = from + zero.expect("a key's text has an end mark");
        if bytes[zero + 1] == 0 {
            if text.is_empty() {
                return (Cow::Borrowed(&bytes[from..zero]), zero + 2);
            }
            text.to_mut().extend_from_slice(&bytes[from..zero]);
            return (text, zero + 2);
        }
        text.to_mut().extend_from_slice(&bytes[from..=zero]);
        from = zero + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tags: &[Option<&str>]) {
        let key = SeriesKey::encode(tags.iter().copied());
        let mut have = vec![None; tag_count(&key)];
        each_tag(&key, |position, text| have[position] = Some(text.to_owned()));
        assert_eq!(have, key.decode());
    }

    #[test]
    fn tags_are_those_that_were_encoded() {
        check(&[]);
        check(&[None, Some("a"), None]);
        check(&[Some("a\0b"), Some("\0"), Some("\0\0"), None, Some("ü")]);
        check(&[Some("x\0"), None, Some("\0y")]);
    }
}
