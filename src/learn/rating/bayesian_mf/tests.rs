//! What must hold of the whole model: its quality, what it makes of what it is not told, and streams made to break it.

use std::collections::BTreeMap;
use std::time::Instant;

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
