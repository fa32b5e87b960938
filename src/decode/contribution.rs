//! What trainers tell each other of the items that they learn together, on the topic that they share.
//!
//! Apart from events, because nobody but a trainer writes it. A trainer's contribution to an item is all that it has added to
//! the item's row since its store began, and not what is new: so the newest record of each item is enough, and a compacted
//! topic forgets nothing that is needed. Records of rows come before the commit that numbers them, and after the beginning
//! that the commit names: a topic that lacks the beginning is another one or was truncated, and may lack rows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Format of the records.
pub const CONTRIBUTION_FORMAT: u32 = 2;

/// What the keys of rows, of commits and of words begin with.
const ROW: &str = "row/";
const COMMIT: &str = "commit/";
const GREETING: &str = "greeting/";
const BEGINNING: &str = "beginning/";
const MISSING: &str = "missing/";

/// Bytes before the values of a row.
const HEAD: usize = 2 * size_of::<u64>();

/// What one trainer has added to the rows of some items, so far and in all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contributions {
    /// Number of the trainer.
    pub shard: usize,
    /// Stands for the trainer's store: numbers of different stores are not to be compared.
    pub store: u64,
    /// Number of the exchange, from 1; those of a trainer are all of the rows that changed since the one before.
    pub number: u64,
    /// Whether no further ones of this number follow.
    pub last: bool,
    /// Ids of the items.
    pub items: Vec<Arc<str>>,
    /// What was added to their rows, shape `(n_items, width)`, one after the other.
    pub rows: Vec<f32>,
}

/// Says that the rows of this number are on the topic; sent again as it is, that nothing is new.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// [`CONTRIBUTION_FORMAT`].
    pub format: u32,
    /// Version of the trainer.
    pub freshet: String,
    /// Stands for the trainer's store.
    pub store: u64,
    /// Number of the last exchange; 0 before the first.
    pub number: u64,
    /// Where the trainer's [rows begin](Words::Beginning): whoever has read that has read all of them.
    pub beginning: String,
    /// Learners and their parameters, by name.
    pub params: std::collections::BTreeMap<String, Value>,
    /// When the trainer said this, in milliseconds since the epoch.
    pub sent_at_ms: i64,
}

/// A record of the topic.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// What a trainer has added to one row.
    Row {
        /// Number of the trainer.
        shard: usize,
        /// Stands for its store.
        store: u64,
        /// Number of the exchange.
        number: u64,
        /// Id of the item.
        item: Arc<str>,
        /// Shape `(width,)`.
        row: Vec<f32>,
    },
    /// The rows before it are whole.
    Commit(usize, Commit),
    /// Words by a trainer, or about its rows.
    Words(Words, usize, String),
}

/// What words are for, each unlike those before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// A trainer starts, and reads on until it meets them.
    Greeting,
    /// All rows that a trainer has added to come behind them.
    Beginning,
    /// Somebody has read the whole topic and not this beginning, which a commit names: the trainer is to tell all anew.
    Missing,
}

impl Words {
    /// What the keys begin with.
    fn key(self) -> &'static str {
        match self {
            Self::Greeting => GREETING,
            Self::Beginning => BEGINNING,
            Self::Missing => MISSING,
        }
    }

    /// Their record, by the number of the trainer that they are of.
    #[must_use]
    pub fn record(self, shard: usize, words: &str) -> (Vec<u8>, Vec<u8>) {
        (format!("{}{shard}", self.key()).into_bytes(), words.as_bytes().to_vec())
    }
}

/// The record of one row: key and payload.
#[must_use]
pub fn row_record(shard: usize, store: u64, number: u64, item: &str, row: &[f32]) -> (Vec<u8>, Vec<u8>) {
    let mut payload = Vec::with_capacity(HEAD + size_of_val(row));
    payload.extend(store.to_le_bytes());
    payload.extend(number.to_le_bytes());
    payload.extend(row.iter().flat_map(|value| value.to_le_bytes()));
    (format!("{ROW}{shard}/{item}").into_bytes(), payload)
}

impl Commit {
    /// Its record.
    #[must_use]
    pub fn record(&self, shard: usize) -> (Vec<u8>, Vec<u8>) {
        let payload = serde_json::to_vec(self).expect("names and plain values always serialize");
        (format!("{COMMIT}{shard}").into_bytes(), payload)
    }
}

impl Told {
    /// Reads a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(key: &[u8], payload: &[u8]) -> Result<Self, String> {
        let key = std::str::from_utf8(key).map_err(|_| "its key is no text".to_owned())?;
        let unknown = || format!("its key {key:?} is none that trainers write");
        let shard = |text: &str| text.parse::<usize>().map_err(|_| unknown());
        if let Some(of) = key.strip_prefix(ROW) {
            let (of, item) = of.split_once('/').ok_or_else(unknown)?;
            return row(payload).map(|(store, number, row)| {
                Ok(Self::Row { shard: shard(of)?, store, number, item: item.into(), row })
            })?;
        }
        if let Some(of) = key.strip_prefix(COMMIT) {
            return Ok(Self::Commit(shard(of)?, commit(payload)?));
        }
        let all = [Words::Greeting, Words::Beginning, Words::Missing];
        let (kind, of) =
            all.into_iter().find_map(|kind| Some((kind, key.strip_prefix(kind.key())?))).ok_or_else(unknown)?;
        let words = String::from_utf8(payload.to_vec()).map_err(|_| "its words are no text".to_owned())?;
        Ok(Self::Words(kind, shard(of)?, words))
    }
}

fn row(payload: &[u8]) -> Result<(u64, u64, Vec<f32>), String> {
    let cut = || format!("{} bytes are no row", payload.len());
    let (store, rest) = payload.split_first_chunk::<8>().ok_or_else(cut)?;
    let (number, rest) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    let (values, odd) = rest.as_chunks::<4>();
    if !odd.is_empty() {
        return Err(cut());
    }
    let row: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
    if !row.iter().all(|value| value.is_finite()) {
        return Err("it holds a value that is not finite".to_owned());
    }
    Ok((u64::from_le_bytes(*store), u64::from_le_bytes(*number), row))
}

fn commit(payload: &[u8]) -> Result<Commit, String> {
    /// What of a commit every version writes.
    #[derive(Deserialize)]
    struct Formats {
        format: u32,
        freshet: String,
    }
    let Formats { format, freshet } = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    if format != CONTRIBUTION_FORMAT {
        return Err(format!(
            "it is of freshet {freshet}, which writes format {format}, and this one reads {CONTRIBUTION_FORMAT}: run the \
             same version"
        ));
    }
    serde_json::from_slice(payload).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let (key, payload) = row_record(3, 7, 9, "a/b", &[1.5, -2.0]);
        let item = "a/b".into();
        let read = Told::read(&key, &payload).unwrap();
        assert_eq!(read, Told::Row { shard: 3, store: 7, number: 9, item, row: vec![1.5, -2.0] });
        let params = [("learn.seed".to_owned(), Value::from(1))].into();
        let (freshet, beginning) = ("0".into(), "a b".into());
        let commit = Commit { format: 2, freshet, store: u64::MAX, number: 4, beginning, params, sent_at_ms: 5 };
        let (key, payload) = commit.record(2);
        assert_eq!(Told::read(&key, &payload).unwrap(), Told::Commit(2, commit));
        for kind in [Words::Greeting, Words::Beginning, Words::Missing] {
            let (key, payload) = kind.record(1, "a b");
            assert_eq!(Told::read(&key, &payload).unwrap(), Told::Words(kind, 1, "a b".into()));
        }
    }

    #[test]
    fn what_is_no_record_is_told() {
        let reason = |key: &str, payload: &[u8]| Told::read(key.as_bytes(), payload).unwrap_err();
        assert!(reason("row/x/i", &[0; 16]).contains("none that trainers write"));
        assert!(reason("block/1", &[]).contains("none that trainers write"));
        assert!(reason("row/1/i", &[0; 15]).contains("15 bytes are no row"));
        assert!(reason("row/1/i", &[0; 18]).contains("18 bytes are no row"));
        assert!(reason("greeting/x", b"words").contains("none that trainers write"));
        assert!(reason("greeting/1", &[0xFF]).contains("no text"));
        let (_, infinite) = row_record(0, 0, 0, "i", &[f32::INFINITY]);
        assert!(reason("row/1/i", &infinite).contains("not finite"));
        let later = serde_json::json!({"format": 3, "freshet": "9.9.9"}).to_string();
        assert!(reason("commit/0", later.as_bytes()).contains("freshet 9.9.9, which writes format 3"));
    }
}
