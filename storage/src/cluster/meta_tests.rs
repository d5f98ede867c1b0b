//! The metadata group: bootstrap, routing that follows the catalog, manifests.

use std::path::Path;

use quorate_segment::ColumnKind;
use quorate_wal::{Disk, DiskFault, SimDisk};

use super::super::meta_versions::{
    STATE_WITHOUT_CHANGES, STATE_WITHOUT_NOTES, STATE_WITHOUT_VIEWS,
};
use super::*;
use crate::catalog::{
    CatalogCommand, CatalogRejection, ColumnDefinition, NoteChange, NoteTarget, TableChange,
    TableOptions,
};

const DIR: &str = "/data/meta/manifest";

fn bootstrap(shards: u32) -> MetaCommand {
    MetaCommand::Bootstrap { cluster_key: [7; 32], shards }
}

fn create(name: &str) -> MetaCommand {
    MetaCommand::Catalog(CatalogCommand::CreateTable {
        database: "main".to_owned(),
        name: name.to_owned(),
        columns: vec![ColumnDefinition { name: "time".to_owned(), kind: ColumnKind::Time }],
        options: TableOptions { spread: 4, ..TableOptions::default() },
        if_not_exists: false,
        extend: false,
    })
}

fn entry(index: u64, command: &MetaCommand) -> Applied {
    Applied {
        position: LogPosition { term: 1, leader: 1, index },
        command: Some(encode(command).unwrap()),
        membership: None,
    }
}

fn machine(disk: &Arc<dyn Disk>, purged: Option<LogPosition>) -> Result<MetaMachine, Error> {
    let manifests = ManifestStore::open(Arc::clone(disk), Path::new(DIR))?;
    MetaMachine::open(manifests, purged, &Remedy::Replace, watch::channel(None).0)
}

#[tokio::test]
async fn a_disk_that_fails_while_a_snapshot_comes_ends_the_process() {
    let disk = SimDisk::new(3);
    let process: Arc<dyn Disk> = disk.process();
    let machine = machine(&process, None).unwrap();
    let body = postcard::to_extend(&MetaState::default(), vec![STATE_VERSION]).unwrap();
    let snapshot = Snapshot {
        position: Some(LogPosition { term: 1, leader: 1, index: 9 }),
        membership: Bytes::new(),
        manifest: body.into(),
    };
    disk.inject(DiskFault::Sync, DIR, 0);
    assert!(machine.install(snapshot.clone()).await.is_err());
    let what = machine.failure.subscribe().borrow().clone().unwrap();
    assert!(what.contains(DIR), "{what}");
    machine.install(snapshot).await.unwrap();
}

#[test]
fn a_second_bootstrap_changes_nothing() {
    let mut state = MetaState::default();
    state.apply(1, bootstrap(3));
    let first = state.clone();
    assert!(first.catalog.database("main").is_some());
    assert_eq!(first.routing.shards.len(), 3);
    state.apply(2, MetaCommand::Bootstrap { cluster_key: [9; 32], shards: 5 });
    assert_eq!(state, first);
}

#[test]
fn a_table_has_a_routing_record_from_its_first_entry_to_its_drop() {
    let mut state = MetaState::default();
    state.apply(1, bootstrap(3));
    state.apply(2, create("cpu"));
    let id = state.catalog.table("main", "cpu").unwrap().id;
    let record = state.routing.record(id, 0).unwrap();
    assert_eq!((record.epoch, record.spread, record.first_slice), (2, 4, i64::MIN));
    state.apply(
        3,
        MetaCommand::Catalog(CatalogCommand::DropDatabase {
            name: "main".to_owned(),
            if_exists: false,
        }),
    );
    assert!(state.routing.tables.is_empty());
    assert!(state.catalog.dropped.contains(&id));
}

#[test]
fn ids_that_shards_know_are_not_given_again() {
    let mut state = MetaState::default();
    state.apply(1, bootstrap(3));
    state.apply(2, create("cpu"));
    let cpu = Arc::clone(state.catalog.table("main", "cpu").unwrap());
    let mut known = KnownIds::default();
    known.add(cpu.id, ColumnId(1));
    assert!(!known.is_ahead_of(&state.catalog));
    known.add(cpu.id, ColumnId(7));
    known.add(TableId(cpu.id.0 + 5), ColumnId(0));
    assert!(known.is_ahead_of(&state.catalog));
    state.apply(3, MetaCommand::Reserve(known.clone()));
    assert!(!known.is_ahead_of(&state.catalog));
    assert_eq!(state.catalog.table("main", "cpu").unwrap().column_id_next, 8);
    state.apply(4, create("mem"));
    assert!(state.catalog.table("main", "mem").unwrap().id.0 > cpu.id.0 + 5);
}

#[tokio::test]
async fn a_restart_goes_on_from_the_newest_readable_manifest() {
    let sim = SimDisk::new(1);
    let disk = sim.process();
    let first = machine(&disk, None).unwrap();
    assert!(first.checkpoint().unwrap().is_none(), "nothing was applied");
    first.apply(vec![entry(0, &bootstrap(2)), entry(1, &create("a"))]).await.unwrap();
    assert_eq!(first.checkpoint().unwrap(), None, "there is no manifest before the first");
    let one = first.durable().await.unwrap().position;
    first.apply(vec![entry(2, &create("b"))]).await.unwrap();
    assert_eq!(first.checkpoint().unwrap(), one);
    let two = first.durable().await.unwrap().position;
    assert!(one < two);
    assert_eq!(first.commands_since_manifest(), 0);

    let again = machine(&disk, one).unwrap();
    assert_eq!(again.state(), first.state());
    assert_eq!(again.durable().await.unwrap().position, two);

    sim.flip_bit(&Path::new(DIR).join("00000000000000000002.manifest"), 999).unwrap();
    let fallen_back = machine(&disk, one).unwrap();
    assert_eq!(fallen_back.durable().await.unwrap().position, one);
    assert!(fallen_back.state().catalog.table("main", "b").is_none());
    assert!(machine(&disk, two).is_err(), "the log does not reach back that far");
}

#[test]
fn a_state_from_before_there_were_views_is_read() {
    let mut state = MetaState::default();
    state.apply(0, bootstrap(2));
    state.apply(1, create("a"));
    let Catalog { index, databases, tables, dropped, id_next, views, notes } = &*state.catalog;
    assert!(views.is_empty() && *notes == crate::catalog::Notes::default());
    let catalog = (index, databases, tables, dropped, id_next);
    let routing = (&state.routing.shards, &state.routing.tables);
    let old = (catalog, routing, &state.cluster_key, &state.nodes);
    let bytes = postcard::to_extend(&old, vec![STATE_WITHOUT_VIEWS]).unwrap();
    assert_eq!(decode_state(&bytes), Ok(state));
    assert!(decode_state(&[STATE_VERSION + 1]).unwrap_err().contains("newer"));
}

/// What is made of a manifest that an earlier release wrote.
fn read_fixture(name: &str, version: u8) -> MetaMachine {
    let sim = SimDisk::new(1);
    let disk = sim.process();
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let fixture = Path::new(&package).join("fixtures").join(name);
    let manifest = Manifest::decode(&std::fs::read(fixture).unwrap()).unwrap();
    assert_eq!(manifest.body.first(), Some(&version));
    ManifestStore::open(Arc::clone(&disk), Path::new(DIR)).unwrap().write(&manifest).unwrap();
    machine(&disk, None).unwrap()
}

/// The fixture is the metadata of a release in which the routing of a table never changed.
#[test]
fn a_manifest_from_before_routing_could_change_is_read() {
    let machine = read_fixture("meta-manifest-v4.manifest", STATE_WITHOUT_CHANGES);
    let mut state = machine.state();
    let catalog = Arc::clone(&state.catalog);
    let cpu = catalog.table("main", "cpu").unwrap();
    let day = 86_400_000_000_000;
    let options = TableOptions { retention_ns: Some(30 * day), time_slice_ns: day / 2, spread: 4 };
    assert_eq!(cpu.options, options);
    assert!(catalog.view("main", "busy").is_some() && catalog.dropped.len() == 1);
    assert_eq!(catalog.notes.of_table(cpu.id).unwrap().table.comment.as_deref(), Some("it's ours"));
    assert_eq!((state.nodes.len(), state.routing.shards.len()), (1, 8));
    let record = state.routing.record(cpu.id, 0).unwrap();
    assert_eq!((record.epoch, record.slice_ns, record.spread), (2, day / 2, 4));
    assert_eq!(state.routing.epoch(cpu.id), Some(2));
    assert!(state.routing.pending.is_empty() && state.routing.fences.is_empty());
    // It is changed as any other.
    assert_eq!(state.apply(9, begin(cpu.id, 10 * day, None, Some(8))), MetaReply::Done);
    let bytes = postcard::to_extend(&state, vec![STATE_VERSION]).unwrap();
    assert_eq!(decode_state(&bytes), Ok(state));
}

/// The fixture is the metadata of a node as a release without notes wrote it.
#[test]
fn a_manifest_from_before_there_were_notes_is_read() {
    let machine = read_fixture("meta-manifest-v3.manifest", STATE_WITHOUT_NOTES);
    let catalog = machine.state().catalog;
    let cpu = catalog.table("main", "cpu").unwrap();
    assert_eq!(cpu.tags().map(|tag| tag.name.as_str()).collect::<Vec<_>>(), ["host"]);
    assert_eq!(cpu.options.retention_ns, Some(30 * 86_400_000_000_000));
    let view = catalog.view("main", "busy").unwrap();
    assert_eq!(view.query, "SELECT * FROM cpu WHERE usage > 1");
    assert!(catalog.table("lab", "gone").is_none() && catalog.database("lab").is_some());
    assert_eq!(catalog.dropped.len(), 1);
    assert_eq!(catalog.notes, crate::catalog::Notes::default());
}

#[tokio::test]
async fn notes_are_there_after_a_restart() {
    let sim = SimDisk::new(1);
    let disk = sim.process();
    let first = machine(&disk, None).unwrap();
    first.apply(vec![entry(0, &bootstrap(2)), entry(1, &create("a"))]).await.unwrap();
    let id = first.state().catalog.table("main", "a").unwrap().id;
    let changes = vec![NoteChange::Comment(Some("it's ours".to_owned()))];
    let note = CatalogCommand::Annotate { target: NoteTarget::Table(id), changes };
    first.apply(vec![entry(2, &MetaCommand::Catalog(note))]).await.unwrap();
    first.checkpoint().unwrap();
    let again = machine(&disk, None).unwrap().state();
    let note = &again.catalog.notes.of_table(id).unwrap().table;
    assert_eq!(note.comment.as_deref(), Some("it's ours"));
    assert_eq!(again, first.state());
}

const DAY: i64 = 86_400_000_000_000;

fn begin(table: TableId, first_slice: i64, width: Option<i64>, spread: Option<u32>) -> MetaCommand {
    let change = OptionsChange { time_slice_ns: width, spread, retention_ns: None };
    MetaCommand::BeginRouting { table, first_slice, change }
}

fn confirm(table: TableId, epoch: u64, first_slice: Option<i64>) -> MetaCommand {
    MetaCommand::ConfirmRouting { table, epoch, first_slice }
}

/// A state with the table `cpu`: slices of a day, spread 4.
fn with_cpu() -> (MetaState, TableId) {
    let mut state = MetaState::default();
    state.apply(1, bootstrap(3));
    state.apply(2, create("cpu"));
    let id = state.catalog.table("main", "cpu").unwrap().id;
    (state, id)
}

#[test]
fn a_change_of_routing_is_seen_once_it_is_confirmed() {
    let (mut state, id) = with_cpu();
    assert_eq!(state.apply(3, begin(id, 5 * DAY, Some(DAY / 4), Some(2))), MetaReply::Done);
    let options = |state: &MetaState| state.catalog.tables[&id].options.clone();
    assert_eq!((options(&state).spread, state.routing.epoch(id)), (4, Some(3)));
    assert_eq!(state.catalog.tables[&id].changed_at, 2, "what is planned now is carried out");
    assert_eq!(state.apply(4, begin(id, 5 * DAY, None, Some(8))), MetaReply::Stale);

    assert_eq!(state.apply(5, confirm(id, 3, Some(7 * DAY))), MetaReply::Done);
    assert_eq!((options(&state).time_slice_ns, options(&state).spread), (DAY / 4, 2));
    assert_eq!((state.catalog.tables[&id].changed_at, state.catalog.index), (5, 5));
    assert_eq!(state.routing.record(id, 7 * DAY).unwrap().epoch, 3);
    let done = state.clone();
    assert_eq!(state.apply(6, confirm(id, 3, Some(6 * DAY))), MetaReply::Stale);
    assert_eq!(state, done, "it is ended once");
}

#[test]
fn another_retention_is_in_force_when_the_change_begins() {
    let (mut state, id) = with_cpu();
    let change =
        OptionsChange { retention_ns: Some(Some(9 * DAY)), time_slice_ns: None, spread: Some(1) };
    state.apply(3, MetaCommand::BeginRouting { table: id, first_slice: DAY, change });
    assert_eq!(state.catalog.tables[&id].options.retention_ns, Some(9 * DAY));
    let later = TableOptions { retention_ns: None, ..state.catalog.tables[&id].options.clone() };
    let change = TableChange::SetOptions(later);
    state.apply(4, MetaCommand::Catalog(CatalogCommand::AlterTable { table: id, change }));
    state.apply(5, confirm(id, 3, Some(DAY)));
    let options = &state.catalog.tables[&id].options;
    assert_eq!((options.retention_ns, options.spread), (None, 1), "the later statement counts");
}

#[test]
fn a_change_of_routing_that_cannot_be_changes_nothing() {
    let (mut state, id) = with_cpu();
    let before = state.clone();
    let reply = state.apply(3, begin(id, DAY, None, Some(0)));
    let MetaReply::Catalog(CatalogReply::Rejected(CatalogRejection::Invalid(why))) = reply else {
        panic!("{reply:?}");
    };
    assert!(why.contains("spread is 0"), "{why}");
    assert_eq!(state.apply(4, begin(id, DAY + 1, None, Some(2))), MetaReply::Stale);
    let unknown = state.apply(5, begin(TableId(99), DAY, None, Some(2)));
    assert!(matches!(unknown, MetaReply::Catalog(CatalogReply::Rejected(_))));
    assert_eq!(state.apply(6, confirm(TableId(99), 1, None)), MetaReply::Stale);
    assert_eq!(state, before);

    let mut index = 7;
    for (day, spread) in (0..127).zip([2, 1].into_iter().cycle()) {
        let spread = Some(spread);
        assert_eq!(state.apply(index, begin(id, day * DAY, None, spread)), MetaReply::Done);
        assert_eq!(state.apply(index + 1, confirm(id, index, Some(day * DAY))), MetaReply::Done);
        index += 2;
    }
    let reply = state.apply(index, begin(id, 900 * DAY, None, Some(7)));
    assert!(matches!(&reply, MetaReply::Refused(why) if why.contains("127 times")), "{reply:?}");
}

#[test]
fn routing_that_changes_goes_with_its_table() {
    let (mut state, id) = with_cpu();
    state.apply(3, begin(id, DAY, None, Some(2)));
    let drop = CatalogCommand::DropTable {
        database: "main".to_owned(),
        name: "cpu".to_owned(),
        if_exists: false,
    };
    state.apply(4, MetaCommand::Catalog(drop));
    let routing = &state.routing;
    assert!(routing.tables.is_empty() && routing.pending.is_empty() && routing.fences.is_empty());
    assert_eq!(state.apply(5, confirm(id, 3, Some(DAY))), MetaReply::Stale);
}
