//! What a server makes of a trainer's records: plain data, apart from where they come from and who is served.
//!
//! The hash of the whole model decides. A commit is taken only if the blocks that are there make the model that it names:
//! so a gap, a compacted or truncated topic, another timeline or a damaged block can delay a server, and never have it
//! answer from a model that no trainer had.

use crate::learn::params::Named;
use crate::store::snapshot::Parts;
use crate::store::snapshot::delta::{self, Changes, Commit, NotUnderstood, Teller, Told};
use crate::store::{Hash, Manifest};

/// The model that a server has.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// Epoch of the trainer that told of it.
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) batch: u64,
    pub(super) sha256: Hash,
    pub(super) params: Named,
    pub(super) parts: Parts,
}

impl Base {
    pub(super) fn new(manifest: &Manifest, parts: Parts) -> Self {
        let Manifest { epoch, seq, batch, sha256, ref params, .. } = *manifest;
        Self { epoch, seq, batch, sha256, params: params.clone(), parts }
    }
}

/// What the newest commit has come to.
#[derive(Debug)]
pub(super) enum Settled {
    /// There is none since the last time.
    Nothing,
    /// It names the model that is there.
    Current(Box<Commit>),
    /// It made another model of the one that was there.
    Changed(Box<Commit>),
    /// What is there does not make the model that it names.
    Wrong(String),
}

/// Follows a trainer.
#[derive(Debug, Default)]
pub(super) struct Follower {
    base: Option<Base>,
    /// The trainer whose records are taken: the last one of the store that was heard last.
    teller: Teller,
    /// `seq` and time of the newest commit, and its epoch if that is lower than one seen before.
    pub(super) heard: Option<Heard>,
    /// Blocks behind the newest commit.
    pending: Changes,
    /// Blocks before it that are not part of the base.
    staged: Changes,
    commit: Option<Box<Commit>>,
}

/// The newest commit that was read, whatever has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) seq: u64,
    pub(super) at_ms: i64,
    /// Whether a trainer of a later epoch was heard before.
    pub(super) outdated: bool,
}

impl Follower {
    pub(super) fn base(&self) -> Option<&Base> {
        self.base.as_ref()
    }

    /// Goes on from another model. What was told after it still counts.
    pub(super) fn rebase(&mut self, base: Base) {
        self.pending.keep_after(base.epoch, base.batch);
        self.staged.keep_after(base.epoch, base.batch);
        self.base = Some(base);
    }

    /// The topic is read from another place: what was told before comes again, or is gone.
    pub(super) fn read_anew(&mut self) {
        self.pending.clear();
        self.staged.clear();
        self.commit = None;
    }

    /// The topic is another one: trainers of any epoch are heard.
    pub(super) fn another_topic(&mut self) {
        self.another_store(Teller::default());
    }

    /// Takes a record.
    ///
    /// # Errors
    /// If it is not understood; then nothing has changed.
    pub(super) fn take(&mut self, key: &[u8], payload: &[u8]) -> Result<(), NotUnderstood> {
        match delta::read(key, payload)? {
            Told::Block(told) => {
                if self.outdated(told.teller) {
                    return Ok(());
                }
                let at = (told.teller.epoch, told.batch);
                let of_base = self.base.as_ref().is_some_and(|base| at <= (base.epoch, base.batch));
                if !of_base {
                    self.pending.add(told);
                }
            }
            Told::Commit(commit) => {
                let outdated = self.outdated(commit.teller());
                self.heard = Some(Heard { seq: commit.seq, at_ms: commit.sent_at_ms, outdated });
                if !outdated {
                    self.staged.append(&mut self.pending);
                    self.commit = Some(commit);
                }
            }
        }
        Ok(())
    }

    /// Whether a later trainer of the same store was heard. The first record of a later one ends what an earlier one had
    /// begun.
    fn outdated(&mut self, teller: Teller) -> bool {
        if teller.store != self.teller.store {
            self.another_store(teller);
        } else if teller.epoch > self.teller.epoch {
            self.teller = teller;
            self.pending.clear();
        }
        teller.epoch < self.teller.epoch
    }

    /// What was told of another store counts no longer, and the model that is there is older than whatever comes.
    fn another_store(&mut self, teller: Teller) {
        let first = self.teller == Teller::default();
        self.read_anew();
        self.teller = teller;
        if let Some(base) = self.base.as_mut().filter(|_| !first) {
            base.epoch = 0;
        }
    }

    /// Holds the newest commit against what is there. One that is wrong is kept no longer, but its blocks are: the next one
    /// may be right.
    pub(super) fn settle(&mut self) -> Settled {
        let Some(commit) = self.commit.take() else { return Settled::Nothing };
        if let Some(base) = &mut self.base {
            if (commit.seq, commit.sha256) == (base.seq, base.sha256) {
                (base.epoch, base.batch) = (commit.epoch, commit.batch);
                self.staged.clear();
                return Settled::Current(commit);
            }
            // A snapshot may be ahead of the last that its trainer told.
            if (commit.epoch, commit.batch) < (base.epoch, base.batch) {
                return Settled::Nothing;
            }
        }
        match self.candidate(&commit) {
            Ok(parts) => {
                let Commit { epoch, seq, batch, sha256, ref params, .. } = *commit;
                self.base = Some(Base { epoch, seq, batch, sha256, params: params.clone(), parts });
                self.staged.clear();
                Settled::Changed(commit)
            }
            Err(reason) => Settled::Wrong(reason),
        }
    }

    /// The model that a commit names, made of what is there: of the base and what was told after it, or of what was told alone,
    /// where the base is of another model.
    fn candidate(&self, commit: &Commit) -> Result<Parts, String> {
        let made = |parts: &Parts| {
            let made = parts.changed(&self.staged, &commit.parts)?;
            let is_it = made.hash(&commit.params, &commit.parts) == commit.sha256;
            if is_it { Ok(made) } else { Err("what is there does not make the model of its hash".to_owned()) }
        };
        let none = Parts::default();
        let (stands, parts) = self.base.as_ref().map_or((0, &none), |base| (base.seq, &base.parts));
        let why = match made(parts) {
            Ok(parts) => return Ok(parts),
            Err(why) => why,
        };
        if let Ok(parts) = made(&none) {
            return Ok(parts);
        }
        let Commit { seq, after, delta, epoch, .. } = commit;
        let gap =
            if *after > stands { format!("; deltas between {stands} and {after} are missing") } else { String::new() };
        Err(format!("delta {delta} of the trainer's epoch {epoch} (events up to {seq}) cannot be taken: {why}{gap}"))
    }
}

#[cfg(test)]
mod tests;
