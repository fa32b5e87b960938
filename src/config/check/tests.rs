use super::*;
use crate::config::{Config, DEFAULT_TOML, LoadOptions};

fn problems(sets: &[&str]) -> Vec<String> {
    let sets = sets.iter().map(|set| (*set).to_owned()).collect();
    let folder = "a folder that is not there".into();
    let loaded = Config::load(&LoadOptions { folder, sets, ..LoadOptions::default() });
    loaded.err().map(|error| error.problems.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// The comment lines right above a key of the default file.
fn comment(key: &str) -> String {
    let (section, name) = key.split_once('.').unwrap();
    let body = DEFAULT_TOML.split(&format!("\n[{section}]\n")).nth(1).unwrap();
    let above: Vec<&str> = body.lines().take_while(|line| !line.starts_with(&format!("{name} ="))).collect();
    let lines: Vec<&str> = above.into_iter().rev().take_while(|line| line.starts_with('#')).collect();
    lines.into_iter().rev().map(|line| line.trim_start_matches(['#', ' '])).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_bound_is_stated_in_the_default_file() {
    for &(key, range) in RANGES {
        let stated = range.to_string().replace('"', "");
        assert!(comment(key).contains(&format!("({stated}")), "{key}: {stated} is not in {:?}", comment(key));
    }
}

#[test]
fn every_bound_in_the_default_file_is_checked() {
    let stated = DEFAULT_TOML.lines().filter(|line| line.starts_with('#')).collect::<Vec<_>>().join(" ");
    let is_bound = |(at, _): &(usize, &str)| {
        let inside = stated[..*at].rsplit('(').next().unwrap_or_default();
        inside.starts_with(|first: char| first.is_ascii_digit()) && !inside.contains([' ', ')'])
    };
    assert_eq!(stated.match_indices(" to ").filter(is_bound).count(), RANGES.len());
}

#[test]
fn both_ends_of_every_range_are_allowed_and_what_lies_beyond_is_not() {
    // Conflicts between two keys must not get in the way of the ends of one.
    let open = ["serve.max_n=10000", "gather.mode=count"];
    let shared = [
        "broker.kind=kafka",
        "store.kind=mongodb",
        "learn.rating=biases",
        "learn.ranking=popularity",
        "engine.shards=64",
    ];
    for &(key, range) in RANGES {
        let (inside, outside): ([String; 2], Vec<String>) = match range {
            Range::Whole(low, high) => {
                let beyond = [low.checked_sub(1), high.checked_add(1)];
                ([low, high].map(|n| n.to_string()), beyond.into_iter().flatten().map(|n| n.to_string()).collect())
            }
            Range::Real(low, high) => {
                let beyond = [low - 1e-9, high + 1e-9, f64::NAN, f64::INFINITY];
                ([low, high].map(|x| x.to_string()), beyond.iter().map(ToString::to_string).collect())
            }
            Range::Time(low, high) => {
                let beyond = if low == "0s" { vec![] } else { vec!["0s".to_owned(), "999us".to_owned()] };
                let over = (time(high).unwrap() + SignedDuration::from_millis(1)).to_string();
                ([low, high].map(str::to_owned), [beyond, vec![over]].concat())
            }
        };
        for value in inside {
            let sets = match key {
                "serve.max_n" => vec!["serve.default_n=1"],
                "engine.shard" | "engine.shards" => shared.to_vec(),
                _ => open.to_vec(),
            };
            assert_eq!(problems(&[&sets[..], &[&format!("{key}={value}")]].concat()), [""; 0], "{key}={value}");
        }
        for value in outside {
            let found = problems(&[&format!("{key}={value}")]);
            assert!(
                found.iter().any(|text| text.contains(key) && text.contains(&range.to_string())),
                "{key}: {found:?}"
            );
        }
    }
}

#[test]
fn a_range_names_the_value_and_what_is_allowed() {
    assert_eq!(problems(&["gather.size=0"]), ["--set: gather.size = 0 is not allowed; it must be 1 to 1000000"]);
    assert_eq!(
        problems(&["gather.length=2h"]),
        [r#"--set: gather.length = "2h" is not allowed; it must be "1ms" to "1h""#]
    );
}

#[test]
fn two_keys_must_agree() {
    assert_eq!(
        problems(&["gather.mode=sliding", "gather.length=100ms"]),
        [r#"gather.slide = "250ms" (default) must be at most gather.length = "100ms" (--set)"#]
    );
    assert_eq!(problems(&["gather.mode=sliding", "gather.length=250ms"]), [""; 0]);
    assert_eq!(problems(&["gather.mode=window", "gather.length=100ms"]), [""; 0], "slide is not used");
    assert_eq!(
        problems(&["decode.min_rating=5"]),
        ["decode.min_rating = 5 (--set) must be below decode.max_rating = 5.0 (default)"]
    );
    assert_eq!(
        problems(&["serve.max_n=9"]),
        ["serve.default_n = 10 (default) must be at most serve.max_n = 9 (--set)"]
    );
}

#[test]
fn what_ranks_must_do_without_the_rows_of_others_where_they_may_be_away() {
    let ranking = "learn.ranking=bayesian-mf";
    assert!(problems(&[ranking]).is_empty());
    let told = problems(&[ranking, "engine.user_bytes=1000000"]);
    assert!(told.len() == 1 && told[0].contains("learn.ranking") && told[0].contains("engine.user_bytes"), "{told:?}");
}

#[test]
fn names_and_addresses_are_checked() {
    let long = "t".repeat(250);
    for bad in ["", ".", "..", "my topic", "töpic", "a/b", &long] {
        assert_eq!(problems(&[&format!("broker.topic={bad}")]).len(), 1, "{bad:?}");
    }
    assert_eq!(problems(&[&format!("broker.topic={}", &long[1..])]), [""; 0]);
    for bad in [
        "broker.group=",
        "broker.servers=a:1,,b:2",
        "decode.max_rating=inf",
        "store.data_dir=",
        "store.uri=localhost:27017",
        "store.uri=mongodb://",
        "store.database=",
        "store.database=a.b",
        "serve.host=",
        "log.level=inof",
        "log.level=info,freshet=lots",
        "log.level=",
    ] {
        assert_eq!(problems(&[bad]).len(), 1, "{bad:?}: {:?}", problems(&[bad]));
    }
    for good in ["log.level=off", "log.level=INFO", "log.level=info,freshet::consume=debug", "store.database=f-1"] {
        assert_eq!(problems(&[good]), [""; 0], "{good}");
    }
}

#[test]
fn a_refused_address_is_shown_without_its_password() {
    let found = problems(&["store.uri=postgres://user:hunter2@host/db"]).concat();
    assert!(found.contains("postgres://user:***@host/db") && !found.contains("hunter2"), "{found}");
}
