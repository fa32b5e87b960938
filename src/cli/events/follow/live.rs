//! The loop of following: rows from the feed to the output, and into the resume file that they are there.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::HumanCount;
use tokio_util::sync::CancellationToken;

use super::Args;
use super::feed::Feed;
use super::resume::{At, Resume, Written};
use crate::cli::events::columns::Row;
use crate::cli::events::encode::{Encoder, Format};
use crate::cli::events::off_thread;
use crate::cli::events::output::{Sink, Writing};
use crate::cli::out::{self, cannot_write};
use crate::shutdown::{self, Interrupted};
use crate::store::{Store, StoreError};

/// Pause between two attempts to reach a store that is away.
const PAUSE: Duration = Duration::from_millis(500);
/// How often the resume file is renewed while nothing comes.
const IDLE: Duration = Duration::from_secs(5);
/// Longest wait for a write that is under way when this is to stop.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// What is followed by, and to where.
pub(super) struct Live<'a> {
    pub(super) args: &'a Args,
    /// Nothing for the table.
    pub(super) format: Option<Format>,
    pub(super) store: &'a dyn Store,
    pub(super) resume: Option<Resume>,
}

impl Live<'_> {
    pub(super) async fn run<F: Feed>(mut self, mut feed: F) -> anyhow::Result<()> {
        let stop = shutdown::on_signals();
        let mut writing = self.begin::<F::Row>()?;
        writing.sink.sync()?;
        self.save(feed.at(), writing.bytes).await?;
        let (mut count, mut away) = (0, None);
        let limit = self.args.limit.unwrap_or(u64::MAX);
        while count < limit {
            let most = usize::try_from(limit - count).unwrap_or(usize::MAX);
            let rows = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                rows = feed.next(most) => rows,
            };
            match rows {
                Ok(rows) => {
                    came_back(&mut away);
                    count += rows.len() as u64;
                    writing = self.take(rows, feed.at(), writing, &stop).await?;
                }
                Err(error @ StoreError::Unavailable { .. }) => {
                    went_away(&mut away, &error);
                    feed.reset();
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        // Before what closes the output, which is not to stand in the middle of it the next time.
        if away.is_none() {
            self.save(feed.at(), writing.bytes).await?;
        }
        off_thread(move || writing.finish()).await?;
        self.ended(&format!("{} {}", HumanCount(count), F::Row::NAME), count < limit)
    }

    /// Opens the output: a file goes on where the resume file says that it was.
    fn begin<T: Row>(&mut self) -> anyhow::Result<Writing> {
        let encoder = match self.format {
            Some(format) => Encoder::new::<T>(format, true)?,
            None => Encoder::table::<T>(),
        };
        let (Some(path), Some(format)) = (&self.args.out, self.format) else {
            return Writing::begin(encoder, Sink::Stdout, 0);
        };
        if let Some(written) = self.resume.as_ref().and_then(|resume| resume.written.as_ref()) {
            if written.format != format {
                bail!("{} has another format so far; give the --format that it was begun with", path.display());
            }
            let file = cut_back(path, written.bytes)?;
            return Writing::begin(encoder, Sink::File(file, path.clone()), written.bytes);
        }
        let file = create(path, self.args.force)?;
        if let Some(resume) = &mut self.resume {
            resume.written = Some(Written { file: path.clone(), format, bytes: 0 });
        }
        Writing::begin(encoder, Sink::File(file, path.clone()), 0)
    }

    /// Writes rows, waits until they are there, and says so in the resume file.
    async fn take<T: Row>(
        &mut self,
        rows: Vec<T>,
        at: At,
        mut writing: Writing,
        stop: &CancellationToken,
    ) -> anyhow::Result<Writing> {
        let Some(resume) = &self.resume else { return write(rows, writing, false, stop).await };
        let idle = rows.is_empty();
        if !idle {
            writing = write(rows, writing, true, stop).await?;
        }
        if !idle || (resume.saved.elapsed() >= IDLE && resume.at.as_ref() != Some(&at)) {
            self.save(at, writing.bytes).await?;
        }
        Ok(writing)
    }

    async fn save(&mut self, at: At, bytes: u64) -> anyhow::Result<()> {
        let Some(resume) = &mut self.resume else { return Ok(()) };
        if resume.store_id.is_empty()
            && let Ok(state) = self.store.state().await
        {
            resume.store_id = state.store_id;
        }
        resume.save(at, bytes)
    }

    fn ended(&self, rows: &str, before_limit: bool) -> anyhow::Result<()> {
        if self.args.limit.is_some() && before_limit {
            return Err(Interrupted { done: format!("{rows} followed") }.into());
        }
        let on = self
            .args
            .resume_file
            .as_ref()
            .map_or_else(String::new, |file| format!("; --resume-file {} goes on there", file.display()));
        out::note(&format!("followed {rows}{on}\n"));
        Ok(())
    }
}

async fn write<T: Row>(
    rows: Vec<T>,
    mut writing: Writing,
    sync: bool,
    stop: &CancellationToken,
) -> anyhow::Result<Writing> {
    if rows.is_empty() {
        return Ok(writing);
    }
    let written = off_thread(move || {
        writing.rows(&rows)?;
        if sync {
            writing.sink.sync()?;
        }
        Ok(writing)
    });
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_WRITE).await;
    };
    tokio::select! {
        written = written => written,
        () = stopped => Err(Interrupted { done: "the output took no more rows".to_owned() }.into()),
    }
}

fn went_away(away: &mut Option<Instant>, error: &StoreError) {
    if away.is_none() {
        tracing::warn!(%error, "the store is away; waiting for it");
    }
    away.get_or_insert_with(Instant::now);
}

fn came_back(away: &mut Option<Instant>) {
    if let Some(since) = away.take() {
        tracing::info!(seconds = since.elapsed().as_secs_f64(), "the store is back; going on where it was left");
    }
}

fn create(path: &Path, force: bool) -> anyhow::Result<File> {
    let mut options = File::options();
    options.write(true);
    match std::fs::metadata(path) {
        Ok(there) if there.is_file() && !force => bail!(
            "{} is there already, and no resume file says how far it goes; give another --out, or --force to replace it",
            path.display()
        ),
        // A device or a FIFO.
        Ok(there) if !there.is_file() => options.open(path),
        _ => options.create(true).truncate(true).open(path),
    }
    .with_context(|| cannot_write(path))
}

/// Opens a file behind the bytes that are known to be whole.
fn cut_back(path: &Path, bytes: u64) -> anyhow::Result<File> {
    let file = File::options().append(true).open(path).with_context(|| cannot_write(path))?;
    let there = file.metadata().with_context(|| cannot_write(path))?;
    if !there.is_file() {
        return Ok(file);
    }
    if there.len() < bytes {
        bail!(
            "{} has {} bytes, and had {bytes} when the resume file was written: it has been changed since; remove both to \
             begin anew",
            path.display(),
            there.len()
        );
    }
    file.set_len(bytes).with_context(|| cannot_write(path))?;
    Ok(file)
}
