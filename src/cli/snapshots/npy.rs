//! The factors of a snapshot as NumPy arrays, and the ids of their rows, in one folder.
//!
//! Apart from the other export, because it is for notebooks and cannot be restored.

use std::fs;
use std::path::Path;

use anyhow::{Context, anyhow};
use ndarray::{Array2, Axis, Slice};
use serde::Serialize;

use crate::cli::out::{self, cannot_write};
use crate::learn::ids::IdTable;
use crate::store::{Hash, Manifest, Section, Store, snapshot};

/// What `index.json` tells of the folder.
#[derive(Serialize)]
struct Index<'m> {
    about: &'static str,
    seq: u64,
    sha256: Hash,
    arrays: Vec<Described>,
    params: &'m crate::learn::params::Named,
}

#[derive(Serialize)]
struct Described {
    file: String,
    shape: [usize; 2],
    dtype: &'static str,
}

const INDEX: &str = "index.json";
const ABOUT: &str = "Each array is one part of the model, by row. Row n of an array of users is the user at index n of \
    user_ids.json, of an array of items the item at index n of item_ids.json. numpy.load reads an array.";

/// Writes the folder. Its files are made beside it, so that none is there that is not whole.
pub(super) async fn export(store: &dyn Store, manifest: &Manifest, output: &Path) -> anyhow::Result<()> {
    let parent = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = tempfile::tempdir_in(parent).with_context(|| cannot_write(output))?;
    let view = snapshot::load(store, manifest).await?;
    let hashes = snapshot::listed(store, manifest).await?;
    let bar = out::progress(Some(manifest.sections.len() as u64), "export");
    let mut arrays = Vec::new();
    for section in &manifest.sections {
        if let Some(rows) = matrix(store, section, &hashes[section.name.as_str()]).await? {
            let file = format!("{}.npy", section.name);
            ndarray_npy::write_npy(folder.path().join(&file), &rows).with_context(|| cannot_write(output))?;
            arrays.push(Described { file, shape: [rows.nrows(), rows.ncols()], dtype: "float32" });
        }
        bar.inc(1);
    }
    drop(bar);
    let json = |name: &str, text: serde_json::Result<String>| -> anyhow::Result<()> {
        fs::write(folder.path().join(name), format!("{}\n", text?)).with_context(|| cannot_write(output))
    };
    json("user_ids.json", serde_json::to_string(&names(&view.learned().users)))?;
    json("item_ids.json", serde_json::to_string(&names(&view.learned().items)))?;
    let (seq, sha256, count) = (manifest.seq, manifest.sha256, arrays.len());
    let index = Index { about: ABOUT, seq, sha256, arrays, params: &manifest.params };
    json(INDEX, serde_json::to_string_pretty(&index))?;
    put_in_place(folder.path(), output).with_context(|| cannot_write(output))?;
    out::print(&format!("wrote {count} arrays of snapshot {seq} to {}\n", output.display()))
}

fn names(ids: &IdTable) -> Vec<&str> {
    ids.names().iter().flat_map(|block| block.iter().map(|name| &**name)).collect()
}

/// The rows of a section of floats, shape `(rows, width)`; none for another section, or one without rows.
async fn matrix(store: &dyn Store, section: &Section, hashes: &[Hash]) -> anyhow::Result<Option<Array2<f32>>> {
    let mut blocks = Vec::with_capacity(hashes.len());
    for block in store.blocks(hashes).await? {
        let rows = snapshot::float_rows(&block).map_err(|reason| anyhow!("block {}: {reason}", block.hash))?;
        let Some(rows) = rows else { return Ok(None) };
        blocks.push(rows);
    }
    if blocks.is_empty() {
        return Ok(None);
    }
    let views: Vec<_> = blocks.iter().map(Array2::view).collect();
    let all = ndarray::concatenate(Axis(0), &views).with_context(|| format!("{} is ragged", section.name))?;
    let rows = all.nrows().min(usize::try_from(section.rows)?);
    Ok(Some(all.slice_axis(Axis(0), Slice::from(..rows)).to_owned()))
}

/// Moves the files to where they are wanted, the index last. Other files there stay.
fn put_in_place(folder: &Path, output: &Path) -> std::io::Result<()> {
    fs::create_dir_all(output)?;
    let names = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names: Vec<_> = names.collect::<Result<_, _>>()?;
    names.sort_by_key(|name| name == INDEX);
    names.iter().try_for_each(|name| fs::rename(folder.join(name), output.join(name)))
}
