//! A snapshot as one file, to be kept, moved and started from: a ZIP of `freshet.json`, `snapshot.json` (the manifest)
//! and `blocks/<sha256>`.
//!
//! Apart from the stores, because a file outlives them: it says which format it has, and the same snapshot of the same
//! store gives the same bytes. Nothing in a file is believed before its hash is checked.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::{Source, all_blocks};
use crate::store::garbage::Head;
use crate::store::{Block, Hash, Listed, Manifest, StoreError, rules};

/// Format of the files that this program writes, and the newest that it reads.
pub const EXPORT_FORMAT: u32 = 1;

const ABOUT: &str = "freshet.json";
const MANIFEST: &str = "snapshot.json";

/// Blocks read at once.
const AT_ONCE: usize = 256;
/// Most bytes that an entry is read to: no block and no manifest has more, whatever a file claims.
const MAX_ENTRY: u64 = 256 << 20;

const EXPORT_AGAIN: &str = "copy it again, or export it again with `freshet snapshots export`";

/// The first entry: what the rest is, and what it must hash to.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    format: u32,
    /// Store that the snapshot was taken in: its events are there.
    store_id: String,
    model_sha256: Hash,
    manifest_sha256: Hash,
}

/// What the first entry says in every format.
#[derive(Debug, Deserialize)]
struct Version {
    format: u32,
}

/// Writes a snapshot of the store `store_id` to `file`, which is known to people as `path`; `wrote` is told the number
/// of blocks after each few.
///
/// # Errors
/// If the snapshot is not whole, its source fails, or the file cannot be written.
pub async fn write<S: Source + ?Sized>(
    source: &S,
    manifest: &Manifest,
    store_id: &str,
    (file, path): (impl Write + Seek + Send, &Path),
    wrote: impl Fn(usize) + Send,
) -> Result<(), StoreError> {
    let failed = |reason: String| refused("write the export", path, reason);
    let json = |value: Result<Vec<u8>, serde_json::Error>| value.map_err(|error| failed(error.to_string()));
    let snapshot = json(serde_json::to_vec_pretty(manifest))?;
    let about = About {
        format: EXPORT_FORMAT,
        store_id: store_id.into(),
        model_sha256: manifest.sha256,
        manifest_sha256: Hash::of(&snapshot),
    };
    let mut zip = ZipWriter::new(file);
    let mut add = |name: &str, bytes: &[u8]| {
        // The time of every entry is the first one that a ZIP can hold.
        let options = SimpleFileOptions::default().last_modified_time(zip::DateTime::default());
        zip.start_file(name, options)?;
        zip.write_all(bytes).map_err(ZipError::from)
    };
    let failed = |error: ZipError| failed(error.to_string());
    add(ABOUT, &json(serde_json::to_vec_pretty(&about))?).map_err(failed)?;
    add(MANIFEST, &snapshot).map_err(failed)?;
    let blocks: BTreeSet<Hash> = all_blocks(source, manifest).await?.into_iter().collect();
    for hashes in blocks.into_iter().collect::<Vec<_>>().chunks(AT_ONCE) {
        for block in source.read(hashes).await? {
            add(&entry(block.hash), &block.bytes).map_err(failed)?;
        }
        wrote(hashes.len());
    }
    zip.finish().map_err(failed)?.flush().map_err(|error| failed(error.into()))
}

/// An exported file whose manifest is what was exported; its blocks are checked as they are read.
#[derive(Debug)]
pub struct Archive {
    /// What names the blocks.
    pub manifest: Manifest,
    /// Name of the store that the snapshot was taken in.
    pub store_id: String,
    location: String,
    zip: Mutex<ZipArchive<BufReader<File>>>,
}

impl Archive {
    /// Opens a file.
    ///
    /// # Errors
    /// [`StoreError::Unsuitable`] if it is not an exported snapshot, or of a newer format; [`StoreError::Damaged`] if it
    /// is cut short or its manifest is not the one that was exported.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let location = path.display().to_string();
        let file = File::open(path).map_err(|error| refused("read an exported snapshot", path, error.to_string()))?;
        let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|error| no_zip(path, &error))?;
        let unsuitable = |reason: String| StoreError::Unsuitable { location: location.clone(), reason };
        let foreign = |reason: String| {
            unsuitable(format!("it is no exported snapshot ({reason}); give a file of `freshet snapshots export`"))
        };
        let about = content(&mut zip, ABOUT).map_err(|reason| foreign(format!("{ABOUT}: {reason}")))?;
        let Version { format } =
            serde_json::from_slice(&about).map_err(|error| foreign(format!("{ABOUT}: {error}")))?;
        if format > EXPORT_FORMAT {
            return Err(unsuitable(format!(
                "it has export format {format}, this program reads up to {EXPORT_FORMAT}; use a newer freshet"
            )));
        }
        let damaged = |what: &str, reason: String| damaged(&location, what, format!("{reason}; {EXPORT_AGAIN}"));
        let about: About = serde_json::from_slice(&about).map_err(|error| damaged(ABOUT, error.to_string()))?;
        let manifest = content(&mut zip, MANIFEST).map_err(|reason| damaged(MANIFEST, reason))?;
        let actual = Hash::of(&manifest);
        if actual != about.manifest_sha256 {
            let reason = format!("it has the SHA-256 {actual}, {ABOUT} says {}", about.manifest_sha256);
            return Err(damaged(MANIFEST, reason));
        }
        let manifest = manifest_of(&manifest).map_err(unsuitable)?;
        if manifest.sha256 != about.model_sha256 {
            let reason = format!("it is of the model {}, {ABOUT} of {}", manifest.sha256, about.model_sha256);
            return Err(damaged(MANIFEST, reason));
        }
        Ok(Self { manifest, store_id: about.store_id, location, zip: Mutex::new(zip) })
    }
}

/// The manifest, or why this program cannot read it.
fn manifest_of(json: &[u8]) -> Result<Manifest, String> {
    let head: Head = serde_json::from_slice(json).unwrap_or_default();
    let manifest = serde_json::from_slice(json).map_err(|error| error.to_string());
    let listed = Listed::new(0, head, manifest);
    let unreadable = |reason| format!("{reason}; use the freshet that exported it");
    listed.readable().cloned().map_err(unreadable)
}

#[async_trait]
impl Source for Archive {
    fn place(&self) -> String {
        self.location.clone()
    }

    async fn read(&self, hashes: &[Hash]) -> Result<Vec<Block>, StoreError> {
        let mut zip = self.zip.lock();
        let mut blocks = Vec::with_capacity(hashes.len());
        for hash in hashes {
            let damaged = |reason| damaged(&self.location, &format!("block {hash}"), reason);
            let block = Block { hash: *hash, bytes: content(&mut zip, &entry(*hash)).map_err(damaged)? };
            rules::check_block(&self.location, *hash, Some(&block))?;
            blocks.push(block);
        }
        Ok(blocks)
    }
}

fn entry(hash: Hash) -> String {
    format!("blocks/{hash}")
}

/// The bytes of one entry, or what is wrong with it.
fn content(zip: &mut ZipArchive<BufReader<File>>, name: &str) -> Result<Vec<u8>, String> {
    let entry = match zip.by_name(name) {
        Err(ZipError::FileNotFound) => return Err("it is missing".into()),
        other => other.map_err(|error| error.to_string())?,
    };
    let mut bytes = Vec::new();
    entry.take(MAX_ENTRY).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// A file that does not open as a ZIP: one that was cut short, or something else.
fn no_zip(path: &Path, error: &ZipError) -> StoreError {
    let mut magic = [0; 2];
    let begins = File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == *b"PK";
    let location = path.display().to_string();
    if begins {
        return damaged(&location, "the file", format!("it is cut short or changed ({error}); {EXPORT_AGAIN}"));
    }
    let reason = "it is no exported snapshot, not even a ZIP file; give a file of `freshet snapshots export`".into();
    StoreError::Unsuitable { location, reason }
}

fn damaged(location: &str, what: &str, reason: String) -> StoreError {
    StoreError::Damaged { what: what.into(), location: location.into(), reason }
}

fn refused(action: &'static str, path: &Path, reason: String) -> StoreError {
    StoreError::Refused { action, location: path.display().to_string(), reason }
}
