//! Hit rate and NDCG of the lists that would have been served just before an event, beside those of plain baselines.

use std::collections::VecDeque;

use serde::Serialize;
use utoipa::ToSchema;

use crate::publish::Standing;

/// Length of a list that is judged.
const N: usize = 10;

/// Judged events in the window.
const WINDOW: usize = 2_000;

/// HR@10 and NDCG@10 of one way to make lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Scores {
    /// Share of the events whose item was among the best ten.
    pub hr: f64,
    /// Mean of `1 / log2(1 + rank)`, 0 beyond the best ten.
    pub ndcg: f64,
}

/// The model's lists beside those of the baselines, over the same events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Judged {
    /// Events whose user's list was judged.
    pub ranked: u64,
    /// By the model.
    pub model: Scores,
    /// By the number of positive events.
    pub popular: Scores,
    /// By the number of recent positive events.
    pub trending: Scores,
}

/// Over everything, and over the newest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct RankingFigures {
    /// Since when, in milliseconds since the epoch.
    pub since_ms: i64,
    /// Since then.
    pub all: Judged,
    /// Over the newest 2,000 that were judged.
    pub window: Judged,
}

#[derive(Debug, Default)]
pub(super) struct Ranking {
    all: Sums,
    window: Sums,
    newest: VecDeque<Standing>,
}

/// Hits, and their gains, of the model and the two baselines.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    events: u64,
    hits: [u64; 3],
    gains: [f64; 3],
}

impl Sums {
    fn change(&mut self, standing: Standing, sign: f64) {
        self.events = self.events.wrapping_add_signed(sign as i64);
        let ranks = [standing.model, standing.popular, standing.trending];
        for ((rank, hits), gain) in ranks.into_iter().zip(&mut self.hits).zip(&mut self.gains) {
            if let Some(rank) = rank.filter(|rank| *rank <= N) {
                *hits = hits.wrapping_add_signed(sign as i64);
                *gain += sign / ((1 + rank) as f64).log2();
            }
        }
    }

    fn judged(&self) -> Judged {
        let events = self.events.max(1) as f64;
        let scores = |by: usize| Scores { hr: self.hits[by] as f64 / events, ndcg: self.gains[by].max(0.0) / events };
        Judged { ranked: self.events, model: scores(0), popular: scores(1), trending: scores(2) }
    }
}

impl Ranking {
    pub(super) fn add(&mut self, standing: Standing) {
        self.all.change(standing, 1.0);
        self.window.change(standing, 1.0);
        self.newest.push_back(standing);
        if self.newest.len() > WINDOW
            && let Some(oldest) = self.newest.pop_front()
        {
            self.window.change(oldest, -1.0);
        }
    }

    pub(super) fn window(&self) -> Judged {
        self.window.judged()
    }

    pub(super) fn figures(&self, since_ms: i64) -> RankingFigures {
        RankingFigures { since_ms, all: self.all.judged(), window: self.window.judged() }
    }
}
