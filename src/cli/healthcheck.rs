//! `freshet healthcheck`: asks the freshet of this machine whether it is well; for containers, which have no curl.

use std::time::Duration;

use anyhow::anyhow;

use super::doctor::probe;
use super::out;
use crate::config::Config;

/// Asks the freshet that serves on this machine whether it is ready; exit code 0 or 1.
///
/// It asks `/readyz` at the address of the settings, which is never closed by keys. A container's HEALTHCHECK runs it.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet healthcheck\n  freshet healthcheck --live\n  \
                        freshet healthcheck --set serve.port=9000 || echo not ready")]
pub(super) struct Args {
    /// Whether it answers at all, ready or not: asks /livez.
    #[arg(long)]
    live: bool,
}

/// Longest wait for the answer.
const WITHIN: Duration = Duration::from_secs(3);

/// Runs `freshet healthcheck`.
///
/// # Errors
/// If nobody answers, or it is not ready.
pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<()> {
    let scheme = if config.serve.tls_cert.as_os_str().is_empty() { "http" } else { "https" };
    let (url, live) = (probe::url(&config.serve, scheme), args.live);
    let asked = url.clone();
    let answer = tokio::task::spawn_blocking(move || {
        if live {
            return probe::liveness(&asked, WITHIN).map(|()| "alive".to_owned());
        }
        let answer = probe::readiness(&asked, WITHIN)?;
        if answer.ready { Ok(answer.text) } else { Err(format!("not ready: {}", answer.text)) }
    });
    let text = answer.await?.map_err(|reason| anyhow!("{url}: {reason}"))?;
    out::print(&format!("{url}: {text}\n"))
}
