//! A prompt with line editing and history, for a person at a terminal.

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{Config, Editor};
use tokio::sync::{mpsc, oneshot};

use super::source::{Input, Message, Place};

/// Hands on each line, and asks for the next one when it is reported; false if nobody takes them any more.
pub(super) fn read(prompt: &str, messages: &mpsc::Sender<Input>) -> bool {
    let editor = Editor::<(), MemHistory>::with_history(Config::default(), MemHistory::new());
    let failed = |error: ReadlineError| {
        let error = anyhow::Error::new(error).context("cannot read from the terminal");
        let _ = messages.blocking_send(Input::Failed(error));
        false
    };
    let mut editor = match editor {
        Ok(editor) => editor,
        Err(error) => return failed(error),
    };
    editor.set_auto_add_history(true);
    for number in 1.. {
        let line = match editor.readline(prompt) {
            Ok(line) if line.is_empty() => continue,
            Ok(line) => line,
            Err(ReadlineError::Eof) => return true,
            Err(ReadlineError::Interrupted) => {
                let _ = messages.blocking_send(Input::Interrupted);
                return false;
            }
            Err(error) => return failed(error),
        };
        let (told, reported) = oneshot::channel();
        let message = Message { place: Place::line(number), bytes: Ok(line.into_bytes()), told: Some(told) };
        if messages.blocking_send(Input::Message(message)).is_err() {
            return false;
        }
        // Its sender is dropped without a word.
        let _ = reported.blocking_recv();
    }
    true
}
