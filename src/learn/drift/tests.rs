//! A rise of the loss is found soon, nothing else is found, and the state is all there is.

use proptest::prelude::*;

use super::*;
use crate::config::Config;

fn watching() -> Watching {
    Watching::of(&Config::default().drift)
}

/// Uniform numbers from 0 to 1, the same ones each time.
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / f64::from(1_u32 << 31)
    }
}

/// The detector after these losses, and the events at which it found something.
fn detections(watching: &Watching, losses: impl Iterator<Item = f64>) -> (Drift, Vec<u64>) {
    let mut drift = Drift::default();
    let found = (1..).zip(losses).filter(|(seq, loss)| drift.observe(*loss, *seq, watching)).map(|(seq, _)| seq);
    let found = found.collect();
    assert!(drift.is_whole());
    (drift, found)
}

#[test]
fn a_step_is_found_within_a_few_hundred_events_and_once() {
    for at in [3_000, 10_000, 50_000] {
        let mut uniform = uniform(at);
        let losses = (0..at + 20_000).map(|n| 0.35 * uniform() + if n < at { 0.0 } else { 0.05 });
        let (drift, found) = detections(&watching(), losses);
        assert!(matches!(found[..], [seq] if (at..at + 700).contains(&seq)), "{at}: {found:?}");
        assert_eq!((drift.detected(), drift.marks(), drift.is_boosted()), (1, &found[..], false));
    }
}

#[test]
fn noise_raises_no_alarm_in_100_000_events_and_its_window_stays_small() {
    for seed in 0..5 {
        let (mut uniform, mut sitting) = (uniform(seed), 0.0);
        // What the events of one user, thirty in a row, have in common.
        let losses = (0..100_000).map(|n| {
            if n % 30 == 0 {
                sitting = 0.1 * uniform();
            }
            0.4 * uniform() + sitting
        });
        let (drift, found) = detections(&watching(), losses);
        assert_eq!(found, [0; 0], "{seed}");
        assert!(drift.window.len() <= BUCKETS * 12, "{}", drift.window.len());
    }
}

#[test]
fn a_fall_is_no_drift_and_a_rise_after_it_is_told_from_the_lower_level() {
    let mut noise = uniform(1);
    let losses = (0..60_000).map(|n| 0.3 * noise() + [0.2, 0.1, 0.2][n / 20_000]);
    let (_, found) = detections(&watching(), losses);
    assert!(matches!(found[..], [seq] if (40_000..40_500).contains(&seq)), "{found:?}");
    let mut noise = uniform(2);
    let slowly = (0..100_000).map(|n| 0.3 * noise() + 0.2 * (-f64::from(n) / 20_000.0).exp());
    assert_eq!(detections(&watching(), slowly).1, [0; 0]);
}

#[test]
fn a_loss_that_never_changes_and_one_that_is_no_number_are_no_drift() {
    assert_eq!(detections(&watching(), std::iter::repeat_n(0.1, 50_000)).1, [0; 0]);
    let odd = (0..20_000).map(|n| if n % 3 == 0 { f64::NAN } else { 0.2 });
    let (drift, found) = detections(&watching(), odd);
    assert_eq!((found, drift.events()), (vec![], 20_000));
}

#[test]
fn switched_off_it_counts_events_and_nothing_else() {
    let mut config = Config::default().drift;
    (config.enabled, config.boost) = (false, 9.0);
    let off = Watching::of(&config);
    let (drift, found) = detections(&off, (0..20_000).map(|n| f64::from(n / 10_000)));
    assert_eq!((found, drift), (vec![], Drift { events: 20_000, ..Drift::default() }));
    assert!(!off.boosts());
}

#[test]
fn the_newest_marks_are_kept_and_all_are_counted() {
    let mut drift = Drift::default();
    for seq in 1..=40 {
        drift.mark(seq * 10, &watching());
    }
    assert_eq!((drift.detected(), drift.marks().len(), drift.marks()[0]), (40, MARKS, 90));
    assert!(drift.is_whole());
}

#[test]
fn a_boost_lasts_as_many_events_as_it_says() {
    let mut config = Config::default().drift;
    (config.boost, config.boost_events) = (3.0, 100);
    let watching = Watching::of(&config);
    let mut drift = Drift::default();
    let mut seq = 0;
    while !drift.is_boosted() {
        seq += 1;
        let excess = if seq < 5_000 { 0.0 } else { 0.3 };
        drift.observe(excess, seq, &watching);
        assert!(seq < 6_000);
    }
    let mut boosted = 0;
    while drift.is_boosted() {
        assert_eq!(drift.factor(&watching), 3.0);
        assert!((1..=32).contains(&drift.steady(&watching, 1_000)));
        drift.observe(0.3, seq + boosted, &watching);
        boosted += 1;
    }
    assert_eq!((boosted, drift.factor(&watching)), (100, 1.0));
    assert_eq!(
        (Drift::default().steady(&watching, 9), Drift::default().steady(&super::tests::watching(), 99)),
        (9, 99)
    );
}

#[test]
fn what_events_cannot_have_made_is_not_whole() {
    let whole = detections(&watching(), (0..5_000).map(|n| f64::from(n % 7))).0;
    let broken: [fn(&mut Drift); 7] = [
        |drift| drift.open.0 = BLOCK,
        |drift| drift.open.1 = f64::NAN,
        |drift| drift.window[0].level = 60,
        |drift| drift.window[1].sum = f64::INFINITY,
        |drift| drift.window.reverse(),
        |drift| drift.detected = 3,
        |drift| (drift.detected, drift.marks) = (2, vec![5, 4]),
    ];
    for (number, damage) in broken.iter().enumerate() {
        let mut drift = whole.clone();
        damage(&mut drift);
        assert!(!drift.is_whole(), "{number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_state_that_was_stored_goes_on_as_if_it_had_not_been(
        losses in proptest::collection::vec(-1.0f64..1.0, 0..6_000), at in 0..6_000_usize, step in 0.0f64..1.0,
    ) {
        let losses = losses.into_iter().enumerate().map(|(n, loss)| loss + if n > 3_000 { step } else { 0.0 });
        let losses: Vec<f64> = losses.collect();
        let (before, after) = losses.split_at(at.min(losses.len()));
        let (whole, _) = detections(&watching(), losses.iter().copied());
        let (half, _) = detections(&watching(), before.iter().copied());
        let mut resumed: Drift = postcard::from_bytes(&postcard::to_stdvec(&half).unwrap()).unwrap();
        for (seq, loss) in (before.len() as u64 + 1..).zip(after) {
            resumed.observe(*loss, seq, &watching());
        }
        prop_assert_eq!(resumed, whole);
    }
}
