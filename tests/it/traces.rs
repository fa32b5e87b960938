//! From the trace of a record to the batch that learned it, and what the log of the process holds of all that.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::program::{Ended, Engine, Freshet};
use crate::support;

const PRODUCED: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const POSTED: &str = "0af7651916cd43dd8448eb211c80319c";

fn header(trace: &str) -> String {
    format!("00-{trace}-00f067aa0ba902b7-01")
}

fn on_kafka() -> Freshet {
    Freshet::new(&[
        "broker.kind=kafka".to_owned(),
        format!("broker.servers={}", support::kafka()),
        format!("broker.topic={}", support::topic("traces", 1)),
        format!("broker.group={}", support::unique("traces")),
        "log.format=json".to_owned(),
        "log.level=info,freshet::trace=debug".to_owned(),
    ])
}

/// Posts an event within a trace.
fn post(engine: &Engine, trace: &str) -> Value {
    let event = json!({ "user": "u", "item": "posted", "rating": 4 }).to_string();
    let request = ureq::post(format!("http://{}/events", engine.address()));
    let request = request.header("traceparent", header(trace)).header("content-type", "application/json");
    let text = request.send(&event).unwrap().body_mut().read_to_string().unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Lines of the log by what they say, each one a JSON object.
fn lines(ended: &Ended) -> Vec<Value> {
    ended
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect()
}

/// Two events of a trace each, and one without: learned, and the end of the engine.
fn traced(freshet: &mut Freshet) -> Ended {
    freshet.variable("TRACEPARENT", &header(PRODUCED));
    freshet.fed(&["produce"], "{\"user\":\"u\",\"item\":\"produced\",\"rating\":4}\n").succeeded();
    let mut engine = freshet.start();
    engine.learned(1);
    post(&engine, POSTED);
    engine.send("POST", "/events", "application/json", r#"{"user":"u","item":"other","rating":4}"#);
    engine.learned(3);
    engine.stop().succeeded()
}

#[test]
fn a_trace_leads_from_the_header_of_a_record_to_the_batch_that_learned_it() {
    let mut freshet = on_kafka();
    let ended = traced(&mut freshet);
    let lines = lines(&ended);
    let learned: BTreeMap<&str, (u64, u64)> = lines
        .iter()
        .filter(|line| line["target"] == "freshet::trace" && line["message"] == "learned an event of a trace")
        .map(|line| {
            (line["trace_id"].as_str().unwrap(), (line["seq"].as_u64().unwrap(), line["batch"].as_u64().unwrap()))
        })
        .collect();
    assert_eq!(learned.keys().copied().collect::<Vec<_>>(), [POSTED, PRODUCED], "{}", ended.stderr);
    for (trace, item) in [(PRODUCED, "produced"), (POSTED, "posted")] {
        let (seq, batch) = learned[trace];
        let stored: u64 = freshet.ask::<i64>(&format!("SELECT seq FROM events WHERE item = '{item}'")) as u64;
        assert_eq!(seq, stored, "{trace}");
        assert!(batch > 0);
    }
    let posted = lines.iter().find(|line| line["message"] == "events of a trace are on the log").unwrap();
    assert_eq!((&posted["trace_id"], &posted["token"]), (&json!(POSTED), &json!("0:2")));
}

#[test]
fn many_events_are_few_lines_of_the_log_and_each_of_them_is_json() {
    let freshet = Freshet::new(&["log.format=json", "gather.size=1"]);
    let mut engine = freshet.start();
    engine.learns();
    let events = (0..300).map(|n| json!({ "user": n % 40, "item": n % 30, "rating": 4 }).to_string() + "\n");
    let (status, _) = engine.send("POST", "/events", "application/x-ndjson", &events.collect::<String>());
    assert_eq!(status, 200);
    engine.learned(300);
    let mut metrics = ureq::get(format!("http://{}/metrics", engine.address())).call().unwrap();
    let metrics = metrics.body_mut().read_to_string().unwrap();
    for line in [
        "freshet_batch_events_sum 300.0",
        "freshet_batch_events_count 300",
        "freshet_stage_seconds_count{stage=\"learn\"} 300",
        "freshet_freshness_seconds_count 300",
        "freshet_http_requests_total{route=\"/events\",method=\"POST\",status=\"200\"} 1",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let ended = engine.stop().succeeded();
    let lines = lines(&ended);
    assert!(lines.len() < 15, "{}", ended.stderr);
    for line in &lines {
        assert!(["INFO", "WARN"].contains(&line["level"].as_str().unwrap()), "{line}");
        assert!(line["timestamp"].is_string() && line["message"].is_string() && line["target"].is_string(), "{line}");
    }
}

#[test]
#[cfg(not(feature = "otlp"))]
fn a_build_without_the_export_says_how_to_get_one_with_it() {
    let mut freshet = Freshet::new::<&str>(&[]);
    freshet.set("log.otlp_endpoint=http://localhost:4318");
    freshet.run(&["config", "check"]).exited(2).told(&["log.otlp_endpoint", "--features otlp"]);
    let mut freshet = Freshet::new::<&str>(&[]);
    freshet.variable("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
    freshet.run(&["config", "check"]).succeeded().told(&["OTEL_EXPORTER_OTLP_ENDPOINT is set", "--features otlp"]);
}

#[cfg(feature = "otlp")]
mod export {
    use std::future::{Ready, ready};
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::extract::State;
    use axum::http::HeaderMap;
    use axum::routing::post;
    use tokio::net::TcpListener;
    use tokio::runtime::Runtime;

    use super::*;

    type Received = Arc<Mutex<Vec<(String, Bytes)>>>;

    /// A collector that keeps what it is sent.
    struct Collector {
        endpoint: String,
        received: Received,
        _runtime: Runtime,
    }

    impl Collector {
        fn start() -> Self {
            let runtime = Runtime::new().unwrap();
            let received = Received::default();
            let app = Router::new().route("/v1/traces", post(Self::take)).with_state(Arc::clone(&received));
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            let endpoint = format!("http://{}", listener.local_addr().unwrap());
            runtime.spawn(async { axum::serve(listener, app).await });
            Self { endpoint, received, _runtime: runtime }
        }

        fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) -> Ready<()> {
            let kind = headers["content-type"].to_str().unwrap().to_owned();
            received.lock().unwrap().push((kind, body));
            ready(())
        }

        /// Whether what came holds these bytes.
        fn has(&self, bytes: &[u8]) -> bool {
            let received = self.received.lock().unwrap();
            received.iter().any(|(_, body)| body.windows(bytes.len()).any(|window| window == bytes))
        }
    }

    fn assert_exported(collector: &Collector) {
        assert!(collector.received.lock().unwrap().iter().all(|(kind, _)| kind == "application/x-protobuf"));
        for name in ["service.name", "freshet", "batch", "first_seq", "learn", "publish", "persist", "post_events"] {
            assert!(collector.has(name.as_bytes()), "no {name} was exported");
        }
        for trace in [PRODUCED, POSTED] {
            let id = u128::from_str_radix(trace, 16).unwrap().to_be_bytes();
            assert!(collector.has(&id), "nothing is in trace {trace}, or linked to it");
        }
    }

    #[test]
    fn spans_of_the_whole_path_are_exported_within_the_traces_that_came_in() {
        let collector = Collector::start();
        let mut freshet = on_kafka();
        freshet.set(&format!("log.otlp_endpoint={}", collector.endpoint));
        traced(&mut freshet);
        assert_exported(&collector);
    }

    #[test]
    fn the_variable_of_the_standard_is_heeded() {
        let collector = Collector::start();
        let mut freshet = on_kafka();
        freshet.variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint);
        traced(&mut freshet);
        assert_exported(&collector);
    }

    #[test]
    fn a_collector_that_is_away_is_told_and_holds_nothing_back() {
        let mut freshet = on_kafka();
        freshet.set("log.otlp_endpoint=http://127.0.0.1:1");
        let ended = traced(&mut freshet);
        let told = ended.stderr.matches("the collector takes no spans").count();
        assert!((1..=2).contains(&told), "{}", ended.stderr);
    }
}
