//! What is like what: items and users by the vectors of the models, and what of a user is unlike him.

use roaring::RoaringBitmap;

use super::query::Query;
use super::topn::{Scored, top_n};
use super::view::View;
use crate::learn::{Model, cosine};

/// An item that stands for a factor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Representative {
    /// The factor, from 0.
    pub factor: usize,
    /// Dense index of the item.
    pub item: u32,
    /// The factor's share of the item's vector, -1 to 1: its value over the length of the vector.
    pub share: f32,
}

/// Positive events at which a cosine counts half: that of an item which hardly anybody chose says little.
const HALF_TRUSTED: f32 = 5.0;

impl View {
    /// The models, the one that ranks first.
    pub(super) fn models(&self) -> [&dyn Model; 2] {
        [self.learned().ranking(), &*self.learned().rating]
    }

    /// The items of `query` that are most like one: by the cosine of the ranking model, else by that of the model that
    /// predicts ratings, times `n / (n + 5)` where n is the number of the other item's positive events. None where neither
    /// can say, and of an item that neither knows. The item itself is never among them.
    #[must_use]
    pub fn similar_items(&self, item: u32, query: &Query) -> Option<Vec<Scored>> {
        let mut similarities = self.room();
        let can = self.models().into_iter().any(|model| model.similarities(item, &mut similarities));
        *similarities.get_mut(item as usize).filter(|_| can)? = f32::NAN;
        for (similarity, liked) in similarities.iter_mut().zip(self.popularity()) {
            *similarity *= liked / (liked + HALF_TRUSTED);
        }
        Some(self.rank(similarities, &RoaringBitmap::new(), query))
    }

    /// The `n` users who are most like one, by the cosine of their vectors in the ranking model, else in the other; a
    /// [`Scored`] is of a user here. None where neither has vectors, or has one of this user.
    #[must_use]
    pub fn similar_users(&self, user: u32, n: usize) -> Option<Vec<Scored>> {
        let model = self.models().into_iter().find(|model| model.user_vector(user).is_some())?;
        let own = model.user_vector(user)?;
        let others = (0..self.learned().users.len() as u32).filter(|other| *other != user);
        let scored = |other| Some(Scored { item: other, score: cosine(own, model.user_vector(other)?) });
        Some(top_n(others.filter_map(scored), n))
    }

    /// Cosine of two items' vectors in the ranking model, else in the other; 0 where one of them has none. None where
    /// neither model has vectors.
    #[must_use]
    pub fn similarity(&self) -> Option<impl Fn(u32, u32) -> f32> {
        let model = self.models().into_iter().find(|model| model.item_vector(0).is_some())?;
        Some(move |one, other| match (model.item_vector(one), model.item_vector(other)) {
            (Some(one), Some(other)) => cosine(one, other),
            _ => 0.0,
        })
    }

    /// For each factor of the items' vectors the item with the largest share of its length on it, of those that somebody
    /// liked, few events counting less as for [`View::similar_items`]. Empty where neither model has vectors.
    #[must_use]
    pub fn representative(&self) -> Vec<Representative> {
        let Some(model) = self.models().into_iter().find(|model| model.item_vector(0).is_some()) else {
            return Vec::new();
        };
        let mut best: Vec<Option<(f32, Representative)>> = Vec::new();
        for (liked, item) in self.popularity().into_iter().zip(0..).filter(|(liked, _)| *liked > 0.0) {
            let Some(vector) = model.item_vector(item) else { continue };
            let length = crate::learn::dot(vector, vector).sqrt();
            best.resize(best.len().max(vector.len()), None);
            for (factor, (value, best)) in vector.iter().zip(&mut best).enumerate() {
                let share = value / length;
                let weight = share.abs() * liked / (liked + HALF_TRUSTED);
                // Never where it is not a number; of equal ones the item that was known first.
                if weight > best.map_or(0.0, |(weight, _)| weight) {
                    *best = Some((weight, Representative { factor, item, share }));
                }
            }
        }
        best.into_iter().flatten().map(|(_, representative)| representative).collect()
    }

    /// The `n` items that a user has seen which the ranking model finds least likely for him, the least likely first. Items
    /// that nobody liked are left out.
    #[must_use]
    pub fn surprising(&self, user: u32, n: usize) -> Vec<Scored> {
        let Some(seen) = self.history().seen(user) else { return Vec::new() };
        let mut scores = self.scores(user);
        self.keep_liked(&mut scores);
        let score = |item: u32| Some(Scored { item, score: -*scores.get(item as usize)? });
        let turned = |Scored { item, score }: Scored| Scored { item, score: -score };
        top_n(seen.iter().filter_map(score), n).into_iter().map(turned).collect()
    }
}
