//! What a reader hands on: a catalogue, and rows in the order they are to be learned.
//!
//! Apart from the readers, so that whoever replays, converts or evaluates a data set need not know which one it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::CaptureError;
use super::known::{self, Known, Layout};
use super::{Interaction, Item, User, lastfm, movielens, recbole, sample, tabular};

/// Names the folder where data sets are, or one set's own folder.
pub const DATA_VARIABLE: &str = "FRESHET_DATA";

/// Folder that downloads go to, relative to where Freshet is started.
pub const DOWNLOADS: &str = "data/downloads";

/// Rows in order. A row that cannot be read is an `Err` with its place, and the rows after it still come; after a
/// failure of the file itself (input or output, a line without end) nothing comes.
pub type Rows = Box<dyn Iterator<Item = Result<Interaction, CaptureError>> + Send>;

/// A data set, opened.
pub struct Dataset {
    /// Name: of a known set, or the file's.
    pub name: String,
    /// Where it was read from, for people.
    pub origin: String,
    /// Whether it is a set known by name, whose reader gives the rows in the order they are to be learned.
    pub known: bool,
    /// What it tells about items; empty for plain rows.
    pub items: Vec<Item>,
    /// What it tells about users; empty where it tells nothing but their ids.
    pub users: Vec<User>,
    /// Number of rows, where it is known before reading them.
    pub n_rows: Option<u64>,
    /// Number of rows for a progress bar: by the lines of a file, or by those of its beginning where it is large.
    pub about_rows: Option<u64>,
    /// The rows.
    pub rows: Rows,
}

impl Dataset {
    /// A data set whose rows are in memory already.
    pub(crate) fn in_memory(
        name: &str,
        origin: String,
        items: Vec<Item>,
        users: Vec<User>,
        rows: Vec<Interaction>,
    ) -> Self {
        let n_rows = Some(rows.len() as u64);
        Self {
            name: name.to_owned(),
            origin,
            known: true,
            items,
            users,
            n_rows,
            about_rows: n_rows,
            rows: Box::new(rows.into_iter().map(Ok)),
        }
    }

    /// The same rows, the first of each item telling the genres and the year that the catalogue has for it.
    #[must_use]
    pub fn described(self) -> Self {
        let known = |item: &Item| !item.genres.is_empty() || item.year.is_some();
        let mut untold: BTreeMap<String, Item> =
            self.items.iter().filter(|item| known(item)).map(|item| (item.id.clone(), item.clone())).collect();
        let rows = self.rows.map(move |row| {
            row.map(|row| match untold.remove(&row.item) {
                Some(item) => Interaction { genres: item.genres, year: item.year, ..row },
                None => row,
            })
        });
        Self { rows: Box::new(rows), ..self }
    }
}

/// Opens a data set by name (`ml-100k`, `lastfm`, `sample`), a `.csv`, `.ndjson`, `.jsonl` or `.json` file, a folder
/// with the files of a known set, or standard input as NDJSON (`-`).
///
/// A known set is looked for in `from` and only there; without it in the folder that `FRESHET_DATA` names, then in
/// [`DOWNLOADS`]. Each may be the set's own folder or hold it. A path is taken relative to `from`.
///
/// # Errors
/// If nothing is found (the error says where it was looked for and how to get it), or what is found cannot be read.
pub fn open(spec: &str, from: Option<&Path>) -> Result<Dataset, CaptureError> {
    let Some(known) = Known::named(spec) else { return open_path(spec, from) };
    if known.layouts.is_empty() {
        return Ok(sample::sample(sample::SEED, sample::ROWS));
    }
    match find(known, &places(from)) {
        Ok((layout, dir)) => open_folder(layout, &dir),
        Err(tried) => Err(CaptureError::NotFound { name: known.name, tried }),
    }
}

/// Folder that holds the files of a known set, or the folders looked at in vain.
///
/// # Errors
/// The folders looked at.
pub fn find(known: &Known, places: &[PathBuf]) -> Result<(Layout, PathBuf), Vec<PathBuf>> {
    let mut tried = Vec::new();
    for place in places {
        let inside = known.folders.iter().map(|folder| place.join(folder));
        for dir in std::iter::once(place.clone()).chain(inside) {
            if let Some(layout) = known.layouts.iter().find(|layout| layout.is_in(&dir)) {
                return Ok((*layout, dir));
            }
            tried.push(dir);
        }
    }
    Err(tried)
}

/// Folders where known sets may be, in the order they are looked at.
#[must_use]
pub fn places(from: Option<&Path>) -> Vec<PathBuf> {
    places_with(from, std::env::var_os(DATA_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from))
}

fn places_with(from: Option<&Path>, variable: Option<PathBuf>) -> Vec<PathBuf> {
    match from {
        Some(from) => vec![from.to_owned()],
        None => variable.into_iter().chain([PathBuf::from(DOWNLOADS)]).collect(),
    }
}

fn open_folder(layout: Layout, dir: &Path) -> Result<Dataset, CaptureError> {
    layout.check_whole(dir)?;
    match layout {
        Layout::MovieLens => movielens::open(dir),
        Layout::Recbole => recbole::open(dir),
        Layout::LastFm => lastfm::open(dir),
    }
}

fn open_path(spec: &str, from: Option<&Path>) -> Result<Dataset, CaptureError> {
    if spec == "-" {
        return Ok(tabular::ndjson(Path::new("stdin"), std::io::BufReader::new(std::io::stdin())));
    }
    let path = from.map_or_else(|| PathBuf::from(spec), |dir| dir.join(spec));
    if path.is_dir() {
        return match Layout::ALL.iter().find(|layout| layout.is_in(&path)) {
            Some(layout) => open_folder(*layout, &path),
            None => Err(CaptureError::UnknownFormat { path, allowed: known::folders_allowed() }),
        };
    }
    if !path.exists() && !spec.contains(['/', '\\', '.']) {
        let allowed = format!("{}, and {}", known::names(), tabular::FILES);
        return Err(CaptureError::Unknown { spec: spec.to_owned(), allowed });
    }
    tabular::open(&path)
}

/// Folder with the real files in this layout, if they are on this machine; they can not be part of the repository.
#[cfg(test)]
pub(crate) fn real(layout: Layout) -> Option<PathBuf> {
    let known = Known::named(layout.set())?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let variable = std::env::var_os(DATA_VARIABLE).map(PathBuf::from);
    let places = variable.into_iter().chain([here.join("../shared/data"), here.join(DOWNLOADS)]);
    let dirs = places.flat_map(|place| known.folders.iter().map(move |folder| place.join(folder)));
    dirs.into_iter().find(|dir| layout.is_in(dir))
}

/// SHA-256 of the rows' JSON, one a line.
#[cfg(test)]
pub(crate) fn fingerprint(rows: &[Interaction]) -> String {
    use sha2::{Digest, Sha256};
    let hash = rows.iter().fold(Sha256::new(), |hash, row| hash.chain_update(row.to_json()).chain_update(b"\n"));
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(spec: &str, from: Option<&Path>) -> String {
        open(spec, from).err().expect("must be refused").to_string()
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_names_there_are() {
        let error = refusal("ml-1m", None);
        assert!(
            error.starts_with("no data set or file is named \"ml-1m\"; allowed are ml-100k, lastfm, sample"),
            "{error}"
        );
        assert!(error.contains(".ndjson"), "{error}");
    }

    #[test]
    fn a_path_that_does_not_exist_is_said_to_be_unreadable() {
        assert!(refusal("nowhere/ratings.csv", None).starts_with("cannot read nowhere/ratings.csv: "));
    }

    #[test]
    fn a_set_that_is_nowhere_says_where_it_was_looked_for_and_how_to_get_it() {
        let dir = tempfile::tempdir().unwrap();
        let error = refusal("lastfm", Some(dir.path()));
        for part in
            [&*dir.path().join("hetrec2011-lastfm-2k").to_string_lossy(), "`freshet data fetch lastfm`", "--from"]
        {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }

    #[test]
    fn the_variable_comes_before_the_downloads_and_from_is_the_only_place() {
        let [data, from] = ["d", "f"].map(PathBuf::from);
        assert_eq!(places_with(None, Some(data.clone())), [data.clone(), PathBuf::from(DOWNLOADS)]);
        assert_eq!(places_with(Some(&from), Some(data)), [from]);
    }

    #[test]
    fn a_set_is_found_in_its_own_folder_and_in_the_one_above_and_its_lack_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("lastfm-2k");
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("user_artists.dat"), "userID\tartistID\tweight\r\n2\t51\t13883\r\n").unwrap();
        let error = refusal("lastfm", Some(dir.path()));
        assert!(error.contains("has no file \"artists.dat\", which lastfm needs"), "{error}");

        std::fs::write(own.join("artists.dat"), "id\tname\turl\tpictureURL\n51\tDuran Duran\thttp://x\t\n").unwrap();
        for (spec, from) in [("lastfm", Some(dir.path())), ("lastfm", Some(&*own)), (&*own.to_string_lossy(), None)] {
            let dataset = open(spec, from).unwrap();
            assert_eq!((dataset.n_rows, dataset.items.len()), (Some(1), 1));
        }
    }

    #[test]
    fn a_folder_without_a_set_says_which_files_make_one() {
        let dir = tempfile::tempdir().unwrap();
        let error = refusal(&dir.path().to_string_lossy(), None);
        assert!(error.contains("u.data") && error.contains("user_artists.dat"), "{error}");
    }
}
