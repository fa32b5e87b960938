use proptest::prelude::*;

use super::*;
use crate::capture::producer::{Place, Record, Undelivered};

fn outgoing(n: u64) -> Outgoing {
    let record = Record { payload: n.to_string().into_bytes(), ..Record::default() };
    Outgoing { record, ts: None, mark: Mark::default() }
}

fn flags(seed: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("--seed".to_owned(), seed.to_owned())])
}

fn open(path: &Path) -> Result<Resume, ResumeError> {
    Resume::open(path, flags("1"), "run".to_owned(), None)
}

fn left(resume: &Resume, count: u64) -> Result<Vec<(u64, Mark)>, ResumeError> {
    let records = resume.left((0..count).map(|n| Ok(outgoing(n))));
    let number = |outgoing: &Outgoing| String::from_utf8_lossy(&outgoing.record.payload).parse().unwrap();
    records.map(|outgoing| outgoing.map(|outgoing| (number(&outgoing), outgoing.mark))).collect()
}

/// Notes what is left of `count` records, of which some are refused and some have no report.
async fn noted(resume: &Resume, count: u64, whole: bool, fate: impl Fn(u64) -> Option<bool>) -> Noted {
    let journal = resume.journal();
    let mut never = Vec::new();
    for (number, mark) in left(resume, count).unwrap() {
        let (sender, pending) = Pending::new();
        match fate(number) {
            Some(true) => drop(sender.send(Ok(Place { partition: 0, offset: 0 }))),
            Some(false) => {
                drop(sender.send(Err(Undelivered { reason: "no".into(), unreachable: false })));
            }
            None => never.push(sender),
        }
        journal.sent.send((mark, pending)).await.unwrap();
    }
    journal.close(whole).await.unwrap()
}

#[tokio::test]
async fn what_is_not_noted_as_delivered_is_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resume.json");
    let first = open(&path).unwrap();
    let fate = |n| if n == 3 { Some(false) } else { (n != 7).then_some(true) };
    let expected = Noted { delivered: 8, refused: 1, unknown: 1 };
    assert_eq!(noted(&first, 10, false, fate).await, expected);
    let second = open(&path).unwrap();
    assert_eq!((second.delivered(), second.finished()), (8, false));
    let numbers = |left: Vec<(u64, Mark)>| left.into_iter().map(|(number, _)| number).collect::<Vec<_>>();
    assert_eq!(numbers(left(&second, 13).unwrap()), [3, 7, 10, 11, 12]);
    let all = Noted { delivered: 13, refused: 0, unknown: 0 };
    assert_eq!(noted(&second, 13, true, |_| Some(true)).await, all);
    assert!(open(&path).unwrap().finished());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no file is left behind");
}

#[tokio::test]
async fn other_flags_other_data_and_other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resume.json");
    noted(&open(&path).unwrap(), 10, false, |_| Some(true)).await;
    let error = Resume::open(&path, flags("2"), "run".into(), None).unwrap_err().to_string();
    assert!(error.contains("its --seed is \"1\", and now it is \"2\""), "{error}");
    let shorter = left(&open(&path).unwrap(), 9).unwrap_err();
    assert!(matches!(shorter, ResumeError::Changed { records: 10, .. }), "{shorter}");
    let changed = (0..20).map(|n| Ok::<_, ResumeError>(outgoing(if n == 4 { 5 } else { n })));
    let changed = open(&path).unwrap().left(changed).next().unwrap().unwrap_err();
    assert!(matches!(changed, ResumeError::Changed { records: 10, .. }), "{changed}");
    for foreign in ["", "{}", "user,item", r#"{"version":2}"#] {
        std::fs::write(&path, foreign).unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("is not a resume file"), "{error}");
    }
    let error = open(&dir.path().join("no/such/folder")).unwrap_err().to_string();
    assert!(error.contains("cannot write the resume file"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn it_is_noted_while_nothing_more_comes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("resume.json");
    let resume = open(&path).unwrap();
    let journal = resume.journal();
    let (sender, pending) = Pending::new();
    sender.send(Ok(Place { partition: 0, offset: 0 })).unwrap();
    journal.sent.send((left(&resume, 1).unwrap()[0].1, pending)).await.unwrap();
    tokio::time::sleep(NOTE_EVERY * 2).await;
    assert_eq!(open(&path).unwrap().delivered(), 1);
}

proptest! {
    #[test]
    fn ranges_hold_exactly_what_was_noted(numbers in proptest::collection::vec(0_u64..60, 0..80)) {
        let dir = tempfile::tempdir().unwrap();
        let mut state = open(&dir.path().join("resume.json")).unwrap().state;
        for &number in &numbers {
            state.note(Mark { number, checksum: number as u32 });
        }
        let held: Vec<u64> = state.delivered.iter().flat_map(|&(from, to)| from..to).collect();
        let mut expected = numbers.clone();
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(held, expected.clone());
        prop_assert!(state.delivered.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", state.delivered);
        prop_assert_eq!(state.checksum, expected.last().map_or(0, |last| *last as u32));
    }
}
