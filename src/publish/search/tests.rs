//! What is found is what a full sort finds, whatever has changed since the index was made.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};
use rand_pcg::Pcg64;

use super::*;
use crate::learn::tables::Live;
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
        let search = Arc::new(Search::default());
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
    let search = Arc::new(Search::default());
    search.refresh(&products);
    let found = search.best(&products, 2_001, 4, |item| item != 7).unwrap();
    assert_eq!(found.iter().map(|scored| scored.item).collect::<Vec<_>>(), [0, 14, 21, 28]);
}

#[test]
fn an_index_is_made_when_it_is_first_asked_for_and_follows_what_changes() {
    let random = &mut Pcg64::seed_from_u64(1);
    let mut live = Matrix::<Live>::new(FACTORS + 1);
    live.grow_to(3_999, |_, row| fill(random, row));
    let search = Arc::new(Search::default());
    let user = [0.5; FACTORS];
    let ask = |rows: &Matrix<Frozen>| {
        let products = InnerProducts { base: 0.0, user: &user, items: rows };
        search.best(&products, rows.len() as u32, 3, |_| true)
    };
    let rows = live.publish();
    let made = |rows: &Matrix<Frozen>| search.newest.load().as_ref().is_some_and(|newest| newest.index.items.is(rows));
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
