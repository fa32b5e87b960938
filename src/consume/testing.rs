//! What the tests of both consumers do: send numbers, and look at what came.

use std::ops::Range;

use super::{Offsets, Polled, RawEvent};
use crate::capture::producer::Producer;
use crate::capture::producer::testing::record;

/// Sends numbers under thirteen keys, and waits until all are delivered.
pub(super) async fn produce(producer: &dyn Producer, numbers: Range<u32>) {
    for number in numbers {
        producer.send(record(&format!("{}", number % 13), &number.to_string())).await.unwrap();
    }
    let counts = producer.flush().await.unwrap();
    assert_eq!(counts.failed, 0, "{counts:?}");
}

/// The numbers of the records, in the order read.
pub(super) fn numbers(events: &[RawEvent]) -> Vec<u32> {
    events.iter().map(|event| String::from_utf8_lossy(&event.payload).parse().unwrap()).collect()
}

/// Where reading stands after the records.
pub(super) fn after(events: &[RawEvent]) -> Offsets {
    let mut offsets = Offsets::default();
    for RawEvent { position, .. } in events {
        offsets.set(position.topic.clone(), position.partition, position.offset + 1);
    }
    offsets
}

/// The records of a poll.
pub(super) fn records(polled: Polled) -> Vec<RawEvent> {
    match polled {
        Polled::Records(records) => records,
        Polled::WantedBack => panic!("no group wants partitions back"),
    }
}
