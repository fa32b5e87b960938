//! `freshet soak`: whether a service bears a load, on the settings that it is to run with.
//!
//! The load is in [`load`], what is asked of the service in [`client`], and the verdict in [`report`].

mod client;
mod load;
mod memory;
mod report;

use std::time::Duration;

use anyhow::{bail, ensure};
use tokio_util::sync::CancellationToken;

use self::client::Client;
use self::load::Load;
use self::report::{Report, Seen};
use super::run::Service;
use super::{demo, out};
use crate::capture::endless::Population;
use crate::capture::pace::Rate;
use crate::capture::producer;
use crate::config::{BrokerKind, Config, StoreKind};
use crate::consume::watch::duration;
use crate::shutdown::{self, Interrupted};

const EXAMPLES: &str = "\
Examples:
  freshet soak
  freshet soak --duration 1h --rate 5000/s --preset speed
  freshet soak --duration 10m --set broker.kind=kafka --set store.kind=mongodb
  freshet soak --url http://localhost:8080 --json | jq .passed";

const MORE: &str = "\
It has failed, with exit code 1, unless all of these hold:
- at least 99 % of the events and of the reads that --rate and --reads ask for were sent;
- no error: no answer with a status of 400 or more or none at all, no event that the log refused, no trouble of the engine;
- 10 s after the last event the lag is 0, and every event that the log has acknowledged is durable;
- memory is flat: the line through the resident memory of the last two thirds of the time grows by at most --growth in an \
hour. It is judged where it is 5 minutes long or more.

The events are made up and the same for the same --seed. Each user has his own 20 items, some of which are far more liked than \
others, and rates them again and again, some users more often than others. The first events bring in each user with each of his \
items (10,000 users at 1,000/s take 200 s, 100,000 at 5,000/s 400 s): memory is judged from there on, when nothing is new any more.

Without --url it starts the service itself, and keeps off what is there: the embedded log and store are in the folder soak below \
store.data_dir, on Kafka topic and group, and in MongoDB the database, are those of the settings with \"-soak\" behind their \
names. Run it again and it goes on with what it has stored. With --url the events go to the log of the settings, and THE SERVICE \
THERE LEARNS THEM: their users and items are named soak-0, soak-1 and so on. Reads are sent with the first of serve.read_keys or \
serve.admin_keys.";

/// Loads a service with events and reads, and tells whether it bears them: no error, no lag, flat memory.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES, after_long_help = format!("{MORE}\n\n{EXAMPLES}"))]
pub(super) struct Args {
    /// How long events are sent: 90s, 10m, 1h30m.
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    duration: Duration,
    /// Events a second.
    #[arg(long, value_name = "N/s", default_value = "1000/s")]
    rate: Rate,
    /// Questions for recommendations a second, each for one user.
    #[arg(long, value_name = "N/s", default_value = "100/s")]
    reads: Rate,
    /// Users that there are.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    users: u32,
    /// Items that there are.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..))]
    items: u32,
    /// Seed of the events and of the reads.
    #[arg(long, value_name = "N", default_value_t = 42)]
    seed: u64,
    /// Most that memory may grow in an hour, in percent.
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = percent)]
    growth: f64,
    /// Loads the service that runs at this address, instead of one in this process. See --help.
    #[arg(long)]
    url: Option<String>,
    /// Deletes the soak's own embedded log and store first.
    #[arg(long, conflicts_with = "url")]
    fresh: bool,
    /// Port that HTTP is served on; short for --set serve.port=PORT.
    #[arg(long, conflicts_with = "url")]
    port: Option<u16>,
    /// Prints the figures and the verdict as JSON.
    #[arg(long)]
    json: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse().ok();
    let number = number.filter(|number: &f64| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| format!("{text:?} is no percentage of 0 or more; write it as 10% or 10"))
}

impl Args {
    /// Events that are to be sent in all.
    fn events(&self) -> u64 {
        (self.rate.per_second() * self.duration.as_secs_f64()) as u64
    }

    /// The settings of the service in this process, apart from what is there.
    fn apart(&self, config: &Config) -> Config {
        let mut config = config.clone();
        config.serve.port = self.port.unwrap_or(config.serve.port);
        config.store.data_dir.push("soak");
        config.store.database.push_str("-soak");
        config.broker.topic.push_str("-soak");
        config.broker.group.push_str("-soak");
        config.topics.clear();
        config
    }
}

/// Runs `freshet soak`.
///
/// # Errors
/// If the service does not start or answer, the log cannot be written, or the service does not bear the load; and
/// [`Interrupted`] after a signal.
pub(super) async fn run(args: Args, config: &Config) -> anyhow::Result<()> {
    let stop = shutdown::on_signals();
    let scale = (config.decode.min_rating, config.decode.max_rating);
    let population = Population { users: args.users, items: args.items, scale };
    let seen = match &args.url {
        Some(url) => {
            let client = Client::new(url, &config.serve, false);
            let mut load = Load::new(&args, population, client).await?;
            out::tell(&format!("events go to {}, topic {}", producer::location(config), config.broker.topic));
            load.run(config, || false, &stop).await?
        }
        None => within(&args, population, &args.apart(config), &stop).await?,
    };
    tell(&args, &seen.report())
}

/// Loads a service in this process.
async fn within(
    args: &Args,
    population: Population,
    config: &Config,
    stop: &CancellationToken,
) -> anyhow::Result<Seen> {
    if args.fresh {
        let embedded = config.broker.kind == BrokerKind::Embedded && config.store.kind == StoreKind::Embedded;
        ensure!(
            embedded,
            "--fresh deletes an embedded log and store, and these settings have others: delete topic {:?} (freshet topics \
             delete) and database {:?} yourself",
            config.broker.topic,
            config.store.database
        );
        demo::delete(&config.store.data_dir)?;
    }
    let interrupted = || Interrupted { done: "nothing was sent".to_owned() };
    // A token of its own, so that a signal ends the load first and the service is still there for the last look.
    let own = CancellationToken::new();
    let service = tokio::select! {
        service = Service::start(config, None, &own) => service?.ok_or_else(interrupted)?,
        () = stop.cancelled() => return Err(interrupted().into()),
    };
    tokio::select! {
        running = demo::until_running(&service) => if let Err(error) = running {
            return Err(service.ended().await.err().unwrap_or(error));
        },
        () = stop.cancelled() => {
            own.cancel();
            service.ended().await?;
            return Err(interrupted().into());
        }
    }
    out::tell(&format!("serving on {}; its log is {}", service.url, producer::location(config)));
    let client = Client::new(&service.url, &config.serve, true);
    let seen = async { Load::new(args, population, client).await?.run(config, || service.is_over(), stop).await }.await;
    own.cancel();
    let ended = service.ended().await;
    let mut seen = seen?;
    if let Err(error) = ended {
        seen.errors += 1;
        seen.told.push(format!("{error:#}"));
    }
    Ok(seen)
}

fn tell(args: &Args, report: &Report) -> anyhow::Result<()> {
    if args.json {
        out::print_json(report)?;
    } else {
        out::print(&report.table())?;
    }
    match report.failures() {
        _ if report.is_interrupted() => Err(Interrupted { done: report.done() }.into()),
        failures if !failures.is_empty() => bail!("the soak has failed: {}", failures.join("; ")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::endless::REPERTOIRE;

    #[test]
    fn growth_is_a_percentage() {
        assert_eq!((percent("10%"), percent("0"), percent("2.5 %")), (Ok(10.0), Ok(0.0), Ok(2.5)));
        for bad in ["", "-1%", "ten", "inf"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_help_tells_how_many_items_a_user_has() {
        assert!(MORE.contains(&format!("his own {REPERTOIRE} items")));
    }
}
