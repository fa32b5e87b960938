//! `freshet evaluate` as a person runs it: the exact figures of the protocols that need no randomness, and what bad input
//! is answered with.
//!
//! The figures were measured by other implementations of the same protocols. They need the original files, which cannot be
//! part of the repository; where those are not on this machine the tests say so, and pass.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::program::{Freshet, known_set};
use crate::support::say;

/// The folder of a known set; says it loudly where it is not here.
fn real(name: &str) -> Option<PathBuf> {
    let found = known_set(name);
    if found.is_none() {
        say(&format!(
            "NOT TESTED: the figures of {name}, whose files are not here; `freshet data fetch {name}` gets them"
        ));
    }
    found
}

/// The result of an evaluation of a known set.
fn evaluate(name: &str, flags: &[&str]) -> Option<Value> {
    let dir = real(name)?;
    let from = ["evaluate", name, "--from", dir.to_str().unwrap(), "--json", "-"];
    Some(serde_json::from_str(&Freshet::new::<&str>(&[]).must(&[&from[..], flags].concat())).unwrap())
}

fn learner<'a>(found: &'a Value, name: &str) -> &'a Value {
    let learners = found["learners"].as_array().unwrap();
    learners.iter().find(|learner| learner["name"] == name).unwrap_or_else(|| panic!("{name} is not in {learners:?}"))
}

/// A figure over all events, to six decimals.
fn figure(found: &Value, name: &str, metric: &str) -> String {
    format!("{:.6}", learner(found, name)["all"][metric]["value"].as_f64().unwrap())
}

fn triples(rows: &Value) -> Vec<Value> {
    rows.as_array().unwrap().iter().map(|row| json!([row["user"], row["item"], row["rating"]])).collect()
}

#[test]
fn protocol_a_gives_the_exact_figures_of_the_baselines() {
    let Some(found) = evaluate("ml-100k", &["--protocol", "rating"]) else { return };
    assert_eq!(found["protocol"], "A");
    assert_eq!(
        json!([found["rows"], found["evaluated"], found["users"], found["items"]]),
        json!([100_000, 100_000, 943, 1_682])
    );
    let first = ["255", "286", "298", "185", "173"].map(|item| json!(["259", item, 4.0]));
    assert_eq!(triples(&found["first"]), first);
    assert_eq!(triples(&json!([found["last"]])), [json!(["729", "272", 4.0])]);
    for (name, mae, rmse) in [("running-mean", "0.942151", "1.125752"), ("biases", "0.754656", "0.954128")] {
        assert_eq!(
            (figure(&found, name, "mae"), figure(&found, name, "rmse")),
            (mae.to_owned(), rmse.to_owned()),
            "{name}"
        );
        assert!(
            learner(&found, name)["difference"]["rmse"]["low"].as_f64() > Some(0.0),
            "the model is better for certain"
        );
    }
}

#[test]
fn protocol_c_gives_the_exact_figures_of_the_baselines() {
    let Some(found) = evaluate("ml-100k", &["--protocol", "topn"]) else { return };
    assert_eq!(found["protocol"], "C");
    let counts = ["events", "users", "items", "evaluated", "cold_users", "unknown_items", "repeats"];
    assert_eq!(counts.map(|name| found[name].clone()), [55_375, 942, 1_447, 54_433, 942, 1_434, 0].map(Value::from));
    assert_ranks(learner(&found, "popularity"), [4_704, 7_763, 11_058_164], 0);
    assert_eq!(figure(&found, "popularity", "mrr"), "0.043503");
    // Sums of floats in another order, and of another width: near ties move by a few places.
    assert_ranks(learner(&found, "item-knn-equal"), [7_881, 12_395, 8_035_730], 3);
    assert_eq!(figure(&found, "item-knn-equal", "mrr"), "0.067844");
    assert!(figure(&found, "item-knn", "hr_10").starts_with("0.160"), "the bar of the peers");
    assert!(found["learners"].as_array().unwrap().iter().all(|learner| learner["non_finite"] == 0));
}

#[test]
fn protocol_c_plus_judges_the_same_events_with_what_was_rated_low_out_of_the_way() {
    let flags = ["--protocol", "topn", "--all-ratings", "--no-baselines", "--learner", "popularity"];
    let Some(found) = evaluate("ml-100k", &flags) else { return };
    assert_eq!(found["protocol"], "C+");
    assert_eq!(json!([found["events"], found["evaluated"], found["unknown_items"]]), json!([100_000, 54_433, 1_434]));
    // As an independent count of it gave: popularity counts positives, and all that the user has rated is out.
    assert_eq!(learner(&found, "popularity")["hits_10"], 5_320);
}

#[test]
fn protocol_l_gives_the_exact_figures_of_the_baselines() {
    let flags = ["--protocol", "topn", "--no-baselines", "--learner", "popularity", "--learner", "item-knn"];
    let Some(dir) = real("lastfm") else { return };
    let from = ["evaluate", "lastfm", "--from", dir.to_str().unwrap(), "--json", "-"];
    let freshet = Freshet::new(&["item_knn.half_life=0"]);
    let found: Value = serde_json::from_str(&freshet.must(&[&from[..], &flags].concat())).unwrap();
    assert_eq!(found["protocol"], "L");
    assert_eq!(json!([found["evaluated"], found["unknown_items"]]), json!([90_942, 16_483]));
    let [first, last] = [&found["first"][0], &found["last"]];
    let plays = |row: &Value| json!([row["user"], row["item"], row["count"]]);
    assert_eq!([plays(first), plays(last)], [json!(["1091", "12277", 626.0]), json!(["1929", "3289", 1_431.0])]);
    assert_ranks(learner(&found, "popularity"), [5_435, 8_753, 90_581_784], 0);
    // As in protocol C.
    assert_ranks(learner(&found, "item-knn-equal"), [10_423, 15_573, 56_720_082], 3);
}

/// Hits among 10 and 20, give or take some, and the sum of ranks, give or take as many for a thousand hits.
fn assert_ranks(learner: &Value, expected: [i64; 3], tolerance: i64) {
    let found = ["hits_10", "hits_20", "sum_of_ranks"].map(|name| learner[name].as_i64().unwrap());
    let slack = [tolerance, tolerance, tolerance * 100];
    let fits =
        found.iter().zip(expected).zip(slack).all(|((found, expected), slack)| (found - expected).abs() <= slack);
    assert!(fits, "{found:?} is not {expected:?} within {slack:?}");
}

/// A data set in the order of time: `users` choose among nine items in turn.
fn listens(users: u32) -> String {
    (0..users * 6).fold("user,item,ts\n".to_owned(), |mut text, n| {
        let _ = writeln!(text, "u{},i{},{n}", n % users, (n * 7 + n / users) % 9);
        text
    })
}

#[test]
fn a_file_of_ones_own_gets_a_table_segments_and_whole_files() {
    let freshet = Freshet::new::<&str>(&[]);
    freshet.write("mine.csv", listens(20));
    let line = [
        "evaluate",
        "mine.csv",
        "--protocol",
        "topn",
        "--segments",
        "--json",
        "mine.json",
        "--csv",
        "mine.csv.out",
        "--plot",
        "mine.html",
    ];
    let ended = freshet.run(&line).succeeded().told(&["wrote mine.json", "wrote mine.html"]);
    let table = &ended.stdout;
    for part in [
        "prequential top-N, mine: 120 rows",
        "20 users",
        "9 items",
        "HR@10",
        "popularity",
        "random",
        "learn events/s",
        "by the user's n-th event",
    ] {
        assert!(table.contains(part), "{part} is not in {table}");
    }
    assert!(!table.contains('\x1b'), "no terminal, no colours: {table}");
    let text = |name| std::fs::read_to_string(freshet.path(name)).unwrap();
    let json: Value = serde_json::from_str(&text("mine.json")).unwrap();
    assert_eq!((&json["dataset"], &json["kind"]), (&json!("mine"), &json!("topn")));
    assert!(text("mine.csv.out").starts_with("protocol,dataset,learner,by,segment,events,hr_10,"));
    let page = text("mine.html");
    let own: String = page.split("<script").filter(|part| part.len() < 1_000_000).collect();
    assert!(page.contains("Plotly.newPlot") && !own.contains("http") && !own.contains("src="), "{own}");
}

#[test]
fn what_goes_to_stdout_takes_the_place_of_the_table() {
    let freshet = Freshet::new::<&str>(&[]);
    freshet.write("mine.csv", listens(20));
    let csv = freshet.must(&["evaluate", "mine.csv", "--protocol", "topn", "--no-baselines", "--csv", "-"]);
    assert!(csv.starts_with("protocol,") && !csv.contains("learn events/s"), "{csv}");
}

#[test]
fn the_same_command_gives_the_same_figures_and_a_limit_takes_the_beginning() {
    let freshet = Freshet::new::<&str>(&[]);
    let run = |flags: &[&str]| {
        freshet.must(&[&["evaluate", "sample", "--protocol", "rating", "--csv", "-"][..], flags].concat())
    };
    let whole = run(&[]);
    assert_eq!(whole, run(&[]));
    let limited = run(&["--limit", "500"]);
    assert!(limited.contains("prequential rating,sample,running-mean,stream,all,500,"), "{limited}");
}

/// Files that each have something wrong with them.
fn write_bad_files(freshet: &Freshet) {
    freshet.write("back.csv", "user,item,rating,ts\n1,2,3,20\n1,3,4,30\n2,3,4,10\n");
    freshet.write("timeless.csv", "user,item,rating\n1,2,3\n2,3,4\n");
    freshet.write("partly.csv", "user,item,rating,ts\n1,2,3,20\n2,3,4,\n");
    freshet.write("high.csv", "user,item,rating,ts\n1,2,3,20\n2,3,8.5,30\n");
    freshet.write("empty.csv", "user,item\n");
    freshet.write("listens.csv", listens(3));
    freshet.write("low.csv", "user,item,rating,ts\n1,2,1,20\n2,3,2,30\n");
    freshet.write("alone.csv", "user,item,rating,ts\n1,2,5,20\n1,3,5,30\n");
    freshet.write("once.csv", "user,item,rating,ts\n1,2,5,20\n2,3,5,30\n");
    freshet.write("five.csv", "user,item,rating,ts\n1,2,five,20\n");
}

#[test]
fn what_cannot_be_evaluated_is_refused_with_the_row_and_the_way_out() {
    let freshet = Freshet::new::<&str>(&[]);
    write_bad_files(&freshet);
    let (rating, topn) = (&["--protocol", "rating"][..], &["--protocol", "topn"][..]);
    for (file, flags, parts) in [
        ("back.csv", rating, &["row 3 (user \"2\", item \"3\")", "ts 10", "ts 30", "--order time", "--order file"][..]),
        ("timeless.csv", rating, &["row 1 (user \"1\", item \"2\")", "has no ts", "--order file", "--order hash"]),
        ("partly.csv", &["--protocol", "rating", "--order", "time"], &["row 2 (user \"2\", item \"3\")", "has no ts"]),
        ("high.csv", rating, &["row 2", "rating 8.5", "1 to 5 is allowed", "--set decode.max_rating=8.5"]),
        ("empty.csv", topn, &["empty has no rows"]),
        ("listens.csv", rating, &["listens has no ratings", "use --protocol topn"]),
        ("listens.csv", &["--protocol", "topn", "--all-ratings"], &["--all-ratings would change nothing"]),
        ("back.csv", &["--protocol", "rating", "--all-ratings"], &["--all-ratings is for --protocol topn"]),
        ("low.csv", topn, &["no positive event among 2 rows", "learn.positive_rating"]),
        ("alone.csv", topn, &["events of 1 user", "at least two"]),
        ("once.csv", topn, &["no event to rank among 2"]),
        ("five.csv", topn, &["five.csv: line 2", "\"rating\" is \"five\""]),
        ("nowhere.csv", topn, &["cannot read nowhere.csv"]),
        (
            "high.csv",
            &["--protocol", "rating", "--learner", "popularity"],
            &["popularity predicts no ratings", "biased-mf"],
        ),
        ("once.csv", &["--protocol", "topn", "--json", "no/where.json"], &["cannot write no/where.json"]),
        ("once.csv", &["--protocol", "topn", "--json", "-", "--csv", "-"], &["--json - and --csv -"]),
    ] {
        let ended = freshet.run(&[&["evaluate", file], flags].concat()).exited(1).told(parts);
        assert!(ended.stdout.is_empty() && !ended.stderr.contains("panicked"), "{ended}");
    }
    let unknown = ["evaluate", "once.csv", "--protocol", "topn", "--learner", "magic"];
    freshet.run(&unknown).exited(2).told(&["magic", "item-knn", "popularity", "random"]);
}

#[test]
fn an_order_that_is_asked_for_is_taken() {
    let freshet = Freshet::new::<&str>(&[]);
    freshet.write("back.csv", "user,item,rating,ts\n1,a,3,20\n1,b,4,30\n2,c,4,10\n");
    freshet.write("timeless.csv", "user,item,rating\n1,a,3\n2,b,4\n1,c,5\n");
    for (file, order, expected) in [
        ("back.csv", "time", ["c", "a", "b"]),
        ("back.csv", "file", ["a", "b", "c"]),
        ("timeless.csv", "file", ["a", "b", "c"]),
    ] {
        let line = ["evaluate", file, "--protocol", "rating", "--order", order, "--json", "-", "--no-baselines"];
        let found: Value = serde_json::from_str(&freshet.must(&line)).unwrap();
        let items: Vec<_> =
            found["first"].as_array().unwrap().iter().map(|row| row["item"].as_str().unwrap()).collect();
        assert_eq!((items, &found["order"]), (expected.to_vec(), &json!(order)));
    }
    freshet.must(&["evaluate", "timeless.csv", "--protocol", "rating", "--order", "hash"]);
}
