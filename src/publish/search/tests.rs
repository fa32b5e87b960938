//! What is found is what a full sort finds, whatever has changed since the index was made.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::follow::{Index, MOST_CHANGED};
use super::*;
use crate::config::Config;
use crate::learn::tables::{Frozen, Live, Matrix};
use crate::publish::top_n;

const FACTORS: usize = 9;

fn normal(random: &mut Pcg64) -> f32 {
    StandardNormal.sample(random)
}

/// Rows whose lengths differ by much.
fn fill(random: &mut Pcg64, row: &mut [f32]) {
    let size = random.random_range(0.0_f32..1.0).powi(4);
    row.fill_with(|| normal(random) * size);
}

/// A search that may be approximate.
fn near(breadth: usize) -> Search {
    let config = ServeConfig { search: SearchKind::Approximate, search_ef: breadth, ..Config::default().serve };
    Search::new(&config)
}

fn sorted(products: &InnerProducts<'_>, n_items: u32, n: usize, shown: impl Fn(u32) -> bool) -> Vec<Scored> {
    let score = |item| products.items.get(item).map_or(products.base, |row| products.score(row));
    top_n((0..n_items).filter(|item| shown(*item)).map(|item| Scored { item, score: score(item) }), n)
}

fn bits(found: Option<Vec<Scored>>) -> Option<Vec<(u32, u32)>> {
    found.map(|found| found.iter().map(|scored| (scored.item, scored.score.to_bits())).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_best_are_those_of_a_full_sort_while_rows_change_and_come(
        seed in any::<u64>(), items in 1_024..1_500_u32, changes in proptest::collection::vec(0..300_usize, 1..6),
        n in prop_oneof![Just(0_usize), 1..30_usize, Just(5_000)], hidden in 1..9_u32, refreshes in any::<u8>(),
    ) {
        let random = &mut Pcg64::seed_from_u64(seed);
        let mut live = Matrix::<Live>::new(FACTORS + 1);
        live.grow_to(items - 1, |_, row| fill(random, row));
        let search = Search::default();
        let user: Vec<f32> = (0..FACTORS).map(|_| normal(random)).collect();
        let shown = |item: u32| hidden == 1 || !item.is_multiple_of(hidden);
        for (round, changes) in changes.into_iter().enumerate() {
            let rows = live.publish();
            let products = InnerProducts { base: normal(random), user: &user, items: &rows };
            if round == 0 || refreshes >> round & 1 == 1 {
                search.refresh(&products);
            }
            // Items that have no row yet have the score that all others are added to.
            let n_items = rows.len() as u32 + u32::from(refreshes & 1);
            let found = search.best(&products, n_items, n, shown);
            prop_assert_eq!(bits(found), bits(Some(sorted(&products, n_items, n, shown))));
            for _ in 0..changes {
                let item = random.random_range(0..live.len() as u32 + 3);
                live.grow_to(item, |_, row| fill(random, row));
                fill(random, live.row_mut(item));
            }
        }
    }
}

#[test]
fn ties_are_told_apart_by_the_item_that_came_first() {
    let mut live = Matrix::<Live>::new(FACTORS + 1);
    live.grow_to(2_000, |item, row| row.fill(if item % 7 == 0 { 0.5 } else { 0.25 }));
    let rows = live.publish();
    let products = InnerProducts { base: 0.0, user: &[1.0; FACTORS], items: &rows };
    let search = Search::default();
    search.refresh(&products);
    let found = search.best(&products, 2_001, 4, |item| item != 7).unwrap();
    assert_eq!(found.iter().map(|scored| scored.item).collect::<Vec<_>>(), [0, 14, 21, 28]);
}

#[test]
fn an_index_is_made_when_it_is_first_asked_for_and_follows_what_changes() {
    let random = &mut Pcg64::seed_from_u64(1);
    let mut live = Matrix::<Live>::new(FACTORS + 1);
    live.grow_to(3_999, |_, row| fill(random, row));
    let search = Search::default();
    let user = [0.5; FACTORS];
    let ask = |rows: &Matrix<Frozen>| {
        let products = InnerProducts { base: 0.0, user: &user, items: rows };
        search.best(&products, rows.len() as u32, 3, |_| true)
    };
    let rows = live.publish();
    let made =
        |rows: &Matrix<Frozen>| search.index.newest.load().as_ref().is_some_and(|newest| newest.index.items().is(rows));
    let wait_for = |rows: &Matrix<Frozen>| {
        while !made(rows) {
            std::thread::yield_now();
        }
    };
    assert!(ask(&rows).is_none());
    wait_for(&rows);
    assert!(ask(&rows).is_some() && search.bytes() > 4_000 * FACTORS);
    (0..MOST_CHANGED as u32).for_each(|item| fill(random, live.row_mut(item)));
    let few = live.publish();
    assert!(ask(&few).is_some() && !made(&few), "so few changes are looked at one by one");
    fill(random, live.row_mut(3_000));
    let more = live.publish();
    assert!(ask(&more).is_some());
    wait_for(&more);
}

/// Items in clusters, and users within them.
fn clustered(random: &mut Pcg64, items: u32) -> (Matrix<Live>, Vec<Vec<f32>>) {
    let centres: Vec<Vec<f32>> = (0..20).map(|_| (0..FACTORS).map(|_| normal(random)).collect()).collect();
    let mut within = |number: usize, row: &mut [f32]| {
        row.iter_mut().zip(&centres[number % 20]).for_each(|(value, centre)| *value = centre + 0.4 * normal(random));
    };
    let mut live = Matrix::<Live>::new(FACTORS + 1);
    live.grow_to(items - 1, |item, row| within(item as usize, row));
    let users = (0..40).map(|user| {
        let mut factors = vec![0.0; FACTORS];
        within(user, &mut factors);
        factors
    });
    let users = users.collect();
    (live, users)
}

#[test]
fn an_approximate_list_has_exact_scores_what_changed_and_most_of_the_best() {
    let random = &mut Pcg64::seed_from_u64(2);
    let (mut live, users) = clustered(random, 1_200);
    let search = near(64);
    let rows = live.publish();
    search.refresh(&InnerProducts { base: 0.0, user: &users[0], items: &rows });
    // Not so many that the graph is made anew, and some that it has never seen.
    for change in 0..60 {
        let item = if change < 50 { random.random_range(0..1_200) } else { live.len() as u32 };
        live.grow_to(item, |_, _| ());
        live.row_mut(item).fill_with(|| 2.0 * normal(random));
    }
    let rows = live.publish();
    let changed: Vec<u32> =
        rows.changed_since(search.near.as_ref().unwrap().graph.newest.load_full().unwrap().index.items()).collect();
    let (mut found, mut of) = (0, 0);
    for (number, user) in users.iter().enumerate() {
        let products = InnerProducts { base: 0.5, user, items: &rows };
        let shown = |item: u32| !item.is_multiple_of(7) || number == 0;
        // One item more than there are rows: its score is that of nothing known.
        let list = search.nearly_best(&products, rows.len() as u32 + 1, 10, shown).unwrap();
        let score = |item| rows.get(item).map_or(products.base, |row| products.score(row));
        assert!(list.iter().all(|one| one.score.to_bits() == score(one.item).to_bits() && shown(one.item)));
        assert!(list.len() == 10 && list.is_sorted_by(|one, next| one > next));
        let best = sorted(&products, rows.len() as u32 + 1, 10, shown);
        let has = |item: u32| list.iter().any(|one| one.item == item);
        assert!(
            best.iter().filter(|one| changed.contains(&one.item)).all(|one| has(one.item)),
            "what changed is looked at"
        );
        found += best.iter().filter(|one| has(one.item)).count();
        of += best.len();
    }
    assert!(found as f64 / of as f64 > 0.9, "recall {found} of {of}");
}

#[test]
fn no_list_is_approximate_that_is_long_filtered_away_or_of_a_graph_too_old() {
    let random = &mut Pcg64::seed_from_u64(3);
    let (mut live, users) = clustered(random, 1_100);
    let (search, exact) = (near(32), Search::default());
    let rows = live.publish();
    let products = InnerProducts { base: 0.0, user: &users[0], items: &rows };
    assert!(search.nearly_best(&products, 1_100, 5, |_| true).is_none(), "there is no graph yet");
    search.refresh(&products);
    assert!(search.nearly_best(&products, 1_100, 5, |_| true).is_some());
    assert!(exact.nearly_best(&products, 1_100, 5, |_| true).is_none(), "it is not allowed");
    assert!(search.nearly_best(&products, 1_100, 33, |_| true).is_none(), "more than it keeps in sight");
    assert!(search.nearly_best(&products, 1_100, 0, |_| true).is_none());
    assert!(search.nearly_best(&products, 1_100, 5, |item| item < 4).is_none(), "fewer than were asked for");
    for item in 0..=1_100 / STALE_SHARE as u32 {
        fill(random, live.row_mut(item));
    }
    let rows = live.publish();
    let products = InnerProducts { base: 0.0, user: &users[0], items: &rows };
    assert!(search.nearly_best(&products, 1_100, 5, |_| true).is_none(), "too much has changed");
}

#[test]
fn recall_is_measured_beside() {
    let search = near(32);
    let scored = |items: std::ops::Range<u32>| items.map(|item| Scored { item, score: 0.0 }).collect::<Vec<_>>();
    assert_eq!(search.figures().recall, None);
    search.compare_beside(&scored(0..4), || move || scored(1..5));
    while search.figures().compared == 0 {
        std::thread::yield_now();
    }
    (0..3).for_each(|number| search.count(number > 0));
    let figures = search.figures();
    assert_eq!((figures.kind, figures.recall), (SearchKind::Approximate, Some(0.75)));
    assert_eq!((figures.exact, figures.approximate, figures.compared), (1, 2, 1));
    // By an exact search nothing is compared.
    Search::default().compare_beside(&scored(0..4), || || unreachable!());
    assert_eq!(Search::default().figures().kind, SearchKind::Exact);
}

/// Rows of many factors that are long in a few directions, and a little in all.
fn fill_along(random: &mut Pcg64, directions: &[Vec<f32>], row: &mut [f32]) {
    let size = random.random_range(0.0_f32..1.0).powi(4);
    row.fill_with(|| 0.05 * normal(random));
    for direction in directions {
        let part = size * normal(random);
        row.iter_mut().zip(direction).for_each(|(value, along)| *value += part * along);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn few_directions_of_many_factors_leave_nothing_out(seed in any::<u64>(), few in 1..12_usize, odd in 0..3_usize) {
        let factors = 128 + odd;
        let random = &mut Pcg64::seed_from_u64(seed);
        let directions: Vec<Vec<f32>> =
            (0..few).map(|_| (0..=factors).map(|_| 0.2 * normal(random)).collect()).collect();
        let mut live = Matrix::<Live>::new(factors + 1);
        live.grow_to(1_099, |_, row| fill_along(random, &directions, row));
        let search = Search::default();
        for round in 0..3 {
            let mut user = vec![0.0; factors];
            fill_along(random, &directions, &mut user);
            let rows = live.publish();
            let products = InnerProducts { base: 4.0 * normal(random), user: &user, items: &rows };
            if round != 1 {
                search.refresh(&products);
            }
            prop_assert!(search.index.newest.load().as_ref().is_some_and(|newest| newest.index.has_head()));
            let found = search.best(&products, 1_100, 10, |item| item % 5 != 0);
            prop_assert_eq!(bits(found), bits(Some(sorted(&products, 1_100, 10, |item| item % 5 != 0))));
            // What comes later may be long in other directions.
            for _ in 0..100 {
                let item = random.random_range(0..1_100);
                live.row_mut(item).fill_with(|| 0.2 * normal(random));
            }
        }
    }
}
