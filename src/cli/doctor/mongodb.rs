//! MongoDB: the way to it, the login, the replica set, and what may be done with the database.

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use indicatif::HumanCount;
use mongodb::bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, ConnectionString, HostInfo, ServerAddress, Tls, TlsOptions};
use mongodb::{Client, Database};
use rustls::RootCertStore;
use tokio::io::AsyncReadExt;

use super::net::{self, Address, Trust};
use super::steps::{Fault, Found, Section, Stop, TOLERATED_MS};
use crate::config::{Config, StoreConfig};
use crate::store::mongo::{NOT_A_REPLICA_SET, Place, tls_advice};
use crate::telemetry;

pub(super) const PLAN: &[&str] = &[
    "settings",
    "name",
    "connection",
    "handshake",
    "login",
    "server",
    "replica set",
    "write",
    "changes",
    "indexes",
    "engine",
    "clock",
];

const SETTING: &str = "store.uri";
const PORT: u16 = 27017;
/// What the store does with its collections.
const ACTIONS: [&str; 7] = ["find", "insert", "update", "remove", "createCollection", "createIndex", "changeStream"];

/// What the connection string says, and the texts that must not be shown.
struct Target {
    options: ClientOptions,
    place: Place,
}

pub(super) fn about(config: &Config) -> String {
    Place::new(&config.store.uri, &config.store.database).location
}

pub(super) async fn check(config: &Config, section: &mut Section) -> Result<(), Stop> {
    let store = &config.store;
    let parsed = section.step("settings", std::future::ready(parse(store))).await?;
    let (target, known) = section.step("name", resolve(store, &parsed)).await?;
    let there = section.step("connection", net::connections(&known, SETTING)).await?;
    section.step("handshake", handshake(&there[0], target.options.tls.as_ref())).await?;
    let limit = section.limit.mul_f32(0.9);
    let (hello, rights) = section.step("login", login(&target, &there[0], limit)).await?;
    section.step("server", std::future::ready(server(&hello))).await?;
    let whole = section.step("replica set", replica_set(&target, &hello, limit)).await?;
    let database = whole.database(&store.database);
    let _ = section.step("write", write(&target, &database, &rights)).await;
    let _ = section.step("changes", changes(&target, &database)).await;
    let _ = section.step("indexes", indexes(&target, &database)).await;
    let _ = section.step("engine", engine(&target, &database)).await;
    section.step("clock", clock(&target, &whole)).await
}

fn parse(store: &StoreConfig) -> Result<Found<ConnectionString>, Fault> {
    // The driver quotes the part that it cannot read, and that may be a part of the password.
    let refused = |error: Error| {
        let place = Place::new(&store.uri, &store.database);
        let advice = "in the user and the password write : / ? # [ ] @ % as %3A %2F %3F %23 %5B %5D %40 %25";
        if store.uri.contains('@') {
            Fault::new("store.uri is not a MongoDB connection string", advice)
        } else {
            Fault::new(place.gist(&error), "write mongodb://HOST:PORT or mongodb+srv://HOST")
        }
    };
    let parsed = ConnectionString::parse(&store.uri).map_err(refused)?;
    let encrypted = matches!(parsed.tls, Some(Tls::Enabled(_))) || matches!(parsed.host_info, HostInfo::DnsRecord(_));
    let user = parsed.credential.as_ref().and_then(|credential| credential.username.clone());
    let has_login = parsed.credential.is_some();
    let login = user.map_or_else(
        || if has_login { "login by certificate" } else { "no login" }.to_owned(),
        |user| format!("login as {user:?}"),
    );
    let detail = format!("{}, {login}, database {:?}", if encrypted { "TLS" } else { "not encrypted" }, store.database);
    let plain = (has_login && !encrypted)
        .then(|| "data is sent over a link that is not encrypted: add tls=true to store.uri".to_owned());
    Ok(Found::new(parsed, detail).but(plain))
}

async fn resolve(store: &StoreConfig, parsed: &ConnectionString) -> Result<Found<(Target, Vec<Address>)>, Fault> {
    let mut place = Place::new(&store.uri, &store.database);
    if let Some(password) = parsed.credential.as_ref().and_then(|credential| credential.password.clone()) {
        place.hide(password);
    }
    let srv = matches!(parsed.host_info, HostInfo::DnsRecord(_));
    let options = ClientOptions::parse(&store.uri).await.map_err(|error| {
        Fault::unreachable(
            place.gist(&error),
            "correct the name in store.uri; mongodb+srv:// needs an SRV record of it in DNS",
        )
    })?;
    let hosts: Vec<Address> = options.hosts.iter().map(address).collect();
    let found = net::names(&hosts, SETTING).await?;
    let servers: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let named = if srv { Some(format!("the SRV record names {}", servers.join(", "))) } else { None };
    Ok(found.map(|known| (Target { options, place }, known), named))
}

fn address(server: &ServerAddress) -> Address {
    match server {
        ServerAddress::Tcp { host, port } => Address { host: host.clone(), port: port.unwrap_or(PORT) },
        other => Address { host: other.to_string(), port: PORT },
    }
}

async fn handshake(server: &Address, tls: Option<&Tls>) -> Result<Found, Fault> {
    let Some(Tls::Enabled(options)) = tls else { return Ok(Found::new((), "not encrypted")) };
    let trust = trust(options)?;
    let has_identity = trust.identity.is_some();
    let stream =
        server.connect().await.map_err(|reason| Fault::unreachable(reason, "see whether the server still runs"))?;
    let (mut stream, shown) = net::encrypt(server, stream, trust).await.map_err(|reason| {
        let advice = tls_advice(&reason).unwrap_or("if the server speaks no TLS, take tls=true out of store.uri");
        Fault::new(format!("no TLS comes about: {reason}"), advice)
    })?;
    if let Some(fault) = shown
        .fault(server, "add tlsCAFile=/path/to/ca.pem to store.uri: the CA that has signed the server's certificate")
    {
        return Err(fault);
    }
    // A server that misses a certificate says so, or hangs up, only after the handshake; else it waits to be asked.
    if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut [0; 16])).await {
        let advice = if has_identity {
            "see the server's log for what it has against the certificate in tlsCertificateKeyFile of store.uri"
        } else {
            "it asks for a client certificate: add tlsCertificateKeyFile=/path/to/client.pem to store.uri"
        };
        return Err(Fault::new("the server ends the encrypted connection", advice));
    }
    let warning = shown.warning();
    Ok(Found::new((), shown.detail(&stream)).but(warning))
}

fn trust(options: &TlsOptions) -> Result<Trust, Fault> {
    let roots = match &options.ca_file_path {
        Some(file) => net::read_roots(file)?,
        None => RootCertStore::empty(),
    };
    let identity = match &options.cert_key_file_path {
        Some(file) => {
            let pem = std::fs::read(Path::new(file)).map_err(|error| {
                Fault::new(
                    format!("{}: {error}", file.display()),
                    "tlsCertificateKeyFile in store.uri names a file that this process can read",
                )
            })?;
            net::identity(&pem, &pem)
        }
        None => None,
    };
    Ok(Trust { roots, identity, names: true, verify: options.allow_invalid_certificates != Some(true) })
}

/// Logs in on one server, whatever it is in its set. Its `hello`, and what this user may do.
async fn login(target: &Target, server: &Address, limit: Duration) -> Result<Found<(Document, Document)>, Fault> {
    let mut options = ClientOptions::builder()
        .hosts(vec![ServerAddress::Tcp { host: server.host.clone(), port: Some(server.port) }])
        .app_name("freshet doctor".to_owned())
        .server_selection_timeout(limit)
        .connect_timeout(limit)
        .build();
    options.tls.clone_from(&target.options.tls);
    options.credential.clone_from(&target.options.credential);
    options.load_balanced = target.options.load_balanced;
    options.direct_connection = (options.load_balanced != Some(true)).then_some(true);
    let fault = |error: Error| refused(target, &error);
    let admin = Client::with_options(options).map_err(fault)?.database("admin");
    let hello = admin.run_command(doc! {"hello": 1}).await.map_err(fault)?;
    let status = admin.run_command(doc! {"connectionStatus": 1, "showPrivileges": true}).await.map_err(fault)?;
    let rights = status.get_document("authInfo").cloned().unwrap_or_default();
    let user = rights.get_array("authenticatedUsers").ok().and_then(|users| users.first()?.as_document());
    let name = user.and_then(|user| Some(format!("{:?} of {}", user.get_str("user").ok()?, user.get_str("db").ok()?)));
    Ok(Found::new((hello, rights), name.unwrap_or_else(|| "none is asked for".to_owned())))
}

fn refused(target: &Target, error: &Error) -> Fault {
    const UNAUTHORIZED: i32 = 13;
    let reason = target.place.gist(error);
    let encrypted = matches!(target.options.tls, Some(Tls::Enabled(_)));
    match &*error.kind {
        ErrorKind::Authentication { .. } => {
            Fault::new(reason, "check the user, the password and authSource in store.uri")
        }
        ErrorKind::Command(command) if command.code == UNAUTHORIZED && target.options.credential.is_none() => {
            Fault::new(
                reason,
                "the server asks for a login: mongodb://USER:PASSWORD@HOST/?authSource=admin in store.uri",
            )
        }
        ErrorKind::Command(command) if command.code == UNAUTHORIZED => {
            Fault::new(reason, "give the user the role readWrite on the database: db.grantRolesToUser(...)")
        }
        ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) if !encrypted => {
            Fault::unreachable(reason, "see whether the server runs; if it speaks only TLS, add tls=true to store.uri")
        }
        ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) => Fault::unreachable(reason, "see the server's log"),
        _ => Fault::new(reason, "see the server's log"),
    }
}

/// Its kind and age, as far as it tells.
fn server(hello: &Document) -> Result<Found, Fault> {
    // Wire versions by release: https://github.com/mongodb/mongo/blob/master/src/mongo/db/wire_version.h
    let release = match hello.get_i32("maxWireVersion").unwrap_or_default() {
        ..8 => return Err(Fault::new("the server is older than MongoDB 4.2", "install a newer one")),
        8 => "4.2",
        9..13 => "4.4",
        13..17 => "5.0",
        17..21 => "6.0",
        21..25 => "7.0",
        25..27 => "8.0",
        _ => "8.1 or newer",
    };
    Ok(Found::new((), format!("MongoDB {release}")))
}

/// Whether it is one, has a primary, and its members can be reached under the names that they give each other. The
/// client as the store has it.
async fn replica_set(target: &Target, hello: &Document, limit: Duration) -> Result<Found<Client>, Fault> {
    let sharded = hello.get_str("msg").is_ok_and(|kind| kind == "isdbgrid");
    let name = hello.get_str("setName").ok();
    if hello.get_bool("isreplicaset").unwrap_or(false) {
        return Err(Fault::new("the replica set is not initiated", "run `mongosh --eval 'rs.initiate()'` once"));
    }
    if !sharded && name.is_none() {
        return Err(Fault::new("it is a single server", NOT_A_REPLICA_SET));
    }
    let members: Vec<_> =
        hello.get_array("hosts").map(Vec::as_slice).unwrap_or_default().iter().filter_map(Bson::as_str).collect();
    if target.options.direct_connection != Some(true) && !sharded {
        let known: Vec<Address> = members.iter().filter_map(|member| Address::parse(member, PORT)).collect();
        let away = net::away(&known, limit / 2).await;
        let away: Vec<_> = away.into_iter().map(|(member, _)| member.to_string()).collect();
        if !away.is_empty() {
            return Err(Fault::unreachable(
                format!("its members are {}, and {} cannot be reached", members.join(", "), away.join(", ")),
                "name members of the set as this machine can reach them (rs.reconfig()), or add directConnection=true to \
                 store.uri for a set of one",
            ));
        }
    }
    let primary = hello.get_str("primary").ok();
    if !sharded && primary.is_none() {
        return Err(Fault::new(
            "it has no primary, so that nothing can be written",
            "start enough members for a majority; rs.status() tells",
        ));
    }
    let mut options = target.options.clone();
    options.server_selection_timeout = Some(limit);
    let client = Client::with_options(options).map_err(|error| refused(target, &error))?;
    let detail = match (name, primary) {
        (Some(name), Some(primary)) => format!("{name}, {} members, {primary} is primary", members.len()),
        _ => "a sharded cluster".to_owned(),
    };
    Ok(Found::new(client, detail))
}

/// Tries it in a transaction that is rolled back.
async fn write(target: &Target, database: &Database, rights: &Document) -> Result<Found, Fault> {
    let missing = missing(rights, database.name());
    if !missing.is_empty() {
        return Err(Fault::new(
            format!("this user may not {} in {:?}", missing.join(", "), database.name()),
            format!("db.grantRolesToUser(user, [{{role: \"readWrite\", db: \"{}\"}}])", database.name()),
        ));
    }
    let fault = |error: Error| refused(target, &error);
    let mut session = database.client().start_session().await.map_err(fault)?;
    session.start_transaction().await.map_err(fault)?;
    let (engine, probe) = (database.collection::<Document>("engine"), doc! {"_id": "freshet doctor"});
    engine.insert_one(probe.clone()).session(&mut session).await.map_err(fault)?;
    engine.update_one(probe.clone(), doc! {"$set": {"tried": true}}).session(&mut session).await.map_err(fault)?;
    engine.delete_one(probe).session(&mut session).await.map_err(fault)?;
    session.abort_transaction().await.map_err(fault)?;
    Ok(Found::new((), "allowed; a transaction was tried and rolled back"))
}

/// Actions that no privilege of the user names for the database; none where nobody logs in.
fn missing(rights: &Document, database: &str) -> Vec<&'static str> {
    let users = rights.get_array("authenticatedUsers").map(Vec::len).unwrap_or_default();
    let privileges = rights.get_array("authenticatedUserPrivileges").map(Vec::as_slice).unwrap_or_default();
    if users == 0 || privileges.is_empty() {
        return Vec::new();
    }
    let allows = |privilege: &Document, action: &str| {
        let resource = privilege.get_document("resource").cloned().unwrap_or_default();
        let anything = resource.get_bool("anyResource").unwrap_or(false);
        let here = resource.get_str("db").is_ok_and(|db| db.is_empty() || db == database);
        let actions = privilege.get_array("actions").map(Vec::as_slice).unwrap_or_default();
        (anything || here)
            && actions.iter().any(|one| matches!(one.as_str(), Some(name) if name == action || name == "anyAction"))
    };
    let allowed =
        |action: &str| privileges.iter().filter_map(Bson::as_document).any(|privilege| allows(privilege, action));
    ACTIONS.into_iter().filter(|action| !allowed(action)).collect()
}

/// Whether changes can be followed.
async fn changes(target: &Target, database: &Database) -> Result<Found, Fault> {
    let stream = database.collection::<Document>("events").watch().max_await_time(Duration::from_millis(50)).await;
    stream.map(|_| Found::new((), "a change stream opens")).map_err(|error| refused(target, &error))
}

async fn indexes(target: &Target, database: &Database) -> Result<Found, Fault> {
    const NAMESPACE_NOT_FOUND: i32 = 26;
    let events = database.collection::<Document>("events");
    let listed = match events.list_indexes().await {
        Ok(listed) => listed.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    let listed = match listed {
        Ok(listed) => listed,
        Err(error) if matches!(&*error.kind, ErrorKind::Command(command) if command.code == NAMESPACE_NOT_FOUND) => {
            Vec::new()
        }
        Err(error) => return Err(refused(target, &error)),
    };
    let by_seq = listed.iter().find(|index| index.keys == doc! {"seq": 1});
    match by_seq.map(|index| index.options.as_ref().and_then(|options| options.unique) == Some(true)) {
        Some(false) => Ok(Found::new((), "events have the one by seq")),
        None => Ok(Found::new((), "not there yet; freshet creates them")),
        Some(true) => Ok(Found::new(
            (),
            "events have the one by seq, unique as an earlier freshet made it, which slows writing down: stop the engine, \
             db.events.dropIndex({seq: 1}), and freshet creates its own at the next start",
        )),
    }
}

async fn engine(target: &Target, database: &Database) -> Result<Found, Fault> {
    let found = match database.collection::<Document>("engine").find(doc! {"seq": {"$exists": true}}).await {
        Ok(found) => found.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    let lanes = found.map_err(|error| refused(target, &error))?;
    // The farthest of the lanes that an engine writes in.
    let most = |name: &str| {
        let number = |lane: &Document| {
            let value = lane.get(name)?;
            value.as_i64().or(value.as_i32().map(i64::from))
        };
        lanes.iter().filter_map(number).max().unwrap_or_default()
    };
    Ok(Found::new(
        (),
        if lanes.is_empty() {
            "none has started yet".to_owned()
        } else {
            format!("epoch {}, {} events", most("epoch"), HumanCount(most("seq").max(0) as u64))
        },
    ))
}

async fn clock(target: &Target, client: &Client) -> Result<Found, Fault> {
    let before = telemetry::now_ms();
    let hello =
        client.database("admin").run_command(doc! {"hello": 1}).await.map_err(|error| refused(target, &error))?;
    let here = i64::midpoint(before, telemetry::now_ms());
    let theirs = hello.get_datetime("localTime").map_err(|error| Fault::new(error.to_string(), ""))?;
    let ahead = theirs.timestamp_millis() - here;
    let way = if ahead >= 0 { "ahead of" } else { "behind" };
    let warning =
        (ahead.abs() > TOLERATED_MS).then(|| "let NTP (chrony, systemd-timesyncd) set both clocks".to_owned());
    Ok(Found::new((), format!("the server's is {} ms {way} this machine's", ahead.abs())).but(warning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_user_may_not_do_is_told_by_its_privileges() {
        let rights = |actions: &[&str], resource: Document| {
            let actions: Vec<_> = actions.iter().map(|&action| Bson::from(action)).collect();
            doc! {"authenticatedUsers": [{"user": "ann"}], "authenticatedUserPrivileges": [{"resource": resource, "actions": actions}]}
        };
        assert!(missing(&doc! {"authenticatedUsers": []}, "freshet").is_empty());
        assert!(missing(&rights(&["anyAction"], doc! {"anyResource": true}), "freshet").is_empty());
        assert!(missing(&rights(&ACTIONS, doc! {"db": "freshet", "collection": ""}), "freshet").is_empty());
        assert_eq!(missing(&rights(&ACTIONS, doc! {"db": "other", "collection": ""}), "freshet").len(), ACTIONS.len());
        let reader = rights(&["find", "changeStream"], doc! {"db": "freshet", "collection": ""});
        assert_eq!(missing(&reader, "freshet"), ["insert", "update", "remove", "createCollection", "createIndex"]);
    }

    #[test]
    fn a_connection_string_that_cannot_be_read_is_not_quoted() {
        let mut store = Config::default().store;
        store.uri = "mongodb://ann:s3/cret@host".to_owned();
        let Err(fault) = parse(&store) else { panic!("a slash must be encoded") };
        assert!(!format!("{fault:?}").contains("s3"), "{fault:?}");
    }
}
