//! The model: how good it is beside the running mean, how large, and how old its newest snapshot.

use std::fmt;

use prometheus_client::registry::Unit;

use super::families::{Families, Labels};
use crate::learn::LearnedState;
use crate::learn::prequential::{Metrics, Sums};
use crate::serve::Status;
use crate::serve::monitor::{Judged, RankingFigures};
use crate::serve::resident::Resident;
use crate::telemetry::now_ms;

pub(super) fn encode(out: &mut Families<'_>, status: &Status, learned: &LearnedState) -> fmt::Result {
    let figures = status.monitor.learning();
    encode_errors(out, learned, &figures.window)?;
    encode_lists(out, &figures.ranking)?;
    let detected = [(vec![], learned.drift.detected())];
    out.counters("freshet_drifts", "Times that the model was found to predict worse than it did", detected)?;
    let boosted = [(vec![], f64::from(learned.drift.is_boosted()))];
    out.gauges("freshet_drift_boosted", "Whether it learns faster now, because of a drift", None, boosted)?;
    let (users, items) = (learned.users.len() as f64, learned.items.len() as f64);
    out.gauges("freshet_model_users", "Users that the model knows", None, [(vec![], users)])?;
    out.gauges("freshet_model_items", "Items that the model knows", None, [(vec![], items)])?;
    encode_resident(out, &status.resident)?;
    let snapshots = status.snapshots.load();
    let kept = [(vec![], snapshots.len() as f64)];
    out.gauges("freshet_snapshots", "Snapshots in the store, the newest hundred", None, kept)?;
    let age = snapshots.first().map(|newest| (now_ms() - newest.created_at_ms).max(0) as f64 / 1000.0);
    let age = age.map(|age| (vec![], age));
    out.gauges("freshet_snapshot_age", "Time since the newest snapshot was taken", Some(&Unit::Seconds), age)
}

/// Users' rows in memory, where there is a bound of them.
fn encode_resident(out: &mut Families<'_>, resident: &Resident) -> fmt::Result {
    let bounded = |value: u64| resident.budget().map(|_| (vec![], value as f64));
    let help = "Users whose rows are in memory, where engine.user_bytes bounds them";
    out.gauges("freshet_resident_users", help, None, bounded(resident.users()))?;
    let help = "What users' rows take in memory, where engine.user_bytes bounds it";
    out.gauges("freshet_resident", help, Some(&Unit::Bytes), bounded(resident.bytes()))?;
    let forgotten = [(vec![], resident.forgotten())];
    out.counters("freshet_users_forgotten", "Idle users whose rows went from memory", forgotten)?;
    let recalled = [(vec![], resident.recalled())];
    out.counters("freshet_users_recalled", "Users whose rows were read from the store again", recalled)
}

/// Test-then-learn errors, each with who made it (`of`) and over which events (`over`): the newest ten thousand are the window.
fn encode_errors(out: &mut Families<'_>, learned: &LearnedState, window: &Sums) -> fmt::Result {
    let all = learned.prequential.sums();
    let scored = [(vec![], all.events())];
    out.counters("freshet_events_scored", "Ratings that were predicted before they were learned", scored)?;
    // Before the first rating there is no error, which is not an error of 0.
    let both = [("all", all), ("window", window)].into_iter().filter(|(_, sums)| sums.events() > 0);
    let both: Vec<(&str, Metrics)> = both.map(|(over, sums)| (over, sums.metrics())).collect();
    let mae = both.iter().flat_map(|(over, of)| of_each(["model", "mean"], over, [of.mae, of.mean_mae]));
    let help = "Mean absolute error, test-then-learn, of the model and of the running mean";
    out.gauges("freshet_mae", help, None, mae)?;
    let rmse = both.iter().flat_map(|(over, of)| of_each(["model", "mean"], over, [of.rmse, of.mean_rmse]));
    let help = "Root mean squared error, test-then-learn, of the model and of the running mean";
    out.gauges("freshet_rmse", help, None, rmse)
}

/// Hit rate and NDCG of the ten best, as they would have been served just before an event: since the start, and over the
/// newest two thousand that were judged.
fn encode_lists(out: &mut Families<'_>, ranking: &RankingFigures) -> fmt::Result {
    let judged = [(vec![], ranking.all.ranked)];
    out.counters("freshet_lists_judged", "Events whose user's list was judged by them", judged)?;
    let both: [(&str, &Judged); 2] = [("all", &ranking.all), ("window", &ranking.window)];
    let judged = || both.iter().filter(|(_, judged)| judged.ranked > 0);
    let who = ["model", "popular", "trending"];
    let rates = judged().flat_map(|(over, by)| of_each(who, over, [by.model.hr, by.popular.hr, by.trending.hr]));
    out.gauges(
        "freshet_hit_rate",
        "Share of events whose item was among the ten best of the user's list",
        None,
        rates,
    )?;
    let gains = judged().flat_map(|(over, by)| of_each(who, over, [by.model.ndcg, by.popular.ndcg, by.trending.ndcg]));
    out.gauges("freshet_ndcg", "Mean of 1 / log2(1 + rank) of events' items, 0 beyond the ten best", None, gains)
}

/// A sample for each of those who made something, over the same events.
fn of_each<const N: usize>(of: [&'static str; N], over: &str, values: [f64; N]) -> Vec<(Labels, f64)> {
    let labels = |of: &str| vec![("of", of.to_owned()), ("over", over.to_owned())];
    of.into_iter().map(labels).zip(values).collect()
}
