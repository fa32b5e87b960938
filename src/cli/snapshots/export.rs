//! `freshet snapshots export`: a snapshot as one file, or its factors for a notebook.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::HumanBytes;

use super::{find, npy};
use crate::cli::out::{self, cannot_write};
use crate::store::snapshot::archive;
use crate::store::{Manifest, Store};

/// Writes a snapshot to one file, or its factors as NumPy arrays.
///
/// The file is a ZIP with the manifest and every block, each under its SHA-256; `freshet snapshots restore` and
/// `freshet run --from-snapshot` read it.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  freshet snapshots export\n  freshet snapshots export 100000 --output model.zip\n  \
                        freshet snapshots export latest --format npy --output factors"
)]
pub(super) struct Args {
    /// The snapshot's seq, or "latest".
    #[arg(default_value = "latest")]
    snapshot: String,
    /// File, or for npy the folder, to write; without it a name made of the seq, in the current folder.
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Zip)]
    format: Format,
    /// Replaces what is there.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// One file that can be restored.
    Zip,
    /// A folder of NumPy arrays, with the ids as JSON.
    Npy,
}

pub(super) async fn run(args: &Args, store: &dyn Store) -> anyhow::Result<()> {
    let manifest = find(store, &args.snapshot).await?;
    let ending = match args.format {
        Format::Zip => ".zip",
        Format::Npy => "-npy",
    };
    let default = || format!("freshet-snapshot-{}{ending}", manifest.seq).into();
    let output = args.output.clone().unwrap_or_else(default);
    if output.exists() && !args.force {
        bail!("{} is there already; give another --output, or --force to replace it", output.display());
    }
    match args.format {
        Format::Zip => zip(store, &manifest, &output).await,
        Format::Npy => npy::export(store, &manifest, &output).await,
    }
}

async fn zip(store: &dyn Store, manifest: &Manifest, output: &Path) -> anyhow::Result<()> {
    let store_id = store.state().await?.store_id;
    let mut file = out::file_beside(output)?;
    let bar = out::progress(None, "export");
    let target = (std::io::BufWriter::new(file.as_file_mut()), output);
    archive::write(store, manifest, &store_id, target, |blocks| bar.inc(blocks as u64)).await?;
    file.as_file().sync_all().with_context(|| cannot_write(output))?;
    let file = file.persist(output).with_context(|| cannot_write(output))?;
    drop(bar);
    let bytes = HumanBytes(file.metadata().map_or(0, |file| file.len()));
    out::print(&format!("wrote snapshot {} to {}, {bytes}\n", manifest.seq, output.display()))
}
