//! [`ProfileExec`]: runs its input, and answers what that did.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
    execute_stream,
};
use futures::StreamExt;
use tokio::time::Instant;

use super::text::{Phases, summary, tree};

/// The first column of the row with the operators: DataFusion's word, which tools look for.
const OPERATORS: &str = "Plan with Metrics";

/// The operator above a query that is analyzed.
pub(crate) struct ProfileExec {
    input: Arc<dyn ExecutionPlan>,
    phases: Phases,
    properties: Arc<PlanProperties>,
}

impl Debug for ProfileExec {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProfileExec").field("input", &self.input).finish_non_exhaustive()
    }
}

impl ProfileExec {
    /// Over a plan whose planning took `phases`. `schema` has two columns of text.
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef, phases: Phases) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self { input, phases, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ProfileExec {
    fn fmt_as(&self, _format: DisplayFormatType, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProfileExec")
    }
}

impl ExecutionPlan for ProfileExec {
    fn name(&self) -> &'static str {
        "ProfileExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Some(input) = children.pop().filter(|_| children.is_empty()) else {
            return internal_err!("ProfileExec has one input");
        };
        let (properties, phases) = (Arc::clone(&self.properties), self.phases);
        Ok(Arc::new(Self { input, phases, properties }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(Recompute))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        if partition != 0 {
            return internal_err!("ProfileExec has one partition, and not {partition}");
        }
        let (input, phases, schema) = (Arc::clone(&self.input), self.phases, self.schema());
        let answer = async move {
            let begun = Instant::now();
            let mut batches = execute_stream(Arc::clone(&input), context)?;
            let mut rows = 0;
            while let Some(batch) = batches.next().await {
                rows += batch?.num_rows();
            }
            // Some operators tell what they did when they go.
            drop(batches);
            let kinds = StringArray::from(vec![OPERATORS, "Summary"]);
            let texts = [tree(input.as_ref()), summary(rows, phases, begun.elapsed())];
            let texts = StringArray::from_iter_values(texts);
            Ok(RecordBatch::try_new(schema, vec![Arc::new(kinds), Arc::new(texts)])?)
        };
        let stream = futures::stream::once(answer);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), stream)))
    }
}
