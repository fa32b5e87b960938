//! The service with events of a data set, and the page open on it: what every test of the page begins with.

use serde_json::{Value, json};

use crate::chrome::Browser;
use crate::program::{Engine, Freshet, Running, movielens};
use crate::support::say;

/// The panels.
pub(crate) const PANELS: [&str; 7] = ["stream", "learning", "predicted", "map", "user", "model", "faults"];

/// Small batches and snapshots, so that there is something to see soon; and answers, however busy the machine is.
const SETTINGS: [&str; 4] = ["gather.size=50", "gather.linger=50ms", "store.snapshot_every=500", "serve.shed_after=0s"];

/// Events that are there when the page is opened.
pub(crate) const BEFORE: u64 = 1500;

/// A browser, and the service that it looks at.
pub(crate) struct Site {
    pub(crate) browser: Browser,
    pub(crate) engine: Engine,
    pub(crate) freshet: Freshet,
}

impl Site {
    /// The service after the first events of a data set, on a port of its own that stays the same; none where there is no
    /// browser.
    pub(crate) fn start() -> Option<Self> {
        let browser = Browser::start()?;
        let mut freshet = Freshet::new(&SETTINGS);
        freshet.set(&format!("serve.port={}", crate::support::process::free_port()));
        freshet.must(&borrowed(&replay(&["--limit", &BEFORE.to_string()])));
        let mut engine = freshet.start();
        engine.learned(BEFORE);
        let site = Self { browser, engine, freshet };
        site.place_users();
        Some(site)
    }

    /// The generated sample tells of no place: some of its users are given one.
    fn place_users(&self) {
        if movielens().is_none() {
            for user in 1..=200 {
                self.send("PUT", &format!("/users/{user}"), &json!({ "zip": format!("{:05}", 10_001 + user % 20) }));
            }
        }
    }

    /// Sends the data set, so many events a second, until it is dropped.
    pub(crate) fn replay(&self, rate: u32) -> Running {
        self.freshet.spawn(&borrowed(&replay(&["--rate", &rate.to_string()])))
    }

    /// Opens the page and waits until it is fed.
    pub(crate) fn open(&self) {
        self.browser.open(&format!("http://{}/", self.engine.address()));
        self.is_fed();
    }

    /// Waits until the page says that it gets news.
    pub(crate) fn is_fed(&self) {
        self.browser.wait("the page is fed", "document.querySelector('#state')?.dataset.feed === 'live'");
    }

    /// Waits until a panel shows what it has, having come to it.
    pub(crate) fn fills(&self, panel: &str) {
        self.browser.reveal(&format!("#{panel}"));
        let live = format!("document.querySelector('#{panel}').dataset.state === 'live'");
        self.browser.wait(&format!("panel {panel} is filled"), &live);
    }

    /// A request that must succeed.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.engine.send(method, path, "application/json", &body.to_string());
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    /// No error on the console but of this kind, and no request to anywhere else.
    pub(crate) fn is_clean(&self, but: Option<&str>) {
        let errors = self.browser.errors();
        let unforeseen: Vec<_> = errors.iter().filter(|error| but.is_none_or(|but| !error.contains(but))).collect();
        assert!(unforeseen.is_empty(), "errors on the console: {unforeseen:#?}");
        let own = format!("http://{}/", self.engine.address());
        let requests = self.browser.requests();
        assert!(requests.contains(&own), "requests are logged: {requests:?}");
        let inside = |url: &str| {
            [own.as_str(), "data:", "blob:", "about:", "chrome:"].iter().any(|begin| url.starts_with(begin))
        };
        let outside: Vec<_> = requests.iter().filter(|url| !inside(url)).collect();
        assert!(outside.is_empty(), "requests to the outside: {outside:#?}");
    }
}

/// The command that sends ML-100k, where it is on this machine, or the sample.
fn replay(flags: &[&str]) -> Vec<String> {
    let folder = movielens().map(|folder| folder.display().to_string());
    let dataset = match &folder {
        Some(folder) => vec!["replay", "ml-100k", "--from", folder],
        None => vec!["replay", "sample"],
    };
    dataset.iter().chain(flags).map(ToString::to_string).collect()
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The source of axe; none, and a loud line, where it could not be had.
pub(crate) fn axe() -> Option<String> {
    let folder = crate::support::servers_dir();
    let source = std::fs::read_to_string(folder.join("axe.min.js"));
    if source.is_err() {
        let reason = std::fs::read_to_string(folder.join("axe-unavailable"));
        let reason = reason.unwrap_or_else(|_| "run `make test`, it installs it".into());
        say(&format!("SKIPPED: axe is not there, so the page is not checked by it: {}", reason.trim()));
    }
    source.ok()
}
