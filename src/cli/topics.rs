//! `freshet topics`: lists, describes, creates, alters and deletes topics, so that no Kafka tool need be installed.
//!
//! What is done is [`crate::consume::admin`]; here are the flags, the tables and the question before a topic goes.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, Subcommand};
use indicatif::{HumanBytes, HumanCount};
use owo_colors::OwoColorize;
use serde_json::json;

use super::out;
use crate::config::{BrokerKind, Config};
use crate::consume::admin::{
    Admin, AdminError, CLEANUP, Change, NewTopic, PartitionDetail, RETENTION, TopicDetail, TopicLine,
};
use crate::consume::watch::duration;

/// Lists, describes, creates, alters and deletes topics.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  freshet topics list\n  freshet topics create clicks --partitions 4 --retention 7d\n  \
                        freshet topics describe ratings"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: TopicsCommand,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// Lists topics: partitions, records, retention.
    #[command(after_help = "Examples:\n  freshet topics list\n  freshet topics list --json | jq -r '.topics[].name'")]
    List {
        /// Also Kafka's own topics, whose names begin with two underscores.
        #[arg(long)]
        internal: bool,
        /// Prints them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Creates a topic.
    #[command(
        after_help = "Examples:\n  freshet topics create clicks --partitions 4\n  freshet topics create profiles \
                            --replication 3 --compact\n  freshet topics create clicks --retention 7d --setting \
                            max.message.bytes=2000000"
    )]
    Create {
        /// Name of the topic.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Number of partitions; broker.partitions by default.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        /// Copies of each partition; broker.replication by default.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=32_767))]
        replication: Option<i32>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Describes a topic: its partitions with leader, replicas and offsets, and the settings that are not Kafka's defaults.
    #[command(
        after_help = "Examples:\n  freshet topics describe ratings\n  freshet topics describe ratings --json | jq \
                            .settings"
    )]
    Describe {
        /// Name of the topic; broker.topic by default.
        name: Option<String>,
        /// Prints it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Adds partitions to a topic, or changes its settings.
    #[command(after_help = "Examples:\n  freshet topics alter clicks --partitions 8\n  freshet topics alter clicks \
                            --retention 30d\n  freshet topics alter clicks --setting retention.ms=   (the default again)")]
    Alter {
        /// Name of the topic.
        name: String,
        /// Number of partitions; they can only become more.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
        partitions: Option<i32>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Deletes a topic with all of its records.
    #[command(after_help = "Examples:\n  freshet topics delete clicks\n  freshet topics delete clicks --yes")]
    Delete {
        /// Name of the topic.
        name: String,
        /// Does not ask; needed where there is no terminal to ask on.
        #[arg(long, short)]
        yes: bool,
    },
}

/// Settings of a topic on Kafka.
#[derive(clap::Args, Debug)]
struct Settings {
    /// How long records are kept: 12h, 7d, or forever.
    #[arg(long, value_name = "TIME", value_parser = retention)]
    retention: Option<Retention>,
    /// Keeps the newest record of each key (cleanup.policy); with --delete, old ones of them go too.
    #[arg(long)]
    compact: bool,
    /// Deletes records when their time is over (cleanup.policy), which is what Kafka does unless told otherwise.
    #[arg(long)]
    delete: bool,
    /// Any setting of a topic; may be repeated. Without a value it has its default again.
    #[arg(id = "setting", long = "setting", value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<(String, Option<String>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Retention {
    Forever,
    For(Duration),
}

fn retention(text: &str) -> Result<Retention, String> {
    if text == "forever" { Ok(Retention::Forever) } else { duration(text).map(Retention::For) }
}

fn setting(text: &str) -> Result<(String, Option<String>), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), Some(value.to_owned()).filter(|value| !value.is_empty())))
        }
        _ => Err(format!("{text:?} is no setting; write it as KEY=VALUE, such as retention.ms=604800000")),
    }
}

impl Settings {
    fn all(self) -> BTreeMap<String, Option<String>> {
        let mut all: BTreeMap<_, _> = self.set.into_iter().collect();
        if let Some(retention) = self.retention {
            let ms = match retention {
                Retention::Forever => "-1".to_owned(),
                Retention::For(long) => long.as_millis().to_string(),
            };
            all.insert(RETENTION.to_owned(), Some(ms));
        }
        let policy = match (self.compact, self.delete) {
            (true, true) => "compact,delete",
            (true, false) => "compact",
            (false, true) => "delete",
            (false, false) => return all,
        };
        all.insert(CLEANUP.to_owned(), Some(policy.to_owned()));
        all
    }
}

/// Runs `freshet topics`.
///
/// # Errors
/// If the log cannot be reached or refuses, or a topic is not there.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let admin = Admin::new(config);
    match args.command {
        TopicsCommand::List { internal, json } => list(&admin, internal, json).await,
        TopicsCommand::Describe { name, json } => {
            let name = name.unwrap_or_else(|| config.broker.topic.clone());
            describe(&admin, &name, json).await
        }
        TopicsCommand::Create { name, partitions, replication, settings } => {
            let settings = settings.all().into_iter().filter_map(|(name, value)| Some((name, value?)));
            let topic = NewTopic {
                name,
                partitions: partitions.unwrap_or(config.broker.partitions),
                replication: replication.unwrap_or(config.broker.replication),
                settings: settings.collect(),
            };
            create(&admin, config, topic, replication.is_some()).await
        }
        TopicsCommand::Alter { name, partitions, settings } => {
            alter(&admin, &name, Change { partitions, settings: settings.all() }).await
        }
        TopicsCommand::Delete { name, yes } => delete(&admin, config, &name, yes).await,
    }
}

/// The log's own error, so that the exit code is known by its type; what the log has not is a usage error.
pub(super) fn in_words(error: AdminError) -> anyhow::Error {
    match error {
        AdminError::Log(error) => error.into(),
        AdminError::NotEmbedded => usage(&error.to_string()),
        other => other.into(),
    }
}

/// Ends the process with a usage error.
fn usage(problem: &str) -> ! {
    super::Cli::command().error(ErrorKind::ValueValidation, problem).exit()
}

async fn list(admin: &Admin, internal: bool, json: bool) -> anyhow::Result<()> {
    let topics = admin.topics(internal).await.map_err(in_words)?;
    if json {
        return out::print_json(&json!({ "topics": topics }));
    }
    if topics.is_empty() {
        return out::print(&format!("no topic in {}; freshet topics create NAME makes one\n", admin.location()));
    }
    let mut table = out::table(&["topic", "partitions", "copies", "records", "size", "retention"]);
    table.add_rows(topics.iter().map(row));
    out::print(&format!("{table}\n"))
}

fn row(topic: &TopicLine) -> [String; 6] {
    [
        topic.name.clone(),
        topic.partitions.to_string(),
        topic.replication.map_or_else(dash, |copies| copies.to_string()),
        topic.records.map_or_else(dash, |records| HumanCount(records).to_string()),
        topic.bytes.map_or_else(dash, |bytes| HumanBytes(bytes).to_string()),
        kept(topic),
    ]
}

fn dash() -> String {
    "–".to_owned()
}

/// How long records are kept, for people: `7d`, `forever`, `compact`.
fn kept(topic: &TopicLine) -> String {
    let Some(cleanup) = &topic.cleanup else {
        // The embedded log keeps every record; a cluster that does not tell is another matter.
        return if topic.replication.is_none() { "forever".to_owned() } else { dash() };
    };
    let time = topic.retention_ms.map_or_else(dash, time);
    match cleanup.as_str() {
        "delete" => time,
        "compact" => "compact".to_owned(),
        both => format!("{both} {time}"),
    }
}

fn time(ms: i64) -> String {
    let Ok(ms) = u64::try_from(ms) else { return "forever".to_owned() };
    let (day, hour, minute, second) = (86_400_000, 3_600_000, 60_000, 1_000);
    for (unit, name) in [(day, "d"), (hour, "h"), (minute, "m"), (second, "s")] {
        if ms >= unit && ms.is_multiple_of(unit) {
            return format!("{}{name}", ms / unit);
        }
    }
    format!("{ms}ms")
}

async fn describe(admin: &Admin, name: &str, json: bool) -> anyhow::Result<()> {
    let topic = admin.topic(name).await.map_err(in_words)?;
    if json {
        return out::print_json(&topic);
    }
    out::print(&described(&topic, &admin.location()))
}

fn described(topic: &TopicDetail, location: &str) -> String {
    let line = &topic.line;
    let mut about = out::table(&["topic", &line.name]);
    about.add_row(["on", location]);
    let [_, partitions, copies, records, size, retention] = row(line);
    for (name, value) in
        [("partitions", partitions), ("copies", copies), ("records", records), ("size", size), ("retention", retention)]
    {
        about.add_row([name.to_owned(), value]);
    }
    for setting in &topic.settings {
        let value = setting.value.as_deref().unwrap_or("***");
        about.add_row([setting.name.clone(), format!("{value} (set by the {})", setting.set_by)]);
    }
    let mut parts = out::table(&["partition", "leader", "replicas", "in sync", "low", "end", "records"]);
    parts.add_rows(topic.parts.iter().map(part_row));
    format!("{about}\n\n{parts}\n")
}

fn part_row(part: &PartitionDetail) -> [String; 7] {
    let brokers = |brokers: &[i32]| {
        let text: Vec<_> = brokers.iter().map(ToString::to_string).collect();
        if text.is_empty() { dash() } else { text.join(" ") }
    };
    let number = |offset: Option<i64>| offset.map_or_else(dash, |offset| offset.to_string());
    let records = part.low.zip(part.end).map(|(low, end)| end - low);
    [
        part.partition.to_string(),
        part.leader.map_or_else(dash, |leader| leader.to_string()),
        brokers(&part.replicas),
        brokers(&part.isr),
        number(part.low),
        number(part.end),
        number(records),
    ]
}

async fn create(admin: &Admin, config: &Config, topic: NewTopic, asked_for_copies: bool) -> anyhow::Result<()> {
    if asked_for_copies && config.broker.kind == BrokerKind::Embedded {
        usage("the embedded log has no replicas; leave --replication out, or set broker.kind = \"kafka\"");
    }
    let (name, partitions) = (topic.name.clone(), topic.partitions);
    admin.create(topic).await.map_err(in_words)?;
    let many = if partitions == 1 { "1 partition".to_owned() } else { format!("{partitions} partitions") };
    out::print(&format!("created {name} with {many} on {}\n", admin.location()))
}

async fn alter(admin: &Admin, name: &str, change: Change) -> anyhow::Result<()> {
    if change == Change::default() {
        usage("nothing to alter; name --partitions, --retention, --compact, --delete or --setting");
    }
    let more = change.partitions.is_some();
    admin.alter(name, change).await.map_err(in_words)?;
    if more {
        let warning = "a key may go to another partition from now on, so that the order of its records is kept \
                       only from here on";
        out::tell(&format!("{} {warning}", "warning:".yellow()));
    }
    out::print(&format!("altered {name} on {}\n", admin.location()))
}

async fn delete(admin: &Admin, config: &Config, name: &str, yes: bool) -> anyhow::Result<()> {
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !yes && !can_ask {
        usage("there is no terminal to ask on whether the topic is to be deleted; --yes deletes it without asking");
    }
    let topic = admin.topic(name).await.map_err(in_words)?;
    if config.topics_read().any(|read| read == name) {
        let warning = "this is a topic that the engine reads (broker.topic, [topics]); an engine that runs will stop, \
                       and one that starts on the same store will refuse the new topic";
        out::tell(&format!("{} {warning}", "warning:".yellow()));
    }
    if !yes {
        let records =
            topic.line.records.map_or_else(String::new, |records| format!(" with its {} records", HumanCount(records)));
        out::tell(&format!("Delete {name}{records} on {}? Type its name to delete it:", admin.location()));
        let typed = tokio::task::spawn_blocking(|| {
            let mut typed = String::new();
            io::stdin().lock().read_line(&mut typed).map(|_| typed)
        });
        let typed = typed.await.context("asking broke off")?.context("cannot read the answer")?;
        if typed.trim() != name {
            bail!("{name} was not deleted");
        }
    }
    admin.delete(name).await.map_err(in_words)?;
    out::print(&format!("deleted {name} on {}\n", admin.location()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_read_and_shown_in_the_same_words() {
        for (text, ms) in
            [("7d", 604_800_000), ("36h", 129_600_000), ("90s", 90_000), ("1500ms", 1_500), ("1m", 60_000)]
        {
            let Retention::For(long) = retention(text).unwrap() else { panic!("{text}") };
            assert_eq!((long.as_millis() as i64, time(ms)), (ms, text.to_owned()));
        }
        assert_eq!(retention("1w").unwrap(), retention("7d").unwrap());
        assert_eq!((retention("forever").unwrap(), time(-1)), (Retention::Forever, "forever".to_owned()));
        assert!(retention("7").unwrap_err().contains("7d"));
    }

    #[test]
    fn settings_are_read() {
        assert_eq!(setting("a.b=c=d").unwrap(), ("a.b".to_owned(), Some("c=d".to_owned())));
        assert_eq!(setting("a.b=").unwrap(), ("a.b".to_owned(), None));
        for text in ["a.b", "=c", ""] {
            assert!(setting(text).unwrap_err().contains("KEY=VALUE"), "{text}");
        }
        let settings = |compact, delete| {
            let retention = Some(Retention::Forever);
            Settings { retention, compact, delete, set: vec![("x".to_owned(), None)] }.all()
        };
        let expected = |policy: &str| {
            let all = [(CLEANUP, Some(policy)), (RETENTION, Some("-1")), ("x", None)];
            all.map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).into()
        };
        assert_eq!(settings(true, false), expected("compact"));
        assert_eq!(settings(true, true), expected("compact,delete"));
        assert_eq!(settings(false, true), expected("delete"));
        assert_eq!(settings(false, false).len(), 2);
    }

    #[test]
    fn what_is_kept_is_told_in_a_word() {
        let topic = |replication, retention_ms, cleanup: Option<&str>| TopicLine {
            name: "t".to_owned(),
            partitions: 1,
            replication,
            records: None,
            bytes: None,
            retention_ms,
            cleanup: cleanup.map(str::to_owned),
        };
        for (line, expected) in [
            (topic(None, None, None), "forever"),
            (topic(Some(1), None, None), "–"),
            (topic(Some(1), Some(604_800_000), Some("delete")), "7d"),
            (topic(Some(1), Some(604_800_000), Some("compact")), "compact"),
            (topic(Some(1), Some(3_600_000), Some("compact,delete")), "compact,delete 1h"),
        ] {
            assert_eq!(kept(&line), expected);
        }
    }
}
