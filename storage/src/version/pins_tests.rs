//! Pins: no file goes while it is held, every file goes afterwards.

use super::*;
use crate::version::state::tests::meta;

fn removed(pins: &SegmentPins) -> Vec<FileHash> {
    let mut all = Vec::new();
    pins.remove_released(|hash| -> Result<(), ()> {
        all.push(*hash);
        Ok(())
    })
    .unwrap();
    all
}

#[test]
fn a_file_is_removed_only_after_its_last_pin_is_dropped() {
    let pins = SegmentPins::new();
    let meta = Arc::new(meta(1, 0, 9));
    let version = pins.pin(&meta);
    let view = pins.pin(&meta);
    drop(version);
    assert_eq!(removed(&pins), Vec::<FileHash>::new());
    drop(view);
    assert_eq!(removed(&pins), vec![meta.file_hash]);
    assert_eq!(removed(&pins), Vec::<FileHash>::new());
}

#[test]
fn a_file_that_is_made_again_before_removal_stays() {
    let pins = SegmentPins::new();
    let meta = Arc::new(meta(1, 0, 9));
    drop(pins.pin(&meta));
    let again = pins.create(|| Ok::<_, ()>(vec![Arc::clone(&meta)])).unwrap();
    assert_eq!(removed(&pins), Vec::<FileHash>::new());
    drop(again);
    assert_eq!(removed(&pins), vec![meta.file_hash]);
}

#[test]
fn a_file_that_cannot_be_removed_is_tried_again() {
    let pins = SegmentPins::new();
    let meta = Arc::new(meta(1, 0, 9));
    drop(pins.pin(&meta));
    assert_eq!(pins.remove_released(|_| Err("busy")), Err("busy"));
    assert_eq!(removed(&pins), vec![meta.file_hash]);
}
