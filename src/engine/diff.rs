//! What has changed from one snapshot to another, for the command and for HTTP.

use std::collections::{BTreeMap, BTreeSet};

use crate::learn::params::differences;
use crate::serve::snapshots::{CountsAnswer, DiffAnswer, DiffSide, Moved, SectionDiff};
use crate::store::{Block, Hash, Manifest, Store, StoreError, snapshot};

/// Blocks of each snapshot read at once.
const AT_ONCE: usize = 128;

/// Compares two snapshots; `compared` is told of each part.
///
/// # Errors
/// If the store fails, or a block is missing or damaged.
pub async fn compare(
    store: &dyn Store,
    a: &Manifest,
    b: &Manifest,
    compared: impl Fn() + Send,
) -> Result<DiffAnswer, StoreError> {
    let (of_a, of_b) = (snapshot::listed(store, a).await?, snapshot::listed(store, b).await?);
    let names: BTreeSet<&str> = of_a.keys().chain(of_b.keys()).copied().collect();
    let mut sections = Vec::new();
    for name in names {
        let part = |manifest: &Manifest, of: &BTreeMap<&str, Vec<Hash>>| {
            let rows = manifest.sections.iter().find(|section| section.name == name).map_or(0, |section| section.rows);
            (rows, of.get(name).cloned().unwrap_or_default())
        };
        sections.push(section(store, name, part(a, &of_a), part(b, &of_b)).await?);
        compared();
    }
    let side = |manifest: &Manifest| DiffSide {
        seq: manifest.seq,
        sha256: manifest.sha256.to_string(),
        counts: CountsAnswer {
            users: manifest.counts.users,
            items: manifest.counts.items,
            events: manifest.counts.events,
        },
        metrics: manifest.metrics.clone(),
    };
    let differing = differences(&a.params, &b.params);
    let params = differing.into_iter().map(|(name, a, b)| (name.to_owned(), [a.cloned(), b.cloned()])).collect();
    Ok(DiffAnswer { a: side(a), b: side(b), params, sections })
}

async fn section(
    store: &dyn Store,
    name: &str,
    (rows_a, a): (u64, Vec<Hash>),
    (rows_b, b): (u64, Vec<Hash>),
) -> Result<SectionDiff, StoreError> {
    let known: BTreeSet<_> = a.iter().collect();
    let mut diff = SectionDiff { name: name.to_owned(), rows: [rows_a, rows_b], ..SectionDiff::default() };
    let mut fresh = Vec::new();
    for (index, hash) in b.iter().enumerate() {
        if known.contains(hash) {
            diff.shared += 1;
            continue;
        }
        fresh.push(*hash);
        *if index < a.len() { &mut diff.changed } else { &mut diff.new } += 1;
    }
    for hashes in fresh.chunks(AT_ONCE) {
        diff.bytes += store.blocks(hashes).await?.iter().map(|block| block.bytes.len() as u64).sum::<u64>();
    }
    diff.moved = moved(store, rows_a.min(rows_b) as usize, &a, &b).await?;
    Ok(diff)
}

/// How far the first `rows` rows moved; none where they are not rows of floats of the same width.
async fn moved(store: &dyn Store, rows: usize, a: &[Hash], b: &[Hash]) -> Result<Option<Moved>, StoreError> {
    let (mut sum, mut max) = (0.0, 0.0_f64);
    // The first pair tells what rows they are, even where none has changed.
    let differing = a.iter().zip(b).enumerate().filter(|(index, (a, b))| *index == 0 || a != b);
    let pairs: Vec<(usize, (Hash, Hash))> = differing.map(|(index, (a, b))| (index, (*a, *b))).collect();
    for pairs in pairs.chunks(AT_ONCE) {
        let (of_a, of_b): (Vec<Hash>, Vec<Hash>) = pairs.iter().map(|(_, pair)| *pair).unzip();
        let (of_a, of_b) = (store.blocks(&of_a).await?, store.blocks(&of_b).await?);
        for ((index, _), (a, b)) in pairs.iter().zip(of_a.iter().zip(&of_b)) {
            let distances = distances(a, b).map_err(|(block, reason)| StoreError::Damaged {
                what: format!("block {block}"),
                location: store.location(),
                reason,
            })?;
            let Some(distances) = distances else { return Ok(None) };
            let first = index * distances.len();
            for distance in distances.into_iter().take(rows.saturating_sub(first)) {
                sum += distance;
                max = max.max(distance);
            }
        }
    }
    Ok((rows > 0 && !pairs.is_empty()).then(|| Moved { mean: sum / rows as f64, max }))
}

/// The distance of each row of one block to that of the other; else which block cannot be read, and why.
fn distances(a: &Block, b: &Block) -> Result<Option<Vec<f64>>, (Hash, String)> {
    let rows = |block: &Block| snapshot::float_rows(block).map_err(|reason| (block.hash, reason));
    let (Some(a), Some(b)) = (rows(a)?, rows(b)?) else { return Ok(None) };
    if a.dim() != b.dim() {
        return Ok(None);
    }
    let squares = (&b - &a).mapv(|difference| f64::from(difference).powi(2));
    Ok(Some(squares.rows().into_iter().map(|row| row.sum().sqrt()).collect()))
}
