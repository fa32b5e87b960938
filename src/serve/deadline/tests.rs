use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::http::header;
use axum::routing::{get, post};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::serve::layered;
use crate::serve::tests::state;

/// Status and JSON of the answer of a server that waits 100 ms for an answer and 50 ms for more of a body.
async fn ask(path: &str, body: Body) -> (u16, Value, u64) {
    let mut served = state().await;
    let mut config = (*served.config).clone();
    (config.request_timeout, config.body_timeout) = (Duration::from_millis(100), Duration::from_millis(50));
    served.state.config = config.into();
    let routes = Router::new()
        .route("/never", get(std::future::pending::<()>).post(std::future::pending::<()>))
        .route("/echo", post(|body: Bytes| async { body }));
    let app = layered(routes, served.state.clone(), crate::serve::limits::Limits::new(&served.state));
    let response = app.oneshot(Request::post(path).body(body).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers().get(header::CONTENT_TYPE).cloned();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let problem = status == 200 || kind.is_some_and(|kind| kind == "application/problem+json");
    assert!(problem, "{status} is no problem+json");
    (status, serde_json::from_slice(&body).unwrap_or_default(), served.status.refused(Refusal::Slow))
}

/// A body of as many bytes, with a pause before each.
fn slow(bytes: usize, pause: Duration) -> Body {
    Body::from_stream(stream::iter(0..bytes).then(move |_| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, io::Error>("1")
    }))
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_a_problem_with_what_to_do() {
    for body in [Body::empty(), Body::from("a body that nobody reads")] {
        let (status, body, slow) = ask("/never", body).await;
        assert_eq!((status, &body["code"], slow), (503, &"timeout".into(), 0));
        assert!(body["detail"].as_str().unwrap().contains("100 ms, the longest that serve.request_timeout allows"));
    }
}

#[tokio::test]
async fn a_body_that_pauses_or_never_ends_is_the_clients_fault() {
    let (status, body, count) = ask("/echo", slow(2, Duration::from_mins(1))).await;
    assert_eq!((status, &body["code"], count), (408, &"slow_body".into(), 1));
    assert!(body["detail"].as_str().unwrap().contains("serve.body_timeout"), "{body}");
    let (status, body, count) = ask("/echo", slow(100, Duration::from_millis(10))).await;
    assert_eq!((status, &body["code"], count), (408, &"slow_body".into(), 1));
    assert!(body["detail"].as_str().unwrap().contains("serve.request_timeout"), "{body}");
}

#[tokio::test]
async fn a_body_in_pieces_arrives_whole() {
    assert_eq!(ask("/echo", slow(3, Duration::from_millis(1))).await, (200, 111.into(), 0));
}
