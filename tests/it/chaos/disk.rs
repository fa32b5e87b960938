//! Row 5: a store whose disk is full, and one that can only be read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Row;
use super::site::{Site, assert_sound, kafka_settings, undisturbed};
use crate::support;

/// How long the disk stays full once that is noticed.
const FULL: Duration = Duration::from_secs(2);

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// None, and a loud line, where mounting is not permitted.
    fn mount() -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=512m", "freshet"]).arg(disk.path()).output();
        if mounted.as_ref().is_ok_and(|mounted| mounted.status.success()) {
            return Some(disk);
        }
        support::say(&format!("WARNING: a test of a full disk is skipped: mounting a tmpfs takes root ({mounted:?})"));
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn read_only(&self, yes: bool) {
        let option = if yes { "remount,ro" } else { "remount,rw" };
        let done = Command::new("mount").args(["-o", option]).arg(self.path()).status().unwrap();
        assert!(done.success(), "{option}");
    }

    /// Writes a file until nothing more fits.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 4096, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: an engine that the test has failed to stop may still use it.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

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
    let Some(disk) = SmallDisk::mount() else { return };
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
    let Some(disk) = SmallDisk::mount() else { return };
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
