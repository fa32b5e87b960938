//! What learning one event costs as a stream grows: with its users, its items, the length of the users' histories, and k.
//!
//! A learner first learns a made-up stream of the size in question, then the time of 4,000 further events is taken. Users
//! are drawn evenly, items by a power law. The cost must not grow with the users; with the rest it must end at the caps of
//! the parameters. Each size is measured in every round, so that drift hits all alike; the median is printed, and
//! `target/growth.html` has the plots. Growth is what is looked for and not the last percent, so Criterion, which would take
//! an hour over it, does not run this one.
//!
//! `cargo bench --bench growth`

#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

use std::hint::black_box;
use std::time::Instant;

use freshet::config::{Config, LearnerKind};
use freshet::learn::{Observation, build};
use plotly::common::{AxisSide, Marker, Mode, Title};
use plotly::layout::{Axis, AxisType, GridPattern, Layout, LayoutGrid};
use plotly::{Plot, Scatter};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Learners that are measured: those that the presets name, the baseline with most state, and the one for speed.
const KINDS: [LearnerKind; 4] =
    [LearnerKind::BiasedMf, LearnerKind::BayesianMf, LearnerKind::ItemKnn, LearnerKind::Blend];

/// A colour for each, told apart by everybody (Okabe and Ito).
const COLOURS: [&str; 4] = ["#cc79a7", "#0072b2", "#e69f00", "#009e73"];

/// Events whose time is taken.
const TIMED: usize = 4_000;

/// How often each size is measured.
const ROUNDS: usize = 3;

/// A stream by its size.
#[derive(Clone, Copy)]
struct Size {
    users: u32,
    items: u32,
    /// Events of each user before the timed ones.
    history: u32,
    /// Number of factors; the default of the learner where it is none.
    k: Option<usize>,
}

/// What grows, and through which sizes.
type Sweep = (&'static str, &'static [u32], fn(u32) -> Size);

const MIDDLE: Size = Size { users: 500, items: 2_000, history: 50, k: None };

const SWEEPS: [Sweep; 4] = [
    ("users", &[250, 1_000, 4_000], |users| Size { users, history: 20, ..MIDDLE }),
    ("items", &[500, 2_000, 8_000, 32_000], |items| Size { items, ..MIDDLE }),
    ("history", &[10, 40, 160, 640], |history| Size { users: 100, history, ..MIDDLE }),
    ("k", &[4, 8, 15], |k| Size { k: Some(k as usize), ..MIDDLE }),
];

fn main() {
    let mut plot = Plot::new();
    for (place, (what, values, size)) in (1..).zip(SWEEPS) {
        println!("{what:>8}  {}", KINDS.map(|kind| format!("{:>14}", kind.name())).join(""));
        let mut costs = vec![Vec::new(); KINDS.len()];
        for value in values {
            let micros: Vec<f64> = KINDS.iter().map(|kind| median(*kind, size(*value))).collect();
            let row: Vec<String> = micros.iter().map(|cost| format!("{cost:>11.2} µs")).collect();
            println!("{value:>8}  {}", row.concat());
            costs.iter_mut().zip(&micros).for_each(|(all, cost)| all.push(*cost));
        }
        for ((kind, cost), colour) in KINDS.iter().zip(costs).zip(COLOURS) {
            let axis = if place == 1 { String::new() } else { place.to_string() };
            let trace = Scatter::new(values.to_vec(), cost).mode(Mode::LinesMarkers).name(kind.name());
            let trace = trace.marker(Marker::new().color(colour)).show_legend(place == 1);
            plot.add_trace(trace.x_axis(format!("x{axis}")).y_axis(format!("y{axis}")));
        }
    }
    plot.set_layout(layout());
    plot.write_html("target/growth.html");
    println!("plots in target/growth.html");
}

fn layout() -> Layout {
    let x = |what| Axis::new().type_(AxisType::Log).title(Title::with_text(what));
    let y = || Axis::new().type_(AxisType::Log).title(Title::with_text("µs an event")).side(AxisSide::Left);
    Layout::new()
        .title(Title::with_text("Cost of learning one event"))
        .height(760)
        .grid(LayoutGrid::new().rows(2).columns(2).pattern(GridPattern::Independent))
        .x_axis(x(SWEEPS[0].0))
        .y_axis(y())
        .x_axis2(x(SWEEPS[1].0))
        .y_axis2(y())
        .x_axis3(x(SWEEPS[2].0))
        .y_axis3(y())
        .x_axis4(x(SWEEPS[3].0))
        .y_axis4(y())
}

fn median(kind: LearnerKind, size: Size) -> f64 {
    let mut all: Vec<f64> = (0..ROUNDS).map(|_| micros(kind, size)).collect();
    all.sort_by(f64::total_cmp);
    all[ROUNDS / 2]
}

/// Microseconds of one event, after as many as the size says.
fn micros(kind: LearnerKind, size: Size) -> f64 {
    let mut config = Config::default();
    if let Some(k) = size.k {
        config.biased_mf.factors = k;
        config.bayesian_mf.factors = k;
        config.blend.factors = k;
    }
    let mut learner = build(kind, &config).unwrap();
    let mut random = Pcg64::seed_from_u64(1);
    let mut event = |n: usize| {
        // A power law: half of the events go to a tenth of the items.
        let at: f64 = random.random();
        let item = (at.powf(3.3) * f64::from(size.items)) as u32;
        let target = random.random_range(1..=5) as f32;
        let (user, ts) = (random.random_range(0..size.users), Some(n as i64 * 1_000));
        Observation { user, item, target, positive: target >= 4.0, count: 1.0, ts, about: None }
    };
    let warm = (size.users * size.history) as usize;
    for n in 0..warm {
        learner.learn(&event(n));
    }
    let timed: Vec<Observation> = (warm..warm + TIMED).map(event).collect();
    let start = Instant::now();
    for event in &timed {
        black_box(learner.learn(event));
    }
    start.elapsed().as_secs_f64() * 1e6 / TIMED as f64
}
