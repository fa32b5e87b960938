//! `filter=`: which items may be in an answer, by what the catalogue tells of them.
//!
//! ```text
//! any  = all { "or" all }            genre:Comedy and not (label:sequel or year:..1979)
//! all  = one { "and" one }
//! one  = "not" one | "(" any ")" | field ":" value
//! ```
//!
//! Fields are `genre`, `label` and `year`. A value with spaces or parentheses is quoted; upper and lower case are the
//! same; a year may be a range, open at either end: `1990..1999`, `..1979`, `2000..`.

use std::iter::Peekable;
use std::ops::RangeInclusive;
use std::vec::IntoIter;

use roaring::RoaringBitmap;

use super::Problem;
use super::catalog::Index;
use super::parameters::bad;

/// Longest filter, in bytes.
const MAX_BYTES: usize = 4096;
/// How deep parentheses and `not` may be nested.
const MAX_DEPTH: usize = 32;

/// What is asked of an item.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Filter {
    /// Lower case.
    Genre(String),
    /// Lower case.
    Label(String),
    Year(RangeInclusive<i32>),
    Not(Box<Filter>),
    All(Vec<Filter>),
    Any(Vec<Filter>),
}

/// What filters look items up in.
pub(super) trait Shelves {
    /// Items of a genre, in lower case.
    fn genre(&self, name: &str) -> RoaringBitmap;
    /// Items with a label, in lower case.
    fn label(&self, name: &str) -> RoaringBitmap;
    /// Items of these years.
    fn years(&self, years: RangeInclusive<i32>) -> RoaringBitmap;
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// 400 `bad_filter`: what was found where, and what is allowed.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let read = || {
            if text.len() > MAX_BYTES {
                return Err(format!("it has {} bytes; at most {MAX_BYTES} are allowed", text.len()));
            }
            let mut words = Words(words(text)?.into_iter().peekable());
            let filter = words.any(0)?;
            match words.0.next() {
                None => Ok(filter),
                Some((at, word)) => Err(format!("{word:?} at {at} is too much; and, or or the end is allowed there")),
            }
        };
        read().map_err(|reason| bad("filter", text, &reason))
    }

    /// Those of the first `items` items that it lets pass.
    pub(super) fn of(&self, shelves: &impl Shelves, items: u32) -> RoaringBitmap {
        match self {
            Self::Genre(name) => shelves.genre(name),
            Self::Label(name) => shelves.label(name),
            Self::Year(years) => shelves.years(years.clone()),
            Self::Not(filter) => {
                let mut others = RoaringBitmap::new();
                others.insert_range(0..items);
                others - filter.of(shelves, items)
            }
            Self::All(filters) => {
                let mut each = filters.iter().map(|filter| filter.of(shelves, items));
                let first = each.next().unwrap_or_default();
                each.fold(first, |all, one| all & one)
            }
            Self::Any(filters) => filters.iter().fold(RoaringBitmap::new(), |any, one| any | one.of(shelves, items)),
        }
    }
}

/// A word with where it begins, in bytes from 0. Parentheses are words of their own; a quoted value stays in its quotes.
type Word = (usize, String);

fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter.is_whitespace() {
            continue;
        }
        let mut word = String::from(letter);
        if !matches!(letter, '(' | ')') {
            let mut quoted = letter == '"';
            while let Some((_, letter)) =
                letters.next_if(|(_, letter)| quoted || !(letter.is_whitespace() || matches!(letter, '(' | ')')))
            {
                quoted ^= letter == '"';
                word.push(letter);
            }
            if quoted {
                return Err(format!("the quote in {word:?} at {at} does not end; put a \" behind the value"));
            }
        }
        words.push((at, word));
    }
    Ok(words)
}

struct Words(Peekable<IntoIter<Word>>);

impl Words {
    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut filters = vec![self.all(depth)?];
        while self.takes("or") {
            filters.push(self.all(depth)?);
        }
        Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::Any(filters) })
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut filters = vec![self.one(depth)?];
        while self.takes("and") {
            filters.push(self.one(depth)?);
        }
        Ok(if filters.len() == 1 { filters.remove(0) } else { Filter::All(filters) })
    }

    fn one(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it is nested deeper than {MAX_DEPTH}"));
        }
        if self.takes("not") {
            return Ok(Filter::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.takes("(") {
            let filter = self.any(depth + 1)?;
            return if self.takes(")") { Ok(filter) } else { Err(self.expected("a closing parenthesis, and or or")) };
        }
        let Some((_, word)) = self.0.next_if(|(_, word)| word.contains(':')) else {
            return Err(self.expected("genre:…, label:…, year:…, not or an opening parenthesis"));
        };
        term(&word)
    }

    fn takes(&mut self, wanted: &str) -> bool {
        self.0.next_if(|(_, word)| word.eq_ignore_ascii_case(wanted)).is_some()
    }

    fn expected(&mut self, what: &str) -> String {
        match self.0.peek() {
            Some((at, word)) => format!("{word:?} stands at {at}, where {what} is allowed"),
            None => format!("it ends where {what} is allowed"),
        }
    }
}

fn term(word: &str) -> Result<Filter, String> {
    let (field, value) = word.split_once(':').unwrap_or((word, ""));
    let value = value.trim_matches('"');
    if value.is_empty() {
        return Err(format!("{word:?} has no value; write for example genre:Comedy or year:1990..1999"));
    }
    match field.to_ascii_lowercase().as_str() {
        "genre" => Ok(Filter::Genre(value.to_lowercase())),
        "label" => Ok(Filter::Label(value.to_lowercase())),
        "year" => years(value).map(Filter::Year).ok_or_else(|| {
            format!("{value:?} is no year; a year or a range like 1990..1999, ..1979 or 2000.. is allowed")
        }),
        _ => Err(format!("there is no field {field:?}; genre, label and year are allowed")),
    }
}

fn years(text: &str) -> Option<RangeInclusive<i32>> {
    let year = |text: &str, open: i32| if text.is_empty() { Some(open) } else { text.parse().ok() };
    let Some((first, last)) = text.split_once("..") else {
        let year = text.parse().ok()?;
        return Some(year..=year);
    };
    if first.is_empty() && last.is_empty() {
        return None;
    }
    Some(year(first, i32::MIN)?..=year(last, i32::MAX)?)
}

impl Shelves for Index {
    fn genre(&self, name: &str) -> RoaringBitmap {
        self.genres.get(name).map(|items| items.as_ref().clone()).unwrap_or_default()
    }

    fn label(&self, name: &str) -> RoaringBitmap {
        self.labels.get(name).map(|items| items.as_ref().clone()).unwrap_or_default()
    }

    fn years(&self, years: RangeInclusive<i32>) -> RoaringBitmap {
        self.years.range(years).fold(RoaringBitmap::new(), |found, (_, items)| found | items.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Item `n` has the genre `g{n % 3}`, the label `l{n % 2}` and the year `1990 + n`.
    struct Twelve;

    fn those(holds: impl Fn(u32) -> bool) -> RoaringBitmap {
        (0..12).filter(|item| holds(*item)).collect()
    }

    impl Shelves for Twelve {
        fn genre(&self, name: &str) -> RoaringBitmap {
            those(|item| format!("g{}", item % 3) == name)
        }

        fn label(&self, name: &str) -> RoaringBitmap {
            those(|item| format!("l {}", item % 2) == name)
        }

        fn years(&self, years: RangeInclusive<i32>) -> RoaringBitmap {
            those(|item| years.contains(&(1990 + item as i32)))
        }
    }

    fn items(text: &str) -> Vec<u32> {
        Filter::parse(text).unwrap().of(&Twelve, 12).iter().collect()
    }

    #[test]
    fn terms_are_joined_by_and_or_and_not() {
        assert_eq!(items("genre:g0"), [0, 3, 6, 9]);
        assert_eq!(items("GENRE:G0 AND label:\"L 1\""), [3, 9]);
        assert_eq!(items("genre:g0 and not label:\"l 1\""), [0, 6]);
        assert_eq!(items("year:1990 or year:1995..1996 or year:2001.."), [0, 5, 6, 11]);
        assert_eq!(items("year:..1991"), [0, 1]);
        assert_eq!(items("not (genre:g0 or genre:g1)"), [2, 5, 8, 11]);
        assert_eq!(items("genre:g1 and (year:..1993 or year:2000)"), [1, 10]);
        assert_eq!(items("year:1991 or genre:g0 and label:\"l 0\""), [0, 1, 6], "and binds closer than or");
        assert_eq!(items("genre:nothing"), [0; 0]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_what_is_allowed() {
        let deep = format!("{}genre:a{}", "(".repeat(99), ")".repeat(99));
        let long = format!("genre:{}", "a".repeat(5000));
        for (text, told) in [
            ("", "it ends where genre:…"),
            ("comedy", "\"comedy\" stands at 0, where genre:…, label:…, year:…, not or an opening"),
            ("genre:", "\"genre:\" has no value"),
            ("title:x", "there is no field \"title\"; genre, label and year are allowed"),
            ("year:old", "\"old\" is no year; a year or a range like 1990..1999"),
            ("year:..", "\"..\" is no year"),
            ("genre:a genre:b", "\"genre:b\" at 8 is too much; and, or or the end"),
            ("(genre:a", "it ends where a closing parenthesis"),
            ("genre:a)", "\")\" at 7 is too much"),
            ("genre:\"a", "the quote in \"genre:\\\"a\" at 0 does not end"),
            ("not", "it ends where"),
            (deep.as_str(), "nested deeper than 32"),
            (long.as_str(), "it has 5006 bytes; at most 4096 are allowed"),
        ] {
            let problem = Filter::parse(text).unwrap_err();
            assert_eq!((problem.status, &*problem.code), (400, "bad_filter"), "{text}");
            assert!(problem.detail.contains(told), "{text}: {}", problem.detail);
        }
    }

    fn any_filter() -> impl Strategy<Value = (String, Vec<bool>)> {
        let leaf = (0..3_u32).prop_map(|genre| {
            (format!("genre:g{genre}"), (0..12).map(|item| item % 3 == genre).collect::<Vec<bool>>())
        });
        leaf.prop_recursive(4, 24, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|(text, holds)| (format!("not ({text})"), holds.iter().map(|h| !h).collect())),
                (inner.clone(), inner.clone()).prop_map(|((a, x), (b, y))| {
                    (format!("({a}) and ({b})"), x.iter().zip(&y).map(|(x, y)| *x && *y).collect())
                }),
                (inner.clone(), inner).prop_map(|((a, x), (b, y))| {
                    (format!("({a}) or {b}"), x.iter().zip(&y).map(|(x, y)| *x || *y).collect())
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_filter_lets_pass_what_it_says((text, holds) in any_filter()) {
            // `a or b` without parentheses around b: b may itself hold an `and`, which binds closer and changes nothing.
            let expected: Vec<u32> = (0..12).filter(|item| holds[*item as usize]).collect();
            prop_assert_eq!(items(&text), expected);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-z:()\" .0-9]{0,60}|\\PC{0,40}") {
            if let Ok(filter) = Filter::parse(&text) {
                filter.of(&Twelve, 12);
            }
        }
    }
}
