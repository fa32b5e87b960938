//! Blocks as bytes: a header of four magic bytes and one for the kind, then the content. The rows of the learners write
//! their own, as raw little-endian words; what is here is the rest.
//!
//! The bytes of equal blocks are equal, since blocks are named by the hash of their bytes.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Scalars;
use crate::learn::drift::Drift;
use crate::learn::intervals::Intervals;
use crate::learn::tables::{Block as Kind, FloatBlock, Stored, Stores};
use crate::publish::history::{CountBlock, RecentBlock, SeenBlock};
use crate::store::{Block, Hash};

const MAGIC: &[u8; 4] = b"FRB1";

/// Kind of an index block.
const INDEX: u8 = 6;

/// A part of a table.
pub(super) fn encode(blocks: &dyn Stores, part: usize) -> Block {
    framed(blocks.kind(), |bytes| blocks.write(part, bytes))
}

/// A part after some of its pieces have changed, each by its place, in order: the block that it is stored as, and read.
pub(super) fn changed(before: Option<&Stored>, kind: u8, pieces: &[(usize, &[u8])]) -> Result<(Hash, Stored), String> {
    match kind {
        FloatBlock::KIND => changed_as::<FloatBlock>(before, pieces),
        SeenBlock::KIND => changed_as::<SeenBlock>(before, pieces),
        CountBlock::KIND => changed_as::<CountBlock>(before, pieces),
        RecentBlock::KIND => changed_as::<RecentBlock>(before, pieces),
        _ => Err(format!("blocks of kind {kind} are not told in pieces")),
    }
}

fn changed_as<B: Kind>(before: Option<&Stored>, pieces: &[(usize, &[u8])]) -> Result<(Hash, Stored), String> {
    let (stored, content) = match before {
        Some(before) => before.changed::<B>(pieces)?,
        None => Stored::empty::<B>().changed::<B>(pieces)?,
    };
    Ok((framed(B::KIND, |bytes| bytes.extend(content)).hash, stored))
}

/// A block by itself.
pub(super) fn encode_one<B: Kind>(block: B) -> Block {
    framed(B::KIND, |bytes| B::write(&[Arc::new(block)], bytes))
}

/// An index block: hashes one after the other.
pub(super) fn encode_index(hashes: &[Hash]) -> Block {
    framed(INDEX, |bytes| bytes.extend(hashes.iter().flat_map(|hash| hash.0)))
}

/// The hashes that an index block lists.
pub(super) fn decode_index(bytes: &[u8]) -> Result<Vec<Hash>, String> {
    match content_of(bytes, INDEX)?.as_chunks::<32>() {
        (hashes, []) => Ok(hashes.iter().copied().map(Hash).collect()),
        (_, odd) => Err(format!("{} bytes are left over after the last hash", odd.len())),
    }
}

fn framed(kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> Block {
    let mut bytes = MAGIC.to_vec();
    bytes.push(kind);
    write(&mut bytes);
    Block { hash: Hash::of(&bytes), bytes }
}

/// The kind and the content of a block, or what is wrong with its header.
pub(super) fn content(bytes: &[u8]) -> Result<(u8, &[u8]), String> {
    match bytes.split_first_chunk::<5>() {
        Some(([magic @ .., kind], content)) if magic == MAGIC => Ok((*kind, content)),
        _ => Err("it does not begin with FRB1".into()),
    }
}

/// A block to be read, or what is wrong with its header.
pub(super) fn stored(bytes: &[u8]) -> Result<Arc<Stored>, String> {
    content(bytes).map(|(kind, content)| Arc::new(Stored::new(kind, content.to_vec())))
}

/// The same without its rows, which are away: part `index` of `rows` rows.
pub(super) fn absent(bytes: &[u8], index: usize, rows: usize) -> Result<Arc<Stored>, String> {
    content(bytes).map(|(kind, content)| Arc::new(Stored::away(kind, content, index, rows)))
}

fn content_of(bytes: &[u8], wanted: u8) -> Result<&[u8], String> {
    match content(bytes)? {
        (kind, content) if kind == wanted => Ok(content),
        (kind, _) => Err(format!("it is of kind {kind}, not {wanted}")),
    }
}

fn write_postcard<T: Serialize>(blocks: &[Arc<T>], bytes: &mut Vec<u8>) {
    for block in blocks {
        bytes.extend(postcard::to_stdvec(&**block).expect("plain values always serialize"));
    }
}

/// One value, which `is_whole` says whether events can have made it.
fn read_postcard<T: DeserializeOwned>(bytes: &[u8], is_whole: impl Fn(&T) -> bool) -> Result<Vec<T>, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) if is_whole(&value) => Ok(vec![value]),
        Ok((_, [])) => Err("it holds what events cannot have made".into()),
        Ok((_, rest)) => Err(format!("{} bytes are left over", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

impl Kind for Scalars {
    const KIND: u8 = 1;

    fn write(blocks: &[Arc<Self>], bytes: &mut Vec<u8>) {
        write_postcard(blocks, bytes);
    }

    fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        read_postcard(bytes, |_| true)
    }
}

/// Intervals around predictions.
impl Kind for Intervals {
    const KIND: u8 = 12;

    fn write(blocks: &[Arc<Self>], bytes: &mut Vec<u8>) {
        write_postcard(blocks, bytes);
    }

    fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        read_postcard(bytes, Self::is_whole)
    }
}

/// The detector of drift.
impl Kind for Drift {
    const KIND: u8 = 14;

    fn write(blocks: &[Arc<Self>], bytes: &mut Vec<u8>) {
        write_postcard(blocks, bytes);
    }

    fn read(bytes: &[u8]) -> Result<Vec<Self>, String> {
        read_postcard(bytes, Self::is_whole)
    }
}
