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
use ureq::config::ConfigBuilder;
use ureq::typestate::AgentScope;
use zip::ZipArchive;

use super::dataset::{self, DOWNLOADS, Dataset};
use super::error::CaptureError;
use super::known::{Known, Layout, Pinned};

const GROUPLENS: &str = "https://files.grouplens.org/datasets";
/// The Python package that carries a copy of ML-100k.
const PACKAGE: &str = "recbole==1.2.1";
/// Longest archive that is taken; the pinned ones have under 5 MB.
const MAX_ARCHIVE: u64 = 64 << 20;
/// Longest wait for a connection, an answer, or the next bytes of it.
const STALL: Duration = Duration::from_secs(20);

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
    let unknown =
        || CaptureError::Unknown { spec: name.to_owned(), allowed: Known::fetchable().collect::<Vec<_>>().join(", ") };
    let known = Known::named(name).filter(|known| !known.layouts.is_empty()).ok_or_else(unknown)?;
    Fetcher::default().fetch(known, into, force, report)
}

/// Where sets come from; tests put their own in.
struct Fetcher {
    base: String,
    agent: ureq::Agent,
    python: &'static str,
    files: fn(Layout) -> &'static [Pinned],
}

impl Default for Fetcher {
    fn default() -> Self {
        let agent = agent(STALL).build().into();
        Self { base: GROUPLENS.to_owned(), agent, python: "python3", files: Layout::files }
    }
}

/// An agent that gives up after so long without an answer or a byte, however long the whole takes.
fn agent(stall: Duration) -> ConfigBuilder<AgentScope> {
    ureq::Agent::config_builder()
        .user_agent(concat!("freshet/", env!("CARGO_PKG_VERSION")))
        .timeout_resolve(Some(stall))
        .timeout_connect(Some(stall))
        .timeout_recv_response(Some(stall))
        .timeout_per_read(Some(stall))
}

impl Fetcher {
    fn fetch(&self, known: &Known, into: &Path, force: bool, report: Report<'_>) -> Result<PathBuf, CaptureError> {
        let dir = into.join(known.name);
        if !force && known.layouts.iter().any(|layout| is_checked(&dir, (self.files)(*layout))) {
            report(Step::AlreadyThere(&dir));
            return Ok(dir);
        }
        std::fs::create_dir_all(into).map_err(CaptureError::write(into))?;
        let mut causes = Vec::new();
        for layout in known.layouts {
            // Beside the folder it becomes, since only within one file system a rename is atomic.
            let work =
                tempfile::Builder::new().prefix(".fetch-").tempdir_in(into).map_err(CaptureError::write(into))?;
            match self.from_source(known, *layout, work.path(), report) {
                Ok(()) => {
                    store(&work.path().join("files"), &dir, (self.files)(*layout))?;
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
        extract(&archive, &origin, (self.files)(layout), &work.join("files"))
    }

    fn download(&self, url: &str, work: &Path, report: Report<'_>) -> Result<PathBuf, CaptureError> {
        let failed = |reason: String| CaptureError::Source { origin: url.to_owned(), reason };
        let response = self.agent.get(url).call().map_err(|error| failed(error.to_string()))?;
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
        let wheel =
            entries.flatten().map(|entry| entry.path()).find(|path| path.extension().is_some_and(|e| e == "whl"));
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
    let mut zip =
        ZipArchive::new(file).map_err(|error| failed(format!("what came is not a whole zip archive: {error}")))?;
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::net::TcpListener;

    use zip::write::SimpleFileOptions;

    use super::*;

    const PINNED: &[Pinned] = &[Pinned {
        name: "u.data",
        bytes: 6,
        sha256: "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        needed: true,
    }];

    fn archive(content: &[u8]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in [("set/u.data", content), ("../../evil", b"evil")] {
            zip.start_file(name, SimpleFileOptions::default()).unwrap();
            zip.write_all(content).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    /// Answers every request with these bytes and hangs up.
    fn server(head: &str, body: &[u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let reply = [format!("HTTP/1.1 {head}\r\n\r\n").as_bytes(), body].concat();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    request.push(byte[0]);
                }
                stream.write_all(&reply).ok();
            }
        });
        format!("http://{address}")
    }

    /// Fetches LastFM, whose only source is the server; `steps` gets what is reported.
    fn fetch_from(base: &str, into: &Path, force: bool, steps: &mut Vec<String>) -> Result<PathBuf, String> {
        let agent = agent(Duration::from_millis(500)).proxy(None).build().into();
        let fetcher = Fetcher { base: base.to_owned(), agent, python: "no-such-python", files: |_| PINNED };
        let known = Known::named("lastfm").unwrap();
        let report = &mut |step: Step<'_>| steps.push(format!("{step:?}"));
        fetcher.fetch(known, into, force, report).map_err(|error| error.to_string())
    }

    fn ok(body: &[u8]) -> String {
        server(&format!("200 OK\r\ncontent-length: {}", body.len()), body)
    }

    #[test]
    fn a_set_is_fetched_checked_and_not_fetched_again() {
        let into = tempfile::tempdir().unwrap();
        let base = ok(&archive(b"hello\n"));
        let mut steps = Vec::new();
        let dir = fetch_from(&base, into.path(), false, &mut steps).unwrap();
        assert_eq!(std::fs::read(dir.join("u.data")).unwrap(), b"hello\n");
        assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 1, "nothing else is left or written elsewhere");
        assert!(steps[0].starts_with("Trying") && steps[1].starts_with("Received"), "{steps:?}");
        assert!(steps.last().unwrap().starts_with("Stored"), "{steps:?}");

        steps.clear();
        fetch_from("http://127.0.0.1:1", into.path(), false, &mut steps).unwrap();
        assert!(steps.len() == 1 && steps[0].starts_with("AlreadyThere"), "{steps:?}");
        fetch_from("http://127.0.0.1:1", into.path(), true, &mut steps).unwrap_err();
    }

    #[test]
    fn a_garbled_file_is_replaced_and_what_else_is_in_the_folder_stays() {
        let into = tempfile::tempdir().unwrap();
        let dir = into.path().join("lastfm");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("u.data"), "garbled").unwrap();
        std::fs::write(dir.join("notes"), "mine").unwrap();
        fetch_from(&ok(&archive(b"hello\n")), into.path(), false, &mut Vec::new()).unwrap();
        assert_eq!(std::fs::read(dir.join("u.data")).unwrap(), b"hello\n");
        assert_eq!(std::fs::read(dir.join("notes")).unwrap(), b"mine");
    }

    #[test]
    fn what_is_not_whole_or_not_as_pinned_is_never_kept() {
        let whole = archive(b"hello\n");
        let cut = server(&format!("200 OK\r\ncontent-length: {}", whole.len()), &whole[..40]);
        let cases = [
            (ok(&archive(b"hullo\n")), "\"u.data\" has the SHA-256 "),
            (ok(&archive(b"hello\nand more")), "not the pinned 5891b5b5"),
            (ok(b"<html>log in first</html>"), "what came is not a whole zip archive"),
            (ok(&whole[..40]), "what came is not a whole zip archive"),
            (cut, "after 40 bytes: "),
            (server("404 Not Found\r\ncontent-length: 0", b""), "404"),
            ("http://127.0.0.1:1".to_owned(), "http://127.0.0.1:1/hetrec2011/hetrec2011-lastfm-2k.zip: "),
        ];
        for (base, cause) in cases {
            let into = tempfile::tempdir().unwrap();
            let error = fetch_from(&base, into.path(), false, &mut Vec::new()).unwrap_err();
            assert!(error.contains(cause), "{cause} is not in: {error}");
            for part in ["cannot fetch lastfm: ", "--from DIR", "FRESHET_DATA=DIR"] {
                assert!(error.contains(part), "{part} is not in: {error}");
            }
            assert_eq!(std::fs::read_dir(into.path()).unwrap().count(), 0, "{cause}");
        }
    }

    #[test]
    fn where_all_sources_fail_each_cause_is_told() {
        let into = tempfile::tempdir().unwrap();
        let agent = agent(Duration::from_millis(500)).proxy(None).build().into();
        let fetcher = Fetcher { base: ok(b""), agent, python: "no-such-python", files: |_| PINNED };
        let known = Known::named("ml-100k").unwrap();
        let error = fetcher.fetch(known, into.path(), false, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("ml-100k.zip: what came is not a whole zip"), "{error}");
        assert!(error.contains("no-such-python -m pip download --no-deps recbole==1.2.1: cannot start it"), "{error}");
    }

    #[test]
    fn only_sets_that_have_files_can_be_fetched() {
        let error = fetch("sample", Path::new("."), false, &mut |_| ()).unwrap_err().to_string();
        assert!(error.ends_with("named \"sample\"; allowed are ml-100k, lastfm"), "{error}");
    }

    #[test]
    fn an_answer_that_stalls_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let into = tempfile::tempdir().unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let error = fetch_from(&base, into.path(), false, &mut Vec::new()).unwrap_err();
        assert!(error.contains("timeout"), "{error}");
    }
}
