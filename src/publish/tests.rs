//! What must hold for every answer: the same as a full sort, nothing seen, and of one moment.

use proptest::prelude::*;
use roaring::RoaringBitmap;

use super::*;
use crate::config::Config;
use crate::decode::testing;
use crate::gather::MicroBatch;
use crate::learn::Recommender;

mod answers;

fn recommender() -> Recommender {
    Recommender::new(&Config::default()).unwrap()
}

fn publisher() -> Publisher {
    Publisher::new(Published::default(), View::default())
}

fn batch(first_seq: u64, events: &[(u8, u16, f32)]) -> MicroBatch {
    let event = |&(user, item, rating): &(u8, u16, f32)| testing::event(format!("u{user}"), format!("i{item}"), rating);
    MicroBatch { number: 1, first_seq, events: events.iter().map(event).collect(), ..MicroBatch::default() }
}

fn learn(recommender: &mut Recommender, publisher: &mut Publisher, batch: &MicroBatch) -> Arc<View> {
    publisher.observe(&recommender.learn(batch).unwrap());
    publisher.publish(recommender.publish(), Version::after(batch, 0))
}

proptest! {
    #[test]
    fn the_best_n_are_those_of_a_full_sort(
        scores in proptest::collection::vec(prop_oneof![-3..3_i32, Just(9)], 0..60), n in 0..70_usize,
    ) {
        let scored = |(item, score): (usize, &i32)| {
            Scored { item: item as u32, score: if *score == 9 { f32::NAN } else { *score as f32 } }
        };
        let best = top_n(scores.iter().enumerate().map(scored), n);
        let mut sorted: Vec<Scored> =
            scores.iter().enumerate().map(scored).filter(|scored| !scored.score.is_nan()).collect();
        sorted.sort_by(|a, b| b.cmp(a));
        sorted.truncate(n);
        prop_assert_eq!(best, sorted);
    }

    #[test]
    fn an_answer_holds_the_best_unseen_items_that_somebody_liked(
        events in proptest::collection::vec((0..6_u8, 0..300_u16, 1.0f32..=5.0), 1..200), n in 1..400_usize,
    ) {
        let (mut recommender, mut publisher) = (recommender(), publisher());
        let view = learn(&mut recommender, &mut publisher, &batch(1, &events));
        for user in 0..6_u8 {
            let answer = view.recommend(&format!("u{user}"), &Query::top(n));
            let seen: Vec<u16> = events.iter().filter(|event| event.0 == user).map(|event| event.1).collect();
            prop_assert_eq!(answer.cold, seen.is_empty());
            prop_assert!(answer.items.is_sorted_by(|a, b| a > b));
            if answer.cold { continue; }
            let liked = events.iter().filter(|event| event.2 >= 4.0).map(|event| event.1);
            let mut items: Vec<u16> = liked.filter(|item| !seen.contains(item)).collect();
            items.sort_unstable();
            items.dedup();
            prop_assert_eq!(answer.items.len(), n.min(items.len()));
            let name = |item| view.learned().items.name(item).unwrap();
            prop_assert!(answer.items.iter().all(|s| items.contains(&name(s.item)[1..].parse().unwrap())));
        }
    }
}

proptest! {
    #[test]
    fn only_items_that_were_asked_for_are_in_an_answer_and_its_pages_partition_the_list(
        events in proptest::collection::vec((0..4_u8, 0..40_u16, 3.0f32..=5.0), 1..120),
        (exclude, candidates) in (proptest::collection::vec(0..60_u32, 0..20), proptest::option::of(
            proptest::collection::vec(0..60_u32, 0..40))),
        include_seen: bool, page in 1..9_usize,
    ) {
        let (mut recommender, mut publisher) = (recommender(), publisher());
        let view = learn(&mut recommender, &mut publisher, &batch(1, &events));
        let query = Query {
            n: 100,
            include_seen,
            exclude: exclude.iter().copied().collect(),
            candidates: candidates.map(|items| items.into_iter().collect()),
            ..Query::default()
        };
        for user in ["u0", "u1", "nobody"] {
            let whole = view.recommend(user, &query).items;
            let all = view.recommend(user, &Query { include_seen, ..Query::top(100) }).items;
            let asked_for = |scored: &Scored| {
                let Scored { item, .. } = *scored;
                !query.exclude.contains(item) && query.candidates.as_ref().is_none_or(|only| only.contains(item))
            };
            let expected: Vec<Scored> = all.into_iter().filter(asked_for).collect();
            prop_assert_eq!(&whole, &expected);
            let at = |offset| view.recommend(user, &Query { n: page, offset, ..query.clone() }).items;
            let pages: Vec<Scored> = (0..=whole.len()).step_by(page).flat_map(at).collect();
            prop_assert_eq!(pages, whole);
        }
    }
}

#[test]
fn an_unknown_user_gets_the_most_liked_items() {
    let (mut recommender, mut publisher) = (recommender(), publisher());
    let view = learn(
        &mut recommender,
        &mut publisher,
        &batch(1, &[(1, 7, 5.0), (2, 8, 4.0), (3, 8, 5.0), (1, 9, 3.0), (2, 9, 1.0), (3, 9, 2.0)]),
    );
    let answer = view.recommend("nobody", &Query::top(10));
    assert!(answer.cold);
    let names: Vec<_> = answer.items.iter().map(|s| view.learned().items.name(s.item).unwrap().to_string()).collect();
    assert_eq!(names, ["i8", "i7"]);
    assert_eq!(answer.items[0].score, 2.0);
}

#[test]
fn a_reader_keeps_its_moment_while_the_engine_goes_on() {
    let readers = Published::default();
    let (mut recommender, mut publisher) = (recommender(), Publisher::new(Arc::clone(&readers), View::default()));
    learn(&mut recommender, &mut publisher, &batch(1, &[(1, 1, 5.0), (2, 2, 4.0)]));
    let held = readers.load_full();
    let before = held.recommend("u1", &Query::top(5));
    learn(&mut recommender, &mut publisher, &batch(3, &[(1, 2, 5.0), (2, 3, 5.0)]));
    assert_eq!(held.recommend("u1", &Query::top(5)), before);
    assert_eq!((held.version().seq, readers.load().version().seq), (2, 4));
    let after = readers.load().recommend("u1", &Query::top(5));
    assert_ne!(after, before, "item 2 is seen now, and item 3 is new");
}

proptest! {
    #[test]
    fn an_item_stands_where_the_list_has_it(
        events in proptest::collection::vec((0..4_u8, 0..40_u16, 1.0f32..=5.0), 1..100), user in 0..5_u8, item in 0..45_u16,
    ) {
        let (mut recommender, mut publisher) = (recommender(), publisher());
        let view = learn(&mut recommender, &mut publisher, &batch(1, &events));
        let (user, item) = (format!("u{user}"), format!("i{item}"));
        let dense_user = view.learned().users.get(&user).unwrap_or(u32::MAX);
        let dense_item = view.learned().items.get(&item).unwrap_or(u32::MAX);
        let standing = view.standing(dense_user, dense_item);
        let answer = view.recommend(&user, &Query::top(usize::MAX));
        let seen = view.history().seen(dense_user).is_some_and(|seen| seen.contains(dense_item));
        prop_assert_eq!(standing.is_none(), answer.cold || seen);
        if let Some(standing) = standing {
            let place = answer.items.iter().position(|scored| scored.item == dense_item);
            prop_assert_eq!(standing.model, place.map(|place| place + 1));
            prop_assert_eq!(standing.popular.is_some(), view.history().liked(dense_item) > 0);
        }
    }
}
