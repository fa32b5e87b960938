//! Row 5: a store whose disk is full, and one that can only be read.

use std::collections::BTreeSet;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::Row;
use super::site::{Site, assert_sound, kafka_settings, undisturbed};
use crate::small_disk::SmallDisk;
use crate::support;

/// How long the disk stays full once that is noticed.
const FULL: Duration = Duration::from_secs(2);

/// An engine on the shared broker whose store is on the disk.
fn site_on(disk: &SmallDisk) -> Site {
    let mut settings = kafka_settings(support::kafka(), &support::topic("chaos", 1));
    settings.push(format!("store.data_dir={}", disk.path().join("data").display()));
    Site::new(&settings)
}

#[test]
fn full_short() {
    full(1);
}

#[test]
#[ignore = "make chaos"]
fn full_long() {
    full(5);
}

fn full(times: usize) {
    let Some(disk) = SmallDisk::mount("512m") else { return };
    let site = site_on(&disk);
    let events = 10_000 + 5_000 * times as u64;
    let mut engine = site.freshet.start();
    let replaying =
        site.freshet.spawn(&["replay", "sample", "--limit", &events.to_string(), "--rate", "1000/s", "--no-catalog"]);
    engine.learns();
    let mut recoveries = Vec::new();
    for _ in 0..times {
        let filler = disk.fill();
        let ready = engine.wait("/readyz", "the store is in trouble", |ready| ready["learning"] == false);
        let trouble = &ready["troubles"][0];
        assert_eq!((&trouble["part"], &ready["ready"]), (&"store".into(), &true.into()), "{ready}");
        assert!(trouble["reason"].as_str().is_some_and(|reason| reason.contains("full")), "{ready}");
        engine.json("/recommend/1");
        sleep(FULL);
        fs::remove_file(filler).unwrap();
        let begin = Instant::now();
        engine.learns();
        recoveries.push(begin.elapsed());
    }
    replaying.wait().succeeded();
    engine.learned(events);
    site.same_model(engine, events, &undisturbed(events));
    assert_sound(&disk.path().join("data/store.db"));
    let account = site.account(events, &BTreeSet::new());
    Row { what: "the disk of the embedded store is full", times, account, recoveries }.conclude();
}

#[test]
fn a_store_that_can_only_be_read_is_refused_and_unharmed() {
    const EVENTS: u64 = 3_000;
    let Some(disk) = SmallDisk::mount("512m") else { return };
    let site = site_on(&disk);
    site.replay(EVENTS);
    let mut engine = site.freshet.start();
    engine.learned(EVENTS);
    engine.stop().succeeded();
    disk.read_only(true);
    let place = disk.path().display().to_string();
    let ended = site.freshet.run(&["run"]).exited(3).told(&[&place]);
    let told = ended.stderr.to_lowercase();
    assert!(told.contains("readonly") || told.contains("read-only"), "{ended}");
    disk.read_only(false);
    let mut engine = site.freshet.start();
    engine.learned(EVENTS);
    engine.stop().succeeded();
    assert_sound(&disk.path().join("data/store.db"));
    assert_eq!(site.account(EVENTS, &BTreeSet::new()).events, EVENTS);
}
