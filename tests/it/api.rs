//! The API asked at random: schemathesis makes requests of every kind out of `/openapi.json`, good and bad ones, and checks
//! that each answer is one that the description allows.

use std::process::Command;

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
