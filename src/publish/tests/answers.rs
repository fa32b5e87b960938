//! What must hold for every answer beyond a user's list, under every learner.

use super::*;
use crate::config::LearnerKind;
use crate::learn::Model;
use crate::learn::tables::Table;
use history::HALF_LIVES;

/// Every learner that may rank, with one that predicts ratings.
fn kinds() -> impl Strategy<Value = (LearnerKind, LearnerKind)> {
    use LearnerKind::{
        BayesianMf, BiasedMf, Biases, Blend, DecayedPopularity, ItemKnn, Popularity, Random, RunningMean,
    };
    let rating = [RunningMean, Biases, BiasedMf, BayesianMf];
    let ranking = [Blend, ItemKnn, Popularity, DecayedPopularity, Random, RunningMean, Biases, BiasedMf, BayesianMf];
    (prop::sample::select(rating.to_vec()), prop::sample::select(ranking.to_vec()))
}

fn config((rating, ranking): (LearnerKind, LearnerKind)) -> Config {
    let mut config = Config::default();
    (config.learn.rating, config.learn.ranking) = (rating, ranking);
    // Small enough that what is left out at the bounds is left out here.
    (config.item_knn.history, config.item_knn.neighbours) = (20, 9);
    (config.blend.history, config.blend.recent, config.blend.pairs, config.blend.neighbours) = (20, 11, 7, 9);
    config
}

type Events = Vec<(u8, u16, f32)>;

fn events() -> impl Strategy<Value = Events> {
    proptest::collection::vec((0..6_u8, 0..40_u16, 1.0f32..=5.0), 1..200)
}

fn view_of(kinds: (LearnerKind, LearnerKind), events: &[(u8, u16, f32)]) -> Arc<View> {
    let mut recommender = Recommender::new(&config(kinds)).unwrap();
    learn(&mut recommender, &mut publisher(), &batch(1, events))
}

/// Everything that a model holds, byte for byte.
fn bytes(model: &dyn Model) -> Vec<u8> {
    let mut bytes = model.scalars();
    bytes.extend(model.tables().iter().flat_map(Table::stored).flat_map(|stored| stored.content()));
    bytes
}

fn bits(scores: &[f32]) -> Vec<u32> {
    scores.iter().map(|score| score.to_bits()).collect()
}

proptest! {
    #[test]
    fn any_scores_are_ranked_as_by_a_full_sort(
        events in events(), scores in proptest::collection::vec(prop_oneof![-3..3_i32, Just(9)], 40),
        seen in proptest::collection::vec(0..40_u32, 0..9), n in 0..50_usize,
    ) {
        let view = view_of((LearnerKind::RunningMean, LearnerKind::Popularity), &events);
        let items = view.learned().items.len();
        let score = |score: &i32| if *score == 9 { f32::NAN } else { *score as f32 };
        let scores: Vec<f32> = scores[..items].iter().map(score).collect();
        let (seen, liked): (RoaringBitmap, _) = (seen.into_iter().collect(), view.popularity());
        let mut sorted: Vec<Scored> = (0..).zip(&scores).map(|(item, score)| Scored { item, score: *score }).collect();
        sorted.retain(|s| !s.score.is_nan() && liked[s.item as usize] > 0.0 && !seen.contains(s.item));
        sorted.sort_by(|a, b| b.cmp(a));
        for item in 0..45 {
            let place = sorted.iter().position(|scored| scored.item == item).map(|place| place + 1);
            prop_assert_eq!(view.rank_of(scores.clone(), &seen, &Query::default(), item), place);
        }
        sorted.truncate(n);
        prop_assert_eq!(view.rank(scores, &seen, &Query::top(n)), sorted);
    }

    #[test]
    fn to_score_seen_items_changes_the_score_of_no_other(kinds in kinds(), events in events()) {
        let view = view_of(kinds, &events);
        for user in 0..7 {
            let mut served = view.room();
            view.learned().ranking().score(user, &mut served);
            let mut scores = view.scores(user);
            prop_assert!(scores.iter().all(|score| score.is_finite()));
            for item in view.history().seen(user).into_iter().flatten() {
                scores[item as usize] = served[item as usize];
            }
            prop_assert_eq!(bits(&scores), bits(&served));
        }
    }

    #[test]
    fn scores_of_events_are_those_of_a_user_who_has_had_them_and_the_model_is_not_touched(
        kinds in kinds(), events in events(), (likes, dislikes) in (
            proptest::collection::vec(0..60_u32, 0..6), proptest::collection::vec(0..60_u32, 0..4)),
    ) {
        let mut recommender = Recommender::new(&config(kinds)).unwrap();
        let mut publisher = publisher();
        let view = learn(&mut recommender, &mut publisher, &batch(1, &events));
        let before = bytes(view.learned().ranking());
        let scores = view.scores_of_events(&likes, &dislikes);
        prop_assert_eq!(bytes(view.learned().ranking()), before);
        let name = |item: &u32| Some(view.learned().items.name(*item)?[1..].parse().unwrap());
        let event = |item: &u32, rating| name(item).map(|item| (99, item, rating));
        let own = dislikes.iter().filter_map(|item| event(item, 1.0));
        let own: Events = own.chain(likes.iter().filter_map(|item| event(item, 5.0))).collect();
        // The events of tests tell their own time, and these do not.
        let mut batch = batch(view.version().seq + 1, &own);
        batch.events.iter_mut().for_each(|event| event.ts_of_event = false);
        if own.is_empty() {
            prop_assert_eq!(bits(&scores), bits(&view.scores(view.learned().users.len() as u32)));
        } else {
            let after = learn(&mut recommender, &mut publisher, &batch);
            let user = after.learned().users.get("u99").unwrap();
            prop_assert_eq!(bits(&scores), bits(&after.scores(user)));
        }
    }

    #[test]
    fn what_events_add_sums_up_to_the_score(
        ranking in prop::sample::select(vec![LearnerKind::Blend, LearnerKind::ItemKnn]), events in events(),
    ) {
        let view = view_of((LearnerKind::RunningMean, ranking), &events);
        for user in 0..view.learned().users.len() as u32 {
            let scores = view.scores(user);
            for (item, liked) in (0..).zip(view.popularity()).filter(|(_, liked)| *liked > 0.0) {
                let because = view.because(user, item).unwrap();
                let sum = because.base + because.parts.iter().map(|part| part.score).sum::<f32>();
                prop_assert!((sum - scores[item as usize]).abs() < 1e-4 * (1.0 + sum.abs()), "{liked} {because:?}");
                prop_assert_eq!(because.score, scores[item as usize]);
                let seen = view.history().seen(user).unwrap();
                prop_assert!(because.parts.iter().all(|part| seen.contains(part.item)));
                prop_assert!(because.parts.is_sorted_by(|a, b| a.score.abs() >= b.score.abs()));
                prop_assert!(because.rank.is_some_and(|rank| rank >= 1));
                prop_assert_eq!(because.rank_without.is_some(), !because.parts.is_empty() && !seen.contains(item));
            }
        }
    }

    #[test]
    fn every_learner_answers_or_says_that_it_cannot(kinds in kinds(), events in events()) {
        let view = view_of(kinds, &events);
        let (users, items) = (view.learned().users.len() as u32, view.learned().items.len() as u32);
        for item in [0, items - 1, items, u32::MAX] {
            let similar = view.similar_items(item, &Query::top(99));
            prop_assert!(similar.iter().flatten().all(|other| other.item != item && other.score.abs() < 1.001));
            let because = view.because(0, item);
            prop_assert!(because.is_none_or(|because| because.score.is_finite()));
            for user in [None, Some(0), Some(users)] {
                let all = [0, 1, 2, 3].map(|level| view.estimate(user, Some(item), level));
                prop_assert!(all.iter().all(|e| 1.0 <= e.low && e.low <= e.rating && e.rating <= e.high && e.high <= 5.0));
                prop_assert!(all.is_sorted_by(|a, b| b.low <= a.low && a.high <= b.high && a.rating == b.rating));
            }
        }
        for user in [0, users - 1, users, u32::MAX] {
            let similar = view.similar_users(user, 99);
            prop_assert!(similar.iter().flatten().all(|other| other.item != user && other.item < users));
            let surprising = view.surprising(user, 4);
            prop_assert!(surprising.is_sorted_by(|a, b| a.score <= b.score));
            prop_assert!(surprising.iter().all(|s| view.history().seen(user).unwrap().contains(s.item)));
        }
        let factors: Vec<usize> = view.representative().iter().map(|found| found.factor).collect();
        prop_assert!(factors.is_sorted_by(|a, b| a < b));
        prop_assert!(view.representative().iter().all(|found| found.share.abs() < 1.001));
        for how in [Together::Mean, Together::LeastMisery] {
            let scores = view.scores_of_group(&[0, users - 1], how);
            let liked = view.popularity();
            prop_assert!(scores.iter().zip(liked).all(|(score, liked)| score.is_finite() == (liked > 0.0)));
        }
        prop_assert_eq!(view.scores_of_group(&[], Together::Mean), view.popularity());
    }

    #[test]
    fn recent_counts_are_sums_over_the_positive_events(events in events(), cut in 0..200_usize) {
        // Cut in two, and taken up in between: the same bits.
        let (mut recommender, mut first) = (recommender(), publisher());
        let at = cut.min(events.len() - 1);
        let before = if at == 0 { Arc::default() } else { learn(&mut recommender, &mut first, &batch(1, &events[..at])) };
        let mut second = Publisher::new(Published::default(), View::clone(&before));
        let view = learn(&mut recommender, &mut second, &batch(1, &events[at..]));
        let whole = view_of((LearnerKind::RunningMean, LearnerKind::Popularity), &events);
        let liked: Vec<u16> = events.iter().filter(|event| event.2 >= 4.0).map(|event| event.1).collect();
        for (window, half_life) in HALF_LIVES.iter().enumerate() {
            let trending = view.trending(window);
            prop_assert_eq!(bits(&trending), bits(&whole.trending(window)));
            for (item, count) in (0..).zip(trending) {
                let name: u16 = view.learned().items.name(item).unwrap()[1..].parse().unwrap();
                let ages = (0..liked.len()).rev().zip(&liked).filter(|(_, other)| **other == name);
                let sum: f64 = ages.map(|(age, _)| (-(age as f64) / half_life).exp2()).sum();
                prop_assert!((f64::from(count) - sum).abs() < 1e-5 * (1.0 + sum));
            }
        }
    }
}

#[test]
fn one_user_is_a_group_and_the_least_content_one_decides() {
    let events: Events = (0..300).map(|n| ((n * 7 % 5) as u8, n * 11 % 37, f32::from(1 + n * 3 % 5))).collect();
    let view = view_of((LearnerKind::RunningMean, LearnerKind::BiasedMf), &events);
    let query = Query::top(50);
    let own = view.rank(view.scores(1), &view.seen_by(&[1]), &query);
    for how in [Together::Mean, Together::LeastMisery] {
        let group = view.rank(view.scores_of_group(&[1], how), &view.seen_by(&[1]), &query);
        let items = |list: &[Scored]| list.iter().map(|scored| scored.item).collect::<Vec<_>>();
        assert_eq!(items(&group), items(&own));
    }
    let [least, mean, a, b] = [
        view.scores_of_group(&[1, 2], Together::LeastMisery),
        view.scores_of_group(&[1, 2], Together::Mean),
        view.scores_of_group(&[1], Together::Mean),
        view.scores_of_group(&[2], Together::Mean),
    ];
    for item in (0..least.len()).filter(|item| !least[*item].is_nan()) {
        assert_eq!(least[item], a[item].min(b[item]));
        assert!((mean[item] - f32::midpoint(a[item], b[item])).abs() < 1e-6);
    }
}

#[test]
fn seen_items_are_ranked_by_the_blend_where_they_are_asked_for() {
    // Users have one of two tastes.
    let events: Events = (0..400).map(|n| ((n % 20) as u8, n % 2 * 10 + n / 20 % 5, 5.0)).collect();
    let view = view_of((LearnerKind::RunningMean, LearnerKind::Blend), &events);
    let list = view.recommend("u0", &Query { include_seen: true, ..Query::top(99) }).items;
    assert_eq!(list.len(), 10);
    assert!(list.iter().all(|scored| scored.score.abs() < 1e3), "{list:?}");
    let name = |scored: &Scored| view.learned().items.name(scored.item).unwrap()[1..].parse::<u16>().unwrap();
    assert!(list[..5].iter().all(|scored| name(scored) < 10), "his own taste first: {list:?}");
}
