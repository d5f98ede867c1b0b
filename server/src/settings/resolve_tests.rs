//! Which source wins.

use clap::{CommandFactory, FromArgMatches, Parser};

use super::*;

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    layer: Layer,
}

fn resolve(flags: &[&str], file: Option<&str>) -> Result<Settings, SettingsError> {
    let arguments = std::iter::once("serve").chain(flags.iter().copied());
    let matches = Flags::command().get_matches_from(arguments);
    let flags = Flags::from_arg_matches(&matches).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("quorate.toml");
    if let Some(text) = file {
        std::fs::write(&path, text).unwrap();
    }
    Settings::resolve(flags.layer, Some(&matches), file.map(|_| path.as_path()))
}

fn source(settings: &Settings, name: &str) -> (String, String) {
    let setting = settings.list.iter().find(|s| s.name == name).unwrap();
    (setting.value.clone(), setting.source.clone())
}

#[test]
fn flags_go_before_the_file_and_the_file_before_defaults() {
    let file = "data_dir = \"/file\"\nmax_body = \"1MiB\"\nshards = 3\nlog_format = \"json\"";
    let settings = resolve(&["--data-dir", "/flag", "--max-body", "2MiB"], Some(file)).unwrap();
    assert_eq!(settings.data_dir, Path::new("/flag"));
    assert_eq!(source(&settings, "max_body"), ("2MiB".to_owned(), "flag".to_owned()));
    assert_eq!(source(&settings, "shards"), ("3".to_owned(), "file".to_owned()));
    assert_eq!(source(&settings, "log_format"), ("json".to_owned(), "file".to_owned()));
    assert_eq!(source(&settings, "query_timeout"), ("5m".to_owned(), "default".to_owned()));
}

fn check_error(flags: &[&str], file: Option<&str>, want: &str) {
    let error = resolve(flags, file).unwrap_err().to_string();
    assert!(error.contains(want), "{error}");
}

#[test]
fn settings_that_make_no_sense_are_errors() {
    check_error(&[], None, "--data-dir");
    check_error(&[], Some("data_dri = \"x\""), "unknown field `data_dri`");
    check_error(&[], Some("max_body = \"big\""), "\"big\" is no size");
    check_error(&[], Some("max_body ="), "configuration file");
    check_error(&["--data-dir", "x", "--shards", "0"], None, "shards is 0");
    check_error(&["--data-dir", "x", "--query-timeout", "0s"], None, "more than nothing");
    check_error(&["--data-dir", "x", "--max-body", "2GiB"], None, "up to 1GiB");
    check_error(&["--data-dir", "x", "--seeds", "a,b"], None, "--node-name");
    let named = ["--data-dir", "x", "--node-name"];
    check_error(&[&named[..], &["n 1"]].concat(), None, "letters, digits");
    check_error(&[&named[..], &["n1", "--bootstrap-expect", "2"]].concat(), None, "1, 3, 5");
    let seeds = |seeds: &str| {
        let given = [&named[..], &["n1", "--seeds", seeds]].concat();
        check_error(&given, None, "seeds is");
    };
    seeds("10.0.0.1");
    seeds("10.0.0.1:7001,http://10.0.0.2:7001");
    seeds("fd00::1");
    seeds("10.0.0.1:0");
    check_error(&[&named[..], &["n1", "--cluster-addr", "0.0.0.0:1"]].concat(), None, "advertise");
    check_error(
        &["--data-dir", "x"],
        Some("file_dir = \"/no/where\""),
        "a directory that is there",
    );
}

#[test]
fn memory_is_divided_below_the_limit() {
    let options = resolve(&["--data-dir", "x", "--memory-limit", "1GiB"], None).unwrap().engine();
    let (queries, store) = (options.query_memory_bytes, options.store);
    assert_eq!(queries, 512 << 20);
    assert!(queries + store.memory_bytes + store.cache_bytes <= 1 << 30);
}
