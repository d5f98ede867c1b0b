//! What one statement works with: a catalog, a DataFusion state over it, and the read views that its scans share.

use std::sync::Arc;

use chrono::DateTime;
use datafusion::common::DFSchema;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use quorate_storage::ReadLevel;
use quorate_storage::catalog::{Catalog, Database, Table};

use super::names::{TablePlace, no_database, no_table};
use crate::catalog::{ReadViews, Reads, SERIES, SeriesFunction, databases};
use crate::engine::set_time_zone;
use crate::in_lists::with_exact_lists;
use crate::{Engine, Error, ErrorKind, Session, SessionOptions};

/// The catalog at the read level of a session.
pub(super) async fn catalog(
    engine: &Engine,
    options: &SessionOptions,
) -> Result<Arc<Catalog>, Error> {
    Ok(match options.read_level {
        ReadLevel::Linearizable => engine.store().catalog_linearizable().await?,
        ReadLevel::Session(_) | ReadLevel::Local => engine.store().catalog(),
    })
}

/// Whether there is a database of this name, be it in memory.
pub(super) fn check_database(engine: &Engine, catalog: &Catalog, name: &str) -> Result<(), Error> {
    if engine.memory().get(name).is_some() || catalog.database(name).is_some() {
        return Ok(());
    }
    Err(no_database(name, catalog.databases.values().map(|d| d.name.as_str())))
}

/// What one statement works with.
pub(crate) struct StatementContext {
    pub(crate) engine: Arc<Engine>,
    pub(crate) options: SessionOptions,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) state: SessionState,
    pub(crate) views: Arc<ReadViews>,
}

impl StatementContext {
    /// A context for one statement of a session.
    pub(crate) async fn of(session: &Session) -> Result<Self, Error> {
        Self::new(session.engine(), session.options(), session.now()).await
    }

    /// Takes the catalog at the session's read level, and a DataFusion state over it. `now`, in ns, is what `now()`
    /// answers, instead of the present time.
    pub(crate) async fn new(
        engine: &Arc<Engine>,
        options: SessionOptions,
        now: Option<i64>,
    ) -> Result<Self, Error> {
        let catalog = catalog(engine, &options).await?;
        let views = Arc::new(ReadViews::new(engine.store().clone(), options.read_level.clone()));
        let zone = super::settings::time_zone(&options)?;
        let reads = Reads {
            engine: Arc::downgrade(engine),
            time_zone: Arc::clone(&zone),
            settings: Arc::new(super::settings::list(engine, &options)),
            nested: 0,
        };
        let mut state = engine.template().clone();
        let series = SeriesFunction {
            catalog: Arc::clone(&catalog),
            database: super::current_database(&options).to_owned(),
            reads: reads.clone(),
        };
        state.register_udtf(SERIES, Arc::new(series));
        state.register_catalog_list(databases(Arc::clone(&catalog), reads));
        state.config_mut().set_extension(Arc::clone(&views));
        let config = state.config_mut().options_mut();
        super::current_database(&options).clone_into(&mut config.catalog.default_catalog);
        set_time_zone(&mut state, &zone)?;
        super::set_database(&mut state, super::current_database(&options))?;
        state.mark_start_execution();
        if let Some(now) = now {
            let now = DateTime::from_timestamp_nanos(now);
            state.execution_props_mut().query_execution_start_time = Some(now);
        }
        Ok(Self { engine: Arc::clone(engine), options, catalog, state, views })
    }

    /// Name of the session's database.
    pub(crate) fn database_name(&self) -> &str {
        super::current_database(&self.options)
    }

    /// A database by name.
    pub(crate) fn database(&self, name: &str) -> Result<&Arc<Database>, Error> {
        self.catalog.database(name).ok_or_else(|| {
            if self.engine.memory().get(name).is_some() {
                let message =
                    format!("database {name:?} is in memory: this is not supported there");
                return Error::request(ErrorKind::Unsupported, message);
            }
            no_database(name, self.catalog.databases.values().map(|d| d.name.as_str()))
        })
    }

    /// Whether there is a database of this name, be it in memory.
    pub(crate) fn check_database(&self, name: &str) -> Result<(), Error> {
        check_database(&self.engine, &self.catalog, name)
    }

    /// A table by its place.
    pub(crate) fn table(&self, place: &TablePlace) -> Result<&Arc<Table>, Error> {
        let database = self.database(&place.database)?;
        self.catalog.table(&place.database, &place.table).ok_or_else(|| {
            if self.catalog.view(&place.database, &place.table).is_some() {
                let message = format!("{:?} is a view, not a table", place.table);
                return Error::request(ErrorKind::Invalid, message);
            }
            no_table(&place.database, &place.table, database.tables.keys().map(String::as_str))
        })
    }

    /// An expression with its types settled and its constants folded, `now()` included.
    pub(crate) fn fold(&self, mut expr: Expr, schema: &Arc<DFSchema>) -> Result<Expr, Error> {
        let context = SimplifyContext::builder()
            .with_schema(Arc::clone(schema))
            .with_config_options(Arc::clone(self.state.config_options()))
            .with_query_execution_start_time(
                self.state.execution_props().query_execution_start_time,
            )
            .build();
        let simplifier = ExprSimplifier::new(context);
        for rewrite in self.state.analyzer().function_rewrites() {
            expr = datafusion::common::tree_node::TreeNode::transform_up(expr, |e| {
                rewrite.rewrite(e, schema, self.state.config_options())
            })?
            .data;
        }
        let expr = simplifier.coerce(expr, schema)?;
        Ok(simplifier.simplify(with_exact_lists(expr)?)?)
    }
}
