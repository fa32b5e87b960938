//! That keys are asked for, and that none ever comes out of the program again.

use sha2::{Digest, Sha256};

use super::{connect, http2, request, status};
use crate::program::Freshet;

const READ: &str = "rk-3fV9zq-read-Lw81";
const INGEST: &str = "ik-7Qpm2x-ingest-Zt55";
const ADMIN: &str = "ak-Yc04vd-admin-Hn92";
const WRONG: &str = "wk-Bb61sj-wrong-Kx30";
const KEYS: [&str; 4] = [READ, INGEST, ADMIN, WRONG];

/// Fails if a text that the program gave out holds a key or the digest of one.
fn assert_clean(what: &str, text: &str) {
    for key in KEYS {
        let digest = Sha256::digest(key);
        let bytes = format!("{:?}", &digest[..4]);
        for secret in [key, &hex::encode(digest), bytes.trim_matches(['[', ']'])] {
            assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "{what} holds {secret}:\n{text}");
        }
    }
}

/// A program with a key of each scope, from a file, a variable and a file of keys, that logs all there is to log.
fn guarded() -> Freshet {
    let mut freshet = Freshet::new(&["log.level=trace"]);
    freshet.write("config.toml", format!("[serve]\nread_keys = \"{READ}\"\nkeys_file = \"keys\"\n"));
    freshet.write("keys", format!("admin {ADMIN}\n"));
    only_ours(&freshet, "keys", true);
    freshet.variable("FRESHET_SERVE__INGEST_KEYS", INGEST);
    freshet
}

/// Takes a file from others, or gives it to them.
fn only_ours(freshet: &Freshet, file: &str, ours: bool) {
    use std::os::unix::fs::PermissionsExt;
    let mode = if ours { 0o600 } else { 0o644 };
    std::fs::set_permissions(freshet.path(file), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn no_key_reaches_a_log_an_answer_or_what_the_program_prints() {
    let freshet = guarded();
    let engine = freshet.start();
    let mut answered = Vec::new();
    for key in KEYS {
        for (method, path) in [
            ("GET", "/model"),
            ("GET", "/metrics"),
            ("GET", "/readyz"),
            ("GET", "/openapi.json"),
            ("GET", "/recommend/1?n=0"),
            ("POST", "/events"),
            ("DELETE", "/items/1"),
            ("BREW", "/nothing"),
        ] {
            let answer = request(&engine, method, path, &format!("authorization: Bearer {key}\r\n"));
            assert_clean(path, &answer);
            answered.extend(status(&answer));
        }
        for header in
            [format!("Basic {key}"), key.to_owned(), format!("Bearer {key} {key}"), format!("Bearer\t{key}\u{1}")]
        {
            let answer = request(&engine, "GET", "/model", &format!("authorization: {header}\r\n"));
            assert_clean("a garbled header", &answer);
            answered.extend(status(&answer));
        }
        let answer = http2::get(&mut connect(&engine), "/model", &format!("Bearer {key}"));
        assert_clean("HTTP/2", &String::from_utf8_lossy(&answer));
    }
    for expected in [200, 400, 401, 403] {
        assert!(answered.contains(&expected), "{expected} is not in {answered:?}");
    }
    let ended = engine.stop().succeeded();
    assert!(ended.stderr.contains("TRACE"), "{ended}");
    assert_clean("stdout", &ended.stdout);
    assert_clean("stderr", &ended.stderr);
    for arguments in
        [&["config", "show"][..], &["config", "show", "--json"], &["config", "show", "--changed"], &["config", "check"]]
    {
        let shown = freshet.run(arguments).succeeded();
        assert_clean("config", &shown.to_string());
    }
    assert!(freshet.must(&["config", "show"]).contains("read_keys = \"***\""));
}

#[test]
fn no_key_is_in_an_error_of_the_configuration() {
    let refuses = |change: &dyn Fn(&mut Freshet), parts: &[&str]| {
        let mut freshet = guarded();
        change(&mut freshet);
        let ended = freshet.run(&["run"]).exited(2).told(parts);
        assert_clean("an error", &ended.to_string());
        assert!(!ended.to_string().contains("hunter2"), "{ended}");
    };
    let text = |text: String| move |freshet: &mut Freshet| freshet.write("config.toml", &text);
    let keys = |text: String| {
        move |freshet: &mut Freshet| {
            freshet.write("keys", &text);
        }
    };
    refuses(&|freshet| freshet.set("serve.read_keys=hunter2"), &["serve.read_keys = \"***\"", "16 or more"]);
    refuses(&|freshet| freshet.set(&format!("serve.read_keys={READ},")), &["serve.read_keys = \"***\""]);
    refuses(
        &|freshet| freshet.variable("FRESHET_SERVE__ADMIN_KEYS", &format!("{ADMIN} é")),
        &["FRESHET_SERVE__ADMIN_KEYS"],
    );
    refuses(&|freshet| freshet.set(&format!("serve.key={READ}")), &["unknown key serve.key"]);
    refuses(&|freshet| freshet.set(READ), &["has no \"=\""]);
    refuses(&text(format!("[serve]\nread_keys = [\"{READ}\"]\n")), &["serve.read_keys: expected a string"]);
    refuses(&text(format!("[serve.keys]\nread = \"{READ}\"\n")), &["unknown key serve.keys"]);
    refuses(&text(format!("[serve]\nread_keys = \"{READ}\n")), &["this is not TOML"]);
    refuses(&text(format!("[serve]\nread_keys = {READ}\n")), &["this is not TOML"]);
    refuses(&keys(format!("admin {ADMIN} {READ}\n")), &["keys: line 1: is not \"scope KEY\""]);
    refuses(&keys(format!("{ADMIN}\n")), &["keys: line 1"]);
    refuses(&|freshet| only_ours(freshet, "keys", false), &["keys: others may read it", "chmod 600"]);
    refuses(&|freshet| std::fs::remove_file(freshet.path("keys")).unwrap(), &["serve.keys_file: keys: cannot be read"]);
}

#[test]
fn other_machines_are_not_served_without_keys_unless_the_operator_insists() {
    let mut open = Freshet::new(&["serve.host=0.0.0.0"]);
    let parts = ["can be reached from other machines", "serve.admin_keys", "serve.keys_file", "--insecure"];
    open.run(&["run"]).exited(2).told(&parts);
    let engine = open.start_with(&["--insecure"]);
    let port = engine.address().rsplit(':').next().unwrap().to_owned();
    assert!(std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok());
    engine.stop().succeeded();
    open.variable("FRESHET_SERVE__ADMIN_KEYS", ADMIN);
    open.start().stop().succeeded();
}

#[test]
fn a_reader_changes_nothing_and_learns_all_the_same() {
    let freshet = Freshet::new(&["serve.read_only=true"]);
    freshet.must(&["replay", "sample", "--limit", "50"]);
    let mut engine = freshet.start();
    engine.learned(50);
    let answer = request(&engine, "POST", "/events", "content-length: 0\r\n");
    assert!(status(&answer) == Some(403) && answer.contains("\"read_only\""), "{answer}");
    assert_eq!(engine.get("/recommend/1").0, 200);
    engine.stop().succeeded();
}
