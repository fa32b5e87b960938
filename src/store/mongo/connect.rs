//! Reaches a MongoDB server, checks that it can keep what it is given, and creates what the store needs there.
//!
//! Apart from the store, because all of it happens once, and an operator meets it first: its errors say what to do.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Collection, Database, IndexModel};

use super::failure::{NOT_INITIATED, Patience, Place, may_pass};
use crate::config::StoreConfig;
use crate::store::StoreError;

/// Longest that the driver looks for a server before it says that there is none.
const SERVER_SELECTION: Duration = Duration::from_secs(5);

/// Longest that a majority may take to acknowledge a write.
const ACKNOWLEDGE: Duration = Duration::from_secs(30);

/// What a server does to whoever has no certificate, among others.
const CLOSED: &str = "the server closes the connection as soon as it is encrypted: if it asks for a client certificate, add \
    tlsCertificateKeyFile=/path/to/client.pem to store.uri";

pub(crate) const NOT_A_REPLICA_SET: &str = "the server is not a replica set, and only a replica set has transactions; one node is \
    enough: start it as `mongod --replSet rs0`, then run `mongosh --eval 'rs.initiate()'` once";

/// Waits for the server, checks it, creates the indexes.
pub(super) async fn connect(config: &StoreConfig) -> Result<(Database, Place), StoreError> {
    let mut place = Place::new(&config.uri, &config.database);
    let hello = Hello { uri: &config.uri, timeout: config.connect_timeout };
    let (client, answer) = hello.wait(&mut place).await?;
    check_replica_set(&place, &answer)?;
    let database = client.database(&config.database);
    create_indexes(&database).await.map_err(|error| place.failure("create the indexes", &error))?;
    Ok((database, place))
}

/// The first exchange with a server.
struct Hello<'a> {
    uri: &'a str,
    timeout: Duration,
}

impl Hello<'_> {
    /// Tries until the server answers or the time is over.
    async fn wait(&self, place: &mut Place) -> Result<(Client, Document), StoreError> {
        let mut patience = Patience::new(self.timeout);
        let mut warned = false;
        loop {
            let error = match self.say(place).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            if !may_pass(&error) || tls_advice(&place.gist(&error)).is_some() {
                return Err(self.refused(place, &error));
            }
            if !std::mem::replace(&mut warned, true) {
                let (location, reason) = (&place.location, place.gist(&error));
                tracing::warn!(location, reason, "MongoDB does not answer; trying for up to {:?}", self.timeout);
            }
            if !patience.wait().await {
                return Err(self.gave_up(place, &error));
            }
        }
    }

    async fn say(&self, place: &mut Place) -> Result<(Client, Document), Error> {
        let parsed = tokio::time::timeout(SERVER_SELECTION, ClientOptions::parse(self.uri)).await;
        let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "DNS does not tell the servers of this name");
        let mut options = parsed.map_err(late)??;
        if let Some(password) = options.credential.as_ref().and_then(|credential| credential.password.clone()) {
            place.hide(password);
        }
        options.app_name = Some("freshet".into());
        options.server_selection_timeout = Some(SERVER_SELECTION.min(self.timeout));
        // Durable means that a majority has it in its journal: it survives the loss of the primary and of power.
        options.write_concern =
            Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).w_timeout(ACKNOWLEDGE).build());
        // What is read decides where to resume, so it must be neither stale nor undone later.
        options.read_concern = Some(ReadConcern::majority());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let client = Client::with_options(options)?;
        let answer = client.database("admin").run_command(doc! {"hello": 1}).await?;
        // Seen only by a direct connection; any other finds no server to select.
        if answer.get_bool("isreplicaset").unwrap_or(false) {
            return Err(std::io::Error::other(NOT_INITIATED).into());
        }
        Ok((client, answer))
    }

    fn refused(&self, place: &Place, error: &Error) -> StoreError {
        let reason = place.gist(error);
        if let Some(advice) = tls_advice(&reason) {
            return place.unsuitable(format!("{reason}; {advice}"));
        }
        match &*error.kind {
            ErrorKind::Authentication { .. } => place.unsuitable(format!(
                "{}; check the user, the password and authSource in store.uri",
                place.gist(error)
            )),
            // The driver quotes the part that it cannot read, and that may be a part of the password.
            ErrorKind::InvalidArgument { .. } if self.uri.contains('@') => place.unsuitable(
                "store.uri is not a MongoDB connection string; in the user and the password write : / ? # [ ] @ % as \
                 %3A %2F %3F %23 %5B %5D %40 %25",
            ),
            _ => place.unsuitable(format!(
                "{}; store.uri is written as mongodb://HOST:PORT or mongodb://USER:PASSWORD@HOST:PORT/?authSource=admin",
                place.gist(error)
            )),
        }
    }

    fn gave_up(&self, place: &Place, error: &Error) -> StoreError {
        let reason = place.gist(error);
        if reason.contains(NOT_INITIATED) {
            return place.unsuitable(format!("{reason}; run `mongosh --eval 'rs.initiate()'` once"));
        }
        let reason = if reason.contains("close_notify") { CLOSED } else { &reason };
        place.unavailable(
            "connect to MongoDB",
            format!(
                "no primary answered within {:?} ({reason}); start the server, correct store.uri, or set store.kind = \
                 \"embedded\"",
                self.timeout
            ),
        )
    }
}

/// What to do about TLS that waiting cannot mend, by what the driver says.
pub(crate) fn tls_advice(reason: &str) -> Option<&'static str> {
    let says = |parts: &[&str]| parts.iter().any(|part| reason.contains(part));
    if says(&["PEM-encoded"]) {
        return Some("tlsCAFile and tlsCertificateKeyFile in store.uri name PEM files that this process can read");
    }
    if says(&["NotValidForName"]) {
        return Some("connect by a name that is in the server's certificate, or have it issued for this one");
    }
    if says(&["certificate expired"]) {
        return Some("renew the server's certificate, and check this machine's clock");
    }
    if says(&["invalid peer certificate"]) {
        return Some("add tlsCAFile=/path/to/ca.pem to store.uri: the CA that has signed the server's certificate");
    }
    says(&["received fatal alert"]).then_some(
        "the server asks for a client certificate: add tlsCertificateKeyFile=/path/to/client.pem to store.uri, with the \
         certificate and its key",
    )
}

fn check_replica_set(place: &Place, hello: &Document) -> Result<(), StoreError> {
    let sharded = hello.get_str("msg").is_ok_and(|kind| kind == "isdbgrid");
    if sharded || hello.contains_key("setName") {
        return Ok(());
    }
    Err(place.unsuitable(NOT_A_REPLICA_SET))
}

/// Creates the collections and the few indexes: each one slows every insert down. Those of users and of items would take a
/// third to a half of the rate of writing from every engine, for exports that few ask for: these look at every event of
/// their range instead, on the server, which takes some seconds a million.
async fn create_indexes(database: &Database) -> Result<(), Error> {
    // Recovery reads events in this order. Not a unique one, which takes as long again as everything else that the server
    // does for an event: that no two take one place in the order is seen to by `store::rules`, under the epoch.
    create_index(database.collection("events"), doc! {"seq": 1}).await?;
    // Counting by reason, without reading payloads.
    create_index(database.collection("dead_letters"), doc! {"reason": 1}).await?;
    // A transaction may write only to collections that exist, on the oldest servers.
    for name in ["engine", "exchanges", "snapshots"] {
        create_collection(database, name).await?;
    }
    Ok(())
}

/// One that is there already with other options, as an earlier freshet made it, serves as well.
async fn create_index(collection: Collection<Document>, keys: Document) -> Result<(), Error> {
    const OPTIONS_CONFLICT: [i32; 2] = [85, 86];
    match collection.create_index(IndexModel::builder().keys(keys).build()).await {
        Err(error) if !super::failure::code(&error).is_some_and(|code| OPTIONS_CONFLICT.contains(&code)) => Err(error),
        _ => Ok(()),
    }
}

async fn create_collection(database: &Database, name: &str) -> Result<(), Error> {
    const NAMESPACE_EXISTS: i32 = 48;
    match database.create_collection(name).await {
        Err(error) if super::failure::code(&error) != Some(NAMESPACE_EXISTS) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_with_transactions_will_do() {
        let place = Place::new("mongodb://host", "freshet");
        assert!(check_replica_set(&place, &doc! {"setName": "rs0"}).is_ok());
        assert!(check_replica_set(&place, &doc! {"msg": "isdbgrid"}).is_ok());
        let error = check_replica_set(&place, &doc! {"isWritablePrimary": true}).unwrap_err();
        assert!(error.to_string().contains("mongod --replSet rs0"), "{error}");
        assert!(error.to_string().contains("rs.initiate()"), "{error}");
    }
}
