//! The lines of README.md that read events into data frames, run as they stand there by pandas and polars.

use std::process::Command;

use crate::program::Freshet;
use crate::support::{say, servers_dir};

/// What is fenced as a language behind a heading of README.md.
fn fenced(heading: &str, language: &str) -> String {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let (_, section) = readme.split_once(heading).expect("the section is there");
    let (_, block) = section.split_once(&format!("```{language}\n")).expect("it has such a block");
    block.split_once("\n```").expect("the block ends").0.to_owned()
}

const HEADING: &str = "\n## Data frames\n";

/// Looks at what the lines have made, on the sample, whose first events tell genres and whose last do not.
const LOOK: &str = r#"
import datetime
first = datetime.datetime(1997, 9, 20, 4, 18, 20, tzinfo=datetime.timezone.utc)
for frame in [by_pandas, stored_by_pandas]:
    assert len(frame) == 5000 and list(frame.seq) == list(range(1, 5001)), frame
    assert frame.rating.between(1, 5).all() and frame["count"].isna().all(), frame
    assert frame.user.map(type).eq(str).all() and frame.predicted.notna().all(), frame
assert by_pandas.ts[0] == first and list(by_pandas.genres[0]) == ["Comedy", "Crime", "Mystery"], by_pandas
assert stored_by_pandas.ts_ms[0] == first, stored_by_pandas
for frame in [by_polars, stored_by_polars]:
    assert frame.shape[0] == 5000 and frame["seq"].to_list() == list(range(1, 5001)), frame
    assert frame["rating"].dtype.is_float() and frame["count"].null_count() == 5000, frame
    assert frame["user"].dtype == polars.String and frame["year"].dtype.is_integer(), frame
assert by_polars["ts"][0] == first and by_polars["genres"][0].to_list() == ["Comedy", "Crime", "Mystery"], by_polars
assert (by_pandas.predicted - by_polars["predicted"].to_pandas()).abs().max() == 0
assert (by_pandas.predicted - stored_by_pandas.predicted).abs().max() < 1e-6
"#;

#[test]
fn the_lines_of_the_readme_read_events_into_data_frames() {
    let folder = servers_dir().join("dataframes");
    if !folder.join("pandas").is_dir() {
        let reason = std::fs::read_to_string(servers_dir().join("dataframes-unavailable"));
        let reason = reason.unwrap_or_else(|_| "run `make test`, it installs them".into());
        say(&format!("SKIPPED: pandas and polars are not there, so no data frame is made: {}", reason.trim()));
        return;
    }
    let freshet = Freshet::new(&["learn.rating=biased-mf", "learn.ranking=biased-mf", "biased_mf.factors=8"]);
    freshet.must(&["replay", "sample", "--limit", "5000"]);
    let mut engine = freshet.start();
    engine.learned(5000);
    engine.stop().succeeded();
    for line in fenced(HEADING, "console").lines() {
        let command = line.strip_prefix("$ freshet ").expect("a line that runs freshet");
        freshet.must(&command.split(' ').collect::<Vec<_>>());
    }
    let program = fenced(HEADING, "python") + LOOK;
    let mut python = Command::new("python3");
    python.args(["-c", &program]).env("PYTHONPATH", &folder).current_dir(freshet.path("."));
    let ran = python.output().unwrap();
    assert!(ran.status.success(), "{}\n{program}", String::from_utf8_lossy(&ran.stderr));
}
