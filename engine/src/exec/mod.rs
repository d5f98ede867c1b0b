//! Running queries: their own runtime, the registry of those that run, and the way of their batches to the client.

mod queries;
mod runtime;
mod stream;
mod yielding;

pub(crate) use queries::{QueryRegistry, QueryTicket, RunningQuery};
pub(crate) use runtime::{QueryRuntime, lost};
pub(crate) use stream::{all_nullable, batches, stream_plan, stream_plans};
pub(crate) use yielding::YieldRule;
