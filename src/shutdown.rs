//! How this process is asked to stop.
//!
//! In: SIGINT and SIGTERM. Out: a token that is cancelled on the first one. Guarantee: a second signal ends the process
//! at once, so that nobody has to wait for a stop that hangs.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code of a process that a signal has ended before it was done.
pub const INTERRUPTED: u8 = 130;

/// A stop took longer than `engine.stop_deadline`.
#[derive(Debug, thiserror::Error)]
#[error(
    "the stop took longer than engine.stop_deadline ({}) while it was to {doing}; nothing is lost: what was not \
     persisted is read again from the log at the next start", .deadline.as_secs_f64().to_string() + " s"
)]
pub struct StopDeadline {
    /// The deadline.
    pub deadline: Duration,
    /// What was not done in time: `drain`, `take the last snapshot`.
    pub doing: &'static str,
}

/// A command was told to stop before it was done.
#[derive(Debug, thiserror::Error)]
#[error("interrupted: {done}")]
pub struct Interrupted {
    /// How far it came: `1200 of 100000 events sent`.
    pub done: String,
}

/// A token that the first SIGINT or SIGTERM cancels; the second ends the process with exit code 130.
///
/// Call it once, inside the runtime, before anything that has to be stopped in order.
#[must_use]
pub fn on_signals() -> CancellationToken {
    let token = CancellationToken::new();
    match Signals::listen() {
        Ok(signals) => drop(tokio::spawn(watch(signals, token.clone()))),
        Err(error) => tracing::error!(%error, "cannot listen for signals: a signal will end the process at once"),
    }
    token
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

async fn watch(mut signals: Signals, token: CancellationToken) {
    let name = signals.next().await;
    tracing::info!("{name}: stopping in order; a second signal ends the process at once");
    token.cancel();
    let name = signals.next().await;
    tracing::warn!("{name} again: ending at once; what was not persisted is read again from the log");
    std::process::exit(i32::from(INTERRUPTED));
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[tokio::test]
    #[ignore = "runs as the child process of the tests below"]
    async fn child_waits_for_signals() {
        let token = on_signals();
        println!("\nready");
        token.cancelled().await;
        println!("\nstopping");
        if std::env::var_os("FRESHET_TEST_HANG").is_some() {
            std::future::pending::<()>().await;
        }
    }

    fn child(hang: bool) -> (Child, impl Iterator<Item = String>) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "shutdown::tests::child_waits_for_signals", "--ignored", "--nocapture"]);
        if hang {
            command.env("FRESHET_TEST_HANG", "1");
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        (child, lines)
    }

    fn send(signal: &str, child: &Child) {
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
    }

    #[test]
    fn either_signal_cancels_the_token() {
        for signal in ["-INT", "-TERM"] {
            let (mut child, mut lines) = child(false);
            assert!(lines.any(|line| line == "ready"));
            send(signal, &child);
            assert!(lines.any(|line| line == "stopping"), "{signal}");
            assert!(child.wait().unwrap().success());
        }
    }

    #[test]
    fn a_second_signal_ends_a_hanging_stop() {
        let (mut child, mut lines) = child(true);
        assert!(lines.any(|line| line == "ready"));
        send("-INT", &child);
        assert!(lines.any(|line| line == "stopping"));
        send("-TERM", &child);
        assert_eq!(child.wait().unwrap().code(), Some(130));
    }
}
