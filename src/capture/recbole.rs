//! MovieLens 100K as the Python package recbole carries it: `ml-100k.inter`, `ml-100k.item`, `ml-100k.user`.
//!
//! Apart from the original's reader, because the layout is another: tabs, UTF-8, and a header of `name:type`. It gives the
//! same rows in the same order, and the same catalogue but for the items' addresses, which this copy leaves out.

use std::path::Path;

use super::Item;
use super::dataset::Dataset;
use super::error::CaptureError;
use super::lines::{Field, read_table};
use super::movielens::{interaction, sort_by_time, user, year_in_title};

const INTER: &str = "user_id:token\titem_id:token\trating:float\ttimestamp:float";
const ITEM: &str = "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq";
const USER: &str = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token";

/// How this copy spells the title and year of the film that nobody knows.
const MISSPELT: &str = "unkonwn";

/// Opens the folder that holds the files. Rows come sorted by time; rows of the same second keep the file's order.
///
/// # Errors
/// If a file cannot be read, or a line of it is not as it should be.
pub fn open(dir: &Path) -> Result<Dataset, CaptureError> {
    let items = read_table(&dir.join("ml-100k.item"), ITEM, item)?;
    let users = read_table(&dir.join("ml-100k.user"), USER, user)?;
    let mut rows = read_table(&dir.join("ml-100k.inter"), INTER, interaction)?;
    sort_by_time(&mut rows);
    Ok(Dataset::in_memory("ml-100k", dir.display().to_string(), items, users, rows))
}

fn item([id, title, year, genres]: [Field<'_>; 4]) -> Result<Item, CaptureError> {
    let (name, year) = (title.text("movie_title")?, year.text("release_year")?);
    // The copy has cut the last parenthesis off each title and calls it the year.
    let title = if name == MISSPELT { "unknown".to_owned() } else { format!("{name} ({year})") };
    Ok(Item {
        id: id.text("item_id")?.to_owned(),
        year: year_in_title(&title),
        title,
        genres: genres.text("class")?.split(' ').map(str::to_owned).collect(),
        ..Item::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::dataset::{fingerprint, real};
    use crate::capture::known::Layout;
    use crate::capture::movielens;

    fn folder(inter: &str, item: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let user = format!("{USER}\n1\t24\tM\ttechnician\t00501\n");
        for (name, text) in [("inter", inter), ("item", item), ("user", &user)] {
            std::fs::write(dir.path().join(format!("ml-100k.{name}")), text).unwrap();
        }
        dir
    }

    #[test]
    fn the_copy_gives_titles_years_and_sorted_rows_like_the_original() {
        let items = format!(
            "{ITEM}\n543\tMisérables, Les\t1995\tDrama Musical\n267\tunkonwn\tunkonwn\tunknown\n1412\tLand III (1995)\tV\tAnimation\n"
        );
        let dataset = open(folder(&format!("{INTER}\n1\t543\t3\t200\n1\t267\t4\t100\n"), &items).path()).unwrap();
        let titles: Vec<_> = dataset.items.iter().map(|item| (&*item.title, item.year)).collect();
        assert_eq!(
            titles,
            [("Misérables, Les (1995)", Some(1995)), ("unknown", None), ("Land III (1995) (V)", Some(1995))]
        );
        assert_eq!(dataset.items[0].genres, ["Drama", "Musical"]);
        assert_eq!(dataset.users[0].zip.as_deref(), Some("00501"));
        let rows: Vec<_> = dataset.rows.map(Result::unwrap).map(|row| (row.item, row.ts)).collect();
        assert_eq!(rows, [("267".to_owned(), Some(100_000)), ("543".to_owned(), Some(200_000))]);
    }

    #[test]
    fn another_header_is_refused() {
        let dir = folder("user_id\titem_id\n1\t2\n", ITEM);
        let error = open(dir.path()).err().expect("must be refused").to_string();
        assert!(error.contains("ml-100k.inter: line 1: the header is another; found \"user_id\\titem_id\""), "{error}");
        assert!(error.contains("timestamp:float"), "{error}");
    }

    #[test]
    fn the_real_copy_gives_the_rows_and_catalogue_of_the_original() {
        let Some(dir) = real(Layout::Recbole) else { return };
        let copy = open(&dir).unwrap();
        let rows: Vec<_> = copy.rows.map(Result::unwrap).collect();
        assert_eq!(fingerprint(&rows), movielens::tests::FINGERPRINT);
        let Some(dir) = real(Layout::MovieLens) else { return };
        let original = movielens::open(&dir).unwrap();
        let without_url: Vec<_> = original.items.into_iter().map(|item| Item { url: None, ..item }).collect();
        assert_eq!(copy.items, without_url);
        assert_eq!(copy.users, original.users);
    }
}
