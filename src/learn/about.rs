//! What events tell of their items, as learners take it: genres as bits, and the year.
//!
//! Apart from the ids, because a learner's rows have room for so many genres and no more.

use serde::{Deserialize, Serialize};

/// Genres that have a bit; those that appear later are left out.
pub const MAX_GENRES: usize = 64;

/// What an event tells of its item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// A bit for each genre, by dense index.
    pub genres: u64,
    /// Year of the item.
    pub year: Option<i32>,
}

/// Genres by dense index, in the order of first appearance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Genres(Vec<String>);

impl Genres {
    /// What is told by these genres and this year; nothing if there is neither. Genres not known yet get the next bit.
    pub fn about(&mut self, genres: &[String], year: Option<i32>) -> Option<About> {
        if genres.is_empty() && year.is_none() {
            return None;
        }
        let bits = genres.iter().filter_map(|genre| self.intern(genre)).fold(0, |bits, index| bits | 1 << index);
        Some(About { genres: bits, year })
    }

    fn intern(&mut self, genre: &str) -> Option<usize> {
        let known = self.0.iter().position(|known| known == genre);
        known.or_else(|| {
            (self.0.len() < MAX_GENRES).then(|| {
                self.0.push(genre.to_owned());
                self.0.len() - 1
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_genre_keeps_its_bit_and_those_past_the_last_bit_are_left_out() {
        let mut genres = Genres::default();
        let texts = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(genres.about(&[], None), None);
        assert_eq!(genres.about(&[], Some(1995)), Some(About { genres: 0, year: Some(1995) }));
        assert_eq!(genres.about(&texts(&["Drama", "Crime"]), None), Some(About { genres: 0b11, year: None }));
        assert_eq!(genres.about(&texts(&["Crime"]), None), Some(About { genres: 0b10, year: None }));
        let many: Vec<String> = (0..99).map(|n| n.to_string()).collect();
        assert_eq!(genres.about(&many, None).map(|about| about.genres.count_ones()), Some(62));
    }
}
