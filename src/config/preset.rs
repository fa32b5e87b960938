//! Presets: which learners run and with which parameters, chosen for one kind of data; by name, or from a file.
//!
//! Apart from the other layers, because a preset may set nothing but what a model depends on.

use std::fs;
use std::path::Path;

use super::layers::Layer;
use super::{Problem, learn};

/// The presets that are compiled in: name, file, content.
const BUILT_IN: [(&str, &str, &str); 3] = [
    ("ml-100k", "models/ml-100k.toml", include_str!("../../models/ml-100k.toml")),
    ("lastfm", "models/lastfm.toml", include_str!("../../models/lastfm.toml")),
    ("speed", "models/speed.toml", include_str!("../../models/speed.toml")),
];

/// The settings of a preset, named or in a file.
pub(super) fn layer(preset: &str) -> Layer {
    let built_in = BUILT_IN.iter().find(|(name, ..)| *name == preset);
    let mut layer = match built_in {
        Some((_, file, text)) => Layer::file(Path::new(file), text),
        None => match fs::read_to_string(preset) {
            Ok(text) => Layer::file(Path::new(preset), &text),
            Err(error) => return Layer { problems: vec![unreadable(preset, &error.to_string())], ..Layer::default() },
        },
    };
    let (own, other) = layer.settings.into_iter().partition(|setting| {
        let section = setting.key.split('.').next().unwrap_or_default();
        learn::SECTIONS.contains(&section)
    });
    layer.settings = own;
    layer.problems.extend(other.into_iter().map(|setting| Problem::Unknown {
        place: setting.source.place(),
        what: format!("key {} in a preset", setting.key),
        hint: format!("a preset sets {}; put other keys into a file for --config", learn::SECTIONS.join(", ")),
    }));
    layer
}

fn unreadable(preset: &str, reason: &str) -> Problem {
    let names = BUILT_IN.map(|(name, ..)| name).join(", ");
    Problem::NoPreset { preset: preset.to_owned(), reason: reason.to_owned(), names }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, LoadOptions};

    fn load(preset: &str, sets: &[&str]) -> Result<Config, String> {
        let sets = sets.iter().map(|set| (*set).to_owned()).collect();
        let folder = "a folder that is not there".into();
        let options = LoadOptions { preset: Some(preset.to_owned()), folder, sets, ..LoadOptions::default() };
        Config::load(&options).map(|loaded| loaded.config).map_err(|error| error.to_string())
    }

    #[test]
    fn every_preset_that_is_compiled_in_loads_and_a_flag_goes_before_it() {
        for (name, ..) in super::BUILT_IN {
            load(name, &[]).unwrap();
            assert_eq!(load(name, &["learn.seed=9"]).unwrap().learn.seed, 9);
        }
    }

    #[test]
    fn a_preset_that_is_not_there_or_sets_what_it_must_not_is_refused() {
        let error = load("ml-1m", &[]).unwrap_err();
        assert!(error.contains("\"ml-1m\"") && error.contains("ml-100k, lastfm, speed"), "{error}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mine.toml");
        std::fs::write(&file, "[learn]\nseed = 7\n[serve]\nport = 1\n[biased_mf]\nfactor = 3\nfactors = 0\n").unwrap();
        let error = load(file.to_str().unwrap(), &[]).unwrap_err();
        for part in ["mine.toml:4:8: unknown key serve.port in a preset", "biased_mf.factor", "factors = 0 is not"] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        std::fs::write(&file, "[learn]\nseed = 7\n").unwrap();
        assert_eq!(load(file.to_str().unwrap(), &[]).unwrap().learn.seed, 7);

        // The file in the folder has every key, as the one of the repository does.
        std::fs::write(dir.path().join("config.toml"), crate::config::DEFAULT_TOML).unwrap();
        let preset = Some("lastfm".to_owned());
        let options = LoadOptions { preset, folder: dir.path().to_owned(), ..LoadOptions::default() };
        assert_eq!(Config::load(&options).unwrap().config.blend.candidates, 4_000, "a preset goes before the file");
    }
}
