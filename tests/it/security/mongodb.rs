//! A mongod with TLS that asks for a login, and the program on it.

use std::sync::OnceLock;

use mongodb::bson::doc;

use super::certificates::{Authority, Signed};
use crate::program::Freshet;
use crate::support::mongod::{Guard, Mongod};
use crate::support::unique;

/// Password of the users `freshet` and `guest`; as it is, and as a connection string holds it.
const PASSWORD: &str = "p@ss/w:rd%";
const ENCODED: &str = "p%40ss%2Fw%3Ard%25";

/// The server, with what its clients need.
pub(crate) struct Secured {
    pub(crate) mongod: Mongod,
    pub(crate) authority: Authority,
    client: Signed,
}

/// The server that tests share. None where it is not installed.
pub(crate) fn secured() -> Option<&'static Secured> {
    static SECURED: OnceLock<Option<Secured>> = OnceLock::new();
    SECURED.get_or_init(start).as_ref()
}

fn start() -> Option<Secured> {
    let authority = Authority::new("Freshet Test CA");
    let server = authority.sign("server", &["localhost", "127.0.0.1"], 2100);
    let client = authority.sign("client", &["freshet.client"], 2100);
    let key_file = authority.write("keyfile", "bm90LWEtc2VjcmV0LWJ1dC1hLXRlc3Q=");
    let ca = authority.file();
    let flags = [
        "--tlsMode",
        "requireTLS",
        "--tlsCertificateKeyFile",
        &server.both,
        "--tlsCAFile",
        &ca,
        "--keyFile",
        &key_file,
    ];
    let flags = flags.map(str::to_owned).to_vec();
    let options = format!("&tls=true&tlsCAFile={ca}&tlsCertificateKeyFile={}", client.both);
    let mongod = match Mongod::try_start_with(Guard { flags, options }) {
        Ok(mongod) => mongod,
        Err(reason) if reason.contains("not installed") => {
            crate::support::say("WARNING: no mongod is installed: tests of its security are skipped");
            return None;
        }
        Err(reason) => panic!("{reason}"),
    };
    create_users(&mongod.uri());
    Some(Secured { mongod, authority, client })
}

/// The first user may be created without a login, from this machine; the second one by the first.
fn create_users(uri: &str) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let root = doc! {"createUser": "freshet", "pwd": PASSWORD, "roles": ["root"]};
                let client = mongodb::Client::with_uri_str(uri).await.unwrap();
                client.database("admin").run_command(root).await.unwrap();
                let uri = uri.replace("://", &format!("://freshet:{ENCODED}@"));
                let client = mongodb::Client::with_uri_str(uri).await.unwrap();
                let guest = doc! {"createUser": "guest", "pwd": PASSWORD, "roles": [{"role": "read", "db": "freshet"}]};
                client.database("admin").run_command(guest).await.unwrap();
            });
        });
    });
}

impl Secured {
    /// A connection string.
    pub(crate) fn uri(&self, user: &str, password: &str) -> String {
        self.mongod.uri().replace("://", &format!("://{user}:{password}@"))
    }

    /// The one of the user who may do everything.
    pub(crate) fn owner_uri(&self) -> String {
        self.uri("freshet", ENCODED)
    }

    /// A program on a database of its own.
    pub(crate) fn program() -> Freshet {
        Freshet::new(&["store.kind=mongodb".to_owned(), format!("store.database={}", unique("secured"))])
    }

    /// A program of the user who may do everything.
    pub(crate) fn owner(&self) -> Freshet {
        let mut freshet = Self::program();
        freshet.variable("FRESHET_STORE__URI", &self.owner_uri());
        freshet
    }

    /// A program of the user who may only read.
    pub(crate) fn guest(&self) -> Freshet {
        let mut freshet = Self::program();
        freshet.set("store.database=freshet");
        freshet.variable("FRESHET_STORE__URI", &self.uri("guest", ENCODED));
        freshet
    }
}

#[test]
fn events_are_stored_over_tls_with_a_login_from_the_environment_and_from_a_file() {
    let Some(secured) = secured() else { return };
    let owner = secured.owner();
    owner.must(&["replay", "sample", "--limit", "300"]);
    let mut engine = owner.start();
    engine.learned(300);
    engine.stop().succeeded();
    owner.must(&["verify"]);

    let mut freshet = Secured::program();
    let file = secured.authority.write("uri", &format!("{}\n", secured.uri("freshet", ENCODED)));
    freshet.variable("FRESHET_STORE__URI_FILE", &file);
    freshet.set("log.level=debug");
    let ended = freshet.run(&["snapshots", "list"]).succeeded();
    let shown = freshet.run(&["config", "show", "--changed"]).succeeded();
    assert!(shown.stdout.contains(&format!("# FRESHET_STORE__URI_FILE={file}")), "{shown}");
    for text in [ended.to_string(), shown.to_string()] {
        assert!(!text.contains(PASSWORD) && !text.contains(ENCODED), "{text}");
    }
}

#[test]
fn a_refused_login_and_an_unknown_authority_end_with_one_line_and_no_password() {
    let Some(secured) = secured() else { return };
    let wrong = secured.uri("freshet", "wr0ng");
    let stranger = Authority::new("Another CA");
    let unknown = secured.uri("freshet", ENCODED).replace(&secured.authority.file(), &stranger.file());
    let ours = format!("&tlsCertificateKeyFile={}", secured.client.both);
    let uncertified = secured.uri("freshet", ENCODED).replace(&ours, "");
    for (uri, parts) in [
        (wrong, &["Authentication failed", "check the user, the password and authSource in store.uri"][..]),
        (unknown, &["tlsCAFile"]),
        (uncertified, &["tlsCertificateKeyFile"]),
    ] {
        let mut freshet = Secured::program();
        freshet.variable("FRESHET_STORE__URI", &uri);
        for setting in ["store.connect_timeout=1s", "log.level=error"] {
            freshet.set(setting);
        }
        let ended = freshet.run(&["snapshots", "list"]);
        assert!(matches!(ended.code, Some(1 | 3)), "{ended}");
        let ended = ended.told(parts);
        assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
        assert!(!ended.stderr.contains("wr0ng") && !ended.stderr.contains(ENCODED), "{ended}");
    }
}

#[test]
fn a_name_that_dns_does_not_know_ends_in_bounded_time_with_what_was_asked() {
    let mut freshet = Freshet::new(&["store.kind=mongodb", "store.connect_timeout=1s", "log.level=error"]);
    freshet.variable("FRESHET_STORE__URI", "mongodb+srv://ann:s3cret@cluster.freshet.invalid/?retryWrites=true");
    let ended = freshet.run(&["snapshots", "list"]).exited(3).told(&["cluster.freshet.invalid", "SRV"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
    assert!(!ended.stderr.contains("s3cret"), "{ended}");
}
