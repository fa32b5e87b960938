//! The stream: events, rejects, lag, batches, what stages take, and what does not work.

use std::fmt;

use prometheus_client::registry::Unit;

use super::families::{Families, label};
use crate::consume::lag::{Lag, LagState};
use crate::serve::Status;
use crate::serve::status::{Part, Phase};

/// `seq` is the last event that readers see.
pub(super) fn encode(out: &mut Families<'_>, status: &Status, seq: u64) -> fmt::Result {
    out.counters("freshet_events_learned", "Events that the model has learned", [(vec![], seq)])?;
    let durable = status.durable_seq();
    out.counters("freshet_events_durable", "Learned events that the store holds", [(vec![], durable)])?;
    let rejects = status.rejects().into_iter().map(|(reason, count)| (label("reason", reason), count));
    out.counters("freshet_dead_letters", "Records that are no events, by reason", rejects)?;
    // From the start on, so that a first failure is a rise that an alert can see.
    let failures = status.failures();
    let failures = Part::ALL.map(|part| (label("part", part), failures.get(&part).copied().unwrap_or_default()));
    out.counters("freshet_failures", "Failures of the log or the store that were waited out", failures)?;
    let troubles = status.troubles();
    let trouble = |part| f64::from(troubles.iter().any(|trouble| trouble.part == part));
    let parts = Part::ALL.map(|part| (label("part", part), trouble(part)));
    out.gauges("freshet_trouble", "Whether the log or the store does not work now", None, parts)?;
    let phase = status.phase();
    let phases = Phase::ALL.map(|one| (label("phase", one), f64::from(one == phase)));
    out.gauges("freshet_phase", "What the engine is about: 1 for the phase that it is in", None, phases)?;
    let behind = status.behind(seq);
    let events = behind.iter().map(|behind| (vec![], behind.events as f64));
    out.gauges("freshet_behind_events", "Events that a server's trainer has told of and it has not", None, events)?;
    let age = behind.iter().filter_map(|behind| Some((vec![], behind.age_ms? as f64 / 1e3)));
    let help = "Time since a server's trainer said that the answering model is its own";
    out.gauges("freshet_staleness", help, Some(&Unit::Seconds), age)?;
    let others = status.trainers.load();
    let others = others
        .iter()
        .filter_map(|other| Some((vec![("trainer", other.shard.to_string())], other.stale_ms()? as f64 / 1e3)));
    let help = "By how much what another trainer has added to items here is behind what it has learned";
    out.gauges("freshet_trainer_staleness", help, Some(&Unit::Seconds), others)?;
    encode_times(out, status)?;
    encode_lag(out, &status.lag.load())
}

fn encode_times(out: &mut Families<'_>, status: &Status) -> fmt::Result {
    let timings = &status.timings;
    let events = Unit::Other("events".to_owned());
    let sizes = [(vec![], &timings.batch_events)];
    out.histograms("freshet_batch", "New events of a micro-batch", &events, sizes)?;
    let stages = timings.stages().map(|(stage, timing)| (vec![("stage", stage.to_owned())], &timing.total));
    let help = "What stages take: gather is the wait of a batch's first event, persist a write, snapshot a whole one";
    out.histograms("freshet_stage", help, &Unit::Seconds, stages)?;
    let help = "From the log's timestamp of an event until a view that has learned it answers";
    out.histograms("freshet_freshness", help, &Unit::Seconds, [(vec![], &timings.freshness.total)])
}

fn encode_lag(out: &mut Families<'_>, lags: &[Lag]) -> fmt::Result {
    let of = |lag: &Lag| vec![("topic", lag.topic.to_string()), ("partition", lag.partition.to_string())];
    let messages = lags.iter().map(|lag| (of(lag), lag.messages as f64));
    let unit = Unit::Other("messages".to_owned());
    out.gauges("freshet_lag", "Records on the log that are not durable", Some(&unit), messages)?;
    let seconds = lags.iter().filter_map(|lag| Some((of(lag), lag.seconds?)));
    out.gauges("freshet_lag", "Age of the events that are being read", Some(&Unit::Seconds), seconds)?;
    let states = lags.iter().flat_map(|lag| {
        let labels = move |state| of(lag).into_iter().chain(label("state", state)).collect();
        LagState::ALL.map(|state| (labels(state), f64::from(lag.state == state)))
    });
    out.gauges("freshet_lag_state", "How the lag develops: 1 for the state that it is in", None, states)
}
