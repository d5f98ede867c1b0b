//! Runs real clients of other languages against a server that they start themselves.

use std::path::Path;
use std::process::Command;

use crate::run;

/// Whether a missing client is a failure (in continuous integration it is).
fn required() -> bool {
    std::env::var("QUORATE_REQUIRE_CLIENTS").is_ok_and(|value| value == "1")
}

/// Whether these programs are there, each asked with one argument. Where one is not, that is said, or is an error.
fn present(clients: &str, programs: &[(&str, &str)]) -> Result<bool, String> {
    for (program, question) in programs {
        if run::answers(program, question) {
            continue;
        }
        let message = format!("{program} is missing: the {clients} clients cannot be run");
        if required() {
            return Err(message);
        }
        run::say(&format!("SKIPPED: {message}"));
        return Ok(false);
    }
    Ok(true)
}

/// Runs the Python clients in a virtual environment of their own.
pub(crate) fn python(root: &Path) -> Result<(), String> {
    if !present("Python", &[("python3", "--version")])? {
        return Ok(());
    }
    let folder = root.join("sql-tests/python");
    let environment = run::built("python-clients");
    let python = environment.join("bin/python");
    if !python.exists() {
        run::run("venv", Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    let requirements = folder.join("requirements.txt");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
    run::run("pip", Command::new(&python).args(install).arg(&requirements))?;
    let mut pytest = Command::new(&python);
    pytest.current_dir(&folder).args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "."]);
    pytest.env("QUORATE_BINARY", run::binary()).env("PYTHONDONTWRITEBYTECODE", "1");
    run::run("python clients", &mut pytest)
}

/// Runs the JDBC driver, its newest release and the line before.
pub(crate) fn java(root: &Path) -> Result<(), String> {
    if !present("Java", &[("java", "-version"), ("mvn", "--version")])? {
        return Ok(());
    }
    for (name, profile) in [("newest", None), ("older", Some("older"))] {
        let build = run::built("jdbc-clients").join(name);
        let mut maven = Command::new("mvn");
        maven.current_dir(root.join("sql-tests/clients/jdbc")).args(["-B", "-ntp"]);
        maven.arg(format!("-DbuildDirectory={}", build.display()));
        maven.args(profile.map(|profile| format!("-P{profile}"))).arg("test");
        maven.env("QUORATE_BINARY", run::binary());
        run::run("java clients", &mut maven)?;
    }
    Ok(())
}

/// Runs the Go clients. What Go builds is in its own cache.
pub(crate) fn go(root: &Path) -> Result<(), String> {
    if !present("Go", &[("go", "version")])? {
        return Ok(());
    }
    let mut go = Command::new("go");
    go.current_dir(root.join("sql-tests/clients/go"));
    // Never from the cache of results: the server is another one.
    go.args(["test", "-count=1", "-timeout=10m", "./..."]).env("QUORATE_BINARY", run::binary());
    run::run("go clients", &mut go)
}
