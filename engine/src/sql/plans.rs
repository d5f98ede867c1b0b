//! [`KnownPlans`]: the logical plans of queries, by their texts.
//!
//! Flight SQL asks about every query twice, for its schema and then for its rows, and a dashboard asks the same every few
//! seconds. What comes of a text before its constants are folded depends on the catalog, the session's database and its
//! time zone alone, so it is kept: parsed, planned, its types settled. `now()`, pruning and read views are left to each
//! run.
//!
//! **Invariants**
//! - A plan is used over the very version of the catalog that it was made over, and that version is read at the session's
//!   level for every run, as for a new text.
//! - Plans that are kept read stored tables and nothing else: all other tables may hold what their statement alone knows.
//! - Only of texts that are queries: a `DELETE` asks a query of its own first, which is not what its text stands for.
//! - No parameters: their values decide types. But see [`super::templates`]: texts that conditions compare with are taken
//!   out of a query, and what is left is kept, too.
//!
//! **Limits.** Least recently used plans are forgotten, and all of them when the catalog changes; long texts are not kept. `EXPLAIN` is planned anew, so that it says
//! what planning costs.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::default_table_source::DefaultTableSource;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use lru::LruCache;
use parking_lot::Mutex;
use quorate_storage::TableId;
use quorate_storage::catalog::Catalog;

use super::StatementContext;
use super::parameters::ParameterRow;
use super::shapes::Shape;
use crate::catalog::{is_stored, united_of};
use crate::{Error, SessionOptions};

/// Plans that are kept.
const PLANS_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("it is not zero");
/// Bytes of the longest text whose plan is kept.
pub(super) const TEXT_BYTES_MAX: usize = 4 << 10;

/// What a plan depends on besides the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Asked {
    sql: String,
    database: String,
    time_zone: Arc<str>,
}

impl Asked {
    fn new(sql: &str, options: &SessionOptions) -> Result<Self, Error> {
        Ok(Self {
            sql: sql.to_owned(),
            database: super::current_database(options).to_owned(),
            time_zone: super::settings::time_zone(options)?,
        })
    }
}

/// A plan that is kept.
#[derive(Debug)]
pub(crate) struct KnownPlan {
    pub(super) schema: SchemaRef,
    pub(super) source: Source,
    /// Tables that it scans more than once.
    pub(super) shared: BTreeSet<TableId>,
    catalog: Arc<Catalog>,
}

/// What there is of a plan.
#[derive(Debug)]
pub(super) enum Source {
    /// A logical plan, analyzed, not optimized.
    Plan(LogicalPlan),
    /// The same, of a template and values.
    Template(LogicalPlan, Arc<KnownTemplate>, ParameterRow),
    /// A shape, and the conditions of its scan; besides, a template and values.
    Shape(Arc<Shape>, Vec<Expr>, Arc<KnownTemplate>, ParameterRow),
}

/// The plan of a query whose conditions compare with parameters.
#[derive(Debug)]
pub(super) struct KnownTemplate {
    /// Not analyzed; none where it cannot be planned.
    pub(super) plan: Option<LogicalPlan>,
    shared: BTreeSet<TableId>,
    catalog: Arc<Catalog>,
    shape: Mutex<Option<Arc<Shape>>>,
}

impl KnownTemplate {
    /// The operators of its queries, as far as they are known.
    pub(super) fn shape(&self) -> Option<Arc<Shape>> {
        self.shape.lock().clone()
    }

    /// Makes the operators of its queries known.
    pub(super) fn learn(&self, shape: Shape) {
        *self.shape.lock() = Some(Arc::new(shape));
    }

    /// Whether it is what a statement over this catalog would be planned as.
    pub(super) fn is_current(&self, catalog: &Arc<Catalog>) -> bool {
        Arc::ptr_eq(&self.catalog, catalog)
    }

    /// Whether it has no plan over this catalog.
    pub(super) fn is_hopeless(&self, catalog: &Arc<Catalog>) -> bool {
        self.plan.is_none() && self.is_current(catalog)
    }
}

/// The plans over one version of the catalog.
#[derive(Debug)]
struct Plans {
    by_text: LruCache<Asked, Arc<KnownPlan>>,
    templates: LruCache<Asked, Arc<KnownTemplate>>,
    /// The version of the last one: older ones go with it, and with them the versions that they hold.
    catalog: Option<Arc<Catalog>>,
}

impl Plans {
    /// Forgets the plans over other versions of the catalog than this.
    fn over(&mut self, catalog: &Arc<Catalog>) {
        if !self.catalog.as_ref().is_some_and(|known| Arc::ptr_eq(known, catalog)) {
            self.by_text.clear();
            self.templates.clear();
            self.catalog = Some(Arc::clone(catalog));
        }
    }
}

impl KnownPlan {
    /// Whether it is what a statement over this catalog would be planned as.
    pub(super) fn is_current(&self, catalog: &Arc<Catalog>) -> bool {
        Arc::ptr_eq(&self.catalog, catalog)
    }
}

/// The plans that a node knows.
#[derive(Debug)]
pub(crate) struct KnownPlans {
    plans: Mutex<Plans>,
    used: AtomicU64,
}

impl Default for KnownPlans {
    fn default() -> Self {
        let (by_text, templates) = (LruCache::new(PLANS_MAX), LruCache::new(PLANS_MAX));
        let plans = Plans { by_text, templates, catalog: None };
        Self { plans: Mutex::new(plans), used: AtomicU64::new(0) }
    }
}

impl KnownPlans {
    /// The plan of a text, over some version of the catalog.
    pub(super) fn get(&self, sql: &str, options: &SessionOptions) -> Option<Arc<KnownPlan>> {
        if sql.len() > TEXT_BYTES_MAX {
            return None;
        }
        let asked = Asked::new(sql, options).ok()?;
        self.plans.lock().by_text.get(&asked).cloned()
    }

    /// Keeps the analyzed plan of a text, if it can be used again.
    pub(super) fn keep(
        &self,
        sql: &str,
        context: &StatementContext,
        plan: &LogicalPlan,
    ) -> Result<(), Error> {
        if sql.len() > TEXT_BYTES_MAX || !reads_stored_tables_alone(plan)? {
            return Ok(());
        }
        let known = KnownPlan {
            schema: Arc::clone(plan.schema().inner()),
            source: Source::Plan(plan.clone()),
            shared: context.views.shared(),
            catalog: Arc::clone(&context.catalog),
        };
        self.put(sql, context, known)?;
        Ok(())
    }

    fn put(
        &self,
        sql: &str,
        context: &StatementContext,
        known: KnownPlan,
    ) -> Result<Arc<KnownPlan>, Error> {
        let (asked, known) = (Asked::new(sql, &context.options)?, Arc::new(known));
        let mut plans = self.plans.lock();
        plans.over(&context.catalog);
        plans.by_text.put(asked, Arc::clone(&known));
        Ok(known)
    }

    /// The plan of a template over some version of the catalog.
    pub(super) fn template(
        &self,
        text: &str,
        options: &SessionOptions,
    ) -> Result<Option<Arc<KnownTemplate>>, Error> {
        let asked = Asked::new(text, options)?;
        Ok(self.plans.lock().templates.get(&asked).cloned())
    }

    /// Keeps the plan of a template, or that there is none that can be used again.
    pub(super) fn keep_template(
        &self,
        text: &str,
        context: &StatementContext,
        plan: Option<LogicalPlan>,
    ) -> Result<Arc<KnownTemplate>, Error> {
        let asked = Asked::new(text, &context.options)?;
        let is_usable = |plan: &LogicalPlan| reads_stored_tables_alone(plan).unwrap_or_default();
        let known = Arc::new(KnownTemplate {
            plan: plan.filter(is_usable),
            shared: context.views.shared(),
            catalog: Arc::clone(&context.catalog),
            shape: Mutex::default(),
        });
        let mut plans = self.plans.lock();
        plans.over(&context.catalog);
        plans.templates.put(asked, Arc::clone(&known));
        Ok(known)
    }

    /// Keeps what is known of a text that came of a template.
    pub(super) fn keep_like(
        &self,
        sql: &str,
        context: &StatementContext,
        (schema, source): (SchemaRef, Source),
        template: &KnownTemplate,
    ) -> Result<Arc<KnownPlan>, Error> {
        let (shared, catalog) = (template.shared.clone(), Arc::clone(&template.catalog));
        self.put(sql, context, KnownPlan { schema, source, shared, catalog })
    }

    /// Counts a plan that is used again.
    pub(super) fn count(&self) {
        self.used.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a plan was used again.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

fn reads_stored_tables_alone(plan: &LogicalPlan) -> Result<bool> {
    let mut alone = true;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let source = scan.source.downcast_ref::<DefaultTableSource>();
            alone &= source.map(|source| source.table_provider.as_ref()).is_some_and(|provider| {
                is_stored(provider).is_some() || united_of(provider).is_some()
            });
        }
        Ok(if alone { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(alone)
}
