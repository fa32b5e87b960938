//! What a user would rate an item, and how sure that is.

use super::view::View;

/// A predicted rating with an interval; all within the rating range, `low <= rating <= high`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// What the user would rate the item.
    pub rating: f32,
    /// The interval that is to hold the stated share of ratings.
    pub low: f32,
    /// Its upper end.
    pub high: f32,
    /// Share of all events so far whose rating fell into the interval that was told before it; none before the first event.
    pub reached: Option<f64>,
}

impl View {
    /// What a user would rate an item, with the interval of `COVERAGES[level]`. A user or item that is not known is one about
    /// whom nothing is known.
    ///
    /// The interval tells how far ratings have fallen from predictions in the stream, and those of this user in particular:
    /// each is scored before it is learned, as [`Intervals`](crate::learn::intervals::Intervals) has it.
    ///
    /// # Panics
    /// If `level` is no place in [`COVERAGES`](crate::learn::intervals::COVERAGES); see
    /// [`level_of`](crate::learn::intervals::level_of).
    #[must_use]
    pub fn estimate(&self, user: Option<u32>, item: Option<u32>, level: usize) -> Estimate {
        let learned = self.learned();
        let range = learned.scale.range;
        // No index that is known is as high.
        let [user, item] = [user, item].map(|index| index.unwrap_or(u32::MAX));
        let rating = range.clamp(learned.rating.rating(user, item).unwrap_or(f32::NAN));
        let unit = learned.intervals.unit(&learned.errors, user);
        let (low, high) = learned.intervals.around(rating, level, unit, range);
        Estimate { rating, low, high, reached: learned.intervals.reached(level) }
    }
}
