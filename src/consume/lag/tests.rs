//! Each rule by itself, under a clock that the test holds.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::Position;
use super::*;

const SECOND: i64 = 1_000;

/// One partition that is looked at once a second.
#[derive(Default)]
struct Watched {
    watch: LagWatch,
    now_ms: i64,
}

impl Watched {
    fn look(&mut self, durable: i64, end: i64, store_works: bool) -> Lag {
        self.now_ms += SECOND;
        let assigned = [PartitionLag { topic: "t".into(), partition: 2, position: durable, end }];
        let durable = Offsets::from_iter([("t".into(), 2, durable)]);
        self.watch.look(self.now_ms, &assigned, &durable, store_works);
        self.judge().0
    }

    /// The lag after a look at each of these.
    fn looks(&mut self, samples: impl IntoIterator<Item = (i64, i64)>) -> Lag {
        samples.into_iter().map(|(durable, end)| self.look(durable, end, true)).last().unwrap()
    }

    fn judge(&mut self) -> (Lag, Vec<LagChange>) {
        let (lags, changes) = self.watch.judge(self.now_ms);
        (lags.into_iter().next().unwrap(), changes)
    }

    fn read(&mut self, timestamp_ms: i64) {
        let position = Position { topic: "t".into(), partition: 2, offset: 0 };
        self.watch.note_read(&[RawEvent { position, timestamp_ms, key: None, payload: Vec::new(), trace: None }]);
    }
}

fn state(samples: impl IntoIterator<Item = (i64, i64)>) -> LagState {
    Watched::default().looks(samples).state
}

#[test]
fn a_lag_that_shrinks_is_ok_however_large() {
    assert_eq!(state((0..20).map(|i| (i * 10, 1_000_000 + i * 9))), LagState::Ok);
}

#[test]
fn a_lag_that_only_grows_is_a_warning_and_one_step_back_is_enough_to_be_ok() {
    assert_eq!(state((0..10).map(|i| (i, 100 + 2 * i))), LagState::Warning);
    assert_eq!(state((0..9).map(|i| (i, 100 + 2 * i))), LagState::Ok, "no whole window yet");
    assert_eq!(state((0..10).map(|i| (i, 100 + i))), LagState::Ok, "it has not grown");
    let dip = (0..10).map(|i| (i, 100 + 2 * i - if i == 5 { 3 } else { 0 }));
    assert_eq!(state(dip), LagState::Ok);
}

#[test]
fn a_durable_offset_that_stands_still_before_the_end_is_stalled() {
    assert_eq!(state([(7, 8); 10]), LagState::Stalled);
    assert_eq!(state([(7, 8); 9]), LagState::Ok, "no whole window yet");
    assert_eq!(state([(8, 8); 10]), LagState::Ok, "nothing is left");
}

#[test]
fn a_durable_offset_that_goes_back_and_a_log_that_ends_too_early_are_rewound() {
    assert_eq!(state([(7, 9), (6, 9)]), LagState::Rewound);
    assert_eq!(state([(7, 7), (7, 3)]), LagState::Rewound, "though nothing was left before");
}

#[test]
fn lag_without_a_sample_for_longer_than_a_window_is_stopped() {
    for (before, expected) in [((7, 9), LagState::Stopped), ((9, 9), LagState::Ok)] {
        let mut watched = Watched::default();
        watched.looks([before]);
        for _ in 0..9 {
            assert_eq!(watched.look(before.0, before.1, false).state, LagState::Ok);
        }
        assert_eq!(watched.look(before.0, before.1, false).state, expected);
    }
}

#[test]
fn while_the_store_is_in_trouble_the_lag_is_shown_as_it_grows() {
    let mut watched = Watched::default();
    watched.looks([(7, 9)]);
    assert_eq!(watched.look(7, 50, false).messages, 43);
}

#[test]
fn each_change_is_told_once() {
    let mut watched = Watched::default();
    watched.looks([(7, 8); 9]);
    let assigned = [PartitionLag { topic: "t".into(), partition: 2, position: 7, end: 8 }];
    watched.watch.look(watched.now_ms, &assigned, &Offsets::from_iter([("t".into(), 2, 7)]), true);
    let (lag, changes) = watched.judge();
    assert_eq!(changes, [LagChange { lag, before: LagState::Ok }]);
    assert_eq!(watched.judge().1, []);
}

#[test]
fn seconds_are_the_age_of_what_is_read_but_no_idle_time() {
    let mut watched = Watched::default();
    assert_eq!(watched.look(0, 5, true).seconds, None, "nothing was read");
    watched.read(-3 * SECOND);
    assert_eq!(watched.look(0, 5, true).seconds, None, "the log has no timestamps");
    watched.now_ms = 100 * SECOND;
    watched.read(40 * SECOND);
    assert_eq!(watched.look(3, 5, true).seconds, Some(61.0));
    assert_eq!(watched.look(5, 5, true).seconds, Some(0.0));
    assert_eq!(watched.look(5, 6, true).seconds, Some(1.0), "the log was idle before");
}

#[test]
fn a_partition_that_is_taken_back_is_forgotten() {
    let mut watched = Watched::default();
    watched.looks([(7, 9)]);
    watched.watch.look(watched.now_ms, &[], &Offsets::default(), true);
    assert_eq!(watched.watch.judge(watched.now_ms), (vec![], vec![]));
}

#[test]
fn of_what_was_read_before_the_first_write_nothing_counts_as_durable() {
    let mut watch = LagWatch::default();
    for position in [40, 45] {
        let assigned = [PartitionLag { topic: "t".into(), partition: 0, position, end: 50 }];
        watch.look(0, &assigned, &Offsets::default(), true);
    }
    assert_eq!((watch.judge(0).0[0].position, watch.judge(0).0[0].messages), (45, 10));
}

proptest! {
    /// Whatever was sampled: with nothing left at any time of the window it is ok, and a lag is never negative.
    #[test]
    fn nothing_left_at_any_time_of_the_window_is_ok(steps in vec((0..5_i64, 0..5_i64), 1..40)) {
        let mut watched = Watched::default();
        let (mut durable, mut end, mut lags) = (0, 0, Vec::new());
        for (more, read) in steps {
            end += more;
            durable = std::cmp::min(durable + read, end);
            let lag = watched.look(durable, end, true);
            lags.push(end - durable);
            let window = &lags[lags.len().saturating_sub(SAMPLES)..];
            prop_assert_eq!(lag.messages, end - durable);
            prop_assert!(lag.state == LagState::Ok || !window.contains(&0));
            prop_assert!(lag.state != LagState::Rewound && lag.state != LagState::Stopped);
            prop_assert!(lag.messages > 0 || lag.seconds == Some(0.0));
        }
    }
}
