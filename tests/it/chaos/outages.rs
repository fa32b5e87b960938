//! Row 2: the database and the broker die or hang, and the engine hangs, while events stream at full speed.
//!
//! The engine goes on by itself each time: it says what is in trouble, and answers from the last view meanwhile.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::site::{Site, learned};
use super::{Form, Row};
use crate::program::{Engine, Running};
use crate::support::{self, Kafka, Mongod, kafka};

/// Longer than the engine's session in its group (`session.timeout.ms`).
const HANG: Duration = Duration::from_secs(8);

/// Events of a burst: fifty of them are the 100,000 of the other rows.
const BURST: u64 = 2_000;

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
    stream.kill(&mut mongod, form.pick(2, 50));
    stream.hang(&mongod);
    stream.conclude("`kill -9` of mongod, back after 0 to 5 s, and SIGSTOP for 8 s");
}

fn log(form: Form) {
    let Some(kafka) = Kafka::start() else { return };
    kafka::create_topic(&kafka.servers(), "ratings", 1).unwrap();
    let site = Site::on(&kafka.servers(), "ratings", support::mongodb());
    let mut stream = Stream::start(&site);
    let mut kafka = Victim::Kafka(kafka);
    stream.kill(&mut kafka, form.pick(2, 50));
    stream.hang(&kafka);
    stream.conclude("`kill -9` of the Kafka broker, back after 0 to 5 s, and SIGSTOP for 8 s");
}

fn engine(times: usize) {
    let site = Site::shared();
    let mut stream = Stream::start(&site);
    for _ in 0..times {
        let burst = stream.burst();
        stream.at_random();
        stream.engine.signal("STOP");
        sleep(HANG);
        stream.engine.signal("CONT");
        stream.resume(burst);
    }
    stream.conclude("SIGSTOP of the engine for 8 s, Kafka and MongoDB");
}

/// An engine that learns bursts of events, each sent as fast as the log takes it; with each burst something dies.
struct Stream<'a> {
    site: &'a Site,
    engine: Engine,
    random: Pcg64,
    bursts: u64,
    recoveries: Vec<Duration>,
}

impl<'a> Stream<'a> {
    fn start(site: &'a Site) -> Self {
        let mut engine = site.freshet.start();
        engine.learns();
        let random = Pcg64::seed_from_u64(2);
        let mut stream = Self { site, engine, random, bursts: 0, recoveries: Vec::new() };
        // Without it there would be nothing to recommend in the first outage.
        let first = stream.burst();
        stream.resume(first);
        stream.recoveries.clear();
        stream
    }

    /// Begins to send the next events.
    fn burst(&mut self) -> Running {
        self.bursts += 1;
        self.site.freshet.spawn(&["replay", "sample", "--no-catalog", "--limit", &BURST.to_string()])
    }

    /// An instant of a burst, from its first event to a moment after its last.
    fn at_random(&mut self) {
        sleep(Duration::from_millis(self.random.random_range(0..500)));
    }

    /// Each third time it is dead before the burst; so is the last, which lasts until it is noticed.
    fn kill(&mut self, victim: &mut Victim, times: usize) {
        for left in (0..times).rev() {
            let burst = if left % 3 == 0 {
                victim.kill();
                self.burst()
            } else {
                let burst = self.burst();
                self.at_random();
                victim.kill();
                burst
            };
            if left == 0 {
                self.notices(victim.part());
            }
            let pause = Duration::from_millis(self.random.random_range(0..5_000));
            self.answers_for(pause);
            victim.restart();
            self.resume(burst);
        }
    }

    fn hang(&mut self, victim: &Victim) {
        let begin = Instant::now();
        victim.stop();
        let burst = self.burst();
        self.notices(victim.part());
        self.answers_for(HANG.saturating_sub(begin.elapsed()));
        victim.cont();
        self.resume(burst);
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

    /// Notes how long it takes until the burst is on the log and durable.
    fn resume(&mut self, burst: Running) {
        let (begin, end) = (Instant::now(), self.bursts * BURST);
        burst.wait().succeeded();
        self.engine.wait("/readyz", &format!("{end} events are durable"), |ready| {
            ready["learning"] == true && ready["durable_seq"].as_u64() >= Some(end)
        });
        self.recoveries.push(begin.elapsed());
    }

    fn conclude(self, what: &str) {
        let Self { site, mut engine, bursts, recoveries, .. } = self;
        let events = bursts * BURST;
        assert_eq!(site.end(), events, "the log holds each event once");
        engine.learned(events);
        let quiet = Site::embedded();
        (0..bursts).for_each(|_| quiet.replay(BURST));
        site.same_model(engine, events, &learned(&quiet, events));
        let account = site.account(events, &BTreeSet::new());
        Row { what, times: recoveries.len(), account, recoveries }.conclude();
    }
}
