use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::config::Config;
use crate::decode::testing;
use crate::learn::Recommender;
use crate::publish::{Published, Publisher, Version};

/// An engine's learning stage without its channels.
struct Learning {
    recommender: Recommender,
    publisher: Publisher,
    newest: Arc<View>,
    monitor: Monitor,
    batches: u64,
}

impl Learning {
    fn new() -> Self {
        let mut config = Config::default();
        config.learn.rating = crate::config::LearnerKind::BiasedMf;
        config.learn.ranking = crate::config::LearnerKind::Popularity;
        Self {
            recommender: Recommender::new(&config).unwrap(),
            publisher: Publisher::new(Published::default(), View::default()),
            newest: Arc::default(),
            monitor: Monitor::default(),
            batches: 0,
        }
    }

    fn learn(&mut self, events: &[(u8, u16, f32)]) -> Vec<Outcome> {
        self.batches += 1;
        let event =
            |&(user, item, rating): &(u8, u16, f32)| testing::event(format!("u{user}"), format!("i{item}"), rating);
        let first_seq = self.newest.version().seq + 1;
        let events = events.iter().map(event).collect();
        let batch = MicroBatch { number: self.batches, first_seq, events, ..MicroBatch::default() };
        let outcomes = self.recommender.learn(&batch).unwrap();
        self.publisher.observe(&outcomes);
        let after = self.publisher.publish(self.recommender.publish(), Version::after(&batch, 7));
        let (before, outcomes_of) = (std::mem::replace(&mut self.newest, Arc::clone(&after)), &outcomes);
        let times = BatchTimes { learn: Duration::from_millis(3), ..BatchTimes::default() };
        self.monitor.learned(&LearnedEvents {
            batch: &batch,
            outcomes: outcomes_of,
            before: &before,
            after: &after,
            times,
        });
        outcomes
    }
}

#[test]
fn the_figures_of_all_events_are_those_of_the_model_itself() {
    let mut learning = Learning::new();
    for batch in 0..30_u16 {
        let events: Vec<_> =
            (0..7).map(|n| ((batch % 5) as u8, batch * 7 + n, f32::from((batch + n) % 5 + 1))).collect();
        learning.learn(&events);
    }
    let (figures, view) = (learning.monitor.learning(), &learning.newest);
    let (window, model) = (figures.window.metrics(), view.learned().prequential.metrics());
    assert_eq!(figures.window.events(), 210);
    for (ours, its) in [
        (window.mae, model.mae),
        (window.rmse, model.rmse),
        (window.mean_mae, model.mean_mae),
        (window.mean_rmse, model.mean_rmse),
    ] {
        assert!((ours - its).abs() < 1e-6, "{ours} {its}");
    }
    assert_eq!(figures.histogram.values.len(), 9);
    assert_eq!(figures.histogram.actual.iter().sum::<u64>(), 210);
    assert_eq!(figures.histogram.actual[0], 42, "one in five of them is a 1");
    assert_eq!(figures.histogram.predicted.iter().sum::<u64>(), 210);
}

#[test]
fn after_a_restart_the_newest_events_are_there_again() {
    let mut learning = Learning::new();
    let mut stored = Vec::new();
    for batch in 0..5_u16 {
        let events: Vec<_> = (0..9).map(|n| (1, batch * 9 + n, f32::from((batch * n) % 5 + 1))).collect();
        let outcomes = learning.learn(&events);
        for (n, (outcome, event)) in outcomes.iter().zip(&events).enumerate() {
            let seq = u64::from(batch) * 9 + n as u64 + 1;
            stored.push((seq, testing::event("u1", format!("i{}", event.1), event.2), outcome.predicted));
        }
    }
    let before = learning.monitor.learning();
    let again = Monitor::default();
    again.recall(&stored, &learning.newest);
    let after = again.learning();
    assert_eq!((after.window.events(), &after.histogram), (45, &before.histogram));
    assert!((after.window.metrics().mean_rmse - before.window.metrics().mean_rmse).abs() < 1e-6, "{after:?}");
    assert_eq!((again.newest().len(), again.newest()[19].seq, again.newest()[19].at_ms), (20, 45, None));
    again.recall(&[], &View::default());
}

#[test]
fn a_user_s_events_are_numbered_within_a_batch_and_beyond_it() {
    let mut learning = Learning::new();
    learning.learn(&[(1, 1, 4.0), (1, 2, 4.0), (2, 1, 4.0)]);
    learning.learn(&[(1, 3, 4.0), (2, 2, 4.0)]);
    let counts: Vec<_> = serde_json::to_value(learning.monitor.learning().nth).unwrap().as_array().unwrap().clone();
    let events: Vec<_> = counts.iter().map(|group| group["events"].as_u64().unwrap()).collect();
    assert_eq!(events, [2, 2, 1, 0, 0, 0, 0, 0]);
    assert_eq!(
        (&counts[2]["from"], &counts[2]["to"], &counts[7]["to"]),
        (&3.into(), &5.into(), &serde_json::Value::Null)
    );
}

#[test]
fn what_is_kept_is_bounded() {
    let mut learning = Learning::new();
    for batch in 0..400_u16 {
        let events: Vec<_> = (0..50_u8).map(|n| (n, batch % 20, f32::from(n % 5 + 1))).collect();
        learning.learn(&events);
    }
    let (stream, figures) = (learning.monitor.stream(), learning.monitor.learning());
    assert_eq!((stream.batches.len(), figures.window.events()), (120, 10_000));
    assert!(figures.curve.len() <= 240, "{}", figures.curve.len());
    let newest = learning.monitor.newest();
    let seqs: Vec<_> = newest.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (19_981..=20_000).collect::<Vec<_>>());
    assert!(stream.events_per_s > 0.0);
}

#[test]
fn a_write_is_told_of_every_batch_in_it_and_of_no_other() {
    let mut learning = Learning::new();
    (0..4).for_each(|item| drop(learning.learn(&[(1, item, 4.0)])));
    learning.monitor.persisted(1, Duration::from_millis(5));
    learning.monitor.persisted(3, Duration::from_millis(9));
    let lines = serde_json::to_value(learning.monitor.stream().batches).unwrap();
    let persisted: Vec<_> = lines.as_array().unwrap().iter().map(|line| line["persist_ms"].as_f64()).collect();
    assert_eq!(persisted, [Some(5.0), Some(9.0), Some(9.0), None]);
    assert_eq!((&lines[0]["learn_ms"], &lines[0]["events"]), (&3.0.into(), &1.into()));
}

#[test]
fn judging_lists_takes_a_small_share_of_the_time() {
    let monitor = Monitor::default();
    assert!(monitor.may_rank());
    let standing = |model| Standing { model, popular: Some(12), trending: None };
    monitor.ranked(Some(standing(Some(1))), Duration::ZERO);
    monitor.ranked(Some(standing(Some(11))), Duration::ZERO);
    monitor.ranked(None, Duration::from_secs(1));
    assert!(!monitor.may_rank(), "31 seconds are left");
    let all = monitor.learning().ranking.all;
    assert_eq!((all.ranked, all.model.hr, all.model.ndcg, all.popular.hr), (2, 0.5, 0.5, 0.0));
}

proptest! {
    #[test]
    fn the_window_of_lists_is_the_newest_of_them(ranks in proptest::collection::vec(1..30_usize, 1..4_500)) {
        let mut ranking = Ranking::default();
        for rank in &ranks {
            ranking.add(Standing { model: Some(*rank), popular: None, trending: None });
        }
        let newest = &ranks[ranks.len().saturating_sub(2_000)..];
        let hits = newest.iter().filter(|rank| **rank <= 10).count();
        let gain: f64 = newest.iter().filter(|rank| **rank <= 10).map(|rank| 1.0 / ((1 + rank) as f64).log2()).sum();
        let window = ranking.window();
        prop_assert_eq!(window.model.hr, hits as f64 / newest.len() as f64);
        prop_assert!((window.model.ndcg - gain / newest.len() as f64).abs() < 1e-9);
    }

    #[test]
    fn predicted_against_actual_can_be_counted_at_any_tenth(pairs in proptest::collection::vec((10..=50_u8, 10..=50_u8), 1..200), tenths in 10..=50_u8) {
        let range = crate::learn::params::RatingScale::of(&Config::default()).range;
        let mut counts = joint::Counts::default();
        let star = |tenths: u8| f32::from(tenths) / 10.0;
        for (predicted, actual) in &pairs {
            counts.add(star(*predicted), star(*actual), range);
        }
        let joint = serde_json::to_value(counts.joint()).unwrap();
        let from = usize::from(tenths - 10);
        let rows = joint["counts"].as_array().unwrap();
        let hits: u64 = rows[from..].iter().flat_map(|row| &row.as_array().unwrap()[from..]).map(|n| n.as_u64().unwrap()).sum();
        let wanted = pairs.iter().filter(|(predicted, actual)| *predicted >= tenths && *actual >= tenths).count();
        prop_assert_eq!(hits, wanted as u64);
    }
}

#[test]
fn a_zip_code_has_its_place() {
    let places = Places::load();
    let place = places.find("85711").unwrap();
    assert!(place.name.starts_with("Tucson, AZ") && (place.lat - 32.2).abs() < 0.2 && (place.lon + 110.9).abs() < 0.2);
    assert_eq!(places.find("85711-1234"), Some(place));
    for none in ["", "V3N4P", "00000", "é😀é", "123"] {
        assert_eq!(places.find(none), None, "{none}");
    }
}
