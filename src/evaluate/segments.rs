//! Kinds of event that figures are told apart by: how much the user had done, and how popular the item is.
//!
//! For reporting only: an item's popularity is that of the whole stream, which no learner can know.

use super::stream::Stream;

/// Numbers of a user's events, up to which a segment goes, with its label.
const BY_EVENT: [(u32, &str); 8] = [
    (1, "1"),
    (5, "2-5"),
    (10, "6-10"),
    (20, "11-20"),
    (50, "21-50"),
    (100, "51-100"),
    (200, "101-200"),
    (u32::MAX, "201+"),
];

/// Tenths of the items, the least popular first.
const BY_DECILE: [&str; 10] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];

/// A way to tell events apart.
#[derive(Debug)]
pub(super) struct Segmentation {
    /// Its name.
    pub(super) name: &'static str,
    /// Its segments.
    pub(super) labels: Vec<&'static str>,
    /// The segment of each event of the stream, as an index into the labels.
    pub(super) of: Vec<u8>,
}

/// Names and titles of the ways, in the order of [`segmentations`].
pub const SEGMENTATIONS: [(&str, &str); 2] = [
    ("user_event", "the user's n-th event"),
    ("item_popularity", "tenth of the items by popularity in the whole stream, 10 the most popular"),
];

/// Both ways.
pub(super) fn segmentations(stream: &Stream) -> [Segmentation; 2] {
    let [(by_event, _), (by_popularity, _)] = SEGMENTATIONS;
    let labels = BY_EVENT.iter().map(|(_, label)| *label).collect();
    [
        Segmentation { name: by_event, labels, of: by_user_event(stream) },
        Segmentation { name: by_popularity, labels: BY_DECILE.into(), of: deciles(stream) },
    ]
}

/// By the event's number among those of its user, from 1.
fn by_user_event(stream: &Stream) -> Vec<u8> {
    let mut counts = vec![0_u32; stream.users];
    let segment = |user: u32| {
        let count = &mut counts[user as usize];
        *count += 1;
        BY_EVENT.iter().zip(0..).find(|((last, _), _)| *count <= *last).map_or(0, |(_, index)| index)
    };
    stream.events.iter().map(|event| event.user).map(segment).collect()
}

/// By the tenth that the item is in when items are sorted by their number of events, equal ones by first appearance.
fn deciles(stream: &Stream) -> Vec<u8> {
    let mut counts = vec![0_u64; stream.items];
    stream.events.iter().for_each(|event| counts[event.item as usize] += 1);
    let mut items: Vec<usize> = (0..stream.items).collect();
    items.sort_by_key(|item| counts[*item]);
    let mut tenth = vec![0; stream.items];
    items.iter().enumerate().for_each(|(place, item)| tenth[*item] = (place * 10 / stream.items) as u8);
    stream.events.iter().map(|event| tenth[event.item as usize]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::evaluate::testing::{dataset, rated, request};
    use crate::evaluate::{Order, Protocol, Request};

    fn stream(pairs: impl Iterator<Item = (String, String)>) -> Stream {
        let rows = pairs.map(|(user, item)| rated(&user, &item, 5.0)).collect();
        let request = Request { order: Some(Order::File), ..request(Protocol::Rating) };
        Stream::read(dataset(rows), &request, &Config::default()).unwrap()
    }

    #[test]
    fn the_bounds_of_the_users_events_are_inside_their_segments() {
        let stream = stream((0..2 * 202).map(|n| (format!("u{}", n % 2), n.to_string())));
        let [by_event, _] = segmentations(&stream);
        let of_first: Vec<_> = by_event.of.iter().step_by(2).map(|index| by_event.labels[*index as usize]).collect();
        let at = |n: usize| of_first[n - 1];
        assert_eq!([1, 2, 5, 6, 10, 11, 20].map(at), ["1", "2-5", "2-5", "6-10", "6-10", "11-20", "11-20"]);
        assert_eq!([21, 50, 51, 100, 101, 200, 201, 202].map(at)[6..], ["201+", "201+"]);
        assert_eq!(at(200), "101-200");
    }

    #[test]
    fn each_tenth_has_as_many_items_and_the_last_the_most_popular() {
        // Item n has n + 1 events.
        let pairs = (0..20).flat_map(|item| (0..=item).map(move |user| (format!("u{user}"), format!("i{item}"))));
        let stream = stream(pairs);
        let [_, by_popularity] = segmentations(&stream);
        for (event, tenth) in stream.events.iter().zip(&by_popularity.of) {
            assert_eq!(u32::from(*tenth), event.item / 2);
        }
    }

    #[test]
    fn fewer_than_ten_items_leave_tenths_empty() {
        let stream = stream((0..6).map(|n| (format!("u{}", n % 2), format!("i{}", n / 2))));
        let [_, by_popularity] = segmentations(&stream);
        assert_eq!(by_popularity.of, [0, 0, 3, 3, 6, 6]);
    }
}
