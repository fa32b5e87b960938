//! Row 6: a tenth of the records is garbage, and every one becomes a dead letter.

use std::collections::{BTreeMap, BTreeSet};

use freshet::config::StoreKind;
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::Row;
use super::site::{Site, learned};
use crate::engine::garbage;

const RECORDS: usize = 10_000;
const GARBAGE: usize = 1_000;

#[test]
fn embedded() {
    row(&Site::embedded(), "garbage among 10,000 records, embedded log and store");
}

#[test]
fn servers() {
    row(&Site::shared(), "garbage among 10,000 records, Kafka and MongoDB");
}

/// The long form is no other: it is quick.
#[test]
#[ignore = "make chaos"]
fn long() {
    embedded();
    servers();
}

fn row(site: &Site, what: &str) {
    let mut random = Pcg64::seed_from_u64(6);
    let mut bad = BTreeMap::new();
    let kinds = garbage();
    while bad.len() < GARBAGE {
        let kind = kinds[random.random_range(0..kinds.len())].0.clone();
        bad.insert(random.random_range(0..RECORDS as i64), kind);
    }
    let rows = freshet::capture::open("sample", None).unwrap().rows;
    let good: Vec<Vec<u8>> = rows.take(RECORDS - GARBAGE).map(|row| row.unwrap().to_json()).collect();
    let mut rest = good.iter().cloned();
    site.send((0..RECORDS as i64).filter_map(|offset| bad.get(&offset).cloned().or_else(|| rest.next())));
    let undisturbed = Site::embedded();
    undisturbed.send(good.clone());
    let expected = learned(&undisturbed, good.len() as u64);

    let mut engine = site.freshet.start();
    engine.learned(good.len() as u64);
    site.same_model(engine, good.len() as u64, &expected);
    assert!(dead_letters(site) == bad, "the dead letters are others than the garbage");
    let rejects: BTreeSet<i64> = bad.keys().copied().collect();
    let account = site.account(RECORDS as u64, &rejects);
    Row { what, times: GARBAGE, account, recoveries: Vec::new() }.conclude();
}

/// The bytes of each dead letter, by its offset.
fn dead_letters(site: &Site) -> BTreeMap<i64, Vec<u8>> {
    if site.config.store.kind == StoreKind::Embedded {
        let sqlite = site.freshet.store();
        let mut letters = sqlite.prepare("SELECT offset, payload FROM dead_letters").unwrap();
        return letters.query_map([], |row| row.try_into()).unwrap().map(Result::unwrap).collect();
    }
    let letters: Vec<Document> = site.runtime.block_on(async {
        let client = mongodb::Client::with_uri_str(&site.config.store.uri).await.unwrap();
        let letters = client.database(&site.config.store.database).collection("dead_letters");
        letters.find(doc! {}).await.unwrap().try_collect().await.unwrap()
    });
    let offset = |letter: &Document| letter.get_document("_id").unwrap().get_i64("o").unwrap();
    let bytes = |letter: &Document| letter.get_binary_generic("payload").unwrap().clone();
    letters.iter().map(|letter| (offset(letter), bytes(letter))).collect()
}
