//! Whether a snapshot is whole, and else all that is wrong with it.
//!
//! Apart from loading, which stops at the first thing wrong: a person who mends wants the whole list.

use super::{Encoder, Source, listed, load};
use crate::store::{Block, Hash, Manifest, StoreError};

/// Blocks read at once.
const AT_ONCE: usize = 256;
/// Damaged blocks that are named; more are counted.
const NAMED: usize = 3;

/// What a check has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Blocks that are there and whole.
    pub blocks: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// All that is wrong; nothing if the snapshot is whole.
    pub wrong: Vec<String>,
}

/// Reads every block against its hash, loads the whole and hashes it again.
///
/// # Errors
/// If the source fails; damage is no error but a finding.
pub async fn check<S: Source + ?Sized>(source: &S, manifest: &Manifest) -> Result<Found, StoreError> {
    let mut found = Found::default();
    let Some(hashes) = finding(listed(source, manifest).await, &mut found.wrong)? else { return Ok(found) };
    let index = manifest.sections.iter().flat_map(|section| &section.index).copied();
    let hashes: Vec<Hash> = hashes.into_values().flatten().chain(index).collect();
    let mut damaged = Vec::new();
    for hashes in hashes.chunks(AT_ONCE) {
        for block in whole(source, hashes, &mut damaged).await? {
            found.blocks += 1;
            found.bytes += block.bytes.len() as u64;
        }
    }
    let more = damaged.len().saturating_sub(NAMED);
    found.wrong.extend(damaged.into_iter().take(NAMED));
    if more > 0 {
        found.wrong.push(format!("{more} more blocks are damaged"));
    }
    if found.wrong.is_empty()
        && let Some(view) = finding(load(source, manifest).await, &mut found.wrong)?
    {
        let recomputed = Encoder::new(manifest.params.clone()).hash(&view);
        if recomputed != manifest.sha256 {
            let sha256 = manifest.sha256;
            found.wrong.push(format!("it loads to a model of SHA-256 {recomputed}, its manifest says {sha256}"));
        }
    }
    Ok(found)
}

/// The blocks that are whole; of the others, what is wrong.
async fn whole<S: Source + ?Sized>(
    source: &S,
    hashes: &[Hash],
    damaged: &mut Vec<String>,
) -> Result<Vec<Block>, StoreError> {
    match source.read(hashes).await {
        Err(StoreError::Damaged { .. }) => {}
        other => return other,
    }
    let mut blocks = Vec::new();
    for hash in hashes {
        blocks.extend(finding(source.read(&[*hash]).await, damaged)?.into_iter().flatten());
    }
    Ok(blocks)
}

/// What was read, or nothing where the snapshot is at fault; then it is put down as wrong.
fn finding<T>(read: Result<T, StoreError>, wrong: &mut Vec<String>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Damaged { what, reason, .. }) => {
            wrong.push(format!("{what}: {reason}"));
            Ok(None)
        }
        Err(StoreError::Unsuitable { reason, .. }) => {
            wrong.push(reason);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
