//! The servers that tests and benches run against: started at first use, shared by one test process, gone with it.
//!
//! `mongodb()` and `kafka()` are for tests that only need a server; a test that kills its server starts its own with
//! `Mongod::start()` or `Kafka::start()`. Share politely: name databases with [`unique`] and topics with [`topic`].

pub(crate) mod kafka;
pub(crate) mod mongod;
pub(crate) mod process;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) use kafka::{Kafka, topic};
pub(crate) use mongod::Mongod;

/// Connection string of a `MongoDB` replica set: `FRESHET_TEST_MONGODB`, or a mongod that this process shares.
pub(crate) fn mongodb() -> &'static str {
    static SHARED: OnceLock<Result<(String, Option<Mongod>), String>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| match from_environment("FRESHET_TEST_MONGODB") {
        Some(uri) => Ok((uri, None)),
        None => Mongod::try_start().map(|mongod| (mongod.uri(), Some(mongod))),
    });
    shared.as_ref().map_or_else(|error| panic!("{error}"), |(uri, _)| uri)
}

/// Bootstrap servers of Kafka: `FRESHET_TEST_KAFKA`, or a broker that this process shares, or, where Apache Kafka
/// could not be installed, librdkafka's mock cluster.
pub(crate) fn kafka() -> &'static str {
    &kafka::shared().servers
}

/// `base` with a random suffix, for a name that no other test and no earlier run has used.
pub(crate) fn unique(base: &str) -> String {
    format!("{base}-{:016x}", RandomState::new().build_hasher().finish())
}

/// Says a line past the test harness, which would swallow `eprintln!` of a test that passes.
pub(crate) fn say(line: &str) {
    // Nothing is left to tell the person if standard error is closed.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A variable that names a server which runs already; an empty one counts as not set.
fn from_environment(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Where `tests/servers/install.py` put the servers.
pub(crate) fn servers_dir() -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    top.join(from_environment("FRESHET_SERVERS_DIR").as_deref().unwrap_or("target/servers"))
}

/// A path below the servers folder, if it is there.
fn installed(path: &str) -> Result<PathBuf, String> {
    let path = servers_dir().join(path);
    if path.exists() {
        return Ok(path);
    }
    Err(format!(
        "{} is not installed: run `make test` (it installs the servers), or python3 tests/servers/install.py",
        path.display()
    ))
}
