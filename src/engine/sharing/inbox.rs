//! What was heard of other trainers, until all of an exchange is there.
//!
//! Pure: no topic, no time. Rows wait for the commit that says that they are whole; rows of an exchange that is known
//! already, or of a store that the trainer has left, are dropped. So a commit may count only where all rows that it stands
//! for were read: where the beginning that it names was, on the same topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decode::Contributions;
use crate::decode::contribution::{Commit, Told, Words};
use crate::learn::exchange::Heard;
use crate::learn::params::{self, Named};

/// Most bytes of rows that are handed on as one: a store keeps them as one document.
const AT_ONCE: usize = 4 << 20;

/// A row that waits for its commit.
#[derive(Debug)]
struct Waiting {
    store: u64,
    number: u64,
    row: Vec<f32>,
}

/// One of the other trainers, or this one.
#[derive(Debug, Default)]
struct Trainer {
    known: Heard,
    /// What was read of this topic.
    topic: OnTopic,
}

/// What was read of a trainer on one topic.
#[derive(Debug, Default)]
struct OnTopic {
    waiting: BTreeMap<Arc<str>, Waiting>,
    greetings: BTreeSet<String>,
    beginnings: BTreeSet<String>,
    /// The last of them: a commit that names one before it stands for nothing any more.
    beginning: Option<String>,
    /// The last commit that fits.
    commit: Option<Commit>,
    /// The beginning that a commit after the last one named, if it was not read.
    lacks: Option<String>,
}

/// What was heard, by trainer.
#[derive(Debug)]
pub(super) struct Inbox {
    shard: usize,
    /// What all trainers must have in common.
    params: Named,
    trainers: Vec<Trainer>,
}

/// What trainers must have in common of their parameters: all but which of them one is.
pub(super) fn common(mut params: Named) -> Named {
    params.remove("engine.shard");
    params
}

impl Inbox {
    /// `known` is what the model has of each trainer.
    pub(super) fn new(shard: usize, params: Named, known: &[Heard]) -> Self {
        let trainer = |known: &Heard| Trainer { known: *known, ..Trainer::default() };
        Self { shard, params, trainers: known.iter().map(trainer).collect() }
    }

    /// Takes a record, and hands out what it completes.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub(super) fn take(&mut self, told: Told) -> Result<Vec<Contributions>, String> {
        match told {
            Told::Row { shard, store, number, item, row } => {
                if let Some(trainer) = self.trainers.get_mut(shard).filter(|_| shard != self.shard) {
                    trainer.topic.waiting.insert(item, Waiting { store, number, row });
                }
                Ok(Vec::new())
            }
            Told::Commit(shard, commit) => self.commit(shard, commit),
            Told::Words(kind, shard, words) => {
                let Some(Trainer { topic, .. }) = self.trainers.get_mut(shard) else { return Ok(Vec::new()) };
                match kind {
                    Words::Greeting => drop(topic.greetings.insert(words)),
                    Words::Beginning => {
                        topic.beginnings.insert(words.clone());
                        (topic.beginning, topic.lacks) = (Some(words), None);
                    }
                    Words::Missing => {}
                }
                Ok(Vec::new())
            }
        }
    }

    /// Whether a greeting of this trainer was read.
    pub(super) fn has_met(&self, words: &str) -> bool {
        self.trainers.get(self.shard).is_some_and(|own| own.topic.greetings.contains(words))
    }

    fn commit(&mut self, shard: usize, commit: Commit) -> Result<Vec<Contributions>, String> {
        if common(commit.params.clone()) != self.params {
            if shard == self.shard {
                // It was another one before: what it told then is in its place no longer.
                return Ok(Vec::new());
            }
            let theirs = params::flags(&common(commit.params), &self.params);
            let freshet = commit.freshet;
            return Err(format!(
                "trainer {shard} (freshet {freshet}) learns under other parameters than this one, {theirs}: give all \
                 trainers the same, and delete the topic if all of them are to change"
            ));
        }
        let own = self.shard;
        let Some(trainer) = self.trainers.get_mut(shard) else { return Ok(Vec::new()) };
        let OnTopic { beginnings, beginning, lacks, .. } = &mut trainer.topic;
        if beginning.as_ref() != Some(&commit.beginning) {
            *lacks = (!beginnings.contains(&commit.beginning)).then_some(commit.beginning);
            return Ok(Vec::new());
        }
        let completed = if shard == own { Vec::new() } else { trainer.complete(shard, &commit) };
        trainer.topic.commit = Some(commit);
        Ok(completed)
    }

    /// The trainers whose commits stand for rows that may not have been read, and the beginning that was not.
    pub(super) fn lacking(&self) -> impl Iterator<Item = (usize, &str)> {
        self.trainers.iter().enumerate().filter_map(|(shard, trainer)| Some((shard, trainer.topic.lacks.as_deref()?)))
    }

    /// The last commit of each trainer.
    pub(super) fn commits(&self) -> impl Iterator<Item = (usize, Option<&Commit>)> {
        self.trainers.iter().map(|trainer| trainer.topic.commit.as_ref()).enumerate()
    }

    /// Forgets what was read and is not whole: what comes next is the beginning of a topic.
    pub(super) fn begin_anew(&mut self) {
        for trainer in &mut self.trainers {
            trainer.topic = OnTopic::default();
        }
    }
}

impl Trainer {
    fn complete(&mut self, shard: usize, commit: &Commit) -> Vec<Contributions> {
        let Commit { store, number, .. } = *commit;
        let known = self.known.number * u64::from(self.known.store == store);
        let (now, later) =
            std::mem::take(&mut self.topic.waiting).into_iter().partition(|(_, row)| row.number <= number);
        self.topic.waiting = later;
        let now: BTreeMap<Arc<str>, Waiting> = now;
        let new = now.into_iter().filter(|(_, row)| row.store == store && row.number > known);
        let empty = || Contributions { shard, store, number, last: false, items: Vec::new(), rows: Vec::new() };
        let mut parts = vec![empty()];
        for (item, Waiting { row, .. }) in new {
            let last = parts.last_mut().expect("one is there from the beginning on");
            last.items.push(item);
            last.rows.extend(row);
            if last.rows.len() * size_of::<f32>() >= AT_ONCE {
                parts.push(empty());
            }
        }
        if self.known == (Heard { store, number }) {
            return Vec::new();
        }
        self.known = Heard { store, number };
        parts.last_mut().expect("one is there from the beginning on").last = true;
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(shard: usize, store: u64, number: u64, item: &str, value: f32) -> Told {
        Told::Row { shard, store, number, item: item.into(), row: vec![value] }
    }

    fn beginning(shard: usize, words: &str) -> Told {
        Told::Words(Words::Beginning, shard, words.to_owned())
    }

    /// A commit of the beginning "first".
    fn commit(shard: usize, store: u64, number: u64) -> Told {
        after("first", shard, store, number)
    }

    fn after(beginning: &str, shard: usize, store: u64, number: u64) -> Told {
        let params = [("engine.shard".to_owned(), shard.into()), ("learn.seed".to_owned(), 1.into())].into();
        let (freshet, beginning) = ("0".into(), beginning.into());
        Told::Commit(shard, Commit { format: 2, freshet, store, number, beginning, params, sent_at_ms: 0 })
    }

    /// One that has read the beginnings of both trainers.
    fn inbox(known: Heard) -> Inbox {
        let mut inbox = Inbox::new(0, [("learn.seed".to_owned(), 1.into())].into(), &[Heard::default(), known]);
        for shard in 0..2 {
            inbox.take(beginning(shard, "first")).unwrap();
        }
        inbox
    }

    fn values(told: &[Contributions]) -> Vec<(&str, f32)> {
        told.iter().flat_map(|told| told.items.iter().map(|item| &**item).zip(told.rows.iter().copied())).collect()
    }

    #[test]
    fn rows_wait_for_their_commit_and_the_newest_of_an_item_counts() {
        let mut inbox = inbox(Heard::default());
        for told in [row(1, 7, 1, "a", 1.0), row(1, 7, 2, "a", 2.0), row(1, 7, 2, "b", 3.0), row(0, 9, 5, "c", 9.0)] {
            assert!(inbox.take(told).unwrap().is_empty());
        }
        let told = inbox.take(commit(1, 7, 2)).unwrap();
        assert_eq!(values(&told), [("a", 2.0), ("b", 3.0)]);
        assert_eq!((told[0].number, told[0].store, told[0].last), (2, 7, true));
        assert!(inbox.take(commit(1, 7, 2)).unwrap().is_empty(), "nothing is new");
        assert!(inbox.take(commit(0, 9, 5)).unwrap().is_empty(), "its own word");
    }

    #[test]
    fn what_is_known_already_and_what_is_of_a_store_of_before_is_dropped() {
        let mut inbox = inbox(Heard { store: 7, number: 3 });
        for told in [row(1, 7, 3, "a", 1.0), row(1, 7, 4, "b", 2.0), row(1, 7, 5, "c", 3.0)] {
            inbox.take(told).unwrap();
        }
        assert_eq!(values(&inbox.take(commit(1, 7, 4)).unwrap()), [("b", 2.0)]);
        inbox.take(row(1, 8, 1, "d", 4.0)).unwrap();
        let told = inbox.take(commit(1, 8, 1)).unwrap();
        assert_eq!((values(&told), told[0].store), (vec![("d", 4.0)], 8));
        assert_eq!(values(&inbox.take(commit(1, 7, 5)).unwrap()), [("c", 3.0)], "the store of before is back");
    }

    #[test]
    fn a_commit_counts_where_its_beginning_was_read_and_no_row_is_taken_for_known_without() {
        let mut inbox = inbox(Heard::default());
        inbox.take(row(1, 7, 1, "a", 1.0)).unwrap();
        inbox.begin_anew();
        assert!(inbox.take(commit(1, 7, 1)).unwrap().is_empty(), "its row was on the topic before");
        assert_eq!(inbox.lacking().collect::<Vec<_>>(), [(1, "first")]);
        assert!(inbox.commits().all(|(_, commit)| commit.is_none()));
        for told in [beginning(1, "again"), row(1, 7, 1, "a", 1.0), commit(1, 7, 1)] {
            assert!(inbox.take(told).unwrap().is_empty());
        }
        assert_eq!(inbox.lacking().next(), Some((1, "first")), "it is not on this topic");
        inbox.take(beginning(1, "again")).unwrap();
        assert_eq!(inbox.lacking().next(), None);
        assert_eq!(values(&inbox.take(after("again", 1, 7, 1)).unwrap()), [("a", 1.0)]);
    }

    #[test]
    fn commits_of_a_beginning_before_the_last_are_passed_over() {
        let mut inbox = inbox(Heard::default());
        for told in [row(1, 7, 1, "a", 1.0), beginning(1, "again"), commit(1, 7, 1)] {
            assert!(inbox.take(told).unwrap().is_empty());
        }
        assert_eq!((inbox.lacking().next(), inbox.has_met("again")), (None, false));
        assert_eq!(values(&inbox.take(after("again", 1, 7, 1)).unwrap()), [("a", 1.0)]);
    }

    #[test]
    fn a_trainer_with_other_parameters_is_not_listened_to() {
        let mut inbox = inbox(Heard::default());
        inbox.take(row(1, 7, 1, "a", 1.0)).unwrap();
        let Told::Commit(shard, mut other) = commit(1, 7, 1) else { unreachable!() };
        other.params.insert("biased_mf.factors".to_owned(), 16.into());
        let reason = inbox.take(Told::Commit(shard, other)).unwrap_err();
        assert!(reason.contains("trainer 1") && reason.contains("--set biased_mf.factors=16"), "{reason}");
    }

    #[test]
    fn many_rows_come_in_parts_of_which_the_last_says_so() {
        let mut inbox = inbox(Heard::default());
        for item in 0..3 {
            let row = vec![1.0; AT_ONCE / 4];
            inbox.take(Told::Row { shard: 1, store: 7, number: 1, item: item.to_string().into(), row }).unwrap();
        }
        let told = inbox.take(commit(1, 7, 1)).unwrap();
        assert_eq!(told.iter().map(|told| told.items.len()).sum::<usize>(), 3);
        assert_eq!(told.iter().map(|told| told.last).collect::<Vec<_>>(), [false, false, false, true]);
    }
}
