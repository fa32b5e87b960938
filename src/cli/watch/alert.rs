//! What `--alert` says: an expression of the Common Expression Language over one record, and rates as `100/s`.
//!
//! Apart from the watching, because it is pure: the text is checked once, at the start, and then asked for each record.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::Arc;

use cel::common::ast::{Expr, LiteralValue, operators};
use cel::common::types::{CelDouble, CelInt, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Program, Value};
use serde_json::{Map, Value as Json};

use super::analysis::Number;

/// Names that are not fields of the message, unless it has a field of that name.
const NAMES: [&str; 9] = ["value", "words", "rate", "mean", "key", "partition", "offset", "topic", "timestamp"];
/// Functions besides operators and macros.
const FUNCTIONS: [&str; 13] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
];
/// Records that may lack a field before that is told.
const PATIENCE: u64 = 100;
/// Names of fields that are told.
const TOLD: usize = 20;

/// An expression that was checked.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    text: String,
    program: Arc<Program>,
    names: BTreeSet<String>,
}

impl FromStr for Expression {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Checked as it was written, so that the pointer is right.
        Program::compile(text).map_err(|errors| point_at(text, &errors))?;
        let program = Program::compile(&rates(text)).map_err(|errors| point_at(text, &errors))?;
        check_functions(text, &program)?;
        if never_true(&program.expression().expr) {
            return Err(format!("{text:?} is neither true nor false; compare it with something{EXAMPLES}"));
        }
        let names = program.references().variables().into_iter().map(str::to_owned).collect();
        Ok(Self { text: text.to_owned(), program: Arc::new(program), names })
    }
}

const EXAMPLES: &str = ", as 'words > 6', 'rating <= 1', 'rate > 100/s' or 'user == \"196\" && rating < 2'";

impl Expression {
    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it needs this name.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether it needs fields of the message.
    pub(super) fn uses_fields(&self) -> bool {
        self.fields().next().is_some() || self.names.iter().any(|name| NAMES.contains(&name.as_str()))
    }

    /// Names that can only be fields.
    fn fields(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !NAMES.contains(name))
    }
}

/// The expression with each `100/s` as the number that it is: events a second.
fn rates(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut quote = None;
    while let Some(c) = rest.chars().next() {
        let in_word = out.chars().next_back().is_some_and(|last| last.is_alphanumeric() || "_.".contains(last));
        if quote.is_none()
            && c.is_ascii_digit()
            && !in_word
            && let Some((per_second, behind)) = rate(rest)
        {
            let _ = write!(out, "{per_second:?}");
            rest = behind;
            continue;
        }
        match quote {
            Some(open) if c == open && !out.ends_with('\\') => quote = None,
            None if matches!(c, '"' | '\'') => quote = Some(c),
            _ => {}
        }
        out.push(c);
        rest = &rest[c.len_utf8()..];
    }
    out
}

/// A rate at the start of the text, in events a second, and what stands behind it.
fn rate(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let count: f64 = text[..end].parse().ok()?;
    let unit = text[end..].trim_start().strip_prefix('/')?.trim_start();
    let end = unit.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(unit.len());
    let seconds = match &unit[..end] {
        "s" | "sec" | "second" => 1.0,
        "m" | "min" | "minute" => 60.0,
        "h" | "hour" => 3_600.0,
        "d" | "day" => 86_400.0,
        _ => return None,
    };
    let behind = &unit[end..];
    (!behind.trim_start().starts_with(['(', '.'])).then_some((count / seconds, behind))
}

/// The expression with a pointer to what is wrong in it.
fn point_at(text: &str, errors: &cel::ParseErrors) -> String {
    let Some(error) = errors.errors.first() else { return format!("{text:?} is no expression{EXAMPLES}") };
    let (line, column) = (error.pos.0.max(1) as usize - 1, error.pos.1.max(1) as usize - 1);
    let said = error.msg.split(" expecting ").next().unwrap_or_default().trim_start_matches("Syntax error: ");
    let shown = text.lines().nth(line).unwrap_or(text);
    let column = column.min(shown.chars().count());
    let said = if said.contains("<EOF>") { "it ends too early" } else { said };
    let single = text
        .match_indices('=')
        .any(|(at, _)| !text[..at].ends_with(['=', '<', '>', '!']) && !text[at + 1..].starts_with('='));
    let advice = if single { "; write == to compare" } else { "" };
    format!("{said}{advice}\n  {shown}\n  {:column$}^\n  write it{}", "", &EXAMPLES[1..])
}

fn check_functions(text: &str, program: &Program) -> Result<(), String> {
    let references = program.references();
    let is_word = |name: &&str| name.starts_with(|c: char| c.is_alphabetic()) && !name.contains('.');
    match references.functions().into_iter().filter(is_word).find(|name| !FUNCTIONS.contains(name)) {
        Some(name) => Err(format!("{text:?}: there is no function {name}; there are {}", FUNCTIONS.join(", "))),
        None => Ok(()),
    }
}

/// Whether the expression is something else than true or false, whatever the record.
fn never_true(expr: &Expr) -> bool {
    const NUMBERS: [&str; 6] = [
        operators::ADD,
        operators::SUBSTRACT,
        operators::MULTIPLY,
        operators::DIVIDE,
        operators::MODULO,
        operators::NEGATE,
    ];
    match expr {
        Expr::Literal(LiteralValue::Boolean(_)) => false,
        Expr::Literal(_) | Expr::List(_) | Expr::Map(_) => true,
        Expr::Ident(name) => matches!(name.as_str(), "words" | "rate" | "mean" | "partition" | "offset" | "timestamp"),
        Expr::Call(call) => NUMBERS.contains(&call.func_name.as_str()),
        _ => false,
    }
}

/// One record, as expressions see it. What is not there is none.
#[derive(Default)]
pub(super) struct Facts<'r> {
    pub(super) fields: Option<&'r Map<String, Json>>,
    pub(super) number: Option<Number>,
    pub(super) text: Option<&'r str>,
    pub(super) words: Option<u64>,
    pub(super) rate: Option<f64>,
    pub(super) mean: Option<f64>,
    pub(super) key: Option<&'r str>,
    pub(super) topic: &'r str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp_ms: Option<i64>,
}

fn int<'v>(number: i64) -> CowVal<'v, 'v> {
    CowVal::owned(CelInt::from(number))
}

fn float<'v>(number: f64) -> CowVal<'v, 'v> {
    CowVal::owned(CelDouble::from(number))
}

fn text(text: &str) -> CowVal<'_, '_> {
    CowVal::owned(CelString::from(text))
}

impl VariableResolver for Facts<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(field) = self.fields.and_then(|fields| fields.get(name)) {
            return match field {
                Json::String(string) => Some(text(string)),
                other => Box::<dyn Val>::try_from(value_of(other)).ok().map(CowVal::Owned),
            };
        }
        match name {
            "value" => match self.number {
                Some(Number::Whole(whole)) => Some(int(whole)),
                Some(Number::Real(real)) => Some(float(real)),
                None => self.text.map(text),
            },
            "words" => self.words.map(|words| int(words as i64)),
            "rate" => self.rate.map(float),
            "mean" => self.mean.map(float),
            "key" => self.key.map(text),
            "topic" => Some(text(self.topic)),
            "partition" => Some(int(self.partition.into())),
            "offset" => Some(int(self.offset)),
            "timestamp" => self.timestamp_ms.map(int),
            _ => None,
        }
    }
}

fn value_of(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(real)) => Value::Float(real),
            (None, None) => Value::Null,
        },
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(all) => Value::List(Arc::new(all.iter().map(value_of).collect())),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, field)| (name.clone(), value_of(field)));
            Value::from(fields.collect::<std::collections::HashMap<String, Value>>())
        }
    }
}

/// An expression on watch: how often it was met, and whether what it asks for is ever there.
pub(super) struct Alert {
    pub(super) expression: Expression,
    /// Milliseconds, of the log's timestamps, between two alerts that are told.
    cooldown_ms: i64,
    told_ms: Option<i64>,
    /// How often it was met, and how often that was told.
    pub(super) met: u64,
    pub(super) told: u64,
    /// Fields that no message has had.
    unseen: Vec<String>,
    asked: u64,
}

impl Alert {
    pub(super) fn new(expression: Expression, cooldown_ms: i64) -> Self {
        let unseen = expression.fields().map(str::to_owned).collect();
        Self { expression, cooldown_ms, told_ms: None, met: 0, told: 0, unseen, asked: 0 }
    }

    /// Whether this record is to be told of. What is met within the cooldown is only counted.
    pub(super) fn rings(&mut self, root: &Context<'_, '_>, facts: &Facts<'_>) -> bool {
        self.look_for_fields(facts);
        let mut context = root.new_inner_scope();
        context.set_variable_resolver(facts);
        // A field that is not there, or a text that is compared with a number, is simply not met.
        if self.expression.program.execute(&context) != Ok(Value::Bool(true)) {
            return false;
        }
        self.met += 1;
        let cools = |(told, now): (i64, i64)| now.abs_diff(told) < self.cooldown_ms.unsigned_abs();
        if self.told_ms.zip(facts.timestamp_ms).is_some_and(cools) {
            return false;
        }
        self.told_ms = facts.timestamp_ms;
        self.told += 1;
        true
    }

    fn look_for_fields(&mut self, facts: &Facts<'_>) {
        self.asked += 1;
        if !self.unseen.is_empty()
            && let Some(fields) = facts.fields
        {
            self.unseen.retain(|name| !fields.contains_key(name));
        }
    }

    /// That no message has had a field, once it can be said; `at_end` says it of however few there were.
    pub(super) fn doubt(&mut self, fields: Option<&Map<String, Json>>, at_end: bool) -> Option<String> {
        if self.unseen.is_empty() || self.asked == 0 || (self.asked < PATIENCE && !at_end) {
            return None;
        }
        let unseen = std::mem::take(&mut self.unseen);
        let (alert, asked) = (&self.expression.text, self.asked);
        let messages = if asked == 1 { "the message has".to_owned() } else { format!("none of {asked} messages has") };
        let there = match fields {
            Some(fields) if !fields.is_empty() => {
                let names: Vec<&str> = fields.keys().take(TOLD).map(String::as_str).collect();
                format!("the last one has {}", names.join(", "))
            }
            _ => "the last one is no JSON object".to_owned(),
        };
        Some(format!(
            "--alert '{alert}': {messages} {}; {there}; always there are {}",
            unseen.join(", "),
            NAMES.join(", ")
        ))
    }
}

#[cfg(test)]
mod tests;
