//! Snapshots that an earlier build exported: this one reads them, to the same model, and writes the same blocks again.
//!
//! A test here that fails after a change of a learner or of a codec means that the stored snapshots of users are not read
//! any more, or hash to something else. Then `SNAPSHOT_FORMAT` has to be raised, and the files made anew by
//! `cargo test --release --test it golden::write -- --ignored`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use freshet::publish::Query;
use freshet::store::snapshot::archive::{self, Archive};
use freshet::store::snapshot::check::check;
use freshet::store::snapshot::{self, Encoded, Encoder, Source, Taken};
use freshet::store::{Block, Hash};

use crate::model::Model;

/// Events that each model has learned.
const EVENTS: u64 = 300;

/// Name, settings and SHA-256 of each model.
const GOLDEN: [(&str, &[&str], &str); 2] = [
    ("default", &[], "e712a2abbdb41ce5e34620acfc94ee3f7299495b25a2cfb6c787fc2ab6a9b0ba"),
    (
        "biased-mf-item-knn",
        &["learn.rating=biased-mf", "learn.ranking=item-knn"],
        "a1aecf002244f0e296bf1199d8f354b9768d04231f3b5a146ce05d1bb901cf1b",
    ),
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden").join(format!("{name}.zip"))
}

/// Blocks as they were just encoded.
struct Memory(BTreeMap<Hash, Block>);

#[async_trait::async_trait]
impl Source for Memory {
    fn place(&self) -> String {
        "memory".into()
    }

    async fn read(&self, hashes: &[Hash]) -> Result<Vec<Block>, freshet::store::StoreError> {
        Ok(hashes.iter().map(|hash| self.0[hash].clone()).collect())
    }
}

#[tokio::test]
async fn a_snapshot_of_an_earlier_build_is_read_and_written_bit_for_bit() {
    for (name, _, sha256) in GOLDEN {
        let file = Archive::open(&path(name)).unwrap();
        assert_eq!(file.manifest.sha256.to_string(), sha256, "{name}");
        assert_eq!(check(&file, &file.manifest).await.unwrap().wrong, Vec::<String>::new(), "{name}");
        let view = snapshot::load(&file, &file.manifest).await.unwrap();
        assert_eq!(view.version().seq, EVENTS);
        assert!(!view.recommend("u7", &Query::top(5)).items.is_empty());

        let mut encoder = Encoder::new(file.manifest.params.clone());
        let again = encoder.encode(&view, Taken { epoch: 1, ..Taken::default() });
        assert_eq!(again.manifest.sections, file.manifest.sections, "{name}");
        let hashes: Vec<Hash> = again.new.iter().map(|block| block.hash).collect();
        assert_eq!(file.read(&hashes).await.unwrap(), again.new, "{name}");
    }
}

#[tokio::test]
#[ignore = "writes the golden files; only after SNAPSHOT_FORMAT was raised, with the new hashes put into GOLDEN"]
async fn write() {
    for (name, settings, _) in GOLDEN {
        let mut model = Model::new(settings);
        model.learn(EVENTS);
        let Encoded { manifest, new, .. } = model.snapshot(0);
        let source = Memory(new.into_iter().map(|block| (block.hash, block)).collect());
        let file = std::fs::File::create(path(name)).unwrap();
        archive::write(&source, &manifest, "golden", (file, &path(name)), |_| {}).await.unwrap();
        println!("{name}: {}", manifest.sha256);
    }
}
