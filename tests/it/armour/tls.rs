//! HTTPS, as a client sees it that trusts the certificate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{PATIENCE, connect, http2, rest};
use crate::program::{Engine, Freshet};

/// A certificate for `localhost` as PEM, and its private key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

fn secured() -> (Freshet, String) {
    let freshet = Freshet::new(&["serve.tls_cert=cert.pem", "serve.tls_key=key.pem"]);
    let (cert, key) = certificate();
    freshet.write("cert.pem", &cert);
    freshet.write("key.pem", key);
    (freshet, cert)
}

/// A connection that trusts one certificate and speaks one protocol.
fn dial(
    engine: &Engine,
    cert: &str,
    protocol: &[u8],
) -> std::io::Result<StreamOwned<ClientConnection, std::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let mut client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut socket = connect(engine);
    while client.is_handshaking() {
        client.complete_io(&mut socket)?;
    }
    assert_eq!(client.alpn_protocol(), Some(protocol));
    Ok(StreamOwned::new(client, socket))
}

#[test]
fn two_lines_make_it_https_over_both_versions_of_http() {
    let (freshet, cert) = secured();
    let engine = freshet.start();
    let mut stream = dial(&engine, &cert, b"http/1.1").unwrap();
    std::io::Write::write_all(&mut stream, b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
    let answer = http2::get(&mut dial(&engine, &cert, b"h2").unwrap(), "/livez", "Bearer none");
    assert!(answer.ends_with(b"ok"), "{answer:?}");
    let stranger = dial(&engine, &certificate().0, b"h2").map(drop);
    assert!(stranger.is_err(), "a certificate that is not trusted was accepted");
    let plain = super::request(&engine, "GET", "/livez", "");
    assert_ne!(super::status(&plain), Some(200), "{plain}");
    let ended = engine.stop().succeeded();
    assert!(ended.stdout.contains("serving on https://127.0.0.1:"), "{ended}");
}

#[test]
fn a_certificate_is_renewed_without_a_restart_and_a_broken_one_is_not_taken() {
    let (freshet, old) = secured();
    let engine = freshet.start();
    freshet.write("cert.pem", "half a certi");
    engine.signal("HUP");
    std::thread::sleep(Duration::from_millis(300));
    assert!(dial(&engine, &old, b"h2").is_ok(), "the one in use stays");
    let (new, key) = certificate();
    freshet.write("cert.pem", &new);
    freshet.write("key.pem", key);
    engine.signal("HUP");
    let deadline = Instant::now() + PATIENCE;
    while dial(&engine, &new, b"h2").is_err() {
        assert!(Instant::now() < deadline, "the new certificate is not served");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(dial(&engine, &old, b"h2").is_err());
    engine.stop().succeeded().told(&["could not be read again", "serve.tls_cert: cert.pem: holds no certificate"]);
}

#[test]
fn files_that_cannot_be_used_are_named_without_their_content() {
    let (_, other_key) = certificate();
    for (cert, key, parts) in [
        (None, Some(""), &["serve.tls_cert: cert.pem: cannot be read"][..]),
        (Some("no PEM hunter2"), None, &["serve.tls_cert: cert.pem: holds no certificate"]),
        (None, None, &["serve.tls_cert: cert.pem: cannot be read"]),
        (Some("ours"), Some("no PEM hunter2"), &["serve.tls_key: key.pem: holds no private key"]),
        (Some("ours"), Some(other_key.as_str()), &["serve.tls_key: key.pem: does not go with the certificate"]),
    ] {
        let (freshet, ours) = secured();
        for (name, content) in [("cert.pem", cert), ("key.pem", key)] {
            match content {
                Some("ours") => freshet.write(name, &ours),
                Some(content) => freshet.write(name, content),
                None => std::fs::remove_file(freshet.path(name)).unwrap(),
            }
        }
        let ended = freshet.run(&["run"]).exited(2).told(parts);
        assert!(!ended.stderr.contains("hunter2") && !ended.stderr.contains("PRIVATE KEY"), "{ended}");
    }
    let half = Freshet::new(&["serve.tls_cert=cert.pem"]);
    half.run(&["run"]).exited(2).told(&["serve.tls_cert = \"cert.pem\"", "set or empty together with serve.tls_key"]);
}
