//! Notes which records of a replay the log has, so that one that was interrupted goes on exactly where it was.
//!
//! A replay is the same sequence of records each time it is begun, so a record is known by its number. What the file says to
//! be delivered is on the log; what it does not say is sent again at the next start. Written at a stop, that is exact. After
//! `kill -9` it may be behind by what was delivered since the last note ([`NOTE_EVERY`], [`NOTE_RECORDS`]) and what was in
//! flight: those records are twice on the log, under one business id, so that the engine learns them once.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::convert::file_beside;
use super::producer::{Pending, Producer};
use super::replay::{Outgoing, ReplayError};

/// Longest time that a delivery goes without being noted.
pub const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Most deliveries that go without being noted. With [`IN_FLIGHT`] they are fewer than the default of `gather.id_window`.
pub const NOTE_RECORDS: u64 = 50_000;
/// Most records that wait for their delivery report.
pub const IN_FLIGHT: usize = 16_384;
/// Version of the file that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Why a replay cannot be resumed, or not be noted.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The file cannot be read or written.
    #[error("cannot {action} the resume file {}: {source}", path.display())]
    File {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no resume file.
    #[error("{} is not a resume file of this freshet ({reason}); name another file, or remove it to begin anew", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// It is of another replay.
    #[error(
        "{} is of another replay: its {what} is {noted:?}, and now it is {given:?}; give the same again, name another file, \
         or remove this one to begin anew", path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// The flag that differs.
        what: String,
        /// What it was.
        noted: String,
        /// What it is now.
        given: String,
    },
    /// The data is not what it was.
    #[error(
        "{}: the data has changed since: its first {records} records are not those that were delivered before; remove the \
         file to begin anew", path.display()
    )]
    Changed {
        /// The resume file.
        path: PathBuf,
        /// Records that were looked at.
        records: u64,
    },
}

/// The file's contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    /// What must be the same for the records to be the same.
    replay: BTreeMap<String, String>,
    /// What the business ids of its events begin with.
    run: String,
    /// When the first event shall seem to happen, in milliseconds since the epoch.
    at_ms: Option<i64>,
    /// Whether all there was is delivered.
    finished: bool,
    /// Numbers of the delivered records, from 0: from the first to before the second, in order and apart.
    delivered: Vec<(u64, u64)>,
    /// CRC-32 over the payloads of all records up to the last delivered one.
    checksum: u32,
}

impl State {
    fn count(&self) -> u64 {
        self.delivered.iter().map(|(from, to)| to - from).sum()
    }

    /// One past the last delivered record.
    fn end(&self) -> u64 {
        self.delivered.last().map_or(0, |(_, to)| *to)
    }

    fn note(&mut self, mark: Mark) {
        let Mark { number, checksum } = mark;
        if number >= self.end() {
            self.checksum = checksum;
        }
        let place = self.delivered.partition_point(|(_, to)| *to < number);
        match self.delivered.get_mut(place) {
            Some((from, to)) if *from <= number && number <= *to => *to = (number + 1).max(*to),
            Some((from, _)) if *from == number + 1 => *from = number,
            _ => self.delivered.insert(place, (number, number + 1)),
        }
        if let Some(&(from, to)) = self.delivered.get(place + 1)
            && self.delivered[place].1 >= from
        {
            self.delivered[place].1 = to;
            self.delivered.remove(place + 1);
        }
    }
}

/// Which record of a replay it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// From 0.
    number: u64,
    /// CRC-32 over the payloads up to and with it.
    checksum: u32,
}

/// A resume file, read or begun.
#[derive(Clone, Debug)]
pub struct Resume {
    path: PathBuf,
    state: State,
}

impl Resume {
    /// Reads the file, or begins it where there is none. `replay` says what must be as it was. `run` and `at_ms` are for a
    /// replay that begins; one that goes on keeps its own.
    ///
    /// # Errors
    /// If the file cannot be read or written, or is of another replay.
    pub fn open(
        path: &Path,
        replay: BTreeMap<String, String>,
        run: String,
        at_ms: Option<i64>,
    ) -> Result<Self, ResumeError> {
        let file = |action| move |source| ResumeError::File { action, path: path.to_owned(), source };
        let state = match std::fs::read(path) {
            Ok(bytes) => read(path, &bytes, &replay)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (finished, delivered, checksum) = (false, Vec::new(), 0);
                let state = State { version: VERSION, replay, run, at_ms, finished, delivered, checksum };
                write(path, &state).map_err(file("write"))?;
                state
            }
            Err(error) => return Err(file("read")(error)),
        };
        Ok(Self { path: path.to_owned(), state })
    }

    /// What the business ids of its events begin with.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.state.run
    }

    /// When the first event shall seem to happen, in milliseconds since the epoch.
    #[must_use]
    pub fn at_ms(&self) -> Option<i64> {
        self.state.at_ms
    }

    /// Records that were delivered before.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.state.count()
    }

    /// Whether nothing is left to be sent.
    #[must_use]
    pub fn finished(&self) -> bool {
        self.state.finished
    }

    /// The records that were not delivered before, marked.
    pub fn left<E: From<ResumeError>>(
        &self,
        records: impl Iterator<Item = Result<Outgoing, E>>,
    ) -> impl Iterator<Item = Result<Outgoing, E>> {
        Left { resume: self.clone(), records, number: 0, range: 0, hasher: crc32fast::Hasher::new() }
    }

    /// Begins to note what is delivered. Call it inside the runtime.
    #[must_use]
    pub fn journal(&self) -> Journal {
        let (sent, records) = mpsc::channel(IN_FLIGHT);
        let (hurry, whole) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let Self { path, state } = self.clone();
        let noter = Noter {
            path,
            state,
            hurry: hurry.clone(),
            whole: Arc::clone(&whole),
            unnoted: 0,
            due: Instant::now() + NOTE_EVERY,
            noted: Noted::default(),
        };
        Journal { sent, hurry, whole, noter: tokio::spawn(noter.run(records)) }
    }
}

fn read(path: &Path, bytes: &[u8], replay: &BTreeMap<String, String>) -> Result<State, ResumeError> {
    let foreign = |reason| ResumeError::Foreign { path: path.to_owned(), reason };
    let state: State = serde_json::from_slice(bytes).map_err(|error| foreign(error.to_string()))?;
    if state.version != VERSION {
        return Err(foreign(format!("it has version {}, and {VERSION} is read", state.version)));
    }
    for what in state.replay.keys().chain(replay.keys()) {
        let of = |replay: &BTreeMap<String, String>| replay.get(what).cloned().unwrap_or_else(|| "none".to_owned());
        let (noted, given) = (of(&state.replay), of(replay));
        if noted != given {
            return Err(ResumeError::Other { path: path.to_owned(), what: what.clone(), noted, given });
        }
    }
    Ok(state)
}

/// Whole or not at all, whenever the power fails.
fn write(path: &Path, state: &State) -> std::io::Result<()> {
    let mut file = file_beside(path)?;
    serde_json::to_writer(&mut file, state)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

struct Left<I> {
    resume: Resume,
    records: I,
    number: u64,
    /// The first range of delivered records that does not end before `number`.
    range: usize,
    hasher: crc32fast::Hasher,
}

impl<I> Left<I> {
    /// Whether the record of that number was delivered before; asked in order.
    fn was_delivered(&mut self, number: u64) -> bool {
        let ranges = &self.resume.state.delivered;
        while ranges.get(self.range).is_some_and(|(_, to)| *to <= number) {
            self.range += 1;
        }
        ranges.get(self.range).is_some_and(|(from, _)| *from <= number)
    }

    fn changed(&self) -> ResumeError {
        ResumeError::Changed { path: self.resume.path.clone(), records: self.resume.state.end() }
    }
}

impl<E: From<ResumeError>, I: Iterator<Item = Result<Outgoing, E>>> Iterator for Left<I> {
    type Item = Result<Outgoing, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let mut outgoing = match self.records.next() {
                // The data has become shorter than what was delivered of it.
                None if self.number < self.resume.state.end() => {
                    self.number = u64::MAX;
                    return Some(Err(self.changed().into()));
                }
                None => return None,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(outgoing)) => outgoing,
            };
            let number = self.number;
            self.number += 1;
            self.hasher.update(&outgoing.record.payload);
            let checksum = self.hasher.clone().finalize();
            if self.number == self.resume.state.end() && checksum != self.resume.state.checksum {
                return Some(Err(self.changed().into()));
            }
            if !self.was_delivered(number) {
                outgoing.mark = Mark { number, checksum };
                return Some(Ok(outgoing));
            }
        }
    }
}

/// Notes deliveries as their reports come, while more is sent.
#[derive(Debug)]
pub struct Journal {
    sent: mpsc::Sender<(Mark, Pending)>,
    hurry: CancellationToken,
    whole: Arc<AtomicBool>,
    noter: JoinHandle<Result<Noted, ResumeError>>,
}

/// What the journal has seen in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Noted {
    /// Records that were delivered, before and now.
    pub delivered: u64,
    /// Records that the log has refused now.
    pub refused: u64,
    /// Records that have no report: they may be on the log, and are sent again.
    pub unknown: u64,
}

impl Journal {
    /// Sends a record whose delivery is to be noted. Dropping the future before it has returned means that it is not sent.
    pub(crate) async fn send<E>(&self, producer: &dyn Producer, outgoing: Outgoing) -> Result<(), ReplayError<E>> {
        // First of all the place among those in flight: once the record is sent, nothing may come between.
        let place = self.sent.reserve().await.map_err(|_| ReplayError::Journal)?;
        let pending = producer.post(outgoing.record).await?;
        place.send((outgoing.mark, pending));
        Ok(())
    }

    /// Writes the file for the last time. `whole`: all there was is sent, so that its reports are waited for; otherwise only
    /// those count that are there.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub async fn close(self, whole: bool) -> Result<Noted, ResumeError> {
        self.whole.store(whole, Ordering::Relaxed);
        drop(self.sent);
        if !whole {
            self.hurry.cancel();
        }
        self.noter.await.expect("noting does not panic")
    }
}

struct Noter {
    path: PathBuf,
    state: State,
    hurry: CancellationToken,
    whole: Arc<AtomicBool>,
    /// Deliveries since the file was written.
    unnoted: u64,
    /// When they are to be written at the latest.
    due: Instant,
    noted: Noted,
}

impl Noter {
    async fn run(mut self, mut records: mpsc::Receiver<(Mark, Pending)>) -> Result<Noted, ResumeError> {
        while let Some((mark, pending)) = self.meanwhile(records.recv()).await? {
            let hurry = self.hurry.clone();
            let receipt = async {
                tokio::select! {
                    biased;
                    receipt = pending => Some(receipt),
                    () = hurry.cancelled() => None,
                }
            };
            match self.meanwhile(receipt).await? {
                Some(Ok(_)) => {
                    self.state.note(mark);
                    self.unnoted += 1;
                }
                Some(Err(_)) => self.noted.refused += 1,
                None => self.noted.unknown += 1,
            }
            if self.unnoted >= NOTE_RECORDS || self.unnoted > 0 && self.due <= Instant::now() {
                self.write()?;
            }
        }
        let left = self.noted.refused + self.noted.unknown;
        self.state.finished = left == 0 && self.whole.load(Ordering::Relaxed);
        self.write()?;
        Ok(Noted { delivered: self.state.count(), ..self.noted })
    }

    /// Waits, and writes the file meanwhile when it is due.
    async fn meanwhile<T>(&mut self, waiting: impl Future<Output = T>) -> Result<T, ResumeError> {
        let mut waiting = pin!(waiting);
        loop {
            tokio::select! {
                biased;
                done = &mut waiting => return Ok(done),
                () = sleep_until(self.due), if self.unnoted > 0 => self.write()?,
            }
        }
    }

    fn write(&mut self) -> Result<(), ResumeError> {
        let failed = |source| ResumeError::File { action: "write", path: self.path.clone(), source };
        write(&self.path, &self.state).map_err(failed)?;
        (self.unnoted, self.due) = (0, Instant::now() + NOTE_EVERY);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::producer::{Place, Record, Undelivered};

    fn outgoing(n: u64) -> Outgoing {
        let record = Record { key: Vec::new(), payload: n.to_string().into_bytes(), timestamp_ms: None };
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
}
