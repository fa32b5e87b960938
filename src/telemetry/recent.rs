//! The newest warnings and errors, kept in memory so that a page can show what the log was told.
//!
//! They are what goes to the log anyway, under the same filter: nothing is here that is not there.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use parking_lot::Mutex;
use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::now_ms;

/// Lines that are kept.
const KEPT: usize = 100;

/// Longest message, in bytes.
const LONGEST: usize = 2000;

static NEWEST: Mutex<VecDeque<Recent>> = Mutex::new(VecDeque::new());

/// A warning or an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recent {
    /// When it was logged last, in milliseconds since the epoch.
    pub at_ms: i64,
    /// "warn" or "error".
    pub level: &'static str,
    /// Module that it came from.
    pub target: String,
    /// The message with its fields.
    pub message: String,
    /// How often it was logged since it was there first.
    pub count: u64,
}

/// The newest warnings and errors of this process, the newest last; one that is repeated is there once.
#[must_use]
pub fn recent() -> Vec<Recent> {
    NEWEST.lock().iter().cloned().collect()
}

/// The layer that keeps them.
pub(super) struct Keep;

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let about = event.metadata();
        let level = match *about.level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            _ => return,
        };
        let mut text = Text::default();
        event.record(&mut text);
        let target = text.target.take().unwrap_or_else(|| about.target().to_owned());
        note(&mut NEWEST.lock(), Recent { at_ms: now_ms(), level, target, message: text.message(), count: 1 });
    }
}

fn note(kept: &mut VecDeque<Recent>, mut new: Recent) {
    let same = |old: &Recent| (old.level, &old.target, &old.message) == (new.level, &new.target, &new.message);
    if let Some(before) = kept.iter().position(same).and_then(|place| kept.remove(place)) {
        new.count += before.count;
    } else if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(new);
}

/// What an event says, in one line.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
    /// Of a line of another crate, which is told as a field.
    target: Option<String>,
}

impl Text {
    fn message(self) -> String {
        let mut text = self.message + &self.fields;
        if text.len() > LONGEST {
            text.truncate(text.floor_char_boundary(LONGEST));
            text.push('…');
        }
        text
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            "log.target" => {
                self.target = Some(value.to_string());
                Ok(())
            }
            name if name.starts_with("log.") => Ok(()),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    fn warning(message: &str) -> Recent {
        Recent { at_ms: 1, level: "warn", target: "t".to_owned(), message: message.to_owned(), count: 1 }
    }

    #[test]
    fn the_newest_are_kept_and_repeats_are_counted() {
        let mut kept = VecDeque::new();
        (0..KEPT).for_each(|n| note(&mut kept, warning(&n.to_string())));
        note(&mut kept, Recent { at_ms: 9, ..warning("0") });
        assert_eq!((kept.len(), kept.back()), (KEPT, Some(&Recent { at_ms: 9, count: 2, ..warning("0") })));
        note(&mut kept, warning("new"));
        assert_eq!((kept.len(), &kept[0].message[..]), (KEPT, "2"), "the oldest has made room");
    }

    #[test]
    fn what_is_logged_is_kept_with_its_fields_and_what_is_no_warning_is_not() {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Keep), || {
            tracing::info!("recent::tests tells something");
            tracing::warn!(reason = %"it is away", tries = 3, "recent::tests warns");
        });
        let ours: Vec<_> = recent().into_iter().filter(|one| one.message.starts_with("recent::tests")).collect();
        assert_eq!(ours.len(), 1, "{ours:?}");
        assert_eq!((ours[0].level, &ours[0].message[..]), ("warn", "recent::tests warns reason=it is away tries=3"));
        assert!(ours[0].target.ends_with("recent::tests"), "{}", ours[0].target);
    }

    #[test]
    fn a_message_is_cut_between_characters() {
        let text = Text { message: "ä".repeat(LONGEST), ..Text::default() };
        assert_eq!(text.message(), "ä".repeat(LONGEST / 2) + "…");
    }
}
