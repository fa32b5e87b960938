//! A made-up stream of ratings without an end, of as many users and items as are asked for.
//!
//! Apart from the sample, which has the shape of one data set, its titles, and an end. Here nothing is kept of any user or
//! item: what they are like is drawn anew from the seed and their number each time, so that whoever makes the stream needs
//! the same memory for ten million users as for ten. Only integers and the four exact operations of floating point are used,
//! as in the sample, so that one seed gives the same rows on every machine.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::Interaction;
use super::sample::{MEAN, RANK, dot, normal, stars, vector};

/// Items that a user rates, again and again: what is stored of users then has an end, though the stream has none.
pub const REPERTOIRE: u32 = 20;

/// How many users and items there are, and which ratings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Population {
    /// Users, at least one.
    pub users: u32,
    /// Items, at least one.
    pub items: u32,
    /// Lowest and highest rating.
    pub scale: (f32, f32),
}

impl Population {
    /// Events at the beginning, each of which has a user with an item that is new to him. After these nothing is new.
    #[must_use]
    pub fn introduction(&self) -> u64 {
        u64::from(self.users) * u64::from(REPERTOIRE)
    }

    /// A user by the law that events have theirs from, the lower numbers more often: the density falls with the square root
    /// of the number.
    pub fn draw_user(&self, random: &mut Pcg64) -> String {
        name(power(random, self.users, 2))
    }
}

/// The stream.
///
/// Every user has [`REPERTOIRE`] items: the first ones to be given out are every item once, all others are drawn by a power
/// law. First each user rates each of his own once, in turn. From then on users are drawn by a gentler law, and rate one of
/// theirs. A rating is a bias of each user and item plus a product of rank 6, and noise.
#[derive(Debug)]
pub struct Endless {
    seed: u64,
    population: Population,
    random: Pcg64,
    made: u64,
}

/// What a number is of.
#[derive(Clone, Copy)]
enum Kind {
    User,
    Item,
    Choice,
}

struct Taste {
    bias: f64,
    vector: [f64; RANK],
}

impl Endless {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64, population: Population) -> Self {
        Self { seed, population, random: Pcg64::seed_from_u64(seed), made: 0 }
    }

    /// User, item and rating of the next event, by number.
    pub fn draw(&mut self) -> (u32, u32, f32) {
        let Population { users, items, .. } = self.population;
        let users = u64::from(users);
        // Choices are numbered through: the first of every user, then the second of every user, and so on.
        let choice = if self.made < self.population.introduction() {
            self.made
        } else {
            let user = power(&mut self.random, self.population.users, 2);
            u64::from(self.random.random_range(0..REPERTOIRE)) * users + u64::from(user)
        };
        self.made += 1;
        let user = (choice % users) as u32;
        let item = match u32::try_from(choice) {
            Ok(item) if item < items => item,
            _ => power(&mut self.own(Kind::Choice, choice), items, 4),
        };
        (user, item, self.rating(user, item))
    }

    fn rating(&mut self, user: u32, item: u32) -> f32 {
        let (user, item) = (self.taste(Kind::User, user, 0.65), self.taste(Kind::Item, item, 0.5));
        let like = dot(&user.vector, &item.vector);
        let score = MEAN + user.bias + item.bias + like + normal(&mut self.random) * 0.8;
        let (low, high) = self.population.scale;
        low + (stars(score) - 1.0) / 4.0 * (high - low)
    }

    fn taste(&self, kind: Kind, number: u32, scale: f64) -> Taste {
        let mut random = self.own(kind, u64::from(number));
        Taste { bias: normal(&mut random) * 0.4, vector: vector(&mut random, scale) }
    }

    /// The generator of one user, item or choice.
    fn own(&self, kind: Kind, number: u64) -> Pcg64 {
        Pcg64::seed_from_u64(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (kind as u64) << 56 ^ number)
    }
}

impl Iterator for Endless {
    type Item = Interaction;

    fn next(&mut self) -> Option<Interaction> {
        let (user, item, rating) = self.draw();
        Some(Interaction { user: name(user), item: name(item), rating: Some(rating), ..Interaction::default() })
    }
}

/// Told apart from the ids of any data set.
fn name(number: u32) -> String {
    format!("soak-{number}")
}

/// A number below `n`, the lower ones more often: a uniform one to this power.
fn power(random: &mut Pcg64, n: u32, exponent: u32) -> u32 {
    let uniform: f64 = random.random();
    ((0..exponent).fold(1.0, |product, _| product * uniform) * f64::from(n)) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SMALL: Population = Population { users: 300, items: 120, scale: (1.0, 5.0) };

    fn draw(seed: u64, population: Population, n: usize) -> Vec<(u32, u32, f32)> {
        let mut stream = Endless::new(seed, population);
        (0..n).map(|_| stream.draw()).collect()
    }

    #[test]
    fn one_seed_gives_the_same_rows_and_another_seed_others() {
        assert_eq!(draw(1, SMALL, 2_000), draw(1, SMALL, 2_000));
        assert_ne!(draw(1, SMALL, 2_000), draw(2, SMALL, 2_000));
        let row = Endless::new(1, SMALL).next().unwrap();
        assert_eq!((row.user.as_str(), row.item.as_str(), row.ts), ("soak-0", "soak-0", None));
    }

    #[test]
    fn after_the_introduction_nothing_is_new() {
        for population in [SMALL, Population { users: 50, items: 900, ..SMALL }] {
            let rows = draw(7, population, 60_000);
            let early = &rows[..population.introduction() as usize];
            let users: BTreeSet<_> = early.iter().map(|row| row.0).collect();
            let items: BTreeSet<_> = early.iter().map(|row| row.1).collect();
            assert_eq!((users.len(), items.len()), (population.users as usize, population.items as usize));
            let pairs: BTreeSet<_> = early.iter().map(|row| (row.0, row.1)).collect();
            assert!(rows.iter().all(|row| pairs.contains(&(row.0, row.1))));
        }
    }

    #[test]
    fn low_numbers_come_more_often_and_ratings_are_of_every_kind() {
        let rows = &draw(7, SMALL, 66_000)[SMALL.introduction() as usize..];
        let share = |low: usize| low as f64 / rows.len() as f64;
        let (users, items) =
            (rows.iter().filter(|row| row.0 < 75).count(), rows.iter().filter(|row| row.1 < 12).count());
        assert!((0.45..0.55).contains(&share(users)), "a quarter of the users has half of the events: {users}");
        assert!((0.45..0.65).contains(&share(items)), "a tenth of the items has more than half: {items}");
        for stars in 1..=5 {
            let count = rows.iter().filter(|row| row.2 == stars as f32).count();
            assert!(share(count) > 0.03, "{stars}: {count}");
        }
        let halves = draw(7, Population { scale: (0.0, 2.0), ..SMALL }, 1_000);
        assert!(halves.iter().all(|row| [0.0, 0.5, 1.0, 1.5, 2.0].contains(&row.2)));
    }
}
