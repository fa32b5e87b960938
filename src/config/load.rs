//! Merges the layers of settings into one checked [`Config`].
//!
//! The lowest first: the compiled-in defaults, a file, a preset, the environment, flags. A preset is asked for by name, and the
//! file may have been found where the program was started, with every key in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use super::layers::{self, Layer, Setting, VARIABLE};
use super::{Config, ConfigError, Problem, check, preset};

/// The file that is read where no other is named.
const FILE_NAME: &str = "config.toml";
/// The variable that names a file.
const FILE_VARIABLE: &str = "FRESHET_CONFIG";

/// Where settings may come from, beside the defaults.
#[derive(Clone, Default)]
pub struct LoadOptions {
    /// The preset named by `--preset`: a name or a file.
    pub preset: Option<String>,
    /// The file named by `--config`. Without it `FRESHET_CONFIG`, else `config.toml` in `folder` if there is one.
    pub file: Option<PathBuf>,
    /// Folder that is searched for `config.toml`; empty for the current one.
    pub folder: PathBuf,
    /// Environment variables; see [`process_environment`].
    pub env: BTreeMap<String, String>,
    /// `section.key=value`, in the order given; of two for the same key the last one holds.
    pub sets: Vec<String>,
}

/// The configuration, and where each value came from.
pub struct Loaded {
    /// Every setting, checked.
    pub config: Config,
    /// Every key once, section by section in the order of the default file, properties last in `broker`.
    pub settings: Vec<Setting>,
}

impl fmt::Debug for Loaded {
    /// Without values, because some are secrets.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = self.settings.iter().map(|setting| (&setting.key, setting.source.to_string()));
        out.debug_map().entries(places).finish()
    }
}

impl Config {
    /// Reads, merges and checks every layer.
    ///
    /// # Errors
    /// All problems at once: an unreadable or garbled file, unknown keys, wrong types, values out of bounds.
    pub fn load(options: &LoadOptions) -> Result<Loaded, ConfigError> {
        let mut settings = Layer::defaults().settings;
        let mut problems = Vec::new();
        let file = read_file(options).unwrap_or_else(|problem| Layer { problems: vec![problem], ..Layer::default() });
        let preset = options.preset.as_deref().map(preset::layer).unwrap_or_default();
        for layer in [file, preset, Layer::environment(&options.env), Layer::flags(&options.sets)] {
            layer.settings.into_iter().for_each(|setting| replace(&mut settings, setting));
            problems.extend(layer.problems);
        }
        let config: Config =
            layers::table(&settings).try_into().expect("each setting was tried alone, and no type depends on two");
        problems.extend(check::check(&config, &settings));
        if problems.is_empty() { Ok(Loaded { config, settings }) } else { Err(ConfigError { problems }) }
    }
}

/// The environment of this process.
///
/// # Errors
/// If a variable of Freshet is not UTF-8.
pub fn process_environment() -> Result<BTreeMap<String, String>, ConfigError> {
    let ours = |name: &OsString| name.to_string_lossy().starts_with(VARIABLE);
    let read = |(name, value): (OsString, OsString)| match (name.into_string(), value.into_string()) {
        (Ok(name), Ok(value)) => Ok((name, value)),
        (Ok(name), Err(_)) => Err(Problem::NotText { variable: name }.into()),
        (Err(name), _) => Err(Problem::NotText { variable: name.to_string_lossy().into_owned() }.into()),
    };
    std::env::vars_os().filter(|(name, _)| ours(name)).map(read).collect()
}

fn read_file(options: &LoadOptions) -> Result<Layer, Problem> {
    let variable = options.env.get(FILE_VARIABLE).filter(|path| !path.is_empty());
    let (path, named_by) = match (&options.file, variable) {
        (Some(path), _) => (path.clone(), "--config"),
        (None, Some(path)) => (PathBuf::from(path), FILE_VARIABLE),
        (None, None) => (options.folder.join(FILE_NAME), "the file"),
    };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Layer::file(&path, &text)),
        Err(error) if error.kind() == ErrorKind::NotFound && named_by == "the file" => Ok(Layer::default()),
        Err(error) => Err(Problem::Unreadable { file: shown(&path), reason: error.to_string(), named_by }),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Puts the setting in the place of the same key, or of a new property behind its section.
fn replace(settings: &mut Vec<Setting>, setting: Setting) {
    if let Some(old) = settings.iter_mut().find(|old| old.key == setting.key) {
        *old = setting;
        return;
    }
    let section = |key: &str| key.split('.').next().map(str::to_owned);
    let last = settings.iter().rposition(|old| section(&old.key) == section(&setting.key));
    settings.insert(last.map_or(settings.len(), |at| at + 1), setting);
}

#[cfg(test)]
mod tests;
