//! Running queries: their own runtime, the registry of those that run, and the way of their batches to the client.

mod queries;
mod runtime;
mod stream;
mod yielding;

pub(crate) use queries::{QueryRegistry, QueryTicket, RunningQuery};
pub(crate) use runtime::{QueryRuntime, lost};
pub(crate) use stream::{batches, stream_plan};
pub(crate) use yielding::YieldRule;
