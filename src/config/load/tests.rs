use std::collections::BTreeSet;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::{BrokerKind, DEFAULT_TOML, DecodeConfig, Source};

/// Loads with a `config.toml` of this text in the folder, unless it is empty.
fn load(text: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Loaded, Vec<String>> {
    let folder = TempDir::new().unwrap();
    if !text.is_empty() {
        fs::write(folder.path().join(FILE_NAME), text).unwrap();
    }
    let options = LoadOptions {
        preset: None,
        file: None,
        folder: folder.path().to_owned(),
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        sets: sets.iter().map(|set| (*set).to_owned()).collect(),
    };
    let root = format!("{}/", folder.path().display());
    let lines = |error: ConfigError| error.problems.iter().map(|one| one.to_string().replace(&root, "")).collect();
    Config::load(&options).map_err(lines)
}

fn problems(text: &str, env: &[(&str, &str)], sets: &[&str]) -> Vec<String> {
    load(text, env, sets).expect_err("the settings are wrong")
}

fn source(loaded: &Loaded, key: &str) -> Source {
    loaded.settings.iter().find(|setting| setting.key == key).unwrap().source.clone()
}

#[test]
fn the_defaults_are_valid_and_complete() {
    let loaded = load("", &[], &[]).unwrap();
    assert!(loaded.settings.iter().all(|setting| setting.source == Source::Default));
    assert!(loaded.changed().is_empty());
    assert_eq!(toml::Table::try_from(Config::default()).unwrap(), toml::Table::try_from(loaded.config).unwrap());
}

#[test]
fn every_key_of_the_default_file_has_a_comment_of_its_own() {
    let lines: Vec<&str> = DEFAULT_TOML.lines().collect();
    let is_key = |line: &str| line.starts_with(char::is_alphabetic);
    for pair in lines.windows(2).filter(|pair| is_key(pair[1])) {
        // max_rating shares the comment of min_rating.
        assert!(pair[0].starts_with('#') || pair[1].starts_with("max_rating"), "{} has no comment", pair[1]);
    }
    let keys: BTreeSet<_> = load("", &[], &[]).unwrap().settings.into_iter().map(|setting| setting.key).collect();
    assert_eq!(lines.iter().filter(|line| is_key(line)).count(), keys.len());
}

#[test]
fn a_layer_goes_before_the_ones_below_it() {
    let file = "[broker]\ntopic = \"file\"\ngroup = \"file\"\nservers = \"file:1\"\n";
    let env = [("FRESHET_BROKER__GROUP", "env"), ("FRESHET_BROKER__SERVERS", "env:1")];
    let loaded = load(file, &env, &["broker.servers=first:1", "broker.servers=flag:1"]).unwrap();
    let broker = &loaded.config.broker;
    assert_eq!([&broker.topic, &broker.group, &broker.servers], ["file", "env", "flag:1"]);
    assert_eq!(broker.kind, BrokerKind::Embedded);
    assert!(matches!(source(&loaded, "broker.topic"), Source::File { line: 2, column: 9, .. }));
    assert_eq!(source(&loaded, "broker.group"), Source::Variable("FRESHET_BROKER__GROUP".to_owned()));
    assert_eq!(source(&loaded, "broker.servers"), Source::Flag);
    assert_eq!(source(&loaded, "broker.kind"), Source::Default);
}

#[test]
fn the_flag_names_the_file_before_the_variable_and_that_before_the_folder() {
    let folder = TempDir::new().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, format!("[store]\ndatabase = \"{name}\"\n").replace(".toml", "")).unwrap();
        path
    };
    let (flag, variable, _) = (file("flag.toml"), file("variable.toml"), file(FILE_NAME));
    let mut options = LoadOptions { folder: folder.path().to_owned(), ..LoadOptions::default() };
    let database = |options: &LoadOptions| Config::load(options).unwrap().config.store.database;
    assert_eq!(database(&options), "config");
    options.env.insert(FILE_VARIABLE.to_owned(), variable.display().to_string());
    assert_eq!(database(&options), "variable");
    options.file = Some(flag);
    assert_eq!(database(&options), "flag");
}

#[test]
fn a_named_file_must_be_there() {
    let options = LoadOptions { file: Some("nowhere.toml".into()), ..LoadOptions::default() };
    let text = Config::load(&options).unwrap_err().to_string();
    assert!(text.starts_with("invalid configuration: cannot read nowhere.toml: "), "{text}");
    assert!(text.ends_with("correct --config, or leave it out to use the defaults"), "{text}");
}

#[test]
fn an_unknown_key_is_refused_with_its_place_in_every_layer() {
    let keys = "did you mean kind? the keys of broker are connect_timeout, group, kind, model_topic, partitions, poll_interval, \
                properties, replication, servers, shared_topic, topic";
    assert_eq!(
        problems("# a\n[broker]\n  knd = \"kafka\"\n", &[], &[]),
        [format!("config.toml:3:3: unknown key broker.knd; {keys}")]
    );
    assert_eq!(
        problems("", &[("FRESHET_BROKER__KND", "kafka")], &[]),
        [format!("FRESHET_BROKER__KND: unknown key broker.knd; {keys}")]
    );
    assert_eq!(problems("", &[], &["broker.knd=kafka"]), [format!("--set: unknown key broker.knd; {keys}")]);
}

#[test]
fn an_unknown_section_is_refused_and_a_key_without_one_is_sent_to_its_own() {
    let sections = "bayesian_mf, biased_mf, biases, blend, broker, decode, drift, engine, gather, item_knn, learn, log, popularity, \
                    serve, store, topics";
    assert_eq!(
        problems("[brokr]\nkind = 1\n", &[], &[]),
        [format!("config.toml:1:2: unknown section brokr; did you mean broker? the sections are {sections}")]
    );
    assert_eq!(
        problems("topic = \"x\"\nbroker = 5\n", &[], &["size=1"]),
        [
            "config.toml:1:1: unknown key topic; did you mean broker.topic?",
            "config.toml:2:1: broker: is a section; write [broker] on a line and its keys below",
            "--set: unknown key size; did you mean gather.size?",
        ]
    );
}

#[test]
fn a_wrong_type_is_refused_with_its_place_in_every_layer() {
    assert_eq!(
        problems("[gather]\nsize = \"many\"\nlinger = 5\nmode = \"tumbling\"\n", &[], &[]),
        [
            "config.toml:2:8: gather.size: invalid type: string \"many\", expected a whole number from 0; allowed: 1 to 1000000",
            "config.toml:3:10: gather.linger: invalid type: integer `5`, expected a duration in quotes; allowed: \"0s\" to \"1h\"",
            "config.toml:4:8: gather.mode: unknown variant `tumbling`, expected one of `count`, `window`, `sliding`",
        ]
    );
    assert_eq!(
        problems("", &[("FRESHET_SERVE__PORT", "-1")], &["gather.linger=soon"]),
        [
            "FRESHET_SERVE__PORT: serve.port: invalid value: integer `-1`, expected a whole number from 0; allowed: 0 to 65535",
            "--set: gather.linger: \"soon\" is not a duration; write it as \"250ms\", \"20s\" or \"5m\"; allowed: \"0s\" to \"1h\"",
        ]
    );
    assert_eq!(
        problems("[learn]\nseed = 99999999999999999999\n", &[], &[]),
        ["config.toml:2:8: learn.seed: the number is too large; allowed: 0 to 9223372036854775807"]
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place_and_without_its_content() {
    let found = problems("[broker.properties]\n\"sasl.password\" = \"hunter2\n", &[], &[]);
    assert_eq!(found, ["config.toml:2:27: this is not TOML: invalid basic string, expected `\"`"]);
}

#[test]
fn a_variable_or_flag_is_toml_where_that_has_the_type_and_else_text() {
    let env = [
        ("FRESHET_SERVE__PORT", "9000"),
        ("FRESHET_BROKER__TOPIC", "123"),
        ("FRESHET_STORE__DATABASE", "\"quoted\""),
        ("FRESHET_DECODE__MIN_RATING", "0"),
        ("FRESHET_LEARN__RATING", "biased-mf"),
    ];
    let Config { serve, broker, store, decode, gather, .. } = load("", &env, &["gather.size = 7"]).unwrap().config;
    assert_eq!((serve.port, gather.size), (9000, 7));
    assert_eq!([broker.topic, store.database], ["123", "quoted"]);
    assert!(matches!(decode, DecodeConfig { min_rating: 0.0, .. }));
}

#[test]
fn a_variable_may_name_a_file_that_holds_the_value() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let (uri, password, port, path) = (
        file("uri", "mongodb://ann:pw@host\n"),
        file("password", "\"with quotes\" and a space \r\n"),
        file("port", "9000\n"),
        file("path", "/etc/keys"),
    );
    let env = [
        ("FRESHET_STORE__URI_FILE", uri.as_str()),
        ("FRESHET_BROKER__PROPERTIES__SASL_PASSWORD_FILE", &password),
        ("FRESHET_SERVE__PORT_FILE", &port),
        ("FRESHET_SERVE__KEYS_FILE_FILE", &path),
        ("FRESHET_BROKER__PROPERTIES__SASL_OAUTHBEARER_ASSERTION_FILE", "/a.jwt"),
        ("FRESHET_SERVE__HOST_FILE", ""),
    ];
    let loaded = load("", &env, &[]).unwrap();
    let Config { broker, serve, store, .. } = &loaded.config;
    assert_eq!(store.uri, "mongodb://ann:pw@host");
    assert_eq!(broker.properties["sasl.password"], "\"with quotes\" and a space ");
    assert_eq!((serve.port, serve.host.as_str(), serve.keys_file.to_str()), (9000, "127.0.0.1", Some("/etc/keys")));
    assert_eq!(broker.properties["sasl.oauthbearer.assertion.file"], "/a.jwt");
    let shown = loaded.to_toml(true);
    for part in [format!("# FRESHET_STORE__URI_FILE={uri}\n"), "\"sasl.password\" = \"***\"".to_owned()] {
        assert!(shown.contains(&part), "{part} is not in {shown}");
    }
    // The name of a key that ends in _file is that key's.
    assert_eq!(
        load("", &[("FRESHET_SERVE__KEYS_FILE", "/k")], &[]).unwrap().config.serve.keys_file.to_str(),
        Some("/k")
    );
}

#[test]
fn a_file_that_a_variable_names_must_be_readable_and_the_only_one_for_its_key() {
    let dir = TempDir::new().unwrap();
    let bytes = dir.path().join("bytes");
    fs::write(&bytes, [0xff, 0xfe]).unwrap();
    let env = [
        ("FRESHET_BROKER__PROPERTIES__SASL_PASSWORD", "hunter2"),
        ("FRESHET_BROKER__PROPERTIES__SASL_PASSWORD_FILE", "/run/secrets/password"),
        ("FRESHET_BROKER__TOPIC_FILE", bytes.to_str().unwrap()),
        ("FRESHET_STORE__URI_FILE", "/nowhere/uri"),
        ("FRESHET_STORE__URL_FILE", "/nowhere/uri"),
    ];
    let found = problems("", &env, &[]);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(
        found[0],
        "FRESHET_BROKER__PROPERTIES__SASL_PASSWORD and FRESHET_BROKER__PROPERTIES__SASL_PASSWORD_FILE both set \
         broker.properties.sasl.password; unset one of them"
    );
    assert!(
        found[1].starts_with("FRESHET_BROKER__TOPIC_FILE: cannot read ") && found[1].contains("UTF-8"),
        "{found:#?}"
    );
    assert!(found[2].starts_with("FRESHET_STORE__URI_FILE: cannot read /nowhere/uri: No such file"), "{found:#?}");
    assert!(found[3].starts_with("FRESHET_STORE__URL_FILE: unknown key store.url_file"), "{found:#?}");
}

#[test]
fn other_variables_of_freshet_are_not_settings() {
    let env = [("FRESHET_DATA", "x"), ("FRESHET_TEST_KAFKA", "x"), ("OTHER__KEY", "x"), ("FRESHET_CONFIG", "")];
    assert!(load("", &env, &[]).unwrap().changed().is_empty());
}

#[test]
fn properties_come_from_every_layer() {
    let file = "[broker.properties]\n\"a.b\" = \"file\"\nsasl.username = \"me\"\nlinger.ms = 5\nidempotence = true\n";
    let env = [("FRESHET_BROKER__PROPERTIES__SASL_PASSWORD", "1_000"), ("FRESHET_BROKER__PROPERTIES__A_B", "env")];
    let loaded = load(file, &env, &["broker.properties.ssl.ca.location=/ca.pem"]).unwrap();
    let properties: Vec<_> = loaded.config.broker.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(
        properties,
        [
            ("a.b", "env"),
            ("idempotence", "true"),
            ("linger.ms", "5"),
            ("sasl.password", "1_000"),
            ("sasl.username", "me"),
            ("ssl.ca.location", "/ca.pem"),
        ]
    );
    let keys: Vec<_> = loaded.settings.iter().map(|setting| setting.key.as_str()).collect();
    assert!(
        keys.iter().rposition(|key| key.starts_with("broker."))
            < keys.iter().position(|key| *key == "decode.min_rating")
    );
    assert_eq!(
        problems("[broker]\nproperties = 5\n", &[], &["broker.properties.=x"]),
        [
            "config.toml:2:1: unknown key broker.properties; name the property: broker.properties.linger.ms",
            "--set: unknown key broker.properties.; name the property: broker.properties.linger.ms",
        ]
    );
}

#[test]
fn a_file_with_a_byte_order_mark_and_windows_line_ends_is_read() {
    let loaded = load("\u{feff}[gather]\r\nsize = 9\r\n", &[], &[]).unwrap();
    assert_eq!(loaded.config.gather.size, 9);
    assert!(source(&loaded, "gather.size").to_string().ends_with("config.toml:2"));
}

#[test]
fn all_problems_come_at_once() {
    let found =
        problems("[gather]\nsize = 0\nsiz = 1\n", &[("FRESHET_SERVE__PORT", "x")], &["nothing", "biased_mf.factors=0"]);
    assert_eq!(found.len(), 5, "{found:#?}");
    assert_eq!(found[2], "--set: number 1 of them has no \"=\"; write --set section.key=value");
}

#[test]
fn what_is_shown_says_where_it_came_from_and_reads_back_the_same() {
    let file = "[broker.properties]\n\"linger.ms\" = \"5\"\n";
    let loaded = load(file, &[("FRESHET_BROKER__KIND", "kafka")], &["store.database=d \"q\""]);
    assert!(loaded.is_err(), "a database name has no space");
    let loaded = load(file, &[("FRESHET_BROKER__KIND", "kafka")], &["serve.host=\\n # \"q\""]).unwrap();
    let shown = loaded.to_toml(true);
    assert!(shown.starts_with("[broker]\nkind = \"kafka\" "), "{shown}");
    assert!(shown.contains("# FRESHET_BROKER__KIND\n") && shown.contains("# --set\n"), "{shown}");
    assert!(shown.contains("\n\n[broker.properties]\n\"linger.ms\" = \"5\" "), "{shown}");
    assert!(shown.contains("config.toml:2\n"), "{shown}");
    let again = load(&loaded.to_toml(false), &[], &[]).unwrap();
    assert_eq!(toml::Table::try_from(again.config).unwrap(), toml::Table::try_from(&loaded.config).unwrap());
    let json = loaded.to_json(true);
    assert_eq!(json["broker.kind"]["value"], "kafka");
    assert_eq!(json["broker.kind"]["source"], "FRESHET_BROKER__KIND");
    assert_eq!(json.as_object().unwrap().len(), 3);
}

proptest! {
    #[test]
    fn no_secret_is_ever_shown(secret in "[!-%'-~äß€]{1,12}#[!-%'-~]{1,12}", user in "[a-z]{1,5}") {
        let uri = format!("store.uri=mongodb://{user}:{secret}@host/db?tlsCertificateKeyFilePassword={secret}");
        let password = format!("broker.properties.sasl.password={secret}");
        let env = [("FRESHET_BROKER__PROPERTIES__SSL_KEY_PEM", secret.as_str())];
        let loaded = load("", &env, &[&uri, &password]).unwrap();
        prop_assert!(loaded.config.broker.properties["sasl.password"].len() + 2 >= secret.len());
        for shown in [loaded.to_toml(false), loaded.to_toml(true), loaded.to_json(false).to_string(), format!("{loaded:?}")] {
            prop_assert!(!shown.contains(&secret), "{shown}");
        }
    }

    #[test]
    fn no_secret_is_in_an_error(secret in "[!-~]{1,12}#[!-~&&[^\"]]{1,12}") {
        let uri = format!("store.uri=x://user:{secret}@host/db");
        let wrong = format!("[broker.properties]\n\"sasl.password\" = [{0}]\n\"ssl.key.pem\" = [{0}]\n", toml::Value::String(secret.clone()));
        let found = problems(&wrong, &[], &[&uri, &format!("sasl.password={secret}")]);
        prop_assert_eq!(found.len(), 4);
        prop_assert!(!found.concat().contains(&secret), "{:?}", found);
    }

    #[test]
    fn no_text_makes_the_reading_panic(text in "(\\[[a-z.]{1,9}\\]\n|[a-z.]{1,9} = [0-9a-z\"\\[\\{\\}\\]-]{0,9}\n|\\PC{0,9}\n){0,6}") {
        let _ = load(&text, &[("FRESHET_GATHER__SIZE", &text)], &[&text]);
    }
}
