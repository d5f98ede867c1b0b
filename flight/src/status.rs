//! Errors on the wire: the one place where a kind of error becomes a gRPC code.
//!
//! Every call of the service ends here when it fails. The message is the engine's, with the chain of its causes, cut at
//! [`MESSAGE_BYTES_MAX`]: gRPC puts it into a header, and clients refuse headers of more than 8 to 16 KiB.

use arrow::error::ArrowError;
use quorate_engine::{Error, ErrorKind};
use quorate_storage::with_causes;
use tonic::{Code, Status};

/// Longest message that is sent.
const MESSAGE_BYTES_MAX: usize = 4096;

/// The status of an engine's error.
pub(crate) fn of(error: &Error) -> Status {
    let code = match error {
        Error::Store(quorate_storage::Error::Stale { .. }) => Code::Aborted,
        other => code(other.kind()),
    };
    Status::new(code, cut(with_causes(error)))
}

/// The status of Arrow's refusal to process what this node made: our bug.
pub(crate) fn internal(error: &ArrowError) -> Status {
    Status::internal(cut(error.to_string()))
}

/// A request that cannot be right.
pub(crate) fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(cut(message.into()))
}

/// A part of the protocol that this server does not have.
pub(crate) fn unsupported(what: &str) -> Status {
    Status::unimplemented(format!("{what} is not supported"))
}

/// The query was cancelled by [`crate::action`].
pub(crate) fn cancelled() -> Status {
    Status::cancelled("the query was cancelled")
}

/// The name of a code as gRPC's documents have it.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Conflict => Code::AlreadyExists,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::NotLeader | ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Timeout => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    }
}

fn cut(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        let end = message.floor_char_boundary(MESSAGE_BYTES_MAX - '…'.len_utf8());
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(error: &Error, want: Code) {
        assert_eq!(of(error).code(), want, "{error}");
    }

    #[test]
    fn every_kind_has_its_code() {
        for (kind, want) in [
            (ErrorKind::Invalid, Code::InvalidArgument),
            (ErrorKind::NotFound, Code::NotFound),
            (ErrorKind::Conflict, Code::AlreadyExists),
            (ErrorKind::Unsupported, Code::Unimplemented),
            (ErrorKind::NotLeader, Code::Unavailable),
            (ErrorKind::Unavailable, Code::Unavailable),
            (ErrorKind::Exhausted, Code::ResourceExhausted),
            (ErrorKind::Timeout, Code::DeadlineExceeded),
            (ErrorKind::Cancelled, Code::Cancelled),
            (ErrorKind::Corrupt, Code::DataLoss),
            (ErrorKind::Internal, Code::Internal),
        ] {
            check(&Error::request(kind, "x"), want);
        }
        check(&Error::Store(quorate_storage::Error::Stale { what: "routing" }), Code::Aborted);
    }

    #[test]
    fn the_message_is_the_engines() {
        let error = Error::Syntax { message: "expected FROM".into(), line: 2, column: 7 };
        assert_eq!(of(&error).message(), "expected FROM at line 2, column 7");
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let error = Error::request(ErrorKind::Invalid, "é".repeat(5000));
        let status = of(&error);
        assert!(status.message().len() <= MESSAGE_BYTES_MAX);
        assert!(status.message().ends_with("é…"));
    }
}
