//! Runs other programs, and says what it runs.

use std::path::PathBuf;
use std::process::Command;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    // Read when it runs: another checkout may share the build directory, and this very binary.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().expect("xtask lies in the workspace").into()
}

/// The build directory of the one profile that everything uses.
fn build_dir() -> PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release")
}

/// The server's binary, once built.
pub(crate) fn binary() -> PathBuf {
    build_dir().join("quorate")
}

/// An example's or another package's binary, once built.
pub(crate) fn built(name: &str) -> PathBuf {
    build_dir().join(name)
}

/// Prints a line for the person who waits.
#[expect(clippy::print_stderr, reason = "a command line tool talks to its user")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// The cargo that runs this.
pub(crate) fn cargo_command() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs cargo in the root.
pub(crate) fn cargo(
    step: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<(), String> {
    let mut command = cargo_command();
    command.current_dir(root()).args(arguments).envs(environment.iter().copied());
    run(step, &mut command)
}

/// Runs a program and fails with the step's name if it does.
pub(crate) fn run(step: &str, command: &mut Command) -> Result<(), String> {
    say(&format!("== {step}: {command:?}"));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{step} failed: {status}")),
        Err(error) => Err(format!("{step} cannot be started: {error}")),
    }
}

/// Whether a program is there and answers a question, such as `--version`.
pub(crate) fn answers(program: &str, question: &str) -> bool {
    Command::new(program).arg(question).output().is_ok_and(|out| out.status.success())
}
