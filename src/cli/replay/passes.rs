//! The rows that a replay reads: one pass over the data set, or one after the other.

use std::sync::atomic::Ordering;

use anyhow::Context;

use super::account::Account;
use super::{Args, read};
use crate::capture::order::Order;
use crate::capture::{CaptureError, Interaction, Rows};

/// Skipped rows that are told one by one; the others are only counted.
const SKIPPED_TOLD: u64 = 10;

/// Rows of the passes, counted, and looked at for their order.
pub(super) struct Passes<'a> {
    pub(super) args: &'a Args,
    pub(super) rows: Rows,
    pub(super) order: &'a mut Order,
    pub(super) account: &'a Account,
    /// Rows at the beginning of the pass.
    pub(super) before: u64,
}

impl Iterator for Passes<'_> {
    type Item = anyhow::Result<Interaction>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.rows.next() {
                Some(Ok(row)) => {
                    self.account.one_read();
                    return Some(self.order.check(&row).map(|()| row).map_err(Into::into));
                }
                Some(Err(error)) if self.args.keep_going => self.skipped(&error),
                Some(Err(error)) => {
                    let advice = "--keep-going skips rows that cannot be read";
                    return Some(Err(anyhow::Error::new(error).context(advice)));
                }
                None if self.args.again => {
                    if let Err(error) = self.begin_again() {
                        return Some(Err(error));
                    }
                }
                None => return None,
            }
        }
    }
}

impl Passes<'_> {
    fn skipped(&self, error: &CaptureError) {
        if self.account.skipped.fetch_add(1, Ordering::Relaxed) < SKIPPED_TOLD {
            tracing::warn!("skipped: {error}");
        }
    }

    fn begin_again(&mut self) -> anyhow::Result<()> {
        let rows = self.account.rows.load(Ordering::Relaxed);
        let spec = &self.args.dataset;
        let none = || format!("{spec:?} has no row to send again; --loop needs a data set that can be read twice");
        (rows > self.before).then_some(()).with_context(none)?;
        self.before = rows;
        self.rows = read(spec, self.args.from.as_deref())?.rows;
        self.order.begin();
        Ok(())
    }
}
