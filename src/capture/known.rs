//! The data sets that Freshet knows by name: their files, checksums, size, and terms.
//!
//! Apart from the readers and the download, which both look them up here.

use std::path::Path;

use super::error::CaptureError;

/// A data set that is known by name.
#[derive(Debug)]
pub struct Known {
    /// Name on the command line, and of its folder among the downloads.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// Number of rows.
    pub rows: u64,
    /// Number of users.
    pub users: u64,
    /// Number of items.
    pub items: u64,
    /// Its terms, in a few words.
    pub licence: &'static str,
    /// Names that its folder may have.
    pub folders: &'static [&'static str],
    /// Layouts its files may have, the original first; none for the set that is generated.
    pub layouts: &'static [Layout],
    /// Where the original archive is, below the base address of GroupLens.
    pub archive: &'static str,
}

/// How the files of a set are laid out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Layout {
    /// MovieLens 100K as GroupLens publishes it.
    MovieLens,
    /// MovieLens 100K as the Python package recbole carries it.
    Recbole,
    /// HetRec 2011 LastFM 2K as GroupLens publishes it.
    LastFm,
}

/// A file of a set, pinned.
#[derive(Clone, Copy, Debug)]
pub struct Pinned {
    /// File name.
    pub name: &'static str,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in lower-case hex.
    pub sha256: &'static str,
    /// Whether its reader needs it.
    pub needed: bool,
}

/// Every known data set.
pub const KNOWN: &[Known] = &[
    Known {
        name: "ml-100k",
        what: "MovieLens 100K: film ratings 1 to 5, with times, 1997 to 1998",
        rows: 100_000,
        users: 943,
        items: 1_682,
        licence: "research only, cite, do not redistribute",
        folders: &["ml-100k"],
        layouts: &[Layout::MovieLens, Layout::Recbole],
        archive: "movielens/ml-100k.zip",
    },
    Known {
        name: "lastfm",
        what: "HetRec 2011 LastFM 2K: plays of artists, without times",
        rows: 92_834,
        users: 1_892,
        items: 17_632,
        licence: "non-commercial, cite, ask Last.fm otherwise",
        folders: &["lastfm", "lastfm-2k", "hetrec2011-lastfm-2k"],
        layouts: &[Layout::LastFm],
        archive: "hetrec2011/hetrec2011-lastfm-2k.zip",
    },
    Known {
        name: "sample",
        what: "generated from a seed, shaped like MovieLens 100K",
        rows: super::sample::ROWS as u64,
        users: super::sample::USERS as u64,
        items: super::sample::ITEMS as u64,
        licence: "none: made up",
        folders: &[],
        layouts: &[],
        archive: "",
    },
];

const fn pinned(name: &'static str, needed: bool, bytes: u64, sha256: &'static str) -> Pinned {
    Pinned { name, bytes, sha256, needed }
}

const MOVIELENS: &[Pinned] = &[
    pinned("u.data", true, 1_979_173, "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"),
    pinned("u.item", true, 236_344, "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701"),
    pinned("u.user", true, 22_628, "f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c"),
    pinned("u.genre", true, 202, "9757e0d3e6b298159a80dd48eaf938114690e911e39af97a76949ef1663610bb"),
    pinned("u.info", false, 36, "5b0a40b2e47a729ee6203063f6dcf8790c2e63f5a18663e6ee318a72c5f3c27b"),
    pinned("u.occupation", false, 193, "cd5fbec9afe345d993a62fc7817df1a4a9079c4feb267b3118763b8fd942137d"),
    pinned("README", false, 6_750, "4883b8cf340ed0059971b33f56ad3adc88a40792108ebca3d24aafc4c82e8b52"),
];

const RECBOLE: &[Pinned] = &[
    pinned("ml-100k.inter", true, 1_979_230, "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
    pinned("ml-100k.item", true, 66_632, "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
    pinned("ml-100k.user", true, 22_697, "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972"),
];

const LASTFM: &[Pinned] = &[
    pinned("user_artists.dat", true, 1_296_455, "001400dc3c7d2667fca6e4ea6dc6acc31a9dd28ad5cd0f74cea988c019934d3b"),
    pinned("artists.dat", true, 1_925_879, "c173881362c6b28551368fecb3c0be5a6a30a6cd859e1f5775413dfe46d48648"),
    pinned("tags.dat", false, 234_468, "e95175f259be4c0c47644ae23d66131cd6d5767142a1405000e79f5584691d70"),
    pinned("user_friends.dat", false, 251_565, "9a3a8f7fa5f5ec832335e5b58ed69a4cf27c6f6f6afcde62134810eea46445a7"),
    pinned(
        "user_taggedartists.dat",
        false,
        4_366_696,
        "d31fe938fcfeed6f0059f37a36b156f63674d073fc2553e5cc9dc1595e365bc7",
    ),
    pinned("readme.txt", false, 4_627, "6fe5d1e6f67b025fc50cd70883dd1a1ff16c5ff37b5b7abfb33644b83468b209"),
];

impl Known {
    /// The set of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.name == name)
    }

    /// Names of the sets that can be downloaded.
    pub fn fetchable() -> impl Iterator<Item = &'static str> {
        KNOWN.iter().filter(|known| !known.layouts.is_empty()).map(|known| known.name)
    }
}

impl Layout {
    /// Every layout, in the order in which a folder is asked for them.
    pub const ALL: [Self; 3] = [Self::MovieLens, Self::Recbole, Self::LastFm];

    /// The files of the layout, those that its reader needs first.
    #[must_use]
    pub fn files(self) -> &'static [Pinned] {
        match self {
            Self::MovieLens => MOVIELENS,
            Self::Recbole => RECBOLE,
            Self::LastFm => LASTFM,
        }
    }

    /// Name of the set that is laid out like this.
    #[must_use]
    pub fn set(self) -> &'static str {
        match self {
            Self::MovieLens | Self::Recbole => "ml-100k",
            Self::LastFm => "lastfm",
        }
    }

    /// Whether a folder holds at least one file that the reader needs.
    #[must_use]
    pub fn is_in(self, dir: &Path) -> bool {
        self.needed().any(|name| dir.join(name).is_file())
    }

    /// Refuses a folder that lacks a file which the reader needs.
    ///
    /// # Errors
    /// Names the first file that is missing, and all that are needed.
    pub fn check_whole(self, dir: &Path) -> Result<(), CaptureError> {
        match self.needed().find(|name| !dir.join(name).is_file()) {
            None => Ok(()),
            Some(file) => Err(CaptureError::MissingFile {
                dir: dir.to_owned(),
                file,
                set: self.set(),
                needed: self.needed().collect::<Vec<_>>().join(", "),
            }),
        }
    }

    fn needed(self) -> impl Iterator<Item = &'static str> {
        self.files().iter().filter(|file| file.needed).map(|file| file.name)
    }
}

/// Names of the known sets, for an error.
pub(crate) fn names() -> String {
    KNOWN.iter().map(|known| known.name).collect::<Vec<_>>().join(", ")
}

/// What a folder may hold, for an error.
pub(crate) fn folders_allowed() -> String {
    let of = |layout: &Layout| format!("{} for {}", layout.needed().collect::<Vec<_>>().join(", "), layout.set());
    format!("a folder must have {}", Layout::ALL.iter().map(of).collect::<Vec<_>>().join("; or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pinned_checksum_is_one() {
        for file in Layout::ALL.iter().flat_map(|layout| layout.files()) {
            assert_eq!(hex::decode(file.sha256).map(|bytes| bytes.len()), Ok(32), "{}", file.name);
        }
    }
}
