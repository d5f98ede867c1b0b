//! Tests of the disk that loses power with its process: a second disk over the same directory sees what is left.

use proptest::prelude::*;

use super::*;

#[test]
fn bytes_are_seen_at_once_and_survive_only_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let disk = PowerCutDisk::new();
    let file = disk.open(&path, OpenMode::CreateNew).unwrap();
    file.write_all_at(b"one", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(dir.path()).unwrap();
    file.write_all_at(b"two", 2).unwrap();
    let again = disk.open(&path, OpenMode::Read).unwrap();
    let mut bytes = [0; 8];
    assert_eq!(again.read_at(&mut bytes, 0).unwrap(), 5);
    assert_eq!(&bytes[..5], b"ontwo");

    let survivor = PowerCutDisk::new().open(&path, OpenMode::Read).unwrap();
    assert_eq!(survivor.len().unwrap(), 3);
    file.sync_data().unwrap();
    assert_eq!(survivor.len().unwrap(), 5);
    survivor.read_exact_at(&mut bytes[..5], 0).unwrap();
    assert_eq!(&bytes[..5], b"ontwo");
}

#[test]
fn names_survive_only_a_sync_of_their_directory() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name);
    let disk = PowerCutDisk::new();
    let file = disk.open(&path("a"), OpenMode::CreateNew).unwrap();
    file.write_all_at(b"x", 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(disk.list(dir.path()).unwrap(), ["a"]);
    assert!(PowerCutDisk::new().list(dir.path()).unwrap().is_empty(), "and swept");

    let disk = PowerCutDisk::new();
    for name in ["a", "b"] {
        disk.open(&path(name), OpenMode::CreateNew).unwrap().sync_data().unwrap();
    }
    disk.sync_dir(dir.path()).unwrap();
    disk.rename(&path("a"), &path("c")).unwrap();
    disk.remove(&path("b")).unwrap();
    assert!(disk.exists(&path("c")).unwrap() && !disk.exists(&path("b")).unwrap());
    assert_eq!(disk.list(dir.path()).unwrap(), ["c"]);
    assert_eq!(PowerCutDisk::new().list(dir.path()).unwrap(), ["a", "b"]);
    disk.sync_dir(dir.path()).unwrap();
    assert_eq!(PowerCutDisk::new().list(dir.path()).unwrap(), ["c"]);
    assert_eq!(disk.list(dir.path()).unwrap(), ["c"]);
}

#[test]
fn a_name_can_be_removed_and_made_anew_before_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let disk = PowerCutDisk::new();
    disk.open(&path, OpenMode::CreateNew).unwrap();
    disk.remove(&path).unwrap();
    let file = disk.open(&path, OpenMode::CreateNew).unwrap();
    file.write_all_at(b"new", 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(dir.path()).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"new");
    assert_eq!(disk.open(&path, OpenMode::Read).unwrap().len().unwrap(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn reads_see_what_a_plain_file_would_hold(
        writes in prop::collection::vec((0_u64..200, prop::collection::vec(any::<u8>(), 0..80), any::<bool>()), 1..30)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let disk = PowerCutDisk::new();
        let file = disk.open(&path, OpenMode::CreateNew).unwrap();
        let mut model = Vec::new();
        for (offset, bytes, sync) in writes {
            file.write_all_at(&bytes, offset).unwrap();
            let from = usize::try_from(offset).unwrap();
            if !bytes.is_empty() {
                model.resize(model.len().max(from + bytes.len()), 0);
                model[from..from + bytes.len()].copy_from_slice(&bytes);
            }
            if sync {
                file.sync_data().unwrap();
            }
            let mut seen = vec![1; model.len() + 10];
            let len = file.read_at(&mut seen, 0).unwrap();
            prop_assert_eq!(&seen[..len], &model);
            prop_assert_eq!(file.len().unwrap(), model.len() as u64);
        }
    }
}
