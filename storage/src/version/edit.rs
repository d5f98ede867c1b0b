//! The step from one version to the next.

use serde::{Deserialize, Serialize};

use super::{LiveSegment, SegmentRef};

/// What a finished job does to a version: some segments go, others take their place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// Segments that go.
    pub removed: Vec<SegmentRef>,
    /// Segments that come.
    pub added: Vec<LiveSegment>,
}
