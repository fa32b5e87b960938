//! Who may do what: bearer keys with scopes, and a mode in which nothing may be changed.
//!
//! A layer around every route, and what a route needs is told by its method and path, so that a route that is added later is
//! closed until it is named here. Keys are kept as digests, compared in constant time, and taken off the request
//! before anything else sees it, so that none can reach a log or an answer.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::status::Refusal;
use super::{AppState, Problem, health};
use crate::config::{ConfigError, Problem as Fault, ServeConfig, is_key};

/// What a key allows.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Scope {
    /// To ask.
    Read,
    /// To send events.
    Ingest,
    /// Everything.
    Admin,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Ingest, Self::Admin];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Ingest => "ingest",
            Self::Admin => "admin",
        }
    }

    /// The scopes that allow it, for people.
    fn enough(self) -> &'static str {
        match self {
            Self::Read => "read or admin",
            Self::Ingest => "ingest or admin",
            Self::Admin => "admin",
        }
    }
}

/// Pages that hold nothing of the model; what they load asks for a key itself.
const PAGES: [&str; 5] = ["/", "/docs", "/openapi.json", "/freshet.js", "/demo-shop"];
/// Below these are the files of such pages.
const FILES: [&str; 2] = ["/docs/", "/dashboard/"];
/// Routes that only ask, though their question comes as a body.
const ASKED_BY_POST: [&str; 2] = ["/recommend", "/estimate"];
/// Where events are sent to.
const EVENTS: &str = "/events";
/// What was refused, as it was sent: it may hold anything.
const DEAD_LETTERS: &str = "/dead-letters";

/// Whether a method changes nothing.
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// What a request needs; nothing where none of the keys is needed.
fn needed(method: &Method, path: &str) -> Option<Scope> {
    let below = |route: &str| path.strip_prefix(route).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let reads = is_safe(method);
    let posts = *method == Method::POST;
    let page = PAGES.contains(&path) || FILES.into_iter().any(|below| path.starts_with(below));
    match () {
        () if reads && (page || health::PROBES.contains(&path)) => None,
        () if reads && (below(DEAD_LETTERS) || is_export(path)) => Some(Scope::Admin),
        () if reads || posts && ASKED_BY_POST.into_iter().any(below) => Some(Scope::Read),
        () if posts && below(EVENTS) => Some(Scope::Ingest),
        () => Some(Scope::Admin),
    }
}

/// Whether it is the whole of a snapshot that is asked for.
fn is_export(path: &str) -> bool {
    path.strip_prefix("/snapshots/").is_some_and(|rest| rest.trim_end_matches('/').ends_with("/export"))
}

/// A key that may be sent. No `Debug`, because a digest would let a guess be checked.
#[derive(Eq, PartialEq)]
struct Key {
    digest: [u8; 32],
    scopes: BTreeSet<Scope>,
}

impl Key {
    fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// Every key that may be sent; none where nobody is asked for one.
#[derive(Default)]
pub struct Keys(Vec<Key>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

impl Keys {
    /// The keys of the configuration and of its file.
    ///
    /// # Errors
    /// If the file cannot be read, others may read it, or a line of it is no scope and key.
    pub fn load(config: &ServeConfig) -> Result<Self, ConfigError> {
        let mut keys = Self::default();
        let given = [&config.read_keys, &config.ingest_keys, &config.admin_keys];
        for (scope, secrets) in Scope::ALL.into_iter().zip(given) {
            secrets.words().for_each(|key| keys.add(key, [scope]));
        }
        if !config.keys_file.as_os_str().is_empty() {
            keys.add_file(&config.keys_file)?;
        }
        Ok(keys)
    }

    /// Whether nobody is asked for a key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, key: &str, scopes: impl IntoIterator<Item = Scope>) {
        let digest = Sha256::digest(key).into();
        match self.0.iter_mut().find(|known| known.digest == digest) {
            Some(known) => known.scopes.extend(scopes),
            None => self.0.push(Key { digest, scopes: scopes.into_iter().collect() }),
        }
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Fault> {
        let fault = |reason: String| Fault::File { key: "serve.keys_file", file: path.display().to_string(), reason };
        let read = fs::metadata(path).and_then(|about| Ok((about, fs::read_to_string(path)?)));
        let (about, text) = read.map_err(|error| fault(format!("cannot be read: {error}")))?;
        if others_may_read(&about) {
            return Err(fault("others may read it, and it holds keys; run chmod 600 on it".into()));
        }
        let before = self.0.len();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let (scopes, key) = parsed(line).map_err(|reason| fault(format!("line {number}: {reason}")))?;
            self.add(key, scopes);
        }
        if self.0.len() == before {
            return Err(fault("holds no key that is not given elsewhere; write \"scope KEY\" on a line".into()));
        }
        Ok(())
    }

    /// The key that was sent. All are looked at always, and digests are compared, so that the time tells neither which one
    /// it was nor how much of it was right.
    fn find(&self, sent: &[u8]) -> Option<usize> {
        let digest: [u8; 32] = Sha256::digest(sent).into();
        let mut found = 0_u64;
        for (number, key) in (1..).zip(&self.0) {
            found.conditional_assign(&number, key.digest.ct_eq(&digest));
        }
        usize::try_from(found).ok()?.checked_sub(1)
    }
}

/// The scopes and the key on a line. What is wrong is told without the line, which may be a key.
fn parsed(line: &str) -> Result<(Vec<Scope>, &str), &'static str> {
    let mut words = line.split_whitespace();
    let (Some(scopes), Some(key), None) = (words.next(), words.next(), words.next()) else {
        return Err("is not \"scope KEY\"");
    };
    let scope = |name: &str| Scope::ALL.into_iter().find(|scope| scope.name() == name);
    let scopes: Option<Vec<Scope>> = scopes.split(',').map(scope).collect();
    let scopes = scopes.ok_or("does not begin with a scope; read, ingest and admin are allowed, parted by commas")?;
    if !is_key(key) {
        return Err("the key is not allowed; it must be 16 or more visible ASCII characters without a comma");
    }
    Ok((scopes, key))
}

#[cfg(unix)]
fn others_may_read(about: &Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    about.permissions().mode() & 0o077 != 0
}

#[cfg(not(unix))]
fn others_may_read(_: &Metadata) -> bool {
    false
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Client {
    /// Who sends a key, by its place.
    Key(usize),
    /// Who needs none; of an IPv6 address the half that a provider gives out, since the other is free to choose.
    Address(IpAddr),
}

impl Client {
    fn at(parts: &Parts) -> Self {
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        Self::Address(match address {
            Some(IpAddr::V6(address)) => IpAddr::V6((u128::from(address) & (u128::MAX << 64)).into()),
            Some(address) => address,
            // Only a request that came over no network has none.
            None => IpAddr::V4(Ipv4Addr::LOCALHOST),
        })
    }
}

/// The layer.
pub(super) async fn check(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, Problem> {
    let (mut parts, body) = request.into_parts();
    let client = admitted(&state, &parts);
    parts.headers.remove(header::AUTHORIZATION);
    match client {
        Ok(client) => {
            parts.extensions.insert(client);
            Ok(next.run(Request::from_parts(parts, body)).await)
        }
        Err(problem) => {
            let unauthorized = problem.status == StatusCode::UNAUTHORIZED.as_u16();
            state.status.count_refusal(if unauthorized { Refusal::Unauthorized } else { Refusal::Forbidden });
            Err(problem)
        }
    }
}

fn admitted(state: &AppState, parts: &Parts) -> Result<Client, Problem> {
    let Some(scope) = needed(&parts.method, parts.uri.path()) else { return Ok(Client::at(parts)) };
    let key = if state.keys.is_empty() { None } else { Some(sent(&parts.headers, &state.keys, scope)?) };
    if state.config.read_only && scope != Scope::Read && !is_safe(&parts.method) {
        let detail = "this server changes nothing (serve.read_only); ask one that learns".into();
        return Err(Problem::new(StatusCode::FORBIDDEN, "read_only", detail));
    }
    let Some(number) = key else { return Ok(Client::at(parts)) };
    if state.keys.0.get(number).is_some_and(|key| key.allows(scope)) {
        return Ok(Client::Key(number));
    }
    let (name, enough) = (scope.name(), scope.enough());
    let detail = format!("the key has not the scope {name}, which this needs; send one of scope {enough}");
    Err(Problem::new(StatusCode::FORBIDDEN, "missing_scope", detail))
}

/// The place of the key that was sent, in the one header that may hold it.
fn sent(headers: &HeaderMap, keys: &Keys, scope: Scope) -> Result<usize, Problem> {
    let send = format!("send the header \"Authorization: Bearer KEY\" with a key of scope {}", scope.enough());
    let refused =
        |code: &'static str, what: &str| Problem::new(StatusCode::UNAUTHORIZED, code, format!("{what}; {send}"));
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or_else(|| refused("missing_key", "this needs a key"))?;
    let bytes = value.as_bytes();
    let (scheme, rest) = bytes.split_at_checked("Bearer ".len()).unwrap_or((bytes, b""));
    if !scheme.eq_ignore_ascii_case(b"bearer ") || values.next().is_some() {
        return Err(refused("bad_authorization", "the header Authorization is not one Bearer and a key"));
    }
    keys.find(rest.trim_ascii()).ok_or_else(|| refused("unknown_key", "the key is not known"))
}

#[cfg(test)]
mod tests;
