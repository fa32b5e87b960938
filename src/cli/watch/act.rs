//! Acts upon alerts: runs a shell command, posts to a URL; beside the watching, which never waits for it.
//!
//! In: alerts, on a bounded queue. A few are acted upon at once; what does not fit is dropped and counted, and what fails is
//! told. The URL may hold a password or a token, so only its host is ever printed.

use std::os::fd::AsFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use crate::cli::out;

/// Alerts that may wait.
const QUEUE: usize = 1_024;
/// Alerts that are acted upon at once.
const WORKERS: usize = 4;
/// Longest that a command and a request may take.
const EXEC_TIMEOUT: Duration = Duration::from_mins(1);
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait, at the end, for what is still to be done.
const LAST_WAIT: Duration = Duration::from_secs(10);
/// Failures that are told one by one; the others are only counted.
const TOLD: u64 = 5;

/// An alert to act upon.
#[derive(Clone, Debug)]
pub(super) struct Alerted {
    /// The expression.
    pub(super) alert: String,
    /// The record as JSON, with the expression as `alert`.
    pub(super) json: Vec<u8>,
    /// Environment of a command.
    pub(super) variables: Vec<(&'static str, String)>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) struct Deeds {
    pub(super) exec: Option<String>,
    pub(super) webhook: Option<Webhook>,
}

/// A URL, which is never printed.
#[derive(Clone)]
pub(super) struct Webhook(String);

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.place())
    }
}

impl std::str::FromStr for Webhook {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "no URL; write it as https://host/path or http://user:password@host:8080/path".to_owned();
        let uri: ureq::http::Uri = text.parse().map_err(|_| wrong())?;
        let known =
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty());
        if known { Ok(Self(text.to_owned())) } else { Err(wrong()) }
    }
}

impl Webhook {
    /// `https://host/…`: a path, too, may hold a token.
    fn place(&self) -> String {
        let uri = self.0.parse::<ureq::http::Uri>().unwrap_or_default();
        let port = uri.port().map_or_else(String::new, |port| format!(":{port}"));
        format!("{}://{}{port}/…", uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or("?"))
    }

    fn post(&self, agent: &ureq::Agent, json: &[u8]) -> anyhow::Result<()> {
        let posted = agent.post(&self.0).header("content-type", "application/json").send(json);
        // What the client says may repeat the URL.
        posted.map(drop).map_err(|error| anyhow::anyhow!("{}", error.to_string().replace(&self.0, &self.place())))
    }
}

/// What has become of the alerts.
#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// The workers, and their queue.
pub(super) struct Actor {
    queue: mpsc::Sender<Alerted>,
    counts: Arc<Counts>,
    workers: JoinSet<()>,
}

impl Actor {
    /// Starts the workers; inside the runtime.
    pub(super) fn start(deeds: &Deeds) -> Self {
        let (queue, alerts) = mpsc::channel(QUEUE);
        let (alerts, counts) = (Arc::new(Mutex::new(alerts)), Arc::new(Counts::default()));
        let config = ureq::Agent::config_builder().timeout_global(Some(WEBHOOK_TIMEOUT)).build();
        let agent = ureq::Agent::new_with_config(config);
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let (alerts, counts) = (Arc::clone(&alerts), Arc::clone(&counts));
            workers.spawn(work(deeds.clone(), agent.clone(), alerts, counts));
        }
        Self { queue, counts, workers }
    }

    /// Takes an alert, unless too many wait. Never waits.
    pub(super) fn take(&self, alerted: Alerted) {
        if self.queue.try_send(alerted).is_err() && self.counts.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            out::tell(&format!("{QUEUE} alerts wait to be acted upon: what comes beyond them is only counted"));
        }
    }

    /// Waits for what is still to be done, though not for long, and tells what was done: `3 acted upon, 1 failed`.
    pub(super) async fn finish(self) -> String {
        let Self { queue, counts, mut workers } = self;
        let waiting = (queue.max_capacity() - queue.capacity()) as u64;
        drop(queue);
        let before = counts.done.load(Ordering::Relaxed) + counts.failed.load(Ordering::Relaxed);
        let all = async { while workers.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(LAST_WAIT, all).await.is_ok();
        let [done, failed, dropped] =
            [&counts.done, &counts.failed, &counts.dropped].map(|count| count.load(Ordering::Relaxed));
        let left = if in_time { 0 } else { waiting.saturating_sub(done + failed - before).max(1) };
        let some = |count: u64, what: &str| if count > 0 { format!(", {count} {what}") } else { String::new() };
        let (failed, dropped) = (some(failed, "failed"), some(dropped, "dropped because too many waited"));
        format!("{done} acted upon{failed}{dropped}{}", some(left, "or more not done in time"))
    }
}

async fn work(deeds: Deeds, agent: ureq::Agent, alerts: Arc<Mutex<mpsc::Receiver<Alerted>>>, counts: Arc<Counts>) {
    loop {
        let next = alerts.lock().await.recv().await;
        let Some(alerted) = next else { return };
        let alerted = Arc::new(alerted);
        let mut done = Ok(());
        if let Some(command) = &deeds.exec {
            done = exec(command, &alerted).await.context("--exec");
        }
        if let Some(webhook) = &deeds.webhook {
            let posted = post(webhook, &agent, Arc::clone(&alerted)).await;
            done = done.and(posted.with_context(|| format!("--webhook {}", webhook.place())));
        }
        match done {
            Ok(()) => drop(counts.done.fetch_add(1, Ordering::Relaxed)),
            Err(error) if counts.failed.fetch_add(1, Ordering::Relaxed) < TOLD => {
                out::tell(&format!("{error:#} (alert {})", alerted.alert));
            }
            Err(_) => {}
        }
    }
}

/// Runs a shell command with the record on its stdin. What it prints goes to stderr: stdout is for records.
async fn exec(command: &str, alerted: &Alerted) -> anyhow::Result<()> {
    let stderr = || -> anyhow::Result<Stdio> { Ok(std::io::stderr().as_fd().try_clone_to_owned()?.into()) };
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::piped()).stdout(stderr()?).stderr(stderr()?).kill_on_drop(true);
    shell.envs(alerted.variables.iter().map(|(name, value)| (name, value)));
    let mut shell = shell.spawn().context("cannot start sh")?;
    let mut stdin = shell.stdin.take().context("sh has no stdin")?;
    let running = async {
        // A command need not read what it does not use.
        let _ = stdin.write_all(&[&alerted.json[..], b"\n"].concat()).await;
        drop(stdin);
        shell.wait().await
    };
    match tokio::time::timeout(EXEC_TIMEOUT, running).await {
        Ok(status) => match status.context("cannot wait for sh")? {
            status if status.success() => Ok(()),
            status => bail!("it ended with {status}"),
        },
        Err(_) => bail!("it was ended after {} s", EXEC_TIMEOUT.as_secs()),
    }
}

async fn post(webhook: &Webhook, agent: &ureq::Agent, alerted: Arc<Alerted>) -> anyhow::Result<()> {
    let (webhook, agent) = (webhook.clone(), agent.clone());
    let posting = tokio::task::spawn_blocking(move || webhook.post(&agent, &alerted.json));
    posting.await.context("posting broke off")?
}

#[cfg(test)]
mod tests;
