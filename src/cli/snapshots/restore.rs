//! `freshet snapshots restore` and `freshet run --from-snapshot`: an exported snapshot back in a store.
//!
//! Both check the whole file before they write anything. A snapshot is worth something only where the events after it
//! are those that its model goes on with: in an empty store, or in the one that it was taken in.

use std::path::{Path, PathBuf};

use anyhow::bail;

use crate::cli::out;
use crate::config::Config;
use crate::consume::Offsets;
use crate::learn::params;
use crate::store::snapshot::archive::Archive;
use crate::store::snapshot::check::check;
use crate::store::snapshot::{self, Source};
use crate::store::{self, Claim, Hash, Manifest, Store};

/// Blocks put at once.
const AT_ONCE: usize = 256;

/// Puts an exported snapshot into a store: an empty one begins with it, the one that it is of is mended.
///
/// An empty store stands at the snapshot then, with its offsets: the engine reads the log from there on. In the store
/// that the snapshot was taken in, its blocks and its manifest are put right, until it is pruned. Everything is checked
/// before anything is written. The store is taken over: an engine that runs on it stops, and has to be started again.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet snapshots restore model.zip\n  \
                        freshet snapshots restore model.zip --set store.data_dir=copy")]
pub(super) struct Args {
    /// A file that `freshet snapshots export` wrote.
    file: PathBuf,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<()> {
    let archive = Archive::open(&args.file)?;
    let blocks = whole(&archive).await?;
    let store = store::open(&config.store).await?;
    let state = store.state().await?;
    let seq = archive.manifest.seq;
    if state.is_empty() {
        begin(&*store, &archive, &archive.manifest, &blocks).await?;
        return out::print(&format!("{} begins with snapshot {seq}\n", store.location()));
    }
    let manifest = belongs(&*store, &state, &archive).await?;
    let epoch = store.claim().await?.epoch;
    put(&*store, &archive, &blocks).await?;
    store.put_manifest(epoch, &manifest, &blocks).await?;
    out::print(&format!("snapshot {seq} is back in {}, with its {} blocks\n", store.location(), blocks.len()))
}

/// Has an empty store begin with an exported snapshot, so that the log is learned from its beginning on top of it. A store
/// that began with it, or holds it, goes on as it is.
///
/// # Errors
/// If the file is not whole, was learned under other parameters, or the store is another one.
pub(in crate::cli) async fn warm_start(store: &dyn Store, config: &Config, file: &Path) -> anyhow::Result<()> {
    let archive = Archive::open(file)?;
    let Manifest { seq, sha256, params: wanted, .. } = &archive.manifest;
    let ours = params::named(config);
    if *wanted != ours {
        let flags = params::flags(wanted, &ours);
        bail!("{} was learned under other parameters; start with {flags}", file.display());
    }
    let state = store.state().await?;
    if state.is_empty() {
        let blocks = whole(&archive).await?;
        // Offsets are places on the log of the store that it was taken in.
        let manifest = Manifest { offsets: Offsets::default(), ..archive.manifest.clone() };
        begin(store, &archive, &manifest, &blocks).await?;
        tracing::info!(seq, %sha256, store = store.location(), "begins with a snapshot");
        return Ok(());
    }
    match stored(store, *seq).await? {
        Some(stored) if stored.sha256 == *sha256 => Ok(()),
        None if state.base == *seq => Ok(()),
        _ => bail!(
            "{} is not empty and did not begin with {} (snapshot {seq}, SHA-256 {sha256}): its last event is {}; start \
             without --from-snapshot, or with another store.data_dir or store.database",
            store.location(),
            file.display(),
            state.progress.seq
        ),
    }
}

/// All blocks of a file, every one of which was checked.
async fn whole(archive: &Archive) -> anyhow::Result<Vec<Hash>> {
    let found = check(archive, &archive.manifest).await?;
    if !found.wrong.is_empty() {
        bail!(
            "{} is damaged, nothing was written: {}; copy it again, or export it again with `freshet snapshots export`",
            archive.place(),
            found.wrong.join("; ")
        );
    }
    Ok(snapshot::all_blocks(archive, &archive.manifest).await?)
}

async fn begin(store: &dyn Store, archive: &Archive, manifest: &Manifest, blocks: &[Hash]) -> anyhow::Result<()> {
    let epoch = store.claim().await?.epoch;
    put(store, archive, blocks).await?;
    Ok(store.begin(epoch, manifest, blocks).await?)
}

async fn put(store: &dyn Store, archive: &Archive, blocks: &[Hash]) -> anyhow::Result<()> {
    let bar = out::progress(Some(blocks.len() as u64), "restore");
    for hashes in blocks.chunks(AT_ONCE) {
        store.put_blocks(archive.read(hashes).await?.into()).await?;
        bar.inc(hashes.len() as u64);
    }
    Ok(())
}

/// The manifest to put back into a store that has events: its own where it is there, else that of the file.
async fn belongs(store: &dyn Store, state: &Claim, archive: &Archive) -> anyhow::Result<Manifest> {
    let (seq, at, location) = (archive.manifest.seq, state.progress.seq, store.location());
    if let Some(stored) = stored(store, seq).await?
        && stored.sha256 == archive.manifest.sha256
    {
        return Ok(stored);
    }
    if at < seq {
        bail!(
            "{location} has the events up to {at} and lacks those from there to snapshot {seq}; restore into an empty \
             store (another store.data_dir or store.database), or let the engine learn on first"
        );
    }
    if seq < state.base {
        bail!("{location} began with snapshot {}, and has no event between {seq} and that", state.base);
    }
    if archive.store_id != state.store_id && state.base != seq {
        bail!(
            "snapshot {seq} was taken in another store (named {}), and the events of {location} (named {}) are not those \
             that it has learned; restore into an empty store (another store.data_dir or store.database)",
            archive.store_id,
            state.store_id
        );
    }
    Ok(archive.manifest.clone())
}

/// The manifest of that `seq`, if it is there and can be read.
async fn stored(store: &dyn Store, seq: u64) -> anyhow::Result<Option<Manifest>> {
    let listed = store.listed().await?.into_iter().find(|one| one.seq == seq);
    Ok(listed.and_then(|one| one.readable().ok().cloned()))
}
