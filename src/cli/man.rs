//! `freshet man`: the manual pages, made of the same texts as `--help`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::{Cli, out};

const EXAMPLES: &str = "\
Examples:
  freshet man | man -l -
  freshet man snapshots list | man -l -
  freshet man --out ~/.local/share/man/man1";

/// Prints a manual page, or writes those of every command into a folder.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Command whose page is printed; the program's own without one.
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Folder to write the pages of every command into; created where it is missing.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Runs `freshet man`.
///
/// # Errors
/// If there is no such command, or the folder cannot be written to.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut root = Cli::command();
    if let Some(folder) = &args.out {
        let cannot = || out::cannot_write(folder);
        std::fs::create_dir_all(folder).with_context(cannot)?;
        clap_mangen::generate_to(root, folder).with_context(cannot)?;
        return out::print(&format!("the pages are in {}\n", folder.display()));
    }
    root.build();
    let mut page = Vec::new();
    Man::new(find(&root, &args.command)?.clone()).render(&mut page).context("cannot make the page")?;
    out::write(&page)
}

fn find<'a>(root: &'a Command, path: &[String]) -> anyhow::Result<&'a Command> {
    let mut command = root;
    for name in path {
        let Some(found) = command.find_subcommand(name) else {
            let names: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
            bail!("{:?} has no command {name:?}; it has {}", command.get_name(), names.join(", "));
        };
        command = found;
    }
    Ok(command)
}
