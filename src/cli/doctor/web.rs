//! The port that HTTP is served on: free, or who answers there.

use std::io::ErrorKind;

use super::probe::{self, Readiness};
use super::steps::{Fault, Found, Section, Stop};
use crate::config::{Config, ServeConfig};
use crate::serve::{self, Guard};

pub(super) const PLAN: &[&str] = &["settings", "port"];

pub(super) async fn check(config: &Config, section: &mut Section) -> Result<(), Stop> {
    let serve = config.serve.clone();
    let guard = section.blocking("settings", move || settings(&serve)).await?;
    section.step("port", port(&config.serve, &guard)).await
}

/// Keys and certificate.
fn settings(serve: &ServeConfig) -> Result<Found<Guard>, Fault> {
    let guard = Guard::load(serve).map_err(|error| Fault::new(error.to_string(), ""))?;
    let keys = if guard.keys.is_empty() { "no key is asked for".to_owned() } else { format!("{:?}", guard.keys) };
    let detail = format!("{}, {keys}{}", guard.scheme(), if serve.read_only { ", read only" } else { "" });
    Ok(Found::new(guard, detail))
}

async fn port(config: &ServeConfig, guard: &Guard) -> Result<Found, Fault> {
    match serve::bind(config).await {
        Ok(listener) => {
            guard.covers(&listener, config).map_err(|error| Fault::new(error.to_string(), ""))?;
            Ok(Found::new((), "free, and may be listened on"))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => occupied(config, guard).await,
        Err(error) => Err(Fault::new(error.to_string(), "correct serve.host and serve.port")),
    }
}

/// Who answers at a port that is taken.
async fn occupied(config: &ServeConfig, guard: &Guard) -> Result<Found, Fault> {
    let url = probe::url(config, guard.scheme());
    let asked = url.clone();
    let answer = tokio::task::spawn_blocking(move || probe::readiness(&asked, std::time::Duration::from_secs(3))).await;
    match answer.map_err(|error| error.to_string()).and_then(|answer| answer) {
        Ok(Readiness { ready: true, text }) => Ok(Found::new((), format!("a freshet serves on {url}: {text}"))),
        Ok(Readiness { text, .. }) => {
            let warning = "wait until it has recovered; its log says what it does".to_owned();
            Ok(Found::new((), format!("a freshet serves on {url}, and is not ready: {text}")).but(Some(warning)))
        }
        Err(reason) => Err(Fault::new(
            format!("another program has the port {} ({reason})", config.port),
            "end it, or set serve.port to a free port",
        )),
    }
}
