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
        beginning: "ours".to_owned(),
        missing: Vec::new(),
        reread_at: None,
        config,
    }
}

fn record((key, payload): (Vec<u8>, Vec<u8>)) -> ModelRecord {
    ModelRecord { key, payload }
}

fn greeting() -> ModelRecord {
    record(Words::Greeting.record(0, "us"))
}

fn beginning(words: &str) -> ModelRecord {
    record(Words::Beginning.record(1, words))
}

fn row(number: u64, item: &str) -> ModelRecord {
    record(row_record(1, 8, number, item, &[1.0]))
}

fn commit(number: u64) -> ModelRecord {
    let params = [("learn.seed".to_owned(), 1.into())].into();
    let (format, freshet, beginning) = (CONTRIBUTION_FORMAT, "0".into(), "theirs".into());
    record(Commit { format, freshet, store: 8, number, beginning, params, sent_at_ms: 0 }.record(1))
}

fn items(sharing: &Sharing) -> Vec<&str> {
    sharing.arrived.iter().flat_map(|told| told.items.iter().map(|item| &**item)).collect()
}

#[tokio::test]
async fn what_comes_together_with_the_own_greeting_is_taken_too() {
    let together = vec![greeting(), beginning("theirs"), row(1, "a"), commit(1), row(2, "b")];
    let mut sharing = sharing(vec![Read::Missing, Read::Records(together), Read::Records(vec![commit(2)])]);
    assert!(sharing.meet().await.unwrap());
    assert_eq!(items(&sharing), ["a"]);
    let read = sharing.reader.next().await;
    sharing.heed(read);
    assert_eq!(items(&sharing), ["a", "b"]);
}

#[tokio::test]
async fn a_topic_that_goes_before_the_own_greeting_comes_back_is_greeted_again() {
    let mut sharing = sharing(vec![Read::Records(vec![beginning("theirs"), row(1, "a")]), Read::Another]);
    assert!(!sharing.meet().await.unwrap());
    sharing.heed(Read::Records(vec![commit(1)]));
    assert!(sharing.arrived.is_empty(), "its row was on the topic before");
}

#[tokio::test]
async fn a_topic_that_lacks_a_beginning_is_read_again_and_its_trainer_asked() {
    let mut sharing = sharing(Vec::new());
    sharing.heed(Read::Records(vec![beginning("another"), row(1, "a"), commit(1)]));
    assert!(sharing.arrived.is_empty() && sharing.reread_at.is_some());
    assert_eq!(sharing.missing, [(1, "theirs".to_owned())]);
    sharing.heed(Read::Records(vec![beginning("theirs"), row(1, "a"), row(1, "b"), commit(1)]));
    assert_eq!(items(&sharing), ["a", "b"]);
}

#[tokio::test]
async fn who_is_asked_tells_all_anew_once() {
    let mut sharing = sharing(Vec::new());
    let asked = |of: usize, words: &str| Read::Records(vec![record(Words::Missing.record(of, words))]);
    let now = Some(Instant::now());
    for (of, words, anew) in [(1, "ours", false), (0, "ours of before", false), (0, "ours", true)] {
        sharing.told_at = now;
        sharing.heed(asked(of, words));
        assert_eq!(sharing.told_at.is_none(), anew, "{of} {words}");
    }
}
