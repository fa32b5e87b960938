//! The embedded log's file: one SQLite database with topics, records and consumer-group positions.
//!
//! Apart from its producer and its consumer, because both read and write the one schema that is defined here, from
//! different processes at the same time. Anyone may open the file with `sqlite3` and look.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::capture::LogError;
use crate::config::Config;

/// Stamped into the file (`PRAGMA application_id`): "FRLG".
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"FRLG");
/// Version of the tables below (`PRAGMA user_version`).
const SCHEMA_VERSION: i32 = 1;
/// Longest wait for another process that is writing.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// `seq` is the one append order over all topics and partitions; writers take turns, so it is also the commit order.
/// AUTOINCREMENT keeps the numbers of what somebody deletes by hand from being given out again.
const SCHEMA: &str = "
    CREATE TABLE topics (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, partitions INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE records (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        timestamp_ms INTEGER NOT NULL, key BLOB, payload BLOB NOT NULL, UNIQUE (topic, partition, offset)
    ) STRICT;
    CREATE TABLE positions (
        consumer_group TEXT NOT NULL, topic INTEGER NOT NULL, partition INTEGER NOT NULL, next INTEGER NOT NULL,
        PRIMARY KEY (consumer_group, topic, partition)
    ) STRICT, WITHOUT ROWID;";

/// One connection to the log.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) sqlite: Connection,
    path: PathBuf,
}

/// A topic as the file knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) id: i64,
    pub(crate) partitions: i32,
}

/// File of the configured log.
pub(crate) fn path(config: &Config) -> PathBuf {
    config.store.data_dir.join("log.db")
}

impl LogFile {
    /// Opens the log, creating folder, file and tables where they are missing.
    pub(crate) fn open(path: &Path) -> Result<Self, LogError> {
        let open = |reason: String| LogError::Embedded { action: "open", path: path.display().to_string(), reason };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| open(error.to_string()))?;
        }
        let sqlite = Connection::open(path).map_err(|error| open(error.to_string()))?;
        let mut log = Self { sqlite, path: path.to_owned() };
        log.prepare().map_err(|error| open(explain(&error)))?;
        log.check_schema().map_err(open)?;
        Ok(log)
    }

    /// Opens a log that is there, to read it alone.
    pub(crate) fn open_to_read(path: &Path) -> Result<Self, LogError> {
        let open = |reason: String| LogError::Embedded { action: "open", path: path.display().to_string(), reason };
        if !path.exists() {
            return Err(open(
                "it is not there; nothing was produced yet, or store.data_dir is another folder".to_owned(),
            ));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let sqlite = Connection::open_with_flags(path, flags).map_err(|error| open(error.to_string()))?;
        sqlite.busy_timeout(BUSY_TIMEOUT).map_err(|error| open(explain(&error)))?;
        let log = Self { sqlite, path: path.to_owned() };
        log.check_schema().map_err(open)?;
        Ok(log)
    }

    fn prepare(&mut self) -> rusqlite::Result<()> {
        self.sqlite.busy_timeout(BUSY_TIMEOUT)?;
        use_wal(&self.sqlite)?;
        // Durable before it is claimed: with FULL, SQLite syncs the write-ahead log at each commit.
        self.sqlite.pragma_update(None, "synchronous", "FULL")?;
        let transaction = self.sqlite.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let tables: i64 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            transaction.execute_batch(SCHEMA)?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        transaction.commit()
    }

    fn check_schema(&self) -> Result<(), String> {
        let pragma = |name: &str| self.sqlite.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
        let application = pragma("application_id").map_err(|error| explain(&error))?;
        let version = pragma("user_version").map_err(|error| explain(&error))?;
        if application != APPLICATION_ID {
            return Err("it is an SQLite file of another program; set store.data_dir to another folder".to_owned());
        }
        if version != SCHEMA_VERSION {
            return Err(format!(
                "it has schema version {version}, this freshet reads version {SCHEMA_VERSION}; use the freshet that \
                 wrote it, or set store.data_dir to another folder"
            ));
        }
        Ok(())
    }

    /// The topic, created with `partitions` where it is missing; an existing one keeps its own number of partitions.
    pub(crate) fn ensure_topic(&self, name: &str, partitions: i32) -> Result<Topic, LogError> {
        let created = self
            .sqlite
            .execute(
                "INSERT INTO topics (name, partitions) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![name, partitions],
            )
            .and_then(|_| find_topic(&self.sqlite, name));
        let missing = || self.error("create the topic in", "it was deleted at the same moment; start again".to_owned());
        created.map_err(|error| self.failed("create the topic in", &error))?.ok_or_else(missing)
    }

    /// The error for a failure of SQLite.
    pub(crate) fn failed(&self, action: &'static str, error: &rusqlite::Error) -> LogError {
        self.error(action, explain(error))
    }

    /// The error for something that the log does not allow.
    pub(crate) fn error(&self, action: &'static str, reason: String) -> LogError {
        LogError::Embedded { action, path: self.path.display().to_string(), reason }
    }

    /// The file, for people.
    pub(crate) fn location(&self) -> String {
        self.path.display().to_string()
    }

    /// The names of all topics.
    pub(crate) fn topic_names(&self) -> rusqlite::Result<BTreeSet<String>> {
        self.sqlite.prepare("SELECT name FROM topics")?.query_map([], |row| row.get(0))?.collect()
    }

    /// Whether the file is still in its place.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }
}

/// The topic of that name, if there is one.
pub(crate) fn find_topic(sqlite: &Connection, name: &str) -> rusqlite::Result<Option<Topic>> {
    sqlite
        .prepare_cached("SELECT id, partitions FROM topics WHERE name = ?1")?
        .query_row([name], |row| Ok(Topic { id: row.get(0)?, partitions: row.get(1)? }))
        .optional()
}

/// One past the last offset of a partition.
pub(crate) fn end_offset(sqlite: &Connection, topic: Topic, partition: i32) -> rusqlite::Result<i64> {
    sqlite
        .prepare_cached("SELECT coalesce(max(offset) + 1, 0) FROM records WHERE topic = ?1 AND partition = ?2")?
        .query_row(params![topic.id, partition], |row| row.get(0))
}

/// Turns write-ahead logging on. Two processes that do so on a new file at once do not wait for each other as they
/// otherwise would, so the loser looks again.
fn use_wal(sqlite: &Connection) -> rusqlite::Result<()> {
    let mut attempts = 0;
    loop {
        match sqlite.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && attempts < 100 => {
                attempts += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

/// Whether it may be over the next time.
pub(crate) fn may_pass(error: &rusqlite::Error) -> bool {
    use ErrorCode as Code;
    let passing = [Code::DatabaseBusy, Code::DatabaseLocked, Code::DiskFull, Code::SystemIoFailure, Code::OutOfMemory];
    error.sqlite_error_code().is_some_and(|code| passing.contains(&code))
}

/// What SQLite said, with what to do about it where that is known.
pub(crate) fn explain(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            "it is not an SQLite file; move it away, or set store.data_dir to another folder".to_owned()
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            format!("{error}; restore the file from a backup, or set store.data_dir to another folder")
        }
        Some(ErrorCode::DiskFull) => format!("{error}; free some space"),
        Some(ErrorCode::DatabaseBusy) => {
            format!("{error}: another process has been writing for {}s", BUSY_TIMEOUT.as_secs())
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_sqlite_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.db");
        std::fs::write(&path, "user,item,rating\n".repeat(100)).unwrap();
        let error = LogFile::open(&path).unwrap_err().to_string();
        assert!(error.contains("log.db: ") && error.contains("not an SQLite file"), "{error}");
    }

    #[test]
    fn another_program_s_file_and_another_version_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
        assert!(LogFile::open(&other).unwrap_err().to_string().contains("another program"));

        let newer = dir.path().join("newer.db");
        LogFile::open(&newer).unwrap().sqlite.pragma_update(None, "user_version", 2).unwrap();
        assert!(LogFile::open(&newer).unwrap_err().to_string().contains("schema version 2"));
    }

    #[test]
    fn many_processes_may_open_a_new_log_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/log.db");
        std::thread::scope(|scope| {
            for partitions in 1..9 {
                let path = path.clone();
                scope.spawn(move || LogFile::open(&path).unwrap().ensure_topic("ratings", partitions).unwrap());
            }
        });
        let log = LogFile::open(&path).unwrap();
        let topics: i64 = log.sqlite.query_row("SELECT count(*) FROM topics", [], |row| row.get(0)).unwrap();
        assert_eq!(topics, 1);
        assert_eq!(log.sqlite.pragma_query_value(None, "synchronous", |row| row.get::<_, i32>(0)).unwrap(), 2);
    }
}
