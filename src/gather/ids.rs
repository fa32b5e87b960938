//! The business ids of the last accepted events: what tells that an event was sent twice.
//!
//! Apart from the gatherer, because it must be rebuilt exactly after a crash: it depends on the accepted events and their
//! order alone, never on time or on how batches were cut, and holds at most as many ids as the window has events.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Ids of the events whose `seq` is within the window.
#[derive(Debug)]
pub(super) struct RecentIds {
    window: u64,
    in_order: VecDeque<(u64, Arc<str>)>,
    /// `seq` of the newest event of each id.
    seqs: HashMap<Arc<str>, u64>,
}

impl RecentIds {
    /// `ids` of the events before, with their `seq`s, in order. A window of 0 looks at no id.
    pub(super) fn new(window: usize, ids: Vec<(u64, String)>) -> Self {
        let mut recent = Self { window: window as u64, in_order: VecDeque::new(), seqs: HashMap::new() };
        for (seq, id) in ids {
            recent.insert(seq, &id);
        }
        recent
    }

    /// Takes in the id of the event that would get `seq`; or says which event within the window has it already.
    pub(super) fn take(&mut self, seq: u64, id: &str) -> Option<u64> {
        self.forget(seq);
        let before = self.seqs.get(id).copied();
        if before.is_none() {
            self.insert(seq, id);
        }
        before
    }

    /// Drops what is no longer among the `window` events before `seq`.
    fn forget(&mut self, seq: u64) {
        while self.in_order.front().is_some_and(|(old, _)| old + self.window < seq) {
            let Some((old, id)) = self.in_order.pop_front() else { return };
            // Under a smaller window an id may have come twice.
            if self.seqs.get(&id) == Some(&old) {
                self.seqs.remove(&id);
            }
        }
    }

    fn insert(&mut self, seq: u64, id: &str) {
        let id: Arc<str> = id.into();
        self.in_order.push_back((seq, Arc::clone(&id)));
        self.seqs.insert(id, seq);
        self.forget(seq + 1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// What the stream of ids (some events have none) is to be taken as: the `seq` of each accepted event, or that of the
    /// one before it that has the id.
    fn naive(window: usize, stream: &[Option<u8>]) -> Vec<Result<u64, u64>> {
        let mut accepted: Vec<Option<u8>> = Vec::new();
        let mut taken = Vec::new();
        for id in stream {
            let from = accepted.len().saturating_sub(window);
            let before = accepted[from..].iter().rposition(|other| id.is_some() && other == id);
            if before.is_none() {
                accepted.push(*id);
            }
            taken.push(before.map_or(Ok(accepted.len() as u64), |at| Err((from + at) as u64 + 1)));
        }
        taken
    }

    /// The same by the type under test, rebuilt from the accepted events wherever `crashes` says so.
    fn tested(window: usize, stream: &[Option<u8>], crashes: &[bool]) -> Vec<Result<u64, u64>> {
        let mut recent = RecentIds::new(window, Vec::new());
        let mut accepted: Vec<Option<u8>> = Vec::new();
        let mut taken = Vec::new();
        for (number, id) in stream.iter().enumerate() {
            if crashes.get(number).is_some_and(|crash| *crash) {
                let last = (1..).zip(&accepted).skip(accepted.len().saturating_sub(window));
                let ids = last.filter_map(|(seq, id)| Some((seq, (*id)?.to_string())));
                recent = RecentIds::new(window, ids.collect());
            }
            let seq = accepted.len() as u64 + 1;
            let before = id.and_then(|id| recent.take(seq, &id.to_string()));
            taken.push(before.map_or(Ok(seq), Err));
            if before.is_none() {
                accepted.push(*id);
            }
            assert!(recent.in_order.len() <= window && recent.seqs.len() <= window, "it holds more than the window");
        }
        taken
    }

    proptest! {
        #[test]
        fn it_equals_a_search_through_the_last_events_whenever_it_is_rebuilt(
            window in 0..20_usize, stream in vec(proptest::option::weighted(0.8, 0..12_u8), 0..200),
            crashes in vec(proptest::bool::weighted(0.1), 200),
        ) {
            let expected = naive(window, &stream);
            prop_assert_eq!(&tested(window, &stream, &[]), &expected);
            prop_assert_eq!(&tested(window, &stream, &crashes), &expected);
        }
    }

    #[test]
    fn a_wider_window_than_the_one_before_keeps_an_id_until_its_newest_event_is_out() {
        let mut recent = RecentIds::new(3, vec![(1, "a".to_owned()), (2, "a".to_owned())]);
        assert_eq!(recent.take(5, "a"), Some(2));
        assert_eq!(recent.take(6, "a"), None);
    }
}
