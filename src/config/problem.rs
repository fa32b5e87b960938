//! What can be wrong with the settings, each problem with its place.
//!
//! Apart from the reading and the checking, because both report into the same list: an operator gets every problem of
//! a start at once. No message holds a value that may be a secret.

/// Everything that is wrong with the settings; never empty.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct ConfigError {
    /// The problems, layer by layer, then those of the merged settings.
    pub problems: Vec<Problem>,
}

impl ConfigError {
    fn text(&self) -> String {
        if let [only] = self.problems.as_slice() {
            return format!("invalid configuration: {only}");
        }
        let lines: Vec<String> = self.problems.iter().map(|problem| format!("\n  {problem}")).collect();
        format!("invalid configuration, {} problems:{}", self.problems.len(), lines.concat())
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self { problems: vec![problem] }
    }
}

/// One thing that is wrong with the settings. A `place` is `file:line:column`, a variable's name, or a flag.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read {file}: {reason}; correct {named_by}, or leave it out to use the defaults")]
    Unreadable {
        /// The file.
        file: String,
        /// What the system said.
        reason: String,
        /// `--config`, `FRESHET_CONFIG`, or the file itself where it was found in the current folder.
        named_by: &'static str,
    },
    /// A preset that is neither known nor a file.
    #[error(
        "--preset: there is no preset {preset:?} ({reason}); {names} are built in, or give the path of a TOML file"
    )]
    NoPreset {
        /// As it was named.
        preset: String,
        /// What the system said of the file.
        reason: String,
        /// The presets that are compiled in.
        names: String,
    },
    /// The file is not TOML.
    #[error("{place}: this is not TOML: {reason}")]
    Syntax {
        /// Where.
        place: String,
        /// What the parser said.
        reason: String,
    },
    /// A variable that holds something other than UTF-8.
    #[error("{variable}: the value is not UTF-8 text")]
    NotText {
        /// The variable.
        variable: String,
    },
    /// A file that a variable names, and that cannot be read. Its content is not shown: it may be a secret.
    #[error("{variable}: cannot read {file}: {reason}; it must be a text file with the value and nothing else")]
    FileOfVariable {
        /// The variable, whose name ends in `_FILE`.
        variable: String,
        /// The file.
        file: String,
        /// What the system said.
        reason: String,
    },
    /// A key that is set by a variable and by the file of another one.
    #[error("{variable} and {variable}_FILE both set {key}; unset one of them")]
    Twice {
        /// The variable with the value itself.
        variable: String,
        /// The key.
        key: String,
    },
    /// A `--set` without `=`. Its text is not shown: it may be a secret.
    #[error("--set: number {count} of them has no \"=\"; write --set section.key=value")]
    NoValue {
        /// Which `--set`, from 1.
        count: usize,
    },
    /// A section or key that does not exist.
    #[error("{place}: unknown {what}; {hint}")]
    Unknown {
        /// Where.
        place: String,
        /// `section brokr`, `key broker.knd`.
        what: String,
        /// What exists.
        hint: String,
    },
    /// A value of another type than the key's.
    #[error("{place}: {key}: {reason}")]
    Type {
        /// Where.
        place: String,
        /// The key.
        key: String,
        /// What was found and what is allowed.
        reason: String,
    },
    /// A value of the right type that is not allowed.
    #[error("{place}: {key} = {value} is not allowed; it must be {must}")]
    Value {
        /// Where.
        place: String,
        /// The key.
        key: String,
        /// The value as TOML, without secrets.
        value: String,
        /// What is allowed.
        must: String,
    },
    /// A file that a key names, and that cannot be used. Its content is not shown: it may be a secret.
    #[error("{key}: {file}: {reason}")]
    File {
        /// The key.
        key: &'static str,
        /// The file.
        file: String,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// An address that other machines reach, without keys.
    #[error(
        "{address} can be reached from other machines, and no key is asked for: whoever reaches it could read and change \
         everything; set serve.admin_keys or serve.keys_file, keep serve.host at 127.0.0.1, or pass --insecure if something \
         else guards it"
    )]
    Exposed {
        /// The address.
        address: String,
    },
    /// Two values that contradict each other.
    #[error("{left} must be {relation} {right}")]
    Conflict {
        /// Key, value and source of the one.
        left: String,
        /// `at most`, `below`.
        relation: &'static str,
        /// Key, value and source of the other.
        right: String,
    },
}
