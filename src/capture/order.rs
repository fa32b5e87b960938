//! Whether the rows of a data set are in the order of their own times.
//!
//! Apart from the replay, which sends them as they come: a learner that goes by time is told here what it will be given.

use std::collections::HashMap;

use super::Interaction;

/// What must be in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Each row against the row before it.
    Rows,
    /// Each row against the row before it of the same user.
    Users,
}

/// A row whose time is before that of a row before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "row {row} (user {user:?}, item {item:?}) goes back in time: its ts is {ts}, that of the row before it{whose} is \
     {before}; sort the data by ts, or replay it without --require-order, which counts such rows"
)]
pub struct OutOfOrder {
    /// Number of the row, from 1.
    pub row: u64,
    /// Its user.
    pub user: String,
    /// Its item.
    pub item: String,
    /// Its time, in milliseconds since the epoch.
    pub ts: i64,
    /// The time that it goes back from.
    pub before: i64,
    whose: &'static str,
}

/// Looks at the rows of one pass after another.
#[derive(Debug, Default)]
pub struct Order {
    required: Option<Required>,
    row: u64,
    last: Option<i64>,
    /// Time of the newest row of each user.
    users: HashMap<Box<str>, i64>,
    back: u64,
    back_of_user: u64,
}

impl Order {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(required: Option<Required>) -> Self {
        Self { required, ..Self::default() }
    }

    /// The data begins again: what comes is not compared with what was.
    pub fn begin(&mut self) {
        (self.row, self.last) = (0, None);
        self.users.clear();
    }

    /// Rows that went back in time against the row before, and against the row before of the same user.
    #[must_use]
    pub fn went_back(&self) -> (u64, u64) {
        (self.back, self.back_of_user)
    }

    /// Counts a row. One without a time is in order wherever it stands.
    ///
    /// # Errors
    /// If the row goes back in time where that is required not to be.
    pub fn check(&mut self, row: &Interaction) -> Result<(), OutOfOrder> {
        self.row += 1;
        let Some(ts) = row.ts else { return Ok(()) };
        let before = self.last.replace(ts).filter(|before| ts < *before);
        let before_of_user = if let Some(last) = self.users.get_mut(row.user.as_str()) {
            Some(std::mem::replace(last, ts)).filter(|before| ts < *before)
        } else {
            self.users.insert(row.user.as_str().into(), ts);
            None
        };
        self.back += u64::from(before.is_some());
        self.back_of_user += u64::from(before_of_user.is_some());
        let (refused, whose) = match self.required {
            None => return Ok(()),
            Some(Required::Rows) => (before, ""),
            Some(Required::Users) => (before_of_user, " of the same user"),
        };
        let (user, item) = (row.user.clone(), row.item.clone());
        refused.map_or(Ok(()), |before| Err(OutOfOrder { row: self.row, user, item, ts, before, whose }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [(&str, Option<i64>); 6] =
        [("a", Some(5)), ("b", Some(4)), ("a", Some(6)), ("b", None), ("a", Some(5)), ("b", Some(9))];

    fn checked(required: Option<Required>) -> (Result<(), OutOfOrder>, Order) {
        let mut order = Order::new(required);
        let row = |(user, ts): &(&str, _)| Interaction { user: (*user).into(), ts: *ts, ..Interaction::default() };
        let checked = ROWS.iter().map(row).try_for_each(|row| order.check(&row));
        (checked, order)
    }

    #[test]
    fn rows_that_go_back_are_counted_against_the_row_before_and_the_users_own() {
        let (result, mut order) = checked(None);
        assert_eq!((result, order.went_back()), (Ok(()), (2, 1)));
        order.begin();
        order.check(&Interaction { user: "a".into(), ts: Some(0), ..Interaction::default() }).unwrap();
        assert_eq!(order.went_back(), (2, 1), "a new pass begins anew");
    }

    #[test]
    fn a_required_order_refuses_the_first_row_that_breaks_it() {
        let error = checked(Some(Required::Rows)).0.unwrap_err();
        assert_eq!((error.row, error.ts, error.before), (2, 4, 5));
        let error = checked(Some(Required::Users)).0.unwrap_err();
        assert_eq!((error.row, error.ts, error.before), (5, 5, 6));
        assert!(error.to_string().starts_with("row 5 (user \"a\", item \"\") goes back in time"), "{error}");
        assert!(error.to_string().contains("of the same user is 6"), "{error}");
    }
}
