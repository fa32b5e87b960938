//! Scores of somebody who is no user: of one who would have had a few events, and of several users together.
//!
//! Apart from the view, because here scores are made that no user has. The model is not touched: it is shared, and what is
//! written is copied first.

use roaring::RoaringBitmap;

use super::view::View;
use crate::learn::Observation;

/// How the scores of several users become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// What they all like on average.
    Mean,
    /// What the one who likes it least likes best (O'Connor, Cosley, Konstan, Riedl, "`PolyLens`: a recommender system for
    /// groups of users", ECSCW 2001).
    LeastMisery,
}

impl View {
    /// Scores of somebody who has had exactly these events, in this order, the dislikes before the likes; shape
    /// `(n_items,)`. Items that are not known are passed over.
    ///
    /// A private copy of the ranking model learns them, for a user it does not know, and is dropped: a like is an event with
    /// the highest rating, a dislike one with the lowest. It costs what these events change, and one scoring.
    #[must_use]
    pub fn scores_of_events(&self, likes: &[u32], dislikes: &[u32]) -> Vec<f32> {
        let scale = self.learned().scale;
        let (user, items) = (self.learned().users.len() as u32, self.learned().items.len() as u32);
        let mut learner = self.learned().ranking().thaw();
        let (low, high) = (scale.range.low(), scale.range.high());
        let events = dislikes.iter().map(|item| (*item, low)).chain(likes.iter().map(|item| (*item, high)));
        for (item, target) in events.filter(|(item, _)| *item < items) {
            let positive = scale.is_positive(target);
            learner.learn(&Observation { user, item, target, positive, count: 1.0, ts: None, about: None });
        }
        let mut scores = self.room();
        learner.score_with_seen(user, &mut scores);
        scores
    }

    /// Scores of several users together, shape `(n_items,)`, no number for what nobody liked; of nobody it is popularity.
    ///
    /// Scores of different users are not on one scale. So each user's are standardized first: less their mean, over their
    /// standard deviation, both over the items that somebody liked and the user has not seen. Where all are alike, all are 0.
    #[must_use]
    pub fn scores_of_group(&self, users: &[u32], how: Together) -> Vec<f32> {
        let mut each = users.iter().map(|user| self.standardized(*user));
        let Some(mut together) = each.next() else { return self.popularity() };
        for scores in each {
            for (sum, score) in together.iter_mut().zip(scores) {
                *sum = match how {
                    Together::Mean => *sum + score,
                    Together::LeastMisery => sum.min(score),
                };
            }
        }
        if how == Together::Mean {
            for sum in &mut together {
                *sum /= users.len() as f32;
            }
        }
        together
    }

    /// The items that any of these users has had an event with.
    #[must_use]
    pub fn seen_by(&self, users: &[u32]) -> RoaringBitmap {
        let mut seen = RoaringBitmap::new();
        users.iter().filter_map(|user| self.history().seen(*user)).for_each(|own| seen |= own);
        seen
    }

    /// A user's scores, standardized; no number for what nobody liked.
    fn standardized(&self, user: u32) -> Vec<f32> {
        let mut scores = self.scores(user);
        self.keep_liked(&mut scores);
        let nothing = RoaringBitmap::new();
        let seen = self.history().seen(user).unwrap_or(&nothing);
        let unseen = || {
            let items = (0..).zip(&scores).filter(|(item, score)| score.is_finite() && !seen.contains(*item));
            items.map(|(_, score)| f64::from(*score))
        };
        let count = unseen().count().max(1) as f64;
        let mean = unseen().sum::<f64>() / count;
        let deviation = (unseen().map(|score| (score - mean) * (score - mean)).sum::<f64>() / count).sqrt();
        let scale = if deviation > 0.0 { 1.0 / deviation } else { 0.0 };
        for score in &mut scores {
            *score = ((f64::from(*score) - mean) * scale) as f32;
        }
        scores
    }
}
