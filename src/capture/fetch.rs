//! Gets the files of a known data set: from GroupLens over HTTPS, or ML-100k from inside a Python package.
//!
//! Apart from the readers, because it is the only part that uses the network. Nothing is kept that does not have the
//! checksum pinned in [`super::known`], so that it does not matter which source it came from.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::dataset::{self, DOWNLOADS, Dataset};
use super::error::CaptureError;
use super::known::{Known, Layout, Pinned};

const GROUPLENS: &str = "https://files.grouplens.org/datasets";
/// The Python package that carries a copy of ML-100k.
const PACKAGE: &str = "recbole==1.2.1";
/// Longest archive that is taken; the pinned ones have under 5 MB.
const MAX_ARCHIVE: u64 = 64 << 20;

/// What [`fetch`] is doing, for whoever shows it.
#[derive(Debug)]
pub enum Step<'a> {
    /// The files are in this folder already, with the right checksums.
    AlreadyThere(&'a Path),
    /// A source is asked.
    Trying(&'a str),
    /// So many bytes of the archive are here, of so many if the server told.
    Received(u64, Option<u64>),
    /// A source failed; the next one is tried, if there is one.
    Failed(&'a CaptureError),
    /// Every file had the right checksum and is in this folder now.
    Stored(&'a Path),
}

/// Shows steps.
pub type Report<'a> = &'a mut dyn FnMut(Step<'_>);

/// Opens a data set as [`dataset::open`] does, and fetches it first if it is a known one that is nowhere.
/// With `from`, nothing is fetched.
///
/// # Errors
/// If it can neither be found nor fetched, or not be read.
pub fn ensure(spec: &str, from: Option<&Path>, report: Report<'_>) -> Result<Dataset, CaptureError> {
    match dataset::open(spec, from) {
        Err(CaptureError::NotFound { name, .. }) if from.is_none() => {
            let dir = fetch(name, Path::new(DOWNLOADS), false, report)?;
            dataset::open(&dir.to_string_lossy(), None)
        }
        opened => opened,
    }
}

/// Gets the files of a known set into a folder of the set's name inside `into`, and returns that folder. Does nothing if
/// they are there with the right checksums, unless `force`.
///
/// # Errors
/// If the name is not that of a set that can be fetched, or no source gives the files.
pub fn fetch(name: &str, into: &Path, force: bool, report: Report<'_>) -> Result<PathBuf, CaptureError> {
    let unknown = || CaptureError::Unknown {
        spec: name.to_owned(),
        allowed: Known::fetchable().collect::<Vec<_>>().join(", "),
    };
    let known = Known::named(name).filter(|known| !known.layouts.is_empty()).ok_or_else(unknown)?;
    Fetcher::default().fetch(known, into, force, report)
}

/// Where sets come from; tests put their own in.
struct Fetcher {
    base: String,
    python: &'static str,
    stall: Duration,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self { base: GROUPLENS.to_owned(), python: "python3", stall: Duration::from_secs(20) }
    }
}

impl Fetcher {
    fn fetch(&self, known: &Known, into: &Path, force: bool, report: Report<'_>) -> Result<PathBuf, CaptureError> {
        let dir = into.join(known.name);
        if !force && known.layouts.iter().any(|layout| is_checked(&dir, layout.files())) {
            report(Step::AlreadyThere(&dir));
            return Ok(dir);
        }
        std::fs::create_dir_all(into).map_err(CaptureError::write(into))?;
        let mut causes = Vec::new();
        for layout in known.layouts {
            // Beside the folder it becomes, since only within one file system a rename is atomic.
            let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(into).map_err(CaptureError::write(into))?;
            match self.from_source(known, *layout, work.path(), report) {
                Ok(()) => {
                    store(&work.path().join("files"), &dir, layout.files())?;
                    report(Step::Stored(&dir));
                    return Ok(dir);
                }
                Err(error) => {
                    report(Step::Failed(&error));
                    causes.push(error.to_string());
                }
            }
        }
        Err(CaptureError::Fetch { name: known.name, causes })
    }

    /// Puts the checked files of a layout into `work/files`.
    fn from_source(&self, known: &Known, layout: Layout, work: &Path, report: Report<'_>) -> Result<(), CaptureError> {
        let (archive, origin) = match layout {
            Layout::MovieLens | Layout::LastFm => {
                let url = format!("{}/{}", self.base, known.archive);
                report(Step::Trying(&url));
                (self.download(&url, work, report)?, url)
            }
            Layout::Recbole => {
                let command = format!("{} -m pip download --no-deps {PACKAGE}", self.python);
                report(Step::Trying(&command));
                (self.pip(&command, work)?, command)
            }
        };
        extract(&archive, &origin, layout.files(), &work.join("files"))
    }

    fn download(&self, url: &str, work: &Path, report: Report<'_>) -> Result<PathBuf, CaptureError> {
        let failed = |reason: String| CaptureError::Source { origin: url.to_owned(), reason };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .user_agent(concat!("freshet/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(self.stall))
            .timeout_connect(Some(self.stall))
            .timeout_recv_response(Some(self.stall))
            .timeout_per_read(Some(self.stall))
            .build()
            .into();
        let response = agent.get(url).call().map_err(|error| failed(error.to_string()))?;
        let total = response.body().content_length();
        let mut body = response.into_body().into_with_config().limit(MAX_ARCHIVE).reader();
        let path = work.join("archive.zip");
        let mut file = File::create(&path).map_err(CaptureError::write(&path))?;
        let mut chunk = vec![0; 1 << 16];
        let mut received = 0;
        loop {
            let read = body.read(&mut chunk).map_err(|error| failed(format!("after {received} bytes: {error}")))?;
            if read == 0 {
                return Ok(path);
            }
            file.write_all(&chunk[..read]).map_err(CaptureError::write(&path))?;
            received += read as u64;
            report(Step::Received(received, total));
        }
    }

    /// The package's wheel, which is a zip.
    fn pip(&self, command: &str, work: &Path) -> Result<PathBuf, CaptureError> {
        let failed = |reason: String| CaptureError::Source { origin: command.to_owned(), reason };
        let output = Command::new(self.python)
            .args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"])
            .args(["--only-binary", ":all:", "--timeout", "20", "--retries", "2", PACKAGE, "--dest"])
            .arg(work)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(format!("cannot start it: {error}")))?;
        if !output.status.success() {
            return Err(failed(last_line(&output.stderr).unwrap_or_else(|| output.status.to_string())));
        }
        let entries = std::fs::read_dir(work).map_err(CaptureError::read(work))?;
        let wheel = entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
        wheel.ok_or_else(|| failed("it succeeded, but left no wheel".to_owned()))
    }
}

fn last_line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Takes the pinned files out of an archive, by their names alone, and refuses any that is not what was pinned.
fn extract(archive: &Path, origin: &str, files: &[Pinned], into: &Path) -> Result<(), CaptureError> {
    let failed = |reason: String| CaptureError::Source { origin: origin.to_owned(), reason };
    let file = File::open(archive).map_err(CaptureError::read(archive))?;
    let mut zip = ZipArchive::new(file).map_err(|error| failed(format!("what came is not a whole zip archive: {error}")))?;
    std::fs::create_dir_all(into).map_err(CaptureError::write(into))?;
    for pinned in files {
        let bytes = entry(&mut zip, pinned).map_err(failed)?;
        let path = into.join(pinned.name);
        std::fs::write(&path, bytes).map_err(CaptureError::write(&path))?;
    }
    Ok(())
}

fn entry(zip: &mut ZipArchive<impl Read + Seek>, pinned: &Pinned) -> Result<Vec<u8>, String> {
    let last = |name: &[u8]| name.rsplit(|byte| *byte == b'/').next() == Some(pinned.name.as_bytes());
    let index = (0..zip.len())
        .find(|index| zip.by_index_raw(*index).is_ok_and(|entry| last(entry.name_raw())))
        .ok_or_else(|| format!("the archive has no file {:?}", pinned.name))?;
    let refuse = |error: &dyn std::fmt::Display| format!("cannot unzip {:?}: {error}", pinned.name);
    let mut bytes = Vec::new();
    let file = zip.by_index(index).map_err(|error| refuse(&error))?;
    // One byte more than there may be, so that a longer file fails its checksum and a bomb stays small.
    file.take(pinned.bytes + 1).read_to_end(&mut bytes).map_err(|error| refuse(&error))?;
    let found = hex::encode(Sha256::digest(&bytes));
    if found == pinned.sha256 {
        return Ok(bytes);
    }
    Err(format!("{:?} has the SHA-256 {found}, not the pinned {}", pinned.name, pinned.sha256))
}

/// Whether a folder holds every file as pinned.
fn is_checked(dir: &Path, files: &[Pinned]) -> bool {
    files.iter().all(|pinned| {
        let bytes = std::fs::read(dir.join(pinned.name)).unwrap_or_default();
        bytes.len() as u64 == pinned.bytes && hex::encode(Sha256::digest(&bytes)) == pinned.sha256
    })
}

/// Moves the files into their folder: all at once where it is new, else one by one, so that whatever else is in it stays.
fn store(from: &Path, dir: &Path, files: &[Pinned]) -> Result<(), CaptureError> {
    if !dir.exists() {
        return std::fs::rename(from, dir).map_err(CaptureError::write(dir));
    }
    for pinned in files {
        let path = dir.join(pinned.name);
        std::fs::rename(from.join(pinned.name), &path).map_err(CaptureError::write(&path))?;
    }
    Ok(())
}
