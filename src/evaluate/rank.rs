//! The place of one item among the candidates, by the rule of protocol C.
//!
//! Apart from the run, because everything hangs on it: a diverged model must be seen as such, not as perfect.

/// What a score becomes that is not finite, and that of an item which is no candidate: below every finite score.
pub(super) const LAST: f32 = f32::NEG_INFINITY;

/// Puts [`LAST`] in the place of each score that is not finite; returns how many there were.
pub(super) fn settle(scores: &mut [f32]) -> u64 {
    let mut count = 0_u32;
    for score in scores {
        let finite = score.is_finite();
        count += u32::from(!finite);
        *score = if finite { *score } else { LAST };
    }
    u64::from(count)
}

/// Rank of an item, from 1, among `candidates` items: candidates that are scored higher come before it, and of those
/// scored equal the ones that appeared earlier, which have lower indexes. An item whose own score was not finite is
/// last. `scores` are settled, and those of items that are no candidates are [`LAST`].
pub(super) fn rank(scores: &[f32], item: u32, candidates: usize) -> usize {
    let item = item as usize;
    let own = scores[item];
    if own == LAST {
        return candidates;
    }
    let count = |scores: &[f32], before: fn(f32, f32) -> bool| -> u32 {
        scores.iter().map(|score| u32::from(before(*score, own))).sum()
    };
    let earlier = count(&scores[..item], |score, own| score >= own);
    let later = count(&scores[item + 1..], |score, own| score > own);
    1 + earlier as usize + later as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The ranks of all items, in their order.
    fn ranks(scores: &[f32]) -> Vec<usize> {
        let mut scores = scores.to_vec();
        settle(&mut scores);
        (0..scores.len() as u32).map(|item| rank(&scores, item, scores.len())).collect()
    }

    #[test]
    fn equal_scores_rank_by_earlier_appearance() {
        assert_eq!(ranks(&[1.0, 3.0, 1.0, 2.0, 3.0]), [4, 1, 5, 3, 2]);
        assert_eq!(ranks(&[0.0, -0.0, 0.0]), [1, 2, 3]);
    }

    #[test]
    fn a_score_that_is_not_finite_ranks_last_and_is_counted() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(ranks(&[1.0, wrong, f32::MIN]), [1, 3, 2]);
            assert_eq!(settle(&mut [1.0, wrong, wrong]), 2);
        }
        assert_eq!(ranks(&[f32::NAN; 4]), [4; 4], "a diverged model is last everywhere");
    }

    proptest! {
        #[test]
        fn the_ranks_of_finite_scores_are_each_place_once(scores in proptest::collection::vec(-3i8..3, 1..60)) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let mut sorted = ranks(&scores);
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (1..=scores.len()).collect::<Vec<_>>());
        }
    }
}
