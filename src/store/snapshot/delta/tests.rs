//! What a trainer writes is what a server reads, and nothing else is taken for it.

use super::*;

#[test]
fn a_block_is_read_back_and_one_that_was_damaged_is_not() {
    let teller = Teller::new("here", 3);
    let block = Block { hash: Hash::of(b"rows"), bytes: b"rows".to_vec() };
    let place = Place { part: "rating.user_factors".into(), index: 17, piece: Some(3) };
    let (key, payload) = block_record(teller, 40, &place, &block);
    assert_eq!(key, b"piece/rating.user_factors/17/3");
    let told = ToldBlock { teller, batch: 40, place, block: block.clone() };
    assert_eq!(read(&key, &payload), Ok(Told::Block(told)));
    let place = Place { part: "rating.user_factors".into(), index: 17, piece: None };
    let (key, mut payload) = block_record(teller, 40, &place, &block);
    assert_eq!(key, b"block/rating.user_factors/17");
    let told = ToldBlock { teller, batch: 40, place, block };
    assert_eq!(read(&key, &payload), Ok(Told::Block(told)));
    *payload.last_mut().unwrap() ^= 1;
    for (key, payload, part) in [
        (&key[..], &payload[..], "other bytes"),
        (&key, b"FRD1", "does not begin"),
        (b"block/x", &payload, "no trainer's"),
        (b"x/1", &payload, "no trainer's"),
        (b"piece/x/1", &payload, "no trainer's"),
    ] {
        let NotUnderstood::Damaged(reason) = read(key, payload).unwrap_err() else { panic!("it is no version") };
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn a_commit_is_read_back_bit_for_bit_and_one_of_another_version_says_which() {
    let config = crate::config::Config::default();
    let params = crate::learn::params::named(&config);
    let view = View::default();
    let delta = Encoder::new(params.clone()).delta(&view);
    let commit = Commit::of(&view, &delta, params, ("here", 7));
    let (key, payload) = commit.record();
    assert_eq!(read(&key, &payload), Ok(Told::Commit(Box::new(commit.clone()))));
    let later = Commit { format: 99, freshet: "9.9.9".into(), ..commit };
    let text = read(&key, &later.record().1).unwrap_err().to_string();
    assert!(
        text.contains("the trainer is freshet 9.9.9 and writes format 99") && text.contains("same version"),
        "{text}"
    );
    let unknown = br#"{"delta_format":4,"format":2,"freshet":"9.9.9","wings":2}"#;
    assert!(matches!(read(&key, unknown), Err(NotUnderstood::Version { delta_format: 4, .. })));
    assert!(matches!(read(&key, b"{}"), Err(NotUnderstood::Damaged(_))));
}
