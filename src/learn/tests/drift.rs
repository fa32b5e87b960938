//! What a drift makes of learning: nothing by default, and with a boost the same for any cutting into batches.

use super::*;

/// Ratings by what is thought of items, which turns at an event: every other item is good, then every other one.
fn turning(events: u32, at: u32) -> Vec<(u8, u8, f32)> {
    let mut state = 7_u32;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    let event = |n: u32| {
        let (user, item) = (next(40), next(60));
        let likes = (item % 2 == 0) != (n >= at);
        (user as u8, item as u8, (if likes { 4.5 } else { 1.5 }) + 0.01 * next(50) as f32)
    };
    (0..events).map(event).collect()
}

fn boosting(kind: LearnerKind, boost: f64) -> Config {
    let mut config = config((kind, LearnerKind::Popularity));
    (config.drift.boost, config.drift.boost_events) = (boost, 700);
    config
}

/// What was predicted, and the state after it.
fn learned(config: &Config, stream: &[(u8, u8, f32)], sizes: &[usize]) -> (Vec<Outcome>, LearnedState) {
    let mut recommender = Recommender::new(config).unwrap();
    let (mut rest, mut outcomes) = (stream, Vec::new());
    for size in sizes.iter().cycle() {
        let (now, later) = rest.split_at((*size).min(rest.len()));
        outcomes.extend(recommender.learn(&batch(now)).unwrap());
        rest = later;
        if rest.is_empty() {
            break;
        }
        if size % 2 == 0 {
            // Stopped and started again, also while it is boosted.
            recommender = Recommender::resume(config, recommender.publish());
        }
    }
    (outcomes, recommender.publish())
}

#[test]
fn a_boost_is_the_same_for_any_cutting_into_batches_and_any_restart() {
    let stream = turning(6_000, 4_000);
    for kind in [LearnerKind::Biases, LearnerKind::BiasedMf] {
        let config = boosting(kind, 3.0);
        let (expected, whole) = learned(&config, &stream, &[stream.len()]);
        assert!(whole.drift.detected() > 0 && whole.drift.marks()[0] > 4_000, "{kind:?}: {:?}", whole.drift.marks());
        for sizes in [&[1][..], &[2], &[7, 64, 300, 31], &[256]] {
            let (outcomes, state) = learned(&config, &stream, sizes);
            assert_eq!(outcomes, expected, "{kind:?} in {sizes:?}");
            assert_eq!(bytes(&state), bytes(&whole), "{kind:?} in {sizes:?}");
        }
    }
}

#[test]
fn a_boost_changes_nothing_before_the_drift_and_is_better_after_it() {
    let stream = turning(6_000, 4_000);
    let config = boosting(LearnerKind::BiasedMf, 1.0);
    let (plain, watched) = learned(&config, &stream, &[256]);
    let (boosted, _) = learned(&boosting(LearnerKind::BiasedMf, 3.0), &stream, &[256]);
    let at = watched.drift.marks()[0] as usize;
    assert!((4_001..4_700).contains(&at), "{at}");
    assert_eq!(plain[..at], boosted[..at]);
    let squares = |outcomes: &[Outcome]| -> f32 {
        let after = outcomes.iter().zip(&stream).skip(at).take(700);
        after.map(|(outcome, (_, _, rating))| (outcome.predicted - rating).powi(2)).sum()
    };
    assert!(squares(&boosted) < 0.9 * squares(&plain), "{} {}", squares(&boosted), squares(&plain));
}

#[test]
fn watching_reaches_no_prediction() {
    let stream = turning(5_000, 4_000);
    let mut config = boosting(LearnerKind::BiasedMf, 1.0);
    let (watched, state) = learned(&config, &stream, &[256]);
    assert!(state.drift.detected() > 0 && !state.drift.is_boosted());
    config.drift.enabled = false;
    let (unwatched, state) = learned(&config, &stream, &[256]);
    assert_eq!((watched, state.drift.detected(), state.drift.events()), (unwatched, 0, 5_000));
}

#[test]
fn a_factor_of_one_is_no_change_bit_for_bit_and_a_larger_one_is_where_there_are_steps() {
    let observations = |from: u32| {
        let event = |n: u32| Observation {
            user: n % 7,
            item: n * n % 11,
            target: (n * 5 % 9) as f32 * 0.5 + 1.0,
            positive: true,
            count: 1.0,
            ts: Some(i64::from(n) * 1_000),
            about: None,
        };
        (from..from + 150).map(event).collect::<Vec<_>>()
    };
    for kind in [&RATING[..], &RANKING].concat() {
        let run = |factors: [f32; 2]| {
            let mut learner = build(kind, &config((kind, kind))).unwrap();
            for (factor, from) in factors.into_iter().zip([0, 150]) {
                learner.hasten(9.0);
                learner.hasten(factor);
                for event in observations(from) {
                    learner.learn(&event);
                }
            }
            answers(&*learner)
        };
        let mut plain = build(kind, &config((kind, kind))).unwrap();
        for event in observations(0).into_iter().chain(observations(150)) {
            plain.learn(&event);
        }
        assert_eq!(run([1.0, 1.0]), answers(&*plain), "{kind:?}");
        let steps = [LearnerKind::Biases, LearnerKind::BiasedMf, LearnerKind::BayesianMf].contains(&kind);
        assert_eq!(run([1.0, 4.0]) != answers(&*plain), steps, "{kind:?}");
    }
}
