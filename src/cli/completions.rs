//! `freshet completions`: the script by which a shell completes commands, flags and their values.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, out};

const EXAMPLES: &str = "\
Examples:
  freshet completions bash > ~/.local/share/bash-completion/completions/freshet
  freshet completions zsh > \"${fpath[1]}/_freshet\"
  freshet completions fish > ~/.config/fish/completions/freshet.fish
  freshet completions powershell >> $PROFILE
  freshet completions elvish >> ~/.config/elvish/rc.elv";

/// Prints the script by which a shell completes commands and flags.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs `freshet completions`.
///
/// # Errors
/// If stdout cannot be written to.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "freshet", &mut script);
    out::write(&script)
}
