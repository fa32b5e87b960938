//! The part of the contract that is about choosing events, and about hearing of new ones.

use std::sync::Arc;

use freshet::store::{Changes, EventFilter, Store};

use super::write;

pub(super) async fn events_are_chosen_by_place_user_item_and_time(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    let mut stored = write(1..=30);
    for learned in &mut stored.events {
        learned.event.user = (learned.seq % 3).to_string();
        learned.event.item = (learned.seq % 2).to_string();
        learned.event.ts = 1_000 - learned.seq as i64;
    }
    store.persist(epoch, &stored).await.unwrap();
    let all = EventFilter::default;
    let cases: [(EventFilter, &dyn Fn(u64) -> bool); 8] = [
        (all(), &|_| true),
        (EventFilter { seqs: 5..=9, ..all() }, &|seq| (5..=9).contains(&seq)),
        (EventFilter { seqs: 31..=u64::MAX, ..all() }, &|_| false),
        (EventFilter { user: Some("2".into()), ..all() }, &|seq| seq % 3 == 2),
        (EventFilter { user: Some("2".into()), item: Some("0".into()), ..all() }, &|seq| seq % 6 == 2),
        (EventFilter { item: Some("x".into()), ..all() }, &|_| false),
        (EventFilter { since_ms: Some(980), until_ms: Some(990), ..all() }, &|seq| (11..=20).contains(&seq)),
        (EventFilter { since_ms: Some(i64::MIN), until_ms: Some(i64::MAX), seqs: 29..=30, ..all() }, &|seq| seq > 28),
    ];
    for (wanted, expected) in cases {
        let expected: Vec<_> = stored.events.iter().filter(|learned| expected(learned.seq)).cloned().collect();
        assert_eq!(store.events_where(&wanted, usize::MAX).await.unwrap(), expected, "{wanted:?}");
        let first = store.events_where(&wanted, 2).await.unwrap();
        assert_eq!(first[..], expected[..expected.len().min(2)], "{wanted:?}");
        assert!(store.events_where(&wanted, 0).await.unwrap().is_empty());
    }
}

pub(super) async fn new_events_are_told_in_order_and_go_on_after_a_token(store: Arc<dyn Store>) {
    let epoch = store.claim().await.unwrap().epoch;
    store.persist(epoch, &write(1..=10)).await.unwrap();
    let wanted = EventFilter::default();
    let seventh = EventFilter { user: Some("7".into()), ..EventFilter::default() };
    let Some(mut changes) = store.changes(&wanted, None).await.unwrap() else {
        assert!(store.location().ends_with("store.db"), "MongoDB tells of changes");
        return;
    };
    let mut of_seventh = store.changes(&seventh, None).await.unwrap().unwrap();
    store.persist(epoch, &write(11..=2_000)).await.unwrap();
    assert_eq!(told(&mut *changes, 1_990).await, (11..=2_000).collect::<Vec<_>>());
    assert_eq!(told(&mut *of_seventh, 2).await, [950, 1_893]);
    let token = changes.token().expect("there is a place to go on from");
    drop(changes);
    store.persist(epoch, &write(2_001..=2_100)).await.unwrap();
    let mut changes = store.changes(&wanted, Some(&token)).await.unwrap().unwrap();
    assert_eq!(told(&mut *changes, 100).await, (2_001..=2_100).collect::<Vec<_>>());
    // While nothing comes the place moves on all the same.
    let before = changes.token();
    assert!(changes.next().await.unwrap().is_empty());
    store
        .persist(epoch, &super::DurableWrite { progress: super::progress(2_100, 1), ..Default::default() })
        .await
        .unwrap();
    while changes.token() == before {
        assert!(changes.next().await.unwrap().is_empty());
    }
    assert!(store.changes(&wanted, Some(&serde_json::json!({"_data": "no"}))).await.is_err());
}

/// The seqs of the next events, so many of them.
async fn told(changes: &mut dyn Changes, events: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.len() < events {
        seqs.extend(changes.next().await.unwrap().iter().map(|event| event.seq));
    }
    seqs
}
