//! Blocks as bytes: a header of four magic bytes and one for the kind, then the content. The rows of the learners write
//! their own, as raw little-endian words; what is here is the rest.
//!
//! The bytes of equal blocks are equal, since blocks are named by the hash of their bytes.

use std::sync::Arc;

use roaring::RoaringBitmap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Scalars;
use crate::learn::drift::Drift;
use crate::learn::intervals::Intervals;
use crate::learn::tables::{Block as Kind, Codec, Stored};
use crate::publish::history::{CountBlock, Recent, RecentBlock, SeenBlock};
use crate::store::{Block, Hash};

const MAGIC: &[u8; 4] = b"FRB1";

pub(super) fn encode(block: &dyn Codec) -> Block {
    let mut bytes = MAGIC.to_vec();
    bytes.push(block.kind());
    block.write(&mut bytes);
    Block { hash: Hash::of(&bytes), bytes }
}

/// The kind and the content of a block, or what is wrong with its header.
pub(super) fn content(bytes: &[u8]) -> Result<Stored, String> {
    match bytes.split_first_chunk::<5>() {
        Some(([magic @ .., kind], content)) if magic == MAGIC => Ok((*kind, content.to_vec())),
        _ => Err("it does not begin with FRB1".into()),
    }
}

pub(super) fn decode<B: Kind>(bytes: &[u8]) -> Result<B, String> {
    match content(bytes)? {
        (kind, content) if kind == B::KIND => B::read(&content),
        (kind, _) => Err(format!("it is of kind {kind}, not {}", B::KIND)),
    }
}

fn write_postcard<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    bytes.extend(postcard::to_stdvec(value).expect("plain values always serialize"));
}

fn read_postcard<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

impl Codec for Scalars {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_postcard(self, bytes);
    }
}

impl Kind for Scalars {
    const KIND: u8 = 1;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        read_postcard(bytes)
    }
}

/// Ids.
impl Codec for Vec<Arc<str>> {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_postcard(self, bytes);
    }
}

impl Kind for Vec<Arc<str>> {
    const KIND: u8 = 2;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        read_postcard(bytes)
    }
}

/// Seen items, each user's as differences of the sorted indexes: the one form of a set, whatever its history.
impl Codec for SeenBlock {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let differences = |seen: &Arc<RoaringBitmap>| -> Vec<u32> {
            let mut last = 0;
            seen.iter().map(|item| item - std::mem::replace(&mut last, item)).collect()
        };
        write_postcard(&self.iter().map(differences).collect::<Vec<_>>(), bytes);
    }
}

impl Kind for SeenBlock {
    const KIND: u8 = 4;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let users: Vec<Vec<u32>> = read_postcard(bytes)?;
        let seen = |differences: Vec<u32>| {
            let items = differences.into_iter().scan(0_u32, |last, difference| {
                *last = last.wrapping_add(difference);
                Some(*last)
            });
            RoaringBitmap::from_sorted_iter(items).map(Arc::new).map_err(|error| error.to_string())
        };
        users.into_iter().map(seen).collect()
    }
}

/// Events of each item.
impl Codec for CountBlock {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_postcard(self, bytes);
    }
}

impl Kind for CountBlock {
    const KIND: u8 = 5;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        read_postcard(bytes)
    }
}

/// Intervals around predictions.
impl Codec for Intervals {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_postcard(self, bytes);
    }
}

impl Kind for Intervals {
    const KIND: u8 = 12;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        read_postcard(bytes).and_then(|read: Self| {
            if read.is_whole() { Ok(read) } else { Err("its bounds are none that events can have made".into()) }
        })
    }
}

/// The detector of drift.
impl Codec for Drift {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_postcard(self, bytes);
    }
}

impl Kind for Drift {
    const KIND: u8 = 14;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        read_postcard(bytes).and_then(|read: Self| {
            if read.is_whole() { Ok(read) } else { Err("its detector is none that events can have made".into()) }
        })
    }
}

/// Recent events of each item.
impl Codec for RecentBlock {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        write_postcard(self, bytes);
    }
}

impl Kind for RecentBlock {
    const KIND: u8 = 13;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        read_postcard(bytes).and_then(|read: Self| {
            if read.iter().all(Recent::is_whole) { Ok(read) } else { Err("it holds a count that is none".into()) }
        })
    }
}

/// An index block: hashes one after the other.
impl Codec for Vec<Hash> {
    fn kind(&self) -> u8 {
        Self::KIND
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.iter().flat_map(|hash| hash.0));
    }
}

impl Kind for Vec<Hash> {
    const KIND: u8 = 6;

    fn read(bytes: &[u8]) -> Result<Self, String> {
        match bytes.as_chunks::<32>() {
            (hashes, []) => Ok(hashes.iter().copied().map(Hash).collect()),
            (_, odd) => Err(format!("{} bytes are left over after the last hash", odd.len())),
        }
    }
}
