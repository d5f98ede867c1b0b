//! Runs the sqllogictest files that DataFusion ships, over Flight SQL.

use std::path::PathBuf;

use crate::run;

/// The crate with the files; of the release that the workspace builds with.
const CRATE: &str = "datafusion-sqllogictest";

/// Runs the records of the files whose names hold `filter`, or all; `update` writes down how many pass.
pub(crate) fn conformance(filter: Option<&str>, update: bool) -> Result<(), String> {
    let files = files()?;
    let files = files.display().to_string();
    let binary = run::binary().display().to_string();
    let update = if update { "1" } else { "0" };
    let environment = [
        ("QUORATE_BINARY", binary.as_str()),
        ("QUORATE_CONFORMANCE_FILES", &files),
        ("QUORATE_CONFORMANCE_UPDATE", update),
    ];
    let mut arguments = vec!["test", "--release", "--locked", "--package", "quorate-sql-tests"];
    arguments.extend(["--test", "conformance", "--"]);
    arguments.extend(filter);
    run::cargo("conformance", &arguments, &environment)
}

/// The folder with the files. Cargo fetches the crate when it is asked about it, and builds nothing of it.
fn files() -> Result<PathBuf, String> {
    let version = datafusion_version()?;
    let release = format!("{CRATE}@{version}");
    let mut asking = run::cargo_command();
    asking.current_dir(run::root()).args(["info", "--quiet", &release]);
    let asked = asking.output();
    let asked = asked.map_err(|e| format!("cargo info cannot be run: {e}"))?;
    if !asked.status.success() {
        let why = String::from_utf8_lossy(&asked.stderr);
        return Err(format!("{release} cannot be fetched: {}", why.trim()));
    }
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.ok_or("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    let registries = std::fs::read_dir(&sources);
    let registries = registries.map_err(|e| format!("{}: {e}", sources.display()))?;
    for registry in registries.flatten() {
        let folder = registry.path().join(format!("{CRATE}-{version}/test_files"));
        if folder.is_dir() {
            return Ok(folder);
        }
    }
    Err(format!("{release} was fetched, and is not under {}", sources.display()))
}

/// The release of DataFusion that the lock file has.
fn datafusion_version() -> Result<String, String> {
    let path = run::root().join("Cargo.lock");
    let lock = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut lines = lock.lines().skip_while(|line| *line != "name = \"datafusion\"");
    lines
        .nth(1)
        .and_then(|line| line.strip_prefix("version = \""))
        .map(|version| version.trim_end_matches('"').to_owned())
        .ok_or_else(|| "Cargo.lock has no datafusion".to_owned())
}
