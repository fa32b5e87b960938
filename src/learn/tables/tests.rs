//! Rows are read back as they were, and what readers have never changes.

use proptest::prelude::*;

use super::matrix::{block_rows, stored_rows};
use super::*;
use crate::learn::away::UserRows;

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

proptest! {
    /// Whatever goes and comes, a row that is there is as it was, and what is stored is as if none had gone.
    #[test]
    fn rows_go_and_come_back_as_they_were(
        width in prop_oneof![1..40_usize, 500..700_usize],
        len in 1..300_u32,
        steps in proptest::collection::vec(any::<prop::sample::Index>(), 1..60),
    ) {
        let (mut live, mut lists) = (Matrix::new(width), Lists::<Live, Pair>::default());
        live.grow_to(len - 1, |index, row| row.fill(index as f32 + 0.5));
        (0..len).for_each(|index| lists.row_mut(index).extend((0..index % 5).map(|key| Pair(key, 1.0))));
        let tables = [live.publish().table("m"), lists.publish().table("l")];
        let stored = |table: &Table| table.stored().collect::<Vec<Stored>>();
        let [of_rows, of_lists] = [&tables[0], &tables[1]].map(stored);
        let mut away = std::collections::BTreeSet::new();
        for row in steps.iter().map(|step| step.index(len as usize) as u32) {
            let both: [(&mut dyn UserRows, &[Stored]); 2] = [(live.user_rows(), &of_rows), (lists.user_rows(), &of_lists)];
            let goes = !away.remove(&row);
            for (rows, stored) in both {
                if goes { rows.forget(row) } else { rows.recall(row, &stored[rows.part(row).unwrap()]).unwrap() }
            }
            if goes {
                away.insert(row);
            }
        }
        let (frozen, frozen_lists) = (live.publish(), lists.publish());
        for row in 0..len {
            let expected = (!away.contains(&row)).then(|| vec![row as f32 + 0.5; width]);
            prop_assert_eq!(frozen.get(row).map(<[f32]>::to_vec), expected);
            prop_assert_eq!(frozen_lists.row(row).len() as u32, if away.contains(&row) { 0 } else { row % 5 });
        }
        for (before, now, stored) in
            [(&tables[0], frozen.table("m"), &of_rows), (&tables[1], frozen_lists.table("l"), &of_lists)]
        {
            for (part, then) in stored.iter().enumerate() {
                let rows = now.blocks.part_rows();
                let gone: Vec<usize> = (0..rows).filter(|row| away.contains(&((part * rows + row) as u32))).collect();
                let (mut expected, mut bytes) = (Vec::new(), Vec::new());
                before.blocks.write(part, &mut expected);
                now.blocks.alone(part, Some((&gone, then))).unwrap().write(0, &mut bytes);
                prop_assert_eq!(bytes, expected);
            }
        }
    }

    /// A model that is loaded without rows has room for new ones, and gets the old ones back.
    #[test]
    fn rows_that_were_never_read_come_back_too(width in 1..40_usize, len in 1..300_u32, more in 0..200_u32) {
        let mut live = Matrix::new(width);
        live.grow_to(len - 1, |index, row| row.fill(index as f32 + 0.5));
        let stored: Vec<Stored> = live.publish().table("m").stored().collect();
        let absent = stored.iter().enumerate();
        let absent = absent.map(|(part, one)| Arc::new(Stored::away(one.kind(), &one.content(), part, len as usize)));
        let mut tables = Tables { parts: BTreeMap::from([("m".to_owned(), (u64::from(len), absent.collect()))]) };
        let read = Matrix::read(&mut tables, "m", width).unwrap();
        prop_assert!((0..len).all(|row| read.get(row).is_none()));
        let mut live = read.thaw();
        live.grow_to(len + more, |index, row| row.fill(index as f32 + 0.5));
        for row in 0..len {
            let rows = live.user_rows();
            rows.recall(row, &stored[rows.part(row).unwrap()]).unwrap();
        }
        let frozen = live.publish();
        prop_assert!((0..=len + more).all(|row| frozen.row(row).iter().all(|value| *value == row as f32 + 0.5)));
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
