//! Why an item stands where it does for a user: what each of the user's own events adds to its score.

use super::query::Query;
use super::topn::Scored;
use super::view::View;
use crate::learn::Attribution;

/// Why an item has its score for a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Because {
    /// The ranking model's score of the item.
    pub score: f32,
    /// What it would be without the events, all else of the user held as it is. With the parts it adds up to the score.
    pub base: f32,
    /// What each event adds, by the dense index of its item: the strongest first, whatever its sign.
    pub parts: Vec<Scored>,
    /// Place of the item among those that may be shown to the user, from 1; none of an item that nobody liked. An item that
    /// the user has seen is placed among those that he has not.
    pub rank: Option<usize>,
    /// The place that it would have without the strongest event. None where there is no event, and for an item that the
    /// user has seen.
    pub rank_without: Option<usize>,
}

impl View {
    /// Why the ranking model scores an item as it does for a user. None by a model that keeps no events of its users: then
    /// nobody can say; and of a user or an item that is not known.
    #[must_use]
    pub fn because(&self, user: u32, item: u32) -> Option<Because> {
        let seen = self.history().seen(user)?;
        let Attribution { base, parts } = self.learned().ranking().attribution(user, item)?;
        let scores = self.scores(user);
        let score = *scores.get(item as usize)?;
        let mut parts: Vec<Scored> = parts.into_iter().map(|(item, score)| Scored { item, score }).collect();
        // Stable: of equally strong ones the newest comes first.
        parts.sort_by(|a, b| b.score.abs().total_cmp(&a.score.abs()));
        let query = Query::default();
        let mut others = seen.clone();
        let is_seen = others.remove(item);
        let rank = self.rank_of(scores, &others, &query, item);
        let strongest = parts.first().filter(|_| !is_seen);
        let rank_without = strongest.and_then(|part| {
            let mut scores = self.room();
            let can = self.learned().ranking().score_without(user, part.item, &mut scores);
            can.then(|| self.rank_of(scores, seen, &query, item)).flatten()
        });
        Some(Because { score, base, parts, rank, rank_without })
    }
}
