//! An event as one line of values: `user,item,rating,ts`, or `user,item,count,ts` on a topic of listens.
//!
//! Between commas or tabs, quoted where a value holds one; the last two may be empty or left out.

use std::borrow::Cow;

use super::{Reason, Refusal};
use crate::capture::interaction::Wire;
use crate::config::{DecodeConfig, TopicKind};

const LAYOUT: &str = "user,item,rating,ts with the last two optional";
const LAYOUT_OF_LISTENS: &str = "user,item,count,ts with the last two optional";

pub(super) fn parse(bytes: &[u8], kind: TopicKind, config: &DecodeConfig) -> Result<Wire<'static>, Refusal> {
    let layout = if kind == TopicKind::Listens { LAYOUT_OF_LISTENS } else { LAYOUT };
    let refused = |reason, detail: String| Refusal { reason, detail };
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        return Err(refused(Reason::InvalidUtf8, format!("byte {at} (0x{:02x}) is not UTF-8", bytes[at])));
    }
    let delimiter = if bytes.contains(&b'\t') { b'\t' } else { b',' };
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .trim(::csv::Trim::All)
        .from_reader(bytes);
    let mut rows = reader.records();
    let not_a_row = |what: &str| refused(Reason::InvalidCsv, format!("{what}; expected one line {layout}"));
    let row = rows.next().and_then(Result::ok).ok_or_else(|| not_a_row("no line of values"))?;
    if rows.next().is_some() {
        return Err(not_a_row("more than one line"));
    }
    if !(2..=4).contains(&row.len()) {
        return Err(not_a_row(&format!("{} values", row.len())));
    }
    let value = |at: usize| row.get(at).filter(|text| !text.is_empty());
    let name = if kind == TopicKind::Listens { "count" } else { "rating" };
    let level = number::<f32>(value(2), name, "a number")?;
    let id = |at: usize| Cow::Owned(row.get(at).unwrap_or_default().to_owned());
    let wire = Wire {
        v: None,
        user: id(0),
        item: id(1),
        rating: level.filter(|_| kind != TopicKind::Listens),
        count: level.filter(|_| kind == TopicKind::Listens),
        ts: number(value(3), "ts", "an integer, in milliseconds since the epoch,")?,
        id: None,
        genres: None,
        year: None,
    };
    match wire.problem(config) {
        None => Ok(wire),
        Some((reason, detail)) => Err(refused(reason, detail)),
    }
}

fn number<T: std::str::FromStr>(text: Option<&str>, name: &str, allowed: &str) -> Result<Option<T>, Refusal> {
    let Some(text) = text else { return Ok(None) };
    let refused =
        |_| Refusal { reason: Reason::InvalidField, detail: format!("{name} is {text:?}; {allowed} is allowed") };
    text.parse().map(Some).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(line: &str, kind: TopicKind) -> Result<Wire<'static>, Refusal> {
        parse(line.as_bytes(), kind, &Config::default().decode)
    }

    #[test]
    fn a_line_between_commas_or_tabs_is_an_event() {
        for line in ["196,242,3,881250949000\r\n", "196\t242\t3\t881250949000", " 196 , 242,3.0, 881250949000"] {
            let wire = read(line, TopicKind::Ratings).unwrap();
            assert_eq!((&*wire.user, &*wire.item, wire.rating), ("196", "242", Some(3.0)), "{line:?}");
            assert_eq!((wire.count, wire.ts), (None, Some(881_250_949_000)));
        }
        let wire = read("u,\"a, b\",,5", TopicKind::Ratings).unwrap();
        assert_eq!((&*wire.item, wire.rating, wire.ts), ("a, b", None, Some(5)));
        let wire = read("2,51,13883", TopicKind::Listens).unwrap();
        assert_eq!((wire.rating, wire.count, wire.ts), (None, Some(13_883.0), None));
        assert_eq!(read("2,51", TopicKind::Listens).unwrap().count, None);
    }

    #[test]
    fn what_is_no_such_line_says_what_one_is() {
        let cases = [
            ("196", Reason::InvalidCsv, "1 values; expected one line user,item,rating,ts"),
            ("1,2,3,4,5", Reason::InvalidCsv, "5 values"),
            ("1,2,3\n1,2,3", Reason::InvalidCsv, "more than one line"),
            ("\n", Reason::InvalidCsv, "no line of values"),
            ("1,2,five", Reason::InvalidField, "rating is \"five\"; a number"),
            ("1,2,9", Reason::RatingOutOfRange, "1 to 5"),
            ("1,,3", Reason::InvalidField, "item is empty"),
            ("1,2,3,now", Reason::InvalidField, "ts is \"now\""),
            ("1,2,NaN", Reason::RatingOutOfRange, "NaN"),
        ];
        for (line, reason, text) in cases {
            let refusal = read(line, TopicKind::Ratings).err().unwrap();
            assert!(refusal.reason == reason && refusal.detail.contains(text), "{line:?}: {refusal:?}");
        }
        let refusal = parse(b"1,\xff", TopicKind::Ratings, &Config::default().decode).err().unwrap();
        assert_eq!(refusal.reason, Reason::InvalidUtf8);
        assert_eq!(read("1,2,-3", TopicKind::Listens).err().unwrap().reason, Reason::InvalidField);
    }
}
