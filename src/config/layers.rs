//! Reads each layer of settings from its own text: the file, the environment, the flags.
//!
//! Apart from the merging, because only here is it known where a setting stands. Each setting is tried alone on top of
//! the defaults, so that a layer may hold any part of the keys and still each key, type and name is checked by the
//! types of [`Config`], with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::LazyLock;

use serde::Deserialize;
use toml::de::{DeString, DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, Table, Value};

use super::{Config, DEFAULT_TOML, Problem, check, mask};

type Name<'text> = Spanned<DeString<'text>>;
type Body<'text> = Spanned<DeValue<'text>>;

/// What the key of a librdkafka property starts with.
pub(super) const PROPERTIES: &str = "broker.properties.";
/// What the key of a topic starts with.
pub(super) const TOPICS: &str = "topics.";
/// What the name of a variable starts with.
pub(super) const VARIABLE: &str = "FRESHET_";
/// What the name of a variable ends with that names a file with the value, as Docker and Kubernetes hand out secrets.
const OF_FILE: &str = "_FILE";
/// Most bytes of such a file.
const LONGEST_VALUE: u64 = 1 << 20;
/// The only properties of librdkafka that end in `.file` start with it; they name files themselves.
const ASSERTION: &str = "broker.properties.sasl.oauthbearer.assertion.";

static DEFAULTS: LazyLock<Table> =
    LazyLock::new(|| DEFAULT_TOML.parse().expect("a test reads the compiled-in defaults"));

/// Where a setting came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Compiled in.
    Default,
    /// A file.
    File {
        /// The file as it was named.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
    /// An environment variable, by name.
    Variable(String),
    /// A file that an environment variable names.
    FileOfVariable {
        /// The variable, whose name ends in `_FILE`.
        variable: String,
        /// The file as it was named.
        path: String,
    },
    /// The flag `--set` (or a shorthand of it).
    Flag,
}

impl Source {
    /// The source with the column, as an error names it.
    pub(super) fn place(&self) -> String {
        match self {
            Self::File { path, line, column } => format!("{path}:{line}:{column}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, line, .. } => write!(out, "{path}:{line}"),
            Self::Variable(name) => out.write_str(name),
            Self::FileOfVariable { variable, path } => write!(out, "{variable}={path}"),
            Self::Flag => out.write_str("--set"),
        }
    }
}

/// One key with its value and where that came from. No `Debug`: the value may be a secret.
#[derive(Clone)]
pub struct Setting {
    /// `section.key`, or `broker.properties.` and the property's name.
    pub key: String,
    /// The value as TOML. May be a secret.
    pub value: Value,
    /// Where it came from.
    pub source: Source,
}

/// What one layer says.
#[derive(Default)]
pub(super) struct Layer {
    /// Settings that are usable, in the order of the text.
    pub(super) settings: Vec<Setting>,
    /// What is wrong with the others.
    pub(super) problems: Vec<Problem>,
}

impl Layer {
    /// Every key with its default, in the order of the file.
    pub(super) fn defaults() -> Self {
        let mut layer = Self::file(Path::new("config.toml"), DEFAULT_TOML);
        layer.settings.iter_mut().for_each(|setting| setting.source = Source::Default);
        layer
    }

    /// The settings in the text of a file.
    pub(super) fn file(path: &Path, text: &str) -> Self {
        let mut layer = Self::default();
        let file = File { path, text };
        match DeTable::parse(text) {
            Ok(root) => in_order(root.get_ref()).for_each(|(name, body)| layer.section(&file, name, body)),
            Err(error) => {
                let place = file.at(&error.span().unwrap_or_default()).place();
                layer.problems.push(Problem::Syntax { place, reason: error.message().to_owned() });
            }
        }
        layer
    }

    /// The settings in the environment: `FRESHET_SECTION__KEY`, or `FRESHET_SECTION__KEY_FILE` for the path of a file with
    /// the value. Other variables are none of its business.
    pub(super) fn environment(variables: &BTreeMap<String, String>) -> Self {
        let mut layer = Self::default();
        for (name, text) in variables {
            match (key_of(name), key_of_file(name)) {
                (_, Some(_)) if text.is_empty() => {}
                (_, Some((key, plain))) if variables.contains_key(plain) => {
                    layer.problems.push(Problem::Twice { variable: plain.to_owned(), key });
                }
                (_, Some((key, _))) => layer.file_of(key, name, text),
                (Some(key), None) => layer.text(key, text, Source::Variable(name.clone())),
                (None, None) => {}
            }
        }
        layer
    }

    /// The settings in `--set section.key=value` flags.
    pub(super) fn flags(sets: &[String]) -> Self {
        let mut layer = Self::default();
        for (index, set) in sets.iter().enumerate() {
            match set.split_once('=') {
                Some((key, text)) => layer.text(key.trim().to_owned(), text, Source::Flag),
                None => layer.problems.push(Problem::NoValue { count: index + 1 }),
            }
        }
        layer
    }

    fn section(&mut self, file: &File, name: &Name, body: &Body) {
        let section: &str = name.get_ref();
        let place = || file.at(&name.span()).place();
        match (body.get_ref(), DEFAULTS.contains_key(section)) {
            (DeValue::Table(keys), true) => {
                for (name, value) in in_order(keys) {
                    self.entry(file, &format!("{section}.{}", name.get_ref()), &name.span(), value);
                }
            }
            (DeValue::Table(_), false) => {
                self.problems.push(Problem::Unknown {
                    place: place(),
                    what: format!("section {section}"),
                    hint: among(section, DEFAULTS.keys(), "the sections are"),
                });
            }
            (_, true) => {
                let reason = format!("is a section; write [{section}] on a line and its keys below");
                self.problems.push(Problem::Type { place: place(), key: section.to_owned(), reason });
            }
            (_, false) => {
                let (place, what) = (place(), format!("key {section}"));
                let hint = elsewhere(section).unwrap_or_else(|| "every key stands in a section".to_owned());
                self.problems.push(Problem::Unknown { place, what, hint });
            }
        }
    }

    fn entry(&mut self, file: &File, key: &str, name: &Range<usize>, value: &Body) {
        let source = file.at(&value.span());
        let inside_properties = format!("{key}.").starts_with(PROPERTIES);
        if let (DeValue::Table(keys), true) = (value.get_ref(), inside_properties) {
            // sasl.password = "…" without quotes is a table in a table for TOML, and one property for librdkafka.
            for (part, value) in in_order(keys) {
                self.entry(file, &format!("{key}.{}", part.get_ref()), &part.span(), value);
            }
            return;
        }
        if !exists(key) {
            return self.problems.push(unknown_key(key, &file.at(name)));
        }
        match Value::deserialize(ValueDeserializer::from(value.clone())) {
            Ok(Value::Integer(_) | Value::Float(_) | Value::Boolean(_)) if inside_properties => {
                let text = file.text[value.span()].to_owned();
                self.settings.push(Setting { key: key.to_owned(), value: Value::String(text), source });
            }
            Ok(value) => self.value(key.to_owned(), vec![value], source),
            // What the parser let through and no value can hold is a number past 64 bits.
            Err(_) => self.problems.push(wrong_type(key, "the number is too large", &source)),
        }
    }

    /// The value is the content of a file, without the line end that editors put behind it. Text before TOML: quotes in a
    /// password are part of it.
    fn file_of(&mut self, key: String, variable: &str, path: &str) {
        match read_value(path) {
            Ok(text) => {
                let source = Source::FileOfVariable { variable: variable.to_owned(), path: path.to_owned() };
                let read = ValueDeserializer::parse(text.trim()).and_then(Value::deserialize);
                let candidates = std::iter::once(Value::String(text)).chain(read.ok()).collect();
                self.value(key, candidates, source);
            }
            Err(reason) => {
                let (variable, file) = (variable.to_owned(), path.to_owned());
                self.problems.push(Problem::FileOfVariable { variable, file, reason });
            }
        }
    }

    /// A value that came without TOML around it: read as TOML where that gives the key's type, else as a string.
    fn text(&mut self, key: String, text: &str, source: Source) {
        if !exists(&key) {
            return self.problems.push(unknown_key(&key, &source));
        }
        let plain = Value::String(text.to_owned());
        let read = ValueDeserializer::parse(text.trim()).and_then(Value::deserialize);
        let candidates = read.map_or_else(|_| vec![plain.clone()], |value| vec![value, plain.clone()]);
        self.value(key, candidates, source);
    }

    /// Takes the first of the candidates that has the key's type; if none has, the first one is the problem.
    fn value(&mut self, key: String, candidates: Vec<Value>, source: Source) {
        let mut refusal = None;
        for value in candidates {
            match fits(&key, &value) {
                Ok(()) => return self.settings.push(Setting { key, value, source }),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        self.problems.extend(refusal.map(|reason| wrong_type(&key, &reason, &source)));
    }
}

/// The key that a variable sets, which may not exist.
fn key_of(variable: &str) -> Option<String> {
    let (section, key) = variable.strip_prefix(VARIABLE)?.split_once("__")?;
    let key = match (section, key.strip_prefix("PROPERTIES__")) {
        ("BROKER", Some(property)) => format!("{PROPERTIES}{}", property.replace('_', ".")),
        _ => format!("{section}.{key}"),
    };
    Some(key.to_lowercase())
}

/// The key whose value is in the file that a variable names, and the variable for the value itself. A key that ends in
/// `_file` is a key like any other, and so is a property of librdkafka.
fn key_of_file(variable: &str) -> Option<(String, &str)> {
    let plain = variable.strip_suffix(OF_FILE)?;
    let (key, itself) = (key_of(plain)?, key_of(variable)?);
    let is_property = key.starts_with(PROPERTIES);
    let names_a_file = if is_property { itself.starts_with(ASSERTION) } else { exists(&itself) };
    (exists(&key) && !names_a_file).then_some((key, plain))
}

/// Content of a file as a value.
fn read_value(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let read = file.take(LONGEST_VALUE + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if read as u64 > LONGEST_VALUE {
        return Err(format!("it is longer than {LONGEST_VALUE} bytes"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// The entries as they stand in the text; toml hands them out by name.
fn in_order<'t, 'text>(table: &'t DeTable<'text>) -> impl Iterator<Item = (&'t Name<'text>, &'t Body<'text>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries.into_iter()
}

/// A file's name beside its text, to turn positions into places.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn at(&self, span: &Range<usize>) -> Source {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Source::File {
            path: self.path.display().to_string(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// The settings as one table.
pub(super) fn table<'a>(settings: impl IntoIterator<Item = &'a Setting>) -> Table {
    let mut table = DEFAULTS.clone();
    settings.into_iter().for_each(|setting| put(&mut table, &setting.key, setting.value.clone()));
    table
}

fn put(table: &mut Table, key: &str, value: Value) {
    let (path, name) = match key.strip_prefix(PROPERTIES) {
        Some(property) => (vec!["broker", "properties"], property),
        None => key.split_once('.').map_or((vec![], key), |(section, name)| (vec![section], name)),
    };
    let section = path.iter().try_fold(table, |table, part| table.get_mut(*part)?.as_table_mut());
    section.expect("only keys that exist are put").insert(name.to_owned(), value);
}

fn exists(key: &str) -> bool {
    match key.strip_prefix(PROPERTIES) {
        Some(property) => !property.is_empty(),
        // Named by the operator.
        None if key.starts_with(TOPICS) => key.len() > TOPICS.len(),
        None => key.split_once('.').is_some_and(|(section, name)| {
            name != "properties" && DEFAULTS.get(section).is_some_and(|keys| keys.get(name).is_some())
        }),
    }
}

/// Whether the value has the key's type, told by the types of [`Config`]; else why not.
fn fits(key: &str, value: &Value) -> Result<(), String> {
    let mut table = DEFAULTS.clone();
    put(&mut table, key, value.clone());
    table.try_into::<Config>().map(drop).map_err(|error| error.message().to_owned())
}

fn wrong_type(key: &str, reason: &str, source: &Source) -> Problem {
    let secret = key == "store.uri" || mask::is_secret_key(key);
    let reason = if secret { "expected a string" } else { reason };
    let range = check::range(key);
    let string = if matches!(range, Some(check::Range::Time(..))) { "a duration in quotes" } else { "a string" };
    let whole = "a whole number from 0";
    let words = [
        ("usize", whole),
        ("u64", whole),
        ("u32", whole),
        ("u16", whole),
        ("i32", "a whole number"),
        ("f32", "a number"),
    ];
    let words = words.into_iter().chain([("a string", string)]);
    let plain = words.into_iter().find_map(|(rust, word)| Some(format!("{}{word}", reason.strip_suffix(rust)?)));
    let allowed = range.map(|range| format!("; allowed: {range}")).unwrap_or_default();
    let reason = format!("{}{allowed}", plain.as_deref().unwrap_or(reason));
    Problem::Type { place: source.place(), key: key.to_owned(), reason }
}

fn unknown_key(key: &str, source: &Source) -> Problem {
    let (section, name) = key.split_once('.').unwrap_or(("", key));
    let hint = match DEFAULTS.get(section).and_then(Value::as_table) {
        Some(_) if section == "broker" && name.starts_with("properties") => {
            format!("name the property: {PROPERTIES}linger.ms")
        }
        Some(keys) => {
            elsewhere(name).unwrap_or_else(|| among(name, keys.keys(), &format!("the keys of {section} are")))
        }
        None if section.is_empty() => elsewhere(name).unwrap_or_else(|| "a key is written section.key".to_owned()),
        None => among(section, DEFAULTS.keys(), "the sections are"),
    };
    Problem::Unknown { place: source.place(), what: format!("key {key}"), hint }
}

/// The keys of this name in whichever sections have it.
fn elsewhere(name: &str) -> Option<String> {
    let has = |keys: &Value| keys.get(name).is_some();
    let found: Vec<_> = DEFAULTS.iter().filter(|(_, keys)| has(keys)).map(|(s, _)| format!("{s}.{name}")).collect();
    (!found.is_empty()).then(|| format!("did you mean {}?", found.join(" or ")))
}

/// Which names there are, the one that was probably meant first.
fn among<'a>(word: &str, names: impl Iterator<Item = &'a String>, intro: &str) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    let likeness = |name: &&&str| (strsim::jaro_winkler(word, name) * 1000.0) as u32;
    let near = names.iter().max_by_key(likeness).filter(|name| likeness(name) >= 800);
    let meant = near.map(|name| format!("did you mean {name}? ")).unwrap_or_default();
    format!("{meant}{intro} {}", names.join(", "))
}
