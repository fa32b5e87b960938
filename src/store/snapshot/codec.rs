//! Blocks as bytes: a header of four magic bytes and one for the kind, then factors as raw little-endian `f32`, and
//! everything else as postcard.
//!
//! The bytes of equal blocks are equal, since blocks are named by the hash of their bytes.

use std::sync::Arc;

use ndarray::{Array1, Array2};
use roaring::RoaringBitmap;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Scalars;
use crate::learn::blocks::BLOCK_ROWS;
use crate::learn::model::FactorBlock;
use crate::publish::history::{CountBlock, SeenBlock};
use crate::store::{Block, Hash};

const MAGIC: &[u8; 4] = b"FRB1";

/// A kind of block.
pub(super) trait Codec: Sized {
    /// Fifth byte of the block. Never give a number another meaning.
    const KIND: u8;

    fn write(&self, bytes: &mut Vec<u8>);

    /// The block, or what is wrong with the bytes.
    fn read(bytes: &[u8]) -> Result<Self, String>;
}

pub(super) fn encode<B: Codec>(block: &B) -> Block {
    let mut bytes = MAGIC.to_vec();
    bytes.push(B::KIND);
    block.write(&mut bytes);
    Block { hash: Hash::of(&bytes), bytes }
}

pub(super) fn decode<B: Codec>(bytes: &[u8]) -> Result<B, String> {
    match bytes.split_first_chunk::<5>() {
        Some(([magic @ .., kind], content)) if magic == MAGIC && *kind == B::KIND => B::read(content),
        Some(([magic @ .., kind], _)) if magic == MAGIC => Err(format!("it is of kind {kind}, not {}", B::KIND)),
        _ => Err("it does not begin with FRB1".into()),
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
    const KIND: u8 = 1;

    fn write(&self, bytes: &mut Vec<u8>) {
        write_postcard(self, bytes);
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        read_postcard(bytes)
    }
}

/// Ids.
impl Codec for Vec<Arc<str>> {
    const KIND: u8 = 2;

    fn write(&self, bytes: &mut Vec<u8>) {
        write_postcard(self, bytes);
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        read_postcard(bytes)
    }
}

/// Factors, row by row, then biases; every block has [`BLOCK_ROWS`] rows, those not in use are zero.
impl Codec for FactorBlock {
    const KIND: u8 = 3;

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend((self.factors.ncols() as u32).to_le_bytes());
        bytes.extend(self.factors.iter().chain(&self.biases).flat_map(|value| value.to_le_bytes()));
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let (k, rest) = bytes.split_first_chunk::<4>().ok_or("it is cut short")?;
        let k = u32::from_le_bytes(*k) as usize;
        let (values, odd) = rest.as_chunks::<4>();
        if !odd.is_empty() || values.len() != BLOCK_ROWS.saturating_mul(k.saturating_add(1)) {
            return Err(format!("{} bytes are no {BLOCK_ROWS} rows of {k} factors and a bias", rest.len()));
        }
        let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
        if !values.iter().all(|value| value.is_finite()) {
            return Err("it holds a value that is not finite".into());
        }
        let (factors, biases) = values.split_at(BLOCK_ROWS * k);
        let factors = Array2::from_shape_vec((BLOCK_ROWS, k), factors.to_vec()).map_err(|error| error.to_string())?;
        Ok(Self { factors, biases: Array1::from(biases.to_vec()) })
    }
}

/// Seen items, each user's as differences of the sorted indexes: the one form of a set, whatever its history.
impl Codec for SeenBlock {
    const KIND: u8 = 4;

    fn write(&self, bytes: &mut Vec<u8>) {
        let differences = |seen: &Arc<RoaringBitmap>| -> Vec<u32> {
            let mut last = 0;
            seen.iter().map(|item| item - std::mem::replace(&mut last, item)).collect()
        };
        write_postcard(&self.iter().map(differences).collect::<Vec<_>>(), bytes);
    }

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
    const KIND: u8 = 5;

    fn write(&self, bytes: &mut Vec<u8>) {
        write_postcard(self, bytes);
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        read_postcard(bytes)
    }
}

/// An index block: hashes one after the other.
impl Codec for Vec<Hash> {
    const KIND: u8 = 6;

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.iter().flat_map(|hash| hash.0));
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        match bytes.as_chunks::<32>() {
            (hashes, []) => Ok(hashes.iter().copied().map(Hash).collect()),
            (_, odd) => Err(format!("{} bytes are left over after the last hash", odd.len())),
        }
    }
}
