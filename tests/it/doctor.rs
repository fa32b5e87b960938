//! `freshet doctor` and `freshet healthcheck`, against servers that are well and servers that are not.

use serde_json::Value;

use crate::program::{Ended, Freshet};
use crate::security::certificates::Authority;
use crate::security::{SecuredKafka, SecuredMongod, secured_kafka, secured_mongod};

/// What one step of the doctor came to: outcome, then detail and advice.
struct Report(Value);

impl Report {
    fn of(ended: &Ended) -> Self {
        Self(serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended}")))
    }

    fn step(&self, section: &str, step: &str) -> (String, String) {
        let sections = self.0["sections"].as_array().unwrap();
        let section = sections.iter().find(|one| one["section"] == section).unwrap_or_else(|| panic!("{:#}", self.0));
        let steps = section["steps"].as_array().unwrap();
        let step = steps.iter().find(|one| one["step"] == step).unwrap_or_else(|| panic!("no {step}: {:#}", self.0));
        let text = |name: &str| step[name].as_str().unwrap_or_default().to_owned();
        (text("outcome"), format!("{} → {}", text("detail"), text("advice")))
    }

    /// Fails the test unless the step ended so, with all of these in what it says.
    fn expect(&self, section: &str, step: &str, outcome: &str, parts: &[&str]) {
        let (found, text) = self.step(section, step);
        assert_eq!(found, outcome, "{section}, {step}: {text}: {:#}", self.0);
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }

    /// Fails the test unless the step failed so, and those after it were left out.
    fn ends_at(&self, section: &str, step: &str, parts: &[&str]) {
        self.expect(section, step, "failed", parts);
        let counts = &self.0["counts"];
        assert_eq!((&counts["failed"], &self.0["well"]), (&Value::from(1), &Value::from(false)), "{:#}", self.0);
        assert!(counts["skipped"].as_u64() > Some(0), "{:#}", self.0);
    }
}

fn examine(freshet: &Freshet, part: &str, code: i32) -> Report {
    Report::of(&freshet.run(&["doctor", "--json", "--only", part]).exited(code))
}

#[test]
fn a_new_folder_is_well_and_stays_new() {
    let freshet = Freshet::new::<&str>(&[]);
    let ended = freshet.run(&["doctor"]).succeeded();
    for part in ["system", "embedded  freshet-data", "✓ folder", "not there yet", "✓ port", "0 failed", " ms)"] {
        assert!(ended.stdout.contains(part), "{part} is not in {ended}");
    }
    assert!(!ended.stdout.contains('\u{1b}'), "colours are for terminals: {ended}");
    assert!(!freshet.path("freshet-data").exists(), "it changes nothing");
}

#[test]
fn a_running_freshet_is_found_at_its_port_and_another_program_is_told_from_it() {
    let mut freshet = Freshet::new::<&str>(&[]);
    freshet.must(&["replay", "sample", "--limit", "50"]);
    let mut engine = freshet.start();
    engine.learned(50);
    let port = engine.address().rsplit_once(':').unwrap().1.to_owned();
    freshet.set(&format!("serve.port={port}"));
    let report = Report::of(&freshet.run(&["doctor", "--json"]).succeeded());
    report.expect("http", "port", "passed", &["a freshet serves on", "seq 50", "lag 0"]);
    report.expect("embedded", "log", "passed", &["50 records", "0 to read"]);
    report.expect("embedded", "store", "passed", &["epoch 1, 50 events"]);
    let healthy = freshet.must(&["healthcheck"]);
    assert!(healthy.contains("running, seq 50"), "{healthy}");
    freshet.must(&["healthcheck", "--live"]);
    engine.stop().succeeded();
    freshet.run(&["healthcheck"]).exited(1).told(&["refused"]);
    freshet.run(&["healthcheck", "--live"]).exited(1).told(&["refused"]);

    let other = std::net::TcpListener::bind(("127.0.0.1", port.parse::<u16>().unwrap())).unwrap();
    let speak = std::thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").unwrap();
        // Open until the question is over.
        (other, stream)
    });
    examine(&freshet, "http", 1).expect("http", "port", "failed", &["another program", "serve.port"]);
    drop(speak.join().unwrap());
}

#[test]
fn a_damaged_store_and_a_folder_that_is_a_file_are_found() {
    let freshet = Freshet::new::<&str>(&[]);
    freshet.must(&["replay", "sample", "--limit", "50"]);
    freshet.write("freshet-data/store.db", "no SQLite at all, but long enough to look like a file".repeat(50));
    examine(&freshet, "store", 1).ends_at("embedded", "store", &["not an SQLite file", "store.data_dir"]);
    let mut other = Freshet::new::<&str>(&[]);
    other.write("file", "");
    other.set("store.data_dir=file");
    examine(&other, "store", 1).ends_at("embedded", "folder", &["is a file"]);
    let refused = other.run(&["doctor", "--timeout", "soon"]).exited(2);
    refused.told(&["500ms, 5s or 1m"]);
}

#[test]
fn a_broker_with_encryption_login_and_permissions_is_well_and_nothing_is_disturbed() {
    let Some(secured) = secured_kafka() else { return };
    let freshet = secured.owner();
    let report = examine(&freshet, "broker", 0);
    report.expect("kafka", "topic", "passed", &["not there yet", "may create it"]);
    report.expect("kafka", "write", "skipped", &["before the topic is there"]);

    freshet.must(&["replay", "sample", "--limit", "200"]);
    let mut engine = freshet.start();
    engine.learned(200);
    let report = examine(&freshet, "broker", 0);
    report.expect("kafka", "settings", "passed", &["SASL_SSL, SCRAM-SHA-512 as \"freshet\""]);
    report.expect("kafka", "handshake", "passed", &["TLS 1.3, certificate until 2100-01-01, Kafka 4"]);
    report.expect("kafka", "login", "passed", &["\"freshet\" by SCRAM-SHA-512"]);
    report.expect("kafka", "brokers", "passed", &["127.0.0.1:", "cluster "]);
    report.expect("kafka", "topic", "passed", &["1 partitions, 1 replicas"]);
    report.expect("kafka", "read", "passed", &["allowed", "newest record"]);
    report.expect("kafka", "group", "passed", &["Stable", "freshet at 127.0.0.1"]);
    report.expect("kafka", "write", "passed", &["none was written"]);
    report.expect("kafka", "clock", "passed", &["not of the future"]);

    // What the doctor sent is not on the topic, and the engine kept its partitions.
    freshet.must(&["replay", "sample", "--limit", "10"]);
    engine.learned(210);
    let ready = engine.wait("/readyz", "it has seen them", |ready| ready["partitions"][0]["end"].as_u64() >= Some(210));
    assert_eq!(ready["partitions"][0]["end"], 210, "{ready}");
    let ended = engine.stop().succeeded();
    assert_eq!(ended.stderr.matches("the group assigned partitions").count(), 1, "{ended}");
}

#[test]
fn a_user_without_permissions_is_told_which_one_is_missing() {
    let Some(secured) = secured_kafka() else { return };
    let owner = secured.owner();
    owner.must(&["replay", "sample", "--limit", "5"]);
    let mut guest = secured.guest();
    let topic = owner.must(&["config", "show", "--changed", "--json"]);
    let topic: Value = serde_json::from_str(&topic).unwrap();
    let topic = topic["broker.topic"]["value"].as_str().unwrap();
    guest.set(&format!("broker.topic={topic}"));
    examine(&guest, "broker", 1).ends_at("kafka", "topic", &["may not even see", "kafka-acls.sh", "User:guest"]);

    secured.let_guest_describe(topic);
    let report = examine(&guest, "broker", 1);
    report.expect("kafka", "topic", "passed", &["1 partitions"]);
    report.expect("kafka", "read", "failed", &["Read the topic", "--operation Read --topic"]);
    report.expect("kafka", "group", "failed", &["--group"]);
    report.expect("kafka", "write", "failed", &["--operation Write --topic"]);
}

#[test]
fn each_way_to_miss_a_broker_ends_at_its_own_step() {
    let Some(secured) = secured_kafka() else { return };
    let servers = secured.broker.servers();
    let ca = secured.authority.file();
    let kafka = |servers: &str, properties: &[(&str, &str)]| SecuredKafka::with(servers, properties);
    let ends_at = |freshet: &Freshet, code, step, parts: &[&str]| {
        let ended = freshet.run(&["doctor", "--json", "--only", "broker", "--timeout", "4s"]).exited(code);
        Report::of(&ended).ends_at("kafka", step, parts);
        assert!(!ended.to_string().contains("wr0ng"), "{ended}");
    };
    ends_at(&kafka("127.0.0.1:1", &[]), 3, "connection", &["refused", "broker.servers"]);
    ends_at(&kafka("kafka.freshet.invalid:9092", &[]), 3, "name", &["kafka.freshet.invalid", "broker.servers"]);
    ends_at(&kafka(&servers, &[("linger.ms", "soon")]), 1, "settings", &["linger.ms"]);
    ends_at(&kafka(&servers, &[]), 1, "handshake", &["speaks TLS", "security.protocol"]);
    let tls = [("security.protocol", "SSL"), ("ssl.ca.location", &*ca)];
    ends_at(&kafka(&secured.broker.servers_of("BARE"), &tls), 1, "handshake", &["no TLS", "security.protocol"]);
    ends_at(&kafka(&secured.broker.servers_of("MTLS"), &tls), 1, "handshake", &["ssl.certificate.location"]);
    let stranger = Authority::new("Another CA");
    let untrusted = [("security.protocol", "SSL"), ("ssl.ca.location", &*stranger.file())];
    ends_at(
        &kafka(&secured.broker.servers_of("MTLS"), &untrusted),
        1,
        "handshake",
        &["not trusted", "ssl.ca.location"],
    );
    ends_at(
        &secured.program("SCRAM-SHA-512", "freshet", "wr0ng"),
        1,
        "login",
        &["Authentication failed", "sasl.password"],
    );
    // Where the client comes to the wrong name before it has answered, that is where it ends.
    let trap = kafka(&secured.broker.servers_of("TRAP"), &[]);
    let ended = trap.run(&["doctor", "--json", "--only", "broker", "--timeout", "4s"]).exited(3);
    let step = if ended.stdout.contains("brokers name themselves") { "brokers" } else { "login" };
    Report::of(&ended).ends_at("kafka", step, &["kafka.freshet.invalid", "advertised.listeners"]);
}

#[test]
fn a_database_with_encryption_and_login_is_well_and_keeps_no_trace() {
    let Some(secured) = secured_mongod() else { return };
    let owner = secured.owner();
    let report = examine(&owner, "store", 0);
    report.expect("mongodb", "settings", "passed", &["TLS, login as \"freshet\""]);
    report.expect("mongodb", "handshake", "passed", &["TLS 1.", "certificate until 2100-01-01"]);
    report.expect("mongodb", "login", "passed", &["\"freshet\" of admin"]);
    report.expect("mongodb", "server", "passed", &["MongoDB"]);
    report.expect("mongodb", "replica set", "passed", &["rs0, 1 members", "is primary"]);
    report.expect("mongodb", "write", "passed", &["rolled back"]);
    report.expect("mongodb", "changes", "passed", &["opens"]);
    report.expect("mongodb", "indexes", "passed", &["not there yet"]);
    report.expect("mongodb", "engine", "passed", &["none has started"]);
    report.expect("mongodb", "clock", "passed", &["ms"]);
    owner.must(&["snapshots", "list"]);
    examine(&owner, "store", 0).expect("mongodb", "indexes", "passed", &["the one by seq"]);
    let report = examine(&owner, "store", 0);
    report.expect("mongodb", "engine", "passed", &["none has started"]);
}

#[test]
fn each_way_to_miss_a_database_ends_at_its_own_step() {
    let Some(secured) = secured_mongod() else { return };
    let good = secured.owner_uri();
    let ca = secured.authority.file();
    let stranger = Authority::new("Another CA");
    let no_certificate = good.split_once("&tlsCertificateKeyFile").unwrap().0.to_owned();
    let plain = format!("mongodb://{}/?directConnection=true", secured.mongod.address());
    for (uri, code, step, parts) in [
        ("mongodb://127.0.0.1:1/".to_owned(), 3, "connection", &["refused", "store.uri"][..]),
        ("mongodb://mongo.freshet.invalid/".to_owned(), 3, "name", &["mongo.freshet.invalid"]),
        ("mongodb+srv://a:s3cr3t@cluster.freshet.invalid/".to_owned(), 3, "name", &["SRV"]),
        ("mongodb://127.0.0.1:port/".to_owned(), 1, "settings", &["mongodb://HOST:PORT"]),
        (good.replace(&ca, &stranger.file()), 1, "handshake", &["not trusted", "tlsCAFile"]),
        (good.replace(&ca, "/nowhere/ca.pem"), 1, "handshake", &["/nowhere/ca.pem"]),
        (no_certificate, 1, "handshake", &["tlsCertificateKeyFile"]),
        (plain, 3, "login", &["tls=true"]),
        (secured.uri("freshet", "s3cr3t"), 1, "login", &["Authentication failed", "authSource"]),
        (good.replace("freshet:", "stranger:"), 1, "login", &["Authentication failed"]),
    ] {
        let mut freshet = SecuredMongod::program();
        freshet.variable("FRESHET_STORE__URI", &uri);
        let ended = freshet.run(&["doctor", "--json", "--only", "store", "--timeout", "3s"]);
        Report::of(&ended).ends_at("mongodb", step, parts);
        assert_eq!(ended.code, Some(code), "{uri}: {ended}");
        assert!(!ended.to_string().contains("s3cr3t"), "{ended}");
    }
    let report = examine(&secured.guest(), "store", 1);
    report.expect("mongodb", "write", "failed", &["may not insert", "readWrite"]);
    report.expect("mongodb", "engine", "passed", &[]);
}
