//! This process: its settings, and how many files it may open.

use super::steps::{Fault, Found, Section, Stop};
use crate::config::Loaded;

pub(super) const PLAN: &[&str] = &["settings", "open files"];

/// Files that are open beside the connections of HTTP: those of the stores, of Kafka's client, of the runtime.
const BESIDE: u64 = 128;

/// Program and machine.
pub(super) fn about() -> String {
    format!("freshet {} on {} {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH)
}

pub(super) async fn check(loaded: &Loaded, section: &mut Section) -> Result<(), Stop> {
    let kinds = format!(
        "broker.kind = {}, store.kind = {}",
        format!("{:?}", loaded.config.broker.kind).to_lowercase(),
        format!("{:?}", loaded.config.store.kind).to_lowercase()
    );
    let differ = loaded.changed().len();
    let detail = format!("{kinds}; {differ} differ from the defaults (`freshet config show --changed`)");
    section.step("settings", std::future::ready(Ok(Found::new((), detail)))).await?;
    let needed = loaded.config.serve.max_connections as u64 + BESIDE;
    let Some(limit) = std::fs::read_to_string("/proc/self/limits").ok().and_then(|limits| open_files(&limits)) else {
        section.skip("open files", "this system does not tell the limit");
        return Ok(());
    };
    section.step("open files", std::future::ready(enough(limit, needed))).await
}

fn enough(limit: u64, needed: u64) -> Result<Found, Fault> {
    if limit < needed {
        return Err(Fault::new(
            format!("{limit} files may be open at once, and serve.max_connections wants {needed}"),
            format!("raise the limit (ulimit -n {needed}, LimitNOFILE= of systemd), or lower serve.max_connections"),
        ));
    }
    let limit = if limit == u64::MAX { "any number".to_owned() } else { limit.to_string() };
    Ok(Found::new((), format!("{limit} may be open at once, {needed} are needed")))
}

/// The soft limit, as Linux tells it.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read_and_judged() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max processes             7823                 7823                 processes\n\
                    Max open files            1024                 524288               files\n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(
            open_files("Max open files            unlimited            unlimited            files"),
            Some(u64::MAX)
        );
        assert_eq!(open_files(""), None);
        assert!(enough(1024, 928).is_ok());
        let fault = enough(256, 928).unwrap_err();
        assert!(fault.advice.contains("ulimit -n 928"), "{fault:?}");
    }
}
