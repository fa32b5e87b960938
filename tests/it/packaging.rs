//! What is shipped around the program: completions, manual pages, the image and the compose file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use freshet::config::{BrokerKind, Config, LoadOptions, StoreKind};

use crate::program::Freshet;

fn freshet() -> Freshet {
    Freshet::new::<&str>(&[])
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The value behind the only line of a file that begins so, without quotes.
fn value<'a>(text: &'a str, start: &str) -> &'a str {
    let found: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix(start)).collect();
    assert_eq!(found.len(), 1, "{start}: {found:?}");
    found[0].trim().trim_matches('"')
}

/// Names of the commands as help lists them.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_shell_gets_a_script_that_knows_every_command() {
    let freshet = freshet();
    let names = commands(&freshet.must(&["--help"]));
    assert!(names.len() > 10 && names.contains(&"doctor".to_owned()), "{names:?}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = freshet.must(&["completions", shell]);
        for name in names.iter().chain(&["--timeout".to_owned(), "--only".to_owned()]) {
            let name = if shell == "fish" { name.trim_start_matches('-') } else { name };
            assert!(script.contains(name), "{shell} does not know {name}");
        }
    }
    freshet.write("freshet.bash", freshet.must(&["completions", "bash"]));
    let probe = "source ./freshet.bash; COMP_WORDS=(freshet do); COMP_CWORD=1; _freshet freshet do freshet; echo \"${COMPREPLY[*]}\"";
    let done = Command::new("bash").args(["-c", probe]).current_dir(freshet.path(".")).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "doctor");
    freshet.run(&["completions", "tcsh"]).exited(2).told(&["bash", "zsh"]);
}

#[test]
fn every_command_has_a_manual_page_with_its_examples() {
    let freshet = freshet();
    freshet.must(&["man", "--out", "pages/man1"]);
    let page = |name: &str| {
        std::fs::read_to_string(freshet.path(&format!("pages/man1/{name}.1")))
            .unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert!(page("freshet").contains("Exit codes"));
    for name in commands(&freshet.must(&["--help"])) {
        let text = page(&format!("freshet-{name}"));
        assert!(text.contains(".SH NAME") && text.contains("freshet"), "{name}");
        for below in commands(&freshet.must(&[&name, "--help"])) {
            page(&format!("freshet-{name}-{below}"));
        }
    }
    let printed = freshet.must(&["man", "snapshots", "list"]);
    assert!(printed.contains(".TH") && printed.contains("Example:"), "{printed}");
    freshet.run(&["man", "snapshot"]).exited(1).told(&["no command \"snapshot\"", "snapshots"]);
    freshet.write("file", "");
    freshet.run(&["man", "--out", "file"]).exited(1).told(&["cannot write file"]);
}

#[test]
fn completions_and_pages_need_no_valid_settings() {
    let mut freshet = freshet();
    freshet.set("no.such=key");
    freshet.must(&["completions", "bash"]);
    freshet.must(&["man"]);
}

/// The settings of the service in the compose file, on top of those of the image.
fn shipped() -> Config {
    let variables = |text: &str, between: &str| -> BTreeMap<String, String> {
        let set = text.lines().filter_map(|line| {
            let line = line.trim().trim_start_matches("ENV ").trim_end_matches('\\').trim();
            let (name, value) = line.split_once(between)?;
            let is_variable = name.starts_with("FRESHET_") && !name.contains(' ');
            is_variable.then(|| (name.to_owned(), value.trim().trim_matches('"').to_owned()))
        });
        set.collect()
    };
    let mut env = variables(&read("Dockerfile"), "=");
    assert_eq!(env.len(), 2, "{env:?}");
    env.extend(variables(&read("docker-compose.yml"), ": "));
    assert!(env.len() > 6, "{env:?}");
    let options = LoadOptions { folder: "a folder that is not there".into(), env, ..LoadOptions::default() };
    Config::load(&options).unwrap_or_else(|error| panic!("{error}")).config
}

#[test]
fn the_settings_of_the_image_and_the_compose_file_are_keys_that_exist_and_fit_its_servers() {
    let config = shipped();
    let compose = read("docker-compose.yml");
    assert_eq!((config.broker.kind, config.store.kind), (BrokerKind::Kafka, StoreKind::Mongodb));
    let advertised = value(&compose, "KAFKA_ADVERTISED_LISTENERS:");
    let inside = format!("DOCKER://{}", config.broker.servers);
    assert!(advertised.split(',').any(|listener| listener == inside), "{inside} is not among {advertised}");
    assert!(advertised.contains("HOST://localhost:9092"), "clients outside: {advertised}");
    let (host, _) = config.store.uri.trim_start_matches("mongodb://").split_once(':').unwrap();
    assert!(compose.contains(&format!("\n  {host}:\n")), "{host} is no service");
    assert!(compose.contains(&format!("\"127.0.0.1:{0}:{0}\"", config.serve.port)), "published on this machine only");
    let grace: u64 = value(&compose, "stop_grace_period:").trim_end_matches('s').parse().unwrap();
    assert!(grace > config.engine.stop_deadline.as_secs());
    for (name, service) in [("apache/kafka", "kafka"), ("mongo", "mongo")] {
        assert!(compose.contains(&format!("image: {name}:")), "{service}");
        assert!(compose.contains(&format!("{service}: {{ condition: service_healthy }}")), "{service}");
    }
}

#[test]
fn versions_of_the_image_and_the_compose_file_are_those_of_the_tests() {
    let dockerfile = read("Dockerfile");
    let rust = value(&read("Cargo.toml"), "rust-version = ").to_owned();
    assert!(dockerfile.contains(&format!("FROM rust:{rust}-")), "the compiler of the image is not {rust}");
    let kafka = value(&read("docker-compose.yml"), "image: apache/kafka:").to_owned();
    assert!(
        read("tests/servers/pom.xml").contains(&format!("<version>{kafka}</version>")),
        "Kafka {kafka} is not tested"
    );
}

#[test]
fn the_image_is_built_of_files_that_are_there_and_let_through() {
    let dockerfile = read("Dockerfile");
    let ignore = read(".dockerignore");
    let copied =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"));
    let mut sources: Vec<&str> = Vec::new();
    for line in copied {
        let words: Vec<_> = line.split(' ').collect();
        sources.extend(&words[..words.len() - 1]);
    }
    assert!(sources.contains(&"src") && sources.contains(&"Cargo.lock"), "{sources:?}");
    for source in sources {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(source).exists(), "{source} is not there");
        assert!(ignore.lines().any(|line| line.starts_with(&format!("!{source}"))), "{source} is ignored");
    }
    // What the sources include from beside them has to be copied too.
    let beside = [read("src/config/mod.rs"), read("src/config/preset.rs")].concat();
    for file in beside.split("include_str!(\"../../").skip(1).filter_map(|rest| rest.split('"').next()) {
        let top = file.split('/').next().unwrap();
        assert!(dockerfile.contains(&format!("COPY {top} ")), "{file} is compiled in and not copied");
    }
    let freshet = freshet();
    for command in ["HEALTHCHECK", "CMD"] {
        let line = dockerfile.lines().find(|line| line.starts_with(command)).unwrap();
        let words: Vec<String> = serde_json::from_str(&line[line.find('[').unwrap()..]).unwrap();
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "freshet").collect();
        freshet.must(&[&words[..], &["--help"]].concat());
    }
    assert!(dockerfile.lines().any(|line| line == "USER freshet"), "not as root");
}
