use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures::StreamExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::publish::Publisher;
use crate::serve::app;
use crate::serve::status::{Part, Phase};
use crate::serve::tests::{Served, state};

/// What a client reads off a stream.
struct Client {
    body: BodyDataStream,
    rest: String,
}

impl Client {
    async fn open(state: &Served, path: &str) -> Self {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = app(state.state.clone()).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        Self { body: response.into_body().into_data_stream(), rest: String::new() }
    }

    /// The next message with its name; none at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((message, rest)) = self.rest.split_once("\n\n") {
                let field = |name| message.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
                let (name, data) = (field("event: "), field("data: "));
                self.rest = rest.to_owned();
                if let Some((name, data)) = name.zip(data) {
                    return Some((name, serde_json::from_str(&data).unwrap()));
                }
                continue;
            }
            self.rest += std::str::from_utf8(&self.body.next().await?.unwrap()).unwrap();
        }
    }

    async fn until(&mut self, wanted: &str) -> Value {
        loop {
            let (name, data) = tokio::time::timeout(Duration::from_secs(10), self.next()).await.unwrap().unwrap();
            if name == wanted {
                return data;
            }
        }
    }
}

#[tokio::test]
async fn a_client_is_told_who_it_is_and_how_it_stands_and_then_what_changes() {
    let state = state().await;
    let mut client = Client::open(&state, "/live").await;
    let hello = client.until("hello").await;
    assert_eq!(
        (&hello["scale"]["low"], &hello["changes"], &hello["replay"]),
        (&json!(1.0), &json!(true), &json!(false))
    );
    let now = client.until("now").await;
    assert_eq!(
        (&now["seq"], &now["phase"], &now["replay"], &now["streams"]),
        (&json!(4), &json!("starting"), &Value::Null, &json!(1))
    );
    let learning = client.until("learning").await;
    assert_eq!((&learning["all"]["events"], &learning["window"]["events"]), (&json!(4), &json!(0)));

    state.status.begin_trouble(Part::Store, "it is away".into());
    let now = client.until("now").await;
    assert_eq!(now["troubles"][0]["reason"], "it is away");
}

#[tokio::test]
async fn the_oldest_stream_makes_room_and_a_stop_ends_every_one() {
    let mut state = state().await;
    let mut config = crate::config::ServeConfig::clone(&state.config);
    config.max_streams = 2;
    state.state.config = config.into();
    let mut oldest = Client::open(&state, "/live").await;
    let mut list = Client::open(&state, "/recommend/c/live").await;
    let mut newest = Client::open(&state, "/live").await;
    let told = oldest.until("reconnect").await;
    assert!(told["after_ms"].as_u64().unwrap() > 1_000 && told["reason"].as_str().unwrap().contains("max_streams"));
    assert_eq!(oldest.next().await, None);
    let _another = Client::open(&state, "/live").await;
    list.until("reconnect").await;
    assert_eq!(list.next().await, None);
    state.status.set_phase(Phase::Stopping);
    newest.until("reconnect").await;
    assert_eq!(newest.next().await, None);
    drop((oldest, list, newest));
    assert_eq!(state.kept.streams.count(), 1);
}

#[tokio::test]
async fn events_are_told_once_with_their_titles() {
    use crate::gather::MicroBatch;
    use crate::serve::monitor::LearnedEvents;

    let state = state().await;
    let before = state.published.load_full();
    let events = vec![crate::decode::testing::event("c", "3", 5.0)];
    let batch = MicroBatch { number: 2, first_seq: 5, events, ..MicroBatch::default() };
    let config = crate::config::Config::default();
    let mut recommender = crate::learn::Recommender::resume(&config, before.learned().clone());
    let outcomes = recommender.learn(&batch).unwrap();
    let mut publisher = Publisher::new(std::sync::Arc::clone(&state.published), crate::publish::View::clone(&before));
    let after = publisher.publish(recommender.publish(), crate::publish::Version::after(&batch, 0));
    let mut client = Client::open(&state, "/live").await;
    client.until("now").await;
    let times = crate::serve::timings::BatchTimes::default();
    state.status.monitor.learned(&LearnedEvents {
        batch: &batch,
        outcomes: &outcomes,
        before: &before,
        after: &after,
        times,
    });
    let told = client.until("events").await;
    let event = &told["events"][0];
    assert_eq!((&event["seq"], &event["title"], &event["rating"]), (&json!(5), &json!("Fargo (1996)"), &json!(5.0)));
    assert_eq!((&event["place"], &told["skipped"]), (&Value::Null, &json!(0)));
    assert!(event["predicted"].as_f64().is_some());
    let quiet = tokio::time::timeout(Duration::from_millis(700), client.until("events")).await;
    assert!(quiet.is_err(), "it was told already");
}
