//! What the blend as a whole must do, beside what holds for every learner.

use super::*;
use crate::config::{Config, LearnerKind};
use crate::learn::{Observation, build};

fn learner(change: impl FnOnce(&mut BlendConfig)) -> Box<dyn Learner> {
    let mut config = Config::default();
    change(&mut config.blend);
    build(LearnerKind::Blend, &config).unwrap()
}

fn event(user: u32, item: u32, positive: bool) -> Observation {
    let target = if positive { 5.0 } else { 1.0 };
    Observation { user, item, target, positive, count: 1.0, ts: None, about: None }
}

fn scores(learner: &dyn Learner, user: u32, items: usize) -> Vec<f32> {
    let mut scores = vec![0.0; items];
    learner.score(user, &mut scores);
    scores
}

#[test]
fn a_user_who_is_not_known_gets_the_popular_items() {
    let mut learner = learner(|_| ());
    for user in 0..240 {
        // Item 0 is chosen by all, item 3 by every eighth, each as often first as last.
        let order = (0..4).map(|at| (at + user / 8) % 4);
        for item in order.filter(|item| user % (1 << item) == 0) {
            learner.learn(&event(user, item, true));
        }
    }
    let scores = scores(&*learner, 1_000, 4);
    assert!(scores.is_sorted_by(|a, b| a > b), "{scores:?}");
}

#[test]
fn what_others_chose_next_is_recommended_and_what_nobody_chose_is_last() {
    let mut learner = learner(|_| ());
    for user in 0..200 {
        // Users have one of two tastes, items 0 to 4 or 5 to 9, and none likes item 10.
        let taste = user % 2 * 5;
        for at in 0..3 {
            learner.learn(&event(user, taste + (user / 2 + at) % 5, true));
        }
        learner.learn(&event(user, 10, false));
    }
    learner.learn(&event(500, 0, true));
    let scores = scores(&*learner, 500, 12);
    // Items 1 and 2 come after item 0, items 3 and 4 before it.
    assert!(scores[5..10].iter().all(|other| *other < scores[1].min(scores[2])), "{scores:?}");
    assert_eq!([scores[0], scores[10], scores[11]], [NO_CANDIDATE; 3]);
}

#[test]
fn an_item_that_comes_again_moves_to_the_newest_end() {
    let mut learner = BlendLearner::of(Blend::new(test_params()));
    for item in [0, 1, 2, 0] {
        learner.learn(&event(7, item, true));
    }
    let items: Vec<u32> = learner.model.history(7).map(|visit| visit.item).collect();
    assert_eq!((items, learner.model.histories.events(7)), (vec![0, 2, 1], 4));
    assert_eq!(learner.model.counts.of(0).positives, 2.0);
    assert!(learner.model.pairs.row(0).iter().all(|pair| pair.item != 0), "an item is no neighbour of itself");
}

fn test_params() -> ValidParams<BlendConfig> {
    crate::learn::checked(&Config::default().blend, crate::learn::params::Common::of(&Config::default())).unwrap()
}

#[test]
fn a_stored_model_of_other_parts_is_refused() {
    let mut learner = BlendLearner::of(Blend::new(test_params()));
    (0..4).for_each(|item| {
        learner.learn(&event(0, item, true));
    });
    let model = learner.model.publish();
    let stored = |model: &Blend<Frozen>| Tables::of(model.tables());
    let read = |tables: &mut Tables| Blend::read(test_params(), &model.scalars(), tables).map(|_| ());
    assert_eq!(read(&mut stored(&model)), Ok(()));
    // A history that names an item which is not there must not be read: learning would panic on it.
    let mut other = BlendLearner::of(Blend::new(test_params()));
    other.learn(&event(0, 0, true));
    let mut mixed = stored(&model);
    mixed.parts.insert("counts".into(), stored(&other.model.publish()).parts["counts"].clone());
    assert!(read(&mut mixed).unwrap_err().contains("not of the same 1 items"));
}
