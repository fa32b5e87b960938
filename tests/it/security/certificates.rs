//! Certificates for tests: an authority, and what it signs for servers and clients, as PEM files in a folder.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use tempfile::TempDir;

/// An authority with a folder for what it signs.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// What one party needs.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The certificate.
    pub(crate) cert: String,
    /// Its private key.
    pub(crate) key: String,
    /// Both in one file, the key first, as Kafka and MongoDB want it.
    pub(crate) both: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut about = CertificateParams::new(Vec::new()).unwrap();
        about.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        about.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), about.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(about, key), folder }
    }

    /// The file with its own certificate.
    pub(crate) fn file(&self) -> String {
        self.path("ca.pem").display().to_string()
    }

    /// A path in its folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into its folder, which only its owner may read, and returns its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }

    /// A certificate for a server that is reached under these names, and for a client of the common name.
    pub(crate) fn sign(&self, common_name: &str, names: &[&str], last_year: i32) -> Signed {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut about = CertificateParams::new(names).unwrap();
        about.distinguished_name.push(DnType::CommonName, common_name);
        about.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        about.not_before = date_time_ymd(2020, 1, 1);
        about.not_after = date_time_ymd(last_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = about.signed_by(&key, &self.issuer).unwrap().pem();
        let file = |kind: &str, content: &str| self.write(&format!("{common_name}-{last_year}.{kind}"), content);
        let key = key.serialize_pem();
        Signed {
            both: file("both.pem", &format!("{key}{cert}")),
            cert: file("cert.pem", &cert),
            key: file("key.pem", &key),
        }
    }
}
