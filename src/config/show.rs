//! Shows the settings to people and programs: each value with its source, secrets masked.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::json;
use toml::Value;

use super::layers::{Layer, PROPERTIES, Setting, TOPICS};
use super::{Loaded, mask};

impl Loaded {
    /// The settings whose value is not the default one.
    #[must_use]
    pub fn changed(&self) -> Vec<&Setting> {
        let defaults: BTreeMap<String, Value> =
            Layer::defaults().settings.into_iter().map(|setting| (setting.key, setting.value)).collect();
        self.settings.iter().filter(|setting| defaults.get(&setting.key) != Some(&setting.value)).collect()
    }

    /// The settings as TOML, section by section, with the source of each as a comment and secrets masked.
    #[must_use]
    pub fn to_toml(&self, only_changed: bool) -> String {
        let mut text = String::new();
        let mut section = "";
        let settings = self.chosen(only_changed);
        let width = settings.iter().map(|setting| line(setting).1.chars().count()).max().unwrap_or_default().min(60);
        for setting in settings {
            let (header, line) = line(setting);
            if header != section {
                let gap = if section.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{gap}[{header}]");
                section = header;
            }
            let _ = writeln!(text, "{line:width$}  # {}", setting.source);
        }
        text
    }

    /// The settings as one JSON object: `{"broker.kind": {"value": "kafka", "source": "config.toml:12"}}`.
    #[must_use]
    pub fn to_json(&self, only_changed: bool) -> serde_json::Value {
        let entry = |setting: &Setting| {
            let value = mask::mask_value(&setting.key, &setting.value);
            (setting.key.clone(), json!({ "value": value, "source": setting.source.to_string() }))
        };
        serde_json::Value::Object(self.chosen(only_changed).into_iter().map(entry).collect())
    }

    fn chosen(&self, only_changed: bool) -> Vec<&Setting> {
        if only_changed { self.changed() } else { self.settings.iter().collect() }
    }
}

/// The section that a setting is shown under, and its line without the source.
fn line(setting: &Setting) -> (&str, String) {
    let value = mask::mask_value(&setting.key, &setting.value);
    if let Some(property) = setting.key.strip_prefix(PROPERTIES) {
        return ("broker.properties", format!("{} = {value}", Value::String(property.to_owned())));
    }
    if let Some(topic) = setting.key.strip_prefix(TOPICS) {
        return ("topics", format!("{} = {value}", Value::String(topic.to_owned())));
    }
    let (section, name) = setting.key.split_once('.').expect("every key stands in a section");
    (section, format!("{name} = {value}"))
}
