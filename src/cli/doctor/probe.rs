//! Asks a freshet on this machine how it is.
//!
//! Apart from the doctor's steps, because `freshet healthcheck` asks the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde_json::Value;
use ureq::tls::TlsConfig;

use crate::config::ServeConfig;

/// How a freshet is.
#[derive(Debug)]
pub(crate) struct Readiness {
    pub(crate) ready: bool,
    /// Phase, last event, lag and what is in the way, for people.
    pub(crate) text: String,
}

/// Where the freshet of these settings is reached from its own machine.
pub(crate) fn url(serve: &ServeConfig, scheme: &str) -> String {
    let host = serve.host.trim_matches(['[', ']']);
    let host = match host.parse() {
        Ok(IpAddr::V4(address)) if address.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(address)) if address.is_unspecified() => format!("[{}]", Ipv6Addr::LOCALHOST),
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    };
    format!("{scheme}://{host}:{}", serve.port)
}

/// Asks `/readyz`. An error if what answers is no freshet.
pub(crate) fn readiness(url: &str, within: Duration) -> Result<Readiness, String> {
    let (_, body) = get(&format!("{url}/readyz"), within)?;
    let answer: Value = serde_json::from_str(&body).map_err(|_| "what answers is no freshet".to_owned())?;
    let ready = answer["ready"].as_bool().ok_or("what answers is no freshet")?;
    let troubles = answer["troubles"].as_array().filter(|troubles| !troubles.is_empty());
    let troubles =
        troubles.map(|troubles| format!(", in trouble: {}", Value::from(troubles.clone()))).unwrap_or_default();
    let phase = answer["phase"].as_str().unwrap_or_default();
    Ok(Readiness { ready, text: format!("{phase}, seq {}, lag {}{troubles}", answer["seq"], answer["lag"]) })
}

/// Asks `/livez`.
pub(crate) fn liveness(url: &str, within: Duration) -> Result<(), String> {
    let (status, body) = get(&format!("{url}/livez"), within)?;
    if status == 200 && body == "ok" { Ok(()) } else { Err(format!("answered {status}")) }
}

/// Status and body. The certificate is not looked at: this asks its own machine, sends no secret, and what counts is
/// whether anybody answers.
fn get(url: &str, within: Duration) -> Result<(u16, String), String> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(within))
        .tls_config(TlsConfig::builder().disable_verification(true).build())
        .build();
    let mut answer = ureq::Agent::new_with_config(config).get(url).call().map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(1 << 20).read_to_string();
    body.map(|body| (status, body)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_address_that_means_every_interface_is_asked_on_this_machine() {
        let mut serve = Config::default().serve;
        for (host, expected) in [
            ("0.0.0.0", "http://127.0.0.1:8080"),
            ("::", "http://[::1]:8080"),
            ("[::1]", "http://[::1]:8080"),
            ("10.0.0.7", "http://10.0.0.7:8080"),
            ("localhost", "http://localhost:8080"),
        ] {
            host.clone_into(&mut serve.host);
            assert_eq!(url(&serve, "http"), expected);
        }
    }
}
