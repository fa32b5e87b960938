//! Users' rows in memory, where `engine.user_bytes` bounds them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How many users' rows there are in memory, and how many went and came.
#[derive(Debug, Default)]
pub struct Resident {
    budget: AtomicU64,
    users: AtomicU64,
    bytes: AtomicU64,
    recalled: AtomicU64,
    forgotten: AtomicU64,
}

impl Resident {
    /// Says how many bytes the rows may take.
    pub fn set_budget(&self, bytes: usize) {
        self.budget.store(bytes as u64, Relaxed);
    }

    /// Most bytes that the rows may take; none where there is no bound.
    #[must_use]
    pub fn budget(&self) -> Option<u64> {
        Some(self.budget.load(Relaxed)).filter(|budget| *budget > 0)
    }

    /// Says whose rows are in memory.
    pub fn set(&self, users: usize, bytes: usize) {
        self.users.store(users as u64, Relaxed);
        self.bytes.store(bytes as u64, Relaxed);
    }

    /// Users whose rows are in memory.
    #[must_use]
    pub fn users(&self) -> u64 {
        self.users.load(Relaxed)
    }

    /// Bytes that those rows take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Counts users whose rows were read from the store again.
    pub fn count_recalled(&self, users: usize) {
        self.recalled.fetch_add(users as u64, Relaxed);
    }

    /// Such users so far.
    #[must_use]
    pub fn recalled(&self) -> u64 {
        self.recalled.load(Relaxed)
    }

    /// Counts users whose rows went.
    pub fn count_forgotten(&self, users: usize) {
        self.forgotten.fetch_add(users as u64, Relaxed);
    }

    /// Such users so far.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten.load(Relaxed)
    }
}
