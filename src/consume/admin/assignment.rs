//! The bytes in which a member of a group has its partitions: Kafka's consumer protocol.
//!
//! `version: i16, [topic: string, [partition: i32]], user data: bytes`, all big-endian
//! ([ConsumerProtocolAssignment](https://github.com/apache/kafka/blob/trunk/clients/src/main/resources/common/message/ConsumerProtocolAssignment.json)).

use std::collections::BTreeMap;

/// The partitions by topic; none if the bytes are something else.
pub(super) fn parse(bytes: &[u8]) -> Option<BTreeMap<String, Vec<i32>>> {
    // A member that has none may have no bytes either.
    if bytes.is_empty() {
        return Some(BTreeMap::new());
    }
    let mut left = bytes;
    let version = i16::from_be_bytes(take(&mut left)?);
    if version < 0 {
        return None;
    }
    let mut assignment: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for _ in 0..count(&mut left, 6)? {
        let length = usize::try_from(i16::from_be_bytes(take(&mut left)?)).ok()?;
        let (topic, behind) = left.split_at_checked(length)?;
        left = behind;
        let partitions = assignment.entry(std::str::from_utf8(topic).ok()?.to_owned()).or_default();
        for _ in 0..count(&mut left, 4)? {
            partitions.push(i32::from_be_bytes(take(&mut left)?));
        }
        partitions.sort_unstable();
    }
    Some(assignment)
}

fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = left.split_first_chunk::<N>()?;
    *left = behind;
    Some(*taken)
}

/// Length of an array whose elements have so many bytes at least: not more than there can be.
fn count(left: &mut &[u8], element: usize) -> Option<usize> {
    let count = usize::try_from(i32::from_be_bytes(take(left)?)).ok()?;
    (count <= left.len() / element).then_some(count)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(assignment: &BTreeMap<String, Vec<i32>>) -> Vec<u8> {
        let mut bytes = vec![0, 1];
        bytes.extend((assignment.len() as i32).to_be_bytes());
        for (topic, partitions) in assignment {
            bytes.extend((topic.len() as i16).to_be_bytes());
            bytes.extend(topic.as_bytes());
            bytes.extend((partitions.len() as i32).to_be_bytes());
            bytes.extend(partitions.iter().flat_map(|partition| partition.to_be_bytes()));
        }
        bytes.extend((-1_i32).to_be_bytes());
        bytes
    }

    #[test]
    fn a_member_without_partitions_has_an_empty_assignment() {
        assert_eq!(parse(&[]), Some(BTreeMap::new()));
        assert_eq!(parse(&bytes(&BTreeMap::new())), Some(BTreeMap::new()));
        assert_eq!(parse(b"connect: another protocol"), None);
        assert_eq!(parse(&[0, 1, 0x7f, 0xff, 0xff, 0xff]), None, "a length beyond the bytes");
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            assignment in prop::collection::btree_map("[a-z.é]{1,9}", prop::collection::vec(0..999_i32, 1..5), 0..4),
        ) {
            let sorted = assignment.iter().map(|(topic, partitions)| {
                let mut partitions = partitions.clone();
                partitions.sort_unstable();
                (topic.clone(), partitions)
            });
            prop_assert_eq!(parse(&bytes(&assignment)), Some(sorted.collect()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
        }
    }
}
