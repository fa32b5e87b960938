//! Parameters of the learners, unchecked and checked, as linfa has it: only the checked type learns.
//!
//! Each learner's own parameters are a section of the configuration, and their bounds are stated there once; what all
//! learners share (the rating range, the seed) is put beside them here.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use linfa::ParamGuard;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{self, Config, DecodeConfig, LearnerKind};

/// Names and values of everything that a model depends on besides the events, as snapshots hold them.
pub type Named = BTreeMap<String, serde_json::Value>;

/// Bounds of a rating; predictions are clamped to them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatingRange {
    low: f32,
    high: f32,
}

impl RatingRange {
    /// The range in which ratings are accepted.
    #[must_use]
    pub fn of(decode: &DecodeConfig) -> Self {
        Self { low: decode.min_rating, high: decode.max_rating }
    }

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

    /// The nearest value inside; the lowest for NaN.
    #[inline]
    #[must_use]
    pub fn clamp(self, value: f32) -> f32 {
        if value.is_nan() { self.low } else { value.clamp(self.low, self.high) }
    }
}

/// The ratings that there are, and from where on one speaks for its item.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatingScale {
    /// Bounds of a rating.
    pub range: RatingRange,
    /// Lowest rating that counts as positive.
    pub positive: f32,
}

impl Default for RatingScale {
    /// One to five stars, four of which are positive.
    fn default() -> Self {
        Self { range: RatingRange { low: 1.0, high: 5.0 }, positive: 4.0 }
    }
}

impl RatingScale {
    /// As the operator has set it.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { range: RatingRange::of(&config.decode), positive: config.learn.positive_rating as f32 }
    }

    /// Whether a rating speaks for its item.
    #[inline]
    #[must_use]
    pub fn is_positive(self, rating: f32) -> bool {
        rating >= self.positive
    }
}

/// What all learners share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Common {
    /// Bounds of a rating.
    pub range: RatingRange,
    /// Seed of the model's generator.
    pub seed: u64,
}

impl Common {
    /// As the operator has set them.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { range: RatingRange::of(&config.decode), seed: config.learn.seed }
    }
}

/// The parameters of one learner: a section of the configuration.
pub trait Section: Clone + std::fmt::Debug + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name of the section.
    const NAME: &'static str;
}

/// Checked parameters of one learner.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidParams<P> {
    own: P,
    common: Common,
}

/// Parameters of one learner that have not been checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Params<P>(ValidParams<P>);

/// A parameter outside its range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} is {value}; {allowed} is allowed")]
pub struct ParamError {
    name: String,
    value: String,
    allowed: String,
}

impl<P> Params<P> {
    /// A learner's own parameters beside what all share.
    pub fn new(own: P, common: Common) -> Self {
        Self(ValidParams { own, common })
    }
}

impl<P: Section> ParamGuard for Params<P> {
    type Checked = ValidParams<P>;
    type Error = ParamError;

    fn check_ref(&self) -> Result<&Self::Checked, Self::Error> {
        let RatingRange { low, high } = self.0.common.range;
        if !(low.is_finite() && high.is_finite() && low < high) {
            let (name, value) = ("decode.min_rating".to_owned(), low.to_string());
            return Err(ParamError { name, value, allowed: "a finite number below decode.max_rating".to_owned() });
        }
        let values = toml::Table::try_from(&self.0.own).expect("a section is a table of plain values");
        for (key, value) in values {
            let name = format!("{}.{key}", P::NAME);
            if let Some(allowed) = config::out_of_range(&name, &value) {
                return Err(ParamError { name, value: value.to_string(), allowed });
            }
        }
        Ok(&self.0)
    }

    fn check(self) -> Result<Self::Checked, Self::Error> {
        self.check_ref()?;
        Ok(self.0)
    }
}

impl<P> ValidParams<P> {
    /// What all learners share.
    #[must_use]
    pub fn common(&self) -> Common {
        self.common
    }

    /// Bounds of a rating.
    #[inline]
    #[must_use]
    pub fn range(&self) -> RatingRange {
        self.common.range
    }
}

impl<P> Deref for ValidParams<P> {
    type Target = P;

    #[inline]
    fn deref(&self) -> &P {
        &self.own
    }
}

/// What a model of this configuration depends on besides the events: `section.key` of the learners that run, with
/// `learn` and the rating range, and of `drift` what is not as by default: so models that an earlier freshet has learned,
/// which knew no such keys, are of the same parameters.
#[must_use]
pub fn named(config: &Config) -> Named {
    let kinds = [config.learn.rating, config.learn.ranking];
    let sections = kinds.iter().filter_map(|kind| kind.section()).chain(["learn"]);
    let all = serde_json::to_value(config).expect("a configuration is plain values");
    let mut named = Named::new();
    for section in sections {
        for (key, value) in all[section].as_object().into_iter().flatten() {
            named.insert(format!("{section}.{key}"), value.clone());
        }
    }
    let usual = serde_json::to_value(Config::default().drift).expect("a configuration is plain values");
    for (key, value) in all["drift"].as_object().into_iter().flatten() {
        if usual[key] != *value {
            named.insert(format!("drift.{key}"), value.clone());
        }
    }
    if config.engine.shards > 1 {
        for key in ["shard", "shards"] {
            named.insert(format!("engine.{key}"), all["engine"][key].clone());
        }
    }
    for (key, value) in [("min_rating", config.decode.min_rating), ("max_rating", config.decode.max_rating)] {
        // As it is written, and not as the nearest f32 looks in 64 bits.
        let exact = value.to_string().parse::<f64>().unwrap_or(f64::from(value));
        named.insert(format!("decode.{key}"), exact.into());
    }
    named
}

/// The configuration that [`named`] was made of, as far as a model depends on it.
///
/// # Errors
/// If a name is not known, or a value is of another type.
pub fn config_of(named: &Named) -> Result<Config, String> {
    let mut all = serde_json::to_value(Config::default()).expect("a configuration is plain values");
    for (name, value) in named {
        let place = name.split_once('.').and_then(|(section, key)| all.get_mut(section)?.get_mut(key));
        *place.ok_or_else(|| format!("its parameter {name:?} is not known to this freshet"))? = value.clone();
    }
    serde_json::from_value(all).map_err(|error| error.to_string())
}

/// A parameter by its name and its values on either side, where they differ.
pub type Difference<'n> = (&'n str, Option<&'n serde_json::Value>, Option<&'n serde_json::Value>);

/// The parameters that differ, by name.
#[must_use]
pub fn differences<'n>(one: &'n Named, other: &'n Named) -> Vec<Difference<'n>> {
    let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    let sides = names.into_iter().map(|name| (name.as_str(), one.get(name), other.get(name)));
    sides.filter(|(_, one, other)| one != other).collect()
}

/// The flags that give a configuration of `ours` the parameters of `wanted`.
#[must_use]
pub fn flags(wanted: &Named, ours: &Named) -> String {
    let flag = |(name, wanted, _): Difference<'_>| {
        let value = wanted?.as_str().map_or_else(|| wanted.map(ToString::to_string), |text| Some(text.to_owned()));
        value.map(|value| format!("--set {name}={value}"))
    };
    differences(wanted, ours).into_iter().filter_map(flag).collect::<Vec<_>>().join(" ")
}

impl LearnerKind {
    /// The section with its parameters, if it has any.
    #[must_use]
    pub fn section(self) -> Option<&'static str> {
        use config::{BayesianMfConfig, BiasedMfConfig, BiasesConfig, BlendConfig, ItemKnnConfig, PopularityConfig};
        match self {
            Self::RunningMean | Self::Popularity | Self::Random => None,
            Self::Biases => Some(BiasesConfig::NAME),
            Self::BayesianMf => Some(BayesianMfConfig::NAME),
            Self::BiasedMf => Some(BiasedMfConfig::NAME),
            Self::DecayedPopularity => Some(PopularityConfig::NAME),
            Self::ItemKnn => Some(ItemKnnConfig::NAME),
            Self::Blend => Some(BlendConfig::NAME),
        }
    }
}

/// Names the section of each learner that has parameters.
macro_rules! sections {
    ($($section:ident = $name:literal),* $(,)?) => {
        $(impl Section for config::$section { const NAME: &'static str = $name; })*
    };
}

sections! {
    BayesianMfConfig = "bayesian_mf",
    BiasesConfig = "biases",
    BiasedMfConfig = "biased_mf",
    PopularityConfig = "popularity",
    ItemKnnConfig = "item_knn",
    BlendConfig = "blend",
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::BiasedMfConfig;

    fn refused(change: impl FnOnce(&mut BiasedMfConfig)) -> String {
        let config = Config::default();
        let mut own = config.biased_mf.clone();
        change(&mut own);
        Params::new(own, Common::of(&config)).check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        let config = Config::default();
        let checked = Params::new(config.biased_mf.clone(), Common::of(&config)).check().unwrap();
        assert_eq!(checked.factors, config.biased_mf.factors);
    }

    #[test]
    fn each_parameter_outside_its_range_is_named() {
        assert_eq!(refused(|p| p.factors = 0), "biased_mf.factors is 0; 1 to 1024 is allowed");
        assert_eq!(refused(|p| p.bias_rate = -0.1), "biased_mf.bias_rate is -0.1; 0 to 1 is allowed");
        assert_eq!(refused(|p| p.factor_rate = f64::NAN), "biased_mf.factor_rate is nan; 0 to 1 is allowed");
        assert_eq!(refused(|p| p.factor_l2 = 11.0), "biased_mf.factor_l2 is 11.0; 0 to 10 is allowed");
    }

    #[test]
    fn the_bayesian_factorization_has_bounds_too() {
        let mut config = Config::default();
        let refused = |config: &Config| {
            Params::new(config.bayesian_mf.clone(), Common::of(config)).check().unwrap_err().to_string()
        };
        config.bayesian_mf.factors = 0;
        assert_eq!(refused(&config), "bayesian_mf.factors is 0; 1 to 15 is allowed");
        config.bayesian_mf.factors = 5;
        config.bayesian_mf.drift_slow = -0.1;
        assert_eq!(refused(&config), "bayesian_mf.drift_slow is -0.1; 0 to 10 is allowed");
    }

    #[test]
    fn drift_is_named_where_it_is_not_as_by_default_and_that_must_stay() {
        let mut config = Config::default();
        let names = named(&config);
        assert!(names.keys().all(|name| !name.starts_with("drift.")));
        let usual = serde_json::json!({
            "enabled": true, "confidence": 0.01, "user_events": 100.0, "boost": 1.0, "boost_events": 5000,
        });
        assert_eq!(
            serde_json::to_value(&config.drift).unwrap(),
            usual,
            "models that name nothing were learned under these"
        );
        config.drift.boost = 4.0;
        let other = named(&config);
        assert_eq!(flags(&other, &names), "--set drift.boost=4.0");
        assert_eq!(config_of(&other).unwrap().drift, config.drift);
    }

    #[test]
    fn a_range_the_wrong_way_round_is_refused() {
        let mut config = Config::default();
        config.decode.min_rating = 9.0;
        let error = Params::new(config.biased_mf.clone(), Common::of(&config)).check().unwrap_err().to_string();
        assert!(error.starts_with("decode.min_rating is 9;"), "{error}");
    }

    #[test]
    fn differing_parameters_are_told_as_flags() {
        let mut config = Config::default();
        let ours = named(&config);
        config.learn.rating = LearnerKind::BiasedMf;
        config.learn.seed = 7;
        let wanted = named(&config);
        assert_eq!(differences(&ours, &ours), []);
        let flags = flags(&wanted, &ours);
        assert!(
            flags.contains("--set biased_mf.factors=") && flags.contains("--set learn.rating=biased-mf"),
            "{flags}"
        );
        assert!(flags.contains("--set learn.seed=7") && !flags.contains("bayesian_mf"), "{flags}");
    }

    #[test]
    fn the_names_give_the_configuration_back() {
        let mut config = Config::default();
        config.learn.seed = 7;
        config.learn.rating = LearnerKind::BiasedMf;
        config.biased_mf.factors = 9;
        config.decode.max_rating = 10.0;
        let names = named(&config);
        assert_eq!(named(&config_of(&names).unwrap()), names);
        assert_eq!(names["biased_mf.factors"], 9);
        let strange = Named::from([("biased_mf.wings".to_owned(), 2.into())]);
        assert!(config_of(&strange).unwrap_err().contains("biased_mf.wings"));
    }
}
