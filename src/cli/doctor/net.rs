//! The way to a server, step by step: its name, a connection, and TLS with a look at the certificate.
//!
//! Apart from what is asked of Kafka and MongoDB, whose clients tell of all this only that it failed. TLS is spoken by
//! rustls with a verifier that lets every certificate pass and notes what is wrong with it: Kafka's client has the last
//! word with another library (OpenSSL), and takes certificates that this one refuses.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::steps::{Fault, Found};
use crate::cli::out;
use crate::telemetry;

/// The end of the year 9999: every certificate has expired then, and says when.
const FAR: Duration = Duration::from_secs(253_402_300_799);
/// Days before its end at which a certificate should be renewed.
const RENEW_DAYS: i64 = 14;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A server as it is named in a setting.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// Reads `host`, `host:port`, `[::1]:port`, or any of them behind `protocol://`.
    pub(super) fn parse(text: &str, port: u16) -> Option<Self> {
        let text = text.trim().split_once("://").map_or(text.trim(), |(_, rest)| rest);
        let (host, given) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = given.map_or(Some(port), |port| port.parse().ok())?;
        (!host.is_empty()).then(|| Self { host: host.to_owned(), port })
    }

    async fn resolve(&self) -> Result<Vec<SocketAddr>, String> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await;
        let found: Vec<_> = found.map_err(|error| format!("{}: {error}", self.host))?.collect();
        if found.is_empty() { Err(format!("{}: no address", self.host)) } else { Ok(found) }
    }

    /// Connects to any of its addresses.
    pub(super) async fn connect(&self) -> Result<TcpStream, String> {
        TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| format!("{self}: {error}"))
    }
}

/// Asks DNS for each of the servers; one that is known is enough to go on.
pub(super) async fn names(servers: &[Address], setting: &str) -> Result<Found<Vec<Address>>, Fault> {
    let (mut known, mut shown, mut unknown) = (Vec::new(), Vec::new(), Vec::new());
    for server in servers {
        match server.resolve().await {
            Ok(found) => {
                let addresses: Vec<_> = found.iter().map(|address| address.ip().to_string()).collect();
                let is_address = addresses.contains(&server.host);
                let addresses = if is_address { String::new() } else { format!(" → {}", addresses.join(", ")) };
                shown.push(format!("{}{addresses}", server.host));
                known.push(server.clone());
            }
            Err(reason) => unknown.push(reason),
        }
    }
    let advice = format!("correct the name in {setting}, or let DNS (or /etc/hosts) of this machine know it");
    if known.is_empty() {
        return Err(Fault::unreachable(unknown.join("; "), advice));
    }
    let warning = (!unknown.is_empty()).then(|| format!("{}; {advice}", unknown.join("; ")));
    Ok(Found::new(known, shown.join(", ")).but(warning))
}

/// Those of the servers that cannot be connected to within the time, and why.
pub(super) async fn away(servers: &[Address], limit: Duration) -> Vec<(&Address, String)> {
    let attempts = servers.iter().map(|server| async move {
        match tokio::time::timeout(limit, server.connect()).await {
            Ok(Ok(_)) => None,
            Ok(Err(reason)) => Some((server, reason)),
            Err(_) => Some((server, format!("{server}: no answer"))),
        }
    });
    futures::future::join_all(attempts).await.into_iter().flatten().collect()
}

/// Connects to each of the servers; one that answers is enough to go on.
pub(super) async fn connections(servers: &[Address], setting: &str) -> Result<Found<Vec<Address>>, Fault> {
    // How long that may take is the step's to say.
    let away = away(servers, Duration::MAX).await;
    let is_there = |server: &&Address| !away.iter().any(|(away, _)| away == server);
    let there: Vec<_> = servers.iter().filter(is_there).cloned().collect();
    let away: Vec<_> = away.into_iter().map(|(_, reason)| reason).collect();
    let advice = format!("start the server, correct {setting}, or open the port in the firewall between");
    if there.is_empty() {
        return Err(Fault::unreachable(away.join("; "), advice));
    }
    let shown: Vec<_> = there.iter().map(ToString::to_string).collect();
    let warning = (!away.is_empty()).then(|| format!("{}; {advice}", away.join("; ")));
    Ok(Found::new(there, shown.join(", ")).but(warning))
}

/// Whom to trust, and who one is.
#[derive(Debug)]
pub(super) struct Trust {
    pub(super) roots: RootCertStore,
    pub(super) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// Whether the certificate must be for the name.
    pub(super) names: bool,
    /// Whether the certificate must be good at all.
    pub(super) verify: bool,
}

/// What the server showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// When the first certificate of its chain ends, in milliseconds since the epoch.
    pub(super) ends_ms: Option<i64>,
    /// What rustls says against it.
    pub(super) problem: Option<Error>,
}

/// The certificates in a PEM file.
pub(super) fn read_roots(file: &Path) -> Result<RootCertStore, Fault> {
    let advice = "name a PEM file that this process can read and that has the authority's certificate";
    let fault = |reason: String| Fault::new(format!("{}: {reason}", file.display()), advice);
    let bytes = std::fs::read(file).map_err(|error| fault(error.to_string()))?;
    let roots = parse_roots(&bytes);
    if roots.is_empty() { Err(fault("holds no certificate".to_owned())) } else { Ok(roots) }
}

/// The certificates in PEM text that can be read.
pub(super) fn parse_roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    roots
}

/// A certificate and its key from PEM text; none if the key has a password.
pub(super) fn identity(cert: &[u8], key: &[u8]) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(cert).flatten().map(CertificateDer::into_owned).collect();
    let key = PrivateKeyDer::from_pem_slice(key).ok()?;
    (!chain.is_empty()).then_some((chain, key))
}

/// Encrypts a connection and looks at the certificate. Fails only where no encryption comes about.
pub(super) async fn encrypt(
    server: &Address,
    stream: TcpStream,
    trust: Trust,
) -> Result<(TlsStream<TcpStream>, Shown), String> {
    let Trust { mut roots, identity, names, verify } = trust;
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build();
    let inner = inner.map_err(|error| error.to_string())?;
    let witness = Arc::new(Witness { inner, shown: Mutex::default() });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>);
    let config = match identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?,
        None => builder.with_no_client_auth(),
    };
    let name = ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
    let mut shown = witness.shown.lock().clone();
    let only_name = matches!(
        shown.problem,
        Some(Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        ))
    );
    if !verify || only_name && !names {
        shown.problem = None;
    }
    Ok((stream, shown))
}

impl Shown {
    /// Version of TLS and end of the certificate, for people.
    pub(super) fn detail(&self, stream: &TlsStream<TcpStream>) -> String {
        let version = match stream.get_ref().1.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        };
        let ends = self.ends_ms.map(|ms| format!(", certificate until {}", &out::time(ms)[..10])).unwrap_or_default();
        format!("{version}{ends}")
    }

    /// What is wrong with the certificate, and what to do. `authority` says how another CA is set.
    pub(super) fn fault(&self, server: &Address, authority: &str) -> Option<Fault> {
        let renew = "renew the server's certificate, and check the clocks of both machines";
        Some(match self.problem.as_ref()? {
            Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => Fault::new(
                format!("the certificate is not for {}: it is for {}", server.host, presented.join(", ")),
                "connect by a name that is in the certificate, or have one issued with this name",
            ),
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                let when = self.ends_ms.map(|ms| format!(" on {}", &out::time(ms)[..10])).unwrap_or_default();
                Fault::new(format!("the certificate has expired{when}"), renew)
            }
            Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                Fault::new("the certificate is not valid yet", renew)
            }
            Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                Fault::new("the certificate is signed by an authority that is not trusted here", authority)
            }
            other => Fault::new(format!("the certificate is refused: {other}"), authority),
        })
    }

    /// That the certificate ends soon.
    pub(super) fn warning(&self) -> Option<String> {
        let days = (self.ends_ms? - telemetry::now_ms()) / DAY_MS;
        (days < RENEW_DAYS).then(|| format!("the server's certificate ends in {days} days: renew it"))
    }
}

/// Notes what a verifier says, and lets every certificate pass.
#[derive(Debug)]
struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    shown: Mutex<Shown>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let at = |time| self.inner.verify_server_cert(cert, chain, name, ocsp, time).err();
        let ends_ms = match at(UnixTime::since_unix_epoch(FAR)) {
            Some(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                Some(not_after.as_secs() as i64 * 1000)
            }
            _ => None,
        };
        *self.shown.lock() = Shown { ends_ms, problem: at(now) };
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[test]
    fn addresses_are_read_as_clients_write_them() {
        let read = |text: &str| Address::parse(text, 9092).map(|address| address.to_string());
        for (text, expected) in [
            ("kafka", "kafka:9092"),
            (" kafka:1 ", "kafka:1"),
            ("SASL_SSL://kafka:1", "kafka:1"),
            ("[::1]:7", "[::1]:7"),
            ("[::1]", "[::1]:9092"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected));
        }
        assert_eq!(read("kafka:port"), None);
        assert_eq!(read(":9092"), None);
    }

    /// A server with a certificate for `names` until a year, and the PEM text of its authority.
    async fn serve(names: &[&str], last_year: i32) -> (Address, String) {
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let pem = ca.self_signed(&ca_key).unwrap().pem();
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut about = CertificateParams::new(names).unwrap();
        about.not_before = date_time_ymd(2000, 1, 1);
        about.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = about.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        });
        (Address { host: "127.0.0.1".into(), port }, pem)
    }

    async fn look(names: &[&str], last_year: i32, trusted: bool, check_names: bool) -> Shown {
        let (server, pem) = serve(names, last_year).await;
        let roots = if trusted { parse_roots(pem.as_bytes()) } else { RootCertStore::empty() };
        let trust = Trust { roots, identity: None, names: check_names, verify: true };
        let stream = server.connect().await.unwrap();
        encrypt(&server, stream, trust).await.unwrap().1
    }

    #[tokio::test]
    async fn a_certificate_is_judged_by_its_authority_its_name_and_its_end() {
        let server = Address { host: "127.0.0.1".into(), port: 1 };
        let good = look(&["127.0.0.1"], 2100, true, true).await;
        assert!(good.fault(&server, "").is_none() && good.warning().is_none(), "{good:?}");
        assert_eq!(good.ends_ms.map(|ms| out::time(ms)[..4].to_owned()).as_deref(), Some("2100"));
        for (shown, part) in [
            (look(&["127.0.0.1"], 2100, false, true).await, "not trusted"),
            (look(&["kafka.example"], 2100, true, true).await, "it is for DnsName(\"kafka.example\")"),
            (look(&["127.0.0.1"], 2020, true, true).await, "expired on 2020-01-01"),
        ] {
            let fault = shown.fault(&server, "set the CA").expect("it is not good");
            assert!(fault.reason.contains(part), "{fault:?}");
        }
        let nameless = look(&["kafka.example"], 2100, true, false).await;
        assert!(nameless.fault(&server, "").is_none(), "{nameless:?}");
    }
}
