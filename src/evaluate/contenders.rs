//! Which learners are set side by side.
//!
//! The baselines are learners like any other. Only the similarity baseline stands twice: with the user's items weighing
//! alike, as it is known from papers, and with newer ones weighing more, which is the one that is hard to beat.

use clap::ValueEnum;

use super::error::EvaluateError;
use super::{Protocol, Request};
use crate::config::{Config, LearnerKind};
use crate::learn::trainers::Trainers;
use crate::learn::{Learner, build};

/// A learner, and the configuration it is built of.
#[derive(Debug)]
pub(super) struct Contender {
    /// Name, unique in an evaluation.
    pub(super) name: String,
    /// What it is.
    pub(super) kind: LearnerKind,
    /// Its parameters.
    pub(super) config: Config,
    /// Trainers that share the users, and events between their exchanges; none for one that learns all of them.
    pub(super) trainers: Option<(usize, u64)>,
}

impl Contender {
    fn new(kind: LearnerKind, config: &Config) -> Self {
        let equal = kind == LearnerKind::ItemKnn && config.item_knn.half_life <= 0.0;
        let name = if equal { format!("{}-equal", kind.name()) } else { kind.name() };
        Self { name, kind, config: config.clone(), trainers: None }
    }

    /// The similarity baseline with another half-life.
    fn similarity(half_life: f64, config: &Config) -> Self {
        let mut config = config.clone();
        config.item_knn.half_life = half_life;
        Self::new(LearnerKind::ItemKnn, &config)
    }

    /// A learner that has seen nothing.
    ///
    /// # Errors
    /// If one of its parameters is out of its range.
    pub(super) fn build(&self) -> Result<Box<dyn Learner>, EvaluateError> {
        if let Some((shards, every)) = self.trainers
            && let Some(trainers) = Trainers::new(self.kind, &self.config, shards, every)?
        {
            return Ok(Box::new(trainers));
        }
        Ok(build(self.kind, &self.config)?)
    }
}

/// The learners of a request, those asked for first, each once.
///
/// # Errors
/// If a parameter is out of its range, or a learner that predicts no ratings is to predict some.
pub(super) fn contenders(request: &Request, config: &Config) -> Result<Vec<Contender>, EvaluateError> {
    let configured = match request.protocol {
        Protocol::Rating => config.learn.rating,
        Protocol::Topn => config.learn.ranking,
    };
    let leading = if request.learners.is_empty() { &[configured][..] } else { &request.learners };
    let mut all: Vec<_> = leading.iter().map(|kind| Contender::new(*kind, config)).collect();
    if request.baselines {
        all.extend(baselines(request.protocol, config));
    }
    let shared = |contender: &Contender| {
        let Contender { name, kind, config, .. } = contender;
        let adds_up = kind.adds_up().then_some(&request.trainers).into_iter().flatten();
        let several = |of: &usize| Contender {
            name: format!("{name} of {of} trainers"),
            kind: *kind,
            config: config.clone(),
            trainers: Some((*of, request.share_events)),
        };
        adds_up.map(several).collect::<Vec<_>>()
    };
    let several: Vec<Contender> = all.iter().flat_map(shared).collect();
    all.extend(several);
    let mut chosen: Vec<Contender> = Vec::new();
    for contender in all {
        if chosen.iter().all(|other| other.name != contender.name) {
            check(&contender, request.protocol)?;
            chosen.push(contender);
        }
    }
    if request.inject.is_some() {
        chosen = chosen.into_iter().flat_map(with_and_without_boost).collect();
    }
    Ok(chosen)
}

/// A learner that only watches, and one that learns faster after a drift if the configuration says so.
fn with_and_without_boost(contender: Contender) -> impl Iterator<Item = Contender> {
    let mut watching = contender.config.clone();
    watching.drift.boost = 1.0;
    let boosts = contender.config.drift.boost > 1.0;
    let boosted = Contender { name: format!("{} boosted", contender.name), ..contender };
    let (name, kind, trainers) = (boosted.name.replace(" boosted", ""), boosted.kind, boosted.trainers);
    let watching = Contender { name, kind, config: watching, trainers };
    std::iter::once(watching).chain(boosts.then_some(boosted))
}

fn baselines(protocol: Protocol, config: &Config) -> Vec<Contender> {
    use LearnerKind::{BiasedMf, Biases, DecayedPopularity, Popularity, Random, RunningMean};
    let plain = |kind| Contender::new(kind, config);
    match protocol {
        Protocol::Rating => [RunningMean, Biases, BiasedMf].map(plain).into(),
        Protocol::Topn => {
            let set = config.item_knn.half_life;
            let recent = if set > 0.0 { set } else { Config::default().item_knn.half_life };
            let similarity = [0.0, recent].map(|half_life| Contender::similarity(half_life, config));
            let popularity = [Popularity, DecayedPopularity].map(plain);
            popularity.into_iter().chain(similarity).chain([plain(Random)]).collect()
        }
    }
}

fn check(contender: &Contender, protocol: Protocol) -> Result<(), EvaluateError> {
    let predicts = contender.build()?.rating(0, 0).is_some();
    if predicts || protocol == Protocol::Topn {
        return Ok(());
    }
    let rates =
        |kind: &LearnerKind| build(*kind, &contender.config).is_ok_and(|learner| learner.rating(0, 0).is_some());
    let allowed: Vec<_> = LearnerKind::value_variants().iter().filter(|kind| rates(kind)).map(|k| k.name()).collect();
    Err(EvaluateError::PredictsNoRatings { kind: contender.name.clone(), allowed: allowed.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::testing::request;

    fn names(request: &Request, config: &Config) -> Vec<String> {
        contenders(request, config).unwrap().into_iter().map(|contender| contender.name).collect()
    }

    #[test]
    fn the_configured_learner_stands_first_and_none_twice() {
        let mut config = Config::default();
        config.learn.rating = LearnerKind::BiasedMf;
        config.learn.ranking = LearnerKind::ItemKnn;
        assert_eq!(names(&request(Protocol::Rating), &config), ["biased-mf", "running-mean", "biases"]);
        let topn = ["item-knn", "popularity", "decayed-popularity", "item-knn-equal", "random"];
        assert_eq!(names(&request(Protocol::Topn), &config), topn);
        config.item_knn.half_life = 0.0;
        let topn = ["item-knn-equal", "popularity", "decayed-popularity", "item-knn", "random"];
        assert_eq!(names(&request(Protocol::Topn), &config), topn);
    }

    #[test]
    fn learners_asked_for_replace_the_configured_one_and_baselines_can_be_left_out() {
        let learners = vec![LearnerKind::Random, LearnerKind::Biases];
        let mut request = Request { learners, ..request(Protocol::Topn) };
        let config = Config::default();
        let all = ["random", "biases", "popularity", "decayed-popularity", "item-knn-equal", "item-knn"];
        assert_eq!(names(&request, &config), all);
        request.baselines = false;
        assert_eq!(names(&request, &config), ["random", "biases"]);
    }

    #[test]
    fn learners_whose_items_add_up_stand_again_with_each_number_of_trainers() {
        let learners = vec![LearnerKind::BiasedMf, LearnerKind::ItemKnn];
        let request = Request { learners, baselines: false, trainers: vec![2, 4], ..request(Protocol::Topn) };
        let all = ["biased-mf", "item-knn", "biased-mf of 2 trainers", "biased-mf of 4 trainers"];
        assert_eq!(names(&request, &Config::default()), all);
    }

    #[test]
    fn a_learner_that_predicts_no_ratings_is_refused_with_those_that_do() {
        let request = Request { learners: vec![LearnerKind::Popularity], ..request(Protocol::Rating) };
        let error = contenders(&request, &Config::default()).unwrap_err().to_string();
        assert!(error.starts_with("popularity predicts no ratings"), "{error}");
        assert!(error.contains("running-mean, biases, biased-mf") && !error.contains("random"), "{error}");
    }

    #[test]
    fn a_parameter_out_of_its_range_is_refused() {
        let mut config = Config::default();
        config.popularity.half_life = -1.0;
        let error = contenders(&request(Protocol::Topn), &config).unwrap_err().to_string();
        assert!(error.starts_with("popularity.half_life is -1"), "{error}");
    }
}
