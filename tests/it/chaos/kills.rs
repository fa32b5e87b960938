//! Row 1: `kill -9` of the engine at random instants while events stream at full speed.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::site::{Site, undisturbed};
use super::{Form, Row};

#[test]
fn embedded_short() {
    row(Form::Short, &Site::embedded(), "`kill -9` of the engine, embedded log and store");
}

#[test]
#[ignore = "make chaos"]
fn embedded_long() {
    row(Form::Long, &Site::embedded(), "`kill -9` of the engine, embedded log and store");
}

#[test]
fn servers_short() {
    row(Form::Short, &Site::shared(), "`kill -9` of the engine, Kafka and MongoDB");
}

#[test]
#[ignore = "make chaos"]
fn servers_long() {
    row(Form::Long, &Site::shared(), "`kill -9` of the engine, Kafka and MongoDB");
}

fn row(form: Form, site: &Site, what: &str) {
    let (events, times) = form.pick((20_000, 6), (100_000, 50));
    let expected = undisturbed(events);
    let replaying = site.replaying(events);
    let mut recoveries = kill_over_and_over(site, events, times);
    let (mut engine, took) = site.recover();
    recoveries.push(took);
    replaying.wait().succeeded();
    engine.learned(events);
    site.same_model(engine, events, &expected);
    Row { what, times, account: site.account(events, &BTreeSet::new()), recoveries }.conclude();
}

/// Kills it so often, spread over the whole stream. One kill in three comes while it starts.
fn kill_over_and_over(site: &Site, events: u64, times: usize) -> Vec<Duration> {
    let mut random = Pcg64::seed_from_u64(events);
    let mut recoveries = Vec::new();
    for number in 1..=times as u64 {
        if number.is_multiple_of(3) {
            let starting = site.freshet.spawn(&["run"]);
            sleep(Duration::from_millis(random.random_range(0..1_500)));
            starting.kill();
            continue;
        }
        let (mut engine, took) = site.recover();
        recoveries.push(took);
        let step = events / (times as u64 + 1);
        let target = number * step + random.random_range(0..step);
        engine.wait("/readyz", &format!("{target} events are durable"), |now| {
            now["durable_seq"].as_u64() >= Some(target)
        });
        sleep(Duration::from_millis(random.random_range(0..30)));
        engine.kill();
    }
    recoveries
}
