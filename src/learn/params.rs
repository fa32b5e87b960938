//! Parameters of the biased matrix factorization, unchecked and checked, as linfa has it: only the checked type learns.

use linfa::ParamGuard;

use crate::config::{DecodeConfig, LearnConfig};

/// Bounds of a rating; predictions are clamped to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatingRange {
    low: f32,
    high: f32,
}

impl RatingRange {
    /// Lowest rating.
    #[must_use]
    pub fn low(self) -> f32 {
        self.low
    }

    /// Highest rating.
    #[must_use]
    pub fn high(self) -> f32 {
        self.high
    }

    /// The nearest value inside.
    #[inline]
    #[must_use]
    pub fn clamp(self, value: f32) -> f32 {
        value.clamp(self.low, self.high)
    }
}

/// Checked parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct MfValidParams {
    factors: usize,
    bias_rate: f32,
    factor_rate: f32,
    bias_l2: f32,
    factor_l2: f32,
    init_scale: f32,
    seed: u64,
    range: RatingRange,
}

/// Parameters that have not been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct MfParams(MfValidParams);

/// A parameter outside its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}; {allowed} is allowed")]
pub struct ParamError {
    name: &'static str,
    value: String,
    allowed: &'static str,
}

impl MfParams {
    /// Parameters as the operator has set them.
    #[must_use]
    pub fn new(learn: &LearnConfig, decode: &DecodeConfig) -> Self {
        Self(MfValidParams {
            factors: learn.factors,
            bias_rate: learn.bias_rate,
            factor_rate: learn.factor_rate,
            bias_l2: learn.bias_l2,
            factor_l2: learn.factor_l2,
            init_scale: learn.init_scale,
            seed: learn.seed,
            range: RatingRange { low: decode.min_rating, high: decode.max_rating },
        })
    }
}

impl ParamGuard for MfParams {
    type Checked = MfValidParams;
    type Error = ParamError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        let p = &self.0;
        let refuse = |name, value: &dyn ToString, allowed| Err(ParamError { name, value: value.to_string(), allowed });
        if !(1..=1024).contains(&p.factors) {
            return refuse("learn.factors", &p.factors, "1 to 1024");
        }
        for (name, rate) in [("learn.bias_rate", p.bias_rate), ("learn.factor_rate", p.factor_rate)] {
            if !(0.0..=1.0).contains(&rate) {
                return refuse(name, &rate, "0 to 1");
            }
        }
        let sizes =
            [("learn.bias_l2", p.bias_l2), ("learn.factor_l2", p.factor_l2), ("learn.init_scale", p.init_scale)];
        for (name, size) in sizes {
            if !(0.0..=10.0).contains(&size) {
                return refuse(name, &size, "0 to 10");
            }
        }
        if !(p.range.low.is_finite() && p.range.high.is_finite() && p.range.low < p.range.high) {
            return refuse("decode.min_rating", &p.range.low, "a finite number below decode.max_rating");
        }
        Ok(p)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl MfValidParams {
    /// Number of factors k.
    #[must_use]
    pub fn factors(&self) -> usize {
        self.factors
    }

    /// Learning rate of the biases.
    #[must_use]
    pub fn bias_rate(&self) -> f32 {
        self.bias_rate
    }

    /// Learning rate of the factors.
    #[must_use]
    pub fn factor_rate(&self) -> f32 {
        self.factor_rate
    }

    /// L2 regularization of the biases.
    #[must_use]
    pub fn bias_l2(&self) -> f32 {
        self.bias_l2
    }

    /// L2 regularization of the factors.
    #[must_use]
    pub fn factor_l2(&self) -> f32 {
        self.factor_l2
    }

    /// Standard deviation of new factors.
    #[must_use]
    pub fn init_scale(&self) -> f32 {
        self.init_scale
    }

    /// Seed of the model's generator.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Bounds of a rating.
    #[must_use]
    pub fn range(&self) -> RatingRange {
        self.range
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        MfParams::new(&config.learn, &config.decode).check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::default();
        assert_eq!(MfParams::new(&config.learn, &config.decode).check().unwrap().factors(), config.learn.factors);
    }

    #[test]
    fn each_parameter_outside_its_range_is_named() {
        assert_eq!(refused(|c| c.learn.factors = 0), "learn.factors is 0; 1 to 1024 is allowed");
        assert_eq!(refused(|c| c.learn.bias_rate = -0.1), "learn.bias_rate is -0.1; 0 to 1 is allowed");
        assert_eq!(refused(|c| c.learn.factor_rate = f32::NAN), "learn.factor_rate is NaN; 0 to 1 is allowed");
        assert_eq!(refused(|c| c.learn.factor_l2 = 11.0), "learn.factor_l2 is 11; 0 to 10 is allowed");
        assert!(refused(|c| c.decode.min_rating = 9.0).starts_with("decode.min_rating is 9;"));
    }
}
