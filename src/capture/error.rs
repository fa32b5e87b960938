//! Why data cannot be had, read or written, in words that name the file, the line, the value and what is allowed.
//!
//! Apart from the readers, so that each of them reports the same mistake in the same words.

use std::io;
use std::path::{Path, PathBuf};

/// Longest part of a found value that is shown.
const SHOWN_CHARS: usize = 60;

/// Why data cannot be had, read or written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file system refused to read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system refused to write.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that a set needs is not in the set's folder.
    #[error("{} has no file {file:?}, which {set} needs; a whole set has {needed}", dir.display())]
    MissingFile {
        /// The set's folder.
        dir: PathBuf,
        /// The file that is not there.
        file: &'static str,
        /// The set's name.
        set: &'static str,
        /// All files that are needed.
        needed: String,
    },
    /// A file without any row.
    #[error("{} is empty; expected {expected}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What a row holds.
        expected: &'static str,
    },
    /// A header that lacks a column, has one twice, or has one that is not known.
    #[error("{}: line 1: {problem}; expected {expected}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What a header may be.
        expected: &'static str,
    },
    /// A line that is no row.
    #[error("{}: line {line}: {problem}; found {found}, expected {expected}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
        /// The line, or its beginning, quoted.
        found: String,
        /// What a row holds.
        expected: &'static str,
    },
    /// A value that its field cannot hold.
    #[error("{}: line {line}: field {field:?} is {found}; allowed is {allowed}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// Name of the field.
        field: &'static str,
        /// The value, or its beginning, quoted.
        found: String,
        /// What the field may hold.
        allowed: &'static str,
    },
    /// A name that is neither a data set's nor a file's.
    #[error("no data set or file is named {spec:?}; allowed are {allowed}")]
    Unknown {
        /// What was asked for.
        spec: String,
        /// Names and kinds of file that are allowed.
        allowed: String,
    },
    /// A file or folder whose contents cannot be told.
    #[error("cannot tell what {} holds: {allowed}", path.display())]
    UnknownFormat {
        /// The file or folder.
        path: PathBuf,
        /// What is allowed.
        allowed: String,
    },
    /// A known data set that is in none of the places looked at.
    #[error(
        "the files of {name} are not here; looked in {}; get them with `freshet data fetch {name}`, or name their folder with --from DIR or FRESHET_DATA=DIR",
        list(tried)
    )]
    NotFound {
        /// The set's name.
        name: &'static str,
        /// Folders looked at, in order.
        tried: Vec<PathBuf>,
    },
    /// No source of a data set gave files that have the pinned checksums.
    #[error(
        "cannot fetch {name}: {}; check the network or the proxy (HTTPS_PROXY), or get the files yourself and name their folder with --from DIR or FRESHET_DATA=DIR",
        causes.join("; ")
    )]
    Fetch {
        /// The set's name.
        name: &'static str,
        /// What each source failed with.
        causes: Vec<String>,
    },
    /// One source of a data set failed.
    #[error("{origin}: {reason}")]
    Source {
        /// Address or command.
        origin: String,
        /// What went wrong.
        reason: String,
    },
}

impl CaptureError {
    /// An error of reading `path`, for `map_err`.
    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    /// An error of writing `path`, for `map_err`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }
}

/// A value as an error shows it: quoted, control and foreign bytes escaped, cut to a length that fits a line.
pub(crate) fn shown(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_value_is_quoted_escaped_and_cut() {
        assert_eq!(shown(b"five\t\xff"), "\"five\\t\u{fffd}\"");
        assert_eq!(shown("é".repeat(100).as_bytes()), format!("\"{}\"…", "é".repeat(SHOWN_CHARS)));
    }
}
