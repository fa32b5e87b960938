//! What must hold for every stream: each event once as new, order kept, windows exact, deltas without a gap.

use proptest::prelude::*;

use super::*;
use crate::capture::{Item, User};
use crate::decode::Decoded;
use crate::decode::testing;

fn event(partition: i32, offset: i64) -> Event {
    let position = Position { topic: "t".into(), partition, offset };
    Event { position, ..testing::event(format!("u{offset}"), format!("i{partition}"), 3.0) }
}

fn raw(partition: i32, offset: i64) -> RawEvent {
    let position = Position { topic: "t".into(), partition, offset };
    RawEvent { position, timestamp_ms: 0, key: None, payload: vec![b'x'], trace: None }
}

/// Pushes the event of a place on the log.
fn push(gatherer: &mut Gatherer, now: Instant, offset: i64) -> Option<MicroBatch> {
    gatherer.push(now, raw(0, offset), Ok(event(0, offset)))
}

fn refusal() -> Refusal {
    Refusal { reason: Reason::InvalidJson, detail: String::new() }
}

fn config(mode: GatherMode, size: usize, length_ms: u64, slide_ms: u64) -> GatherConfig {
    let length = Duration::from_millis(length_ms);
    let slide = Duration::from_millis(slide_ms);
    GatherConfig { mode, size, linger: slide, length, slide, id_window: 0 }
}

/// One arrival: how long after the one before, in milliseconds; which partition; whether it decodes.
type Arrival = (u64, i32, bool);

/// Feeds arrivals as the engine does (what is due is closed first), and returns each batch with its closing time.
fn run(config: &GatherConfig, arrivals: &[Arrival]) -> Vec<(Duration, MicroBatch)> {
    let start = Instant::now();
    let mut gatherer = Gatherer::new(config, Progress::default(), Vec::new());
    let (mut now, mut offsets, mut batches) = (start, [0_i64; 3], Vec::new());
    for &(pause, partition, decodes) in arrivals {
        let arrival = now + Duration::from_millis(pause);
        while let Some(deadline) = gatherer.deadline().filter(|deadline| *deadline <= arrival) {
            batches.extend(gatherer.close_due(deadline).map(|batch| (deadline - start, batch)));
        }
        now = arrival;
        let offset = offsets[partition as usize];
        offsets[partition as usize] += 1;
        let decoded = if decodes { Ok(event(partition, offset)) } else { Err(refusal()) };
        batches.extend(gatherer.push(now, raw(partition, offset), decoded).map(|batch| (now - start, batch)));
    }
    batches.extend(gatherer.flush(now).map(|batch| (now - start, batch)));
    assert!(gatherer.flush(now).is_none() && gatherer.deadline().is_none(), "nothing is left over");
    batches
}

fn arrivals() -> impl Strategy<Value = Vec<Arrival>> {
    proptest::collection::vec((0..40_u64, 0..3_i32, proptest::bool::weighted(0.9)), 0..200)
}

fn configs() -> impl Strategy<Value = GatherConfig> {
    let mode = prop_oneof![Just(GatherMode::Count), Just(GatherMode::Window), Just(GatherMode::Sliding)];
    (mode, 1..20_usize, 1..300_u64, 1..100_u64)
        .prop_map(|(mode, size, length, slide)| config(mode, size, length.max(slide), slide))
}

proptest! {
    #[test]
    fn every_record_is_in_exactly_one_batch_as_new_and_in_order(config in configs(), arrivals in arrivals()) {
        let batches = run(&config, &arrivals);
        let (mut seq, mut offsets) = (1, Offsets::default());
        let mut read = [Vec::new(), Vec::new(), Vec::new()];
        for (index, (_, batch)) in batches.iter().enumerate() {
            prop_assert_eq!(batch.number, index as u64 + 1);
            prop_assert_eq!(batch.first_seq, seq);
            seq = batch.seqs().end;
            offsets.apply(&batch.offsets).expect("deltas follow one another without a gap");
            for event in &batch.events {
                read[event.position.partition as usize].push((event.position.offset, true));
            }
            for reject in &batch.rejects {
                read[reject.raw.position.partition as usize].push((reject.raw.position.offset, false));
            }
        }
        for partition in 0..3_i32 {
            let sent: Vec<(i64, bool)> =
                (0..).zip(arrivals.iter().filter(|arrival| arrival.1 == partition).map(|arrival| arrival.2)).collect();
            let mut found = read[partition as usize].clone();
            prop_assert!(found.iter().filter(|r| r.1).is_sorted(), "events of a partition keep their order");
            found.sort_unstable();
            prop_assert_eq!(&found, &sent);
            prop_assert_eq!(offsets.get("t", partition).unwrap_or(0), sent.len() as i64);
        }
    }

    #[test]
    fn a_sliding_window_rehearses_exactly_those_inside(
        arrivals in arrivals(), length in 1..300_u64, slide in 1..100_u64,
    ) {
        let config = config(GatherMode::Sliding, 1, length.max(slide), slide);
        let batches = run(&config, &arrivals);
        for (at, (closed, batch)) in batches.iter().enumerate() {
            let inside: Vec<Event> = batches[..at]
                .iter()
                .filter(|(earlier, _)| !batch.events.is_empty() && *closed < *earlier + config.length)
                .flat_map(|(_, earlier)| earlier.events.clone())
                .collect();
            prop_assert_eq!(batch.rehearse_from.map_or(0, |from| batch.first_seq - from), inside.len() as u64);
            prop_assert_eq!(&batch.rehearsal, &inside);
        }
    }

    #[test]
    fn no_record_waits_longer_than_its_mode_allows(config in configs(), arrivals in arrivals()) {
        let batches = run(&config, &arrivals);
        let mut now = Duration::ZERO;
        let arrived: Vec<Duration> =
            arrivals.iter().map(|arrival| { now += Duration::from_millis(arrival.0); now }).collect();
        let longest = match config.mode {
            GatherMode::Count => config.linger,
            GatherMode::Window => config.length,
            GatherMode::Sliding => config.slide,
        };
        let mut first = 0;
        for (closed, batch) in batches {
            prop_assert!(closed <= arrived[first] + longest);
            first += batch.events.len() + batch.rejects.len();
            prop_assert!(config.mode != GatherMode::Count || batch.events.len() + batch.rejects.len() <= config.size);
        }
    }
}

#[test]
fn a_window_that_brings_too_much_closes_early() {
    let mut gatherer = Gatherer::new(&config(GatherMode::Window, 1, 1000, 1000), Progress::default(), Vec::new());
    let now = Instant::now();
    let closed: Vec<usize> = (0..MAX_WINDOW as i64 + 10)
        .filter_map(|offset| push(&mut gatherer, now, offset).map(|batch| batch.events.len()))
        .collect();
    assert_eq!((closed, gatherer.flush(now).unwrap().events.len()), (vec![MAX_WINDOW], 10));
}

#[test]
fn a_record_delivered_again_is_dropped_and_counted() {
    let config = config(GatherMode::Count, 10, 1000, 1000);
    let resume = Progress { seq: 5, batch: 2, offsets: Offsets::from_iter([("t".into(), 0, 7)]) };
    let mut gatherer = Gatherer::new(&config, resume, Vec::new());
    let now = Instant::now();
    for offset in [6, 7, 7, 8, 6] {
        assert!(push(&mut gatherer, now, offset).is_none());
    }
    let batch = gatherer.flush(now).unwrap();
    assert_eq!(batch.events.iter().map(|e| e.position.offset).collect::<Vec<_>>(), [7, 8]);
    assert_eq!((batch.number, batch.seqs(), gatherer.duplicates()), (3, 6..8, 3));
}

#[test]
fn offsets_that_were_never_records_leave_no_gap() {
    let config = config(GatherMode::Count, 1, 1000, 1000);
    let mut gatherer = Gatherer::new(&config, Progress::default(), Vec::new());
    let now = Instant::now();
    let mut offsets = Offsets::default();
    // A transaction marker stands at offset 1 and is never handed out.
    for offset in [0, 2, 3] {
        offsets.apply(&push(&mut gatherer, now, offset).unwrap().offsets).unwrap();
    }
    assert_eq!(offsets.get("t", 0), Some(4));
}

#[test]
fn an_event_sent_twice_under_one_id_is_a_dead_letter_that_names_the_first() {
    let config = GatherConfig { id_window: 2, ..config(GatherMode::Count, 100, 1000, 1000) };
    let resume = Progress { seq: 9, batch: 1, ..Progress::default() };
    let mut gatherer = Gatherer::new(&config, resume, vec![(9, "a".to_owned())]);
    let now = Instant::now();
    // Beside each id the seq that its event gets, if it is taken.
    let sent = [("a", None), ("b", Some(10)), ("a", None), ("c", Some(11)), ("a", Some(12)), ("b", Some(13))];
    for ((id, _), offset) in sent.iter().zip(0..) {
        let event = Event { id: Some((*id).to_owned()), ..event(0, offset) };
        assert!(gatherer.push(now, raw(0, offset), Ok(event)).is_none());
    }
    let batch = gatherer.flush(now).unwrap();
    let taken: Vec<_> =
        batch.seqs().zip(&batch.events).map(|(seq, event)| (event.id.as_deref().unwrap(), seq)).collect();
    let expected: Vec<_> = sent.iter().filter_map(|(id, seq)| Some((*id, (*seq)?))).collect();
    assert_eq!(taken, expected);
    assert_eq!(batch.rejects.iter().map(|reject| reject.raw.position.offset).collect::<Vec<_>>(), [0, 2]);
    for reject in &batch.rejects {
        assert_eq!(reject.reason, Reason::DuplicateId);
        assert!(reject.detail.contains("\"a\"") && reject.detail.contains("event 9"), "{}", reject.detail);
    }
}

#[test]
fn what_is_said_of_items_and_users_fills_batches_and_moves_the_offsets_but_has_no_place_in_the_order() {
    let mut gatherer = Gatherer::new(&config(GatherMode::Count, 3, 1000, 1000), Progress::default(), Vec::new());
    let now = Instant::now();
    let item = Item { id: "a".into(), ..Item::default() };
    let user = User { id: "u".into(), ..User::default() };
    assert_eq!(gatherer.push(now, raw(0, 0), Ok(Decoded::Item(item.clone()))), None);
    assert_eq!(gatherer.push(now, raw(0, 1), Ok(Decoded::User(user.clone()))), None);
    let batch = gatherer.push(now, raw(0, 2), Ok(event(0, 2))).unwrap();
    assert_eq!((&batch.items, &batch.users, batch.seqs()), (&vec![item.clone()], &vec![user], 1..2));
    assert_eq!(gatherer.offsets().get("t", 0), Some(3));
    // Alone in a batch, and read a second time.
    assert_eq!(gatherer.push(now, raw(0, 2), Ok(Decoded::Item(item.clone()))), None);
    assert_eq!(gatherer.flush(now), None);
    assert_eq!(gatherer.push(now, raw(0, 3), Ok(Decoded::Item(item))), None);
    let alone = gatherer.flush(now).unwrap();
    assert_eq!((alone.items.len(), alone.events.len(), alone.number), (1, 0, 2));
}
