//! LastFM from end to end: listens through Kafka in sliding windows, the implicit model, answers with the names of artists,
//! and the same model again from what MongoDB holds.

use std::fmt::Write as _;
use std::path::Path;

use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

use crate::end_to_end::Servers;
use crate::program::{Freshet, known_set};

/// Listens that are replayed.
const LISTENS: u64 = 3_000;

/// Files in the layout of the original, of made-up listeners.
fn write_lastfm(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let mut artists = "id\tname\turl\tpictureURL\n".to_owned();
    for artist in 1..=200 {
        let _ = writeln!(artists, "{artist}\tMade-up Artist {artist}\thttp://example.org/{artist}\t");
    }
    let mut plays = "userID\tartistID\tweight\r\n".to_owned();
    for n in 0..LISTENS {
        let user = 2 + n % 100;
        let _ = write!(plays, "{user}\t{}\t{}\r\n", 1 + (user % 7 * 20 + n / 100 * 3) % 200, 1 + n * 37 % 5_000);
    }
    std::fs::write(dir.join("artists.dat"), artists).unwrap();
    std::fs::write(dir.join("user_artists.dat"), plays).unwrap();
}

#[test]
fn sliding_windows_over_lastfm_are_learned_answered_from_and_learned_again() {
    let mut servers = Servers::new(1);
    let sliding = ["gather.mode=sliding", "gather.length=300ms", "gather.slide=30ms", "learn.rating=biased-mf"];
    for setting in sliding {
        servers.freshet.set(setting);
    }
    let made_up = servers.freshet.path("lastfm");
    write_lastfm(&made_up);
    let from = known_set("lastfm").unwrap_or(made_up);
    let limit = LISTENS.to_string();
    let arguments = [
        "replay",
        "lastfm",
        "--from",
        from.to_str().unwrap(),
        "--limit",
        &limit,
        "--rate",
        "2000/s",
        "--preset",
        "lastfm",
    ];
    let replaying = servers.freshet.spawn(&arguments);
    let mut engine = servers.freshet.start_with(&["--preset", "lastfm"]);
    replaying.wait().succeeded();
    engine.learned(LISTENS);

    let answer = engine.json("/recommend/2?n=5");
    let items = answer["items"].as_array().unwrap();
    assert!(items.len() == 5 && items.iter().all(|item| item["title"].as_str().is_some_and(|name| !name.is_empty())));
    let model = engine.json("/model");
    assert_eq!((&model["metrics"]["events"], &model["rejects"]), (&json!(LISTENS), &json!({})), "{model}");
    engine.stop().succeeded();

    let events = servers.database.collection::<Document>("events");
    let count = |filter| servers.runtime.block_on(async { events.count_documents(filter).await }).unwrap();
    assert_eq!(count(doc! {"count": {"$gt": 0}, "rating": {"$exists": false}}), LISTENS);
    assert!(count(doc! {"rehearse_from": {"$gt": 0}}) > 0, "no window has rehearsed anything");
    let found: Value = serde_json::from_str(&servers.freshet.must(&["verify", "--against-kafka", "--json"])).unwrap();
    assert_eq!((&found["agrees"], &found["events"]), (&json!(true), &json!(LISTENS)), "{found}");
    servers.drop_database();
}

#[test]
fn the_demo_of_lastfm_answers_with_the_names_of_artists() {
    let freshet = Freshet::new::<&str>(&[]);
    write_lastfm(&freshet.path("lastfm"));
    let printed = freshet.must(&["demo", "lastfm", "--exit", "--from", "lastfm"]);
    for part in
        ["lastfm", "3,000", "user 2 likes Made-up Artist", "for user 2", "of counts as ratings", "/recommend/2?n=10"]
    {
        assert!(printed.contains(part), "{part} is not in {printed}");
    }
    let list = printed.split("for user 2").nth(1).unwrap();
    assert!(list.matches("Made-up Artist").count() == 5 && !list.contains("genres"), "{printed}");
}
