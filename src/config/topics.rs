//! `[topics]`: which topics are read beside `broker.topic`, and what their records are.
//!
//! Apart from the other sections, because its keys are names that an operator chooses.

use std::fmt;

use serde::de::{self, Deserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Serialize};

use super::Config;

/// What the records of a topic are.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TopicKind {
    /// Events, with a rating or without.
    #[default]
    Ratings,
    /// Events without a rating: how often, if they say so.
    Listens,
    /// What there is to know of items.
    Items,
    /// What there is to know of users.
    Users,
}

impl TopicKind {
    /// Whether the records are learned from; others only change the catalogue.
    #[must_use]
    pub fn is_learned(self) -> bool {
        matches!(self, Self::Ratings | Self::Listens)
    }
}

/// How the bytes of a record are read.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decoder {
    /// One JSON object.
    #[default]
    Json,
    /// `user,item,rating,ts` or `user,item,count,ts`, between commas or tabs; the last two may be left out.
    Csv,
}

/// One entry of `[topics]`: `"listens"`, or `{ kind = "listens", decoder = "csv", weight = 0.5 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TopicConfig {
    /// What its records are.
    pub kind: TopicKind,
    /// How they are read.
    pub decoder: Decoder,
    /// What the count of a listen is multiplied by.
    pub weight: f32,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self { kind: TopicKind::default(), decoder: Decoder::default(), weight: 1.0 }
    }
}

impl TopicConfig {
    /// What its values break, if anything: what was found, and what is allowed.
    pub(super) fn problem(self) -> Option<&'static str> {
        if !(self.weight.is_finite() && self.weight > 0.0 && self.weight <= 1000.0) {
            return Some("a weight above 0 and at most 1000");
        }
        if self.weight != 1.0 && self.kind != TopicKind::Listens {
            return Some("a weight of 1 where the kind is not listens: only a count can be weighted");
        }
        if self.decoder == Decoder::Csv && !self.kind.is_learned() {
            return Some("the decoder json where the kind is items or users");
        }
        None
    }
}

impl Config {
    /// What the records of a topic are; those of one that is not in `[topics]` are events in JSON.
    #[must_use]
    pub fn topic(&self, name: &str) -> TopicConfig {
        self.topics.get(name).copied().unwrap_or_default()
    }

    /// Every topic that is read, `broker.topic` first.
    pub fn topics_read(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.broker.topic.as_str()).chain(self.topics.keys().map(String::as_str))
    }
}

impl<'de> Deserialize<'de> for TopicConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            kind: TopicKind,
            #[serde(default)]
            decoder: Decoder,
            #[serde(default = "one")]
            weight: f32,
        }

        fn one() -> f32 {
            1.0
        }

        struct Written;

        impl<'de> Visitor<'de> for Written {
            type Value = TopicConfig;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(
                    r#"a kind ("ratings", "listens", "items" or "users") or { kind = …, decoder = …, weight = … }"#,
                )
            }

            fn visit_str<E: de::Error>(self, kind: &str) -> Result<TopicConfig, E> {
                let kind = TopicKind::deserialize(de::value::StrDeserializer::new(kind))?;
                Ok(TopicConfig { kind, ..TopicConfig::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<TopicConfig, A::Error> {
                let Table { kind, decoder, weight } = Table::deserialize(MapAccessDeserializer::new(table))?;
                Ok(TopicConfig { kind, decoder, weight })
            }
        }

        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadOptions;

    fn load(sets: &[&str]) -> Result<Config, String> {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let folder = "a folder that is not there".into();
        let loaded = Config::load(&LoadOptions { folder, sets, ..LoadOptions::default() });
        loaded.map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn a_topic_is_its_kind_or_a_table_and_others_are_ratings_in_json() {
        let sets = ["topics.films=items", r#"topics.shop.plays={ kind = "listens", weight = 0.25, decoder = "csv" }"#];
        let config = load(&sets).unwrap();
        assert_eq!(config.topic("films").kind, TopicKind::Items);
        let plays = TopicConfig { kind: TopicKind::Listens, decoder: Decoder::Csv, weight: 0.25 };
        assert_eq!((config.topic("shop.plays"), config.topic("another")), (plays, TopicConfig::default()));
        assert_eq!(config.topics_read().collect::<Vec<_>>(), ["ratings", "films", "shop.plays"]);
    }

    #[test]
    fn a_file_and_the_environment_name_topics_too() {
        let dir = tempfile::tempdir().unwrap();
        let file = "[topics]\nfilms = \"items\"\n\"shop.plays\" = { kind = \"listens\" }\n";
        std::fs::write(dir.path().join("config.toml"), file).unwrap();
        let env = [("FRESHET_TOPICS__PEOPLE".to_owned(), "users".to_owned())].into();
        let options = LoadOptions { folder: dir.path().to_owned(), env, ..LoadOptions::default() };
        let loaded = Config::load(&options).unwrap();
        let kinds: Vec<_> = loaded.config.topics.iter().map(|(name, topic)| (name.as_str(), topic.kind)).collect();
        let expected = [("films", TopicKind::Items), ("people", TopicKind::Users), ("shop.plays", TopicKind::Listens)];
        assert_eq!(kinds, expected);
        // What is shown can be read again.
        std::fs::write(dir.path().join("config.toml"), loaded.to_toml(true)).unwrap();
        let options = LoadOptions { env: [].into(), ..options };
        assert_eq!(Config::load(&options).unwrap().config.topics, loaded.config.topics);
    }

    #[test]
    fn what_cannot_be_is_refused_and_says_what_can() {
        let cases = [
            (&["topics.films=movies"][..], "listens"),
            (&["topics.films=3"], "a kind"),
            (&["topics.films={ kind = \"items\", wait = 1 }"], "wait"),
            (&["topics.films={ kind = \"items\", decoder = \"csv\" }"], "the decoder json"),
            (&["topics.plays={ kind = \"listens\", weight = 0 }"], "a weight above 0"),
            (&["topics.clicks={ kind = \"ratings\", weight = 0.5 }"], "only a count can be weighted"),
            (&["topics.a b=items"], "249"),
            (&["topics.=items"], "unknown key"),
            (&["topics.ratings=listens"], "broker.topic"),
        ];
        for (sets, expected) in cases {
            let error = load(sets).unwrap_err();
            assert!(error.contains(expected), "{sets:?}: {error}");
        }
    }
}
