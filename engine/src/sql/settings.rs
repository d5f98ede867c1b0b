//! `SET`, `RESET`, `SHOW ALL`: a fixed list of settings of a session, which are also call headers.

use std::sync::Arc;

use quorate_storage::{ReadLevel, WriteLevel};

use super::duration::{format_duration, parse_duration};
use crate::{Engine, Error, ErrorKind, SessionOptions, Setting};

/// The settings that `SET` knows, and the call header of each.
const SETTINGS: [(&str, &str, &str); 5] = [
    ("database", "database", "where names without a database are looked up"),
    ("timezone", "timezone", "zone of times written without one, and of times in answers"),
    (
        "consistency",
        "consistency",
        "reads: linearizable or local; writes: quorum or all (SET takes one word at a time)",
    ),
    ("query_timeout", "query-timeout", "how long a query may run"),
    ("application_name", "application-name", "what the client calls itself, in system.queries"),
];

/// Longest name of an application: it is in the session's cookie.
const APPLICATION_BYTES_MAX: usize = 256;

/// What tools ask for as they do of `PostgreSQL`, and what never changes.
const FIXED: [(&str, &str); 6] = [
    ("client_encoding", "UTF8"),
    ("search_path", "public"),
    ("server_encoding", "UTF8"),
    ("server_version", env!("CARGO_PKG_VERSION")),
    ("standard_conforming_strings", "on"),
    // A statement sees what was acknowledged before it began, and commits by itself.
    ("transaction_isolation", "read committed"),
];

/// Names and values of what never changes.
pub(super) fn fixed() -> impl Iterator<Item = (&'static str, &'static str)> {
    FIXED.into_iter()
}

/// Whether a setting is one that never changes. To set it to what it is changes nothing; to anything else is an error.
fn is_fixed(name: &str, value: &str) -> Result<bool, Error> {
    let Some((_, fixed)) = FIXED.iter().find(|(known, _)| *known == name) else { return Ok(false) };
    let plain = |text: &str| text.replace('-', "").to_ascii_lowercase();
    if plain(value) == plain(fixed) {
        return Ok(true);
    }
    Err(Error::request(
        ErrorKind::Unsupported,
        format!("{name:?} is always {fixed:?}; it cannot be set to {value:?}"),
    ))
}

/// The database that names are looked up in.
pub(crate) fn current_database(options: &SessionOptions) -> &str {
    options.database.as_deref().unwrap_or("main")
}

/// The session's time zone, checked.
pub(crate) fn time_zone(options: &SessionOptions) -> Result<Arc<str>, Error> {
    match options.timezone.as_deref() {
        None => Ok(Arc::from("UTC")),
        Some(zone) => check_time_zone(zone),
    }
}

/// A zone as Arrow knows it. All names of UTC become `UTC`, so that times keep one type.
pub(super) fn check_time_zone(zone: &str) -> Result<Arc<str>, Error> {
    known_zone(zone).map(Arc::from).ok_or_else(|| {
        Error::request(
            ErrorKind::Invalid,
            format!(
                "{zone:?} is not a time zone; write for example 'Europe/Berlin', '+02:00', 'UTC'"
            ),
        )
    })
}

/// A zone as Arrow knows it, if there is one of this name.
pub(super) fn known_zone(zone: &str) -> Option<&str> {
    match zone.to_ascii_uppercase().as_str() {
        "UTC" | "Z" | "+00:00" | "ETC/UTC" | "GMT" => Some("UTC"),
        _ => quorate_timeseries::zone_named(zone),
    }
}

fn check_application(name: &str) -> Result<&str, Error> {
    if name.len() <= APPLICATION_BYTES_MAX {
        return Ok(name);
    }
    Err(Error::request(
        ErrorKind::Invalid,
        format!("application_name has {} bytes, more than {APPLICATION_BYTES_MAX}", name.len()),
    ))
}

/// Changes one setting.
pub(crate) fn set(options: &mut SessionOptions, name: &str, value: &str) -> Result<(), Error> {
    if is_fixed(name, value)? {
        return Ok(());
    }
    must_be_stateful(options)?;
    match name {
        "database" => options.database = Some(value.to_owned()),
        "timezone" => options.timezone = Some(check_time_zone(value)?.to_string()),
        "query_timeout" => options.query_timeout = Some(parse_duration(value)?),
        "application_name" => options.application = Some(check_application(value)?.to_owned()),
        "consistency" => match value.to_ascii_lowercase().as_str() {
            "linearizable" => options.read_level = ReadLevel::Linearizable,
            "local" => options.read_level = ReadLevel::Local,
            "quorum" => options.write_level = WriteLevel::Quorum,
            "all" => options.write_level = WriteLevel::All,
            _ => {
                return Err(Error::request(
                    ErrorKind::Invalid,
                    format!(
                        "{value:?} is not a consistency; reads: linearizable, local; writes: quorum, all"
                    ),
                ));
            }
        },
        _ => return Err(unknown(name)),
    }
    Ok(())
}

/// Puts one setting back to what it is without `SET`.
pub(crate) fn reset(options: &mut SessionOptions, name: &str) -> Result<(), Error> {
    must_be_stateful(options)?;
    match name {
        "database" => options.database = None,
        "timezone" => options.timezone = None,
        "query_timeout" => options.query_timeout = None,
        "application_name" => options.application = None,
        "consistency" => {
            options.read_level = ReadLevel::default();
            options.write_level = WriteLevel::default();
        }
        _ => return Err(unknown(name)),
    }
    Ok(())
}

/// Settings of the node, then those of the session.
pub(crate) fn list(engine: &Engine, options: &SessionOptions) -> Vec<Setting> {
    let mut all = engine.options().settings.clone();
    for (name, _, description) in SETTINGS {
        let (value, changed) = value_of(engine, options, name);
        // One row for each name: what is in force.
        if let Some(known) = all.iter_mut().find(|setting| setting.name == name) {
            if changed {
                known.value = value;
                "session".clone_into(&mut known.source);
            }
            continue;
        }
        all.push(Setting {
            name: name.to_owned(),
            value,
            source: if changed { "session" } else { "default" }.to_owned(),
            description: description.to_owned(),
        });
    }
    all
}

fn value_of(engine: &Engine, options: &SessionOptions, name: &str) -> (String, bool) {
    match name {
        "database" => (current_database(options).to_owned(), options.database.is_some()),
        "timezone" => {
            (options.timezone.as_deref().unwrap_or("UTC").to_owned(), options.timezone.is_some())
        }
        "query_timeout" => (
            format_duration(options.query_timeout.unwrap_or(engine.options().query_timeout)),
            options.query_timeout.is_some(),
        ),
        "application_name" => {
            (options.application.clone().unwrap_or_default(), options.application.is_some())
        }
        _ => {
            let read = match options.read_level {
                ReadLevel::Linearizable => "linearizable",
                ReadLevel::Session(_) => "session",
                ReadLevel::Local => "local",
            };
            let write = match options.write_level {
                WriteLevel::Quorum => "quorum",
                WriteLevel::All => "all",
            };
            let changed = options.read_level != ReadLevel::default()
                || options.write_level != WriteLevel::default();
            (format!("{read}, {write}"), changed)
        }
    }
}

/// Refuses what nobody would remember.
fn must_be_stateful(options: &SessionOptions) -> Result<(), Error> {
    if options.stateful {
        return Ok(());
    }
    let headers = SETTINGS.map(|(_, header, _)| header).join(", ");
    Err(Error::request(
        ErrorKind::Unsupported,
        format!(
            "nothing would remember this: the connection sends no session cookie; send call headers \
             with each request instead ({headers})"
        ),
    ))
}

fn unknown(name: &str) -> Error {
    let known = SETTINGS.map(|(name, _, _)| name).join(", ");
    Error::request(
        ErrorKind::Invalid,
        format!("{name:?} is not a setting of a session; there are {known}"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stateful() -> SessionOptions {
        SessionOptions { stateful: true, ..SessionOptions::default() }
    }

    #[test]
    fn settings_are_set_and_reset() {
        let mut options = stateful();
        for (name, value) in [
            ("database", "other"),
            ("timezone", "Europe/Berlin"),
            ("query_timeout", "5s"),
            ("application_name", "report"),
            ("consistency", "LOCAL"),
            ("consistency", "all"),
        ] {
            set(&mut options, name, value).unwrap();
        }
        assert_eq!(options.database.as_deref(), Some("other"));
        assert_eq!(options.timezone.as_deref(), Some("Europe/Berlin"));
        assert_eq!(options.query_timeout, Some(Duration::from_secs(5)));
        assert_eq!(options.application.as_deref(), Some("report"));
        assert_eq!(options.read_level, ReadLevel::Local);
        assert_eq!(options.write_level, WriteLevel::All);
        for (name, _, _) in SETTINGS {
            reset(&mut options, name).unwrap();
        }
        assert_eq!(format!("{options:?}"), format!("{:?}", stateful()));
    }

    #[test]
    fn wrong_settings_are_errors() {
        let mut options = stateful();
        for (name, value) in [
            ("timezone", "Mars/Olympus"),
            ("query_timeout", "soon"),
            ("consistency", "maybe"),
            ("datafusion.execution.batch_size", "1"),
        ] {
            let error = set(&mut options, name, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
        assert!(reset(&mut options, "nothing").is_err());
    }

    #[test]
    fn what_never_changes_can_be_set_to_what_it_is_only() {
        let mut options = SessionOptions::default();
        set(&mut options, "client_encoding", "utf-8").unwrap();
        set(&mut options, "search_path", "public").unwrap();
        let error = set(&mut options, "client_encoding", "LATIN1").unwrap_err();
        assert!(error.to_string().contains("always \"UTF8\""), "{error}");
    }

    #[test]
    fn without_a_session_the_error_names_the_call_headers() {
        let error = set(&mut SessionOptions::default(), "timezone", "UTC").unwrap_err();
        assert!(error.to_string().contains("database, timezone, consistency, query-timeout"));
    }

    #[test]
    fn all_names_of_utc_are_one() {
        for zone in ["UTC", "utc", "+00:00", "Z"] {
            assert_eq!(&*check_time_zone(zone).unwrap(), "UTC");
        }
        assert_eq!(&*check_time_zone("+02:00").unwrap(), "+02:00");
    }
}
