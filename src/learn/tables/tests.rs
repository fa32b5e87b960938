//! Rows are read back as they were, and what readers have never changes.

use proptest::prelude::*;

use super::matrix::{block_rows, stored_rows};
use super::*;

#[derive(Clone, Copy, Debug, PartialEq)]
struct Pair(u32, f32);

impl Entry for Pair {
    const KIND: u8 = 200;
    const WORDS: usize = 2;

    fn write(&self, words: &mut Vec<u32>) {
        words.extend([self.0, self.1.to_bits()]);
    }

    fn read(words: &[u32]) -> Self {
        Self(words[0], f32::from_bits(words[1]))
    }
}

fn stored(table: Table) -> Tables {
    Tables::of(vec![table])
}

proptest! {
    #[test]
    fn a_matrix_is_read_back_as_it_was(width in 1..40_usize, len in 1..400_u32, at in any::<prop::sample::Index>()) {
        let mut live = Matrix::new(width);
        live.grow_to(len - 1, |index, row| row.fill(index as f32));
        let index = at.index(len as usize) as u32;
        live.row_mut(index)[0] = -1.0;
        let before = live.publish();
        live.row_mut(index)[0] = -2.0;
        prop_assert_eq!((before.row(index)[0], live.row(index)[0]), (-1.0, -2.0));
        let read = Matrix::read(&mut stored(before.table("m")), "m", width).unwrap();
        prop_assert!(read.rows().eq(before.rows()));
        prop_assert!(Matrix::read(&mut stored(before.table("m")), "m", width + 1).is_err());
    }

    #[test]
    fn lists_are_read_back_as_they_were(rows in proptest::collection::vec(0..9_u32, 1..70)) {
        let mut live = Lists::<Live, Pair>::default();
        for (index, len) in rows.iter().enumerate() {
            live.row_mut(index as u32).extend((0..*len).map(|key| Pair(key, key as f32)));
        }
        let before = live.publish();
        live.row_mut(0).push(Pair(99, 0.5));
        prop_assert_eq!(before.row(0).len() as u32, rows[0]);
        let read = Lists::<Frozen, Pair>::read(&mut stored(before.table("l")), "l").unwrap();
        prop_assert!((0..rows.len() as u32).all(|index| read.row(index) == before.row(index)));
        prop_assert_eq!(read.row(rows.len() as u32), &[]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    assert!(FloatBlock::read(&[1, 0, 0]).is_err());
    let bytes = [&2_u32.to_le_bytes()[..], &f32::NAN.to_le_bytes().repeat(128 * 2)].concat();
    assert!(FloatBlock::read(&bytes).unwrap_err().contains("not finite"));
    assert!(ListBlock::<Pair>::read(&[2, 0, 0, 0, 1, 0, 0, 0]).unwrap_err().contains("cut short"));
    assert!(Matrix::<Frozen>::read(&mut Tables::default(), "m", 2).unwrap_err().contains("no m"));
}

#[test]
fn wide_rows_have_small_blocks() {
    assert_eq!([1, 33, 64, 65, 1_200, 9_000].map(stored_rows), [128, 128, 128, 64, 4, 1]);
    assert_eq!([1, 33, 64, 65, 1_200, 9_000].map(block_rows), [128, 16, 8, 8, 1, 1]);
}
