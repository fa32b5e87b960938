//! The API asked at random: schemathesis makes requests of every kind out of `/openapi.json`, good and bad ones, and checks
//! that each answer is one that the description allows.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::program::Freshet;
use crate::support::{say, servers_dir};

#[test]
fn no_request_has_an_answer_that_the_description_does_not_allow() {
    let tool = servers_dir().join("schemathesis");
    if !tool.join("schemathesis").is_dir() {
        let reason = std::fs::read_to_string(servers_dir().join("schemathesis-unavailable"));
        let reason = reason.unwrap_or_else(|_| "run `make test`, it installs it".into());
        say(&format!("SKIPPED: schemathesis is not there, so the API is not asked at random: {}", reason.trim()));
        return;
    }
    let freshet = Freshet::new(&["serve.max_wait=20ms", "gather.size=1"]);
    freshet.must(&["replay", "sample", "--limit", "2000"]);
    let mut engine = freshet.start();
    engine.learned(2000);
    let asked = Command::new("python3")
        .args(["-m", "schemathesis.cli", "run", &format!("http://{}/openapi.json", engine.address())])
        // One worker: two of them trip over what the tool keeps of its own sources.
        .args(["--phases", "examples,coverage,fuzzing", "--max-examples", "40", "--seed", "7", "--workers", "1"])
        .args(["--checks", CHECKS, "--request-timeout", "30", "--no-color", "--continue-on-failure"])
        // It never ends.
        .args(["--exclude-path-regex", "/live$", "--generation-database", "none"])
        .env("PYTHONPATH", &tool)
        .current_dir(freshet.path("."))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&asked.stdout);
    assert!(asked.status.success(), "{told}\n{}", String::from_utf8_lossy(&asked.stderr));
    assert_eq!(engine.json("/readyz")["learning"], true, "it still works");
}

/// No 5xx, and status, content type, headers and body as the description says.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance";

/// Seconds of the soak; `FRESHET_SOAK_SECONDS` goes before it.
const SOAK_SECONDS: u64 = 20;

/// Reads and writes of every kind, by several clients at once, for as long as `FRESHET_SOAK_SECONDS` says: no answer is an
/// error, and the memory is at the end what it was after the first third.
#[test]
fn a_soak_of_reads_and_writes_has_no_error_and_flat_memory() {
    let seconds = std::env::var("FRESHET_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SOAK_SECONDS);
    let freshet = Freshet::new(&["store.snapshot_every=5000"]);
    freshet.must(&["replay", "sample", "--limit", "20000"]);
    let mut engine = freshet.start();
    engine.learned(20_000);
    let (start, time) = (Instant::now(), Duration::from_secs(seconds));
    let mut resident = Vec::new();
    let answered: u64 = std::thread::scope(|scope| {
        let address = engine.address();
        let clients: Vec<_> = (0..4).map(|client| scope.spawn(move || soak(address, client, start + time))).collect();
        for third in 1..=3 {
            std::thread::sleep((start + time * third / 3).saturating_duration_since(Instant::now()));
            resident.push(engine.resident_bytes());
        }
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    say(&format!("soak: {answered} answers in {seconds} s; resident MiB after each third: {:?}", mebibytes(&resident)));
    assert!(answered > 10 * seconds, "{answered}");
    // What is cached is still growing in a short one.
    if seconds >= 300 {
        assert!(resident[2] as f64 <= 1.1 * resident[0] as f64, "{:?}", mebibytes(&resident));
    }
    engine.stop().succeeded();
}

fn mebibytes(bytes: &[u64]) -> Vec<u64> {
    bytes.iter().map(|bytes| bytes >> 20).collect()
}

/// One client, until `end`; the number of its answers.
fn soak(address: &str, client: u64, end: Instant) -> u64 {
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().proxy(None).build());
    let mut asked = 0;
    while Instant::now() < end {
        let number = asked * 4 + client;
        let (user, item) = (number * 31 % 900, number * 17 % 1600);
        let reads = [
            format!("/recommend/{user}?n=20&diversity=0.3"),
            format!("/recommend/{user}?filter=genre:drama%20or%20year:..1980&explain=true"),
            format!("/recommend/new-{number}"),
            format!("/similar/users/{}", 1 + user % 100),
            format!("/estimate/{user}/{item}/{}", item + 1),
            format!("/items?n=50&q=a&cursor={}", item % 100),
            "/popular?format=csv".to_owned(),
            "/model".to_owned(),
        ];
        let path = &reads[(asked % 8) as usize];
        let answer = agent.get(format!("http://{address}{path}")).call();
        let answer = answer.map(|mut answer| answer.body_mut().read_to_string());
        assert!(matches!(answer, Ok(Ok(_)) | Err(ureq::Error::StatusCode(404))), "{path}: {answer:?}");
        let event = format!(r#"{{"user":"{user}","item":"{item}","rating":{}}}"#, 1 + number % 5);
        let sent =
            agent.post(format!("http://{address}/events")).content_type("application/json").send(event.as_bytes());
        assert!(sent.is_ok(), "{event}: {sent:?}");
        asked += 1;
    }
    2 * asked
}
