//! A broker with `SASL_SSL` and mTLS listeners and permissions, and events through the program over each.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;

use super::certificates::{Authority, Signed};
use crate::program::Freshet;
use crate::support::kafka::{Kafka, Listener};
use crate::support::unique;

/// Password of the user `freshet`, who may do everything, and of `guest`, who may log in and nothing more.
const PASSWORD: &str = "s3cret-of-freshet";

/// The broker, with what its clients need.
pub(crate) struct Secured {
    pub(crate) broker: Kafka,
    pub(crate) authority: Authority,
    pub(crate) client: Signed,
}

/// The broker that tests share. None where Kafka is not installed.
pub(crate) fn secured() -> Option<&'static Secured> {
    static SECURED: OnceLock<Option<Secured>> = OnceLock::new();
    SECURED.get_or_init(start).as_ref()
}

fn start() -> Option<Secured> {
    let authority = Authority::new("Freshet Test CA");
    let server = authority.sign("server", &["localhost", "127.0.0.1"], 2100);
    let client = authority.sign("freshet", &["freshet.client"], 2100);
    let lines = [
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.location", &server.both),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", &authority.file()),
        ("listener.name.mtls.ssl.client.auth", "required"),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN"),
        (
            "listener.name.client.plain.sasl.jaas.config",
            &format!(
                "org.apache.kafka.common.security.plain.PlainLoginModule required user_freshet=\"{PASSWORD}\" \
                 user_guest=\"{PASSWORD}\";"
            ),
        ),
        (
            "listener.name.client.scram-sha-256.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        ),
        (
            "listener.name.client.scram-sha-512.sasl.jaas.config",
            "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        ),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:freshet;User:ANONYMOUS;User:CN=freshet"),
    ];
    let scram = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
    let scram = scram.map(|kind| ["--add-scram".to_owned(), format!("{kind}=[name=freshet,password={PASSWORD}]")]);
    let mut format: Vec<String> = scram.concat();
    format.extend(["--add-scram".to_owned(), format!("SCRAM-SHA-512=[name=guest,password={PASSWORD}]")]);
    let listener = Listener {
        protocol: "SASL_SSL",
        more: vec![
            ("MTLS", "SSL", "127.0.0.1"),
            ("BARE", "PLAINTEXT", "127.0.0.1"),
            ("TRAP", "PLAINTEXT", "kafka.freshet.invalid"),
        ],
        server: lines.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        format,
        client: login(&authority, "SCRAM-SHA-512", "freshet", PASSWORD),
    };
    let broker = match Kafka::try_start(listener) {
        Ok(broker) => broker,
        Err(reason) if reason.contains("not installed") => {
            crate::support::say("WARNING: Apache Kafka is not installed: tests of its security are skipped");
            return None;
        }
        Err(reason) => panic!("{reason}"),
    };
    Some(Secured { broker, authority, client })
}

fn login(authority: &Authority, mechanism: &str, user: &str, password: &str) -> Vec<(String, String)> {
    [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", mechanism),
        ("sasl.username", user),
        ("sasl.password", password),
        ("ssl.ca.location", &authority.file()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .to_vec()
}

impl Secured {
    /// A program that logs in on the listener with names and passwords.
    pub(crate) fn program(&self, mechanism: &str, user: &str, password: &str) -> Freshet {
        Self::with(&self.broker.servers(), &login(&self.authority, mechanism, user, password))
    }

    /// A program of the user who may do everything.
    pub(crate) fn owner(&self) -> Freshet {
        self.program("SCRAM-SHA-512", "freshet", PASSWORD)
    }

    /// A program of the user who may log in and nothing more.
    pub(crate) fn guest(&self) -> Freshet {
        self.program("SCRAM-SHA-512", "guest", PASSWORD)
    }

    /// A program on a listener, on a topic of its own.
    pub(crate) fn with<S: AsRef<str>>(servers: &str, properties: &[(S, S)]) -> Freshet {
        let mut settings = vec![
            "broker.kind=kafka".to_owned(),
            format!("broker.servers={servers}"),
            format!("broker.topic={}", unique("secured")),
            format!("broker.group={}", unique("secured")),
        ];
        let set = |(key, value): &(S, S)| format!("broker.properties.{}={}", key.as_ref(), value.as_ref());
        settings.extend(properties.iter().map(set));
        Freshet::new(&settings)
    }

    /// Lets the guest see a topic, and no more. The request is spoken by hand: neither rdkafka nor the installed jars have
    /// a client for it.
    pub(crate) fn let_guest_describe(&self, topic: &str) {
        let text = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
        // CreateAcls in version 1, correlation id 1; one entry.
        let head = [&[0, 30, 0, 1, 0, 0, 0, 1][..], &text("test"), &[0, 0, 0, 1]].concat();
        // Of a topic (2), by its literal name (3); from any host, to describe (8), allowed (3).
        let entry = [&[2][..], &text(topic), &[3], &text("User:guest"), &text("*"), &[8, 3]].concat();
        let request = [head, entry].concat();
        let mut stream = TcpStream::connect(self.broker.servers_of("BARE")).unwrap();
        stream.write_all(&(request.len() as u32).to_be_bytes()).unwrap();
        stream.write_all(&request).unwrap();
        // Length, correlation id, time of throttling, one result, its code.
        let mut answer = [0; 18];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[4..], [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "the entry is refused");
    }

    /// Properties for the listener that asks for a certificate.
    fn certified(&self) -> [(&str, String); 4] {
        [
            ("security.protocol", "SSL".to_owned()),
            ("ssl.ca.location", self.authority.file()),
            ("ssl.certificate.location", self.client.cert.clone()),
            ("ssl.key.location", self.client.key.clone()),
        ]
    }
}

/// Produces, learns and answers.
fn works(freshet: &Freshet) {
    freshet.must(&["replay", "sample", "--limit", "300"]);
    let mut engine = freshet.start();
    engine.learned(300);
    let answer = engine.json("/recommend/1?n=3");
    assert_eq!(answer["items"].as_array().map(Vec::len), Some(3), "{answer}");
    engine.stop().succeeded();
}

#[test]
fn events_are_produced_learned_and_answered_from_over_every_kind_of_secured_link() {
    let Some(secured) = secured() else { return };
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN"] {
        works(&secured.program(mechanism, "freshet", PASSWORD));
    }
    let certified = secured.certified().map(|(key, value)| (key.to_owned(), value));
    works(&Secured::with(&secured.broker.servers_of("MTLS"), &certified));
}

#[test]
fn a_password_may_come_from_a_file_and_is_not_shown() {
    let Some(secured) = secured() else { return };
    let mut properties = login(&secured.authority, "SCRAM-SHA-512", "freshet", "");
    properties.retain(|(key, _)| key != "sasl.password");
    let mut freshet = Secured::with(&secured.broker.servers(), &properties);
    let file = secured.authority.write("password", &format!("{PASSWORD}\n"));
    freshet.variable("FRESHET_BROKER__PROPERTIES__SASL_PASSWORD_FILE", &file);
    freshet.set("log.level=debug");
    let ended = freshet.run(&["replay", "sample", "--limit", "10"]).succeeded();
    assert!(!ended.to_string().contains(PASSWORD), "{ended}");
    let shown = freshet.must(&["config", "show", "--changed"]);
    assert!(shown.contains(&format!("# FRESHET_BROKER__PROPERTIES__SASL_PASSWORD_FILE={file}")), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
}

#[test]
fn a_login_that_is_refused_ends_with_one_line_that_says_what_to_correct() {
    let Some(secured) = secured() else { return };
    for mechanism in ["SCRAM-SHA-512", "PLAIN"] {
        let freshet = secured.program(mechanism, "freshet", "wr0ng-password");
        for command in [&["run"][..], &["replay", "sample"]] {
            let ended = freshet.run(command).exited(3).told(&["sasl.username", "sasl.password", "[broker.properties]"]);
            assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
            assert!(!ended.stderr.contains("wr0ng"), "{ended}");
        }
    }
}

#[test]
fn an_unknown_authority_and_a_missing_certificate_end_with_one_line_that_names_the_property() {
    let Some(secured) = secured() else { return };
    let stranger = Authority::new("Another CA");
    let unknown = login(&stranger, "SCRAM-SHA-512", "freshet", PASSWORD);
    let none: Vec<_> = unknown.iter().filter(|(key, _)| key != "ssl.ca.location").cloned().collect();
    for properties in [unknown, none] {
        let ended = Secured::with(&secured.broker.servers(), &properties).run(&["run"]).exited(3);
        let ended = ended.told(&["certificate", "set ssl.ca.location"]);
        assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
    }
    let without = [("security.protocol", "SSL".to_owned()), ("ssl.ca.location", secured.authority.file())];
    let mut freshet =
        Secured::with(&secured.broker.servers_of("MTLS"), &without.map(|(key, value)| (key.to_owned(), value)));
    freshet.set("broker.connect_timeout=5s");
    let ended = freshet.run(&["run"]).exited(3).told(&["ssl.certificate.location", "ssl.key.location"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
}
