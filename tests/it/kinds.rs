//! Several topics at once, each of its kind: ratings and listens are learned, items and users are told live, and nothing of
//! either is lost or done twice when the engine is killed.

use freshet::capture::producer::{self, Record};
use freshet::config::{BrokerKind, Config};
use serde_json::{Value, json};

use crate::dead_letters::embedded;
use crate::end_to_end::Servers;
use crate::program::{Engine, Freshet};
use crate::support;

/// Listeners, each of whom listens to so many artists.
const LISTENERS: u64 = 40;
const EACH: u64 = 5;

/// Topics under names of their own.
struct Topics {
    config: Config,
    ratings: String,
    plays: String,
    lines: String,
    films: String,
    people: String,
}

impl Topics {
    fn new(config: Config, name: impl Fn(&str) -> String) -> Self {
        let ratings = config.broker.topic.clone();
        let [plays, lines, films, people] = ["plays", "lines", "films", "people"].map(name);
        Self { config, ratings, plays, lines, films, people }
    }

    fn settings(&self) -> [String; 4] {
        [
            format!("topics.{}=listens", self.plays),
            format!(r#"topics.{}={{ kind = "listens", decoder = "csv", weight = 0.5 }}"#, self.lines),
            format!("topics.{}=items", self.films),
            format!("topics.{}=users", self.people),
        ]
    }

    fn send(&self, topic: &str, payloads: impl IntoIterator<Item = String>) {
        let mut config = self.config.clone();
        topic.clone_into(&mut config.broker.topic);
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let producer = producer::open(&config).await.unwrap();
            for payload in payloads {
                let record = Record { key: b"k".to_vec(), payload: payload.into_bytes(), ..Record::default() };
                producer.send(record).await.unwrap();
            }
            assert_eq!(producer.flush().await.unwrap().failed, 0);
        });
    }

    fn send_events(&self) {
        let listens = |separator: char| {
            (0..LISTENERS).flat_map(move |user| {
                (0..EACH).map(move |n| {
                    let artist = (user * 3 + n * 7) % 30;
                    if separator == ',' {
                        format!("{user},{artist},{}", n + 1)
                    } else {
                        json!({"user": user, "item": artist}).to_string()
                    }
                })
            })
        };
        self.send(&self.lines, listens(','));
        self.send(&self.plays, listens(' '));
        self.send(
            &self.ratings,
            (0..LISTENERS).map(|user| json!({"user": user, "item": "rated", "rating": 5}).to_string()),
        );
        self.send(
            &self.films,
            (0..30).map(|id| json!({"id": id, "title": format!("Artist {id}"), "genres": ["rock"]}).to_string()),
        );
        self.send(&self.people, [json!({"id": 3, "age": 49, "occupation": "writer"}).to_string()]);
    }
}

const LEARNED: u64 = 2 * LISTENERS * EACH + LISTENERS;

fn rejects(engine: &mut Engine, wanted: &Value) {
    engine.wait("/model", "rejects are counted", |model| model["rejects"] == *wanted);
}

fn follow(freshet: &Freshet, topics: &Topics) {
    topics.send_events();
    let mut engine = freshet.start();
    engine.learned(LEARNED);
    let answer = engine.wait("/recommend/3?n=5", "every item has its title", |answer| {
        let items = answer["items"].as_array().map_or(&[][..], |items| &items[..]);
        items.len() == 5
            && items.iter().all(|item| {
                item["id"] == "rated" || item["title"].as_str().is_some_and(|title| title.starts_with("Artist "))
            })
    });
    assert_eq!(answer["cold"], false, "{answer}");
    let user = engine.wait("/users/3", "the profile is there", |user| user["occupation"] == "writer");
    assert_eq!(user["age"], 49, "{user}");

    // A title changes while it is served, and what an operator has said stays.
    let (status, _) = engine.send("PUT", "/items/7", "application/json", r#"{"title":"Ours","labels":["vinyl"]}"#);
    assert_eq!(status, 200);
    topics.send(&topics.films, [json!({"id": "7", "title": "Renamed", "genres": ["jazz"]}).to_string()]);
    let item = engine.wait("/items/7", "the new title is served", |item| item["title"] == "Renamed");
    assert_eq!((&item["labels"], &item["genres"]), (&json!(["vinyl"]), &json!(["jazz"])), "{item}");
    engine.kill();

    // What came while it was away, good and bad; records of each topic are filed apart with their topic.
    topics.send(&topics.films, [json!({"id": "8", "title": "While away"}).to_string(), "{".to_owned()]);
    topics.send(&topics.plays, [json!({"user": 3, "item": 1, "rating": 5}).to_string()]);
    topics.send(&topics.lines, ["3,1,2".to_owned(), "3".to_owned()]);
    let mut engine = freshet.start();
    engine.learned(LEARNED + 1);
    rejects(&mut engine, &json!({"invalid_json": 1, "invalid_field": 1, "invalid_csv": 1}));
    engine.wait("/items/8", "the new title is served", |item| item["title"] == "While away");
    assert_eq!(engine.json("/items/7")["title"], "Renamed");
    let lags = engine.json("/readyz");
    assert_eq!(lags["lag"], 0, "{lags}");
    engine.stop().succeeded();
    let found: Value = serde_json::from_str(&freshet.must(&["verify", "--against-log", "--json"])).unwrap();
    assert_eq!((&found["agrees"], &found["events"]), (&json!(true), &json!(LEARNED + 1)), "{found}");
    let letters: Value = serde_json::from_str(&freshet.must(&["dead-letters", "list", "--json"])).unwrap();
    let of: Vec<_> =
        letters["dead_letters"].as_array().unwrap().iter().map(|letter| letter["topic"].as_str().unwrap()).collect();
    let mut expected = [&*topics.films, &topics.plays, &topics.lines];
    expected.sort_unstable();
    assert_eq!(of, expected);
}

#[test]
fn each_topic_of_the_embedded_log_is_its_kind() {
    let mut freshet = Freshet::new::<&str>(&[]);
    let topics = Topics::new(embedded(&freshet), str::to_owned);
    topics.settings().iter().for_each(|setting| freshet.set(setting));
    follow(&freshet, &topics);
    // Half a listen is what the weight makes of one.
    assert!((freshet.ask::<f64>("SELECT min(count) FROM events WHERE topic = 'lines'") - 0.5).abs() < 1e-9);
    assert_eq!(freshet.ask::<i64>("SELECT count(*) FROM events WHERE topic = 'ratings'"), LISTENERS as i64);
}

#[test]
fn each_topic_of_kafka_is_its_kind() {
    let mut servers = Servers::new(2);
    let mut config = Config::default();
    config.broker.kind = BrokerKind::Kafka;
    support::kafka().clone_into(&mut config.broker.servers);
    config.broker.topic.clone_from(&servers.topic);
    let topics = Topics::new(config, |name| support::topic(name, 2));
    topics.settings().iter().for_each(|setting| servers.freshet.set(setting));
    follow(&servers.freshet, &topics);
    servers.drop_database();
}
