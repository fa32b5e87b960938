//! Several trainers that share the users, and servers that follow all of them, as processes on Kafka and MongoDB: what they
//! have learned of items comes together, each shard is learned again bit for bit, and every one of them may die.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};

use crate::program::{Engine, Freshet};
use crate::support::{self, Kafka, kafka};

const TRAINERS: usize = 2;

/// Partitions of the events: more than trainers.
const PARTITIONS: i32 = 4;

struct Cluster {
    settings: Vec<String>,
    trainers: Vec<Freshet>,
    shared_topic: String,
    /// Events that were sent.
    sent: u64,
}

impl Cluster {
    /// None where there is no real Kafka.
    fn new() -> Option<Self> {
        if kafka::is_mock() { None } else { Some(Self::on(support::kafka())) }
    }

    fn on(kafka: &str) -> Self {
        let shared_topic = support::unique("shared");
        let settings = vec![
            "broker.kind=kafka".to_owned(),
            format!("broker.servers={kafka}"),
            format!("broker.topic={}", support::unique("trainers")),
            format!("broker.group={}", support::unique("trainers")),
            format!("broker.partitions={PARTITIONS}"),
            format!("broker.model_topic={}", support::unique("model")),
            format!("broker.shared_topic={shared_topic}"),
            "store.kind=mongodb".to_owned(),
            format!("store.uri={}", support::mongodb()),
            format!("store.database={}", support::unique("trainers")),
            "store.snapshot_every=700".to_owned(),
            "serve.max_wait=30s".to_owned(),
            format!("engine.shards={TRAINERS}"),
            "learn.rating=biased-mf".to_owned(),
            "learn.ranking=popularity".to_owned(),
        ];
        let trainer = |shard: usize| {
            let mut trainer = Freshet::new(&settings);
            trainer.set(&format!("engine.shard={shard}"));
            trainer
        };
        let trainers = (0..TRAINERS).map(trainer).collect();
        Self { settings, trainers, shared_topic, sent: 0 }
    }

    fn train(&self, shard: usize) -> Engine {
        self.trainers[shard].start_with(&["--role", "trainer"])
    }

    fn serve(&self) -> (Freshet, Engine) {
        let folder = Freshet::new(&self.settings);
        let server = folder.start_with(&["--role", "server"]);
        (folder, server)
    }

    /// Sends so many events of the sample, the same ones each time.
    fn replay(&mut self, events: u64) {
        self.trainers[0].must(&["replay", "sample", "--limit", &events.to_string()]);
        self.sent += events;
    }

    /// Waits until all that was sent is learned, and each trainer has what the other has added.
    fn settle(&self, trainers: &mut [Engine]) {
        let [one, other] = &mut *trainers else { panic!("there are two") };
        // Each event is one trainer's, and the lag is asked for once a second.
        one.wait("/readyz", &format!("of {} events each is learned by one trainer", self.sent), |ready| {
            let durable = |ready: &Value| ready["durable_seq"].as_u64().unwrap_or_default();
            ready["ready"] == true && durable(ready) + durable(&other.get("/readyz").1) == self.sent
        });
        for trainer in &mut *trainers {
            trainer.wait("/readyz", "the other one speaks", |ready| {
                ready["troubles"] == json!([]) && ready["trainers"][0]["stale_ms"].as_i64() < Some(3_000)
            });
        }
        let [one, other] = trainers else { panic!("there are two") };
        for item in one.json("/popular?n=3")["items"].as_array().unwrap() {
            let path = format!("/similar/{}?n=1000", item["id"].as_str().unwrap());
            let mut theirs = BTreeMap::new();
            one.wait(&path, "items are as like to it as at the other trainer", |answer| {
                theirs = scores(&other.get(&path).1);
                let ours = scores(answer);
                // Each lists those that its own users liked.
                let both: Vec<_> = ours.iter().filter_map(|(item, ours)| Some((ours, theirs.get(item)?))).collect();
                both.len() > 20 && both.iter().all(|(ours, theirs)| ours == theirs)
            });
        }
    }
}

/// Scores of an answer, bit for bit as they are written.
fn scores(answer: &Value) -> BTreeMap<String, String> {
    let items = answer["items"].as_array().into_iter().flatten();
    items.map(|item| (item["id"].as_str().unwrap().to_owned(), item["score"].to_string())).collect()
}

/// Deletes all records that a topic of one partition has by now.
fn cut(servers: &str, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = kafka::client_config(servers).create().unwrap();
    let mut ends = TopicPartitionList::new();
    ends.add_partition_offset(topic, 0, Offset::End).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cut = runtime.block_on(admin.delete_records(&ends, &AdminOptions::new())).unwrap();
    cut.elements().iter().for_each(|partition| partition.error().unwrap());
}

/// Users of the sample, by the trainer that learns them.
fn users(trainers: &[Engine]) -> Vec<Vec<String>> {
    let known = |trainer: &Engine| {
        let listed = trainer.json("/users?n=200");
        let users = listed["users"].as_array().unwrap_or_else(|| panic!("{listed}"));
        // The data set tells of users whom no event has come of yet.
        let learned = |user: &&str| trainer.json(&format!("/recommend/{user}?n=1"))["cold"] == false;
        let users = users.iter().filter_map(|user| user["id"].as_str()).filter(learned);
        users.map(str::to_owned).collect::<Vec<_>>()
    };
    trainers.iter().map(known).collect()
}

/// Whether a server answers every user as the user's trainer does, once it has followed both.
fn assert_follows(trainers: &[Engine], server: &mut Engine) {
    let users = users(trainers);
    assert!(users.iter().all(|users| users.len() > 5), "{users:?}");
    for ((shard, trainer), users) in trainers.iter().enumerate().zip(&users) {
        let stamp = trainer.json("/recommend/nobody")["model"].clone();
        let nobody = format!("/recommend/nobody?shard={shard}");
        server.wait(&nobody, &format!("it is answered from {stamp}"), |answer| answer["model"] == stamp);
        for user in users {
            for path in [format!("/recommend/{user}?n=50"), format!("/estimate/{user}/1,2,3,50")] {
                // Titles come by another way, and each looks for them once in a while.
                server.wait(&path, &format!("what trainer {shard} says"), |answer| *answer == trainer.get(&path).1);
            }
        }
    }
}

#[test]
fn two_trainers_learn_items_together_and_two_servers_follow_them_through_every_death() {
    let Some(mut cluster) = Cluster::new() else { return };
    let first = cluster.train(0);
    let mut trainers = vec![first, cluster.train(1)];
    cluster.replay(2_000);
    cluster.settle(&mut trainers);
    let (mut servers, folders): (Vec<Engine>, Vec<Freshet>) =
        [cluster.serve(), cluster.serve()].into_iter().map(|(folder, server)| (server, folder)).unzip();
    for server in &mut servers {
        assert_follows(&trainers, server);
    }

    // What is sent to a server is learned by the trainer whose user it is, and can be waited for here.
    let event = json!({"user": "somebody", "item": "50", "rating": 5.0}).to_string();
    let (status, sent) = servers[1].send("POST", "/events", "application/json", &event);
    assert_eq!(status, 200, "{sent}");
    cluster.sent += 1;
    let token = sent["token"].as_str().unwrap();
    let answer = servers[0].json(&format!("/recommend/somebody?token={token}"));
    assert_eq!(answer["cold"], false, "{answer}");

    for at in 0..2 {
        servers.remove(at).kill();
        cluster.replay(200);
        cluster.settle(&mut trainers);
        servers.insert(at, folders[at].start_with(&["--role", "server"]));
        assert_follows(&trainers, &mut servers[at]);
    }

    for shard in 0..TRAINERS {
        // Between two exchanges, as like as not.
        trainers.remove(shard).kill();
        let other = &mut trainers[0];
        other.wait("/readyz", "the other one says nothing", |ready| {
            ready["learning"] == true
                && ready["troubles"][0]["reason"].as_str().is_some_and(|reason| reason.contains("has said nothing"))
        });
        for server in &servers {
            assert_eq!(server.get("/recommend/1").0, 200, "the last view answers");
        }
        cluster.replay(400);
        trainers.insert(shard, cluster.train(shard));
        cluster.settle(&mut trainers);
        for server in &mut servers {
            assert_follows(&trainers, server);
        }
    }

    for server in servers {
        server.stop().succeeded();
    }
    for trainer in trainers {
        trainer.stop().succeeded();
    }
    for trainer in &cluster.trainers {
        let table = trainer.must(&["verify"]);
        assert!(table.contains("all agrees"), "{table}");
    }
}

#[test]
fn a_topic_that_is_lost_is_told_again_and_who_does_not_fit_is_refused() {
    let Some(mut kafka) = Kafka::start() else { return };
    let mut cluster = Cluster::on(&kafka.servers());
    let first = cluster.train(0);
    let mut trainers = vec![first, cluster.train(1)];
    cluster.replay(1_000);
    cluster.settle(&mut trainers);
    cluster.trainers[0].must(&["topics", "delete", &cluster.shared_topic, "--yes"]);
    cluster.replay(300);
    cluster.settle(&mut trainers);

    // All is on the new topic: a store that begins anew has it too.
    trainers.remove(1).stop().succeeded();
    cluster.trainers[1].set(&format!("store.database={}", support::unique("trainers")));
    trainers.insert(1, cluster.train(1));
    cluster.settle(&mut trainers);

    // Cut off, with the rows that were told before: who told them is asked for them.
    cluster.trainers[0].must(&["topics", "alter", &cluster.shared_topic, "--compact", "--delete"]);
    cut(&kafka.servers(), &cluster.shared_topic);
    trainers.remove(1).stop().succeeded();
    cluster.trainers[1].set(&format!("store.database={}", support::unique("trainers")));
    trainers.insert(1, cluster.train(1));
    cluster.settle(&mut trainers);

    kafka.kill();
    trainers[0].wait("/readyz", "kafka is away", |ready| ready["troubles"].as_array().is_some_and(|all| all.len() > 1));
    kafka.restart();
    cluster.replay(100);
    cluster.settle(&mut trainers);

    let other = |settings: &[&str]| {
        let mut folder = Freshet::new(&cluster.settings);
        for setting in settings {
            folder.set(setting);
        }
        folder.set(&format!("store.database={}", support::unique("trainers")));
        folder
    };
    other(&["engine.shard=1", "biased_mf.factors=16"]).run(&["run", "--role", "trainer"]).exited(3).told(&[
        "trainer 0",
        "learns under other parameters",
        "--set biased_mf.factors=32",
        &cluster.shared_topic,
    ]);
    other(&["engine.shard=1", "engine.shards=3"])
        .run(&["run", "--role", "trainer"])
        .exited(3)
        .told(&["engine.shards=2"]);
    for trainer in trainers {
        trainer.stop().succeeded();
    }
}

#[test]
fn what_cannot_be_shared_is_refused_with_the_way_out() {
    let Some(cluster) = Cluster::new() else { return };
    let refused = |settings: &[&str]| {
        let mut folder = Freshet::new(&cluster.settings);
        for setting in settings {
            folder.set(setting);
        }
        folder.run(&["run", "--role", "trainer"]).exited(2)
    };
    refused(&["engine.shard=2"]).told(&["engine.shard", "below engine.shards"]);
    refused(&["learn.rating=bayesian-mf"]).told(&["learn.rating", "must add up"]);
    refused(&["learn.ranking=blend"]).told(&["learn.ranking", "\"popularity\""]);
    refused(&["store.kind=embedded"]).told(&["engine.shards", "store.kind"]);
    refused(&[&format!("broker.shared_topic={}", cluster.settings[2].split_once('=').unwrap().1)])
        .told(&["broker.shared_topic", "another topic"]);
    Freshet::new(&cluster.settings).run(&["run"]).exited(2).told(&["engine.role", "\"trainer\" or \"server\""]);
    let mut alone = Freshet::new(&cluster.settings);
    alone.set(&format!("broker.topic={}", support::topic("trainers", 1)));
    alone.set("engine.shard=1");
    alone.run(&["run", "--role", "trainer"]).exited(3).told(&["has 1 partitions", "--partitions 2"]);
}
