//! What kinds of items a user turns to: genres and years of his newest choices against those of everybody.
//!
//! Side information, where events tell any: an item about which nothing was told has columns of zeros, and a stream that
//! tells nothing costs nothing. A user's share of a genre is that of his choices, older ones weighing less, drawn toward
//! everybody's share by two choices' worth; an item's column is the logarithm of how much more the user turns to its
//! genres than everybody does.

use serde::{Deserialize, Serialize};

use super::math::ln;
use crate::learn::about::About;
use crate::learn::away::UserRows;
use crate::learn::tables::{Frozen, Live, Matrix, Storage, Table, Tables};

/// Name of the users' table.
const USERS: &str = "user_genres";

/// Genres that count: the first that appeared.
const GENRES: usize = 32;

/// What is left of a choice's weight at the user's next event, in the profile of late and in that at large.
const KEPT: [f32; 2] = [0.93, 0.99];

/// Weight of an event that does not speak for the item: to have turned to it tells something all the same.
const NEGATIVE: f32 = 0.3;

/// Choices' worth of everybody's taste in that of a user.
const PRIOR: f32 = 2.0;

/// What is added to shares before their ratio is taken.
const SMOOTHING: f32 = 1e-3;

/// Columns of an item: its genres against the profile of late and at large, its distance in years from the user's newest
/// choices, and the direction of it.
pub(super) const COLUMNS: usize = 4;

// Places in a user's row: a profile for each of KEPT, genres and the sum of weights; then years and their weights.
const PROFILE: usize = GENRES + 1;
const YEARS: usize = KEPT.len() * PROFILE;
const WIDTH: usize = YEARS + 2;

/// Events of everybody by genre, and all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shares {
    genres: Vec<u64>,
    events: u64,
}

impl Default for Shares {
    fn default() -> Self {
        Self { genres: vec![0; GENRES], events: 0 }
    }
}

impl Shares {
    /// Whether there is one for each genre.
    pub(super) fn are_whole(&self) -> bool {
        self.genres.len() == GENRES
    }

    fn of_everybody(&self) -> [f32; GENRES] {
        let events = self.events.max(1) as f32;
        std::array::from_fn(|genre| self.genres[genre] as f32 / events)
    }
}

/// Items by what was told of them, shape `(n_items, 3)`: genres as two halves of a bit each, and the year, 0 where none was
/// told; and what users turn to, shape `(n_users, WIDTH)`.
#[derive(Clone, Debug)]
pub(super) struct Profiles<S: Storage> {
    items: Matrix<S>,
    users: Matrix<S>,
}

/// One item's genres as bits, and its year, 0 where none was told.
fn told(row: &[f32]) -> (u32, f32) {
    (row[0] as u32 | (row[1] as u32) << 16, row[2])
}

fn genres(bits: u32) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(bits), |bits| Some(bits & bits.wrapping_sub(1)))
        .take_while(|bits| *bits != 0)
        .map(|bits| bits.trailing_zeros() as usize)
}

/// What a user turns to, ready to be compared with items.
#[derive(Clone, Debug)]
pub(super) struct Taste {
    everybody: [f32; GENRES],
    own: [[f32; GENRES]; KEPT.len()],
    year: Option<f32>,
}

impl Taste {
    /// The columns of an item.
    #[inline]
    fn columns(&self, (bits, year): (u32, f32)) -> [f32; COLUMNS] {
        let mut columns = [0.0; COLUMNS];
        if bits != 0 {
            let scale = 1.0 / bits.count_ones() as f32;
            let mean = |shares: &[f32; GENRES]| genres(bits).map(|genre| shares[genre]).sum::<f32>() * scale;
            let everybody = mean(&self.everybody) + SMOOTHING;
            for (column, own) in columns.iter_mut().zip(&self.own) {
                *column = ln((mean(own) + SMOOTHING) / everybody);
            }
        }
        if let Some(own) = self.year.filter(|_| year != 0.0) {
            // In decades.
            let apart = (0.1 * (year - own)).clamp(-4.0, 4.0);
            (columns[2], columns[3]) = ((apart.abs() + 0.1).min(4.0), apart);
        }
        columns
    }
}

impl<S: Storage> Profiles<S> {
    /// What a user turns to; none where nothing was ever told.
    pub(super) fn taste(&self, user: u32, shares: &Shares) -> Option<Taste> {
        if shares.events == 0 {
            return None;
        }
        let everybody = shares.of_everybody();
        let none = [0.0; WIDTH];
        let row = self.users.get(user).unwrap_or(&none);
        let own = std::array::from_fn(|at| {
            let profile = &row[at * PROFILE..][..PROFILE];
            std::array::from_fn(|g| (profile[g] + PRIOR * everybody[g]) / (profile[GENRES] + PRIOR))
        });
        let year = (row[YEARS + 1] > 0.0).then(|| row[YEARS] / row[YEARS + 1]);
        Some(Taste { everybody, own, year })
    }

    /// The columns of an item for a user.
    #[inline]
    pub(super) fn columns(&self, taste: &Taste, item: u32) -> [f32; COLUMNS] {
        self.items.get(item).map_or([0.0; COLUMNS], |row| taste.columns(told(row)))
    }
}

impl Profiles<Live> {
    pub(super) fn new() -> Self {
        Self { items: Matrix::new(3), users: Matrix::new(WIDTH) }
    }

    /// Takes in what an event told of its item.
    pub(super) fn tell(&mut self, item: u32, about: &About) {
        self.items.grow_to(item, |_, _| ());
        let year = about.year.map_or(0.0, |year| year.clamp(-100_000, 100_000) as f32);
        let bits = about.genres as u32;
        self.items.row_mut(item).copy_from_slice(&[(bits & 0xffff) as f32, (bits >> 16) as f32, year]);
    }

    /// Counts an event.
    pub(super) fn add(&mut self, user: u32, item: u32, positive: bool, shares: &mut Shares) {
        let Some((bits, year)) = self.items.get(item).map(told).filter(|(bits, year)| *bits != 0 || *year != 0.0)
        else {
            return;
        };
        self.users.grow_to(user, |_, _| ());
        let row = self.users.row_mut(user);
        let weight = if positive { 1.0 } else { NEGATIVE };
        for (profile, kept) in row.chunks_exact_mut(PROFILE).zip(KEPT) {
            for value in profile.iter_mut() {
                *value *= kept;
            }
            genres(bits).for_each(|genre| profile[genre] += weight);
            profile[GENRES] += weight;
        }
        if year != 0.0 {
            row[YEARS] = row[YEARS] * KEPT[0] + year;
            row[YEARS + 1] = row[YEARS + 1] * KEPT[0] + 1.0;
        }
        genres(bits).for_each(|genre| shares.genres[genre] += 1);
        shares.events += 1;
    }

    /// Users' rows that may be away.
    pub(super) fn user_rows(&mut self) -> (String, &mut dyn UserRows) {
        (USERS.to_owned(), self.users.user_rows())
    }

    pub(super) fn publish(&mut self) -> Profiles<Frozen> {
        Profiles { items: self.items.publish(), users: self.users.publish() }
    }
}

impl Profiles<Frozen> {
    pub(super) fn thaw(&self) -> Profiles<Live> {
        Profiles { items: self.items.thaw(), users: self.users.thaw() }
    }

    pub(super) fn tables(&self) -> [Table; 2] {
        [self.items.table("item_genres"), self.users.table(USERS)]
    }

    /// The profiles of these tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read(tables: &mut Tables) -> Result<Self, String> {
        Ok(Self { items: Matrix::read(tables, "item_genres", 3)?, users: Matrix::read(tables, USERS, WIDTH)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_turns_to_his_genres_and_years() {
        let (mut profiles, mut shares) = (Profiles::new(), Shares::default());
        assert!(profiles.taste(0, &shares).is_none());
        let about = |genre: u32, year| About { genres: 1 << genre | 1 << 40, year: Some(year) };
        (0..4)
            .for_each(|item| profiles.tell(item, &about(if item < 2 { 0 } else { 31 }, 1960 + 20 * (item as i32 / 2))));
        for round in 0..20 {
            profiles.add(0, round % 2, true, &mut shares);
            profiles.add(1, 2 + round % 2, true, &mut shares);
        }
        // Nothing was told of item 9.
        profiles.add(0, 9, true, &mut shares);
        let taste = profiles.taste(0, &shares).unwrap();
        let [own, other, unknown] = [0, 3, 9].map(|item| profiles.columns(&taste, item));
        assert!(own[0] > 0.4 && other[0] < -1.0 && own[1] > 0.4, "{own:?} {other:?}");
        assert!((own[3]).abs() < 1e-3 && (other[3] - 2.0).abs() < 1e-3 && other[2] > own[2]);
        assert_eq!(unknown, [0.0; COLUMNS]);
        let newcomer = profiles.columns(&profiles.taste(7, &shares).unwrap(), 0);
        assert!(newcomer[0].abs() < 1e-2 && newcomer[2..] == [0.0; 2], "{newcomer:?}");
    }
}
