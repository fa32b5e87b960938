//! Trades score for variety: maximal marginal relevance.

use super::Scored;

/// Puts items in the order of maximal marginal relevance: next comes always the item with the highest
/// `(1 − diversity) · relevance − diversity · likeness`, where the relevance is the score on a scale from 0, of the worst,
/// to 1, of the best, and the likeness that to the most similar item before it (Carbonell and Goldstein, "The use of MMR,
/// diversity-based reranking", SIGIR 1998). `similarity` of two items is at most 1. `ranked` has the best first, no score
/// of it is NaN; the first `n` of the new order come out, and are the same whatever `n` is. Costs `n · ranked.len()`
/// similarities.
#[must_use]
pub fn diversified(
    mut ranked: Vec<Scored>,
    n: usize,
    diversity: f32,
    similarity: impl Fn(u32, u32) -> f32,
) -> Vec<Scored> {
    let (best, worst) = (ranked.first().map_or(0.0, |s| s.score), ranked.last().map_or(0.0, |s| s.score));
    let scale = if best > worst { 1.0 / (best - worst) } else { 0.0 };
    let mut likeness = vec![0.0_f32; ranked.len()];
    let mut chosen = Vec::with_capacity(n.min(ranked.len()));
    while chosen.len() < n && !ranked.is_empty() {
        let value = |at: usize| {
            let relevance = (ranked[at].score - worst) * scale;
            (1.0 - diversity) * relevance - diversity * likeness[at]
        };
        let first = (1..ranked.len()).fold(0, |first, at| if value(at) > value(first) { at } else { first });
        let next = ranked.remove(first);
        likeness.remove(first);
        for (other, most) in ranked.iter().zip(&mut likeness) {
            *most = most.max(similarity(next.item, other.item));
        }
        chosen.push(next);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranked(scores: &[f32]) -> Vec<Scored> {
        let mut ranked: Vec<Scored> =
            scores.iter().zip(0..).map(|(score, item)| Scored { item, score: *score }).collect();
        ranked.sort_by(|a, b| b.cmp(a));
        ranked
    }

    /// Items of the same parity are alike.
    fn parity(a: u32, b: u32) -> f32 {
        if a % 2 == b % 2 { 1.0 } else { 0.0 }
    }

    fn items(chosen: &[Scored]) -> Vec<u32> {
        chosen.iter().map(|scored| scored.item).collect()
    }

    #[test]
    fn what_is_like_what_stands_before_it_comes_later() {
        let list = ranked(&[10.0, 2.0, 9.0, 1.0]);
        assert_eq!(items(&diversified(list.clone(), 4, 0.0, parity)), [0, 2, 1, 3]);
        assert_eq!(items(&diversified(list.clone(), 4, 0.5, parity)), [0, 1, 2, 3]);
        assert_eq!(items(&diversified(list, 2, 1.0, parity)), [0, 1]);
        assert_eq!(diversified(Vec::new(), 4, 0.5, parity), []);
    }

    proptest! {
        #[test]
        fn it_is_a_permutation_and_its_beginning_does_not_depend_on_n(
            scores in proptest::collection::vec(-5.0f32..5.0, 0..40), diversity in 0.0f32..=1.0, n in 0..50_usize,
        ) {
            let list = ranked(&scores);
            let whole = diversified(list.clone(), usize::MAX, diversity, parity);
            let mut sorted = whole.clone();
            sorted.sort_by(|a, b| b.cmp(a));
            prop_assert_eq!(&sorted, &list);
            let some = diversified(list.clone(), n, diversity, parity);
            prop_assert_eq!(&some[..], &whole[..n.min(whole.len())]);
            prop_assert_eq!(diversified(list.clone(), n, 0.0, parity), &list[..n.min(list.len())]);
        }
    }
}
