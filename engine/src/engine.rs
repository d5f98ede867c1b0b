//! The engine of one node: a store, a DataFusion runtime, and the running queries.

use std::fmt::{Debug, Formatter};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry as _;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::optimizer::Analyzer;
use datafusion::prelude::SessionConfig;
use quorate_storage::{Disk, Durations, Store, StoreOptions};

use crate::exec::{QueryRegistry, QueryRuntime, YieldRule};
use crate::in_lists::InListRule;
use crate::intervals::SpanPlanner;
use crate::lossy_casts::LossyCastRule;
use crate::memory::MemoryDatabases;
use crate::one_zero::OneZeroRule;
use crate::patterns::PatternRewrite;
use crate::physical;
use crate::prune::LastRowsRule;
use crate::scan::{cut_alike, tags_of};
use crate::sql::KnownPlans;
use crate::{Error, ErrorKind, QueryId, Session, SessionOptions, times};

/// Consumers of memory that an error of the memory limit names.
const CONSUMERS_NAMED: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// Memory that a sort which was pushed into a scan may hold back.
const SORT_BUFFER_BYTES: usize = 64 << 20;

/// A setting as `system.settings` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Name, as in the configuration file.
    pub name: String,
    /// Value in force.
    pub value: String,
    /// `default`, `file`, `environment`, `flag`, or `session`.
    pub source: String,
    /// What it does.
    pub description: String,
}

/// Queries of the engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueryStatus {
    /// How many run now.
    pub running: usize,
    /// Durations of those that have ended, however they did.
    pub durations: Durations,
    /// Memory that the running ones have reserved.
    pub memory_bytes: usize,
    /// Plans that were used again instead of planning the same text anew.
    pub plans_reused: u64,
}

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The store's.
    pub store: StoreOptions,
    /// How long a query may run unless its session says otherwise.
    pub query_timeout: Duration,
    /// Memory of all queries together.
    pub query_memory_bytes: u64,
    /// Streams per scan and operator; 0 = one per core.
    pub partitions: usize,
    /// Where queries spill; under the data directory if `None`.
    pub spill_dir: Option<PathBuf>,
    /// Where `COPY` reads and writes files; without it, nowhere.
    pub file_dir: Option<PathBuf>,
    /// Whether aggregates are answered from the summaries of segments.
    pub summaries: bool,
    /// Shown by `system.settings`.
    pub settings: Vec<Setting>,
}

/// The engine of one node.
pub struct Engine {
    store: Store,
    options: EngineOptions,
    template: SessionState,
    runtime: QueryRuntime,
    queries: Arc<QueryRegistry>,
    memory: MemoryDatabases,
    plans: KnownPlans,
}

impl Debug for Engine {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("options", &self.options)
            .field("queries", &self.queries)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the store and the runtime that queries use.
    pub async fn open(disk: Arc<dyn Disk>, options: EngineOptions) -> Result<Arc<Self>, Error> {
        let store = Store::open(disk, options.store.clone()).await?;
        let threads = match options.partitions {
            0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
            n => n,
        };
        // After the store has locked the directory: nobody else spills there.
        let spill = options.spill_dir.clone().unwrap_or_else(|| options.store.dir.join("spill"));
        empty_dir(&spill)?;
        crate::sql::remove_unfinished(&copy_notes(&options));
        let env = runtime_env(&options, spill)?;
        Ok(Arc::new(Self {
            store,
            template: template(threads, options.summaries, env)?,
            runtime: QueryRuntime::start(threads)?,
            queries: Arc::default(),
            memory: MemoryDatabases::new(
                usize::try_from(options.query_memory_bytes / 2).unwrap_or(usize::MAX),
            ),
            plans: KnownPlans::default(),
            options,
        }))
    }

    /// Cancels the queries and closes the store.
    pub async fn close(&self) -> Result<(), Error> {
        self.queries.cancel_all();
        self.runtime.stop_and_wait().await;
        Ok(self.store.close().await?)
    }

    /// The store, for status and tests.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// A session; cheap, one per request is fine.
    pub fn session(self: &Arc<Self>, options: SessionOptions) -> Session {
        Session::new(Arc::clone(self), options)
    }

    /// Runs queries that nobody asked for, so that the first one that somebody asks for need not wait for what every
    /// process does once.
    pub async fn warm_up(self: &Arc<Self>) -> Result<(), Error> {
        crate::sql::warm_up(self).await
    }

    /// Cancels a running query; whether there was one.
    pub fn cancel(&self, query: QueryId) -> bool {
        self.queries.cancel(query)
    }

    /// What its queries are at, and have been.
    pub fn query_status(&self) -> QueryStatus {
        QueryStatus {
            running: self.queries.list().len(),
            durations: self.queries.durations(),
            memory_bytes: self.template.runtime_env().memory_pool.reserved(),
            plans_reused: self.plans.used(),
        }
    }

    /// The settings it was opened with.
    pub(crate) fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Where files that `COPY` has not finished are noted.
    pub(crate) fn copy_notes(&self) -> PathBuf {
        copy_notes(&self.options)
    }

    /// The DataFusion state that every statement starts from; it has no catalog.
    pub(crate) fn template(&self) -> &SessionState {
        &self.template
    }

    /// The memory databases of this node.
    pub(crate) fn memory(&self) -> &MemoryDatabases {
        &self.memory
    }

    /// The plans of queries that it was asked.
    pub(crate) fn plans(&self) -> &KnownPlans {
        &self.plans
    }

    /// Where queries compute.
    pub(crate) fn runtime(&self) -> &QueryRuntime {
        &self.runtime
    }

    /// The running queries.
    pub(crate) fn queries(&self) -> &Arc<QueryRegistry> {
        &self.queries
    }
}

fn copy_notes(options: &EngineOptions) -> PathBuf {
    options.store.dir.join("copies")
}

/// Removes what queries before a crash have spilled.
fn empty_dir(dir: &Path) -> Result<(), Error> {
    let fail = |e: std::io::Error| {
        let message = format!("cannot use {} for spilling: {e}", dir.display());
        Error::request(ErrorKind::Invalid, message)
    };
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail(e)),
        Ok(()) | Err(_) => {}
    }
    std::fs::create_dir_all(dir).map_err(fail)
}

fn runtime_env(options: &EngineOptions, spill: PathBuf) -> Result<Arc<RuntimeEnv>, Error> {
    let bytes = usize::try_from(options.query_memory_bytes).unwrap_or(usize::MAX);
    let pool = TrackConsumersPool::new(FairSpillPool::new(bytes), CONSUMERS_NAMED);
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![spill]));
    Ok(RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(disk)
        .build_arc()?)
}

/// The time zone of sessions that set none.
pub(crate) const UTC: &str = "UTC";

/// Gives a state a time zone, and its functions too: `now()` and `to_timestamp()` answer instants in it, which without
/// a zone would be taken for wall times of another.
pub(crate) fn set_time_zone(state: &mut SessionState, zone: &str) -> Result<(), DataFusionError> {
    state.config_mut().options_mut().execution.time_zone = Some(zone.to_owned());
    if zone == UTC {
        return Ok(());
    }
    let config = Arc::clone(state.config_options());
    let functions = state.scalar_functions().values();
    let moved: Vec<_> =
        functions.filter_map(|function| function.inner().with_updated_config(&config)).collect();
    for function in moved {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}

fn template(
    partitions: usize,
    summaries: bool,
    env: Arc<RuntimeEnv>,
) -> Result<SessionState, DataFusionError> {
    let mut config = SessionConfig::new()
        .with_target_partitions(partitions)
        // Its place is taken by ours, which has more tables.
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema("main", "public");
    let options = config.options_mut();
    // Functions that answer times take their zone from here when they are made.
    options.execution.time_zone = Some(UTC.to_owned());
    // Errors of planning tell the place in the text.
    options.sql_parser.collect_spans = true;
    // Streams that come sorted by series and time are worth more than a shuffle.
    options.optimizer.prefer_existing_sort = true;
    options.execution.sort_pushdown_buffer_capacity = SORT_BUFFER_BYTES;
    // DataFusion 55 plans `b IS NOT TRUE` as a column that may be null, and refuses to group by it otherwise.
    options.execution.skip_physical_aggregate_schema_check = true;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(env)
        .with_default_features()
        .with_analyzer_rules(std::iter::once(times::rule()).chain(Analyzer::new().rules).collect())
        .with_analyzer_rule(Arc::new(InListRule))
        .with_analyzer_rule(Arc::new(OneZeroRule))
        .with_optimizer_rule(Arc::new(LastRowsRule))
        .with_optimizer_rule(Arc::new(LossyCastRule))
        .with_physical_optimizer_rules(physical::rules(summaries))
        .build();
    state.register_function_rewrite(Arc::new(PatternRewrite))?;
    times::install(&mut state)?;
    state.register_expr_planner(Arc::new(SpanPlanner))?;
    let state = quorate_timeseries::install(state)?;
    let mut state = SessionStateBuilder::new_from_existing(state)
        .with_physical_optimizer_rule(quorate_timeseries::sort_within())
        .with_physical_optimizer_rule(quorate_timeseries::part_as_of_joins(cut_alike))
        .with_physical_optimizer_rule(quorate_timeseries::group_by_runs(tags_of))
        .with_physical_optimizer_rule(Arc::new(YieldRule))
        .build();
    crate::sql::install_session_functions(&mut state)?;
    crate::sql::install_gaps(&mut state)?;
    Ok(state)
}
