//! The file that keeps where following stands, renewed as a whole or not at all.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::Args;
use crate::cli::events::Who;
use crate::cli::events::encode::Format;
use crate::cli::out::{self, cannot_write};
use crate::consume::Offsets;
use crate::store::Claim;

/// Form of the file that this program writes and reads.
const FORM: u32 = 1;

/// Where following goes on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum At {
    /// After this event; with where the change stream goes on, if there is one.
    Seq { seq: u64, token: Option<serde_json::Value> },
    /// From these places of the log on.
    Offsets(Offsets),
}

/// What a file of rows held.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) file: PathBuf,
    pub(super) format: Format,
    pub(super) bytes: u64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    freshet_events_follow: u32,
    store_id: String,
    filters: Who,
    at: At,
    written: Option<Written>,
}

pub(super) struct Resume {
    path: PathBuf,
    filters: Who,
    /// Empty as long as the store has no name.
    pub(super) store_id: String,
    /// Where it stood at last; none in a new file.
    pub(super) at: Option<At>,
    pub(super) written: Option<Written>,
    pub(super) saved: Instant,
}

impl Resume {
    /// Reads the file, if there is one, and checks that it is of this store and of this command.
    pub(super) fn open(path: &Path, args: &Args, state: &Claim) -> anyhow::Result<Self> {
        let filters = args.filters.who.clone();
        let (path, store_id) = (path.to_owned(), state.store_id.clone());
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self { path, filters, store_id, at: None, written: None, saved: Instant::now() });
            }
            read => read.with_context(|| format!("cannot read the resume file {}", path.display()))?,
        };
        let record: Record = serde_json::from_slice(&bytes).with_context(|| {
            let file = path.display();
            format!(
                "{file} is no whole resume file of `freshet events follow`; remove it, or give another --resume-file"
            )
        })?;
        record.check(args, state).with_context(|| {
            format!("{} does not go with this; give another --resume-file, or remove it to begin anew", path.display())
        })?;
        let Record { at, written, .. } = record;
        Ok(Self { path, filters, store_id, at: Some(at), written, saved: Instant::now() })
    }

    /// Says that everything up to `at` is written.
    pub(super) fn save(&mut self, at: At, bytes: u64) -> anyhow::Result<()> {
        if let Some(written) = &mut self.written {
            written.bytes = bytes;
        }
        let record = Record {
            freshet_events_follow: FORM,
            store_id: self.store_id.clone(),
            filters: self.filters.clone(),
            at,
            written: self.written.clone(),
        };
        let mut file = out::file_beside(&self.path)?;
        let text = serde_json::to_string(&record)? + "\n";
        let whole = file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all());
        whole.with_context(|| cannot_write(&self.path))?;
        file.persist(&self.path).with_context(|| cannot_write(&self.path))?;
        self.at = Some(record.at);
        self.saved = Instant::now();
        Ok(())
    }
}

impl Record {
    fn check(&self, args: &Args, state: &Claim) -> anyhow::Result<()> {
        let Self { freshet_events_follow: form, store_id, filters, at, written } = self;
        if *form != FORM {
            bail!("it has the form {form}, and this freshet reads {FORM}");
        }
        if !store_id.is_empty() && *store_id != state.store_id {
            bail!("it is of another store (named {store_id}; this one is named {:?})", state.store_id);
        }
        if *filters != args.filters.who {
            bail!("it is of other filters: {}", serde_json::to_string(filters)?);
        }
        let behind = match at {
            At::Seq { seq, .. } => *seq <= state.progress.seq,
            At::Offsets(offsets) => state.progress.offsets.cover(offsets),
        };
        if !behind {
            bail!("it is ahead of the store, which has been put back or begun anew since");
        }
        if written.as_ref().map(|written| &written.file) != args.out.as_ref() {
            let went = written.as_ref().map_or("stdout".to_owned(), |written| written.file.display().to_string());
            bail!("what it tells of went to {went}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::gather::Progress;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(flags: &[&str]) -> Args {
        Line::parse_from(["follow"].iter().chain(flags)).args
    }

    fn state(store_id: &str, seq: u64) -> Claim {
        let progress = Progress { seq, ..Progress::default() };
        Claim { store_id: store_id.into(), progress, ..Claim::default() }
    }

    #[test]
    fn a_file_says_where_it_stood_and_is_refused_where_it_does_not_belong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resume.json");
        let user = args(&["--user", "7"]);
        let mut resume = Resume::open(&path, &user, &state("a", 9)).unwrap();
        assert_eq!(resume.at, None);
        let at = At::Seq { seq: 5, token: Some(serde_json::json!({"_data": "82"})) };
        resume.save(at.clone(), 0).unwrap();
        assert_eq!(Resume::open(&path, &user, &state("a", 9)).unwrap().at, Some(at));

        let refused = |args: &Args, state: &Claim, part: &str| {
            let error = format!("{:#}", Resume::open(&path, args, state).err().expect("it is refused"));
            assert!(error.contains("resume.json") && error.contains(part), "{error}");
        };
        refused(&user, &state("b", 9), "of another store (named a");
        refused(&user, &state("a", 4), "ahead of the store");
        refused(&args(&["--user", "8"]), &state("a", 9), r#"of other filters: {"user":"7""#);
        refused(&args(&["--reason", "all"]), &state("a", 9), "of other filters");
        refused(&args(&["--user", "7", "--out", "x.csv"]), &state("a", 9), "went to stdout");
        let text = std::fs::read_to_string(&path).unwrap();
        for garbled in ["", "{}", "\u{0}", &text[..text.len() / 2], &text.replace("\"seq\":5", "\"seq\":-5")] {
            std::fs::write(&path, garbled).unwrap();
            refused(&user, &state("a", 9), "no whole resume file");
        }
        std::fs::write(&path, text.replace("follow\":1", "follow\":2")).unwrap();
        refused(&user, &state("a", 9), "form 2");
    }

    #[test]
    fn places_of_both_kinds_are_read_as_they_are_written() {
        let mut offsets = Offsets::default();
        offsets.set("ratings".into(), 3, 17);
        for at in [At::Offsets(offsets), At::Seq { seq: 0, token: None }] {
            let text = serde_json::to_string(&at).unwrap();
            assert_eq!(serde_json::from_str::<At>(&text).unwrap(), at, "{text}");
        }
    }
}
