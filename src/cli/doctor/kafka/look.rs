//! What a broker shows before anybody logs in: its certificate, and which requests it knows.
//!
//! Apart from the steps that Kafka's client does, because that client tells of a listener of the wrong kind only that it
//! hung up. One request is spoken by hand, `ApiVersions`, which every broker answers to everybody.

use std::time::Duration;

use rustls::RootCertStore;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::super::net::{self, Address, Trust};
use super::super::steps::{Fault, Found};
use crate::capture::kafka_link;
use crate::config::BrokerConfig;

/// Where librdkafka looks for the authorities of the system, of its `rdkafka_ssl.c`.
const SYSTEM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const AUTHORITY: &str = "set ssl.ca.location under [broker.properties] to the PEM file of the CA that has signed the \
    broker's certificate";
const KIND: &str = "security.protocol under [broker.properties] has to be that of the broker's listener: PLAINTEXT, SSL, \
    SASL_PLAINTEXT or SASL_SSL";

/// `ApiVersions` in version 0, correlation id 1, client id "freshet".
const REQUEST: &[u8] = b"\x00\x00\x00\x11\x00\x12\x00\x00\x00\x00\x00\x01\x00\x07freshet";
/// Longest answer that is read.
const LONGEST: u32 = 64 << 10;

/// PEM texts of a client's certificate and of its key.
type Identity = (Vec<u8>, Vec<u8>);

/// How the link is secured.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// `security.protocol` in force.
    pub(super) protocol: String,
    /// Mechanism of the login.
    pub(super) mechanism: String,
    pub(super) user: String,
    roots: RootCertStore,
    identity: Option<Identity>,
    /// Whether a client certificate is set that rustls cannot read, a key store or a key with a password.
    sealed: bool,
    names: bool,
    verify: bool,
}

impl Link {
    /// Reads what the properties say, and the files that they name.
    pub(super) fn read(broker: &BrokerConfig) -> Result<Found<Self>, Fault> {
        // Whatever librdkafka refuses of the properties it refuses here.
        let created = kafka_link::asker(broker, &[("group.id", &broker.group)]);
        created.map_err(|error| {
            Fault::new(
                kafka_link::reason(&error),
                "correct [broker.properties]; `freshet config show` says where each value came from",
            )
        })?;
        let of = |names: &[&str], default: &str| {
            let found = names.iter().find_map(|name| broker.properties.get(*name));
            found.map_or(default, String::as_str).to_owned()
        };
        let sealed =
            ["ssl.keystore.location", "ssl.key.password"].iter().any(|name| broker.properties.contains_key(*name));
        let link = Self {
            protocol: of(&["security.protocol"], "plaintext").to_uppercase(),
            mechanism: of(&["sasl.mechanisms", "sasl.mechanism"], "GSSAPI"),
            user: of(&["sasl.username"], ""),
            roots: roots(broker)?,
            identity: identity(broker)?.filter(|_| !sealed),
            sealed,
            names: of(&["ssl.endpoint.identification.algorithm"], "https") != "none",
            verify: of(&["enable.ssl.certificate.verification"], "true") != "false",
        };
        let login = if link.logs_in() { format!(", {} as {:?}", link.mechanism, link.user) } else { String::new() };
        let detail = format!("{}{login}", link.protocol);
        let plain = (link.protocol == "SASL_PLAINTEXT")
            .then(|| "the login is sent over a link that is not encrypted".to_owned());
        Ok(Found::new(link, detail).but(plain))
    }

    pub(super) fn logs_in(&self) -> bool {
        self.protocol.starts_with("SASL")
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.protocol.ends_with("SSL")
    }

    fn trust(&self) -> Trust {
        let identity = self.identity.as_ref().and_then(|(cert, key)| net::identity(cert, key));
        Trust { roots: self.roots.clone(), identity, names: self.names, verify: self.verify }
    }
}

/// What a broker showed, and what is wrong with it. Kafka's client may think better of it.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) problem: Option<Fault>,
}

fn read_file(property: &str, path: &str) -> Result<Vec<u8>, Fault> {
    let fault = |error: std::io::Error| {
        Fault::new(format!("{property}: {path}: {error}"), "name a file that this process can read")
    };
    std::fs::read(path).map_err(fault)
}

fn roots(broker: &BrokerConfig) -> Result<RootCertStore, Fault> {
    if let Some(pem) = broker.properties.get("ssl.ca.pem") {
        return Ok(net::parse_roots(pem.as_bytes()));
    }
    match broker.properties.get("ssl.ca.location").map(String::as_str) {
        // A folder of them, or "probe", is librdkafka's to read.
        Some(path) if path != "probe" && std::path::Path::new(path).is_file() => {
            Ok(net::parse_roots(&read_file("ssl.ca.location", path)?))
        }
        _ => Ok(SYSTEM_ROOTS
            .iter()
            .find_map(|path| std::fs::read(path).ok())
            .map_or_else(RootCertStore::empty, |pem| net::parse_roots(&pem))),
    }
}

fn identity(broker: &BrokerConfig) -> Result<Option<Identity>, Fault> {
    let read = |pem: &str, location: &str| match (broker.properties.get(pem), broker.properties.get(location)) {
        (Some(pem), _) => Ok(Some(pem.clone().into_bytes())),
        (None, Some(path)) => read_file(location, path).map(Some),
        (None, None) => Ok(None),
    };
    let cert = read("ssl.certificate.pem", "ssl.certificate.location")?;
    Ok(cert.zip(read("ssl.key.pem", "ssl.key.location")?))
}

/// Speaks to a broker as far as that goes without a login.
pub(super) async fn look(server: &Address, link: &Link) -> Result<Found<Look>, Fault> {
    let unreachable = |reason: String| Fault::unreachable(reason, "see whether the broker still runs");
    let stream = server.connect().await.map_err(unreachable)?;
    if !link.is_encrypted() {
        let problem = speak(stream).await;
        return Ok(seen("not encrypted", problem.map_err(|reason| Fault::new(reason, KIND)), None));
    }
    let (mut stream, shown) = match net::encrypt(server, stream, link.trust()).await {
        Ok(encrypted) => encrypted,
        Err(reason) => {
            let problem = Fault::new(format!("no TLS comes about: {reason}"), KIND);
            return Ok(Found::new(Look { problem: Some(problem) }, "no TLS"));
        }
    };
    let spoken = match speak(&mut stream).await {
        Ok(version) => Ok(version),
        // With a key that cannot be read here nothing is known of what the broker would have answered.
        Err(_) if link.sealed => Ok("a client certificate that is not looked at".to_owned()),
        Err(reason) if link.identity.is_none() => Err(Fault::new(
            format!("the broker ends the encrypted connection: {reason}"),
            "if it asks for a client certificate, set ssl.certificate.location and ssl.key.location under \
             [broker.properties]",
        )),
        Err(reason) => Err(Fault::new(reason, KIND)),
    };
    let fault = shown.fault(server, AUTHORITY);
    Ok(match fault {
        Some(problem) => seen(&shown.detail(&stream), Err(problem), None),
        None => seen(&shown.detail(&stream), spoken, shown.warning()),
    })
}

fn seen(detail: &str, spoken: Result<String, Fault>, warning: Option<String>) -> Found<Look> {
    match spoken {
        Ok(version) => Found::new(Look { problem: None }, format!("{detail}, {version}")).but(warning),
        Err(problem) => Found::new(Look { problem: Some(problem) }, detail),
    }
}

/// Asks which requests the broker knows; what that tells of its version.
async fn speak(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<String, String> {
    stream.write_all(REQUEST).await.map_err(|error| error.to_string())?;
    stream.flush().await.map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(Duration::from_secs(3), answer(&mut stream)).await;
    let answer = answer.map_err(|_| "it does not answer as a Kafka broker".to_owned())?;
    let answer = answer.map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "it hangs up".to_owned(),
        _ => error.to_string(),
    })?;
    version(&answer).map(str::to_owned).ok_or_else(|| "it does not answer as a Kafka broker".to_owned())
}

async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Vec<u8>> {
    /// How an alert of TLS begins.
    const ALERT: u32 = 0x1503;
    let length = stream.read_u32().await?;
    if length >> 16 == ALERT {
        return Err(std::io::Error::other("it speaks TLS"));
    }
    if length > LONGEST {
        return Err(std::io::Error::other("it does not answer as a Kafka broker"));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// What the ranges of versions in an answer to `ApiVersions` tell of the broker: requests came and went with releases.
fn version(answer: &[u8]) -> Option<&'static str> {
    const FETCH: i16 = 1;
    const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
    const STREAMS_GROUP_HEARTBEAT: i16 = 88;
    let (head, ranges) = answer.split_at_checked(10)?;
    if head[..4] != [0, 0, 0, 1] || head[4..6] != [0, 0] {
        return None;
    }
    let number = |bytes: &[u8]| i16::from_be_bytes([bytes[0], bytes[1]]);
    let ranges: Vec<_> = ranges.chunks_exact(6).map(|range| (number(range), number(&range[2..]))).collect();
    let has = |key: i16| ranges.iter().any(|(known, _)| *known == key);
    Some(match () {
        () if has(STREAMS_GROUP_HEARTBEAT) => "Kafka 4.1 or newer",
        () if ranges.iter().any(|(key, least)| *key == FETCH && *least >= 4) => "Kafka 4.0",
        () if has(CONSUMER_GROUP_HEARTBEAT) => "Kafka 3.7 or newer",
        () => "Kafka older than 3.7",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(ranges: &[[i16; 3]]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, ranges.len() as u8];
        bytes.extend(ranges.iter().flatten().flat_map(|number| number.to_be_bytes()));
        bytes
    }

    #[test]
    fn the_version_is_told_from_the_requests_that_a_broker_knows() {
        assert_eq!(version(&answer(&[[1, 4, 18], [68, 0, 1], [88, 0, 0]])), Some("Kafka 4.1 or newer"));
        assert_eq!(version(&answer(&[[1, 4, 17], [68, 0, 1]])), Some("Kafka 4.0"));
        assert_eq!(version(&answer(&[[1, 0, 16], [68, 0, 0]])), Some("Kafka 3.7 or newer"));
        assert_eq!(version(&answer(&[[1, 0, 13]])), Some("Kafka older than 3.7"));
        for garbage in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0; 9]] {
            assert_eq!(version(garbage), None);
        }
    }

    #[tokio::test]
    async fn what_is_no_broker_is_told_from_one_that_hangs_up() {
        for (said, expected) in [
            (&b""[..], "hangs up"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not answer as a Kafka"),
            (b"\x15\x03\x03\0\x02\x02\x46", "speaks TLS"),
        ] {
            let (ours, mut theirs) = tokio::io::duplex(1024);
            theirs.write_all(said).await.unwrap();
            theirs.shutdown().await.unwrap();
            let reason = speak(ours).await.unwrap_err();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
