use std::ops::ControlFlow;

use super::*;
use crate::capture::producer::{self, Record};
use crate::consume::admin::{Admin, Change};

fn config(dir: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.store.data_dir = dir.to_owned();
    config
}

fn wish(topics: &[&str], start: Start, until_end: bool) -> Wish {
    let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
    Wish { topics, start, partition: None, group: None, until_end }
}

/// Payloads are numbers; each is a second younger than the one before.
async fn produce(config: &Config, topic: &str, numbers: std::ops::Range<i64>) {
    let mut config = config.clone();
    topic.clone_into(&mut config.broker.topic);
    let producer = producer::open(&config).await.unwrap();
    for number in numbers {
        let (key, payload) = (Vec::new(), number.to_string().into_bytes());
        producer.send(Record { key, payload, timestamp_ms: Some(number * 1_000), trace: None }).await.unwrap();
    }
    assert_eq!(producer.flush().await.unwrap().failed, 0);
}

/// `topic:payload` of all that comes until there is nothing more.
fn all(watcher: &mut EmbeddedWatcher) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let polled = watcher.poll(Duration::ZERO, &mut |record| {
            let payload = String::from_utf8_lossy(record.payload.unwrap()).into_owned();
            found.push(format!("{}:{payload}", record.topic));
            ControlFlow::Continue(())
        });
        if polled.unwrap() != Polled::Records {
            return found;
        }
    }
}

fn read(config: &Config, wish: Wish) -> Vec<String> {
    all(&mut EmbeddedWatcher::open(config, wish).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_start_is_where_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    produce(&config, "numbers", 0..5_000).await;
    produce(&config, "others", 0..5).await;
    let count = |start| read(&config, wish(&["numbers"], start, true)).len();
    assert_eq!(count(Start::Beginning), 5_000);
    assert_eq!(count(Start::Latest), 0);
    assert_eq!(count(Start::Offset(4_990)), 10);
    assert_eq!(count(Start::Offset(9_999)), 0);
    assert_eq!(count(Start::Tail(7)), 7);
    assert_eq!(count(Start::Tail(9_999)), 5_000);
    assert_eq!(count(Start::Time(4_998_001)), 1);
    assert_eq!(count(Start::Time(i64::MAX)), 0);
    assert_eq!(read(&config, wish(&["numbers"], Start::Time(4_998_000), true)), ["numbers:4998", "numbers:4999"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_topics_come_in_the_order_in_which_they_were_written() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    for n in 0..3 {
        produce(&config, "a", n..n + 1).await;
        produce(&config, "b", n..n + 1).await;
        produce(&config, "c", n..n + 1).await;
    }
    let found = read(&config, wish(&["a", "c"], Start::Beginning, true));
    assert_eq!(found, ["a:0", "c:0", "a:1", "c:1", "a:2", "c:2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn from_latest_comes_what_is_written_afterwards_and_the_end_is_that_of_the_opening() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    produce(&config, "a", 0..3).await;
    let mut live = EmbeddedWatcher::open(&config, wish(&["a"], Start::Latest, false)).unwrap();
    let mut ends = EmbeddedWatcher::open(&config, wish(&["a"], Start::Beginning, true)).unwrap();
    produce(&config, "a", 3..5).await;
    assert_eq!(all(&mut live), ["a:3", "a:4"]);
    assert_eq!(all(&mut ends), ["a:0", "a:1", "a:2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_where_it_has_committed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    produce(&config, "a", 0..10).await;
    let mut wanted = wish(&["a"], Start::Beginning, true);
    wanted.group = Some("lookers".to_owned());
    let mut first = EmbeddedWatcher::open(&config, wanted.clone()).unwrap();
    let mut left = 4;
    first
        .poll(Duration::ZERO, &mut |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    first.commit(true).unwrap();
    assert_eq!(read(&config, wanted.clone()).first().unwrap(), "a:4");
    assert_eq!(read(&config, wanted).len(), 6, "nothing was committed by the second one");
    assert_eq!(read(&config, wish(&["a"], Start::Beginning, true)).len(), 10, "whoever is in no group is not moved");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_there_is_not_created_and_one_that_goes_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let open = |topic: &str| EmbeddedWatcher::open(&config, wish(&[topic], Start::Beginning, false));
    let error = open("a").err().unwrap().to_string();
    assert!(error.contains("it is not there; nothing was produced yet"), "{error}");
    produce(&config, "a", 0..3).await;
    let error = open("b").err().unwrap().to_string();
    assert!(error.contains("has no topic \"b\"; it has a"), "{error}");
    let mut one = wish(&["a"], Start::Beginning, false);
    one.partition = Some(1);
    let error = EmbeddedWatcher::open(&config, one).err().unwrap().to_string();
    assert!(error.contains("no partition 1; it has 0 to 0"), "{error}");

    let (mut first, mut second) = (open("a").unwrap(), open("a").unwrap());
    let admin = Admin::new(&config);
    admin.delete("a").await.unwrap();
    let error = first.poll(Duration::ZERO, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, WatchError::Deleted(_)), "{error}");
    produce(&config, "a", 0..3).await;
    let error = second.poll(Duration::ZERO, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, WatchError::Replaced(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_added_is_watched_too() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    produce(&config, "a", 0..3).await;
    let mut watcher = EmbeddedWatcher::open(&config, wish(&["a"], Start::Latest, false)).unwrap();
    let change = Change { partitions: Some(3), ..Change::default() };
    Admin::new(&config).alter("a", change).await.unwrap();
    produce(&config, "a", 3..12).await;
    assert_eq!(all(&mut watcher).len(), 9);
    assert_eq!(watcher.partitions(), 3);
}
