//! The embedded log and store: their folder, the disk, and the two files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::steps::{Fault, Found, Section, Stop};
use crate::capture::embedded_log::{self, LogFile};
use crate::config::Config;
use crate::store::embedded;

/// Free space below which the next snapshots may not fit, and below which it should be looked at.
const LEAST_FREE: u64 = 100 << 20;
const LITTLE_FREE: u64 = 1 << 30;

/// The steps, for the log, the store, or both.
pub(super) fn plan(log: bool, store: bool) -> &'static [&'static str] {
    match (log, store) {
        (true, true) => &["folder", "disk", "log", "store", "lock", "integrity"],
        (true, false) => &["folder", "disk", "log", "lock", "integrity"],
        _ => &["folder", "disk", "store", "lock", "integrity"],
    }
}

pub(super) async fn check(config: &Config, log: bool, store: bool, section: &mut Section) -> Result<(), Stop> {
    let (folder, limit) = (config.store.data_dir.clone(), section.limit);
    let place = folder.clone();
    let existing = section.blocking("folder", move || writable(&place)).await?;
    // A disk that is nearly full does not hinder the reading.
    let _ = section.blocking("disk", move || free_space(&existing)).await;
    let mut files = Vec::new();
    if log {
        let path = embedded_log::path(config);
        files.push(path.clone());
        let (topic, group) = (config.broker.topic.clone(), config.broker.group.clone());
        section.blocking("log", move || log_file(&path, &topic, &group)).await?;
    }
    if store {
        files.push(folder.join(embedded::FILE));
        section.blocking("store", move || store_file(&folder)).await?;
    }
    let files: Vec<PathBuf> = files.into_iter().filter(|file| file.exists()).collect();
    let locked = files.clone();
    section.blocking("lock", move || each(&locked, |file| unlocked(file, limit / 3))).await?;
    section.blocking("integrity", move || each(&files, |file| whole(file, limit / 3))).await
}

/// The folder, or the nearest one above it that exists: there must be room for a file of ours in it.
fn writable(folder: &Path) -> Result<Found<PathBuf>, Fault> {
    let advice = "make it writable for the user that freshet runs as, or set another store.data_dir";
    let absolute = std::path::absolute(folder).map_err(|error| Fault::new(error.to_string(), advice))?;
    let existing = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned();
    let fault = |reason: String| Fault::new(format!("{}: {reason}", existing.display()), advice);
    if !existing.is_dir() {
        return Err(fault("is a file, and a folder is needed".to_owned()));
    }
    tempfile::tempfile_in(&existing).map_err(|error| fault(error.to_string()))?;
    let detail =
        if existing == absolute { "there, and may be written to" } else { "not there yet; freshet creates it" };
    Ok(Found::new(existing, detail))
}

fn free_space(folder: &Path) -> Result<Found, Fault> {
    let about = rustix::fs::statvfs(folder).map_err(|error| Fault::new(error.to_string(), ""))?;
    judge_space(about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize)
}

fn judge_space(free: u64, all: u64) -> Result<Found, Fault> {
    let detail = format!("{} of {} free", HumanBytes(free), HumanBytes(all));
    let advice = "free space on it, or set store.data_dir to a folder on another one";
    if free < LEAST_FREE {
        return Err(Fault::new(detail, advice));
    }
    Ok(Found::new((), detail).but((free < LITTLE_FREE).then(|| advice.to_owned())))
}

fn log_file(path: &Path, topic: &str, group: &str) -> Result<Found, Fault> {
    if !path.exists() {
        return Ok(Found::new((), "not there yet; freshet creates it"));
    }
    let fault = |reason: String| Fault::new(reason, "");
    let log = LogFile::open_to_read(path).map_err(|error| fault(error.to_string()))?;
    let sql = |error: rusqlite::Error| fault(log.failed("read", &error).to_string());
    let Some(found) = embedded_log::find_topic(&log.sqlite, topic).map_err(sql)? else {
        return Ok(Found::new((), format!("has no topic {topic:?} yet; freshet creates it")));
    };
    let ends = (0..found.partitions).map(|partition| embedded_log::end_offset(&log.sqlite, found, partition));
    let records: i64 = ends.sum::<rusqlite::Result<i64>>().map_err(sql)?;
    let read = "SELECT coalesce(sum(next), 0) FROM positions WHERE consumer_group = ?1 AND topic = ?2";
    let read: i64 = log.sqlite.query_row(read, (group, found.id), |row| row.get(0)).map_err(sql)?;
    let detail = format!(
        "topic {topic:?}: {} records, {} partitions; group {group:?} has {} to read",
        HumanCount(records.max(0) as u64),
        found.partitions,
        HumanCount((records - read).max(0) as u64)
    );
    Ok(Found::new((), detail))
}

fn store_file(folder: &Path) -> Result<Found, Fault> {
    let there = folder.join(embedded::FILE).exists();
    let claim = embedded::look(folder).map_err(|error| Fault::new(error.to_string(), ""))?;
    Ok(Found::new(
        (),
        match claim {
            Some(claim) => format!("epoch {}, {} events", claim.epoch, HumanCount(claim.progress.seq)),
            None if there => "of an older freshet; the engine brings it up to date".to_owned(),
            None => "not there yet; freshet creates it".to_owned(),
        },
    ))
}

/// Looks at every file; what was found of each is told.
fn each(files: &[PathBuf], look: impl Fn(&Path) -> Result<Found, Fault>) -> Result<Found, Fault> {
    let mut warnings = Vec::new();
    for file in files {
        warnings.extend(look(file)?.warning());
    }
    let names: Vec<_> = files.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy())).collect();
    let detail = if names.is_empty() { "no file is there yet".to_owned() } else { names.join(", ") };
    Ok(Found::new((), detail).but((!warnings.is_empty()).then(|| warnings.join("; "))))
}

/// Whether the file may be written to now: a lock that is held as long as this waits belongs to something that hangs.
fn unlocked(file: &Path, wait: Duration) -> Result<Found, Fault> {
    let connection = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let taken = connection.busy_timeout(wait).and_then(|()| connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK"));
    match taken {
        Ok(()) => Ok(Found::new((), "")),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => Err(Fault::new(
            format!("{}: another process has held it for {wait:?}", file.display()),
            "end what holds it (`fuser` names it), or set another store.data_dir",
        )),
        Err(error) => Err(unusable(file, &error)),
    }
}

/// Whether SQLite finds the file whole, as far as it gets in time.
fn whole(file: &Path, limit: Duration) -> Result<Found, Fault> {
    let connection = open(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let interrupt = connection.get_interrupt_handle();
    let (done, wait) = std::sync::mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if wait.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    });
    let checked = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    drop(done);
    // It only waits, and that is over now.
    let _ = watch.join();
    let advice = "restore the file from a backup, or set another store.data_dir";
    match checked {
        Ok(answer) if answer == "ok" => Ok(Found::new((), "")),
        Ok(answer) => Err(Fault::new(format!("{} is damaged: {answer}", file.display()), advice)),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            let warning = format!(
                "{} is large: nothing wrong was found in {limit:?}, and --timeout gives it longer",
                file.display()
            );
            Ok(Found::new((), "").but(Some(warning)))
        }
        Err(error) => Err(Fault::new(format!("{}: {error}", file.display()), advice)),
    }
}

fn open(file: &Path, flags: OpenFlags) -> Result<Connection, Fault> {
    let opened = Connection::open_with_flags(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    opened.map_err(|error| unusable(file, &error))
}

fn unusable(file: &Path, error: &rusqlite::Error) -> Fault {
    let advice = "make the file and its folder writable for the user that freshet runs as";
    Fault::new(format!("{}: {}", file.display(), embedded_log::explain(error)), advice)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_that_cannot_be_had_is_told_from_one_that_will_be_created() {
        let dir = tempfile::tempdir().unwrap();
        assert!(writable(&dir.path().join("a/b")).is_ok());
        assert!(!dir.path().join("a").exists(), "nothing is created");
        fs::write(dir.path().join("file"), "").unwrap();
        let fault = writable(&dir.path().join("file/below")).unwrap_err();
        assert!(fault.reason.contains("is a file"), "{fault:?}");
    }

    #[test]
    fn little_space_is_told_and_no_space_is_a_fault() {
        assert!(judge_space(10 << 30, 20 << 30).unwrap().warning().is_none());
        assert!(judge_space(500 << 20, 20 << 30).unwrap().warning().is_some());
        assert!(judge_space(1 << 20, 20 << 30).is_err());
    }

    #[test]
    fn a_damaged_file_and_one_that_is_held_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log.db");
        let mut log = LogFile::open(&file).unwrap();
        let topic = log.ensure_topic("ratings", 1).unwrap();
        let transaction = log.sqlite.transaction().unwrap();
        for offset in 0..2_000 {
            let insert =
                "INSERT INTO records (topic, partition, offset, timestamp_ms, payload) VALUES (?1, 0, ?2, 0, ?3)";
            transaction.execute(insert, (topic.id, offset, vec![7_u8; 100])).unwrap();
        }
        transaction.commit().unwrap();
        let text = log_file(&file, "ratings", "freshet").unwrap();
        assert!(whole(&file, Duration::from_mins(1)).is_ok() && unlocked(&file, Duration::from_millis(10)).is_ok());
        assert!(format!("{text:?}").contains("2,000 to read"), "{text:?}");
        log.sqlite.execute_batch("BEGIN IMMEDIATE").unwrap();
        assert!(unlocked(&file, Duration::from_millis(10)).unwrap_err().reason.contains("has held it"));
        log.sqlite.execute_batch("ROLLBACK; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        drop(log);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 8192].fill(0x55);
        fs::write(&file, bytes).unwrap();
        assert!(whole(&file, Duration::from_mins(1)).is_err());
    }
}
