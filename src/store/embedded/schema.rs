//! The tables of the embedded store, and how its file is opened, recognized and created.
//!
//! Apart from the store, because the tables are a format that others read, with `sqlite3` or pandas: a column is never
//! renamed, and another form of the file takes another version.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

/// Marks the file as a store of Freshet: `FrsS` in ASCII.
const APPLICATION_ID: i32 = 0x4672_7353;
/// Version of the tables that this program writes, and the newest that it reads.
const SCHEMA_VERSION: i32 = 4;
/// Longest wait for another process that writes.
const BUSY: Duration = Duration::from_secs(20);

/// `seq` is the key of the table itself, so that events are appended and read in order without an index. The one index
/// keeps a record of the log from being stored twice. One of users and one of items would take three quarters of the rate of
/// writing, and a look at a million events takes half a second.
const TABLES: &str = "
    CREATE TABLE events (
        topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        seq INTEGER PRIMARY KEY, batch INTEGER NOT NULL,
        user TEXT NOT NULL, item TEXT NOT NULL, rating REAL, count REAL, ts_ms INTEGER NOT NULL, id TEXT,
        predicted REAL NOT NULL, rehearse_from INTEGER, ts_of_event INTEGER NOT NULL DEFAULT 1,
        genres TEXT, year INTEGER,
        UNIQUE (topic, partition, offset)
    ) STRICT;
    CREATE TABLE dead_letters (
        topic TEXT NOT NULL, partition INTEGER NOT NULL, offset INTEGER NOT NULL,
        timestamp_ms INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, key BLOB, payload BLOB NOT NULL,
        replayed_at_ms INTEGER,
        UNIQUE (topic, partition, offset)
    ) STRICT;
    CREATE INDEX dead_letters_reason ON dead_letters (reason);
    CREATE TABLE snapshots (seq INTEGER PRIMARY KEY, manifest TEXT NOT NULL) STRICT;
    CREATE TABLE blocks (hash TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, bytes BLOB NOT NULL) STRICT;
    CREATE TABLE items (
        id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL, genres TEXT NOT NULL, year INTEGER, url TEXT,
        labels TEXT NOT NULL DEFAULT '[]', hidden INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE users (
        id TEXT PRIMARY KEY NOT NULL, age INTEGER, gender TEXT, occupation TEXT, zip TEXT,
        labels TEXT NOT NULL DEFAULT '[]', hidden INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE engine (
        epoch INTEGER NOT NULL, seq INTEGER NOT NULL, batch INTEGER NOT NULL, offsets TEXT NOT NULL,
        store_id TEXT NOT NULL DEFAULT '', base INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    INSERT INTO engine (epoch, seq, batch, offsets) VALUES (0, 0, 0, '[]');
    CREATE TABLE catalog (version INTEGER NOT NULL) STRICT;
    INSERT INTO catalog VALUES (0);
";

/// Why a file does not open.
#[derive(Debug)]
pub(super) enum OpenError {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// It is a file of another kind or time; with what to do.
    Unsuitable(String),
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Opens the file for writing, and creates it with its tables where there is none.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let mut connection = Connection::open(path)?;
    prepare(&connection)?;
    // A commit is on the disk when it returns, whatever happens to the process or the power.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Looked at before the journal's mode is set: a file that is not ours stays as it is.
    let new = is_new(&connection, path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    if new {
        create(&mut connection, path)?;
    } else {
        upgrade(&mut connection)?;
    }
    Ok(connection)
}

/// Opens the file for reading, so that reads do not wait for writes.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn create(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    if is_new(&transaction, path)? {
        transaction.execute_batch(TABLES)?;
        name(&transaction)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// Brings the tables of an older version to this one.
fn upgrade(connection: &mut Connection) -> Result<(), OpenError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < 2 {
        transaction.execute_batch(
            "ALTER TABLE events ADD COLUMN ts_of_event INTEGER NOT NULL DEFAULT 1;
             ALTER TABLE events ADD COLUMN genres TEXT;
             ALTER TABLE events ADD COLUMN year INTEGER",
        )?;
    }
    if version < 3 {
        transaction.execute_batch(
            "ALTER TABLE dead_letters ADD COLUMN replayed_at_ms INTEGER;
             ALTER TABLE engine ADD COLUMN store_id TEXT NOT NULL DEFAULT '';
             ALTER TABLE engine ADD COLUMN base INTEGER NOT NULL DEFAULT 0",
        )?;
        name(&transaction)?;
    }
    if version < 4 {
        for table in ["items", "users"] {
            transaction.execute_batch(&format!(
                "ALTER TABLE {table} ADD COLUMN labels TEXT NOT NULL DEFAULT '[]';
                 ALTER TABLE {table} ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0",
            ))?;
        }
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    Ok(transaction.commit()?)
}

/// Gives the store its name.
fn name(connection: &Connection) -> rusqlite::Result<()> {
    let name = mongodb::bson::Uuid::new().to_string();
    connection.execute("UPDATE engine SET store_id = ?1", [name]).map(|_| ())
}

/// Whether the tables are of this version; an error as that of [`is_new`].
pub(super) fn is_current(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(!is_new(connection, path)? && version == SCHEMA_VERSION)
}

/// Whether the file is empty; an error if it is neither empty nor a store that this program can use.
fn is_new(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let file = path.display();
    match (application, version) {
        (APPLICATION_ID, 1..=SCHEMA_VERSION) => Ok(false),
        (APPLICATION_ID, _) => Err(OpenError::Unsuitable(format!(
            "its tables have version {version}, and this freshet reads up to {SCHEMA_VERSION}; use the newer freshet that \
             wrote it, or another store.data_dir"
        ))),
        (0, 0) if tables == 0 => Ok(true),
        _ => Err(OpenError::Unsuitable(format!(
            "{file} is an SQLite database of another program; move it away, or set another store.data_dir"
        ))),
    }
}
