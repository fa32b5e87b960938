//! Where messages come from: arguments, files, standard input, or a person at the prompt.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::{mpsc, oneshot};

use super::prompt;
use crate::capture::lines::{LineRead, read_line};

/// Longest message, in bytes, so that an input without line ends cannot fill the memory: far beyond what a broker takes.
pub(super) const MAX_MESSAGE: usize = 16 << 20;

/// Where messages are read.
pub(super) enum Source {
    Messages(Vec<String>),
    File(PathBuf, File),
    Stdin,
    /// A person, and the prompt that is shown.
    Prompt(String),
}

/// What the reading hands on.
pub(super) enum Input {
    Message(Message),
    /// Nothing more can be read.
    Failed(anyhow::Error),
    /// Ctrl-C at the prompt.
    Interrupted,
}

/// A message and where it stood.
pub(super) struct Message {
    pub(super) place: Place,
    /// Its bytes, or why there are none.
    pub(super) bytes: Result<Vec<u8>, String>,
    /// Dropped when it is reported: who waits for it may go on.
    pub(super) told: Option<oneshot::Sender<()>>,
}

/// Where a message stood: `line 7`, `events.ndjson: line 7`, `message 2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    file: Option<Arc<str>>,
    kind: &'static str,
    number: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        write!(f, "{} {}", self.kind, self.number)
    }
}

impl Place {
    /// A line of standard input or of the prompt.
    pub(super) fn line(number: u64) -> Self {
        Self { file: None, kind: "line", number }
    }
}

impl Source {
    /// A file, or standard input for `-`.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let cannot = || format!("cannot read {}", path.display());
        let file = File::open(path).with_context(cannot)?;
        if file.metadata().with_context(cannot)?.is_dir() {
            bail!("{}: it is a folder; give a file with one message a line", cannot());
        }
        Ok(Self::File(path.to_owned(), file))
    }

    /// Hands on all messages; false if nobody takes them any more.
    fn read(self, messages: &mpsc::Sender<Input>) -> bool {
        match self {
            Self::Messages(texts) => (1..).zip(texts).all(|(number, text)| {
                let place = Place { file: None, kind: "message", number };
                let message = Message { place, bytes: Ok(text.into_bytes()), told: None };
                messages.blocking_send(Input::Message(message)).is_ok()
            }),
            Self::File(path, file) => {
                let name = path.display().to_string().into();
                lines(BufReader::with_capacity(1 << 16, file), Some(&name), messages)
            }
            Self::Stdin => lines(std::io::stdin().lock(), None, messages),
            Self::Prompt(prompt) => prompt::read(&prompt, messages),
        }
    }
}

/// Reads on a thread of its own, which nobody waits for: it may hang in a read when the process ends.
pub(super) fn spawn(sources: Vec<Source>, messages: mpsc::Sender<Input>) -> anyhow::Result<()> {
    let reading = move || {
        let _all = sources.into_iter().all(|source| source.read(&messages));
    };
    std::thread::Builder::new().name("reader".to_owned()).spawn(reading).context("cannot start a thread to read")?;
    Ok(())
}

fn lines(mut reader: impl BufRead, file: Option<&Arc<str>>, messages: &mpsc::Sender<Input>) -> bool {
    let mut line = Vec::new();
    for number in 1.. {
        let place = Place { file: file.cloned(), kind: "line", number };
        let bytes = match read_line(&mut reader, &mut line, MAX_MESSAGE) {
            Ok(LineRead::End) => return true,
            Ok(LineRead::Whole) if line.is_empty() => continue,
            Ok(LineRead::Whole) => Ok(line.clone()),
            Ok(LineRead::TooLong(bytes)) => {
                Err(format!("the line has {bytes} bytes; a message of up to {MAX_MESSAGE} bytes is allowed"))
            }
            Err(error) => {
                let name = file.map_or("standard input", |file| file);
                let error = anyhow::Error::new(error).context(format!("cannot read {name} after {} lines", number - 1));
                let _ = messages.blocking_send(Input::Failed(error));
                return false;
            }
        };
        if messages.blocking_send(Input::Message(Message { place, bytes, told: None })).is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_are_skipped_and_counted_and_a_line_that_is_too_long_is_told() {
        let text = [b"a\n\nb\r\n".to_vec(), vec![b'x'; MAX_MESSAGE + 3], b"\n\xff\n\r\n".to_vec()].concat();
        let (sender, mut receiver) = mpsc::channel(10);
        assert!(lines(&text[..], Some(&"f".into()), &sender));
        drop(sender);
        let mut read = Vec::new();
        while let Ok(Input::Message(message)) = receiver.try_recv() {
            read.push((message.place.to_string(), message.bytes));
        }
        let told = format!("the line has {} bytes; a message of up to {MAX_MESSAGE} bytes is allowed", MAX_MESSAGE + 4);
        let expected = [
            ("f: line 1", Ok(b"a".to_vec())),
            ("f: line 3", Ok(b"b".to_vec())),
            ("f: line 4", Err(told)),
            ("f: line 5", Ok(b"\xff".to_vec())),
        ];
        assert_eq!(read, expected.map(|(place, bytes)| (place.to_owned(), bytes)));
    }
}
