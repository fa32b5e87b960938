//! Keeps secrets out of everything that people see.
//!
//! On its own, so that every log line and error that names an address can use the same rule.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};
use toml::Value;

use super::layers::PROPERTIES;

/// What stands in the place of a secret.
pub const MASK: &str = "***";

/// Parts of a name that make its value a secret.
const SECRET_WORDS: [&str; 6] = ["pass", "secret", "key", "token", "credential", "assertion"];
/// Names that hold several things, some of them secret.
const SECRET_NAMES: [&str; 3] = ["sasl.oauthbearer.config", "sasl.jaas.config", "authmechanismproperties"];

/// Settings that are secrets, whatever they hold.
const SECRET_KEYS: [&str; 3] = ["serve.read_keys", "serve.ingest_keys", "serve.admin_keys"];

/// Keys parted by commas. What shows it shows no key.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A secret text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What stands between the commas; nothing in an empty text.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split(',').map(str::trim).filter(|_| !self.0.trim().is_empty())
    }

    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { MASK }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

/// Whether the setting of this name holds a secret.
pub(super) fn is_secret_key(key: &str) -> bool {
    SECRET_KEYS.contains(&key) || key.strip_prefix(PROPERTIES).is_some_and(is_secret)
}

/// Whether a librdkafka property or connection option of this name holds a secret.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) || SECRET_NAMES.iter().any(|full| name.starts_with(full))
}

/// The address with its password, and each option that holds a secret, replaced: `mongodb://user:***@host/freshet`.
///
/// Works on text that is not a valid address too, and rather masks too much than too little.
#[must_use]
pub fn mask_uri(uri: &str) -> String {
    let start = uri.find("://").map_or(0, |at| at + "://".len());
    let (scheme, rest) = uri.split_at(start);
    // The last '@', because a password that was not percent-encoded may hold '@', '/' and '?' itself.
    let (user_info, address) = rest.rfind('@').map_or(("", rest), |at| rest.split_at(at));
    // It may also stand in an option, whose secret then goes on behind it.
    let mut options = split_options(user_info).1.split(['&', '?']).filter_map(|option| option.split_once('='));
    let inside_secret = options.any(|(name, _)| is_secret(name));
    let (hidden, address) = match address.find('&') {
        Some(end) if inside_secret => (MASK, &address[end..]),
        None if inside_secret => (MASK, ""),
        _ => ("", address),
    };
    let user_info = match user_info.split_once(':') {
        Some((user, _)) => format!("{}:{MASK}", mask_options(user)),
        None => mask_options(user_info),
    };
    format!("{scheme}{user_info}{hidden}{}", mask_options(address))
}

/// What stands up to the `?`, and the options behind it; all of it may be options where there is no `?`.
fn split_options(text: &str) -> (&str, &str) {
    text.find('?').map_or(("", text), |at| text.split_at(at + 1))
}

/// The text with the value of each option that holds a secret masked.
fn mask_options(text: &str) -> String {
    let (before, options) = split_options(text);
    let mask = |option: &str| match option.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
        _ => option.to_owned(),
    };
    let options: Vec<String> = options.split('&').map(mask).collect();
    format!("{before}{}", options.join("&"))
}

/// The value of a key as it may be shown.
pub(super) fn mask_value(key: &str, value: &Value) -> Value {
    match value {
        Value::String(text) if text.is_empty() => value.clone(),
        _ if is_secret_key(key) => Value::String(MASK.to_owned()),
        Value::String(text) if text.contains(['@', '?']) => Value::String(mask_uri(text)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_password_is_masked_and_the_rest_stays() {
        for (uri, shown) in [
            ("mongodb://user:pw@host:27017/freshet", "mongodb://user:***@host:27017/freshet"),
            ("mongodb+srv://u:p%40w@a.example/?w=1", "mongodb+srv://u:***@a.example/?w=1"),
            ("mongodb://u:p@w/x?y@a:1,b:2/db", "mongodb://u:***@a:1,b:2/db"),
            ("mongodb://:pw@host", "mongodb://:***@host"),
            ("mongodb://user@host/db", "mongodb://user@host/db"),
            ("mongodb://localhost:27017", "mongodb://localhost:27017"),
            ("user:pw@host", "user:***@host"),
            (
                "mongodb://h/?tls=true&tlsCertificateKeyFilePassword=pw&w=1",
                "mongodb://h/?tls=true&tlsCertificateKeyFilePassword=***&w=1",
            ),
            ("mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:pw", "mongodb://h/?authMechanismProperties=***"),
            // Passwords that hold what parts an address.
            ("mongodb://a:@?#=@host/db?tlsCertificateKeyFilePassword=@?#=", "mongodb://a:******"),
            ("", ""),
        ] {
            assert_eq!(mask_uri(uri), shown);
        }
    }

    #[test]
    fn secrets_are_told_from_settings_by_name() {
        for name in [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.config",
            "SASL.Password",
            "sasl.oauthbearer.assertion.private.key.passphrase",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["sasl.username", "security.protocol", "linger.ms", "ssl.ca.location", "sasl.mechanisms"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_password_survives(password in "[!-~]{1,20}#[!-~]{0,9}", user in "[a-z]{0,5}", tail in "[a-z/?=&:]{0,20}") {
            let shown = mask_uri(&format!("mongodb://{user}:{password}@{tail}"));
            prop_assert!(!shown.contains(&password), "{shown}");
        }

        #[test]
        fn no_secret_option_survives(secret in "[!-%'-~]{1,9}#[!-%'-~]{1,9}", head in "[a-z:@/.]{0,12}") {
            let shown = mask_uri(&format!("mongodb://{head}/?w=1&proxyPassword={secret}&a=b"));
            prop_assert!(!secret.split('@').any(|part| part.contains('#') && shown.contains(part)), "{shown}");
        }
    }
}
