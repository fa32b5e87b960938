//! `freshet groups`: consumer groups with their members, what they read, and how far behind they are.

use std::fmt::Write as _;

use clap::Subcommand;
use indicatif::HumanCount;
use serde_json::json;

use super::out;
use super::topics::in_words;
use crate::config::{BrokerKind, Config};
use crate::consume::admin::{Admin, GroupDetail, GroupPartition, Member};

/// Lists and describes consumer groups.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  freshet groups list\n  freshet groups describe freshet")]
pub(super) struct Args {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    /// Lists consumer groups: state and number of members.
    #[command(after_help = "Examples:\n  freshet groups list\n  freshet groups list --json | jq -r '.groups[].name'")]
    List {
        /// Prints them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Describes a consumer group: its members, what they read, and how far each partition is behind its end.
    #[command(
        after_help = "Examples:\n  freshet groups describe freshet\n  freshet groups describe freshet --json | jq \
                            '[.partitions[].lag] | add'"
    )]
    Describe {
        /// Name of the group; the engine's (broker.group) by default.
        name: Option<String>,
        /// Prints it as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs `freshet groups`.
///
/// # Errors
/// If the log cannot be reached, or the group is not there.
pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<()> {
    let admin = Admin::new(config);
    match &args.command {
        GroupsCommand::List { json } => list(&admin, *json).await,
        GroupsCommand::Describe { name, json } => {
            let engine = config.broker.properties.get("group.id").unwrap_or(&config.broker.group);
            let name = name.as_ref().unwrap_or(engine);
            let group = admin.group(name).await.map_err(in_words)?;
            if *json {
                return out::print_json(&group);
            }
            out::print(&described(&group, name == engine, config.broker.kind))
        }
    }
}

async fn list(admin: &Admin, json: bool) -> anyhow::Result<()> {
    let groups = admin.groups().await.map_err(in_words)?;
    if json {
        return out::print_json(&json!({ "groups": groups }));
    }
    if groups.is_empty() {
        return out::print(&format!("no group on {}\n", admin.location()));
    }
    let mut table = out::table(&["group", "state", "members"]);
    table.add_rows(groups.iter().map(|group| {
        let members = group.members.map_or_else(dash, |members| members.to_string());
        [group.name.clone(), group.state.clone().unwrap_or_else(dash), members]
    }));
    out::print(&format!("{table}\n"))
}

fn dash() -> String {
    "–".to_owned()
}

fn described(group: &GroupDetail, is_engine: bool, kind: BrokerKind) -> String {
    let mut about = out::table(&["group", &group.line.name]);
    about.add_row(["state".to_owned(), group.line.state.clone().unwrap_or_else(dash)]);
    if let Some(strategy) = &group.strategy {
        about.add_row(["shared out by", strategy]);
    }
    let lag: i64 = group.partitions.iter().filter_map(|partition| partition.lag).sum();
    about.add_row(["lag".to_owned(), HumanCount(lag.unsigned_abs()).to_string()]);
    let mut text = format!("{about}\n");
    if !group.member_list.is_empty() {
        let mut members = out::table(&["member", "host", "reads", "id"]);
        members.add_rows(group.member_list.iter().map(member_row));
        let _ = writeln!(text, "\n{members}");
    }
    if !group.partitions.is_empty() {
        let mut partitions = out::table(&["topic", "partition", "committed", "end", "lag", "read by"]);
        partitions.add_rows(group.partitions.iter().map(partition_row));
        let _ = writeln!(text, "\n{partitions}");
    }
    if kind == BrokerKind::Kafka && group.line.state.as_deref() == Some("Dead") {
        text += "\nIts members are of Kafka's newer group protocol, which is asked for otherwise; what is committed is shown.\n";
    }
    if is_engine {
        text += "\nThis is the engine's group. Where it goes on is in its store; what is committed here is for tools that show \
                 lag, and may be a little behind.\n";
    }
    text
}

fn member_row(member: &Member) -> [String; 4] {
    let reads = match &member.assignment {
        None => "?".to_owned(),
        Some(assignment) if assignment.is_empty() => dash(),
        Some(assignment) => {
            let topic = |(topic, partitions): (&String, &Vec<i32>)| {
                let numbers: Vec<_> = partitions.iter().map(ToString::to_string).collect();
                format!("{topic} [{}]", numbers.join(" "))
            };
            assignment.iter().map(topic).collect::<Vec<_>>().join(", ")
        }
    };
    [member.client_id.clone(), member.host.clone(), reads, member.id.clone()]
}

fn partition_row(partition: &GroupPartition) -> [String; 6] {
    let number = |number: Option<i64>| number.map_or_else(dash, |number| number.to_string());
    [
        partition.topic.clone(),
        partition.partition.to_string(),
        number(partition.committed),
        number(partition.end),
        number(partition.lag),
        partition.member.clone().unwrap_or_else(dash),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consume::admin::GroupLine;

    #[test]
    fn a_group_is_described_with_members_and_lag() {
        let assignment = Some([("ratings".to_owned(), vec![0, 2])].into());
        let member = Member { id: "m-1".into(), client_id: "freshet".into(), host: "10.0.0.7".into(), assignment };
        let partition = |partition, committed: Option<i64>| GroupPartition {
            topic: "ratings".into(),
            partition,
            committed,
            end: Some(12),
            lag: committed.map(|committed| 12 - committed),
            member: None,
        };
        let group = GroupDetail {
            line: GroupLine { name: "freshet".into(), state: Some("Stable".into()), members: Some(1) },
            strategy: Some("cooperative-sticky".into()),
            member_list: vec![member],
            partitions: vec![partition(0, Some(7)), partition(2, None)],
        };
        let text = described(&group, true, BrokerKind::Kafka);
        for part in ["Stable", "cooperative-sticky", "ratings [0 2]", "10.0.0.7", "the engine's group"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let row = |line: &[String; 6]| line.join(" ");
        assert_eq!(row(&partition_row(&group.partitions[0])), "ratings 0 7 12 5 –");
        assert_eq!(row(&partition_row(&group.partitions[1])), "ratings 2 – 12 – –");
    }
}
