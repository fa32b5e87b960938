//! The part of the contract that is about dead letters, business ids, and looks at the engine's state.

use std::sync::Arc;

use freshet::consume::Position;
use freshet::decode::Reason;
use freshet::store::{DeadLetter, DeadLetterFilter, DurableWrite, Progress, Store};

use super::{position, progress, reject, write};

/// Dead letters at these places, in the one write that they come in.
async fn with_letters(store: &Arc<dyn Store>, letters: &[(&str, i32, i64, Reason)]) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut progress = Progress::default();
    let rejects = letters.iter().map(|&(topic, partition, offset, reason)| {
        let mut reject = reject(offset, reason);
        reject.raw.position = Position { topic: topic.into(), partition, offset };
        reject
    });
    let rejects: Vec<_> = rejects.collect();
    for reject in &rejects {
        let at = &reject.raw.position;
        progress.offsets.set(at.topic.clone(), at.partition, at.offset + 1);
    }
    store.persist(epoch, &DurableWrite { rejects, progress, ..DurableWrite::default() }).await.unwrap();
}

fn places(letters: &[DeadLetter]) -> Vec<(&str, i32, i64)> {
    letters.iter().map(|DeadLetter { position: at, .. }| (&*at.topic, at.partition, at.offset)).collect()
}

pub(super) async fn dead_letters_come_back_whole_in_the_order_of_the_log_and_in_pages(store: Arc<dyn Store>) {
    let (empty, json) = (Reason::Empty, Reason::InvalidJson);
    let written = [("b", 0, 3, empty), ("a", 10, 1, json), ("a", 2, 300, empty), ("a", 2, 7, json), ("b", 0, 20, json)];
    with_letters(&store, &written).await;
    let all = DeadLetterFilter::default();
    let ordered = [("a", 2, 7), ("a", 2, 300), ("a", 10, 1), ("b", 0, 3), ("b", 0, 20)];
    let letters = store.dead_letters(&all, None, 99).await.unwrap();
    assert_eq!(places(&letters), ordered);
    let expected = DeadLetter {
        position: Position { topic: "a".into(), partition: 2, offset: 7 },
        timestamp_ms: 7,
        reason: "invalid_json".into(),
        detail: "as a test".into(),
        key: Some(vec![0xff, 0]),
        payload: vec![0, 0x80],
        payload_cut_from: None,
        replayed_at_ms: None,
    };
    assert_eq!(letters[0], expected);

    let mut after = None;
    for at in ordered.chunks(2) {
        let page = store.dead_letters(&all, after.as_ref(), 2).await.unwrap();
        assert_eq!(places(&page), at);
        let positions = store.dead_letter_positions(after.as_ref(), 2).await.unwrap();
        assert_eq!(positions, page.iter().map(|letter| letter.position.clone()).collect::<Vec<_>>());
        after = positions.last().cloned();
    }
    assert!(store.dead_letters(&all, after.as_ref(), 2).await.unwrap().is_empty());
    assert!(store.dead_letter_positions(after.as_ref(), 2).await.unwrap().is_empty());
    assert!(store.dead_letters(&all, None, 0).await.unwrap().is_empty());

    let filter = |reason: Option<&str>, topic: Option<&str>| DeadLetterFilter {
        reason: reason.map(Into::into),
        topic: topic.map(Into::into),
        ..DeadLetterFilter::default()
    };
    let before = Some(Position { topic: "a".into(), partition: 10, offset: 1 });
    let bounds = |since_ms, until_ms| DeadLetterFilter { since_ms, until_ms, ..DeadLetterFilter::default() };
    for (filter, expected) in [
        (filter(Some("empty"), None), &[("a", 2, 300), ("b", 0, 3)][..]),
        (filter(None, Some("b")), &[("b", 0, 3), ("b", 0, 20)]),
        (filter(Some("empty"), Some("b")), &[("b", 0, 3)]),
        (filter(Some("bored"), None), &[]),
        (DeadLetterFilter { before, ..all.clone() }, &ordered[..2]),
        // All of them were stamped at 7.
        (bounds(Some(7), Some(8)), &ordered),
        (bounds(Some(8), None), &[]),
        (bounds(None, Some(7)), &[]),
    ] {
        assert_eq!(places(&store.dead_letters(&filter, None, 99).await.unwrap()), expected, "{filter:?}");
    }
}

pub(super) async fn a_replayed_letter_is_marked_and_can_be_left_out(store: Arc<dyn Store>) {
    with_letters(&store, &[("a", 0, 1, Reason::Empty), ("a", 0, 2, Reason::Empty), ("b", 0, 1, Reason::Empty)]).await;
    let at = |topic: &str, offset| Position { topic: topic.into(), partition: 0, offset };
    store.mark_replayed(&[], 1).await.unwrap();
    store.mark_replayed(&[at("a", 2), at("b", 1), at("b", 9), at("c", 1)], 1_700_000_000_123).await.unwrap();
    let letters = store.dead_letters(&DeadLetterFilter::default(), None, 99).await.unwrap();
    let marks: Vec<_> = letters.iter().map(|letter| letter.replayed_at_ms).collect();
    assert_eq!(marks, [None, Some(1_700_000_000_123), Some(1_700_000_000_123)]);
    let left = DeadLetterFilter { not_replayed: true, ..DeadLetterFilter::default() };
    assert_eq!(places(&store.dead_letters(&left, None, 99).await.unwrap()), [("a", 0, 1)]);
    store.mark_replayed(&[at("a", 2)], 1_800_000_000_000).await.unwrap();
    let again = store.dead_letters(&DeadLetterFilter::default(), Some(&at("a", 1)), 1).await.unwrap();
    assert_eq!(again[0].replayed_at_ms, Some(1_800_000_000_000));
}

pub(super) async fn ids_come_back_with_their_places_in_the_order(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut write = write(1..=300);
    for (event, seq) in write.events.iter_mut().zip(1_u64..) {
        event.event.id = (seq % 3 != 0).then(|| format!("id {seq}"));
    }
    store.persist(epoch, &write).await.unwrap();
    let ids = |from: u64| (from..=300).filter(|seq| seq % 3 != 0).map(|seq| (seq, format!("id {seq}"))).collect();
    let expected: [Vec<(u64, String)>; 3] = [ids(1), ids(250), Vec::new()];
    for (from, expected) in [0, 250, 301].into_iter().zip(expected) {
        assert_eq!(store.recent_ids(from).await.unwrap(), expected);
    }
}

pub(super) async fn a_look_at_the_state_claims_nothing(store: Arc<dyn Store>) {
    assert_eq!(store.state().await.unwrap().progress, Progress::default());
    let claim = store.claim().await.unwrap();
    store.persist(claim.epoch, &write(1..=10)).await.unwrap();
    let state = store.state().await.unwrap();
    assert_eq!((state.epoch, &state.progress), (claim.epoch, &progress(10, 0)));
    assert_eq!((state.store_id, state.base), (claim.store_id, claim.base));
    store.persist(claim.epoch, &write(11..=20)).await.unwrap();
    assert_eq!(position(19).offset + 1, store.state().await.unwrap().progress.offsets.get("ratings", 0).unwrap());
}
