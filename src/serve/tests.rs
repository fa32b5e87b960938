//! Each route as a client sees it: success, cold, bad input, not ready.

mod changes;
mod faults;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::archive::{SnapshotError, Unavailable};
use super::dead_letters::{LetterPage, ReplayError, Replayed, StoredLetter};
use super::following::Following;
use super::model::SnapshotAnswer;
use super::snapshots::{DiffAnswer, Export, VerifyAnswer};
use super::status::{Part, Phase, SnapshotSummary, Trainer};
use super::*;
use crate::capture::{Item, User, producer};
use crate::config::Config;
use crate::consume::Position;
use crate::consume::lag::{Lag, LagState};
use crate::decode::{Event, Reason, testing};
use crate::gather::MicroBatch;
use crate::learn::Recommender;
use crate::publish::{Publisher, Readers, Search, Version, View};

/// What handlers answer from, and the folder of its store and its log.
pub(super) struct Served {
    pub(super) state: AppState,
    pub(super) archive: Arc<Shelf>,
    dir: tempfile::TempDir,
}

/// Letters that were to be sent again, and the payload.
type Asked = (Vec<Position>, Option<Vec<u8>>);

/// An archive without snapshots. The real one is asked in tests/it.
#[derive(Default)]
pub(super) struct Shelf {
    items: Mutex<Vec<Item>>,
    users: Mutex<Vec<User>>,
    letters: Mutex<Vec<StoredLetter>>,
    /// What was to be sent again, and with which payload.
    replays: Mutex<Vec<Asked>>,
    /// What becomes of the next replay.
    fate: Mutex<Option<Result<Replayed, ReplayError>>>,
}

#[async_trait::async_trait]
impl Archive for Shelf {
    async fn snapshot(&self, _: u64) -> Result<Option<SnapshotAnswer>, Unavailable> {
        Ok(None)
    }

    async fn view(&self, _: u64) -> Result<Option<View>, Unavailable> {
        Ok(None)
    }

    async fn set_item(&self, item: &Item) -> Result<(), Unavailable> {
        self.items.lock().push(item.clone());
        Ok(())
    }

    async fn set_user(&self, user: &User) -> Result<(), Unavailable> {
        self.users.lock().push(user.clone());
        Ok(())
    }

    async fn diff(&self, _: u64, other: u64) -> Result<DiffAnswer, SnapshotError> {
        Err(SnapshotError::NoSuch(other))
    }

    async fn verify(&self, seq: u64) -> Result<VerifyAnswer, SnapshotError> {
        Err(SnapshotError::NoSuch(seq))
    }

    async fn export(&self, _: u64) -> Result<Export, SnapshotError> {
        Err(SnapshotError::Damaged("block 07 in the store is missing".into()))
    }

    async fn dead_letters(
        &self,
        reason: Option<String>,
        after: Option<Position>,
        n: usize,
    ) -> Result<LetterPage, Unavailable> {
        let letters = self.letters.lock();
        let passes = |letter: &&StoredLetter| {
            reason.as_ref().is_none_or(|reason| *reason == letter.reason) && Some(&letter.position) > after.as_ref()
        };
        let letters: Vec<_> = letters.iter().filter(passes).take(n).cloned().collect();
        let last = letters.last().map(|letter| letter.position.clone());
        let next = last.filter(|_| letters.len() == n);
        Ok(LetterPage { letters, next })
    }

    async fn replay(&self, positions: Vec<Position>, payload: Option<Vec<u8>>) -> Result<Replayed, ReplayError> {
        let replayed = positions.len() as u64;
        self.replays.lock().push((positions, payload));
        self.fate.lock().take().unwrap_or(Ok(Replayed { replayed, refused: Vec::new() }))
    }
}

impl Deref for Served {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.state
    }
}

pub(super) async fn state() -> Served {
    let events = [("a/b", "1"), ("a/b", "2"), ("é😀", "2"), ("c", "3")]
        .map(|(user, item)| testing::event(user, item, 4.0))
        .to_vec();
    let served = state_of(events).await;
    let item = Item { id: "3".into(), title: "Fargo (1996)".into(), genres: vec!["Crime".into()], ..Item::default() };
    served.status.catalog.put_item(item);
    served
}

/// The state after these events.
async fn state_of(events: Vec<Event>) -> Served {
    state_under(Config::default(), events).await
}

async fn state_under(mut config: Config, events: Vec<Event>) -> Served {
    let dir = tempfile::tempdir().unwrap();
    dir.path().clone_into(&mut config.store.data_dir);
    config.serve.max_wait = Duration::from_millis(20);
    let readers = Arc::new(Readers::searching(Search::new(&config.serve)));
    let mut recommender = Recommender::new(&config).unwrap();
    let mut publisher = Publisher::new(Arc::clone(&readers), View::default());
    let batch = MicroBatch { number: 1, first_seq: 1, events, ..MicroBatch::default() };
    publisher.observe(&recommender.learn(&batch).unwrap());
    publisher.publish(recommender.publish(), Version::after(&batch, 0));
    let status = Status::new([("learner".to_owned(), json!("biased-mf"))].into());
    let archive = Arc::new(Shelf::default());
    let state = AppState::from(Parts {
        published: readers,
        status: Arc::new(status),
        archive: Arc::clone(&archive) as Arc<dyn Archive>,
        log: Some(producer::open(&config).await.unwrap()),
        topic: "ratings".into(),
        share: Config::default().share(),
        decode: Arc::new(config.decode),
        kept: Arc::new(Kept::new(config.serve.cache_bytes)),
        config: Arc::new(config.serve),
        keys: Arc::default(),
    });
    Served { state, archive, dir }
}

const JSON: &str = "application/json";

async fn ask(state: &AppState, request: Request<Body>) -> (u16, HeaderMap, Value) {
    let response: Response<Body> = app(state.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 24).await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
    (parts.status.as_u16(), parts.headers, body)
}

fn request(method: &str, path: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind).body(body.into()).unwrap()
}

async fn send(state: &AppState, method: &str, path: &str, body: Value) -> (u16, Value) {
    let (status, _, body) = ask(state, request(method, path, JSON, body.to_string())).await;
    (status, body)
}

async fn get(state: &Served, path: &str) -> (u16, String, Value) {
    let (status, headers, body) = ask(state, Request::get(path).body(Body::empty()).unwrap()).await;
    (status, headers[header::CONTENT_TYPE].to_str().unwrap().to_owned(), body)
}

#[tokio::test]
async fn a_known_user_gets_unseen_items_with_titles() {
    let (status, _, body) = get(&state().await, "/recommend/a%2Fb?n=2").await;
    assert_eq!((status, &body["user"], &body["cold"]), (200, &json!("a/b"), &json!(false)));
    let items = body["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "items 1 and 2 are seen");
    assert_eq!((&items[0]["id"], &items[0]["title"]), (&json!("3"), &json!("Fargo (1996)")));
    assert_eq!(items[0]["genres"], json!(["Crime"]));
    assert!(items[0]["score"].as_f64().is_some());
    assert_eq!((&body["model"]["seq"], &body["model"]["batch"]), (&json!(4), &json!(1)));
    assert_eq!(body["model"]["published_at_ms"], 0);
}

#[tokio::test]
async fn an_unknown_user_gets_popular_items_and_no_error() {
    let (status, _, body) = get(&state().await, "/recommend/nobody").await;
    assert_eq!((status, &body["cold"]), (200, &json!(true)));
    assert_eq!(body["items"][0]["id"], "2", "two users chose it");
    assert_eq!(body["items"][0].get("title"), None, "the catalogue does not know it");
}

#[tokio::test]
async fn ids_may_hold_anything() {
    let state = state().await;
    let (status, _, body) = get(&state, "/recommend/%C3%A9%F0%9F%98%80").await;
    assert_eq!((status, &body["user"], &body["cold"]), (200, &json!("é😀"), &json!(false)));
    assert_eq!(get(&state, "/recommend/%FF").await.0, 400);
}

#[tokio::test]
async fn a_bad_n_is_a_problem_that_says_what_is_allowed() {
    for n in ["0", "-1", "1e9", "1001", "ten", ""] {
        let (status, kind, body) = get(&state().await, &format!("/recommend/c?n={n}")).await;
        assert_eq!((status, kind.as_str()), (400, "application/problem+json"), "{n}");
        assert_eq!((&body["code"], &body["status"]), (&json!("bad_n"), &json!(400)));
        assert_eq!(body["detail"], format!("n is {n:?}; a whole number from 1 to 1000 is allowed"));
    }
}

fn ids(body: &Value) -> Vec<&str> {
    body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_request_chooses_which_items_may_be_in_the_answer() {
    let state = state().await;
    for (asked, expected) in [
        ("a%2Fb?include_seen=true&exclude=3,nothing", &["2", "1"][..]),
        ("a%2Fb?include_seen=true&candidates=1", &["1"]),
        ("a%2Fb?candidates=1", &[]),
        ("a%2Fb?exclude=3", &[]),
        ("a%2Fb?candidates=", &[]),
        ("a%2Fb?offset=1", &[]),
        ("nobody?exclude=2", &["1", "3"]),
        ("nobody?n=1&offset=0", &["2"]),
        ("nobody?n=1&offset=1", &["1"]),
        ("nobody?n=1&offset=4294967295", &[]),
    ] {
        let (status, _, body) = get(&state, &format!("/recommend/{asked}")).await;
        let mut found = ids(&body);
        // How the model orders what it has seen is the learners' tests' matter.
        let mut expected = expected.to_vec();
        if asked.contains("include_seen") {
            found.sort_unstable();
            expected.sort_unstable();
        }
        assert_eq!((status, found), (200, expected), "{asked}");
    }
}

#[tokio::test]
async fn a_parameter_that_is_wrong_is_named_with_what_is_allowed() {
    for (asked, code, detail) in [
        (
            "exlude=1",
            "unknown_parameter",
            "there is no parameter \"exlude\"; allowed are n, offset, exclude, candidates, filter, \
            format, include_seen, diversity, explain, at, min_seq, token",
        ),
        ("n=1&n=2", "repeated_parameter", "n is given twice; give it once (several ids are parted by commas)"),
        ("offset=-1", "bad_offset", "offset is \"-1\"; a whole number from 0 to 4294967295 is allowed"),
        ("include_seen=yes", "bad_include_seen", "include_seen is \"yes\"; true or false is allowed"),
    ] {
        let (status, kind, body) = get(&state().await, &format!("/recommend/c?{asked}")).await;
        assert_eq!((status, kind.as_str()), (400, "application/problem+json"), "{asked}");
        assert_eq!((&body["code"], &body["detail"]), (&json!(code), &json!(detail)));
    }
}

#[tokio::test]
async fn readiness_follows_the_engine_and_liveness_does_not() {
    let state = state().await;
    let (status, _, body) = get(&state, "/readyz").await;
    assert_eq!((status, &body["phase"]), (503, &json!("starting")));
    state.status.set_phase(Phase::Running);
    state.status.set_durable_seq(3);
    let (status, _, body) = get(&state, "/readyz").await;
    assert_eq!((status, &body["seq"], &body["durable_seq"]), (200, &json!(4), &json!(3)));
    state.status.set_phase(Phase::Failed);
    assert_eq!(get(&state, "/readyz").await.0, 503);
    assert_eq!(get(&state, "/livez").await.0, 200);
}

#[tokio::test]
async fn trouble_is_told_and_leaves_it_ready_to_answer() {
    let state = state().await;
    state.status.set_phase(Phase::Running);
    assert_eq!(get(&state, "/readyz").await.2["learning"], true);
    state.status.begin_trouble(Part::Store, "no space left".into());
    let (status, _, body) = get(&state, "/readyz").await;
    assert_eq!((status, &body["ready"], &body["learning"]), (200, &json!(true), &json!(false)));
    let trouble = &body["troubles"][0];
    assert_eq!((&trouble["part"], &trouble["reason"]), (&json!("store"), &json!("no space left")));
    assert!(trouble["since_ms"].as_i64() > Some(0), "{trouble}");
    assert_eq!(get(&state, "/recommend/a%2Fb").await.0, 200);
    state.status.end_trouble(Part::Store);
    let (_, _, body) = get(&state, "/readyz").await;
    assert_eq!((&body["learning"], &body["troubles"]), (&json!(true), &json!([])));
}

/// A state in which every metric has a sample.
async fn state_with_everything() -> Served {
    let state = state().await;
    let status = &state.status;
    status.set_phase(Phase::Running);
    status.set_durable_seq(3);
    status.count_rejects([(Reason::InvalidJson, 2)]);
    status.begin_trouble(Part::Log, "away".into());
    let lag = Lag {
        topic: "clicks\"\\".into(),
        partition: 3,
        position: 8,
        durable: 7,
        end: 12,
        messages: 5,
        seconds: Some(1.5),
        state: LagState::Stalled,
    };
    status.lag.store(Arc::new(vec![lag]));
    let (sha256, created_at_ms) = (String::new(), crate::telemetry::now_ms() - 60_000);
    let snapshot = SnapshotSummary { seq: 3, created_at_ms, sha256, users: 1, items: 1, mae: 0.0, rmse: 0.0 };
    status.snapshots.store(Arc::new(vec![snapshot]));
    let heard = Some(created_at_ms);
    let following = Following { has_model: true, newest_seq: 9, heard_at_ms: heard, current_at_ms: heard };
    status.following.store(Some(Arc::new(following)));
    let standing = crate::publish::Standing { model: Some(2), ..Default::default() };
    status.monitor.ranked(Some(standing), Duration::ZERO);
    status.trainers.store(Arc::new(vec![Trainer { shard: 1, current_at_ms: heard }]));
    status.resident.set_budget(1_000);
    status.resident.set(2, 900);
    state
}

#[tokio::test]
async fn metrics_are_those_of_the_status_in_prometheus_text() {
    let state = state_with_everything().await;
    get(&state, "/model").await;
    get(&state, "/users/196").await;
    get(&state, "/no/such/page").await;
    let (status, kind, body) = get(&state, "/metrics").await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let text = body.as_str().unwrap();
    let partition = "topic=\"clicks\\\"\\\\\",partition=\"3\"";
    for line in [
        "freshet_events_learned_total 4",
        "freshet_events_durable_total 3",
        "freshet_dead_letters_total{reason=\"invalid_json\"} 2",
        "freshet_failures_total{part=\"log\"} 1",
        "freshet_trouble{part=\"log\"} 1.0",
        "freshet_trouble{part=\"store\"} 0.0",
        "freshet_phase{phase=\"running\"} 1.0",
        "freshet_phase{phase=\"failed\"} 0.0",
        &format!("freshet_lag_messages{{{partition}}} 5.0"),
        &format!("freshet_lag_seconds{{{partition}}} 1.5"),
        &format!("freshet_lag_state{{{partition},state=\"stalled\"}} 1.0"),
        &format!("freshet_lag_state{{{partition},state=\"ok\"}} 0.0"),
        "freshet_model_users 3.0",
        "freshet_model_items 3.0",
        "freshet_snapshots 1.0",
        "freshet_events_scored_total 4",
        "freshet_http_requests_total{route=\"/model\",method=\"GET\",status=\"200\"} 1",
        "freshet_http_request_seconds_count{route=\"/model\",method=\"GET\"} 1",
        "freshet_http_requests_total{route=\"/users/{user}\",method=\"GET\",status=\"404\"} 1",
        "freshet_http_requests_total{route=\"other\",method=\"GET\",status=\"404\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
    }
    let age = text.lines().find_map(|line| line.strip_prefix("freshet_snapshot_age_seconds ")).unwrap();
    assert!((60.0..120.0).contains(&age.parse::<f64>().unwrap()), "{age}");
}

#[tokio::test]
async fn every_metric_is_described_before_its_samples_and_no_name_is_there_twice() {
    for (state, whole) in [(state().await, false), (state_with_everything().await, true)] {
        get(&state, "/model").await;
        let text = get(&state, "/metrics").await.2.as_str().unwrap().to_owned();
        let (mut helped, mut typed, mut kinds) = (vec![], vec![], vec![]);
        let (mut samples, mut filled) = (vec![], BTreeSet::new());
        for line in text.lines() {
            if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                let ours = name.starts_with("freshet_") || name.starts_with("process_");
                assert!(ours && help.len() > 10, "{line}");
                helped.push(name);
            } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                assert_eq!(helped.last(), Some(&name), "{line}");
                typed.push(name);
                kinds.push(kind);
            } else {
                let (sample, value) = line.rsplit_once(' ').unwrap();
                let name = sample.split('{').next().unwrap();
                assert!(value.parse::<f64>().unwrap().is_finite(), "{line}");
                let family = typed.last().copied().unwrap_or_default();
                let part = name.strip_prefix(family);
                let parts = if kinds.last() == Some(&"histogram") { &["_bucket", "_sum", "_count"][..] } else { &[""] };
                assert!(part.is_some_and(|part| parts.contains(&part)), "{line} is not under its family");
                samples.push(sample);
                filled.insert(family);
            }
        }
        assert_eq!(helped, typed);
        let names = BTreeSet::from_iter(&typed).len();
        assert_eq!(names, typed.len(), "a name is there twice: {typed:?}");
        assert_eq!(BTreeSet::from_iter(&samples).len(), samples.len(), "a sample is there twice: {samples:?}");
        assert!(!whole || filled.len() == names, "{filled:?} of {typed:?}");
    }
}

#[tokio::test]
async fn the_model_says_what_it_is_and_how_good() {
    let state = state().await;
    state.status.count_rejects([(Reason::InvalidJson, 2)]);
    let (status, _, body) = get(&state, "/model").await;
    assert_eq!((status, &body["users"], &body["items"]), (200, &json!(3), &json!(3)));
    assert_eq!((&body["metrics"]["events"], &body["rejects"]["invalid_json"]), (&json!(4), &json!(2)));
    assert_eq!(body["params"]["learner"], "biased-mf");
    assert_eq!(get(&state, "/snapshots").await.2, json!({ "snapshots": [] }));
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_too() {
    let (status, kind, body) = get(&state().await, "/recomend/1").await;
    assert_eq!((status, kind.as_str(), &body["code"]), (404, "application/problem+json", &json!("not_found")));
    let request = Request::post("/model").body(Body::empty()).unwrap();
    let response = app(state().await.state.clone()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
}

#[tokio::test]
async fn a_port_in_use_is_named_with_what_to_do() {
    let mut config = Config::default().serve;
    config.port = 0;
    let taken = bind(&config).await.unwrap();
    config.port = taken.local_addr().unwrap().port();
    let error = bind(&config).await.unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{}", config.port)) && error.contains("serve.port"), "{error}");
}

mod asking;
mod monitoring;
mod searching;
