//! The driver's errors in our words: which may pass, what they say in a line, and nothing of the credentials.
//!
//! Apart from the store, because every command of it fails through here and the driver's own texts are not fit to show:
//! they list whole topologies, repeat documents and may quote the connection string.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use mongodb::error::{
    Error, ErrorKind, RETRYABLE_WRITE_ERROR, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
    WriteFailure,
};
use tokio::time::Instant;

use crate::store::StoreError;

/// The server's code for a key that is there already.
pub(super) const DUPLICATE_KEY: i32 = 11000;

/// Codes of the server for what may be over the next time: an operation of a session that was ended (11601: what a claim
/// does to the engine before), an answer that took too long (24, 50, 64, 89, 262), a conflict (112), a member that is not
/// the primary, steps down or shuts down (91, 189, 10107, 11600, 11602, 13435, 13436), a disk that is full (14031).
/// See <https://github.com/mongodb/mongo/blob/v6.0/src/mongo/base/error_codes.yml>.
const PASSING: [i32; 15] = [24, 50, 64, 89, 91, 112, 189, 262, 10107, 11600, 11601, 11602, 13435, 13436, 14031];

/// What a server says of itself, in our words, before `rs.initiate()`.
pub(super) const NOT_INITIATED: &str = "the replica set is not initiated";

/// The server that errors speak of.
#[derive(Clone)]
pub(crate) struct Place {
    /// Shown to people.
    pub(crate) location: String,
    /// Never shown.
    secrets: Vec<String>,
}

/// Pauses between attempts, longer and longer, until a deadline.
pub(super) struct Patience {
    deadline: Instant,
    pauses: ExponentialBackoff,
}

impl Place {
    pub(crate) fn new(uri: &str, database: &str) -> Self {
        Self {
            location: format!("{}/{database}", mask_uri(uri)),
            secrets: userinfo(uri).map(String::from).into_iter().collect(),
        }
    }

    /// Keeps a text out of everything that is shown.
    pub(crate) fn hide(&mut self, secret: String) {
        if !secret.is_empty() {
            self.secrets.push(secret);
        }
    }

    /// What went wrong, in a line and without secrets.
    pub(crate) fn gist(&self, error: &Error) -> String {
        let text = describe(error);
        self.secrets.iter().fold(text, |text, secret| text.replace(secret.as_str(), "***"))
    }

    pub(super) fn unavailable(&self, action: &'static str, reason: impl Into<String>) -> StoreError {
        StoreError::Unavailable { action, location: self.location.clone(), reason: reason.into() }
    }

    pub(super) fn unsuitable(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Unsuitable { location: self.location.clone(), reason: reason.into() }
    }

    pub(super) fn damaged(&self, what: impl Into<String>, reason: impl Into<String>) -> StoreError {
        StoreError::Damaged { what: what.into(), location: self.location.clone(), reason: reason.into() }
    }

    /// A failed command as the store's error.
    pub(super) fn failure(&self, action: &'static str, error: &Error) -> StoreError {
        match code(error) {
            Some(DUPLICATE_KEY) => {
                self.damaged("the order of events", format!("{}; a record is stored twice", self.gist(error)))
            }
            _ if matches!(*error.kind, ErrorKind::BsonDeserialization(_)) => {
                self.damaged("a document", self.gist(error))
            }
            _ if may_pass(error) => self.unavailable(action, self.gist(error)),
            _ => StoreError::Refused { action, location: self.location.clone(), reason: self.gist(error) },
        }
    }
}

impl Patience {
    pub(super) fn new(limit: Duration) -> Self {
        let pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(3))
            .without_max_times()
            .build();
        Self { deadline: Instant::now() + limit, pauses }
    }

    /// Waits before the next attempt; `false` at once when the time is over.
    pub(super) async fn wait(&mut self) -> bool {
        let pause = self.pauses.next().unwrap_or_default();
        let in_time = Instant::now() + pause < self.deadline;
        if in_time {
            tokio::time::sleep(pause).await;
        }
        in_time
    }
}

/// Whether trying again may help.
pub(super) fn may_pass(error: &Error) -> bool {
    let labels = [TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT, RETRYABLE_WRITE_ERROR];
    let unreachable = matches!(
        *error.kind,
        ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. }
    );
    let passing = code(error).is_some_and(|code| PASSING.contains(&code));
    unreachable || passing || labels.iter().any(|label| error.contains_label(label))
}

/// The server's code of a failed command or of its first failed write.
pub(super) fn code(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(concern.code),
        ErrorKind::InsertMany(many) => many.write_errors.iter().flatten().map(|write| write.code).next(),
        _ => None,
    }
}

fn describe(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Command(command) => format!("{} (code {})", command.message, command.code),
        ErrorKind::Write(WriteFailure::WriteError(write)) => format!("{} (code {})", write.message, write.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => {
            format!("{} (code {})", concern.message, concern.code)
        }
        ErrorKind::InsertMany(many) => match many.write_errors.iter().flatten().next() {
            Some(write) => format!("{} (code {})", write.message, write.code),
            None => many.write_concern_error.as_ref().map_or_else(String::new, |concern| concern.message.clone()),
        },
        // A name of the driver for a node that waits to be initiated.
        ErrorKind::ServerSelection { message, .. } if message.contains("RsGhost") => NOT_INITIATED.into(),
        // The topology at length, with the servers' own errors inside: those are what a person needs.
        ErrorKind::ServerSelection { message, .. } => {
            let errors = message.split("Error: Kind: ").skip(1).filter_map(|rest| rest.split(", labels").next());
            let mut errors: Vec<_> = errors.collect();
            errors.dedup();
            if errors.is_empty() { message.clone() } else { errors.join("; ") }
        }
        ErrorKind::DnsResolve { message, .. } => no_record(message).unwrap_or_else(|| message.clone()),
        kind => kind.to_string(),
    }
}

/// What the resolver says of a name without a record, in words.
fn no_record(message: &str) -> Option<String> {
    let (_, query) = message.split_once("no records found for Query")?;
    let (_, name) = query.split_once("Name(\"")?;
    let (name, rest) = name.split_once("\")")?;
    let kind = if rest.contains("SRV") { "SRV" } else { "TXT" };
    Some(format!("DNS has no {kind} record of {}", name.trim_end_matches('.')))
}

/// `user:password` of a connection string. Up to the last `@`, since a password may hold one that should be encoded.
fn userinfo(uri: &str) -> Option<&str> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.rsplit_once('@').map(|(userinfo, _)| userinfo)
}

/// Scheme and hosts of a connection string, without credentials and options.
fn mask_uri(uri: &str) -> String {
    let (scheme, rest) = uri.split_once("://").unwrap_or(("mongodb", uri));
    let hosts = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
    let end = hosts.find(['/', '?']).unwrap_or(hosts.len());
    format!("{scheme}://{}", &hosts[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_options_are_masked() {
        let cases = [
            ("mongodb://localhost:27017", "mongodb://localhost:27017"),
            ("mongodb://ann:s3cret@db1:1,db2:2/admin?replicaSet=rs0", "mongodb://db1:1,db2:2"),
            (
                "mongodb+srv://ann:p%40ss@cluster.example.net/?tlsCertificateKeyFilePassword=x",
                "mongodb+srv://cluster.example.net",
            ),
            ("mongodb://ann:p@ss/w?rd@host", "mongodb://host"),
            ("ann:s3cret@host", "mongodb://host"),
            ("mongodb://host?authSource=admin", "mongodb://host"),
            ("", "mongodb://"),
        ];
        for (uri, expected) in cases {
            assert_eq!(mask_uri(uri), expected);
        }
    }

    #[test]
    fn a_secret_in_a_driver_message_is_hidden() {
        let mut place = Place::new("mongodb://ann:p%40ss@host", "freshet");
        place.hide("p@ss".into());
        let error = Error::from(std::io::Error::other("cannot log in with ann:p%40ss, that is p@ss"));
        let gist = place.gist(&error);
        assert!(!gist.contains("p@ss") && !gist.contains("p%40ss"), "{gist}");
        assert!(gist.contains("cannot log in"), "{gist}");
        assert_eq!(place.location, "mongodb://host/freshet");
    }

    #[test]
    fn a_name_without_a_record_is_told_in_words() {
        let said =
            "DNS error: no records found for Query { name: Name(\"_mongodb._tcp.a.example.\"), query_type: SRV }";
        assert_eq!(no_record(said).unwrap(), "DNS has no SRV record of _mongodb._tcp.a.example");
        assert_eq!(no_record("DNS error: no connections available"), None);
    }

    #[test]
    fn network_errors_may_pass_and_others_do_not() {
        assert!(may_pass(&Error::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset))));
        assert!(!may_pass(&Error::custom("no")));
    }

    #[tokio::test]
    async fn patience_ends_at_its_deadline() {
        let start = Instant::now();
        let mut patience = Patience::new(Duration::from_millis(500));
        let mut attempts = 0;
        while patience.wait().await {
            attempts += 1;
        }
        assert!(start.elapsed() < Duration::from_secs(5));
        assert!((1..10).contains(&attempts), "{attempts}");
        assert!(!Patience::new(Duration::ZERO).wait().await);
    }
}
