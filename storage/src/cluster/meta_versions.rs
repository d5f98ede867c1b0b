//! Versions of the metadata's state in manifests: today's, and those that earlier releases wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::meta::{MetaState, NodeRecord};
use super::routing::UnchangedRouting;
use crate::catalog::{Catalog, CatalogWithoutNotes, CatalogWithoutViews};

/// Version of the encoding of the state; the first byte. Version 1 had no nodes, version 2 no views, version 3 no notes,
/// version 4 no changes of routing.
pub(super) const STATE_VERSION: u8 = 5;
pub(super) const STATE_WITHOUT_CHANGES: u8 = 4;
pub(super) const STATE_WITHOUT_NOTES: u8 = 3;
pub(super) const STATE_WITHOUT_VIEWS: u8 = 2;
const STATE_WITHOUT_NODES: u8 = 1;

type Nodes = Arc<BTreeMap<u64, NodeRecord>>;

/// [`MetaState`] as versions 2 to 4 kept it, with the catalog of theirs.
#[derive(Deserialize)]
struct StateWith<C> {
    catalog: C,
    routing: UnchangedRouting,
    cluster_key: Option<[u8; 32]>,
    nodes: Nodes,
}

impl<C: Into<Catalog>> From<StateWith<C>> for MetaState {
    fn from(old: StateWith<C>) -> Self {
        let StateWith { catalog, routing, cluster_key, nodes } = old;
        let (catalog, routing) = (Arc::new(catalog.into()), Arc::new(routing.into()));
        Self { catalog, routing, cluster_key, nodes }
    }
}

/// [`MetaState`] as version 1 kept it.
#[derive(Deserialize)]
struct StateWithoutNodes {
    catalog: CatalogWithoutViews,
    routing: UnchangedRouting,
    cluster_key: Option<[u8; 32]>,
}

impl From<StateWithoutNodes> for MetaState {
    fn from(old: StateWithoutNodes) -> Self {
        let StateWithoutNodes { catalog, routing, cluster_key } = old;
        StateWith { catalog, routing, cluster_key, nodes: Nodes::default() }.into()
    }
}

fn decode<'a, T: Deserialize<'a> + Into<MetaState>>(body: &'a [u8]) -> Result<MetaState, String> {
    postcard::from_bytes::<T>(body).map(Into::into).map_err(|e| e.to_string())
}

/// Reads the body of a manifest.
pub(super) fn decode_state(bytes: &[u8]) -> Result<MetaState, String> {
    match bytes.split_first() {
        Some((&STATE_VERSION, body)) => decode::<MetaState>(body),
        Some((&STATE_WITHOUT_CHANGES, body)) => decode::<StateWith<Catalog>>(body),
        Some((&STATE_WITHOUT_NOTES, body)) => decode::<StateWith<CatalogWithoutNotes>>(body),
        Some((&STATE_WITHOUT_VIEWS, body)) => decode::<StateWith<CatalogWithoutViews>>(body),
        Some((&STATE_WITHOUT_NODES, body)) => decode::<StateWithoutNodes>(body),
        Some((version, _)) => Err(format!("version {version} is newer than {STATE_VERSION}")),
        None => Err("no bytes".to_owned()),
    }
}
