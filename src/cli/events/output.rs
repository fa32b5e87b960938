//! Where rows go: encoded, to stdout or to a file that has its name only once it is whole.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::TempPath;

use super::columns::Row;
use super::encode::{Encoder, Format};
use crate::cli::out::{self, cannot_write};

/// Where bytes go.
pub(super) enum Sink {
    Stdout,
    File(File, PathBuf),
}

/// A file beside the one that it becomes; removed when dropped, whoever still writes to it.
pub(super) struct Pending {
    file: TempPath,
    becomes: PathBuf,
}

impl Sink {
    /// A file to make, or to replace if that is wanted; what cannot be replaced (a device, a FIFO) is written to.
    pub(super) fn make(path: &Path, force: bool) -> anyhow::Result<(Self, Option<Pending>)> {
        match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => bail!("{} is a folder; give --out a file", path.display()),
            Ok(there) if !there.is_file() => {
                let file = File::options().write(true).open(path).with_context(|| cannot_write(path))?;
                return Ok((Self::File(file, path.to_owned()), None));
            }
            Ok(_) if !force => {
                bail!("{} is there already; give another --out, or --force to replace it", path.display())
            }
            _ => {}
        }
        let (file, beside) = out::file_beside(path)?.into_parts();
        let pending = Pending { file: beside, becomes: path.to_owned() };
        Ok((Self::File(file, path.to_owned()), Some(pending)))
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdout => out::write(bytes),
            Self::File(file, path) => match file.write_all(bytes) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(out::ClosedPipe.into()),
                written => written.with_context(|| cannot_write(path)),
            },
        }
    }

    /// Waits until a file is on the disk.
    pub(super) fn sync(&self) -> anyhow::Result<()> {
        match self {
            Self::File(file, path) if file.metadata().is_ok_and(|file| file.is_file()) => {
                file.sync_all().with_context(|| cannot_write(path))
            }
            _ => Ok(()),
        }
    }
}

impl Pending {
    /// Gives the file its name.
    pub(super) fn persist(self) -> anyhow::Result<()> {
        self.file.persist(&self.becomes).with_context(|| cannot_write(&self.becomes))
    }
}

/// An encoder with its sink. It blocks, so it runs off the async threads.
pub(super) struct Writing {
    encoder: Encoder,
    pub(super) sink: Sink,
    /// Bytes written.
    pub(super) bytes: u64,
}

impl Writing {
    /// Begins with what comes before the first row, or goes on behind `bytes` that are there.
    pub(super) fn begin((encoder, head): (Encoder, Vec<u8>), sink: Sink, bytes: u64) -> anyhow::Result<Self> {
        let mut writing = Self { encoder, sink, bytes };
        if bytes == 0 {
            writing.write(&head)?;
        }
        Ok(writing)
    }

    pub(super) fn rows<T: Row>(&mut self, rows: &[T]) -> anyhow::Result<()> {
        let bytes = self.encoder.encode(rows)?;
        self.write(&bytes)
    }

    /// Writes what comes behind the last row.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        let bytes = self.encoder.finish()?;
        self.write(&bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.bytes += bytes.len() as u64;
        match (&self.encoder, &mut self.sink) {
            _ if bytes.is_empty() => Ok(()),
            (Encoder::Table, Sink::Stdout) => out::print(&String::from_utf8_lossy(bytes)),
            (_, sink) => sink.write(bytes),
        }
    }
}

/// Refuses to fill a terminal with bytes that are no text.
pub(super) fn check_terminal(format: Format) -> anyhow::Result<()> {
    if matches!(format, Format::Parquet | Format::Arrow) && std::io::stdout().is_terminal() {
        bail!("this format is no text for a terminal; give --out FILE, or send it on with |");
    }
    Ok(())
}

/// The format that the ending of a file says.
pub(super) fn format_of(file: &Path) -> anyhow::Result<Format> {
    let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
    match &*ending {
        "csv" => Ok(Format::Csv),
        "ndjson" | "jsonl" => Ok(Format::Ndjson),
        "parquet" => Ok(Format::Parquet),
        "arrow" => Ok(Format::Arrow),
        _ => bail!(
            "the ending of {} is of no known format; name it .csv, .ndjson, .jsonl, .parquet or .arrow, or give --format",
            file.display()
        ),
    }
}
