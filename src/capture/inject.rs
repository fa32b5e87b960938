//! Spoils the rows of a data set in known ways and numbers, to rehearse what goes wrong in production.
//!
//! Apart from the replay, because it is pure: the same rows, rates and seed give the same records in the same order, so
//! that an interrupted replay goes on as if it had not been.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::replay::Outgoing;
use super::{Interaction, Rows};

/// Most rows between an event and its duplicate.
pub const DUPLICATE_WITHIN: u64 = 50;
/// Most rows that a late event is sent behind its place.
pub const LATE_WITHIN: u64 = 1_000;

/// What can be injected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The same event, with the same business id, again within [`DUPLICATE_WITHIN`] rows.
    Duplicates,
    /// An event is sent up to [`LATE_WITHIN`] rows behind its place.
    Late,
    /// Bytes that are no event, beside the events.
    Garbage,
    /// Tastes of a share of the users change: their ratings are mirrored around the middle of the scale, and where events
    /// have no rating, they turn to the item of the row before.
    Drift,
}

const KINDS: [(&str, Kind); 4] =
    [("duplicates", Kind::Duplicates), ("late", Kind::Late), ("garbage", Kind::Garbage), ("drift", Kind::Drift)];

/// One kind and its rate: `duplicates=0.01`, `late=1%`, `drift=0.2@50000`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Injection {
    kind: Kind,
    /// Share of the rows, or of the users for drift, from 0 to 1.
    rate: f64,
    /// First row of the drift, from 1.
    from_row: Option<u64>,
}

/// Why there is no such injection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// Not a kind and a rate.
    #[error(
        "write KIND=RATE: one of duplicates, late, garbage, drift, and a share from 0 to 1 or 0% to 100%, as \"late=0.01\" \
         or \"garbage=1%\"; drift may say the row that it begins with, as \"drift=20%@50000\""
    )]
    Unknown,
    /// The same kind twice.
    #[error("--inject {0} is given twice; give each kind one rate")]
    Twice(&'static str),
    /// Where the middle is cannot be known.
    #[error(
        "drift begins in the middle of the data set, and how many rows this one has is not known before its end; say the row, \
         as \"--inject drift={0}@50000\""
    )]
    NoMiddle(String),
}

impl FromStr for Injection {
    type Err = InjectError;

    fn from_str(text: &str) -> Result<Self, InjectError> {
        let parsed = || {
            let (kind, rate) = text.split_once('=')?;
            let kind = KINDS.iter().find(|(name, _)| *name == kind.trim())?.1;
            let (rate, from_row) = match rate.split_once('@') {
                Some((rate, row)) if kind == Kind::Drift => {
                    (rate, Some(row.trim().parse().ok().filter(|row| *row > 0)?))
                }
                Some(_) => return None,
                None => (rate, None),
            };
            let rate: f64 = match rate.trim().strip_suffix('%') {
                Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
                None => rate.trim().parse().ok()?,
            };
            (0.0..=1.0).contains(&rate).then_some(Self { kind, rate, from_row })
        };
        parsed().ok_or(InjectError::Unknown)
    }
}

impl Injection {
    /// Whether it is drift.
    #[must_use]
    pub fn is_drift(&self) -> bool {
        self.kind == Kind::Drift
    }
}

/// The rows of a data set under one injection of drift, as a replay with this seed sends them, and the first row of the
/// drift, from 1.
///
/// # Errors
/// As [`Injector::new`].
pub fn drifting(
    rows: Rows,
    injection: Injection,
    seed: u64,
    scale: (f32, f32),
    n_rows: Option<u64>,
) -> Result<(Rows, u64), InjectError> {
    let ids = Ids { run: String::new(), all: false };
    let mut injector = Injector::new(&[injection], seed, ids, scale, n_rows)?;
    let from = injector.injected.drift_from.unwrap_or(1);
    let rows = rows.map(move |row| {
        let mut row = row?;
        injector.row += 1;
        injector.drift(&mut row);
        Ok(row)
    });
    Ok((Box::new(rows), from))
}

impl std::fmt::Display for Injection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", name(self.kind), self.rate)?;
        self.from_row.map_or(Ok(()), |row| write!(f, "@{row}"))
    }
}

fn name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(name, _)| name)
}

/// How much of each kind was injected so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Events that were sent twice.
    pub duplicates: u64,
    /// Events that were held back.
    pub late: u64,
    /// Records that are no events, by what is wrong with them.
    pub garbage: BTreeMap<&'static str, u64>,
    /// Events that drift has changed.
    pub drifted: u64,
    /// Users whose events they were.
    pub drifted_users: BTreeSet<Box<str>>,
    /// First row of the drift, from 1.
    pub drift_from: Option<u64>,
}

/// Turns rows into records, the injected ones among them.
#[derive(Debug)]
pub struct Injector {
    chances: BTreeMap<Kind, Chance>,
    seed: u64,
    ids: Ids,
    /// Lowest and highest rating.
    scale: (f32, f32),
    row: u64,
    /// Item of the row before, while tastes drift.
    item_before: Option<String>,
    /// What is to be sent before the row of that number, in this order.
    held: BTreeMap<(u64, u64), Held>,
    injected: Injected,
}

/// Business ids for events that have none.
#[derive(Clone, Debug)]
pub struct Ids {
    /// What they begin with: another one for each replay, so that none of it is taken for a duplicate of an earlier one.
    pub run: String,
    /// Whether each event gets one, and not only the one that is sent twice.
    pub all: bool,
}

#[derive(Debug)]
struct Chance {
    rate: f64,
    random: Pcg64Mcg,
}

#[derive(Debug)]
struct Held {
    outgoing: Outgoing,
    /// Rows after which it is sent once more.
    again: Option<u64>,
}

impl Injector {
    /// Nothing injected yet. `n_rows` is how many rows there will be, where that is known.
    ///
    /// # Errors
    /// If a kind is given twice, or drift without a row where it could not be known.
    pub fn new(
        injections: &[Injection],
        seed: u64,
        ids: Ids,
        scale: (f32, f32),
        n_rows: Option<u64>,
    ) -> Result<Self, InjectError> {
        let mut chances = BTreeMap::new();
        let mut injected = Injected::default();
        for &Injection { kind, rate, from_row } in injections {
            // A generator for each kind: what one kind does is the same with and without the others.
            let random = Pcg64Mcg::seed_from_u64(seed ^ (kind as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            if chances.insert(kind, Chance { rate, random }).is_some() {
                return Err(InjectError::Twice(name(kind)));
            }
            if kind == Kind::Drift {
                let from = from_row.or(n_rows.map(|rows| rows / 2 + 1));
                injected.drift_from = Some(from.ok_or_else(|| InjectError::NoMiddle(rate.to_string()))?);
            }
        }
        let held = BTreeMap::new();
        Ok(Self { chances, seed, ids, scale, row: 0, item_before: None, held, injected })
    }

    /// How much was injected.
    #[must_use]
    pub fn injected(&self) -> &Injected {
        &self.injected
    }

    /// Adds the records that the next row gives, with what was held back until now.
    pub(crate) fn row(&mut self, mut row: Interaction, out: &mut impl Extend<Outgoing>) {
        self.row += 1;
        self.release(self.row, out);
        self.drift(&mut row);
        if let Some(random) = self.hit(Kind::Garbage) {
            let (what, payload) = garbage(&row, random);
            *self.injected.garbage.entry(what).or_default() += 1;
            let mut garbage = Outgoing::from(row.clone());
            garbage.record.payload = payload;
            out.extend([garbage]);
        }
        let again = self.hit(Kind::Duplicates).map(|random| random.random_range(1..=DUPLICATE_WITHIN));
        if again.is_some() || self.ids.all {
            let (run, number) = (&self.ids.run, self.row);
            row.id.get_or_insert_with(|| format!("{run}/{number}"));
        }
        self.injected.duplicates += u64::from(again.is_some());
        let outgoing = Outgoing::from(row);
        match self.hit(Kind::Late).map(|random| random.random_range(1..=LATE_WITHIN)) {
            Some(rows) => {
                self.injected.late += 1;
                self.hold(self.row + rows, Held { outgoing, again });
            }
            None => self.send(self.row, Held { outgoing, again }, out),
        }
    }

    /// Adds all that is still held back: no row follows.
    pub(crate) fn finish(&mut self, out: &mut impl Extend<Outgoing>) {
        self.release(u64::MAX, out);
    }

    /// The generator of that kind, if it strikes at this row.
    fn hit(&mut self, kind: Kind) -> Option<&mut Pcg64Mcg> {
        let Chance { rate, random } = self.chances.get_mut(&kind)?;
        random.random_bool(*rate).then_some(random)
    }

    fn hold(&mut self, row: u64, held: Held) {
        // Those of the same row keep the order in which they were held.
        let place = self.held.range((row, 0)..=(row, u64::MAX)).next_back().map_or(0, |((_, place), _)| place + 1);
        self.held.insert((row, place), held);
    }

    fn send(&mut self, row: u64, held: Held, out: &mut impl Extend<Outgoing>) {
        if let Some(rows) = held.again {
            self.hold(row.saturating_add(rows), Held { outgoing: held.outgoing.clone(), again: None });
        }
        out.extend([held.outgoing]);
    }

    /// Sends what is due before this row.
    fn release(&mut self, before: u64, out: &mut impl Extend<Outgoing>) {
        while let Some(first) = self.held.first_entry().filter(|first| first.key().0 <= before) {
            let row = first.key().0;
            let held = first.remove();
            self.send(row, held, out);
        }
    }

    fn drift(&mut self, row: &mut Interaction) {
        let Some(Chance { rate, .. }) = self.chances.get(&Kind::Drift) else { return };
        let item_before = self.item_before.replace(row.item.clone());
        let user = u64::from(crc32fast::hash(row.user.as_bytes()));
        let changes = || Pcg64Mcg::seed_from_u64(self.seed.rotate_left(32) ^ user).random_bool(*rate);
        if self.injected.drift_from.is_none_or(|from| self.row < from) || !changes() {
            return;
        }
        match (&mut row.rating, item_before) {
            (Some(rating), _) => *rating = self.scale.0 + self.scale.1 - *rating,
            (None, Some(item)) => row.item = item,
            (None, None) => return,
        }
        self.injected.drifted += 1;
        if !self.injected.drifted_users.contains(row.user.as_str()) {
            self.injected.drifted_users.insert(row.user.as_str().into());
        }
    }
}

/// What is wrong, and bytes that no engine takes for an event.
fn garbage(row: &Interaction, random: &mut Pcg64Mcg) -> (&'static str, Vec<u8>) {
    let json = row.to_json();
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let (user, item) = (text(&row.user), text(&row.item));
    match random.random_range(0..5) {
        0 => ("cut short", json[..json.len() / 2].to_vec()),
        1 => ("wrong type", format!(r#"{{"v":1,"user":{user},"item":{item},"rating":"five"}}"#).into_bytes()),
        2 => ("invalid UTF-8", [br#"{"v":1,"user":"#, &b"\"\xff\xfe\","[..], br#""item":"1"}"#].concat()),
        3 => ("unknown version", format!(r#"{{"v":99,"user":{user},"item":{item}}}"#).into_bytes()),
        _ => ("empty", Vec::new()),
    }
}

#[cfg(test)]
mod tests;
