//! Row 2: the database and the broker die or hang, and the engine hangs, while events stream.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::site::{Site, end, undisturbed};
use super::{Form, Row};
use crate::program::Engine;
use crate::support::{Kafka, Mongod, kafka};

/// Longer than the engine's session in its group (`session.timeout.ms`).
const HANG: Duration = Duration::from_secs(8);

const TOPIC: &str = "ratings";

#[test]
fn short() {
    row(Form::Short);
}

#[test]
#[ignore = "make chaos"]
fn long() {
    row(Form::Long);
}

fn row(form: Form) {
    let (Some(mut kafka), Some(mut mongod)) = (Kafka::start(), Mongod::start()) else { return };
    kafka::create_topic(&kafka.servers(), TOPIC, 1).unwrap();
    let site = Site::on(&kafka.servers(), TOPIC, &mongod.uri());
    let replaying = site.freshet.spawn(&["replay", "sample", "--loop", "--rate", "400/s"]);
    let mut engine = site.freshet.start();
    engine.learns();

    let times = form.pick(2, 10);
    let mut random = Pcg64::seed_from_u64(2);
    let mut pause = || Duration::from_millis(random.random_range(0..5_000));
    let (mut of_mongod, mut of_kafka, mut of_hangs) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=times {
        // The last one lasts until it is noticed.
        let (pause, part) = (pause(), (number == times).then_some("store"));
        mongod.kill();
        endure(&mut engine, pause, part);
        mongod.restart();
        of_mongod.push(resume(&mut engine));
    }
    for number in 1..=times {
        let (pause, part) = (pause(), (number == times).then_some("log"));
        kafka.kill();
        endure(&mut engine, pause, part);
        kafka.restart();
        of_kafka.push(resume(&mut engine));
    }
    mongod.stop();
    endure(&mut engine, HANG, Some("store"));
    mongod.cont();
    of_hangs.push(resume(&mut engine));
    kafka.stop();
    endure(&mut engine, HANG, Some("log"));
    kafka.cont();
    of_hangs.push(resume(&mut engine));
    engine.signal("STOP");
    sleep(HANG);
    engine.signal("CONT");
    of_hangs.push(resume(&mut engine));

    replaying.signal("INT");
    replaying.wait();
    let events = end(&kafka.servers(), TOPIC, 0);
    engine.learned(events);
    let hash = site.same_hash(engine, events, &undisturbed(events));
    let account = site.account(events, &BTreeSet::new());
    for (what, recoveries) in [
        ("`kill -9` of mongod, back after 0 to 5 s", of_mongod),
        ("`kill -9` of the Kafka broker, back after 0 to 5 s", of_kafka),
        ("SIGSTOP of mongod, Kafka and the engine, for 8 s each", of_hangs),
    ] {
        Row { what, times: recoveries.len(), account, recoveries, hash }.conclude();
    }
}

/// A part is away for this long, and until it is told if a part is named: answers come all the while.
fn endure(engine: &mut Engine, pause: Duration, part: Option<&str>) {
    let begin = Instant::now();
    if let Some(part) = part {
        engine.wait("/readyz", &format!("the {part} is in trouble"), |ready| {
            assert_eq!(ready["ready"], true, "it answers, so it stays ready: {ready}");
            let troubles = ready["troubles"].as_array().into_iter().flatten();
            troubles.into_iter().any(|trouble| trouble["part"] == part) && ready["learning"] == false
        });
    }
    loop {
        let items = engine.json("/recommend/1")["items"].as_array().map(Vec::len);
        assert!(items > Some(0), "no recommendations while a part is away");
        let Some(left) = pause.checked_sub(begin.elapsed()) else { break };
        sleep(left.min(Duration::from_millis(200)));
    }
}

/// How long it takes until it learns again.
fn resume(engine: &mut Engine) -> Duration {
    let begin = Instant::now();
    engine.learns();
    begin.elapsed()
}
