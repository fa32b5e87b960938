//! The order that a stream is evaluated in: as its reader gives it, or as it is asked for.
//!
//! Apart from the readers, because a file of one's own may come in any order, and one that is wrong would show figures of
//! a future that was known.

use sha2::{Digest, Sha256};

use super::error::EvaluateError;
use crate::capture::{CaptureError, Dataset, Interaction, Rows};

/// An order to bring rows into.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Sorted by ts; rows of the same ts keep their order.
    Time,
    /// As they stand.
    File,
    /// By the SHA-256 of user, a tab, and item: fixed, and as good as shuffled.
    Hash,
}

/// A row for people. Rows are counted from 1, a header not among them.
pub(super) fn row_name(number: usize, row: &Interaction) -> String {
    format!("row {number} (user {:?}, item {:?})", row.user, row.item)
}

/// Brings the rows of a data set into an order. Without one, a set that is known by name comes as its reader orders it,
/// and any other must be in the order of time.
///
/// # Errors
/// If a row cannot be read, or its time is missing or goes back.
pub(super) fn ordered(dataset: Dataset, order: Option<Order>) -> Result<Dataset, EvaluateError> {
    let rows = match order {
        None if dataset.known => dataset.rows,
        Some(Order::File) => dataset.rows,
        None => in_memory(in_time(&dataset.name, collect(dataset.rows)?, false)?),
        Some(Order::Time) => in_memory(in_time(&dataset.name, collect(dataset.rows)?, true)?),
        Some(Order::Hash) => {
            let mut rows = collect(dataset.rows)?;
            rows.sort_by_cached_key(|row| <[u8; 32]>::from(Sha256::digest(format!("{}\t{}", row.user, row.item))));
            in_memory(rows)
        }
    };
    Ok(Dataset { rows, ..dataset })
}

fn collect(rows: Rows) -> Result<Vec<Interaction>, CaptureError> {
    rows.collect()
}

fn in_memory(rows: Vec<Interaction>) -> Rows {
    Box::new(rows.into_iter().map(Ok))
}

/// Rows in the order of time: sorted, or refused where they are not.
fn in_time(name: &str, mut rows: Vec<Interaction>, sort: bool) -> Result<Vec<Interaction>, EvaluateError> {
    if let Some((number, row)) = rows.iter().zip(1..).find_map(|(row, n)| row.ts.is_none().then_some((n, row))) {
        let any = rows.iter().any(|row| row.ts.is_some());
        let others = if any { ", though others have one" } else { ", nor has any other" };
        return Err(EvaluateError::NoTime { name: name.to_owned(), row: row_name(number, row), others });
    }
    if sort {
        rows.sort_by_key(|row| row.ts);
    } else if let Some((at, pair)) = rows.windows(2).enumerate().find(|(_, pair)| pair[1].ts < pair[0].ts) {
        let (row, ts, before) = (row_name(at + 2, &pair[1]), pair[1].ts, pair[0].ts);
        let (ts, before) = (ts.unwrap_or_default(), before.unwrap_or_default());
        return Err(EvaluateError::Unordered { name: name.to_owned(), row, ts, before });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::testing::{dataset, row};

    /// Items in the order that comes out, or the error.
    fn items(times: &[Option<i64>], order: Option<Order>) -> Result<Vec<String>, String> {
        let rows = times.iter().zip(1..).map(|(ts, n)| Interaction { ts: *ts, ..row("u", &n.to_string(), None) });
        let ordered = ordered(dataset(rows.collect()), order).map_err(|error| error.to_string())?;
        Ok(ordered.rows.map(|row| row.unwrap().item).collect())
    }

    #[test]
    fn rows_in_time_order_come_as_they_are_and_others_are_refused_with_the_place() {
        assert_eq!(items(&[Some(1), Some(1), Some(3)], None).unwrap(), ["1", "2", "3"]);
        let error = items(&[Some(5), Some(7), Some(6)], None).unwrap_err();
        for part in ["row 3 (user \"u\", item \"3\") of made-up has ts 6", "ts 7", "--order time", "--order file"] {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
    }

    #[test]
    fn an_order_that_is_asked_for_is_given() {
        let times = [Some(5), Some(3), Some(5), Some(3)];
        assert_eq!(items(&times, Some(Order::Time)).unwrap(), ["2", "4", "1", "3"]);
        assert_eq!(items(&times, Some(Order::File)).unwrap(), ["1", "2", "3", "4"]);
        let digest = |item: &String| <[u8; 32]>::from(Sha256::digest(format!("u\t{item}")));
        assert!(items(&times, Some(Order::Hash)).unwrap().is_sorted_by_key(digest));
    }

    #[test]
    fn a_row_without_a_time_is_named_unless_the_order_needs_none() {
        for (times, part) in [([None, None], "row 1 "), ([Some(1), None], "row 2 ")] {
            for order in [None, Some(Order::Time)] {
                let error = items(&times, order).unwrap_err();
                assert!(error.starts_with(part) && error.contains("--order hash"), "{error}");
                assert_eq!(error.contains("nor has any other"), times[0].is_none(), "{error}");
            }
            assert_eq!(items(&times, Some(Order::File)).unwrap().len(), 2);
            assert_eq!(items(&times, Some(Order::Hash)).unwrap().len(), 2);
        }
    }
}
