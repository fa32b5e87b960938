//! A sequence model: the user's newest items as one vector, and for each item how well it comes next.
//!
//! The user is `s = sum over m of decay^m * e(item m places ago)`, an item's score `s · v(item) + b(item)`: the simplest
//! of the kin of GRU4Rec (Hidasi et al., ICLR 2016) and SASRec (Kang, McAuley, ICDM 2018), with a fixed decay in place
//! of recurrence or attention. `e` has two vectors an item, one for those who chose it and one for those who did not
//! like it. Learned by one step an event on the softmax of the item that came next among items sampled (Bengio, Senécal,
//! "Adaptive importance sampling to accelerate training of a neural probabilistic language model", 2008; Jean et al.,
//! "On using very large target vocabulary", ACL 2015), each row at its own rate (AdaGrad with one sum a vector: Duchi,
//! Hazan, Singer, JMLR 2011).

use rand_pcg::Pcg64;

use super::draw;
use super::history::Visit;
use super::math::{bounded, exp};
use crate::config::BlendConfig;
use crate::learn::dot;
use crate::learn::tables::{Frozen, Live, Matrix, Storage, Table, Tables};

/// Number of sequence models.
pub(super) const SEQUENCES: usize = 2;

/// Newest items that a user's vector is made of; the weight of one further back would be small.
const LENGTH: usize = 30;

/// Weight of an item below which older ones are left out.
const LEAST_WEIGHT: f32 = 1e-3;

/// Standard deviation of the elements of new vectors.
const INIT_SCALE: f32 = 0.05;

/// Where the sums of squared gradients start.
const FIRST_SUM: f32 = 0.1;

/// Gradient below which an item that did not come next is left as it is.
const LEAST_GRADIENT: f32 = 1e-4;

/// What makes one sequence model differ from another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    name: &'static str,
    rate: f32,
    decay: f32,
}

/// The sequence models: one with a shorter and one with a longer memory.
pub(super) fn settings(params: &BlendConfig) -> [Settings; SEQUENCES] {
    let settings = |name, decay: f64| Settings { name, rate: params.sequence_rate as f32, decay: decay as f32 };
    [settings("short", params.short_decay), settings("long", params.long_decay)]
}

/// What a step works in, reused.
#[derive(Clone, Debug, Default)]
pub(super) struct Work {
    user: Vec<f32>,
    gradient: Vec<f32>,
    chances: Vec<f32>,
}

/// The model. Rows of `inputs` have shape `(2 * n_factors + 2,)`: the two vectors, then the sum of squared gradients of
/// each; rows of `outputs` `(n_factors + 2,)`: the vector, its sum, the bias. The sums are touched only with their
/// vectors, and stand beside them.
#[derive(Clone, Debug)]
pub(super) struct Sequence<S: Storage> {
    settings: Settings,
    factors: usize,
    inputs: Matrix<S>,
    outputs: Matrix<S>,
}

impl<S: Storage> Sequence<S> {
    /// Number of items.
    pub(super) fn len(&self) -> usize {
        self.inputs.len().min(self.outputs.len())
    }

    /// The user as a vector of shape `(n_factors,)`; `visits` has the newest one first, and those that are none add
    /// nothing.
    pub(super) fn user<'v>(&self, visits: impl Iterator<Item = Option<&'v Visit>>, user: &mut Vec<f32>) {
        let k = self.factors;
        user.clear();
        user.resize(k, 0.0);
        for (visit, weight) in visits.zip(weights(self.settings.decay)) {
            let Some(vector) = visit.and_then(|visit| self.input(visit)) else { continue };
            user.iter_mut().zip(vector).for_each(|(sum, x)| *sum += weight * x);
        }
    }

    /// The vector for a visit, shape `(n_factors,)`.
    #[inline]
    fn input(&self, visit: &Visit) -> Option<&[f32]> {
        let row = self.inputs.get(visit.item)?;
        Some(&row[place(self.factors, visit)..][..self.factors])
    }

    /// What each visit adds to how well an item comes next, the newest first.
    pub(super) fn shares(&self, visits: &[Visit], item: u32) -> impl Iterator<Item = f32> {
        let (vector, _) = self.outputs.row(item).split_at(self.factors);
        let weights = weights(self.settings.decay).chain(std::iter::repeat(0.0));
        visits
            .iter()
            .zip(weights)
            .map(move |(visit, weight)| weight * self.input(visit).map_or(0.0, |x| dot(x, vector)))
    }

    /// How well an item comes next to a user.
    #[inline]
    pub(super) fn score(&self, user: &[f32], item: u32) -> f32 {
        let (vector, rest) = self.outputs.row(item).split_at(self.factors);
        dot(user, vector) + rest[1]
    }
}

/// Weights of a user's items, the newest first.
fn weights(decay: f32) -> impl Iterator<Item = f32> {
    let weights = std::iter::successors(Some(1.0), move |weight| Some(weight * decay));
    weights.take(LENGTH).take_while(|weight| *weight >= LEAST_WEIGHT)
}

/// Where the vector for a visit begins in a row of the inputs.
#[inline]
fn place(k: usize, visit: &Visit) -> usize {
    if visit.positive { 0 } else { k }
}

impl Sequence<Live> {
    pub(super) fn new(settings: Settings, factors: usize) -> Self {
        Self { settings, factors, inputs: Matrix::new(2 * factors + 2), outputs: Matrix::new(factors + 2) }
    }

    /// Gives the item rows, and all before it: vectors drawn around 0.
    pub(super) fn grow_to(&mut self, item: u32, generator: &mut Pcg64) {
        let k = self.factors;
        let draw = |row: &mut [f32], generator: &mut Pcg64| {
            for value in row {
                *value = draw::normal(generator) * INIT_SCALE;
            }
        };
        self.inputs.grow_to(item, |_, row| {
            draw(&mut row[..2 * k], generator);
            row[2 * k..].fill(FIRST_SUM);
        });
        self.outputs.grow_to(item, |_, row| {
            draw(&mut row[..k], generator);
            row[k] = FIRST_SUM;
        });
    }

    /// One step: `items` has the one that came next, last, after others that did not; `history` has the newest visit
    /// first. Each of the others stands for more of its kind where they were sampled: `correction` is the logarithm of
    /// how many.
    pub(super) fn step(&mut self, history: &[Visit], items: &[u32], correction: f32, work: &mut Work) {
        self.user(history.iter().map(Some), &mut work.user);
        self.chances(items, correction, work);
        self.step_outputs(items, work);
        self.step_inputs(history, &work.gradient);
    }

    /// The softmax over the items.
    fn chances(&self, items: &[u32], correction: f32, work: &mut Work) {
        let Work { user, chances, .. } = work;
        chances.clear();
        chances.extend(items.iter().map(|item| self.score(user, *item) + correction));
        if let Some(last) = chances.last_mut() {
            *last -= correction;
        }
        let most = chances.iter().copied().fold(f32::MIN, |most, x| if x > most { x } else { most });
        let mut sum = 0.0;
        for chance in chances.iter_mut() {
            *chance = exp(*chance - most);
            sum += *chance;
        }
        let scale = 1.0 / sum;
        for chance in chances {
            *chance *= scale;
        }
    }

    /// Moves the items' vectors and biases; leaves the gradient of the user's vector, from the old values.
    fn step_outputs(&mut self, items: &[u32], work: &mut Work) {
        let Work { user, gradient, chances } = work;
        let (k, rate, next) = (self.factors, self.settings.rate, items.len() - 1);
        gradient.clear();
        gradient.resize(k, 0.0);
        let square = dot(user, user) / k as f32;
        for (at, (item, chance)) in items.iter().zip(chances).enumerate() {
            let pull = if at == next { 1.0 - *chance } else { -*chance };
            if pull.abs() < LEAST_GRADIENT && at != next {
                continue;
            }
            let (vector, rest) = self.outputs.row_mut(*item).split_at_mut(k);
            // The bias has a gradient too, beside the vector's.
            rest[0] += pull * pull * (square + 0.1);
            let step = rate * pull / rest[0].sqrt();
            rest[1] = bounded(rest[1] + step);
            for ((x, user), gradient) in vector.iter_mut().zip(&*user).zip(&mut *gradient) {
                *gradient += pull * *x;
                *x = bounded(*x + step * user);
            }
        }
    }

    /// Moves the vectors of the user's items.
    fn step_inputs(&mut self, history: &[Visit], gradient: &[f32]) {
        let (k, rate) = (self.factors, self.settings.rate);
        let square = dot(gradient, gradient) / k as f32;
        for (visit, weight) in history.iter().zip(weights(self.settings.decay)) {
            let row = self.inputs.row_mut(visit.item);
            let sum = &mut row[2 * k + usize::from(!visit.positive)];
            *sum += weight * weight * square;
            let step = rate * weight / sum.sqrt();
            let vector = &mut row[place(k, visit)..][..k];
            vector.iter_mut().zip(gradient).for_each(|(x, gradient)| *x = bounded(*x + step * gradient));
        }
    }

    pub(super) fn publish(&mut self) -> Sequence<Frozen> {
        let Self { settings, factors, inputs, outputs } = self;
        Sequence { settings: *settings, factors: *factors, inputs: inputs.publish(), outputs: outputs.publish() }
    }
}

impl Sequence<Frozen> {
    pub(super) fn thaw(&self) -> Sequence<Live> {
        let Self { settings, factors, inputs, outputs } = self;
        Sequence { settings: *settings, factors: *factors, inputs: inputs.thaw(), outputs: outputs.thaw() }
    }

    pub(super) fn tables(&self) -> [Table; 2] {
        let name = self.settings.name;
        [self.inputs.table(format!("{name}_inputs")), self.outputs.table(format!("{name}_outputs"))]
    }

    /// The model of these tables.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn read(tables: &mut Tables, settings: Settings, factors: usize) -> Result<Self, String> {
        let inputs = Matrix::read(tables, &format!("{}_inputs", settings.name), 2 * factors + 2)?;
        let outputs = Matrix::read(tables, &format!("{}_outputs", settings.name), factors + 2)?;
        Ok(Self { settings, factors, inputs, outputs })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    const ITEMS: [u32; 4] = [3, 1, 4, 2];
    const CORRECTION: f32 = 0.7;

    fn model(rate: f32) -> (Sequence<Live>, Vec<Visit>) {
        let settings = Settings { name: "test", rate, decay: 0.8 };
        let mut model = Sequence::new(settings, 8);
        model.grow_to(5, &mut Pcg64::seed_from_u64(3));
        let visit = |(item, positive)| Visit { item, positive, ts: None, confidence: 1.0 };
        (model, [(0, true), (5, false), (2, true)].map(visit).to_vec())
    }

    /// Logarithm of the chance of the item that came next, in double precision.
    fn likelihood(model: &Sequence<Live>, history: &[Visit]) -> f64 {
        let mut user = Vec::new();
        model.user(history.iter().map(Some), &mut user);
        let score = |at: usize| {
            let correction = if at + 1 == ITEMS.len() { 0.0 } else { CORRECTION };
            f64::from(model.score(&user, ITEMS[at]) + correction)
        };
        let sum: f64 = (0..ITEMS.len()).map(|at| score(at).exp()).sum();
        score(ITEMS.len() - 1) - sum.ln()
    }

    /// Slope of the likelihood in one value of a row.
    fn slope(change: impl Fn(&mut Sequence<Live>, f32)) -> f64 {
        let at = |by| {
            let (mut model, history) = model(0.0);
            change(&mut model, by);
            likelihood(&model, &history)
        };
        (at(1e-2) - at(-1e-2)) / 2e-2
    }

    #[test]
    fn a_step_goes_along_the_gradient() {
        let (before, history) = model(1e-3);
        let mut after = before.clone();
        after.step(&history, &ITEMS, CORRECTION, &mut Work::default());
        for item in 0..6 {
            for at in (0..8).chain([9]) {
                let rate = 1e-3 / f64::from(after.outputs.row(item)[8].sqrt());
                let moved = f64::from(after.outputs.row(item)[at] - before.outputs.row(item)[at]) / rate;
                let slope = slope(|model, by| model.outputs.row_mut(item)[at] += by);
                assert!((moved - slope).abs() < 4e-3, "output {item}, {at}: {moved} {slope}");
            }
            for at in 0..16 {
                let rate = 1e-3 / f64::from(after.inputs.row(item)[16 + at / 8].sqrt());
                let moved = f64::from(after.inputs.row(item)[at] - before.inputs.row(item)[at]) / rate;
                let slope = slope(|model, by| model.inputs.row_mut(item)[at] += by);
                assert!((moved - slope).abs() < 4e-3, "input {item}, {at}: {moved} {slope}");
            }
        }
    }

    #[test]
    fn what_always_comes_next_is_learned() {
        let (mut model, history) = model(0.1);
        let before = likelihood(&model, &history);
        for _ in 0..50 {
            model.step(&history, &ITEMS, CORRECTION, &mut Work::default());
        }
        assert!(before < -1.0 && likelihood(&model, &history) > -0.2);
    }

    #[test]
    fn older_items_weigh_less_and_the_oldest_nothing() {
        assert_eq!(weights(0.5).take(3).collect::<Vec<_>>(), [1.0, 0.5, 0.25]);
        assert_eq!((weights(0.5).count(), weights(1.0).count(), weights(0.0).count()), (10, LENGTH, 1));
    }
}
