//! Looks at every stored event and dead letter: whether their order has holes, goes back, or stops elsewhere than the
//! engine's state says.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringTreemap;

use super::{NAMED, Step, Watch};
use crate::config::Config;
use crate::store::{Claim, LearnedEvent, Store, StoreError};

/// Events, and positions of dead letters, read at once.
const PAGE: usize = 8192;

/// Topic and partition.
pub(super) type Partition = (Arc<str>, i32);

/// What the store holds, up to the state that it was looked at in.
#[derive(Default)]
pub(super) struct Held {
    pub(super) count: u64,
    pub(super) letters: u64,
    pub(super) holes: u64,
    pub(super) duplicates: u64,
    pub(super) problems: Vec<String>,
    /// Offsets that are an event or a dead letter.
    pub(super) offsets: BTreeMap<Partition, RoaringTreemap>,
}

pub(super) async fn scan(config: &Config, store: &dyn Store, state: &Claim, watch: &Watch) -> Result<Held, StoreError> {
    let mut held = Held::default();
    let mut events = Events { held: &mut held, next: state.base + 1, back: 0, last: BTreeMap::new() };
    let last = state.progress.seq;
    while events.next <= last {
        let page = store.events(events.next, PAGE).await?;
        let before = events.next;
        for event in page.iter().take_while(|event| event.seq <= last) {
            events.take(event);
        }
        if page.is_empty() || events.next == before {
            events.hole(last + 1);
        }
        watch(Step::Scan, events.next - before, last.saturating_sub(state.base));
    }
    let (holes, back) = (held.holes, held.duplicates);
    told(&mut held.problems, holes, "places in the order of events are empty");
    told(&mut held.problems, back, "events stand at or before the one before them in their partition");
    letters(store, state, &mut held).await?;
    compare(state, &mut held, |topic| config.topic(topic).kind.is_learned());
    Ok(held)
}

/// Says how many there are, where more were found than are named.
fn told(problems: &mut Vec<String>, count: u64, what: &str) {
    if count > NAMED as u64 {
        problems.push(format!("{count} {what}; the first {NAMED} are named"));
    }
}

/// The events as they pass by, in the order of their `seq`.
struct Events<'h> {
    held: &'h mut Held,
    /// The `seq` to come.
    next: u64,
    /// Positions that went back so far.
    back: usize,
    /// Last offset of each partition, with the event that had it.
    last: BTreeMap<Partition, (i64, u64)>,
}

impl Events<'_> {
    fn take(&mut self, event: &LearnedEvent) {
        if event.seq > self.next {
            self.hole(event.seq);
        }
        self.next = event.seq + 1;
        self.held.count += 1;
        let position = &event.event.position;
        let partition = (Arc::clone(&position.topic), position.partition);
        let before = self.last.insert(partition.clone(), (position.offset, event.seq));
        if let Some((offset, seq)) = before.filter(|(offset, _)| position.offset <= *offset) {
            self.held.duplicates += 1;
            self.back += 1;
            if self.back <= NAMED {
                let (topic, partition) = &partition;
                self.held.problems.push(format!(
                    "event {} stands at {topic} [{partition}] {}, not after event {seq} at {offset}",
                    event.seq, position.offset
                ));
            }
        }
        self.held.offsets.entry(partition).or_default().insert(position.offset as u64);
    }

    /// Nothing was found before `to`.
    fn hole(&mut self, to: u64) {
        let (from, last) = (self.next, to - 1);
        if self.held.holes < NAMED as u64 {
            let which = if from == last { format!("event {from} is") } else { format!("events {from} to {last} are") };
            self.held.problems.push(format!("{which} missing"));
        }
        self.held.holes += to - from;
        self.next = to;
    }
}

async fn letters(store: &dyn Store, state: &Claim, held: &mut Held) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = store.dead_letter_positions(after.as_ref(), PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(last.clone());
        for position in page {
            let next = state.progress.offsets.get(&position.topic, position.partition);
            // What lies beyond was written since the state was looked at.
            if next.is_some_and(|next| position.offset < next) {
                held.letters += 1;
                let partition = (position.topic, position.partition);
                if !held.offsets.entry(partition.clone()).or_default().insert(position.offset as u64) {
                    let (topic, number) = partition;
                    held.problems.push(format!("{topic} [{number}] {} is an event and a dead letter", position.offset));
                }
            }
        }
    }
}

/// Each partition's last offset is an event or a dead letter: the state moves on with nothing else.
/// `is_learned` is of topics: what only changes the catalogue leaves no trace by its offset.
fn compare(state: &Claim, held: &mut Held, is_learned: impl Fn(&str) -> bool) {
    let mut problems = Vec::new();
    for (topic, partition, next) in state.progress.offsets.iter().filter(|(topic, ..)| is_learned(topic)) {
        let last = held.offsets.get(&(Arc::clone(topic), partition)).and_then(RoaringTreemap::max);
        let stands = last.map_or(0, |last| last as i64 + 1);
        // The state of a store that began with a snapshot may be that snapshot's.
        let from_base = state.base > 0 && last.is_none();
        if stands != next && !from_base {
            problems.push(format!(
                "the engine stands at offset {next} of {topic} [{partition}], but its events and dead letters end at \
                 {stands}"
            ));
        }
    }
    for (topic, partition) in held.offsets.keys() {
        if state.progress.offsets.get(topic, *partition).is_none() {
            problems.push(format!("there are events of {topic} [{partition}], which the engine's state does not know"));
        }
    }
    held.problems.extend(problems);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::Position;
    use crate::decode::{Event, testing};

    fn scanned(base: u64, last: u64, events: &[(u64, i64)]) -> Held {
        let mut held = Held::default();
        let mut passing = Events { held: &mut held, next: base + 1, back: 0, last: BTreeMap::new() };
        for &(seq, offset) in events {
            let position = Position { topic: "t".into(), partition: 0, offset };
            let event = Event { position, ..testing::event("u", "i", 3.0) };
            passing.take(&LearnedEvent { seq, batch: 1, rehearse_from: None, predicted: 3.0, event });
        }
        if passing.next <= last {
            passing.hole(last + 1);
        }
        held
    }

    #[test]
    fn holes_are_counted_and_named_wherever_they_are() {
        let held = scanned(2, 12, &[(4, 0), (5, 1), (8, 2), (9, 3)]);
        assert_eq!((held.count, held.holes, held.duplicates), (4, 6, 0));
        assert_eq!(held.problems, ["event 3 is missing", "events 6 to 7 are missing", "events 10 to 12 are missing"]);
        assert_eq!(scanned(0, 2, &[(1, 0), (2, 1)]).problems, [""; 0]);
    }

    #[test]
    fn a_position_that_goes_back_or_repeats_is_a_duplicate() {
        let held = scanned(0, 4, &[(1, 5), (2, 5), (3, 4), (4, 9)]);
        assert_eq!((held.holes, held.duplicates), (0, 2));
        assert_eq!(held.problems[0], "event 2 stands at t [0] 5, not after event 1 at 5");
        assert_eq!(held.offsets[&("t".into(), 0)].len(), 3);
    }
}
