//! Row 4: two engines at a time: in one group on two stores, and on one store.

use std::collections::{BTreeMap, BTreeSet};

use super::site::{Site, end, kafka_settings, undisturbed};
use super::{Account, Form, Row};
use crate::program::Engine;
use crate::support;

#[test]
fn one_group_short() {
    one_group(Form::Short);
}

#[test]
#[ignore = "make chaos"]
fn one_group_long() {
    one_group(Form::Long);
}

#[test]
fn one_store_short() {
    one_store(Form::Short);
}

#[test]
#[ignore = "make chaos"]
fn one_store_long() {
    one_store(Form::Long);
}

const PARTITIONS: usize = 4;

fn one_group(form: Form) {
    let (events, times) = form.pick((20_000, 1), (100_000, 5));
    let topic = support::topic("chaos", PARTITIONS as i32);
    let settings = kafka_settings(support::kafka(), &topic);
    let (one, two) = (Site::new(&settings), Site::new(&settings));
    let rate = ["--rate", "1000/s"];
    let replaying = one.freshet.spawn(&[&["replay", "sample", "--limit", &events.to_string()][..], &rate].concat());
    let (mut first, _) = one.recover();
    assigned(&mut first, |partitions| partitions == PARTITIONS);
    let (mut second, took) = two.recover();
    let mut recoveries = vec![took];
    for _ in 0..times {
        shared(&mut first, &mut second);
        first.stop().succeeded();
        assigned(&mut second, |partitions| partitions == PARTITIONS);
        first = one.freshet.start();
        shared(&mut first, &mut second);
        second.kill();
        assigned(&mut first, |partitions| partitions == PARTITIONS);
        let (again, took) = two.recover();
        second = again;
        recoveries.push(took);
    }
    shared(&mut first, &mut second);
    replaying.wait().succeeded();
    for engine in [&mut first, &mut second] {
        engine.wait("/readyz", "nothing is left", |ready| ready["learning"] == true && ready["lag"] == 0);
    }
    first.stop().succeeded();
    second.stop().succeeded();
    let account = account_of_two([&one, &two], &topic);
    one.verify();
    two.verify();
    let what = "one of two engines of a group joins, leaves, is killed, comes back";
    Row { what, times: 2 * times, account, recoveries }.conclude();
}

/// Each has some of the partitions.
fn shared(first: &mut Engine, second: &mut Engine) {
    for engine in [first, second] {
        assigned(engine, |partitions| (1..PARTITIONS).contains(&partitions));
    }
}

fn assigned(engine: &mut Engine, wanted: impl Fn(usize) -> bool) {
    engine.wait("/readyz", "it has its share of the partitions", |ready| {
        ready["partitions"].as_array().is_some_and(|partitions| wanted(partitions.len()))
    });
}

/// Each store by itself is whole as far as it reaches, and together they have every record.
fn account_of_two(sites: [&Site; 2], topic: &str) -> Account {
    let mut account = Account { events: 0, lost: 0, twice: 0 };
    let mut reached: BTreeMap<i32, i64> = BTreeMap::new();
    for site in sites {
        let mut next: BTreeMap<i32, i64> = BTreeMap::new();
        for event in site.events() {
            let position = event.event.position;
            let next = next.entry(position.partition).or_default();
            account.twice += u64::from(position.offset < *next);
            assert!(position.offset <= *next, "{topic} [{}] has a hole at {next}", position.partition);
            *next = position.offset + 1;
        }
        for (partition, next) in next {
            let reached = reached.entry(partition).or_default();
            *reached = next.max(*reached);
        }
    }
    for partition in 0..PARTITIONS as i32 {
        let reached = reached.get(&partition).map_or(0, |reached| *reached as u64);
        account.events += reached;
        account.lost += end(support::kafka(), topic, partition) - reached;
    }
    account
}

fn one_store(form: Form) {
    let (events, times) = form.pick((10_000, 2), (40_000, 5));
    let site = Site::shared();
    let limit = events.to_string();
    let replaying = site.freshet.spawn(&["replay", "sample", "--limit", &limit, "--rate", "1000/s"]);
    let (mut older, _) = site.recover();
    let mut recoveries = Vec::new();
    for _ in 0..times {
        let (newer, took) = site.recover();
        recoveries.push(took);
        let ended = older.ended().told(&["another engine has taken over", "run only one engine on a store"]);
        assert_eq!(ended.code, Some(1), "{ended}");
        older = newer;
    }
    replaying.wait().succeeded();
    older.learned(events);
    site.same_model(older, events, &undisturbed(events));
    let account = site.account(events, &BTreeSet::new());
    Row { what: "a newer engine takes the store over", times, account, recoveries }.conclude();
}
