//! Row 3: the process dies between each two steps of a batch, at every place that [`freshet::fault`] lists.

use std::collections::BTreeSet;

use freshet::fault::{POINTS, Point, VARIABLE};

use super::Row;
use super::site::{Site, learned};

const EVENTS: u64 = 6_000;

/// Snapshots are so frequent, and so few are kept, that each place is passed three times.
const SETTINGS: [&str; 3] = ["store.snapshot_every=1000", "store.keep_last=1", "store.keep_hourly=0"];

/// The quickest learners and small writes, so that the store is what is waited for: then its lanes are in use.
const HASTE: [&str; 4] =
    ["learn.rating=biased-mf", "learn.ranking=biased-mf", "biased_mf.factors=8", "store.write_batch=64"];

/// Where every store gets to, however little there is to do.
fn everywhere() -> impl Iterator<Item = &'static (Point, &'static str)> {
    POINTS.iter().filter(|(point, _)| *point != Point::Held)
}

#[test]
fn embedded_short() {
    let passages = everywhere().zip((1..=3).cycle()).map(|((_, name), passage)| (*name, passage));
    row(Site::embedded, &[], passages, "death at each place of `fault::POINTS`, embedded log and store");
}

#[test]
#[ignore = "make chaos"]
fn embedded_long() {
    let passages = everywhere().flat_map(|(_, name)| (1..=3).map(move |passage| (*name, passage)));
    row(Site::embedded, &[], passages, "death at each place of `fault::POINTS`, three times, embedded log and store");
}

#[test]
#[ignore = "make chaos"]
fn servers_long() {
    let passages = everywhere().zip((1..=3).cycle()).map(|((_, name), passage)| (*name, passage));
    row(Site::shared, &[], passages, "death at each place of `fault::POINTS`, Kafka and MongoDB");
}

#[test]
fn lanes_short() {
    let passages = ["held", "written", "held"].into_iter().zip([1, 4, 9]);
    row(
        Site::shared,
        &HASTE,
        passages,
        "death while a write waits in its lane for the one before it, Kafka and MongoDB",
    );
}

fn row(site: fn() -> Site, more: &[&str], passages: impl Iterator<Item = (&'static str, u32)>, what: &str) {
    let mut other = Site::embedded();
    for setting in more {
        other.freshet.set(setting);
    }
    other.replay(EVENTS);
    let expected = learned(&other, EVENTS);
    let (mut recoveries, mut last) = (Vec::new(), None);
    for (name, passage) in passages {
        let mut site = site();
        for setting in SETTINGS.iter().chain(more) {
            site.freshet.set(setting);
        }
        site.replay(EVENTS);
        die(&mut site, &format!("{name}:{passage}"));
        let (mut engine, took) = site.recover();
        recoveries.push(took);
        engine.learned(EVENTS);
        site.same_model(engine, EVENTS, &expected);
        let account = site.account(EVENTS, &BTreeSet::new());
        assert_eq!((account.events, account.lost, account.twice), (EVENTS, 0, 0), "{name}:{passage}");
        last = Some(account);
    }
    let account = last.expect("there are places");
    Row { what, times: recoveries.len(), account, recoveries }.conclude();
}

/// Runs the engine to its death at a place.
fn die(site: &mut Site, fault: &str) {
    site.freshet.variable(VARIABLE, fault);
    let ended = site.freshet.spawn(&["run"]).wait();
    assert!(ended.code.is_none() && ended.stderr.contains("dying at"), "it did not die at {fault}: {ended}");
    // An empty one is none.
    site.freshet.variable(VARIABLE, "");
}
