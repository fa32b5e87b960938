//! The certificate: read from PEM files, and read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use crate::config::{Problem as Fault, ServeConfig};

/// Pause between two looks at whether the files have changed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What TLS is spoken with.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    pub(super) acceptable: RustlsConfig,
    cert: PathBuf,
    key: PathBuf,
}

impl Tls {
    /// Reads the files of the configuration; nothing if it names none.
    ///
    /// # Errors
    /// If a file cannot be read, holds no certificate or no key, or the two do not belong together.
    pub(super) fn load(config: &ServeConfig) -> Result<Option<Self>, Fault> {
        if config.tls_cert.as_os_str().is_empty() {
            return Ok(None);
        }
        let (cert, key) = (config.tls_cert.clone(), config.tls_key.clone());
        let acceptable = RustlsConfig::from_config(Arc::new(read(&cert, &key)?));
        Ok(Some(Self { acceptable, cert, key }))
    }

    /// Reads the files again when they change, and on SIGHUP; what is wrong with them then is logged, and the certificate
    /// stays. Ends with the runtime.
    pub(super) async fn keep_current(self) {
        let mut looks = interval(LOOK_EVERY);
        let mut hangups = signal(SignalKind::hangup()).ok();
        let mut known = self.changed_at();
        loop {
            let hung_up = async {
                match &mut hangups {
                    Some(hangups) => hangups.recv().await,
                    None => std::future::pending().await,
                }
            };
            let asked = tokio::select! {
                _ = looks.tick() => false,
                _ = hung_up => true,
            };
            let now = self.changed_at();
            if asked || now != known {
                known = now;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        match read(&self.cert, &self.key) {
            Ok(config) => {
                self.acceptable.reload_from_config(Arc::new(config));
                tracing::info!("the certificate was read again");
            }
            Err(error) => tracing::warn!(%error, "the certificate could not be read again: the one in use stays"),
        }
    }

    /// When the files were changed.
    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.cert, &self.key].map(|path| fs::metadata(path).and_then(|about| about.modified()).ok())
    }
}

fn read(cert: &Path, key: &Path) -> Result<ServerConfig, Fault> {
    let fault = |name: &'static str, path: &Path, reason: String| Fault::File {
        key: name,
        file: path.display().to_string(),
        reason,
    };
    let no_cert = |reason: String| fault("serve.tls_cert", cert, reason);
    let no_key = |reason: String| fault("serve.tls_key", key, reason);
    let pem = fs::read(cert).map_err(|error| no_cert(format!("cannot be read: {error}")))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let chain = chain.ok_or_else(|| no_cert("holds no certificate; a PEM file with the chain is needed".into()))?;
    let pem = fs::read(key).map_err(|error| no_key(format!("cannot be read: {error}")))?;
    let private = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| no_key("holds no private key; a PEM file with one that has no password is needed".into()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| no_cert(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| no_key(format!("does not go with the certificate: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
