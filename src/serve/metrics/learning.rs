//! The model: how good it is beside the running mean, how large, and how old its newest snapshot.

use std::fmt;

use prometheus_client::registry::Unit;

use super::families::{Families, Labels};
use crate::learn::LearnedState;
use crate::serve::Status;
use crate::telemetry::now_ms;

pub(super) fn encode(out: &mut Families<'_>, status: &Status, learned: &LearnedState) -> fmt::Result {
    encode_errors(out, learned)?;
    let (users, items) = (learned.users.len() as f64, learned.items.len() as f64);
    out.gauges("freshet_model_users", "Users that the model knows", None, [(vec![], users)])?;
    out.gauges("freshet_model_items", "Items that the model knows", None, [(vec![], items)])?;
    let snapshots = status.snapshots.load();
    let kept = [(vec![], snapshots.len() as f64)];
    out.gauges("freshet_snapshots", "Snapshots in the store, the newest hundred", None, kept)?;
    let age = snapshots.first().map(|newest| (now_ms() - newest.created_at_ms).max(0) as f64 / 1000.0);
    let age = age.map(|age| (vec![], age));
    out.gauges("freshet_snapshot_age", "Time since the newest snapshot was taken", Some(&Unit::Seconds), age)
}

/// Test-then-learn errors, each with who made it (`of`) and over which events (`over`): those of the window go here too.
fn encode_errors(out: &mut Families<'_>, learned: &LearnedState) -> fmt::Result {
    let scored = learned.prequential.events();
    out.counters("freshet_events_scored", "Ratings that were predicted before they were learned", [(vec![], scored)])?;
    // Before the first rating there is no error, which is not an error of 0.
    let all = (scored > 0).then(|| learned.prequential.metrics());
    let labels = |of: &str, over: &str| -> Labels { vec![("of", of.to_owned()), ("over", over.to_owned())] };
    let mae = all.iter().flat_map(|all| [(labels("model", "all"), all.mae), (labels("mean", "all"), all.mean_mae)]);
    let help = "Mean absolute error, test-then-learn, of the model and of the running mean";
    out.gauges("freshet_mae", help, None, mae)?;
    let rmse = all.iter().flat_map(|all| [(labels("model", "all"), all.rmse), (labels("mean", "all"), all.mean_rmse)]);
    let help = "Root mean squared error, test-then-learn, of the model and of the running mean";
    out.gauges("freshet_rmse", help, None, rmse)
}
