use super::*;

fn injections(texts: &[&str]) -> Vec<Injection> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn rows(count: u64) -> impl Iterator<Item = Interaction> {
    (0..count).map(|n| {
        let (user, item) = ((n % 97).to_string(), (n % 31).to_string());
        Interaction { user, item, rating: Some((n % 5 + 1) as f32), ts: Some(n as i64), ..Interaction::default() }
    })
}

fn injected(texts: &[&str], seed: u64, rows: impl Iterator<Item = Interaction>) -> (Vec<Outgoing>, Injected) {
    let ids = Ids { run: "run".into(), all: false };
    let mut injector = Injector::new(&injections(texts), seed, ids, (1.0, 5.0), Some(4_000)).unwrap();
    let mut out = Vec::new();
    rows.for_each(|row| injector.row(row, &mut out));
    injector.finish(&mut out);
    (out, injector.injected.clone())
}

fn payloads(outgoing: &[Outgoing]) -> Vec<Vec<u8>> {
    outgoing.iter().map(|outgoing| outgoing.record.payload.clone()).collect()
}

/// What the records hold of events, without the ids that were given.
fn events(outgoing: &[Outgoing]) -> Vec<Interaction> {
    let event = |payload: Vec<u8>| serde_json::from_slice::<Interaction>(&payload).ok();
    payloads(outgoing).into_iter().filter_map(event).map(|row| Interaction { id: None, ..row }).collect()
}

#[test]
fn nothing_injected_is_the_rows_as_they_are() {
    let (out, injected) = injected(&[], 1, rows(100));
    assert_eq!(payloads(&out), rows(100).map(|row| row.to_json()).collect::<Vec<_>>());
    assert_eq!(injected, Injected::default());
}

#[test]
fn the_same_seed_gives_the_same_records_and_each_kind_its_own() {
    let all = ["duplicates=2%", "late=0.03", "garbage=1%", "drift=0.25"];
    let (first, counts) = injected(&all, 7, rows(4_000));
    let (again, counted_again) = injected(&all, 7, rows(4_000));
    assert_eq!((payloads(&first), &counts), (payloads(&again), &counted_again));
    assert_ne!(payloads(&first), payloads(&injected(&all, 8, rows(4_000)).0));
    let (_, garbage) = injected(&["garbage=1%"], 7, rows(4_000));
    assert_eq!(garbage.garbage, counts.garbage);
    let garbage: u64 = counts.garbage.values().sum();
    assert_eq!(first.len() as u64, 4_000 + counts.duplicates + garbage);
    assert!((40..120).contains(&counts.duplicates) && (80..160).contains(&counts.late), "{counts:?}");
    assert!((20..65).contains(&garbage) && counts.garbage.len() == 5, "{counts:?}");
}

#[test]
fn a_duplicate_has_the_id_and_the_bytes_of_its_event_and_comes_soon() {
    let (out, counts) = injected(&["duplicates=5%", "late=5%"], 3, rows(4_000));
    let mut seen = BTreeMap::new();
    let mut duplicates = 0;
    for (place, payload) in payloads(&out).into_iter().enumerate() {
        let event: Interaction = serde_json::from_slice(&payload).unwrap();
        let Some(id) = event.id else { continue };
        assert!(id.starts_with("run/"), "{id}");
        if let Some((first, before)) = seen.insert(id, (place, payload.clone())) {
            assert_eq!(payload, before);
            assert!(place - first <= 2 * DUPLICATE_WITHIN as usize, "{first} {place}");
            duplicates += 1;
        }
    }
    assert_eq!((duplicates, seen.len() as u64), (counts.duplicates, counts.duplicates));
}

#[test]
fn late_events_come_within_the_bound_and_none_is_lost() {
    let (out, counts) = injected(&["late=10%"], 3, rows(4_000));
    let times: Vec<i64> = out.iter().map(|outgoing| outgoing.ts.unwrap()).collect();
    let mut sorted = times.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..4_000).collect::<Vec<_>>());
    let (mut newest, mut late) = (-1, 0);
    for ts in times {
        assert!(newest - ts <= LATE_WITHIN as i64, "{newest} {ts}");
        late += u64::from(ts < newest);
        newest = newest.max(ts);
    }
    // One that is held back at the very end has nothing to be behind.
    assert!(late <= counts.late && late + 20 > counts.late, "{late} {}", counts.late);
}

#[test]
fn drift_mirrors_ratings_of_some_users_from_the_middle_on() {
    let (out, counts) = injected(&["drift=30%"], 3, rows(4_000));
    assert_eq!(counts.drift_from, Some(2_001));
    let mut drifted = BTreeMap::new();
    for (n, (sent, row)) in events(&out).iter().zip(rows(4_000)).enumerate() {
        let mirrored = 6.0 - row.rating.unwrap();
        assert!(sent.rating == row.rating || n >= 2_000 && sent.rating == Some(mirrored), "{n}");
        if n >= 2_000 && row.rating != Some(3.0) {
            let drifts = sent.rating == Some(mirrored);
            assert_eq!(*drifted.entry(row.user).or_insert(drifts), drifts, "a user changes for good");
        }
    }
    let users = drifted.values().filter(|drifts| **drifts).count();
    assert!((15..45).contains(&users) && counts.drifted_users.len() == users, "{users} {counts:?}");

    let plays = rows(20).map(|row| Interaction { rating: None, ..row });
    let (out, counts) = injected(&["drift=1@11"], 3, plays);
    let items: Vec<String> = events(&out).into_iter().map(|event| event.item).collect();
    let expected: Vec<String> = (0..10).chain(9..19).map(|n: u64| n.to_string()).collect();
    assert_eq!((items, counts.drifted), (expected, 10));
}

#[test]
fn what_people_write() {
    for (text, shown) in [("late=1%", "late=0.01"), ("drift=0.2@50", "drift=0.2@50"), ("garbage= 1", "garbage=1")] {
        assert_eq!(text.parse::<Injection>().unwrap().to_string(), shown);
    }
    for bad in ["late", "late=", "late=2", "late=-1", "late=101%", "lost=0.1", "late=0.1@5", "drift=0.1@0", "late=NaN"]
    {
        assert_eq!(bad.parse::<Injection>(), Err(InjectError::Unknown), "{bad}");
    }
    let new = |texts: &[&str], n_rows| {
        let ids = Ids { run: "run".into(), all: false };
        Injector::new(&injections(texts), 1, ids, (1.0, 5.0), n_rows).map(drop)
    };
    assert_eq!(new(&["late=1%", "late=2%"], None), Err(InjectError::Twice("late")));
    assert_eq!(new(&["drift=0.5"], None), Err(InjectError::NoMiddle("0.5".into())));
    assert_eq!(new(&["drift=0.5@7"], None), Ok(()));
}
