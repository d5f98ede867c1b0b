//! `version()`, `current_database()` and the like: what tools ask when they connect. Each is a text that stays the same
//! for a statement. And `to_timestamp()`, which depends on the session's time zone.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, make_array};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::{FunctionRegistry as _, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

/// Who everybody is: there are no users.
const USER: &str = "anonymous";

const TO_TIMESTAMP: &str = "to_timestamp";
const TIMES_OF_TEXT: [&str; 5] = [
    TO_TIMESTAMP,
    "to_timestamp_seconds",
    "to_timestamp_millis",
    "to_timestamp_micros",
    "to_timestamp_nanos",
];

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
    for name in TIMES_OF_TEXT {
        let inner = state.udf(name)?;
        let function = ToTimestamp::new(inner, state.config_options());
        state.register_udf(ScalarUDF::from(function).into())?;
    }
    Ok(())
}

/// Gives a state the functions that answer with the database that names are looked up in: the session's, or a view's.
pub(crate) fn set_database(state: &mut SessionState, database: &str) -> Result<()> {
    register(state, "current_database", database)?;
    register(state, "current_catalog", database)
}

/// `to_timestamp()` and its like, as DataFusion 55 has them, but for two things: integers of `to_timestamp()`, seconds since
/// 1970, are an instant in every time zone, and DataFusion takes them for wall time of the session's; and columns read by
/// formats are times in the session's zone, where DataFusion forgets the zone and fails.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ToTimestamp {
    inner: Arc<ScalarUDF>,
    zone: Option<Arc<str>>,
}

impl ToTimestamp {
    fn new(inner: Arc<ScalarUDF>, config: &ConfigOptions) -> Self {
        Self { inner, zone: config.execution.time_zone.as_deref().map(Arc::from) }
    }

    /// The same instants, in the session's zone.
    fn in_zone(&self, times: ColumnarValue) -> Result<ColumnarValue> {
        match times {
            ColumnarValue::Array(times) => match times.data_type() {
                DataType::Timestamp(unit, None) if self.zone.is_some() => {
                    let shown = DataType::Timestamp(*unit, self.zone.clone());
                    let data = times.to_data().into_builder().data_type(shown).build()?;
                    Ok(ColumnarValue::Array(make_array(data)))
                }
                _ => Ok(ColumnarValue::Array(times)),
            },
            scalar @ ColumnarValue::Scalar(_) => Ok(scalar),
        }
    }
}

impl ScalarUDFImpl for ToTimestamp {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = self.inner.inner().with_updated_config(config)?;
        Some(Self::new(Arc::new(inner), config).into())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.as_slice() {
            [seconds] if self.name() == TO_TIMESTAMP && seconds.data_type().is_integer() => {
                let instant = DataType::Timestamp(TimeUnit::Second, Some(Arc::from("UTC")));
                let shown = DataType::Timestamp(TimeUnit::Nanosecond, self.zone.clone());
                seconds.cast_to(&instant, None)?.cast_to(&shown, None)
            }
            _ => self.in_zone(self.inner.inner().invoke_with_args(arguments)?),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
