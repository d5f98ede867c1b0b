//! Runs every case under `cases/` against a server of its own database.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use quorate_flight::ClientOutcome;
use quorate_sql_tests::{Connection, Server, ServerOptions};
use sqllogictest::Runner;

#[expect(clippy::print_stderr, reason = "a test runner talks to its user")]
fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let cases = Path::new(&package).join("cases");
    let mut files = Vec::new();
    collect(&cases, &mut files);
    files.sort();
    files.retain(|file| {
        wanted.is_empty() || wanted.iter().any(|w| file.to_string_lossy().contains(w))
    });
    let data = tempfile::tempdir().expect("a temporary directory can be made");
    let files_of_copy = tempfile::tempdir().expect("a temporary directory can be made");
    let file_dir = files_of_copy.path().to_str().expect("temporary directories have plain names");
    let arguments = ["--file-dir", file_dir].map(str::to_owned).to_vec();
    let options = ServerOptions { arguments, ..ServerOptions::default() };
    let server = Server::start(data.path(), &options);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let mut failed = 0;
    for (number, file) in files.iter().enumerate() {
        let name = file.strip_prefix(&cases).unwrap_or(file).display();
        match runtime.block_on(run(&server, &format!("slt_{number}"), file)) {
            Ok(()) => eprintln!("ok      {name}"),
            Err(message) => {
                failed += 1;
                eprintln!("FAILED  {name}\n{message}");
            }
        }
    }
    let passed = files.len() - failed;
    eprintln!("\nslt: {passed} passed, {failed} failed");
    server.stop();
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder of cases is there") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "slt") {
            files.push(path);
        }
    }
}

/// Each file has a fresh database, so that files do not see each other's tables.
async fn run(server: &Server, database: &str, file: &Path) -> Result<(), String> {
    let mut admin = server.client("main").await.map_err(|e| e.to_string())?;
    let create = format!("CREATE DATABASE {database}");
    let outcome = admin.execute(&create).await.map_err(|e| e.to_string())?;
    assert!(matches!(outcome, ClientOutcome::Updated(_)), "CREATE DATABASE returns no rows");
    let mut runner = Runner::new(|| async {
        let client = server.client(database).await?;
        Ok(Connection::new(client))
    });
    let result = runner.run_file_async(file).await;
    result.map_err(|error| error.display(false).to_string())
}
