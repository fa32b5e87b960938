//! Events over HTTP on real servers: what was acknowledged is learned, and who gives the token reads it.

use freshet::capture::Item;
use freshet::config::Config;
use freshet::store;
use serde_json::{Value, json};

use crate::end_to_end::Servers;
use crate::program::{Engine, Freshet};

/// Rounds of a visitor's clicks.
const CLICKS: usize = 5;

fn ids(answer: &Value) -> Vec<String> {
    let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// Many users' events in one request, so that there is something to recommend.
fn begin(engine: &Engine) -> String {
    let events = (0..400).map(|n| format!("{}\n", json!({ "user": n % 40, "item": n * 7 % 30, "rating": 4 + n % 2 })));
    let (status, answer) = engine.send("POST", "/events", "application/x-ndjson", &events.collect::<String>());
    assert_eq!((status, &answer["accepted"], &answer["errors"]), (200, &json!(400), &json!([])), "{answer}");
    answer["token"].as_str().unwrap().to_owned()
}

/// A new visitor clicks the first item of the list again and again: it is gone from the very next list.
fn read_your_writes(engine: &mut Engine) {
    engine.learns();
    let token = begin(engine);
    let mut list = ids(&engine.json(&format!("/recommend/visitor?n=30&token={token}")));
    assert_eq!(list.len(), 30, "all of the first request is learned");
    for _ in 0..CLICKS {
        let clicked = list[0].clone();
        let event = json!({ "user": "visitor", "item": clicked, "rating": 5 }).to_string();
        let (status, answer) = engine.send("POST", "/events", "text/plain", &event);
        assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
        let token = answer["token"].as_str().unwrap();
        let answer = engine.json(&format!("/recommend/visitor?n=30&token={token}"));
        assert_eq!(answer["cold"], false, "{answer}");
        let after = ids(&answer);
        assert!(!after.contains(&clicked), "{clicked} was clicked and is still in {after:?}");
        assert_eq!(after.len(), list.len() - 1);
        list = after;
    }
    let seq = 400 + CLICKS as u64;
    engine.learned(seq);
    assert_eq!(engine.json("/model")["metrics"]["events"], seq);
}

#[test]
fn a_visitor_reads_what_they_wrote_on_the_embedded_log() {
    for settings in [&["gather.size=1"][..], &["broker.partitions=3"]] {
        let freshet = Freshet::new(settings);
        let mut engine = freshet.start();
        read_your_writes(&mut engine);
        engine.stop().succeeded();
    }
}

#[test]
fn a_visitor_reads_what_they_wrote_on_kafka() {
    for (partitions, setting) in [(1, "gather.size=1"), (3, "gather.size=256")] {
        let mut servers = Servers::new(partitions);
        servers.freshet.set(setting);
        let mut engine = servers.freshet.start();
        read_your_writes(&mut engine);
        engine.stop().succeeded();
        servers.drop_database();
    }
}

#[test]
fn an_event_with_the_id_of_another_is_learned_once() {
    let freshet = Freshet::new::<&str>(&[]);
    let mut engine = freshet.start();
    let event = json!({ "user": "u", "item": "i", "rating": 4, "id": "once" }).to_string();
    for _ in 0..2 {
        assert_eq!(engine.send("POST", "/events", "application/json", &event).0, 200);
    }
    engine.wait("/model", "the second is a dead letter", |model| model["rejects"]["duplicate_id"] == 1);
    engine.learned(1);
    engine.stop().succeeded();
}

#[test]
fn what_is_hidden_stays_so_in_every_process_and_over_a_data_set() {
    let freshet = Freshet::new::<&str>(&[]);
    let mut engine = freshet.start();
    engine.wait("/readyz", "it learns", |ready| ready["learning"] == true);
    let token = begin(&engine);
    let asked = format!("/recommend/visitor?n=30&token={token}");
    let list = ids(&engine.json(&asked));
    let (mine, others) = (&list[0], &list[1]);
    assert_eq!(engine.send("DELETE", &format!("/items/{mine}"), "application/json", "").0, 204);
    assert!(!ids(&engine.json(&asked)).contains(mine));

    // Another process on the same store.
    let mut config = Config::default().store;
    config.data_dir = freshet.path("freshet-data");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(store::open(&config)).unwrap();
    let item = |id: &String| Item { id: id.clone(), title: format!("Title {id}"), ..Item::default() };
    runtime.block_on(store.set_item(&Item { hidden: true, ..item(others) })).unwrap();
    runtime.block_on(store.put_catalog(&[item(mine), item(others), item(&list[2])], &[])).unwrap();
    let answer = engine.wait(&asked, "the others' change is seen", |answer| answer["items"][0].get("title").is_some());
    assert_eq!(ids(&answer), list[2..]);
    engine.stop().succeeded();

    let mut engine = freshet.start();
    let answer =
        engine.wait(&asked, "it has recovered", |answer| answer["items"].as_array().is_some_and(|i| i.len() == 28));
    assert_eq!(ids(&answer), list[2..]);
    engine.stop().succeeded();
}
