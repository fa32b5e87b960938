//! MovieLens 100K in the original files of GroupLens: `u.data`, `u.item`, `u.user`, `u.genre`.
//!
//! Apart from other readers for its oddities: rows in random order, Latin-1 titles, genres as flags.

use std::path::Path;

use super::dataset::Dataset;
use super::error::{CaptureError, shown};
use super::lines::{Field, Line, Lines, read_rows};
use super::{Interaction, Item, User};

const DATA_ROW: &str = "user, item, rating from 1 to 5 and time in seconds, separated by tabs";
const ITEM_ROW: &str = "id, title, release date, video date, address and a 0 or 1 for each genre, separated by |";
const USER_ROW: &str = "id, age, gender, occupation and ZIP code, separated by |";
const GENRE_ROW: &str = "name and number of a genre, separated by |";

const SECONDS: &str = "a whole number of seconds since the epoch";
const RATING: &str = "a number from 1 to 5";
const AGE: &str = "a whole number of years";

/// Fields of `u.item` before the genre flags.
const BEFORE_FLAGS: usize = 5;

/// Opens the folder that holds the files. Rows come sorted by time; rows of the same second keep the file's order.
///
/// # Errors
/// If a file cannot be read, or a line of it is not as it should be.
pub fn open(dir: &Path) -> Result<Dataset, CaptureError> {
    let genres = read_genres(&dir.join("u.genre"))?;
    let items = read_items(&dir.join("u.item"), &genres)?;
    let users = read_rows(&dir.join("u.user"), '|', USER_ROW, user)?;
    let mut rows = read_rows(&dir.join("u.data"), '\t', DATA_ROW, interaction)?;
    sort_by_time(&mut rows);
    Ok(Dataset::in_memory("ml-100k", dir.display().to_string(), items, users, rows))
}

/// A row of ids, rating and seconds, as both copies of the set have it.
pub(crate) fn interaction([user, item, rating, seconds]: [Field<'_>; 4]) -> Result<Interaction, CaptureError> {
    let representable = |seconds: &i64| *seconds >= 0 && seconds.checked_mul(1000).is_some();
    Ok(Interaction {
        user: user.text("user")?.to_owned(),
        item: item.text("item")?.to_owned(),
        rating: Some(rating.number("rating", RATING, |rating| (1.0..=5.0).contains(rating))?),
        ts: Some(seconds.number("timestamp", SECONDS, representable)? * 1000),
        ..Interaction::default()
    })
}

/// Sorts by time; the sort is stable, so rows of the same second keep the file's order.
pub(crate) fn sort_by_time(rows: &mut [Interaction]) {
    rows.sort_by_key(|row| row.ts);
}

/// A row of id, age, gender, occupation and ZIP code, as both copies of the set have it.
pub(crate) fn user([id, age, gender, occupation, zip]: [Field<'_>; 5]) -> Result<User, CaptureError> {
    Ok(User {
        id: id.text("user")?.to_owned(),
        age: Some(age.number("age", AGE, |_| true)?),
        gender: Some(gender.text("gender")?.to_owned()),
        occupation: Some(occupation.text("occupation")?.to_owned()),
        zip: Some(zip.text("zip")?.to_owned()),
        ..User::default()
    })
}

fn read_genres(path: &Path) -> Result<Vec<String>, CaptureError> {
    let mut next = 0_usize;
    read_rows(path, '|', GENRE_ROW, |[name, number]: [Field<'_>; 2]| {
        number.number("number", "the genres' numbers from 0 on, in order", |number: &usize| *number == next)?;
        next += 1;
        Ok(name.text("name")?.to_owned())
    })
}

fn read_items(path: &Path, genres: &[String]) -> Result<Vec<Item>, CaptureError> {
    let mut lines = Lines::open(path, ITEM_ROW)?;
    let mut items = Vec::new();
    while let Some(line) = lines.next()? {
        items.push(item(line, genres)?);
    }
    Ok(items)
}

fn item(line: Line<'_>, genres: &[String]) -> Result<Item, CaptureError> {
    let fields = line.split('|');
    let expected = BEFORE_FLAGS + genres.len();
    if fields.len() != expected {
        let found = fields.len();
        return Err(
            line.row(format!("the line has {found} fields between '|', not {expected}, with the genres of u.genre"))
        );
    }
    let mut item = Item {
        id: fields[0].text("item")?.to_owned(),
        title: fields[1].latin1().trim().to_owned(),
        url: Some(fields[4].latin1().into_owned()).filter(|url| !url.is_empty()),
        ..Item::default()
    };
    if item.title.is_empty() {
        return Err(line.field("title", fields[1].bytes, "a title"));
    }
    item.year = year_in_title(&item.title).or_else(|| year_of_date(&fields[2].latin1()));
    for (genre, flag) in genres.iter().zip(&fields[BEFORE_FLAGS..]) {
        match flag.bytes {
            b"0" => {}
            b"1" => item.genres.push(genre.clone()),
            _ => return Err(line.row(format!("the flag of genre {genre:?} is {}, not 0 or 1", shown(flag.bytes)))),
        }
    }
    Ok(item)
}

/// The last `(1995)` of a title. It goes before the release date, which for older films is that of a later showing.
pub(crate) fn year_in_title(title: &str) -> Option<i32> {
    title.rmatch_indices('(').find_map(|(open, _)| {
        let (year, rest) = title[open + 1..].split_at_checked(4)?;
        (rest.starts_with(')') && year.bytes().all(|byte| byte.is_ascii_digit())).then(|| year.parse().ok())?
    })
}

/// The year of a date such as `01-Jan-1995`.
fn year_of_date(date: &str) -> Option<i32> {
    date.rsplit('-').next().filter(|year| year.len() == 4)?.parse().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::capture::dataset::{fingerprint, real};
    use crate::capture::known::Layout;

    /// The rows of the real set, in order. Its other copy must give the same ones.
    pub(crate) const FINGERPRINT: &str = "0791babbcaec555276d751e6d06b56c00c6448de7afc727e0ad7183b89231abe";

    const DATA: &str = "1\t10\t3\t200\n2\t20\t5\t100\n3\t10\t1\t200\n1\t20\t4\t100\n";
    const GENRES: &str = "unknown|0\nDrama|1\nMusical|2\n\n";
    const ITEMS: &[u8] =
        b"10|Mis\xe9rables, Les (1995)|01-Jan-1996||http://x/Mis%E9rables|0|1|1\n20|unknown||||1|0|0\n";
    const USERS: &str = "1|24|M|technician|00501\n2|53|F|other|T8H1N\n";

    fn folder(data: &[u8], items: &[u8], users: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [("u.data", data), ("u.item", items), ("u.user", users), ("u.genre", GENRES.as_bytes())] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        dir
    }

    fn refusal(data: &[u8], items: &[u8], users: &[u8]) -> String {
        let dir = folder(data, items, users);
        let error = open(dir.path()).err().expect("must be refused").to_string();
        error.replace(&format!("{}{}", dir.path().display(), std::path::MAIN_SEPARATOR), "")
    }

    #[test]
    fn rows_are_sorted_by_time_and_ties_keep_the_files_order() {
        for data in [DATA.to_owned(), DATA.replace('\n', "\r\n"), format!("\u{feff}{DATA}")] {
            let dataset = open(folder(data.as_bytes(), ITEMS, USERS.as_bytes()).path()).unwrap();
            assert_eq!(dataset.n_rows, Some(4));
            let rows: Vec<_> = dataset.rows.map(Result::unwrap).collect();
            let pairs: Vec<_> = rows.iter().map(|row| (&*row.user, &*row.item, row.rating, row.ts)).collect();
            assert_eq!(
                pairs,
                [
                    ("2", "20", Some(5.0), Some(100_000)),
                    ("1", "20", Some(4.0), Some(100_000)),
                    ("1", "10", Some(3.0), Some(200_000)),
                    ("3", "10", Some(1.0), Some(200_000)),
                ]
            );
        }
    }

    #[test]
    fn titles_become_utf8_flags_become_genres_and_zip_codes_stay_text() {
        let dataset = open(folder(DATA.as_bytes(), ITEMS, USERS.as_bytes()).path()).unwrap();
        let [les, unknown] = &dataset.items[..] else { panic!("{:?}", dataset.items) };
        assert_eq!((&*les.title, les.year), ("Misérables, Les (1995)", Some(1995)));
        assert_eq!(les.genres, ["Drama", "Musical"]);
        assert_eq!(les.url.as_deref(), Some("http://x/Mis%E9rables"));
        assert_eq!((&*unknown.title, unknown.year, &unknown.url), ("unknown", None, &None));
        assert_eq!(unknown.genres, ["unknown"]);
        let zips: Vec<_> = dataset.users.iter().map(|user| user.zip.as_deref()).collect();
        assert_eq!(zips, [Some("00501"), Some("T8H1N")]);
    }

    #[test]
    fn a_year_is_the_last_in_the_title_or_that_of_the_release() {
        assert_eq!(year_in_title("Land Before Time III (1995) (V)"), Some(1995));
        assert_eq!(year_in_title("1984 (x) (19é4)"), None);
        assert_eq!(year_in_title("Cut (19"), None);
        assert_eq!(year_of_date("01-Jan-1995"), Some(1995));
        assert_eq!(year_of_date(""), None);
    }

    #[test]
    fn a_bad_line_is_refused_with_its_place_and_what_is_allowed() {
        let (items, users) = (ITEMS, USERS.as_bytes());
        let cases: [(&[u8], &str); 6] = [
            (b"1\t2\tfive\t9\n", "u.data: line 1: field \"rating\" is \"five\"; allowed is a number from 1 to 5"),
            (b"1\t2\t6\t9\n", "u.data: line 1: field \"rating\" is \"6\"; allowed is a number from 1 to 5"),
            (
                b"1\t2\t3\t9\n1\t2\t3\n",
                "u.data: line 2: the line has 3 fields between '\\t', not 4; found \"1\\t2\\t3\"",
            ),
            (b"1\t2\t3\t1e9\n", "u.data: line 1: field \"timestamp\" is \"1e9\"; allowed is a whole number of seconds"),
            (b"\xff\x00\t2\t3\t9\n", "u.data: line 1: field \"user\" is \"\u{fffd}\\0\"; allowed is UTF-8 text"),
            (b"", "u.data is empty; expected user, item, rating"),
        ];
        for (data, message) in cases {
            let error = refusal(data, items, users);
            assert!(error.starts_with(message), "{error}");
        }
        let error = refusal(DATA.as_bytes(), b"1|Toy Story|||\n", users);
        assert!(error.starts_with("u.item: line 1: the line has 5 fields between '|', not 8"), "{error}");
        let error = refusal(DATA.as_bytes(), b"1|Toy Story||||0|2|0\n", users);
        assert!(error.starts_with("u.item: line 1: the flag of genre \"Drama\" is \"2\", not 0 or 1"), "{error}");
        let error = refusal(DATA.as_bytes(), items, b"1|young|M|artist|1\n");
        assert!(error.starts_with("u.user: line 1: field \"age\" is \"young\""), "{error}");
    }

    #[test]
    fn the_real_files_give_the_known_rows_and_titles() {
        let Some(dir) = real(Layout::MovieLens) else { return };
        let dataset = open(&dir).unwrap();
        assert_eq!(dataset.items[542].title, "Misérables, Les (1995)");
        assert_eq!(dataset.items.iter().filter(|item| item.year.is_none()).count(), 1);
        assert_eq!((dataset.items.len(), dataset.users.len()), (1_682, 943));
        let rows: Vec<_> = dataset.rows.map(Result::unwrap).collect();
        let triple = |row: &Interaction| (row.user.clone(), row.item.clone(), row.rating.unwrap() as u8);
        let begin: Vec<_> = rows[..5].iter().map(triple).collect();
        let expected = [("259", "255", 4), ("259", "286", 4), ("259", "298", 4), ("259", "185", 4), ("259", "173", 4)];
        assert_eq!(begin, expected.map(|(user, item, rating)| (user.to_owned(), item.to_owned(), rating)));
        assert_eq!(triple(&rows[99_999]), ("729".to_owned(), "272".to_owned(), 4));
        assert_eq!(fingerprint(&rows), FINGERPRINT);
    }
}
