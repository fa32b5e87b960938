use axum::Router;
use axum::body::{Body, to_bytes};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tower::ServiceExt;

use super::*;
use crate::config::{Config, Secret};
use crate::serve::app;
use crate::serve::tests::{Served, state};

const READ: &str = "read-key-0123456789";
const NEXT: &str = "next-read-key-0123456789";
const INGEST: &str = "ingest-key-0123456789";
const ADMIN: &str = "admin-key-0123456789";

fn config() -> ServeConfig {
    let mut config = Config::default().serve;
    config.read_keys = Secret::new(format!("{READ}, {NEXT}"));
    config.ingest_keys = Secret::new(INGEST);
    config.admin_keys = Secret::new(ADMIN);
    config
}

async fn guarded() -> (Router, Served) {
    let mut served = state().await;
    served.state.keys = Keys::load(&config()).unwrap().into();
    (app(served.state.clone()), served)
}

/// Status, code of the problem, and the header that asks for a key.
async fn ask(app: &Router, method: &str, path: &str, authorization: &[&str]) -> (u16, Value, Option<String>) {
    let mut request = Request::builder().method(method).uri(path);
    for value in authorization {
        request = request.header(header::AUTHORIZATION, *value);
    }
    let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    let body: Value = serde_json::from_slice(&to_bytes(body, 1 << 20).await.unwrap()).unwrap_or_default();
    let challenge = parts.headers.get(header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap().to_owned());
    (parts.status.as_u16(), body["code"].clone(), challenge)
}

#[test]
fn what_is_not_named_needs_the_highest_scope() {
    for (method, path, scope) in [
        (Method::GET, "/livez", None),
        (Method::HEAD, "/readyz", None),
        (Method::GET, "/", None),
        (Method::GET, "/dashboard/main.js", None),
        (Method::GET, "/dashboards", Some(Scope::Read)),
        (Method::GET, "/docs", None),
        (Method::GET, "/openapi.json", None),
        (Method::GET, "/freshet.js", None),
        (Method::GET, "/metrics", Some(Scope::Read)),
        (Method::GET, "/recommend/1", Some(Scope::Read)),
        (Method::GET, "/nothing", Some(Scope::Read)),
        (Method::GET, "/snapshots/7", Some(Scope::Read)),
        (Method::GET, "/snapshots/7/verify", Some(Scope::Read)),
        (Method::GET, "/snapshots/7/diff/9", Some(Scope::Read)),
        (Method::GET, "/snapshots/7/export", Some(Scope::Admin)),
        (Method::HEAD, "/snapshots/7/export", Some(Scope::Admin)),
        (Method::GET, "/items/export", Some(Scope::Read)),
        (Method::GET, "/dead-letters", Some(Scope::Admin)),
        (Method::POST, "/dead-letters/replay", Some(Scope::Admin)),
        (Method::POST, "/recommend", Some(Scope::Read)),
        (Method::POST, "/estimate", Some(Scope::Read)),
        (Method::POST, "/estimate/1", Some(Scope::Read)),
        (Method::POST, "/events", Some(Scope::Ingest)),
        (Method::POST, "/eventsoup", Some(Scope::Admin)),
        (Method::POST, "/recommendation", Some(Scope::Admin)),
        (Method::POST, "/livez", Some(Scope::Admin)),
        (Method::PUT, "/events", Some(Scope::Admin)),
        (Method::PUT, "/items/1", Some(Scope::Admin)),
        (Method::DELETE, "/recommend/1", Some(Scope::Admin)),
        (Method::from_bytes(b"BREW").unwrap(), "/recommend/1", Some(Scope::Admin)),
    ] {
        assert_eq!(needed(&method, path), scope, "{method} {path}");
    }
}

#[tokio::test]
async fn a_key_opens_what_its_scope_allows_and_two_of_a_scope_are_valid_at_once() {
    let (app, _served) = guarded().await;
    let bearer = |key: &str| format!("Bearer {key}");
    for key in [READ, NEXT, ADMIN] {
        assert_eq!(ask(&app, "GET", "/recommend/c", &[&bearer(key)]).await.0, 200, "{key}");
    }
    assert_eq!(ask(&app, "GET", "/recommend/c", &[&format!("bEARER   {READ} ")]).await.0, 200);
    let (status, code, challenge) = ask(&app, "GET", "/model", &[&bearer(INGEST)]).await;
    assert_eq!((status, code, challenge), (403, json!("missing_scope"), None));
    assert_eq!(ask(&app, "DELETE", "/model", &[&bearer(READ)]).await.1, "missing_scope");
    assert_eq!(ask(&app, "DELETE", "/model", &[&bearer(ADMIN)]).await.0, 405, "it may, and there is nothing to delete");
}

#[tokio::test]
async fn no_key_or_a_wrong_one_is_told_so_and_asked_for_one() {
    let (app, served) = guarded().await;
    let longer = format!("Bearer {READ}0");
    let basic = format!("Basic {READ}");
    let (one, two) = (format!("Bearer {READ}"), format!("Bearer {ADMIN}"));
    for (sent, expected) in [
        (&[][..], "missing_key"),
        (&[longer.as_str()], "unknown_key"),
        (&["Bearer"], "bad_authorization"),
        (&["Bearer "], "unknown_key"),
        (&["Bearer x"], "unknown_key"),
        (&["é"], "bad_authorization"),
        (&[&basic], "bad_authorization"),
        (&[READ], "bad_authorization"),
        (&[&one, &two], "bad_authorization"),
    ] {
        let (status, code, challenge) = ask(&app, "GET", "/model", sent).await;
        assert_eq!((status, code, challenge.as_deref()), (401, json!(expected), Some("Bearer")), "{sent:?}");
    }
    assert_eq!(served.status.refused(Refusal::Unauthorized), 9);
    assert_eq!(ask(&app, "GET", &format!("/model?key={READ}"), &[]).await.0, 401, "never in an address");
    for path in ["/livez", "/openapi.json", "/docs/", "/demo-shop", "/freshet.js", "/", "/dashboard/main.js"] {
        assert_eq!(ask(&app, "GET", path, &[]).await.0, 200, "{path}");
    }
    assert_eq!(ask(&app, "GET", "/metrics", &[]).await.0, 401);
}

#[tokio::test]
async fn without_keys_everything_is_open_and_read_only_still_changes_nothing() {
    let mut served = state().await;
    let open = app(served.state.clone());
    assert_eq!(ask(&open, "GET", "/model", &[]).await.0, 200);
    assert_eq!(ask(&open, "DELETE", "/model", &["Bearer whatever"]).await.0, 405);
    let mut config = (*served.config).clone();
    config.read_only = true;
    served.state.config = config.into();
    for guarded in [false, true] {
        if guarded {
            served.state.keys = Keys::load(&self::config()).unwrap().into();
        }
        let app = app(served.state.clone());
        let admin = format!("Bearer {ADMIN}");
        for (method, path) in [("POST", "/events"), ("PUT", "/items/1"), ("DELETE", "/items/1"), ("POST", "/x")] {
            let (status, code, _) = ask(&app, method, path, &[&admin]).await;
            assert_eq!((status, code), (403, json!("read_only")), "{method} {path}");
        }
        assert_eq!(ask(&app, "GET", "/model", &[&admin]).await.0, 200);
    }
    assert_eq!(served.status.refused(Refusal::Forbidden), 8);
}

fn file(text: &str) -> (NamedTempFile, ServeConfig) {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let config = ServeConfig { keys_file: file.path().to_owned(), ..Config::default().serve };
    (file, config)
}

#[test]
fn a_file_gives_keys_with_several_scopes_beside_those_of_the_configuration() {
    let (_file, mut config) = file(&format!("# ours\n\nread,ingest {READ}  # the shop\n  admin\t{ADMIN}\n"));
    config.ingest_keys = Secret::new(format!("{INGEST},{ADMIN}"));
    let keys = Keys::load(&config).unwrap();
    let allowed = |key: &str| {
        let key = &keys.0[keys.find(key.as_bytes())?];
        Some(Scope::ALL.map(|scope| key.allows(scope)))
    };
    assert_eq!(allowed(READ), Some([true, true, false]));
    assert_eq!(allowed(INGEST), Some([false, true, false]));
    assert_eq!(allowed(ADMIN), Some([true; 3]));
    assert_eq!((allowed(NEXT), allowed("")), (None, None));
    assert_eq!(format!("{keys:?}"), "3 keys");
}

#[test]
fn a_file_that_cannot_be_used_is_named_without_its_content() {
    for (text, part) in [
        ("", "holds no key"),
        ("# nothing\n", "holds no key"),
        (READ, "line 1: is not \"scope KEY\""),
        ("\nread short-secret\n", "line 2: the key is not allowed; it must be 16 or more"),
        ("write key-0123456789-abc", "line 1: does not begin with a scope; read, ingest and admin are allowed"),
        ("read one-0123456789 two-0123456789", "line 1: is not"),
        ("read,, key-0123456789-abc", "line 1: does not begin"),
    ] {
        let (file, config) = file(text);
        let error = Keys::load(&config).unwrap_err().to_string();
        assert!(error.contains("serve.keys_file") && error.contains(part), "{error}");
        assert!(error.contains(&file.path().display().to_string()) && !error.contains("0123456789"), "{error}");
        assert!(!error.contains("short-secret"), "{error}");
    }
    let config = ServeConfig { keys_file: "/nowhere/keys".into(), ..Config::default().serve };
    let error = Keys::load(&config).unwrap_err().to_string();
    assert!(error.contains("serve.keys_file: /nowhere/keys: cannot be read: "), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let (file, config) = file(&format!("read {READ}"));
    for (mode, allowed) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        let found = Keys::load(&config);
        assert_eq!(found.is_ok(), allowed, "{mode:o}: {found:?}");
        assert!(found.err().is_none_or(|error| error.to_string().contains("run chmod 600 on it")));
    }
}

#[test]
fn clients_of_one_network_of_ipv6_are_counted_together() {
    let client = |address: &str| {
        let mut request = Request::new(());
        let address: SocketAddr = address.parse().unwrap();
        request.extensions_mut().insert(ConnectInfo(address));
        Client::at(&request.into_parts().0)
    };
    assert_eq!(client("[2001:db8:1:2:3::4]:5"), client("[2001:db8:1:2:ffff::1]:6"));
    assert_ne!(client("[2001:db8:1:2::1]:5"), client("[2001:db8:1:3::1]:5"));
    assert_eq!(client("[::ffff:192.0.2.1]:5"), client("192.0.2.1:6"));
    assert_ne!(client("192.0.2.1:5"), client("192.0.2.2:5"));
}
