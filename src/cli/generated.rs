//! `completion` and `man`: printed from the same definition that the program parses with, so that they never lag behind.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Which shell.
#[derive(Debug, Args)]
pub(super) struct Completion {
    /// The shell to print a script for
    shell: Shell,
}

/// Which pages.
#[derive(Debug, Args)]
pub(super) struct Manual {
    /// Command to print the page of, e.g. `serve`; without one, the program's own page
    command: Option<String>,
    /// Write the page of every command into this folder instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// The script that completes `command` in a shell.
pub(super) fn completion(mut command: Command, arguments: &Completion) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, &name, &mut script);
    if arguments.shell == Shell::Bash {
        script = with_one_name_for_the_program(&name, script);
    }
    script
}

/// The script for bash calls a program with hyphens by two names, so that nothing is completed past the first word
/// (clap-rs/clap#6421). Without effect once it does not.
fn with_one_name_for_the_program(name: &str, script: Vec<u8>) -> Vec<u8> {
    let (meant, mistaken) = (name.replace('-', "__"), name.replace('-', "__subcmd__"));
    match String::from_utf8(script) {
        Ok(script) => script.replace(&mistaken, &meant).into_bytes(),
        Err(not_text) => not_text.into_bytes(),
    }
}

/// A page in roff, or nothing where all were written into a folder.
pub(super) fn manual(mut command: Command, arguments: &Manual) -> anyhow::Result<Vec<u8>> {
    command.build();
    if let Some(dir) = &arguments.dir {
        std::fs::create_dir_all(dir)
            .and_then(|()| clap_mangen::generate_to(command, dir))
            .with_context(|| format!("cannot write the pages into {}", dir.display()))?;
        return Ok(Vec::new());
    }
    let page = match &arguments.command {
        None => Man::new(command),
        Some(name) => {
            let found = command.find_subcommand(name);
            let found = found.with_context(|| format!("there is no command `{name}`"))?;
            Man::new(found.clone())
        }
    };
    let mut roff = Vec::new();
    page.render(&mut roff)?;
    Ok(roff)
}
