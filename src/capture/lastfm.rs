//! `HetRec` 2011 LastFM 2K in the original files: `artists.dat`, `user_artists.dat`.
//!
//! Apart from other readers for its oddities: line ends that differ by file, quotes that quote nothing, and no times, so
//! that an order has to be chosen.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::dataset::Dataset;
use super::error::CaptureError;
use super::lines::{Field, read_table};
use super::{Interaction, Item};

const PLAYS: &str = "userID\tartistID\tweight";
const ARTISTS: &str = "id\tname\turl\tpictureURL";

/// Opens the folder that holds the files. Rows come in the order of the SHA-256 of `userID<TAB>artistID`: fixed, the same
/// for everyone, and as good as shuffled, since the set tells no times.
///
/// # Errors
/// If a file cannot be read, or a line of it is not as it should be.
pub fn open(dir: &Path) -> Result<Dataset, CaptureError> {
    let items = read_table(&dir.join("artists.dat"), ARTISTS, artist)?;
    let mut rows = read_table(&dir.join("user_artists.dat"), PLAYS, plays)?;
    rows.sort_by_cached_key(|row| <[u8; 32]>::from(Sha256::digest(format!("{}\t{}", row.user, row.item))));
    Ok(Dataset::in_memory("lastfm", dir.display().to_string(), items, Vec::new(), rows))
}

fn artist([id, name, url, _picture]: [Field<'_>; 4]) -> Result<Item, CaptureError> {
    Ok(Item {
        id: id.text("id")?.to_owned(),
        title: name.text("name")?.to_owned(),
        url: Some(url.text("url")?.to_owned()),
        ..Item::default()
    })
}

fn plays([user, artist, weight]: [Field<'_>; 3]) -> Result<Interaction, CaptureError> {
    let plays: u32 = weight.number("weight", "a whole number of plays, 1 or more", |plays| *plays > 0)?;
    Ok(Interaction {
        user: user.text("userID")?.to_owned(),
        item: artist.text("artistID")?.to_owned(),
        count: Some(plays as f32),
        ..Interaction::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::dataset::real;
    use crate::capture::known::Layout;

    fn open_with(artists: &str, plays: &str) -> Result<Dataset, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("artists.dat"), artists).unwrap();
        std::fs::write(dir.path().join("user_artists.dat"), plays).unwrap();
        open(dir.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn quotes_quote_nothing_and_line_ends_differ() {
        let artists =
            format!("{ARTISTS}\n1\t\"Weird Al\" Yankovic\thttp://a\t\n2\tRoyce da 5'9\"\thttp://b\tp\n3\t311\tu\t\n");
        let dataset = open_with(&artists, &format!("{PLAYS}\r\n2\t51\t13883\r\n2\t52\t11690\r\n")).unwrap();
        let names: Vec<_> = dataset.items.iter().map(|item| &*item.title).collect();
        assert_eq!(names, ["\"Weird Al\" Yankovic", "Royce da 5'9\"", "311"]);
        let rows: Vec<_> = dataset.rows.map(Result::unwrap).collect();
        let mut counts: Vec<_> = rows.iter().map(|row| (&*row.item, row.count, row.ts)).collect();
        counts.sort_by_key(|row| row.0);
        assert_eq!(counts, [("51", Some(13883.0), None), ("52", Some(11690.0), None)]);
    }

    #[test]
    fn rows_are_ordered_by_the_hash_of_their_ids() {
        let pairs = [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")];
        let mut expected: Vec<_> = pairs
            .iter()
            .map(|(user, item)| (hex::encode(Sha256::digest(format!("{user}\t{item}"))), *user, *item))
            .collect();
        expected.sort();
        let file = pairs.iter().fold(PLAYS.to_owned(), |file, (user, item)| format!("{file}\n{user}\t{item}\t7"));
        let dataset = open_with(&format!("{ARTISTS}\n1\ta\tu\t\n"), &file).unwrap();
        for (row, (_, user, item)) in dataset.rows.map(Result::unwrap).zip(expected) {
            assert_eq!((&*row.user, &*row.item), (user, item));
        }
    }

    #[test]
    fn bad_files_are_refused_with_their_place() {
        let artists = format!("{ARTISTS}\n1\ta\tu\t\n");
        let cases = [
            (format!("{PLAYS}\n2\t51\tmany\n"), "line 2: field \"weight\" is \"many\"; allowed is a whole number"),
            (format!("{PLAYS}\n2\t51\t0\n"), "line 2: field \"weight\" is \"0\""),
            (format!("{PLAYS}\n2\t51\n"), "line 2: the line has 2 fields between '\\t', not 3"),
            ("2\t51\t1\n".to_owned(), "line 1: the header is another; found \"2\\t51\\t1\""),
            (String::new(), "user_artists.dat is empty"),
        ];
        for (plays, message) in cases {
            let error = open_with(&artists, &plays).err().expect("must be refused");
            assert!(error.contains(message), "{error}");
        }
    }

    #[test]
    fn the_real_files_give_the_known_rows() {
        let Some(dir) = real(Layout::LastFm) else { return };
        let dataset = open(&dir).unwrap();
        assert_eq!((dataset.n_rows, dataset.items.len()), (Some(92_834), 17_632));
        let rows: Vec<_> = dataset.rows.map(Result::unwrap).collect();
        let triple = |place: usize| (&*rows[place].user, &*rows[place].item, rows[place].count.unwrap() as u32);
        assert_eq!([0, 1, 2].map(triple), [("1091", "12277", 626), ("1052", "12011", 194), ("209", "486", 154)]);
        assert_eq!(triple(92_833), ("1929", "3289", 1_431));
    }
}
