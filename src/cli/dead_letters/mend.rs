//! Mends the payload of a dead letter: by a command, and by fields that are set, removed or clamped.
//!
//! Apart from the sending, because it is pure but for the command.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, bail};
use serde_json::{Map, Value};

use super::text::printable;
use crate::config::DecodeConfig;

/// Characters of what a command or a payload says that an error repeats.
const TOLD: usize = 200;

/// One change to the JSON object of an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fix {
    Set {
        field: String,
        value: Value,
    },
    Remove {
        field: String,
    },
    /// Moves the rating to the nearest one that is accepted.
    ClampRating,
}

impl FromStr for Fix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no fix; write FIELD=VALUE, FIELD= to remove it, or rating=clamp");
        let (field, value) = text.split_once('=').filter(|(field, _)| !field.is_empty()).ok_or_else(wrong)?;
        let field = field.to_owned();
        Ok(match (field.as_str(), value) {
            (_, "") => Self::Remove { field },
            ("rating", "clamp") => Self::ClampRating,
            _ => Self::Set { field, value: serde_json::from_str(value).unwrap_or_else(|_| value.into()) },
        })
    }
}

impl Fix {
    fn apply(&self, event: &mut Map<String, Value>, decode: &DecodeConfig) -> anyhow::Result<()> {
        match self {
            Self::Set { field, value } => drop(event.insert(field.clone(), value.clone())),
            Self::Remove { field } => drop(event.remove(field)),
            Self::ClampRating => {
                let Some(rating) = event.get_mut("rating").filter(|rating| !rating.is_null()) else { return Ok(()) };
                let Some(number) = rating.as_f64() else { bail!("rating is {rating}; only a number can be clamped") };
                // As they are written, and not as the nearest f32 looks in 64 bits.
                let exact = |bound: f32| bound.to_string().parse().unwrap_or(f64::from(bound));
                *rating = number.clamp(exact(decode.min_rating), exact(decode.max_rating)).into();
            }
        }
        Ok(())
    }
}

/// Mends a payload: first by the command, then by the fixes.
pub(super) fn mend(
    payload: Vec<u8>,
    command: Option<&str>,
    fixes: &[Fix],
    decode: &DecodeConfig,
) -> anyhow::Result<Vec<u8>> {
    let payload = match command {
        Some(command) => pipe(command, payload)?,
        None => payload,
    };
    if fixes.is_empty() {
        return Ok(payload);
    }
    let parsed = serde_json::from_slice::<Map<String, Value>>(&payload);
    let mut event = parsed.context("not a JSON object, so that it has no field to --fix; see --fix-with")?;
    for fix in fixes {
        fix.apply(&mut event, decode)?;
    }
    Ok(serde_json::to_vec(&event)?)
}

/// What a shell command makes of a payload on its stdin.
fn pipe(command: &str, payload: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let shell = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut shell = shell.context("cannot start sh for --fix-with")?;
    let mut stdin = shell.stdin.take().context("sh has no stdin")?;
    // Beside the reading: either pipe may be full while the other waits. A command need not read what it does not use.
    let writing = std::thread::spawn(move || stdin.write_all(&payload));
    let ended = shell.wait_with_output().context("cannot read from --fix-with")?;
    let _ = writing.join();
    if !ended.status.success() {
        let said = printable(ended.stderr.trim_ascii(), TOLD);
        bail!("--fix-with ended with {}{}{said}", ended.status, if said.is_empty() { "" } else { ": " });
    }
    let mut mended = ended.stdout;
    if mended.last() == Some(&b'\n') {
        mended.pop();
    }
    Ok(mended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn mended(payload: &str, command: Option<&str>, fixes: &[&str]) -> anyhow::Result<String> {
        let fixes: Vec<Fix> = fixes.iter().map(|fix| fix.parse().unwrap()).collect();
        let mended = mend(payload.as_bytes().to_vec(), command, &fixes, &Config::default().decode)?;
        Ok(String::from_utf8(mended)?)
    }

    #[test]
    fn fields_are_set_removed_and_clamped() {
        for (payload, fixes, expected) in [
            (r#"{"rating":9,"user":"1"}"#, &["rating=3.5"][..], r#"{"rating":3.5,"user":"1"}"#),
            (r#"{"user":"1"}"#, &["item=a=b", "v=1"], r#"{"user":"1","item":"a=b","v":1}"#),
            (r#"{"note":"x","user":"1"}"#, &["note=", "none="], r#"{"user":"1"}"#),
            (r#"{"rating":9}"#, &["rating=clamp"], r#"{"rating":5.0}"#),
            (r#"{"rating":-1.5}"#, &["rating=clamp"], r#"{"rating":1.0}"#),
            (r#"{"rating":4.5}"#, &["rating=clamp"], r#"{"rating":4.5}"#),
            (r#"{"rating":null}"#, &["rating=clamp"], r#"{"rating":null}"#),
            ("bytes as they are", &[], "bytes as they are"),
        ] {
            assert_eq!(mended(payload, None, fixes).unwrap(), expected, "{payload} {fixes:?}");
        }
        let error = mended(r#"{"rating":"five"}"#, None, &["rating=clamp"]).unwrap_err().to_string();
        assert!(error.contains(r#"rating is "five"; only a number"#), "{error}");
        assert!(mended("hello", None, &["v=1"]).unwrap_err().to_string().contains("--fix-with"));
        assert!("rating".parse::<Fix>().is_err() && "=3".parse::<Fix>().is_err());
    }

    #[test]
    fn a_command_mends_before_the_fields_and_its_failure_is_told() {
        assert_eq!(mended("{'v':1}", Some("tr \"'\" '\"'"), &["v=2"]).unwrap(), r#"{"v":2}"#);
        assert_eq!(mended("x", Some("cat; echo; echo"), &[]).unwrap(), "x\n");
        // More than a pipe holds, and a command that reads nothing of it.
        let long = "x".repeat(1 << 20);
        assert_eq!(mended(&long, Some("cat"), &[]).unwrap(), long);
        assert_eq!(mended(&long, Some("echo y"), &[]).unwrap(), "y");
        let error = mended("x", Some("echo no such luck >&2; exit 3"), &[]).unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("no such luck"), "{error}");
    }
}
