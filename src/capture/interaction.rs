//! One user's interaction with one item, as the JSON event on the log states it.
//!
//! Kept apart from the readers, since every reader, the producer and the tests build events from this one type.

use std::io::Write;

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// Version of the event's JSON that this program writes, and the only one it reads.
pub const EVENT_VERSION: u32 = 1;

/// One rating or listening event before it is on the log.
///
/// Serialized, it is the event of the design: `{"v":1,"user":"196","item":"242","rating":3.0,"ts":881250949000}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interaction {
    /// User id, as the data set names it.
    pub user: String,
    /// Item id, as the data set names it.
    pub item: String,
    /// Explicit rating; absent for implicit feedback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<f32>,
    /// How often the user did it (plays, clicks), for implicit feedback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<f32>,
    /// When it happened, in milliseconds since the epoch; the log's own timestamp stands in where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<i64>,
    /// Business id, by which the same event sent twice can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Genres of the item, where the event tells them: what a learner knows of an item comes with the events, so that the
    /// same events give the same model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub genres: Vec<String>,
    /// Year of the item, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub year: Option<i32>,
}

impl Interaction {
    /// The event's JSON, version included, without a line end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // The version goes before the fields: the brace that opens them becomes the comma behind it.
        let mut json = Vec::with_capacity(128);
        let version = write!(json, r#"{{"v":{EVENT_VERSION}"#).map(|()| json.len());
        let version = version.expect("a vector takes any bytes");
        serde_json::to_writer(&mut json, self).expect("strings and finite or null numbers always serialize");
        json[version] = b',';
        json
    }
}

/// The event's JSON as it is read: what a parse without surprises takes, in one pass and without copying ids.
#[derive(Deserialize)]
pub(crate) struct Wire<'a> {
    pub(crate) v: Option<u32>,
    #[serde(borrow, deserialize_with = "id")]
    pub(crate) user: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "id")]
    pub(crate) item: Cow<'a, str>,
    pub(crate) rating: Option<f32>,
    pub(crate) count: Option<f32>,
    pub(crate) ts: Option<i64>,
    pub(crate) id: Option<String>,
    pub(crate) genres: Option<Vec<String>>,
    pub(crate) year: Option<i32>,
}

/// As [`id`], for what does not borrow.
pub(crate) fn owned_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    id(deserializer).map(Cow::into_owned)
}

/// A string, or an integer that becomes one.
fn id<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    struct Id;

    impl<'de> Visitor<'de> for Id {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or an integer")
        }

        fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Cow::Owned(number.to_string()))
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Cow::Owned(number.to_string()))
        }
    }

    deserializer.deserialize_any(Id)
}
