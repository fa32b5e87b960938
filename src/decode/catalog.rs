//! What a record says of an item or a user, where its topic holds those.
//!
//! Apart from events, because it is taken over into the catalogue and never learned from. Labels and what is hidden are an
//! operator's, and not read here.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{MAX_GENRES, MAX_ID_BYTES, Reason, Refusal, explain, wire};
use crate::capture::interaction::{EVENT_VERSION, owned_id};
use crate::capture::{Item, User};

#[derive(Deserialize)]
struct ItemWire {
    v: Option<u32>,
    #[serde(alias = "item", deserialize_with = "owned_id")]
    id: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    genres: Option<Vec<String>>,
    year: Option<i32>,
    url: Option<String>,
}

#[derive(Deserialize)]
struct UserWire {
    v: Option<u32>,
    #[serde(alias = "user", deserialize_with = "owned_id")]
    id: String,
    age: Option<u32>,
    gender: Option<String>,
    occupation: Option<String>,
    zip: Option<String>,
}

pub(super) fn item(json: &[u8]) -> Result<Item, Refusal> {
    let ItemWire { v, id, title, genres, year, url } = parse(json, "item")?;
    check(v, &id)?;
    let genres = genres.unwrap_or_default();
    if genres.len() > MAX_GENRES {
        let detail = format!("genres has {} entries; at most {MAX_GENRES} are allowed", genres.len());
        return Err(Refusal { reason: Reason::InvalidField, detail });
    }
    Ok(Item { id, title: title.unwrap_or_default(), genres, year, url, ..Item::default() })
}

pub(super) fn user(json: &[u8]) -> Result<User, Refusal> {
    let UserWire { v, id, age, gender, occupation, zip } = parse(json, "user")?;
    check(v, &id)?;
    Ok(User { id, age, gender, occupation, zip, ..User::default() })
}

fn parse<T: DeserializeOwned>(json: &[u8], name: &str) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|error| {
        let (reason, detail) = explain::explain(json, &error, |fields| problem(fields, name));
        Refusal { reason, detail }
    })
}

fn check(v: Option<u32>, id: &str) -> Result<(), Refusal> {
    if let Some(v) = v.filter(|&v| v != EVENT_VERSION) {
        return Err(Refusal { reason: Reason::UnknownVersion, detail: wire::unknown_version(&v) });
    }
    match wire::id_problem("id", id) {
        None => Ok(()),
        Some((reason, detail)) => Err(Refusal { reason, detail }),
    }
}

fn problem(fields: &Map<String, Value>, name: &str) -> Option<(Reason, String)> {
    if let Some(unknown) = explain::version_problem(fields) {
        return Some(unknown);
    }
    let id = fields.get("id").or_else(|| fields.get(name)).filter(|id| !id.is_null());
    match id {
        None => Some((Reason::MissingField, format!("id is missing; it is the {name} as events name it"))),
        Some(id) if !(id.is_string() || id.is_i64() || id.is_u64()) => {
            let detail = format!(
                "id is {}; a string of at most {MAX_ID_BYTES} bytes or an integer is allowed",
                explain::shortened(id)
            );
            Some((Reason::InvalidField, detail))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_and_a_user_are_read() {
        let read =
            item(br#"{"v":1,"id":50,"title":"Star Wars (1977)","genres":["Sci-Fi"],"year":1977,"rank":1}"#).unwrap();
        let genres = vec!["Sci-Fi".to_owned()];
        let expected =
            Item { id: "50".into(), title: "Star Wars (1977)".into(), genres, year: Some(1977), ..Item::default() };
        assert_eq!(read, expected);
        assert_eq!(item(br#"{"item":"50","genres":null}"#).unwrap(), Item { id: "50".into(), ..Item::default() });
        let read = user(br#"{"user":"196","age":49,"gender":"M","occupation":"writer","zip":"55105"}"#).unwrap();
        assert_eq!((read.id.as_str(), read.age, read.zip.as_deref()), ("196", Some(49), Some("55105")));
    }

    #[test]
    fn what_an_operator_says_is_not_read_from_the_log() {
        let read = item(br#"{"id":"1","labels":["staff pick"],"hidden":true}"#).unwrap();
        assert_eq!((read.labels.len(), read.hidden), (0, false));
    }

    #[test]
    fn each_kind_of_bad_input_has_its_reason() {
        let cases: [(&[u8], Reason, &str); 9] = [
            (b"[]", Reason::NotAnObject, "an array"),
            (b"{\"id\":", Reason::InvalidJson, "cut short"),
            (b"{\"title\":\"x\"}", Reason::MissingField, "id is missing; it is the item"),
            (b"{\"id\":null}", Reason::MissingField, "id is missing"),
            (b"{\"id\":2.5}", Reason::InvalidField, "id is 2.5"),
            (b"{\"id\":\"\"}", Reason::InvalidField, "id is empty"),
            (b"{\"id\":1,\"v\":2}", Reason::UnknownVersion, "v is 2"),
            (b"{\"id\":1,\"year\":\"old\"}", Reason::InvalidField, "invalid type: string \"old\""),
            (b"{\"id\":\"\xff\"}", Reason::InvalidUtf8, "0xff"),
        ];
        for (json, reason, text) in cases {
            let refusal = item(json).unwrap_err();
            assert!(refusal.reason == reason && refusal.detail.contains(text), "{refusal:?}");
        }
    }
}
