//! The newest events of each user and of each item, which a row is solved from anew.
//!
//! Apart from the rows, because both cores read the same histories, each through a window of its own.

use crate::learn::tables::Entry;

/// An event as its user's history has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rated {
    pub item: u32,
    /// On the inner scale.
    pub rating: f32,
    /// Milliseconds since the epoch.
    pub ts: Option<i64>,
}

/// An event as its item's history has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rater {
    pub user: u32,
    /// On the inner scale.
    pub rating: f32,
}

impl Entry for Rated {
    const KIND: u8 = 10;
    const WORDS: usize = 5;

    fn write(&self, words: &mut Vec<u32>) {
        let ts = self.ts.unwrap_or(0) as u64;
        let present = u32::from(self.ts.is_some());
        words.extend([self.item, self.rating.to_bits(), present, ts as u32, (ts >> 32) as u32]);
    }

    fn read(words: &[u32]) -> Self {
        let ts = u64::from(words[3]) | u64::from(words[4]) << 32;
        Self { item: words[0], rating: f32::from_bits(words[1]), ts: (words[2] != 0).then_some(ts as i64) }
    }
}

impl Entry for Rater {
    const KIND: u8 = 11;
    const WORDS: usize = 2;

    fn write(&self, words: &mut Vec<u32>) {
        words.extend([self.user, self.rating.to_bits()]);
    }

    fn read(words: &[u32]) -> Self {
        Self { user: words[0], rating: f32::from_bits(words[1]) }
    }
}

/// Events of a history that are kept for windows of this length: those in it, the one that leaves it, and the one before
/// that, whose time the next one's drift is told by.
pub(super) const fn kept(window: usize) -> usize {
    window + 2
}

/// Adds the newest event; the oldest goes where there are more than are [`kept`].
pub(super) fn push<T>(history: &mut Vec<T>, event: T, window: usize) {
    if history.len() >= kept(window) {
        history.remove(0);
    }
    history.push(event);
}

/// A history as a window of some length sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window<'a, T> {
    /// The newest events, the newest last.
    pub events: &'a [T],
    /// The event that the newest one has pushed out.
    pub leaving: Option<&'a T>,
    /// The event before the one that leaves.
    pub before: Option<&'a T>,
}

impl<'a, T> Window<'a, T> {
    pub(super) fn of(history: &'a [T], length: usize) -> Self {
        let (earlier, events) = history.split_at(history.len().saturating_sub(length));
        let mut earlier = earlier.iter().rev();
        Self { events, leaving: earlier.next(), before: earlier.next() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_sees_the_newest_events_and_what_leaves_it() {
        let mut history = Vec::new();
        for event in 0..9 {
            push(&mut history, event, 3);
            let window = Window::of(&history, 3);
            let newest: Vec<i32> = (0..=event).skip((event as usize + 1).saturating_sub(3)).collect();
            assert_eq!(window.events, newest);
            let earlier = |age| (event >= age).then_some(event - age);
            assert_eq!((window.leaving.copied(), window.before.copied()), (earlier(3), earlier(4)));
            // The same history through the window of the twin.
            let short = Window::of(&history, 1);
            assert_eq!((short.events, short.leaving.copied()), (&[event][..], earlier(1)));
        }
    }

    #[test]
    fn an_event_is_read_back_as_it_was() {
        for ts in [None, Some(0), Some(i64::MIN), Some(i64::MAX), Some(-1), Some(881_250_949_000)] {
            let rated = Rated { item: u32::MAX, rating: 3.5, ts };
            let mut words = Vec::new();
            rated.write(&mut words);
            assert_eq!((words.len(), Rated::read(&words)), (Rated::WORDS, rated));
        }
        let (rater, mut words) = (Rater { user: 7, rating: 1.0 }, Vec::new());
        rater.write(&mut words);
        assert_eq!((words.len(), Rater::read(&words)), (Rater::WORDS, rater));
    }
}
