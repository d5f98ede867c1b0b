//! `quorate completions` and `quorate man`: what shells and `man` read of the command line.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Command;
use clap_complete::Shell;

use super::{fail, say};

/// Prints a script that completes the command line in a shell.
pub(super) fn completions(mut command: Command, shell: Shell) -> ExitCode {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&script)
}

/// Prints the manual page of the command, or writes it and one per subcommand into a directory.
pub(super) fn man(command: Command, dir: Option<&Path>) -> ExitCode {
    let Some(dir) = dir else {
        let mut page = Vec::new();
        return match clap_mangen::Man::new(command).render(&mut page) {
            Ok(()) => print(&page),
            Err(error) => fail(format_args!("cannot make the page: {error}")),
        };
    };
    let written =
        std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir));
    match written {
        Ok(()) => {
            say(format_args!("the pages are in {}", dir.display()));
            ExitCode::SUCCESS
        }
        Err(error) => fail(format_args!("cannot write to {}: {error}", dir.display())),
    }
}

/// A reader that goes away (`| head`) is no error.
fn print(text: &[u8]) -> ExitCode {
    let mut out = io::stdout();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(format_args!("cannot write to standard output: {error}"))
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}
