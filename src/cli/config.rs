//! `freshet config`: shows and checks the settings.

use clap::Subcommand;

use super::out;
use crate::config::{ConfigError, DEFAULT_TOML, Loaded};

const EXAMPLES: &str = "\
Examples:
  freshet config show                     every key, its value, and where that came from
  freshet config show --changed --json    what differs from the default, for a script
  freshet config show --defaults          every key explained, to start a file of your own
  freshet --config prod.toml config check";

const SHOW_EXAMPLE: &str = "\
Example:
  FRESHET_BROKER__KIND=kafka freshet config show --changed
  FRESHET_STORE__URI_FILE=/run/secrets/uri freshet config show --changed";

const CHECK_EXAMPLE: &str = "\
Example:
  freshet --config prod.toml config check && freshet --config prod.toml run";

/// Shows and checks the settings.
///
/// A setting comes from a file, from the environment variable `FRESHET_SECTION__KEY`, or from --set; and a secret from the
/// file that `FRESHET_SECTION__KEY_FILE` names, as Docker and Kubernetes hand them out.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print the settings in force, each with its source; secrets are masked.
    #[command(after_help = SHOW_EXAMPLE)]
    Show {
        /// Only the keys whose value differs from the default.
        #[arg(long)]
        changed: bool,
        /// As one JSON object.
        #[arg(long)]
        json: bool,
        /// The default file as compiled in, with its comments; reads nothing else.
        #[arg(long, conflicts_with_all = ["changed", "json"])]
        defaults: bool,
    },
    /// Say whether the settings are valid; exit code 2 and every problem if not.
    #[command(after_help = CHECK_EXAMPLE)]
    Check,
}

/// Runs the command. The settings come as they were read, because the defaults can be shown beside broken ones.
pub(super) fn run(args: &Args, loaded: Result<Loaded, ConfigError>) -> anyhow::Result<()> {
    match args.action {
        Action::Show { defaults: true, .. } => out::print(DEFAULT_TOML),
        Action::Show { changed, json: true, .. } => out::print(&format!("{:#}\n", loaded?.to_json(changed))),
        Action::Show { changed, .. } => out::print(&loaded?.to_toml(changed)),
        Action::Check => {
            let differ = loaded?.changed().len();
            let keys = if differ == 1 { "key differs" } else { "keys differ" };
            out::print(&format!("config is valid ({differ} {keys} from the default)\n"))
        }
    }
}
