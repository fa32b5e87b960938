//! `freshet watch`: a console consumer over one or several topics, with live figures and alerts.
//!
//! The reading is [`crate::consume::watch`]; here are the flags, what is printed, and what is done about it. The loop runs on
//! one blocking thread in [`session`], the alerts' deeds beside it in [`act`].

mod act;
mod alert;
mod analysis;
mod print;
mod session;

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context;
use clap::error::ErrorKind;
use clap::{CommandFactory, builder::NonEmptyStringValueParser};
use owo_colors::OwoColorize;

use self::act::{Actor, Deeds, Webhook};
use self::alert::Expression;
use self::print::Format;
use self::session::{End, Session};
use super::out;
use crate::capture::kafka_link;
use crate::config::{BrokerKind, Config};
use crate::consume::watch::{self, Start, WatchError, Wish, duration};
use crate::shutdown::{self, Interrupted};

/// Repetitions of an alert that goes by the rate are told so long after each other, unless --cooldown says otherwise.
const RATE_COOLDOWN: Duration = Duration::from_secs(10);

/// Prints the records of topics as they come: partition, offset, key, value, time; with live figures and alerts.
///
/// Without --group it joins no group and commits nothing, so that it disturbs nobody, least of all the engine.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{ABOUT_ALERTS}"))]
pub(super) struct Args {
    /// Topics to watch; broker.topic by default.
    #[arg(value_name = "TOPIC", value_parser = NonEmptyStringValueParser::new())]
    topics: Vec<String>,
    /// Where to start: beginning, latest, offset:17, offset:-10 (the last 10 of each partition), time:2026-11-26T10:00:00Z,
    /// "time:2026-11-26 10:00" (of this machine's time zone), last:1h.
    #[arg(long, value_name = "START", default_value = "latest", visible_alias = "since")]
    from: Start,
    /// Ends after so many records.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Ends where the topics end at the start.
    #[arg(long)]
    until_end: bool,
    /// Joins this consumer group and commits what was printed; it goes on where the group has left off, and --from is for
    /// where it has not been yet.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,
    /// Only this partition.
    #[arg(long, value_name = "N", conflicts_with = "group", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// What is printed of a record.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Prints no records, only alerts.
    #[arg(long, short)]
    quiet: bool,
    /// Field of a JSON message that is its value for --rolling-mean, --words and "value" in an alert.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// The mean of the last N values; until there are N, the values themselves.
    #[arg(long, value_name = "N", conflicts_with = "words")]
    rolling_mean: Option<NonZeroUsize>,
    /// Number of words of each message, and of all at the end.
    #[arg(long)]
    words: bool,
    /// Alerts on records that meet this; may be repeated.
    #[arg(long = "alert", value_name = "EXPR")]
    alerts: Vec<Expression>,
    /// An alert of the same expression is told again only so long after the last one, by the log's time [default: 10s for
    /// those that go by the rate, else 0s].
    #[arg(long, value_name = "TIME", value_parser = cooldown, requires = "alerts")]
    cooldown: Option<Duration>,
    /// Runs this shell command for each alert that is told, with the record as JSON on stdin, and `FRESHET_ALERT`,
    /// `FRESHET_TOPIC`, `FRESHET_PARTITION`, `FRESHET_OFFSET`, `FRESHET_KEY` in its environment.
    #[arg(long, value_name = "CMD", requires = "alerts")]
    exec: Option<String>,
    /// Posts the record as JSON to this URL for each alert that is told.
    #[arg(long, value_name = "URL", requires = "alerts")]
    webhook: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  freshet watch
  freshet watch ratings clicks --from last:1h
  freshet watch sentences --words --alert 'words > 6'
  freshet watch numbers --from beginning --rolling-mean 3 --format value
  freshet watch --alert 'rating <= 1' --alert 'rate > 100/s' --exec 'mail -s \"$FRESHET_ALERT\" me'
  freshet watch --from beginning --until-end --format ndjson | jq .value";

const ABOUT_ALERTS: &str = "\
Alerts are expressions of the Common Expression Language: ==, <, &&, ||, !, in, value.contains(\"x\"), value.matches(\"x+\").
Their names are the fields of a JSON message and, unless it has a field of that name:
  value      the message as a number, or its text; of --field, where that is given
  words      number of words of its text
  rate       events a second over the last 5 seconds, by the log's timestamps, of all that is watched; 100/s, 5/min, 20/h
  mean       the rolling mean, with --rolling-mean
  key, topic, partition, offset, timestamp (milliseconds)
What a message lacks is not met, and is no error.";

fn cooldown(text: &str) -> Result<Duration, String> {
    if text == "0" || text == "0s" { Ok(Duration::ZERO) } else { duration(text) }
}

/// Runs `freshet watch`.
///
/// # Errors
/// If the log cannot be reached, a topic is not there or goes, stdout cannot be written, and [`Interrupted`] after a signal
/// if an end was asked for.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let deeds = check(&args, config).unwrap_or_else(|problem| {
        super::Cli::command().error(ErrorKind::ValueValidation, problem).exit();
    });
    let stop = shutdown::on_signals();
    let topics = if args.topics.is_empty() { vec![config.broker.topic.clone()] } else { args.topics.clone() };
    let wish = Wish {
        topics: unique(topics),
        start: args.from,
        partition: args.partition,
        group: args.group.clone(),
        until_end: args.until_end,
    };
    let opened = tokio::select! {
        opened = watch::open(config, wish.clone()) => opened,
        () = stop.cancelled() => return Err(Interrupted { done: "nothing was read yet".to_owned() }.into()),
    };
    let watcher = opened.map_err(in_words)?;
    out::tell(&greeting(&wish, watcher.partitions(), config).dimmed().to_string());
    let actor = (deeds.exec.is_some() || deeds.webhook.is_some()).then(|| Actor::start(&deeds));
    let has_end = args.limit.is_some() || args.until_end;
    let session = Session::new(args, actor);
    let running = tokio::task::spawn_blocking(move || session.run(watcher, &stop));
    let (mut summary, actor, ended) = running.await.context("the watching broke off")?;
    if let Some(actor) = actor {
        summary.push(format!("alerts: {}", actor.finish().await));
    }
    for line in summary {
        out::tell(&line);
    }
    match ended? {
        End::Interrupted if has_end => {
            Err(Interrupted { done: "the end that was asked for has not come".to_owned() }.into())
        }
        End::Interrupted | End::Done => Ok(()),
    }
}

/// What cannot be checked flag by flag, or must not be repeated by an error as a URL.
fn check(args: &Args, config: &Config) -> Result<Deeds, String> {
    let engine = config.broker.properties.get("group.id").unwrap_or(&config.broker.group);
    if args.group.as_ref().is_some_and(|group| group == engine || *group == config.broker.group) {
        return Err(format!(
            "{engine:?} is the engine's group (broker.group), which watching would disturb; name another --group"
        ));
    }
    if args.rolling_mean.is_none() && args.alerts.iter().any(|alert| alert.uses("mean")) {
        return Err("an --alert that goes by the mean needs --rolling-mean N".to_owned());
    }
    if args.group.is_some() && args.until_end && args.topics.len() > 1 && config.broker.kind == BrokerKind::Kafka {
        return Err(
            "--until-end in a group is for one topic; leave out --group, or watch one topic at a time".to_owned()
        );
    }
    let webhook = args.webhook.as_deref().map(str::parse::<Webhook>).transpose();
    Ok(Deeds { exec: args.exec.clone(), webhook: webhook.map_err(|problem| format!("--webhook: {problem}"))? })
}

/// Each topic once, in the order in which they were named.
fn unique(topics: Vec<String>) -> Vec<String> {
    let mut once: Vec<String> = Vec::with_capacity(topics.len());
    for topic in topics {
        if !once.contains(&topic) {
            once.push(topic);
        }
    }
    once
}

fn greeting(wish: &Wish, partitions: usize, config: &Config) -> String {
    let at = match config.broker.kind {
        BrokerKind::Kafka => format!("kafka at {}", kafka_link::brokers(&config.broker)),
        BrokerKind::Embedded => format!("the embedded log in {}", config.store.data_dir.display()),
    };
    let (topics, end) = (wish.topics.join(", "), if wish.until_end { "until its end" } else { "until Ctrl-C" });
    match &wish.group {
        Some(group) => format!("watching {topics} on {at} in group {group}, {end}"),
        None if partitions == 1 => format!("watching {topics} on {at}, {end}"),
        None => format!("watching {topics} on {at}, {partitions} partitions, {end}"),
    }
}

/// The log's own error, so that the exit code is known by its type.
fn in_words(error: WatchError) -> anyhow::Error {
    match error {
        WatchError::Log(error) => error.into(),
        other => other.into(),
    }
}
