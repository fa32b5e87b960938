use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::header;
use axum::routing::get;
use serde_json::Value;
use tokio::sync::oneshot;
use tower::ServiceExt;

use super::*;
use crate::config::ServeConfig;
use crate::serve::tests::{Served, state};
use crate::serve::{Guard, app, bind, layered, run};

async fn served(change: impl FnOnce(&mut ServeConfig)) -> Served {
    let mut served = state().await;
    let mut config = (*served.config).clone();
    change(&mut config);
    served.state.config = config.into();
    served
}

async fn ask(app: &Router, path: &str, from: &str) -> (u16, Value, Option<String>) {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo::<SocketAddr>(from.parse().unwrap()));
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let retry = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default(), retry)
}

#[tokio::test]
async fn a_client_that_asks_too_often_is_told_when_to_come_back_and_others_are_not_held_up() {
    let served = served(|config| (config.rate_limit, config.rate_burst) = (1, 2)).await;
    let app = app(served.state.clone());
    let (hasty, other) = ("192.0.2.1:1", "192.0.2.2:1");
    assert_eq!(ask(&app, "/model", hasty).await.0, 200);
    assert_eq!(ask(&app, "/model", "192.0.2.1:2").await.0, 200);
    let (status, body, retry) = ask(&app, "/model", hasty).await;
    assert_eq!((status, &body["code"], retry.as_deref()), (429, &"rate_limited".into(), Some("1")));
    assert!(body["detail"].as_str().unwrap().contains("the 1 a second that serve.rate_limit allows"), "{body}");
    assert_eq!(served.status.refused(Refusal::RateLimited), 1);
    assert_eq!(ask(&app, "/model", other).await.0, 200);
    for path in ["/livez", "/metrics"] {
        assert_eq!(ask(&app, path, hasty).await.0, 200, "{path} is asked by whoever watches");
    }
}

#[tokio::test]
async fn the_table_of_clients_does_not_grow_without_bound() {
    let served = served(|config| (config.rate_limit, config.rate_burst) = (1_000_000, 1)).await;
    let limits = Limits::new(&served.state);
    for number in 0..20 * CLEAN_UP_EVERY as u32 {
        limits.check_rate(Client::Address(std::net::Ipv4Addr::from(number).into())).unwrap();
    }
    let known = limits.0.rate.as_ref().unwrap().len() as u64;
    assert!(known <= 2 * CLEAN_UP_EVERY, "{known} clients are remembered");
}

#[tokio::test]
async fn a_path_that_is_too_long_is_refused_with_its_length() {
    let app = app(state().await.state.clone());
    let long = format!("/recommend/c?exclude={}", "x".repeat(LONGEST_PATH));
    let (status, body, _) = ask(&app, &long, "192.0.2.1:1").await;
    assert_eq!((status, &body["code"]), (414, &"path_too_long".into()));
    let fits = format!("/recommend/c?exclude={}", "x".repeat(LONGEST_PATH - 21));
    assert_eq!(ask(&app, &fits, "192.0.2.1:1").await.0, 200);
}

#[tokio::test]
async fn a_percent_sign_that_encodes_nothing_is_refused() {
    let app = app(state().await.state.clone());
    for (path, found) in
        [("/recommend/%", "%"), ("/recommend/a%2", "%2"), ("/recommend/%41%zzb", "%zz"), ("/x?a=%%20", "%%2")]
    {
        let (status, body, _) = ask(&app, path, "192.0.2.1:1").await;
        assert_eq!((status, &body["code"]), (400, &"bad_encoding".into()), "{path}");
        assert!(body["detail"].as_str().unwrap().starts_with(&format!("{found:?} is no encoded byte")), "{body}");
    }
    assert_eq!(ask(&app, "/recommend/a%2Fb%25%c3%A9", "192.0.2.1:1").await.0, 200);
}

/// Status and time of one request over a connection of its own.
fn request(address: SocketAddr, path: &str) -> (u16, Duration) {
    let start = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer:?}")), start.elapsed())
}

/// What each of many clients, which all ask at the same time again and again, was answered.
fn storm(address: SocketAddr, clients: usize, each: usize) -> Vec<(u16, Duration)> {
    thread::scope(|scope| {
        let client = || (0..each).map(|_| request(address, "/slow")).collect::<Vec<_>>();
        let clients: Vec<_> = (0..clients).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// A server whose `/slow` takes a thread of two for 20 ms, so that it can answer a hundred a second.
async fn slow_server(shed_after: Duration) -> (Served, SocketAddr, oneshot::Sender<()>) {
    let served = served(|config| (config.shed_after, config.port) = (shed_after, 0)).await;
    let slow = || async { thread::sleep(Duration::from_millis(20)) };
    let alive = || async { "ok" };
    let routes = Router::new().route("/slow", get(slow)).route("/livez", get(alive));
    let (state, config) = (served.state.clone(), Arc::clone(&served.state.config));
    let listener = bind(&config).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let guard = Guard::load(&config).unwrap();
    let about = (config, Arc::clone(&state.status));
    let limits = Limits::new(&state);
    tokio::spawn(run(listener, layered(routes, state, limits), guard, about, async { drop(stopped.await) }));
    (served, address, stop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_storm_some_are_refused_at_once_and_the_others_are_answered_and_afterwards_all_are() {
    let (served, address, _stop) = slow_server(Duration::from_millis(100)).await;
    let work = thread::spawn(move || {
        let watch = thread::spawn(move || (0..10).map(|_| request(address, "/livez")).collect::<Vec<_>>());
        let answers = storm(address, 100, 5);
        let alive = watch.join().unwrap();
        thread::sleep(Duration::from_millis(300));
        (answers, alive, (0..10).map(|_| request(address, "/slow")).collect::<Vec<_>>())
    });
    let (answers, alive, afterwards) = tokio::task::spawn_blocking(|| work.join().unwrap()).await.unwrap();
    let times = |status: u16| {
        let mut times: Vec<_> = answers.iter().filter(|answer| answer.0 == status).map(|answer| answer.1).collect();
        times.sort_unstable();
        times
    };
    let (good, refused) = (times(200), times(503));
    assert_eq!(good.len() + refused.len(), 500, "{answers:?}");
    assert!(good.len() >= 20 && refused.len() >= 100, "{} answered, {} refused", good.len(), refused.len());
    assert_eq!(served.status.refused(Refusal::Overloaded), refused.len() as u64);
    println!("answered {}: median {:?}, slowest {:?}", good.len(), good[good.len() / 2], good[good.len() - 1]);
    println!("refused {}: median {:?}, slowest {:?}", refused.len(), refused[refused.len() / 2], refused.last());
    assert!(good[good.len() - 1] < Duration::from_secs(5), "{good:?}");
    assert!(alive.iter().all(|answer| answer.0 == 200), "{alive:?}");
    assert!(afterwards.iter().all(|answer| answer.0 == 200), "{afterwards:?}");
}
