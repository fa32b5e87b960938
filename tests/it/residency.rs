//! A bound on what users' rows take in memory: the same model and the same answers as without, whoever is idle, and whatever
//! is killed meanwhile.

use serde_json::Value;

use crate::program::{Engine, Freshet};

const EVENTS: u64 = 6_000;
const SETTINGS: [&str; 2] = ["gather.size=64", "store.snapshot_every=2500"];

/// The learners, and a bound that a quarter of the users or fewer are within.
const KINDS: [(&[&str], &str); 3] = [
    (&[], "engine.user_bytes=150000"),
    (&["learn.rating=biased-mf", "learn.ranking=item-knn"], "engine.user_bytes=30000"),
    (&["learn.rating=biases", "learn.ranking=blend"], "engine.user_bytes=60000"),
];

/// A figure of `/metrics`.
pub(crate) fn figure(engine: &Engine, name: &str) -> f64 {
    let mut response = ureq::get(format!("http://{}/metrics", engine.address())).call().unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
}

/// What is told of some users: lists, estimates, and what they have seen. No stamp of the model is in it.
fn answers(engine: &Engine) -> Vec<Value> {
    let of = |path: String, part: &str| engine.get(&path).1[part].clone();
    let users = (1..40).map(|user| user.to_string());
    let mut told: Vec<Value> = users
        .flat_map(|user| {
            [
                of(format!("/recommend/{user}?n=20"), "items"),
                of(format!("/estimate/{user}/1,2,3,50"), "estimates"),
                of(format!("/users/{user}"), "items"),
            ]
        })
        .collect();
    let asked = [
        ("/recommend", r#"{"users": ["5", "11", "29"], "n": 20}"#, "items"),
        ("/recommend", r#"{"user": "17", "n": 20}"#, "items"),
        ("/estimate", r#"{"user": "33", "items": ["1", "2", "50"]}"#, "estimates"),
    ];
    told.extend(asked.map(|(path, body, part)| engine.send("POST", path, "application/json", body).1[part].clone()));
    told.push(of("/users?n=100".to_owned(), "users"));
    told
}

fn settings<'s>(learners: &[&'s str], more: &[&'s str]) -> Vec<&'s str> {
    [&SETTINGS, learners, more].concat()
}

/// Sends the first half of the events, the same ones each time.
fn replay_half(freshet: &Freshet) {
    freshet.must(&["replay", "sample", "--limit", &(EVENTS / 2).to_string()]);
}

#[test]
fn a_bound_on_memory_changes_neither_the_model_nor_an_answer() {
    for (learners, bound) in KINDS {
        let unbounded = Freshet::new(&settings(learners, &[]));
        replay_half(&unbounded);
        replay_half(&unbounded);
        let mut engine = unbounded.start();
        engine.learned(EVENTS);
        let expected = answers(&engine);
        assert!(expected.iter().all(|part| part.as_array().is_some()), "{expected:?}");
        engine.stop().succeeded();
        let hash = unbounded.newest_snapshot()["sha256"].clone();

        let bounded = Freshet::new(&settings(learners, &[bound]));
        replay_half(&bounded);
        let mut engine = bounded.start();
        engine.learned(EVENTS / 2);
        assert!(figure(&engine, "freshet_users_forgotten_total") > 0.0, "{learners:?}");
        // What it had in memory is gone, and all users are away when it starts.
        engine.kill();
        let mut engine = bounded.start();
        replay_half(&bounded);
        engine.learned(EVENTS);
        assert_eq!(answers(&engine), expected, "{learners:?}");
        assert!(figure(&engine, "freshet_users_recalled_total") > 0.0, "{learners:?}");
        let known = figure(&engine, "freshet_model_users");
        assert!(figure(&engine, "freshet_resident_users") < known || learners.is_empty(), "{learners:?}");
        engine.stop().succeeded();
        assert_eq!(bounded.newest_snapshot()["sha256"], hash, "{learners:?}");
        assert!(bounded.must(&["verify"]).contains("all agrees"), "{learners:?}");
    }
}
