//! That each stage uses only stages before it: it reads the source and fails on a path that runs against the order.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules at the top of `src`, each allowed to use those before it. The stages are in the order of the data,
/// which is alphabetical; what stands before them uses no stage, and only the engine and the commands use the store.
const ORDER: [&str; 11] =
    ["capture", "consume", "decode", "gather", "learn", "publish", "serve", "store", "engine", "evaluate", "cli"];

/// Modules below all stages, which may use each other.
const FOUNDATION: [&str; 5] = ["config", "fault", "shutdown", "telemetry", "time"];

/// A path to a module that its own module must not use.
#[derive(Debug, PartialEq)]
struct Violation {
    line: usize,
    used: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: uses crate::{}", self.line, self.used)
    }
}

#[test]
fn no_stage_uses_a_later_one() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut read = 0;
    for file in rust_files(&src) {
        let path = file.strip_prefix(&src).unwrap();
        let top = path.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&top) {
            continue;
        }
        assert!(rank(top).is_some(), "src/{top} has no place in the order of {}: give it one", file!());
        read += 1;
        let source = fs::read_to_string(&file).unwrap();
        found.extend(violations(top, &source).iter().map(|v| format!("src/{}:{v}", path.display())));
    }
    assert!(read > 0, "no source was read");
    assert!(found.is_empty(), "a module uses one that comes after it:\n{}", found.join("\n"));
}

#[test]
fn a_later_stage_is_found_however_it_is_written() {
    let source = "\
use crate::capture::Item;
use crate::store::EventStore;
use crate::{decode, learn::FactorModel, config::{Config, publish}, telemetry};
use crate::{
    serve,
};
fn f(x: crate::engine::Engine) { my_crate::store(x) }
// crate::store is only mentioned, and so is [`crate::cli`] here.
";
    let expected = [(2, "store"), (3, "learn"), (5, "serve"), (7, "engine")];
    let expected = expected.map(|(line, used)| Violation { line, used: used.to_owned() });
    assert_eq!(violations("gather", source), expected);
    assert_eq!(violations("cli", source), []);
}

#[test]
fn the_foundation_uses_no_stage() {
    let used = |source| violations("config", source).len();
    assert_eq!(used("use crate::telemetry;"), 0);
    assert_eq!(used("use crate::capture;"), 1);
}

/// Every use of a module that comes after `top` in the order, with its line (from 1).
fn violations(top: &str, source: &str) -> Vec<Violation> {
    let code: String = source.lines().flat_map(|line| [line.split("//").next().unwrap_or(""), "\n"]).collect();
    let own = rank(top);
    let mut found = Vec::new();
    for (start, path) in code.match_indices("crate::") {
        if code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let after = start + path.len();
        for (offset, used) in first_segments(&code[after..]) {
            if rank(used) > own {
                let line = code[..after + offset].matches('\n').count() + 1;
                found.push(Violation { line, used: used.to_owned() });
            }
        }
    }
    found
}

/// The names that directly follow `crate::`: one, or those at the first level of a `{…}` group, each with its offset.
fn first_segments(path: &str) -> Vec<(usize, &str)> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if !path.starts_with('{') {
        let end = path.find(|c| !is_name(c)).unwrap_or(path.len());
        return vec![(0, &path[..end])];
    }
    let mut depth = 0;
    let mut at_start = false;
    let mut names = Vec::new();
    for (offset, c) in path.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if at_start && is_name(c) {
            let end = path[offset..].find(|c| !is_name(c)).unwrap_or(path.len() - offset);
            names.push((offset, &path[offset..offset + end]));
        }
        at_start = depth == 1 && (c == '{' || c == ',' || (at_start && c.is_whitespace()));
    }
    names
}

/// Place in the order: 0 for the foundation, then the stages; nothing for names that are not modules at the top.
fn rank(module: &str) -> Option<usize> {
    if FOUNDATION.contains(&module) {
        return Some(0);
    }
    ORDER.iter().position(|name| *name == module).map(|place| place + 1)
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}
