//! Where an item stands in the list of a user, by the model and by plain baselines: test-then-learn for lists.

use super::Query;
use super::view::View;

/// The half-life of trending, by its place in [`HALF_LIVES`](super::history::HALF_LIVES), that stands for what is liked
/// lately.
const LATELY: usize = 1;

/// The rank of one item among those that could have been recommended, from 1; none where it could not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// By the model that makes the lists.
    pub model: Option<usize>,
    /// By the number of positive events.
    pub popular: Option<usize>,
    /// By the number of recent positive events.
    pub trending: Option<usize>,
}

impl View {
    /// Where `item` would have stood in the list of `user`, both by dense index; the candidates are the items that somebody
    /// liked and the user has not seen. None for a user who is not known yet and for an item that he has seen: no list of
    /// his could be judged by it. An item that nobody liked yet is a miss in every list.
    ///
    /// That is protocol C+ of `freshet evaluate` for one event, with this view in the place of the model just before it.
    #[must_use]
    pub fn standing(&self, user: u32, item: u32) -> Option<Standing> {
        let seen = self.history().seen(user).filter(|seen| !seen.is_empty() && !seen.contains(item))?;
        let query = Query::top(1);
        if self.liked(item) == 0 {
            return Some(Standing::default());
        }
        let rank = |scores| self.rank_of(scores, seen, &query, item);
        Some(Standing {
            model: rank(self.scores_for(user, &query)),
            popular: rank(self.popularity()),
            trending: rank(self.trending(LATELY)),
        })
    }
}
