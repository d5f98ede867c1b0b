//! Errors of the engine, and what DataFusion's become.

use datafusion::arrow::error::ArrowError;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Fix the request.
    Invalid,
    /// It is not there.
    NotFound,
    /// It is there already, or changed meanwhile: retry as a new request.
    Conflict,
    /// Known, and not supported.
    Unsupported,
    /// Ask the leader.
    NotLeader,
    /// Retry later.
    Unavailable,
    /// Later, or smaller: memory, disk, size limits.
    Exhausted,
    /// `query_timeout` passed.
    Timeout,
    /// Cancelled by the client or `KILL QUERY`.
    Cancelled,
    /// An operator must look.
    Corrupt,
    /// Our bug.
    Internal,
}

/// An error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQL that does not parse.
    #[error("{message} at line {line}, column {column}")]
    Syntax {
        /// What was expected or found.
        message: String,
        /// From 1.
        line: u64,
        /// From 1.
        column: u64,
    },
    /// SQL or a request that cannot be carried out as it stands.
    #[error("{message}")]
    Request {
        /// What the caller can do.
        kind: ErrorKind,
        /// Names the thing, the place, the remedy.
        message: String,
    },
    /// DataFusion refused or failed.
    #[error("{message}")]
    Query {
        /// What the caller can do.
        kind: ErrorKind,
        /// DataFusion's message, with a remedy where one is known.
        message: String,
        /// The cause.
        #[source]
        source: Box<DataFusionError>,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] quorate_storage::Error),
}

impl Error {
    /// A request that cannot be carried out as it stands.
    pub fn request(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::Request { kind, message: message.into() }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Syntax { .. } => ErrorKind::Invalid,
            Self::Request { kind, .. } | Self::Query { kind, .. } => *kind,
            Self::Store(e) => kind_of_store(e),
        }
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error {
            DataFusionError::External(source) => Self::from_external(source),
            DataFusionError::ArrowError(source, note) => match *source {
                ArrowError::ExternalError(source) => Self::from_external(source),
                source => Self::from_root(DataFusionError::ArrowError(Box::new(source), note)),
            },
            DataFusionError::Context(_, source) => Self::from(*source),
            DataFusionError::Diagnostic(diagnostic, source) => {
                let error = Self::from(*source);
                match diagnostic.span {
                    Some(span) => error.at(span.start.line, span.start.column),
                    None => error,
                }
            }
            DataFusionError::Collection(mut errors) if !errors.is_empty() => {
                Self::from(errors.swap_remove(0))
            }
            error => Self::from_root(error),
        }
    }
}

impl Error {
    /// Puts the error into a stream of batches; [`Error::from`] takes it out again.
    pub(crate) fn into_datafusion(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }

    /// The same error with a place in the SQL text, unless it has one.
    pub(crate) fn at(self, line: u64, column: u64) -> Self {
        let place = |message: String| {
            if message.contains(" at line ") {
                return message;
            }
            format!("{message} at line {line}, column {column}")
        };
        match self {
            Self::Request { kind, message } => Self::Request { kind, message: place(message) },
            Self::Query { kind, message, source } => {
                Self::Query { kind, message: place(message), source }
            }
            error @ (Self::Syntax { .. } | Self::Store(_)) => error,
        }
    }

    fn from_external(source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        match source.downcast::<Self>() {
            Ok(error) => *error,
            Err(source) => match source.downcast::<quorate_storage::Error>() {
                Ok(error) => Self::Store(*error),
                Err(source) => match source.downcast::<DataFusionError>() {
                    Ok(error) => Self::from(*error),
                    Err(source) => Self::from_root(DataFusionError::External(source)),
                },
            },
        }
    }

    fn from_root(error: DataFusionError) -> Self {
        let kind = kind_of(&error);
        let mut message = for_our_users(&error.strip_backtrace());
        if let Some(message) = of_arguments(&message) {
            // The cause says the same once more, and around it what is of no use to the caller.
            return Self::Request { kind, message };
        }
        if kind == ErrorKind::Exhausted {
            message.push_str(
                ". All queries together have reached their limit of memory: ask for a shorter time range, fewer \
                 columns or groups, or raise `memory_limit`",
            );
        }
        Self::Query { kind, message, source: Box::new(error) }
    }
}

/// Between a function's name and what it says.
const FAILED: &str = " user-defined coercion failed with: ";

/// DataFusion's message without what it says to its own users: settings that are none of ours, and where to report its
/// bugs.
fn for_our_users(message: &str) -> String {
    const SETTING: &str =
        " or disable the datafusion.sql_parser.enable_ident_normalization configuration";
    let (head, rest) = match message.split_once("\nThis issue was likely caused by a bug in") {
        Some((head, report)) => (head, report.split_once("/issues").map_or("", |(_, rest)| rest)),
        None => (message, ""),
    };
    format!("{head}{rest}").replace(SETTING, "")
}

/// What a function says of its arguments, of all that DataFusion says around it.
fn of_arguments(message: &str) -> Option<String> {
    const PLANNING: &str = "Error during planning: ";
    let (before, said) = message.split_once("Function '")?.1.split_once(FAILED)?;
    let name = before.strip_suffix('\'')?;
    let (said, rest) =
        said.split_once(" No function matches the given name and argument types ")?;
    if !said.starts_with("Execution error: Fail to find the coerced type") {
        let said = said.strip_prefix(PLANNING).or_else(|| said.strip_prefix("Execution error: "));
        return Some(format!("{PLANNING}{}", said?.trim_end_matches('.')));
    }
    let types = rest.strip_prefix('\'')?.split_once("'. ")?.0;
    Some(format!(
        "{PLANNING}the arguments of {name} have types that do not become one: {types}; cast them to one type"
    ))
}

/// Types that do not fit each other are the statement's fault, whatever DataFusion calls the error.
fn is_wrong_type(message: &str) -> bool {
    message.starts_with("Failed to coerce types")
}

/// What a caller can do about an error of DataFusion.
fn kind_of(error: &DataFusionError) -> ErrorKind {
    match error.find_root() {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => ErrorKind::Invalid,
        DataFusionError::Internal(message) if is_wrong_type(message) => ErrorKind::Invalid,
        DataFusionError::SchemaError(e, _) => match e.as_ref() {
            SchemaError::FieldNotFound { .. } => ErrorKind::NotFound,
            SchemaError::AmbiguousReference { .. }
            | SchemaError::DuplicateQualifiedField { .. }
            | SchemaError::DuplicateUnqualifiedField { .. } => ErrorKind::Invalid,
        },
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ResourcesExhausted(_) => ErrorKind::Exhausted,
        DataFusionError::ArrowError(e, _) => match e.as_ref() {
            ArrowError::IoError(..)
            | ArrowError::IpcError(_)
            | ArrowError::ParquetError(_)
            | ArrowError::MemoryError(_) => ErrorKind::Internal,
            ArrowError::NotYetImplemented(_) => ErrorKind::Unsupported,
            _ => ErrorKind::Invalid,
        },
        DataFusionError::External(e) => {
            if let Some(e) = e.downcast_ref::<Error>() {
                e.kind()
            } else if let Some(e) = e.downcast_ref::<quorate_storage::Error>() {
                kind_of_store(e)
            } else {
                ErrorKind::Internal
            }
        }
        _ => ErrorKind::Internal,
    }
}

fn kind_of_store(error: &quorate_storage::Error) -> ErrorKind {
    match error.kind() {
        quorate_storage::ErrorKind::Invalid => ErrorKind::Invalid,
        quorate_storage::ErrorKind::NotFound => ErrorKind::NotFound,
        quorate_storage::ErrorKind::Conflict => ErrorKind::Conflict,
        quorate_storage::ErrorKind::NotLeader => ErrorKind::NotLeader,
        quorate_storage::ErrorKind::Unavailable | quorate_storage::ErrorKind::Unknown => {
            ErrorKind::Unavailable
        }
        quorate_storage::ErrorKind::Exhausted => ErrorKind::Exhausted,
        quorate_storage::ErrorKind::Corrupt => ErrorKind::Corrupt,
        quorate_storage::ErrorKind::Internal => ErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_datafusion_tells_its_own_users_is_left_out() {
        let error = DataFusionError::Internal("Failed to coerce types A and B in X".to_owned());
        let error = Error::from(error);
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = error.to_string();
        assert!(text.contains("Failed to coerce types A and B in X"), "{text}");
        assert!(!text.contains("bug") && !text.contains("github"), "{text}");
        let text = for_our_users(
            "use quotes for \"A\" or disable the \
             datafusion.sql_parser.enable_ident_normalization configuration.\nValid fields are b.",
        );
        assert_eq!(text, "use quotes for \"A\".\nValid fields are b.");
        let around = |said: &str| {
            of_arguments(&format!(
                "Error during planning: Execution error: Function 'f' user-defined coercion failed with: {said}. No \
                 function matches the given name and argument types 'f(Utf8, Int64)'. You might need to add explicit type \
                 casts.\n\tCandidate functions:\n\tf(UserDefined)"
            ))
        };
        assert_eq!(
            around("Error during planning: f: a is wrong").unwrap(),
            "Error during planning: f: a is wrong"
        );
        assert_eq!(
            around(
                "Execution error: Fail to find the coerced type, errors: Execution error: Expect to get struct"
            )
            .unwrap(),
            "Error during planning: the arguments of f have types that do not become one: f(Utf8, Int64); cast them to \
             one type"
        );
    }
}
