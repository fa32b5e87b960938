use super::*;
use crate::learn::exchange::Heard;

/// Trainer 0 of two, before its greeting came back.
fn sharing(reads: Vec<Read>) -> Sharing {
    let mut config = Config::default();
    config.engine.shards = 2;
    let params: Named = [("learn.seed".to_owned(), 1.into())].into();
    Sharing {
        inbox: Inbox::new(0, params.clone(), &[Heard::default(); 2]),
        reader: ModelReader::of(reads),
        status: Arc::new(Status::new(params.clone())),
        params,
        store: 7,
        outlet: Outlet::new(&config),
        arrived: VecDeque::new(),
        told: None,
        started: Instant::now(),
        told_at: None,
        greeting: "us".to_owned(),
        reread_at: None,
        config,
    }
}

fn record((key, payload): (Vec<u8>, Vec<u8>)) -> ModelRecord {
    ModelRecord { key, payload }
}

fn greeting(shard: usize, words: &str) -> ModelRecord {
    record(greeting_record(shard, words))
}

fn row(number: u64, item: &str) -> ModelRecord {
    record(row_record(1, 8, number, item, &[1.0]))
}

fn commit(number: u64) -> ModelRecord {
    let params = [("learn.seed".to_owned(), 1.into())].into();
    let (format, freshet, greeting) = (CONTRIBUTION_FORMAT, "0".into(), "them".into());
    record(Commit { format, freshet, store: 8, number, greeting, params, sent_at_ms: 0 }.record(1))
}

fn items(sharing: &Sharing) -> Vec<&str> {
    sharing.arrived.iter().flat_map(|told| told.items.iter().map(|item| &**item)).collect()
}

#[tokio::test]
async fn what_comes_together_with_the_own_greeting_is_taken_too() {
    let together = vec![greeting(0, "us"), greeting(1, "them"), row(1, "a"), commit(1), row(2, "b")];
    let mut sharing = sharing(vec![Read::Missing, Read::Records(together), Read::Records(vec![commit(2)])]);
    assert!(sharing.meet().await.unwrap());
    assert_eq!(items(&sharing), ["a"]);
    let read = sharing.reader.next().await;
    sharing.heed(read);
    assert_eq!(items(&sharing), ["a", "b"]);
}

#[tokio::test]
async fn a_topic_that_goes_before_the_own_greeting_comes_back_is_greeted_again() {
    let mut sharing = sharing(vec![Read::Records(vec![greeting(1, "them"), row(1, "a")]), Read::Another]);
    assert!(!sharing.meet().await.unwrap());
    sharing.heed(Read::Records(vec![commit(1)]));
    assert!(sharing.arrived.is_empty(), "its row was on the topic before");
}

#[tokio::test]
async fn a_topic_that_lacks_a_greeting_is_read_from_its_beginning() {
    let mut sharing = sharing(Vec::new());
    sharing.heed(Read::Records(vec![greeting(1, "others"), row(1, "a"), commit(1)]));
    assert!(sharing.arrived.is_empty() && sharing.reread_at.is_some());
    sharing.heed(Read::Records(vec![greeting(1, "them"), row(1, "a"), row(1, "b"), commit(1)]));
    assert_eq!(items(&sharing), ["a", "b"]);
}
