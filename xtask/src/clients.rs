//! Runs real clients of other languages against a server that they start themselves.

use std::path::Path;
use std::process::Command;

use crate::run;

/// Whether a missing client is a failure (in continuous integration it is).
fn required() -> bool {
    std::env::var("QUORATE_REQUIRE_CLIENTS").is_ok_and(|value| value == "1")
}

/// Runs the Python clients in a virtual environment of their own.
pub(crate) fn python(root: &Path) -> Result<(), String> {
    if !run::exists("python3") {
        let message = "python3 is missing: the Python clients cannot be run";
        if required() {
            return Err(message.to_owned());
        }
        run::say(&format!("SKIPPED: {message}"));
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
