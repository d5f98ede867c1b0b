//! Session options: `SetSessionOptions` and `GetSessionOptions`, as drivers use them for the current catalog.

use quorate_engine::SessionOptions;
use quorate_storage::{ReadLevel, WriteLevel};
use tonic::Status;

use crate::call::{Call, check_timezone, parse_duration};
use crate::message::{
    GetSessionOptionsResult, OptionValue, SessionOptionError, SessionOptionErrorValue,
    SessionOptionValue, SessionState, SetSessionOptionsRequest, SetSessionOptionsResult,
};
use crate::service::Shared;
use crate::session::{DATABASE, Holder, TIMEZONE, read_level_state, write_level_state};
use crate::status;

/// Sets the options that can be set, in `state`; answers with those that cannot.
pub(crate) async fn set(
    shared: &Shared,
    call: &Call,
    state: &mut SessionState,
    request: SetSessionOptionsRequest,
) -> Result<SetSessionOptionsResult, Status> {
    // A first call without a cookie may come from a client that will keep the one that it is given (the JDBC driver's
    // first call is this one). A client that sends options on a later call and has kept none will lose them.
    if call.holder == Holder::Nobody && !call.options.client.contains("java") {
        return Err(status::invalid(
            "nothing holds the session's options: let the client keep cookies (ADBC: \
             adbc.flight.sql.rpc.with_cookie_middleware), or send the call headers database, \
             timezone, consistency, query-timeout",
        ));
    }
    let mut errors = std::collections::HashMap::new();
    for (name, value) in request.session_options {
        let outcome = set_one(shared, call, state, &name, value.option_value).await;
        if let Err(value) = outcome {
            errors.insert(name, SessionOptionError { value: value.into() });
        }
    }
    Ok(SetSessionOptionsResult { errors })
}

async fn set_one(
    shared: &Shared,
    call: &Call,
    state: &mut SessionState,
    name: &str,
    value: Option<OptionValue>,
) -> Result<(), SessionOptionErrorValue> {
    let text = match value {
        None => None,
        Some(OptionValue::String(text)) => Some(text),
        Some(OptionValue::Int64(number)) => Some(number.to_string()),
        Some(OptionValue::Bool(_) | OptionValue::Double(_) | OptionValue::StringList(_)) => {
            return Err(SessionOptionErrorValue::InvalidValue);
        }
    };
    let wrong = SessionOptionErrorValue::InvalidValue;
    match name {
        "catalog" => {
            if let Some(database) = &text {
                let exists = database_exists(shared, call, database).await;
                exists.then_some(()).ok_or(wrong)?;
            }
            state.database = text;
        }
        "schema" => match text.as_deref() {
            None | Some("" | "public") => {}
            Some(_) => return Err(wrong),
        },
        "timezone" => {
            if let Some(zone) = &text {
                check_timezone(zone).map_err(|_| wrong)?;
            }
            state.timezone = text;
        }
        "query_timeout" => {
            let timeout = text.as_deref().map(parse_duration).transpose().map_err(|_| wrong)?;
            state.query_timeout_ms =
                timeout.map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        }
        "consistency" => set_consistency(state, text.as_deref()).ok_or(wrong)?,
        "application_name" => state.application = text,
        _ => return Err(SessionOptionErrorValue::InvalidName),
    }
    Ok(())
}

/// Sets the level of reads or that of writes, and leaves the other as it is; without a value, resets both. `None` if
/// there is no such level.
fn set_consistency(state: &mut SessionState, level: Option<&str>) -> Option<()> {
    let (read, write) = match level {
        None => (Some(ReadLevel::Linearizable), Some(WriteLevel::Quorum)),
        Some("linearizable") => (Some(ReadLevel::Linearizable), None),
        Some("local") => (Some(ReadLevel::Local), None),
        Some("quorum") => (None, Some(WriteLevel::Quorum)),
        Some("all") => (None, Some(WriteLevel::All)),
        Some(_) => return None,
    };
    if let Some(read) = read {
        state.read_level = Some(read_level_state(&read));
    }
    if let Some(write) = write {
        state.write_level = Some(write_level_state(write));
    }
    Some(())
}

/// Whether a session can be in this database; the engine knows of databases that the catalog does not have.
async fn database_exists(shared: &Shared, call: &Call, database: &str) -> bool {
    let session = shared.session(SessionOptions { stateful: true, ..call.options.clone() });
    let statement = format!("USE \"{}\"", database.replace('"', "\"\""));
    Box::pin(session.execute(&statement, None)).await.is_ok()
}

/// The options in force.
pub(crate) fn get(call: &Call) -> GetSessionOptionsResult {
    let options = &call.options;
    let read = match options.read_level {
        ReadLevel::Linearizable => "linearizable",
        ReadLevel::Session(_) => "session",
        ReadLevel::Local => "local",
    };
    let write = match options.write_level {
        WriteLevel::Quorum => "quorum",
        WriteLevel::All => "all",
    };
    let text = |text: &str| SessionOptionValue {
        option_value: Some(OptionValue::String(text.to_owned())),
    };
    let mut session_options = std::collections::HashMap::from([
        ("catalog".to_owned(), text(options.database.as_deref().unwrap_or(DATABASE))),
        ("schema".to_owned(), text("public")),
        ("timezone".to_owned(), text(options.timezone.as_deref().unwrap_or(TIMEZONE))),
        ("consistency".to_owned(), text(&format!("{read},{write}"))),
    ]);
    if let Some(timeout) = options.query_timeout {
        let value = text(&format!("{}ms", timeout.as_millis()));
        session_options.insert("query_timeout".to_owned(), value);
    }
    if let Some(application) = &options.application {
        session_options.insert("application_name".to_owned(), text(application));
    }
    GetSessionOptionsResult { session_options }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_of_reads_leaves_that_of_writes() {
        let mut state = SessionState::default();
        let mut levels = |level: Option<&str>| {
            set_consistency(&mut state, level).map(|()| {
                let mut options = SessionOptions::default();
                state.apply(&mut options);
                (options.read_level, options.write_level)
            })
        };
        assert_eq!(levels(Some("all")), Some((ReadLevel::Linearizable, WriteLevel::All)));
        assert_eq!(levels(Some("local")), Some((ReadLevel::Local, WriteLevel::All)));
        assert_eq!(levels(Some("quorum")), Some((ReadLevel::Local, WriteLevel::Quorum)));
        assert_eq!(levels(Some("most")), None);
        assert_eq!(levels(None), Some((ReadLevel::Linearizable, WriteLevel::Quorum)));
    }
}
