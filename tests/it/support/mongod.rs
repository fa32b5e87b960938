//! mongod as a replica set of one node, which transactions and change streams need.

use std::time::Duration;

use mongodb::bson::doc;
use mongodb::{Client, error::ErrorKind, options::ClientOptions};

use super::process::{self, Server};

/// Error code of a replica set that has been initiated before.
const ALREADY_INITIALIZED: i32 = 23;

/// A mongod of this test process, killed and its data removed when dropped.
#[derive(Debug)]
pub(crate) struct Mongod {
    server: Server,
    port: u16,
    guard: Guard,
}

/// What stands between a mongod and its clients; nothing by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guard {
    /// Flags of `mongod`: TLS, and a key file, which turns the asking for a login on.
    pub(crate) flags: Vec<String>,
    /// Options of the connection string that reach it, each as `&name=value`.
    pub(crate) options: String,
}

impl Mongod {
    /// Starts a mongod on an empty data folder and waits until it is primary. `None`, and a loud line, where
    /// `FRESHET_TEST_MONGODB` spared the installation, so that there is none to start.
    pub(crate) fn start() -> Option<Self> {
        if super::from_environment("FRESHET_TEST_MONGODB").is_some() && super::installed("mongod").is_err() {
            super::say(
                "WARNING: FRESHET_TEST_MONGODB is set and no mongod is installed: a test that kills one is skipped",
            );
            return None;
        }
        Some(Self::try_start().unwrap_or_else(|error| panic!("{error}")))
    }

    /// As [`Mongod::start`], with the reason why it cannot.
    pub(crate) fn try_start() -> Result<Self, String> {
        Self::try_start_with(Guard::default())
    }

    /// As [`Mongod::try_start`], behind TLS or a login. Without a user yet, only from this machine.
    pub(crate) fn try_start_with(guard: Guard) -> Result<Self, String> {
        super::installed("mongod")?;
        let mut mongod = Self { server: Server::new("mongod")?, port: process::free_port(), guard };
        mongod.launch()?;
        Ok(mongod)
    }

    /// Connection string; the same after a restart.
    pub(crate) fn uri(&self) -> String {
        format!("mongodb://{}/?directConnection=true{}", self.address(), self.guard.options)
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Kills it as `kill -9` does. Its data stays.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops it where it is (SIGSTOP).
    pub(crate) fn stop(&self) {
        self.server.stop();
    }

    /// Lets it go on after [`Self::stop`].
    pub(crate) fn cont(&self) {
        self.server.cont();
    }

    /// Kills it if it runs, then starts it on the same data and port and waits until it is primary.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.launch().unwrap_or_else(|error| panic!("{error}"));
    }

    fn launch(&mut self) -> Result<(), String> {
        let program = super::installed("mongod")?.display().to_string();
        let (port, dir, uri) = (self.port.to_string(), self.server.dir().display().to_string(), self.uri());
        let command = [
            &*program,
            "--replSet",
            "rs0",
            "--port",
            &port,
            "--bind_ip",
            "127.0.0.1",
            "--nounixsocket",
            "--dbpath",
            &dir,
            "--oplogSize",
            "64",
            "--wiredTigerCacheSizeGB",
            "0.5",
            "--setParameter",
            "diagnosticDataCollectionEnabled=false",
        ];
        let mut command = command.map(str::to_owned).to_vec();
        command.extend(self.guard.flags.iter().cloned());
        process::off_runtime(|runtime| {
            self.server.start(&command, || runtime.block_on(become_primary(&uri)).map_err(|e| e.to_string()))
        })
    }
}

/// Initiates the replica set unless that was done before, and is content once the node takes writes.
async fn become_primary(uri: &str) -> mongodb::error::Result<()> {
    let mut options = ClientOptions::parse(uri).await?;
    options.server_selection_timeout = Some(Duration::from_secs(1));
    let client = Client::with_options(options)?;
    let admin = client.database("admin");
    let host = uri.trim_start_matches("mongodb://").split('/').next().unwrap_or_default();
    let members = doc! { "_id": "rs0", "members": [{ "_id": 0, "host": host }] };
    if let Err(error) = admin.run_command(doc! { "replSetInitiate": members }).await {
        match *error.kind {
            ErrorKind::Command(ref refusal) if refusal.code == ALREADY_INITIALIZED => {}
            _ => return Err(error),
        }
    }
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    client.shutdown().immediate(true).await;
    if hello.get_bool("isWritablePrimary").unwrap_or(false) {
        return Ok(());
    }
    Err(mongodb::error::Error::custom("it is not primary yet"))
}
