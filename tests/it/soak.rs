//! `freshet soak`: a load that is borne, loads that are not, and one that is cut short.

use serde_json::Value;

use crate::program::{Ended, Freshet};

/// A service that learns fast enough for a build without optimization.
const SETTINGS: [&str; 1] = ["gather.linger=20ms"];

fn soak(flags: &[&str]) -> Vec<String> {
    let small = ["soak", "--preset", "speed", "--users", "300", "--items", "100", "--json"];
    small.iter().chain(flags).map(|part| (*part).to_owned()).collect()
}

fn run(freshet: &Freshet, flags: &[&str]) -> Ended {
    let line = soak(flags);
    freshet.run(&line.iter().map(String::as_str).collect::<Vec<_>>())
}

fn report(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

#[test]
fn a_load_that_is_borne_passes_and_a_second_soak_goes_on() {
    let freshet = Freshet::new(&SETTINGS);
    let ended = run(&freshet, &["--duration", "8s", "--rate", "100/s", "--reads", "10/s"]).succeeded();
    let found = report(&ended);
    assert_eq!((&found["passed"], &found["errors"]), (&true.into(), &0.into()), "{found}");
    let events = &found["events"];
    assert_eq!((&events["asked"], &events["lag"]), (&800.into(), &0.into()), "{found}");
    assert!(events["durable"] == events["delivered"] && events["sent"].as_u64() >= Some(792), "{found}");
    assert_eq!(found["reads"]["answered"], 80, "{found}");
    for figure in [&found["reads"]["p99_ms"], &found["freshness"]["p50_ms"]] {
        assert!(figure.as_f64() > Some(0.0), "{found}");
    }
    assert!(found["memory"]["most_bytes"].as_u64() > Some(1 << 20), "{found}");
    let holds: Vec<_> = found["checks"].as_array().unwrap().iter().map(|check| check["holds"].clone()).collect();
    assert_eq!(
        holds,
        [true.into(), true.into(), true.into(), true.into(), Value::Null],
        "too short for memory: {found}"
    );
    assert!(!freshet.path("freshet-data/log.db").exists(), "the service's own log is left alone");

    // A busy machine sends one in a hundred fewer in time, which passes.
    let sent = |found: &Value| found["events"]["sent"].as_i64().unwrap();
    let again = ["--duration", "2s", "--rate", "50/s", "--reads", "5/s"];
    let second = report(&run(&freshet, &again).succeeded());
    let events = || rusqlite::Connection::open(freshet.path("freshet-data/soak/store.db")).unwrap();
    let count = || -> i64 { events().query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap() };
    assert_eq!(count(), sent(&found) + sent(&second));
    let third = report(&run(&freshet, &[&again[..], &["--fresh"]].concat()).succeeded());
    assert_eq!(count(), sent(&third), "--fresh begins anew");
}

#[test]
fn a_load_that_is_not_borne_fails_and_says_why() {
    let freshet = Freshet::new(&SETTINGS);
    // Nobody makes so many.
    let ended = run(&freshet, &["--duration", "2s", "--rate", "100000000/s", "--reads", "1/s"]).exited(1);
    let found = report(&ended);
    assert_eq!((&found["passed"], &found["checks"][0]["holds"]), (&false.into(), &false.into()), "{found}");
    assert!(ended.stderr.contains("the soak has failed: events sent"), "{}", ended.stderr);

    let ended = run(&freshet, &["--duration", "1s", "--url", "http://127.0.0.1:9"]).exited(1);
    assert!(ended.stderr.contains("nothing answers at http://127.0.0.1:9/readyz"), "{}", ended.stderr);
}

#[test]
fn a_service_that_runs_is_loaded_with_its_key_and_an_answer_that_is_an_error_counts() {
    let key = "serve.read_keys=a-key-of-more-than-16";
    let freshet = Freshet::new(&[SETTINGS[0], key]);
    let engine = freshet.start_with(&["--preset", "speed"]);
    let url = format!("http://{}", engine.address());
    let load = ["--url", &url, "--duration", "3s", "--rate", "50/s", "--reads", "20/s"];
    let found = report(&run(&freshet, &load).succeeded());
    assert_eq!((&found["passed"], &found["events"]["durable"]), (&true.into(), &150.into()), "{found}");
    engine.stop().succeeded();

    let limited = Freshet::new(&[SETTINGS[0], "serve.rate_limit=5", "serve.rate_burst=20"]);
    let ended = run(&limited, &["--duration", "4s", "--rate", "10/s", "--reads", "50/s"]).exited(1);
    assert!(ended.stderr.contains("answered 429"), "{}", ended.stderr);
    assert!(report(&ended)["reads"]["failed"].as_u64() > Some(0));
}

#[test]
fn a_soak_that_is_interrupted_tells_what_was_done() {
    let freshet = Freshet::new(&SETTINGS);
    let line = ["soak", "--preset", "speed", "--users", "50", "--items", "50", "--rate", "50/s", "--reads", "5/s"];
    let mut running = freshet.spawn(&line);
    running.tells(&["events sent"]);
    running.signal("INT");
    let ended = running.wait().exited(130);
    for part in ["verdict", "interrupted", "delivered, and durable"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    assert!(ended.stderr.contains("interrupted: ") && ended.stderr.contains("events sent in"), "{}", ended.stderr);
}
