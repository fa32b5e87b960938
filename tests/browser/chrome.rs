//! Chromium without a window, driven through its own driver, with what it logs and asks for kept to be looked at.
//!
//! Blocking, because the tests are: what the driver's client does is waited for here. Two commands that only this driver
//! knows, its log and the browser's own protocol, go to it directly.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::process::{Server, free_port};
use crate::support::{say, servers_dir};

/// Longest wait for anything on the page: far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_mins(1);
/// Pause between two looks at what is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the browser is started with: no window, and nothing that it does of its own accord.
const FLAGS: [&str; 16] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-extensions",
    "--disable-default-apps",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-default-browser-check",
    // It ends when its driver does, however that ends.
    "--remote-debugging-pipe",
    "--window-size=1280,900",
];

/// What each panel says of itself.
const STATES: &str = "return [...document.querySelectorAll('section')].map(panel => \
    `${panel.id} is ${panel.dataset.state}: ${panel.querySelector('.notice')?.textContent ?? ''}`)";

/// Has axe look at the whole page, and returns what it finds wrong.
const LOOK: &str = "const done = arguments[arguments.length - 1]; \
    axe.run(document, { resultTypes: ['violations'] }).then(found => done(found.violations), \
        error => done([{ id: 'axe', impact: 'critical', help: `${error}`, nodes: [] }]))";

/// One browser at a time: two of them, and the service, are too much for a small machine to be timed on.
static TURN: Mutex<()> = Mutex::new(());

/// A browser with one tab. Closed when dropped.
pub(crate) struct Browser {
    runtime: Runtime,
    client: Client,
    /// Where commands of this session go that the client does not know.
    session: String,
    logged: Mutex<Logged>,
    _driver: Server,
    _profile: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// What has been read of the driver's log, which gives out everything once.
#[derive(Default)]
struct Logged {
    errors: Vec<String>,
    requests: Vec<String>,
}

/// The programs.
struct Installed {
    browser: PathBuf,
    driver: PathBuf,
    /// Where libraries are that the machine lacks.
    libraries: Option<String>,
}

impl Installed {
    /// Those on PATH, or those that `tests/servers/install.py` has unpacked; else why there are none.
    fn find() -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path =
            |name: &str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
        if let (Some(browser), Some(driver)) = (on_path("chromium"), on_path("chromedriver")) {
            return Ok(Self { browser, driver, libraries: None });
        }
        let folder = servers_dir().join("browser");
        if folder.is_dir() {
            let libraries = ["usr/lib", "lib"].map(|place| folder.join(place).join("x86_64-linux-gnu"));
            let libraries = std::env::join_paths(libraries).map_err(|error| error.to_string())?;
            return Ok(Self {
                browser: folder.join("usr/lib/chromium/chromium"),
                driver: folder.join("usr/bin/chromedriver"),
                libraries: Some(libraries.to_string_lossy().into_owned()),
            });
        }
        let reason = fs::read_to_string(servers_dir().join("browser-unavailable"));
        Err(reason.unwrap_or_else(|_| "run `make test`, it installs it".into()).trim().to_owned())
    }
}

impl Browser {
    /// Starts one; none, and a loud line, where there is none to start.
    pub(crate) fn start() -> Option<Self> {
        let installed = match Installed::find() {
            Ok(installed) => installed,
            Err(reason) => {
                say(&format!("SKIPPED: there is no browser, so the page is not looked at: {reason}"));
                return None;
            }
        };
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let port = free_port();
        let mut driver = Server::new("chromedriver").unwrap();
        let mut command = vec!["env".to_owned()];
        command.extend(installed.libraries.iter().map(|libraries| format!("LD_LIBRARY_PATH={libraries}")));
        command.extend([installed.driver.display().to_string(), format!("--port={port}")]);
        let url = format!("http://127.0.0.1:{port}");
        driver.start(&command, || ready(&url)).unwrap();
        let profile = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let wanted = capabilities(&installed.browser, profile.path());
            let mut builder = ClientBuilder::new(HttpConnector::new());
            builder.capabilities(wanted.as_object().unwrap().clone()).connect(&url).await
        });
        let client = client.unwrap_or_else(|error| panic!("the browser does not start: {error}"));
        let session = runtime.block_on(client.session_id()).unwrap().expect("a session that was opened has an id");
        let session = format!("{url}/session/{session}");
        let logged = Mutex::default();
        Some(Self { runtime, client, session, logged, _driver: driver, _profile: profile, _turn: turn })
    }

    /// Goes to a page and waits until it is loaded.
    pub(crate) fn open(&self, url: &str) {
        self.runtime.block_on(self.client.goto(url)).unwrap();
    }

    /// What a script returns; it is the body of a function.
    pub(crate) fn js(&self, script: &str) -> Value {
        let value = self.runtime.block_on(self.client.execute(script, Vec::new()));
        value.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The text of an element; nothing where there is none.
    pub(crate) fn text(&self, css: &str) -> String {
        let value = self.js(&format!("return document.querySelector({css:?})?.textContent?.trim() ?? ''"));
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Looks until an expression is true, or anything else that counts as true, and returns it.
    pub(crate) fn wait(&self, what: &str, expression: &str) -> Value {
        self.wait_for(what, expression, PATIENCE)
    }

    /// The same, for as long as this.
    pub(crate) fn wait_for(&self, what: &str, expression: &str, longest: Duration) -> Value {
        let end = Instant::now() + longest;
        loop {
            let value = self.js(&format!("return {expression}"));
            if !matches!(&value, Value::Null | Value::Bool(false)) && value != json!("") && value != json!(0) {
                return value;
            }
            if Instant::now() > end {
                let shown = self.screenshot("failed");
                let (states, errors) = (self.js(STATES), self.errors());
                panic!(
                    "{what} is not so after {longest:?}: {expression} is {value}; see {}\n{states:#}\n{errors:#?}",
                    shown.display()
                );
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until there is an element and comes to it.
    pub(crate) fn reveal(&self, css: &str) {
        self.wait(&format!("{css} is there"), &format!("document.querySelector({css:?}) !== null"));
        // At once, whatever the page would have: what glides by cannot be clicked.
        self.js(&format!("document.querySelector({css:?}).scrollIntoView({{ block: 'center', behavior: 'instant' }})"));
    }

    /// Waits until there is an element and clicks it; once more, where the page drew it anew in the middle of that.
    pub(crate) fn click(&self, css: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.reveal(css);
            let clicked = self.runtime.block_on(async { self.client.find(Locator::Css(css)).await?.click().await });
            match clicked {
                Ok(()) => return,
                Err(error) => assert!(Instant::now() < end, "cannot click {css}: {error}"),
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Puts text in the place of what a field holds, key by key.
    pub(crate) fn fill(&self, css: &str, text: &str) {
        self.click(css);
        let filled = self.runtime.block_on(async {
            let field = self.client.find(Locator::Css(css)).await?;
            field.clear().await?;
            field.send_keys(text).await
        });
        filled.unwrap_or_else(|error| panic!("cannot write into {css}: {error}"));
    }

    /// A command of the browser's own protocol.
    pub(crate) fn command(&self, name: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    /// Whether the page is to be dark, and things are to move.
    pub(crate) fn prefer(&self, scheme: &str, motion: &str) {
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": motion },
        ]);
        self.command("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// The size of the screen, as a phone has it or not.
    pub(crate) fn resize(&self, width: u32, height: u32, mobile: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.command("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Writes the whole page to `target/browser/NAME.png`.
    pub(crate) fn screenshot(&self, name: &str) -> PathBuf {
        let metrics = self.command("Page.getLayoutMetrics", &json!({}));
        let size = &metrics["cssContentSize"];
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let options = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let shot = self.command("Page.captureScreenshot", &options);
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("browser");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}.png"));
        fs::write(&path, from_base64(shot["data"].as_str().unwrap_or_default())).unwrap();
        path
    }

    /// Errors on the console so far: exceptions, refused resources, breaches of the page's own policy.
    pub(crate) fn errors(&self) -> Vec<String> {
        self.read_logs();
        self.logged.lock().unwrap().errors.clone()
    }

    /// Everything that was asked for so far, by URL.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.read_logs();
        self.logged.lock().unwrap().requests.clone()
    }

    fn read_logs(&self) {
        let [console, performance] =
            ["browser", "performance"].map(|kind| self.post("se/log", &json!({ "type": kind })));
        let mut logged = self.logged.lock().unwrap();
        for entry in console.as_array().into_iter().flatten().filter(|entry| entry["level"] == "SEVERE") {
            logged.errors.push(entry["message"].as_str().unwrap_or_default().to_owned());
        }
        for entry in performance.as_array().into_iter().flatten() {
            let message: Value =
                serde_json::from_str(entry["message"].as_str().unwrap_or_default()).unwrap_or_default();
            let (method, parameters) = (&message["message"]["method"], &message["message"]["params"]);
            let url = match method.as_str() {
                Some("Network.requestWillBeSent") => &parameters["request"]["url"],
                Some("Network.webSocketCreated" | "Network.webTransportCreated") => &parameters["url"],
                _ => continue,
            };
            logged.requests.extend(url.as_str().map(str::to_owned));
        }
    }

    /// What axe finds that keeps people out: rule, where, and why, for each.
    pub(crate) fn barriers(&self, axe: &str) -> Vec<String> {
        self.js(axe);
        let found = self.runtime.block_on(self.client.execute_async(LOOK, Vec::new())).unwrap();
        let serious = found.as_array().cloned().unwrap_or_default().into_iter();
        let serious = serious.filter(|one| one["impact"] == "serious" || one["impact"] == "critical");
        let told = |one: Value| {
            let nodes = one["nodes"].as_array().cloned().unwrap_or_default();
            let places: Vec<String> =
                nodes.iter().take(5).map(|node| format!("{} ({})", node["target"], node["failureSummary"])).collect();
            format!("{} ({}), {} places: {}", one["id"], one["help"], nodes.len(), places.join("; "))
        };
        serious.map(told).collect()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/{path}", self.session);
        let answer = agent().post(&url).content_type("application/json").send(body.to_string());
        let text = answer.and_then(|mut answer| answer.body_mut().with_config().limit(1 << 28).read_to_string());
        let text = text.unwrap_or_else(|error| panic!("{path} {body}: {error}"));
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert!(answer["value"]["error"].is_null(), "{path} {body}: {text}");
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let client = self.client.clone();
        // The end of the driver ends it all the same.
        let _ = self.runtime.block_on(client.close());
    }
}

fn capabilities(browser: &Path, profile: &Path) -> Value {
    let flags = FLAGS.map(str::to_owned).into_iter().chain([format!("--user-data-dir={}", profile.display())]);
    json!({
        "browserName": "chrome",
        "timeouts": { "script": 60_000, "pageLoad": 60_000 },
        "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        "goog:chromeOptions": { "binary": browser, "args": flags.collect::<Vec<_>>() },
    })
}

fn ready(url: &str) -> Result<(), String> {
    let status = agent().get(format!("{url}/status")).call().map_err(|error| error.to_string())?;
    if status.status().is_success() { Ok(()) } else { Err(status.status().to_string()) }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    ureq::Agent::new_with_config(config.timeout_global(Some(PATIENCE)).build())
}

/// Bytes of base64, which the protocol has pictures in.
fn from_base64(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits: Vec<u8> = text.bytes().filter_map(digit).collect();
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit)) << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

#[test]
fn base64_is_read() {
    for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")] {
        assert_eq!(from_base64(text), bytes.as_bytes(), "{text}");
    }
}
