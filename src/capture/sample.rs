//! A made-up data set with the shape of MovieLens 100K, for when no real one can be had.
//!
//! Apart from the readers, since nothing is read. Only integers and the four exact operations of floating point are used,
//! never a logarithm or a power, so that one seed gives the same rows on every machine.

use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_pcg::Pcg64;

use super::dataset::Dataset;
use super::{Interaction, Item, User};

/// Seed of the sample that is opened by name.
pub const SEED: u64 = 42;
/// Rows of the sample that is opened by name.
pub const ROWS: usize = 100_000;
/// Users of every sample.
pub const USERS: usize = 943;
/// Items of every sample.
pub const ITEMS: usize = 1_682;

/// First second of the sample: 1997-09-20, as MovieLens 100K.
const START: i64 = 874_724_710;
/// Length of the sample in seconds: seven months.
const LENGTH: i64 = 18_561_928;
/// Rank of the planted taste.
pub(super) const RANK: usize = 6;
/// Mean of all ratings, before they are rounded.
pub(super) const MEAN: f64 = 3.3;

const GENRES: [&str; 12] = [
    "Adventure",
    "Animation",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Western",
];
const OCCUPATIONS: [&str; 10] =
    ["archivist", "baker", "carpenter", "editor", "engineer", "gardener", "nurse", "pilot", "student", "teacher"];
const FIRST: [&str; 42] = [
    "Amber",
    "Borrowed",
    "Broken",
    "Burning",
    "Careless",
    "Common",
    "Copper",
    "Crooked",
    "Distant",
    "Early",
    "Empty",
    "Faithful",
    "Final",
    "Forgotten",
    "Frozen",
    "Gentle",
    "Golden",
    "Hidden",
    "Hollow",
    "Idle",
    "Last",
    "Little",
    "Lost",
    "Lucky",
    "Midnight",
    "Narrow",
    "Northern",
    "Open",
    "Paper",
    "Patient",
    "Quiet",
    "Restless",
    "Salt",
    "Second",
    "Silent",
    "Silver",
    "Stolen",
    "Sudden",
    "Tender",
    "Unlikely",
    "Wandering",
    "Winter",
];
const SECOND: [&str; 42] = [
    "Alphabet",
    "Anchor",
    "Autumn",
    "Bridge",
    "Captain",
    "Carnival",
    "Clockmaker",
    "Compass",
    "Country",
    "Crossing",
    "Daughter",
    "Evening",
    "Ferry",
    "Fortune",
    "Garden",
    "Guest",
    "Harbour",
    "Horizon",
    "House",
    "Island",
    "Journey",
    "Kingdom",
    "Lantern",
    "Letter",
    "Lighthouse",
    "Market",
    "Mirror",
    "Mountain",
    "Neighbour",
    "Orchard",
    "Passenger",
    "Promise",
    "River",
    "Road",
    "Season",
    "Secret",
    "Shadow",
    "Stranger",
    "Summer",
    "Tide",
    "Valley",
    "Witness",
];

/// Generates `n` rows, at most one for each pair of user and item.
///
/// Users come in sessions over seven months; what they like is a bias of each user and item plus a product of rank 6 that
/// follows the genres; what they see follows Zipf's law, and their taste a little.
#[must_use]
pub fn sample(seed: u64, n: usize) -> Dataset {
    let mut rng = Pcg64::seed_from_u64(seed);
    let films = films(&mut rng);
    let mut rows = Vec::with_capacity(n.min(USERS * ITEMS));
    let mut users = Vec::with_capacity(USERS);
    for (index, count) in counts(&mut rng, n).into_iter().enumerate() {
        let person = Person::new(&mut rng, index + 1);
        person.rate(&mut rng, &films, count, &mut rows);
        users.push(person.user);
    }
    // Stable, so that ratings of the same second keep the order of users and of their own.
    rows.sort_by_key(|row| row.ts);
    let items = films.into_iter().map(|film| film.item).collect();
    Dataset::in_memory("sample", format!("generated from seed {seed}"), items, users, rows)
}

/// About normal: the sum of twelve uniform numbers less six has mean 0 and variance 1.
pub(super) fn normal(rng: &mut Pcg64) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

pub(super) fn vector(rng: &mut Pcg64, scale: f64) -> [f64; RANK] {
    std::array::from_fn(|_| normal(rng) * scale)
}

struct Film {
    item: Item,
    bias: f64,
    taste: [f64; RANK],
    /// How often it is seen, before taste.
    weight: u64,
}

fn films(rng: &mut Pcg64) -> Vec<Film> {
    let genre_taste: Vec<_> = GENRES.iter().map(|_| vector(rng, 0.55)).collect();
    let mut titles: Vec<_> = FIRST.iter().flat_map(|first| SECOND.map(|second| format!("{first} {second}"))).collect();
    titles.shuffle(rng);
    let mut ranks: Vec<u64> = (0..ITEMS as u64).collect();
    ranks.shuffle(rng);
    let film = |(index, (title, rank)): (usize, (String, u64))| {
        let genres: BTreeSet<usize> = (0..rng.random_range(1..=3)).map(|_| rng.random_range(0..GENRES.len())).collect();
        let own = vector(rng, 0.35);
        let share = genres.len() as f64;
        let taste = std::array::from_fn(|k| own[k] + genres.iter().map(|g| genre_taste[*g][k]).sum::<f64>() / share);
        let age = rng.random_range(0..60_i32);
        let year = 1997 - age * age / 60;
        let genres = genres.into_iter().map(|genre| GENRES[genre].to_owned()).collect();
        let item = Item {
            id: (index + 1).to_string(),
            title: format!("{title} ({year})"),
            genres,
            year: Some(year),
            ..Item::default()
        };
        Film { item, bias: normal(rng) * 0.45, taste, weight: 1_000_000_000 / (rank + 12) }
    };
    titles.into_iter().zip(ranks).enumerate().map(film).collect()
}

/// How many items each user rates: most few, some many, `n` in all.
fn counts(rng: &mut Pcg64, n: usize) -> Vec<usize> {
    let n = n.min(USERS * ITEMS);
    let activity: Vec<f64> = (0..USERS)
        .map(|_| {
            let u: f64 = rng.random();
            20.0 + 500.0 * u * u * u * u
        })
        .collect();
    let total: f64 = activity.iter().sum();
    let mut counts: Vec<usize> =
        activity.iter().map(|activity| ITEMS.min((activity / total * n as f64) as usize)).collect();
    // What rounding down and the bound left over goes round, one to each user who has room.
    let mut left = n - counts.iter().sum::<usize>();
    while left > 0 {
        for count in counts.iter_mut().filter(|count| **count < ITEMS) {
            if left > 0 {
                *count += 1;
                left -= 1;
            }
        }
    }
    counts
}

struct Person {
    user: User,
    bias: f64,
    taste: [f64; RANK],
}

impl Person {
    fn new(rng: &mut Pcg64, id: usize) -> Self {
        let user = User {
            id: id.to_string(),
            age: Some(rng.random_range(14..=73)),
            gender: Some(["F", "M"][rng.random_range(0..2)].to_owned()),
            occupation: Some(OCCUPATIONS[rng.random_range(0..OCCUPATIONS.len())].to_owned()),
            ..User::default()
        };
        Self { user, bias: normal(rng) * 0.4, taste: vector(rng, 0.65) }
    }

    fn rate(&self, rng: &mut Pcg64, films: &[Film], count: usize, rows: &mut Vec<Interaction>) {
        let likes: Vec<f64> = films.iter().map(|film| dot(&self.taste, &film.taste)).collect();
        let weigh = |(film, like): (&Film, &f64)| (film.weight as f64 * (1.0 + like.clamp(-0.8, 2.0))) as u64;
        let seen = draw(rng, films.iter().zip(&likes).map(weigh).collect(), count);
        for (index, second) in seen.into_iter().zip(sessions(rng, count)) {
            let film = &films[index];
            let score = MEAN + self.bias + film.bias + likes[index] + normal(rng) * 0.8;
            rows.push(Interaction {
                user: self.user.id.clone(),
                item: film.item.id.clone(),
                rating: Some(stars(score)),
                ts: Some(second * 1000),
                ..Interaction::default()
            });
        }
    }
}

/// One to five.
pub(super) fn stars(score: f64) -> f32 {
    score.round().clamp(1.0, 5.0) as f32
}

pub(super) fn dot(a: &[f64; RANK], b: &[f64; RANK]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Draws `count` different places, each time with a chance that is in proportion to the weights left.
fn draw(rng: &mut Pcg64, mut weights: Vec<u64>, count: usize) -> Vec<usize> {
    let mut total: u64 = weights.iter().sum();
    let mut drawn = Vec::with_capacity(count);
    for _ in 0..count {
        let mut ticket = rng.random_range(0..total);
        let place = weights
            .iter()
            .position(|weight| match ticket.checked_sub(*weight) {
                Some(rest) => {
                    ticket = rest;
                    false
                }
                None => true,
            })
            .expect("the ticket is below the sum of the weights");
        total -= std::mem::take(&mut weights[place]);
        drawn.push(place);
    }
    drawn
}

/// When a user's ratings happen, in order: a first session in the seven months, and later ones while time is left.
fn sessions(rng: &mut Pcg64, count: usize) -> Vec<i64> {
    let mut now = START + rng.random_range(0..LENGTH - 86_400);
    let mut seconds = Vec::with_capacity(count);
    for _ in 0..count {
        let slack: f64 = rng.random();
        // One rating in forty is the first of a new session, up to a month later.
        let pause = if rng.random_range(0..40) == 0 { 86_400.0 * 30.0 * slack * slack } else { 60.0 * slack * slack };
        // A share of the time that is left, so that late comers hurry instead of all ending on the last second.
        now += (pause as i64).min((START + LENGTH - now) / 8);
        seconds.push(now);
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::dataset::fingerprint;

    fn rows(seed: u64, n: usize) -> Vec<Interaction> {
        sample(seed, n).rows.map(Result::unwrap).collect()
    }

    #[test]
    fn one_seed_gives_the_same_rows_everywhere_and_another_seed_others() {
        assert_eq!(fingerprint(&rows(SEED, ROWS)), "6b8e63408189b913733e0a2194e9e1ba81f36c0d349bd67010a1d6d75b7836aa");
        assert_ne!(rows(1, 100), rows(2, 100));
    }

    #[test]
    fn the_sample_has_the_shape_it_promises() {
        let dataset = sample(SEED, ROWS);
        let titles: BTreeSet<_> = dataset.items.iter().map(|item| item.title.as_str()).collect();
        assert_eq!((titles.len(), dataset.users.len()), (ITEMS, USERS));
        let rows: Vec<_> = dataset.rows.map(Result::unwrap).collect();
        assert_eq!(rows.len(), ROWS);
        assert!(rows.is_sorted_by_key(|row| row.ts));
        let span = rows[ROWS - 1].ts.unwrap() - rows[0].ts.unwrap();
        assert!(span > 200 * 86_400_000, "{span}");
        let pairs: BTreeSet<_> = rows.iter().map(|row| (&row.user, &row.item)).collect();
        assert_eq!(pairs.len(), ROWS, "a pair comes twice");
        let ratings: Vec<f64> = rows.iter().filter_map(|row| row.rating).map(f64::from).collect();
        let mean = ratings.iter().sum::<f64>() / ROWS as f64;
        let deviation = (ratings.iter().map(|rating| (rating - mean).powi(2)).sum::<f64>() / ROWS as f64).sqrt();
        assert!((3.3..3.9).contains(&mean) && (1.0..1.3).contains(&deviation), "mean {mean}, deviation {deviation}");
    }

    #[test]
    fn any_number_of_rows_can_be_had_up_to_every_pair_once() {
        for n in [0, 1, 500, 200_000] {
            assert_eq!(rows(7, n).len(), n);
        }
        let mut rng = Pcg64::seed_from_u64(7);
        assert_eq!(counts(&mut rng, usize::MAX), vec![ITEMS; USERS]);
    }

    #[test]
    fn the_file_in_the_repository_holds_the_first_rows() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("data/sample/ratings.csv");
        let file: Vec<_> = crate::capture::tabular::open(&path).unwrap().rows.map(Result::unwrap).collect();
        assert_eq!(file, rows(SEED, ROWS)[..1000]);
    }
}
