//! Where a result is written to: a file that appears only once it is whole, or stdout.

use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use tempfile::NamedTempFile;

use crate::cli::out::{self, cannot_write};

/// A file, or stdout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Target {
    /// `-`
    Stdout,
    /// A path.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "-" { Self::Stdout } else { Self::File(text.into()) })
    }
}

/// A target that can be written to.
#[derive(Debug)]
pub(super) enum Output {
    /// Stdout.
    Stdout,
    /// A file beside the path that it is going to have.
    File(NamedTempFile, PathBuf),
}

impl Output {
    /// # Errors
    /// If the file's folder is not there or not to be written.
    pub(super) fn open(target: &Target) -> anyhow::Result<Self> {
        let Target::File(path) = target else { return Ok(Self::Stdout) };
        Ok(Self::File(out::file_beside(path)?, path.clone()))
    }

    pub(super) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// # Errors
    /// If it cannot be written; a file that was there before is then as it was.
    pub(super) fn write(self, text: &str) -> anyhow::Result<()> {
        let Self::File(mut file, path) = self else { return out::print(text) };
        file.write_all(text.as_bytes()).with_context(|| cannot_write(&path))?;
        file.persist(&path).with_context(|| cannot_write(&path))?;
        anstream::eprintln!("wrote {}", path.display());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_written_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("found.json");
        let target: Target = path.to_str().unwrap().parse().unwrap();
        drop(Output::open(&target).unwrap());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        Output::open(&target).unwrap().write("{}\n").unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{}\n");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_before_the_work() {
        let error = format!("{:#}", Output::open(&"nowhere/found.json".parse().unwrap()).unwrap_err());
        assert!(error.starts_with("cannot write nowhere/found.json: "), "{error}");
    }
}
