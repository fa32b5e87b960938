//! What must hold of the whole model: its quality, what it makes of what it is not told, and streams made to break it.

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::capture;
use crate::config::Config;
use crate::learn::about::{About, Genres};
use crate::learn::params::Common;
use crate::learn::prequential::Prequential;

/// A model that has seen nothing, under the defaults with a change.
fn model(change: impl FnOnce(&mut Config)) -> BayesianMf<Live> {
    let mut config = Config::default();
    change(&mut config);
    let params = crate::learn::params::Params::new(config.bayesian_mf.clone(), Common::of(&config));
    BayesianMf::new(linfa::ParamGuard::check(params).unwrap())
}

/// MovieLens 100K by dense indexes, in time order, the first event of each item telling genres and year.
fn movielens() -> Vec<Observation> {
    let dataset = capture::open("ml-100k", None).expect("FRESHET_DATA names the folder of ml-100k").described();
    let (mut users, mut items, mut genres) = (BTreeMap::new(), BTreeMap::new(), Genres::default());
    let mut all = Vec::new();
    for row in dataset.rows {
        let row = row.unwrap();
        let (next_user, next_item) = (users.len() as u32, items.len() as u32);
        all.push(Observation {
            user: *users.entry(row.user).or_insert(next_user),
            item: *items.entry(row.item).or_insert(next_item),
            target: row.rating.unwrap(),
            positive: true,
            count: 1.0,
            ts: row.ts,
            about: genres.about(&row.genres, row.year),
        });
    }
    all
}

/// Protocol A in one pass, the figures of the first half and of all, and the events a second.
fn measure(mut model: BayesianMf<Live>, events: &[Observation]) -> String {
    let range = model.params.range();
    let (mut figures, mut half) = (Prequential::default(), String::new());
    let start = Instant::now();
    for (at, event) in events.iter().enumerate() {
        if at == events.len() / 2 {
            half = format!("{:.5}/{:.5}", figures.rmse(), figures.mae());
        }
        figures.record(range.clamp(model.learn(event).unwrap()), event.target, range);
    }
    let speed = events.len() as f64 / start.elapsed().as_secs_f64();
    format!("first half {half}, all {:.5}/{:.5}, {speed:.0} events/s", figures.rmse(), figures.mae())
}

fn learn_all(model: &mut BayesianMf<Live>, events: impl IntoIterator<Item = Observation>) {
    for event in events {
        model.learn(&event);
    }
}

/// Some number that differs from event to event.
fn some(event: u64) -> u64 {
    let value = event.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (value ^ (value >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) ^ (value >> 32)
}

fn event(user: u64, item: u64, target: f32, ts: Option<i64>) -> Observation {
    Observation { user: user as u32, item: item as u32, target, positive: true, count: 1.0, ts, about: None }
}

/// An event of one of few users and items, ten seconds after the one before it.
fn ordinary(at: u64) -> Observation {
    let n = some(at);
    event(n % 20, (n >> 32) % 25, 1.0 + (n >> 48) as f32 % 5.0, Some(at as i64 * 10_000))
}

/// A stream by the place of each event in it.
type Stream = fn(u64) -> Observation;

/// Streams made to break a model, by name: users, items, ratings and times as they should not come.
const HOSTILE: [(&str, Stream); 10] = [
    ("one user and one item, always 5", |at| event(0, 0, 5.0, Some(at as i64))),
    ("one user, always 1", |at| event(0, some(at) % 50, 1.0, Some(at as i64 * 1000))),
    ("one item, 1 or 5", |at| {
        event(some(at) % 50, 0, if some(at) >> 40 & 1 == 1 { 5.0 } else { 1.0 }, Some(at as i64))
    }),
    ("5 for a long time, then 1", |at| Observation { target: if at < 10_000 { 5.0 } else { 1.0 }, ..ordinary(at) }),
    ("any time, in any order", |at| {
        let times = [i64::MIN, i64::MAX, 0, -5, at as i64];
        Observation { ts: Some(times[(some(at) >> 20) as usize % 5]), ..ordinary(at) }
    }),
    ("always the same time", |at| Observation { ts: Some(0), ..ordinary(at) }),
    ("a time now and then", |at| Observation {
        ts: (some(at) >> 20 & 1 == 1).then_some(at as i64 * 1000),
        ..ordinary(at)
    }),
    ("everybody and everything new", |at| event(at % 3_000, at % 3_000, 1.0 + at as f32 % 5.0, None)),
    ("one user and one item, to and fro", |at| {
        event(0, 0, if at % 2 == 0 { 5.0 } else { 1.0 }, Some(at as i64 * 60_000))
    }),
    ("tells something else each time", |at| {
        let year = [None, Some(i32::MIN), Some(i32::MAX), Some(1990)][(some(at) >> 20) as usize % 4];
        Observation { about: Some(About { genres: some(at), year }), ..ordinary(at) }
    }),
];

/// Whether every float that the model holds is finite: what is stored is refused where one is not.
fn is_whole(model: &mut BayesianMf<Live>) -> Result<(), String> {
    let (params, model) = (model.params.clone(), model.publish());
    BayesianMf::read(params, &model.scalars(), &mut Tables::of(model.tables())).map(|_| ())
}

#[test]
fn no_stream_makes_a_model_infinite() {
    for (name, stream) in HOSTILE {
        let mut model = model(|config| config.bayesian_mf.window = 8);
        for at in 0..20_000 {
            let predicted = model.learn(&stream(at)).unwrap();
            assert!(predicted.abs() < 100.0, "{name}: {predicted} at {at}");
        }
        assert_eq!(is_whole(&mut model), Ok(()), "{name}");
    }
}

/// Each parameter at one of the ends of its range.
fn extremes() -> impl Strategy<Value = BayesianMfConfig> {
    proptest::collection::vec(any::<bool>(), 16).prop_map(|high| {
        let end = |at: usize, low, most| if high[at] { most } else { low };
        BayesianMfConfig {
            factors: if high[0] { 15 } else { 1 },
            side_information: high[1],
            window: if high[2] { 64 } else { 4 },
            user_memory: end(3, 1.0, 1e6),
            item_memory: end(4, 1.0, 1e6),
            fast_twin: high[5],
            twin_item_memory: end(6, 1.0, 1e6),
            bias_precision: end(7, 0.01, 1e6),
            factor_precision: end(8, 0.01, 1e6),
            weight_precision: end(9, 0.01, 1e6),
            genre_precision: end(10, 0.01, 1e6),
            variational: end(11, 0.0, 1.0),
            drift_slow: end(12, 0.0, 10.0),
            drift_burst: end(13, 0.0, 10.0),
            burst_seconds: end(14, 0.001, 1e6),
            forget: end(15, 0.9, 1.0),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_parameters_make_a_model_infinite(own in extremes(), (_, stream) in prop::sample::select(&HOSTILE[..])) {
        let mut model = model(|config| config.bayesian_mf = own);
        for at in 0..1_000 {
            prop_assert!(model.learn(&stream(at)).unwrap().is_finite());
        }
        prop_assert_eq!(is_whole(&mut model), Ok(()));
    }

    #[test]
    fn what_is_told_is_what_an_event_without_a_time_is_predicted_as(
        events in 0..400_u64, user in 0..24_u32, item in 0..30_u32,
    ) {
        let mut model = model(|config| config.bayesian_mf.window = 4);
        learn_all(&mut model, (0..events).map(ordinary));
        let told = model.rating(user, item);
        let mut scores = [0.0; 30];
        model.score(user, &mut scores);
        prop_assert_eq!(Some(scores[item as usize]), told);
        prop_assert_eq!(model.learn(&event(user.into(), item.into(), 4.0, None)), told);
    }
}

#[test]
fn a_model_that_is_told_nothing_is_one_without_side_information() {
    for factors in [1, 5, 7, 12] {
        let with = |side_information| {
            model(|config| {
                (config.bayesian_mf.factors, config.bayesian_mf.side_information) = (factors, side_information);
            })
        };
        let (mut told_nothing, mut without) = (with(true), with(false));
        for at in 0..2_000 {
            let predicted = [told_nothing.learn(&ordinary(at)).unwrap(), without.learn(&ordinary(at)).unwrap()];
            assert!((predicted[0] - predicted[1]).abs() < 1e-3, "{predicted:?} at {at}");
        }
    }
}

#[test]
fn what_is_told_later_is_taken_over() {
    let mut model = model(|_| ());
    let row = |model: &BayesianMf<Live>| model.slow.items.row(0).to_vec();
    let about = Some(About { genres: 0b101, year: Some(2000) });
    model.learn(&event(0, 0, 4.0, None));
    assert_eq!(row(&model)[2], 0.0);
    model.learn(&Observation { about, ..event(1, 0, 4.0, None) });
    model.learn(&event(2, 0, 4.0, None));
    assert_eq!((row(&model)[2], &row(&model)[8..11]), (1.0, &[1.0, 0.0, 1.0][..]));
    model.learn(&Observation { about: Some(About { genres: 0b10, year: None }), ..event(3, 0, 4.0, None) });
    assert_eq!((row(&model)[2], &row(&model)[8..11]), (1.0, &[0.0, 1.0, 0.0][..]));
}

#[test]
fn another_range_of_ratings_gives_the_same_predictions_on_its_own_scale() {
    let wide = |config: &mut Config| (config.decode.min_rating, config.decode.max_rating) = (0.0, 10.0);
    let (mut usual, mut wide) = (model(|_| ()), model(wide));
    for at in 0..1_000 {
        let event = ordinary(at);
        let predicted = usual.learn(&event).unwrap();
        let same = wide.learn(&Observation { target: (event.target - 1.0) * 2.5, ..event }).unwrap();
        assert!(at == 0 || (same - (predicted - 1.0) * 2.5).abs() < 1e-5);
    }
}

#[test]
fn a_user_row_is_bounded_and_frugal() {
    let mut model = model(|_| ());
    learn_all(&mut model, (0..5_000).map(|at| event(0, some(at) % 40, 4.0, None)));
    let slow = &model.slow;
    assert!(slow.users.width() + slow.user_tails.width() <= 850);
    assert_eq!(model.rated.row(0).len(), history::kept(model.params.window));
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let mut one = model(|_| ());
    learn_all(&mut one, (0..50).map(ordinary));
    assert_eq!(is_whole(&mut one), Ok(()));
    let other = event(u64::from(u32::MAX), u64::from(u32::MAX), 4.0, None);
    one.rated.row_mut(0).push(Rated { item: other.item, rating: 4.0, ts: None });
    assert!(is_whole(&mut one).unwrap_err().contains("histories"));
    let mut twinless = model(|config| config.bayesian_mf.fast_twin = false);
    twinless.params = one.params.clone();
    assert!(is_whole(&mut twinless).unwrap_err().contains("scalars"));
}

#[test]
#[ignore = "needs MovieLens 100K and a minute; prints RMSE/MAE"]
fn quality() {
    let events = movielens();
    let untold: Vec<Observation> = events.iter().map(|event| Observation { about: None, ..*event }).collect();
    for seed in [42, 1, 2] {
        let seeded = |config: &mut Config| config.learn.seed = seed;
        println!("told, seed {seed}: {}", measure(model(seeded), &events));
    }
    println!("not told: {}", measure(model(|_| ()), &untold));
    let without = |config: &mut Config| config.bayesian_mf.side_information = false;
    println!("without side information: {}", measure(model(without), &events));
    let without = |config: &mut Config| (config.bayesian_mf.side_information, config.bayesian_mf.factors) = (false, 7);
    println!("without, 7 factors: {}", measure(model(without), &events));
    println!("no twin: {}", measure(model(|config| config.bayesian_mf.fast_twin = false), &events));
}
