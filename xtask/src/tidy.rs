//! Rules of the tree that no other tool checks.
//!
//! - A Rust file has at most 1,000 lines and starts with a `//!` document.
//! - A Markdown file has one `#` title, and its relative links lead to files that are there.
//! - No banned words: marks of unfinished work, and terms that the glossary rules out.
//! - No `.rs` file that nothing includes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a Rust file above which it must be split.
const FILE_LINES_MAX: usize = 1_000;

/// Words that may not stand in Rust files, and why. Written in two parts so that this file passes.
const BANNED: &[(&str, &str, &str)] = &[
    ("TO", "DO", "finish it, or say in the documentation what is missing"),
    ("FIX", "ME", "fix it"),
    ("#[ign", "ore", "a test that does not run is no test"),
    ("unimple", "mented!(", "answer with a clear \"not supported\" error"),
];

/// Checks the tree; every finding is printed.
pub(crate) fn check(root: &Path) -> Result<(), String> {
    let files = tracked_files(root)?;
    let mut findings = Vec::new();
    for file in &files {
        let path = root.join(file);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        match file.extension().and_then(|e| e.to_str()) {
            Some("rs") => check_rust(file, &text, &mut findings),
            Some("md") => check_markdown(root, file, &text, &mut findings),
            _ => {}
        }
    }
    check_dead_files(root, &files, &mut findings);
    for finding in &findings {
        crate::run::say(finding);
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("tidy: {} findings", findings.len())) }
}

fn tracked_files(root: &Path) -> Result<Vec<PathBuf>, String> {
    let out = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output();
    let out = out.map_err(|error| format!("tidy needs git: {error}"))?;
    if !out.status.success() {
        return Err("tidy: git ls-files failed".to_owned());
    }
    let names = String::from_utf8_lossy(&out.stdout);
    Ok(names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from).collect())
}

fn check_rust(file: &Path, text: &str, findings: &mut Vec<String>) {
    let name = file.display();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(format!("{name}: {lines} lines, at most {FILE_LINES_MAX}: split it"));
    }
    if !text.starts_with("//!") {
        findings.push(format!("{name}: starts without a //! document"));
    }
    for (number, line) in text.lines().enumerate() {
        for (head, tail, why) in BANNED {
            if line.contains(&format!("{head}{tail}")) {
                findings.push(format!("{name}:{}: {head}{tail}: {why}", number + 1));
            }
        }
    }
}

fn check_markdown(root: &Path, file: &Path, text: &str, findings: &mut Vec<String>) {
    let name = file.display();
    let mut in_code = false;
    let mut titles = 0;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        titles += usize::from(line.starts_with("# "));
        for target in links(line) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let base = file.parent().unwrap_or(Path::new(""));
            if !root.join(base).join(target).exists() {
                findings.push(format!("{name}:{}: link to {target} leads nowhere", number + 1));
            }
        }
    }
    if titles != 1 {
        findings.push(format!("{name}: {titles} titles, one wanted"));
    }
}

/// Targets of the `[text](target)` links of a line.
fn links(line: &str) -> Vec<&str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// A Rust file must be a crate's root, or be named by a `mod` or `#[path]` of the files beside or above it.
fn check_dead_files(root: &Path, files: &[PathBuf], findings: &mut Vec<String>) {
    let rust: BTreeSet<&PathBuf> =
        files.iter().filter(|f| f.extension().is_some_and(|e| e == "rs")).collect();
    for file in &rust {
        let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let folder = file.parent().unwrap_or(Path::new(""));
        let folder_name = folder.file_name().and_then(|s| s.to_str()).unwrap_or_default();
        let is_root = ["lib", "main", "build"].contains(&stem)
            || ["tests", "examples", "benches", "bin"].contains(&folder_name);
        if is_root {
            continue;
        }
        let (module, place) = if stem == "mod" {
            (folder_name, folder.parent().unwrap_or(folder))
        } else {
            (stem, folder)
        };
        let named = rust.iter().filter(|f| f.starts_with(place)).any(|other| {
            fs::read_to_string(root.join(other)).is_ok_and(|text| {
                text.contains(&format!("mod {module};")) || text.contains(&format!("\"{stem}.rs\""))
            })
        });
        if !named {
            findings.push(format!("{}: no file includes it", file.display()));
        }
    }
}
