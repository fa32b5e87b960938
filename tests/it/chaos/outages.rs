//! Row 2: the database and the broker die or hang, and the engine hangs, while events stream.
//!
//! The engine goes on by itself each time: it says what is in trouble, and answers from the last view meanwhile.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::site::{Site, undisturbed};
use super::{Form, Row};
use crate::program::{Engine, Running};
use crate::support::{self, Kafka, Mongod, kafka};

/// Longer than the engine's session in its group (`session.timeout.ms`).
const HANG: Duration = Duration::from_secs(8);

#[test]
fn store_short() {
    store(Form::Short);
}

#[test]
#[ignore = "make chaos"]
fn store_long() {
    store(Form::Long);
}

#[test]
fn log_short() {
    log(Form::Short);
}

#[test]
#[ignore = "make chaos"]
fn log_long() {
    log(Form::Long);
}

#[test]
fn engine_short() {
    engine(1);
}

#[test]
#[ignore = "make chaos"]
fn engine_long() {
    engine(3);
}

/// A server that is made to die or hang.
enum Victim {
    Mongod(Mongod),
    Kafka(Kafka),
}

impl Victim {
    /// What the engine calls it.
    fn part(&self) -> &'static str {
        match self {
            Self::Mongod(_) => "store",
            Self::Kafka(_) => "log",
        }
    }

    fn kill(&mut self) {
        match self {
            Self::Mongod(mongod) => mongod.kill(),
            Self::Kafka(kafka) => kafka.kill(),
        }
    }

    fn restart(&mut self) {
        match self {
            Self::Mongod(mongod) => mongod.restart(),
            Self::Kafka(kafka) => kafka.restart(),
        }
    }

    fn stop(&self) {
        match self {
            Self::Mongod(mongod) => mongod.stop(),
            Self::Kafka(kafka) => kafka.stop(),
        }
    }

    fn cont(&self) {
        match self {
            Self::Mongod(mongod) => mongod.cont(),
            Self::Kafka(kafka) => kafka.cont(),
        }
    }
}

fn store(form: Form) {
    let Some(mongod) = Mongod::start() else { return };
    let site = Site::on(support::kafka(), &support::topic("chaos", 1), &mongod.uri());
    let mut stream = Stream::start(&site);
    let mut mongod = Victim::Mongod(mongod);
    stream.kill(&mut mongod, form.pick(2, 10));
    stream.hang(&mongod);
    stream.conclude("`kill -9` of mongod, back after 0 to 5 s, and SIGSTOP for 8 s");
}

fn log(form: Form) {
    let Some(kafka) = Kafka::start() else { return };
    kafka::create_topic(&kafka.servers(), "ratings", 1).unwrap();
    let site = Site::on(&kafka.servers(), "ratings", support::mongodb());
    let mut stream = Stream::start(&site);
    let mut kafka = Victim::Kafka(kafka);
    stream.kill(&mut kafka, form.pick(2, 10));
    stream.hang(&kafka);
    stream.conclude("`kill -9` of the Kafka broker, back after 0 to 5 s, and SIGSTOP for 8 s");
}

fn engine(times: usize) {
    let site = Site::shared();
    let mut stream = Stream::start(&site);
    for _ in 0..times {
        stream.engine.signal("STOP");
        sleep(HANG);
        stream.engine.signal("CONT");
        stream.resume();
    }
    stream.conclude("SIGSTOP of the engine for 8 s, Kafka and MongoDB");
}

/// An engine that learns a stream without end.
struct Stream<'a> {
    site: &'a Site,
    replaying: Running,
    engine: Engine,
    recoveries: Vec<Duration>,
}

impl<'a> Stream<'a> {
    fn start(site: &'a Site) -> Self {
        let replaying = site.freshet.spawn(&["replay", "sample", "--loop", "--rate", "400/s"]);
        let mut engine = site.freshet.start();
        engine.learns();
        Self { site, replaying, engine, recoveries: Vec::new() }
    }

    /// The last time lasts until it is noticed.
    fn kill(&mut self, victim: &mut Victim, times: usize) {
        let mut random = Pcg64::seed_from_u64(2);
        for number in 1..=times {
            victim.kill();
            if number == times {
                self.notices(victim.part());
            }
            self.answers_for(Duration::from_millis(random.random_range(0..5_000)));
            victim.restart();
            self.resume();
        }
    }

    fn hang(&mut self, victim: &Victim) {
        let begin = Instant::now();
        victim.stop();
        self.notices(victim.part());
        self.answers_for(HANG.saturating_sub(begin.elapsed()));
        victim.cont();
        self.resume();
    }

    fn notices(&mut self, part: &str) {
        self.engine.wait("/readyz", &format!("the {part} is in trouble"), |ready| {
            assert_eq!(ready["ready"], true, "it answers, so it stays ready: {ready}");
            let mut troubles = ready["troubles"].as_array().into_iter().flatten();
            ready["learning"] == false && troubles.any(|trouble| trouble["part"] == part)
        });
    }

    fn answers_for(&self, pause: Duration) {
        let begin = Instant::now();
        loop {
            let items = self.engine.json("/recommend/1")["items"].as_array().map(Vec::len);
            assert!(items > Some(0), "no recommendations while a part is away");
            let Some(left) = pause.checked_sub(begin.elapsed()) else { break };
            sleep(left.min(Duration::from_millis(200)));
        }
    }

    /// Notes how long it takes until everything is durable that is on the log by now.
    fn resume(&mut self) {
        let end = self.site.end();
        let begin = Instant::now();
        self.engine.wait("/readyz", &format!("{end} events are durable"), |ready| {
            ready["learning"] == true && ready["durable_seq"].as_u64() >= Some(end)
        });
        self.recoveries.push(begin.elapsed());
    }

    fn conclude(self, what: &str) {
        let Self { site, replaying, mut engine, recoveries } = self;
        replaying.signal("INT");
        replaying.wait();
        let events = site.end();
        engine.learned(events);
        site.same_model(engine, events, &undisturbed(events));
        let account = site.account(events, &BTreeSet::new());
        Row { what, times: recoveries.len(), account, recoveries }.conclude();
    }
}
