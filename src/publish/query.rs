//! What an answer may hold: how many items, from where on, and which.

use std::borrow::Cow;

use roaring::RoaringBitmap;

/// Which items to recommend, by dense index.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Items in the answer.
    pub n: usize,
    /// Better items that are left out: pages of `n` at offsets `0`, `n`, `2n`, … partition the list.
    pub offset: usize,
    /// Whether items that the user has had an event with may be in the answer.
    pub include_seen: bool,
    /// Items that may not be in the answer.
    pub exclude: RoaringBitmap,
    /// The only items that may be in the answer; all of them if there is none.
    pub candidates: Option<RoaringBitmap>,
}

impl Query {
    /// The best `n` that the user has not seen.
    #[must_use]
    pub fn top(n: usize) -> Self {
        Self { n, ..Self::default() }
    }

    /// Items in the answer and before it.
    pub(super) fn last(&self) -> usize {
        self.offset.saturating_add(self.n)
    }

    /// Items of the first `items` that may not be in the answer of a user who has `seen` these.
    pub(super) fn hidden<'a>(&'a self, seen: &'a RoaringBitmap, items: u32) -> Cow<'a, RoaringBitmap> {
        let mut hidden = match (self.include_seen, self.exclude.is_empty()) {
            (true, _) => Cow::Borrowed(&self.exclude),
            (false, true) => Cow::Borrowed(seen),
            (false, false) => Cow::Owned(seen | &self.exclude),
        };
        if let Some(candidates) = &self.candidates {
            let mut others = RoaringBitmap::new();
            others.insert_range(0..items);
            others -= candidates;
            *hidden.to_mut() |= others;
        }
        hidden
    }
}
