//! `version()`, `current_database()` and the like: what tools ask when they connect. Each is a text that stays the same
//! for a statement. And `to_timestamp()`, which depends on the session's time zone.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry as _, SessionState};
use datafusion::functions::datetime::to_timestamp::ToTimestampFunc;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// Who everybody is: there are no users.
const USER: &str = "anonymous";

/// What `version()` says.
pub(crate) const VERSION: &str = concat!("Quorate ", env!("CARGO_PKG_VERSION"));

/// A function without arguments that gives a text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SessionText {
    name: &'static str,
    text: String,
    signature: Signature,
}

impl ScalarUDFImpl for SessionText {
    fn name(&self) -> &'static str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(self.text.clone()))))
    }
}

fn register(state: &mut SessionState, name: &'static str, text: &str) -> Result<()> {
    let signature = Signature::nullary(Volatility::Stable);
    let function = SessionText { name, text: text.to_owned(), signature };
    state.register_udf(ScalarUDF::from(function).into()).map(|_| ())
}

/// Gives a state the functions that answer alike in every session.
pub(crate) fn install(state: &mut SessionState) -> Result<()> {
    register(state, "version", VERSION)?;
    register(state, "current_schema", "public")?;
    // Not `user`: it is a likely name of a column.
    register(state, "current_user", USER)?;
    register(state, "session_user", USER)?;
    let to_timestamp = ToTimestamp::new(state.config_options());
    state.register_udf(ScalarUDF::from(to_timestamp).into()).map(|_| ())
}

/// Gives a state the functions that answer with the database that names are looked up in: the session's, or a view's.
pub(crate) fn set_database(state: &mut SessionState, database: &str) -> Result<()> {
    register(state, "current_database", database)?;
    register(state, "current_catalog", database)
}

/// `to_timestamp()`, as DataFusion 55 has it, but for integers: seconds since 1970 are an instant in every time zone, and
/// DataFusion takes them for wall time of the session's.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToTimestamp {
    inner: ToTimestampFunc,
    zone: Option<Arc<str>>,
}

impl ToTimestamp {
    fn new(config: &ConfigOptions) -> Self {
        let zone = config.execution.time_zone.as_deref().map(Arc::from);
        Self { inner: ToTimestampFunc::new_with_config(config), zone }
    }
}

impl ScalarUDFImpl for ToTimestamp {
    fn name(&self) -> &'static str {
        "to_timestamp"
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        Some(Self::new(config).into())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.as_slice() {
            [seconds] if seconds.data_type().is_integer() => {
                let instant = DataType::Timestamp(TimeUnit::Second, Some(Arc::from("UTC")));
                let shown = DataType::Timestamp(TimeUnit::Nanosecond, self.zone.clone());
                seconds.cast_to(&instant, None)?.cast_to(&shown, None)
            }
            _ => self.inner.invoke_with_args(arguments),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
