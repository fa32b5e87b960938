//! What a prune may delete: the snapshots that are not kept, and the blocks that no other one names.
//!
//! Apart from the stores, so that both decide alike. A block may be deleted only if every manifest that stays is known
//! to do without it; where one cannot be read, no block is deleted at all: safety before space.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Block, Hash, Listed, Manifest, Pruned, Retention, SNAPSHOT_FORMAT, rules, snapshot};

/// What the manifest of any format says.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Head {
    #[serde(default)]
    format: Option<u32>,
    #[serde(default)]
    created_at_ms: Option<i64>,
}

impl Listed {
    pub(super) fn new(seq: u64, head: Head, manifest: Result<Manifest, String>) -> Self {
        Self { seq, format: head.format, created_at_ms: head.created_at_ms, manifest }
    }

    /// When it was taken, if this program may delete it: not what is newer than itself, or says nothing of itself.
    fn prunable(&self) -> Option<i64> {
        self.created_at_ms.filter(|_| self.format.is_some_and(|format| format <= SNAPSHOT_FORMAT))
    }

    /// The manifest, if its blocks can be known.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn readable(&self) -> Result<&Manifest, String> {
        match (&self.manifest, self.format) {
            (Ok(manifest), Some(SNAPSHOT_FORMAT)) => Ok(manifest),
            (_, Some(format)) if format != SNAPSHOT_FORMAT => {
                Err(format!("it has format {format}, and this freshet reads {SNAPSHOT_FORMAT}"))
            }
            (Err(reason), _) => Err(format!("its manifest cannot be read ({reason})")),
            (Ok(_), _) => Err("it says no format".into()),
        }
    }
}

/// Which snapshots go, and which stay.
pub(super) struct Choice<'l> {
    pub(super) gone: Vec<u64>,
    kept: Vec<&'l Listed>,
}

impl<'l> Choice<'l> {
    /// `listed` with the newest first; `base` is the snapshot that the store began with.
    pub(super) fn of(listed: &'l [Listed], keep: Retention, base: u64) -> Self {
        let taken: Vec<_> = listed.iter().filter_map(|one| Some((one.seq, one.prunable()?))).collect();
        let kept = keep.keep(&taken, base);
        let stays = |one: &&Listed| one.prunable().is_none() || kept.contains(&one.seq);
        let (kept, gone): (Vec<_>, Vec<_>) = listed.iter().partition(stays);
        Self { gone: gone.into_iter().map(|one| one.seq).collect(), kept }
    }

    pub(super) fn is_kept(&self, seq: u64) -> bool {
        self.kept.iter().any(|one| one.seq == seq)
    }

    /// What is deleted by it, no block yet.
    pub(super) fn pruned(&self) -> Pruned {
        let kept = self.kept.iter().map(|one| one.seq).collect();
        Pruned { snapshots: self.gone.clone(), kept, ..Pruned::default() }
    }

    /// The index blocks of the snapshots that stay.
    ///
    /// # Errors
    /// Which snapshot's blocks cannot be known, and what to do.
    pub(super) fn index(&self) -> Result<Vec<Hash>, String> {
        let mut index = Vec::new();
        for one in &self.kept {
            let manifest = one.readable().map_err(|reason| self::waiting(one.seq, &reason))?;
            index.extend(manifest.sections.iter().flat_map(|section| &section.index));
        }
        Ok(index)
    }

    /// Every block that the snapshots that stay name, by what was found of their index blocks.
    ///
    /// # Errors
    /// As [`Choice::index`].
    pub(super) fn live(&self, location: &str, found: &BTreeMap<Hash, Block>) -> Result<BTreeSet<Hash>, String> {
        let mut live = BTreeSet::new();
        for one in &self.kept {
            let waiting = |reason: String| self::waiting(one.seq, &reason);
            let manifest = one.readable().map_err(waiting)?;
            for hash in manifest.sections.iter().flat_map(|section| &section.index) {
                let block = rules::check_block(location, *hash, found.get(hash));
                let block = block.map_err(|error| waiting(error.to_string()))?;
                live.insert(*hash);
                live.extend(snapshot::index_hashes(&block.bytes).map_err(waiting)?);
            }
        }
        Ok(live)
    }
}

fn waiting(seq: u64, reason: &str) -> String {
    format!(
        "no block is deleted while snapshot {seq} is there, since what it names cannot be known: {reason}; put it right \
         with `freshet snapshots restore FILE`, or wait until it is pruned"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(seq: u64, format: Option<u32>) -> Listed {
        Listed::new(seq, Head { format, created_at_ms: Some(0) }, Err("as a test".into()))
    }

    #[test]
    fn what_is_newer_or_unknown_is_never_deleted_and_what_is_older_is() {
        let all: Vec<_> = [(5, Some(99)), (4, None), (3, Some(1)), (2, Some(1)), (1, Some(SNAPSHOT_FORMAT))]
            .map(|(seq, format)| listed(seq, format))
            .into();
        let choice = Choice::of(&all, Retention { last: 1, hourly: 0 }, 0);
        assert_eq!(choice.gone, [2, 1]);
        assert_eq!(choice.pruned().kept, [5, 4, 3]);
        let reason = choice.index().unwrap_err();
        assert!(reason.contains("snapshot 5") && reason.contains("format 99"), "{reason}");
    }
}
