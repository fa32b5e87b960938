//! One trainer and several servers as processes, on Kafka and MongoDB: servers answer as the trainer does, bit for bit,
//! and come through the death of each of them, and of the topic between them.

use std::time::Duration;

use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use crate::program::{Engine, Freshet};
use crate::residency::figure;
use crate::support::{self, Kafka, kafka};

/// Users of the sample, and one who is not known.
const USERS: [&str; 5] = ["1", "2", "3", "17", "nobody"];

/// A cluster of its own names, and the processes on it.
struct Cluster {
    settings: Vec<String>,
    model_topic: String,
    trainer: Freshet,
}

impl Cluster {
    /// None where there is no real Kafka.
    fn new() -> Option<Self> {
        if kafka::is_mock() { None } else { Some(Self::on(support::kafka())) }
    }

    fn on(kafka: &str) -> Self {
        let model_topic = support::unique("model");
        let settings = vec![
            "broker.kind=kafka".to_owned(),
            format!("broker.servers={kafka}"),
            format!("broker.topic={}", support::unique("roles")),
            format!("broker.group={}", support::unique("roles")),
            format!("broker.model_topic={model_topic}"),
            "store.kind=mongodb".to_owned(),
            format!("store.uri={}", support::mongodb()),
            format!("store.database={}", support::unique("roles")),
            "serve.max_wait=30s".to_owned(),
        ];
        let mut trainer = Freshet::new(&settings);
        // Servers know nothing of these.
        for setting in
            ["learn.rating=biased-mf", "learn.ranking=item-knn", "gather.size=64", "store.snapshot_every=700"]
        {
            trainer.set(setting);
        }
        Self { settings, model_topic, trainer }
    }

    fn server(&self) -> Freshet {
        Freshet::new(&self.settings)
    }

    fn train(&self) -> Engine {
        self.trainer.start_with(&["--role", "trainer"])
    }

    /// Sends so many events of the sample, the same ones each time.
    fn replay(&self, events: u64) {
        self.trainer.must(&["replay", "sample", "--limit", &events.to_string()]);
    }
}

fn serve(freshet: &Freshet) -> Engine {
    freshet.start_with(&["--role", "server"])
}

/// A header of an answer, and its body.
fn asked(engine: &Engine, path: &str) -> ([String; 2], Value) {
    let mut response = ureq::get(format!("http://{}{path}", engine.address())).call().unwrap();
    let headers =
        ["x-freshet-model", "x-freshet-seq"].map(|name| response.headers()[name].to_str().unwrap().to_owned());
    (headers, serde_json::from_str(&response.body_mut().read_to_string().unwrap()).unwrap())
}

fn age_ms(engine: &Engine) -> u64 {
    let response = ureq::get(format!("http://{}/recommend/1", engine.address())).call().unwrap();
    response.headers()["x-freshet-age-ms"].to_str().unwrap().parse().unwrap()
}

/// Waits until the server is where the trainer is, and compares what they answer.
fn assert_same(trainer: &Engine, server: &mut Engine) {
    let stamp = trainer.json("/recommend/1")["model"].clone();
    server.wait("/recommend/1", &format!("it is answered from {stamp}"), |answer| answer["model"] == stamp);
    for user in USERS {
        for path in
            [format!("/recommend/{user}?n=50"), format!("/estimate/{user}/1,2,3,50"), format!("/similar/{user}")]
        {
            let (status, _) = trainer.get(&path);
            if status == 200 {
                // Titles come by another way, and each looks for them once in a while.
                server.wait(&path, "what the trainer says", |answer| *answer == trainer.get(&path).1);
                assert_eq!(asked(server, &path), asked(trainer, &path), "{path}");
            } else {
                assert_eq!(server.get(&path), trainer.get(&path), "{path}");
            }
        }
    }
    // What was wrong before is only taken back by the next word of the trainer.
    let ready = server.wait("/readyz", "it is not behind, and follows", |ready| {
        ready["behind"]["events"] == 0
            && ready["learning"] == true
            && ready["behind"]["heard_ms"].as_i64() < Some(5_000)
    });
    assert_eq!((&ready["role"], &ready["ready"]), (&json!("server"), &json!(true)));
}

#[test]
fn servers_answer_as_their_trainer_does_and_come_through_every_death() {
    let Some(cluster) = Cluster::new() else { return };
    let mut folders: Vec<Freshet> = (0..3).map(|_| cluster.server()).collect();
    folders[2].set("engine.max_staleness=4s");

    // Before there is anything to follow.
    let early = serve(&folders[0]);
    let (status, ready) = early.get("/readyz");
    assert_eq!((status, &ready["ready"], &ready["role"]), (503, &json!(false), &json!("server")), "{ready}");
    assert!(ready["reason"].as_str().unwrap().contains("no model yet"), "{ready}");
    let (status, problem) = early.get("/recommend/1");
    assert_eq!((status, &problem["code"]), (503, &json!("no_model")), "{problem}");

    let mut trainer = cluster.train();
    cluster.replay(2_000);
    trainer.learned(2_000);
    let mut servers = vec![early, serve(&folders[1]), serve(&folders[2])];
    for server in &mut servers {
        assert_same(&trainer, server);
    }

    // What is sent to a server is learned by the trainer, and the token can be waited for here.
    let event = json!({"user": "somebody", "item": "50", "rating": 5.0}).to_string();
    let (status, sent) = servers[1].send("POST", "/events", "application/json", &event);
    assert_eq!(status, 200, "{sent}");
    let token = sent["token"].as_str().unwrap();
    let answer = servers[1].json(&format!("/recommend/somebody?token={token}"));
    assert_eq!((&answer["cold"], &answer["model"]["seq"]), (&json!(false), &json!(2_001)), "{answer}");

    // Each server in turn.
    let mut seq = 2_001;
    for (at, folder) in folders.iter().enumerate() {
        servers.remove(at).kill();
        cluster.replay(300);
        seq += 300;
        trainer.learned(seq);
        servers.insert(at, serve(folder));
        for server in &mut servers {
            assert_same(&trainer, server);
        }
    }

    // The trainer, between two snapshots.
    cluster.replay(100);
    seq += 100;
    trainer.learned(seq);
    trainer.kill();
    for server in &mut servers {
        server.wait("/readyz", "its trainer says nothing", |ready| {
            ready["learning"] == false && ready["troubles"][0]["part"] == "model"
        });
        let before = age_ms(server);
        std::thread::sleep(Duration::from_millis(300));
        assert!(before > 4_000 && age_ms(server) >= before + 200, "the age grows: {before}");
        assert_eq!(server.get("/recommend/1").0, 200);
    }
    let (status, ready) = servers[2].get("/readyz");
    assert!(status == 503 && ready["reason"].as_str().unwrap().contains("engine.max_staleness"), "{ready}");
    assert_eq!(servers[1].get("/readyz").0, 200);

    let mut trainer = cluster.train();
    cluster.replay(250);
    trainer.learned(seq + 250);
    for server in &mut servers {
        assert_same(&trainer, server);
    }
    assert!(age_ms(&servers[0]) < 3_000);

    // Servers have not claimed the store.
    trainer.stop().succeeded();
    let newest = cluster.trainer.newest_snapshot();
    assert_eq!((&newest["epoch"], &newest["_id"]), (&json!(2), &json!(seq + 250)), "{newest}");
    for server in servers {
        assert_eq!(server.json("/recommend/1")["model"]["seq"], seq + 250);
        server.stop().succeeded();
    }
}

#[test]
fn servers_are_told_all_of_a_model_whose_idle_users_are_in_the_store() {
    let Some(mut cluster) = Cluster::new() else { return };
    cluster.trainer.set("engine.user_bytes=30000");
    let mut trainer = cluster.train();
    let mut server = serve(&cluster.server());
    cluster.replay(3_000);
    trainer.learned(3_000);
    assert!(figure(&trainer, "freshet_users_forgotten_total") > 0.0);
    assert_same(&trainer, &mut server);
    trainer.kill();
    let mut trainer = cluster.train();
    cluster.replay(500);
    trainer.learned(3_500);
    assert!(figure(&trainer, "freshet_users_recalled_total") > 0.0);
    assert_same(&trainer, &mut server);
    trainer.stop().succeeded();
    assert!(cluster.trainer.must(&["verify"]).contains("all agrees"));
}

#[test]
fn a_topic_that_is_lost_and_a_trainer_of_another_version_are_told_and_overcome() {
    let Some(cluster) = Cluster::new() else { return };
    let mut trainer = cluster.train();
    cluster.replay(800);
    trainer.learned(800);
    let folder = cluster.server();
    let mut server = serve(&folder);
    assert_same(&trainer, &mut server);
    let settings: Value =
        serde_json::from_str(&folder.must(&["topics", "describe", &cluster.model_topic, "--json"])).unwrap();
    assert_eq!((&settings["cleanup"], &settings["partitions"]), (&json!("compact"), &json!(1)), "{settings}");

    folder.must(&["topics", "delete", &cluster.model_topic, "--yes"]);
    cluster.replay(200);
    trainer.learned(1_000);
    assert_same(&trainer, &mut server);
    // Between two snapshots, so that it can only come by the topic that was made anew.
    cluster.replay(50);
    trainer.learned(1_050);
    assert_same(&trainer, &mut server);
    let mut late = serve(&folder);
    assert_same(&trainer, &mut late);

    trainer.kill();
    let commit = json!({"delta_format": 1, "format": 99, "freshet": "9.9.9"}).to_string();
    produce(&cluster.model_topic, "commit", &commit);
    for server in [&mut server, &mut late] {
        let ready = server.wait("/readyz", "the trainer is of another version", |ready| {
            let reason = ready["troubles"][0]["reason"].as_str();
            reason.is_some_and(|reason| reason.contains("the trainer is freshet 9.9.9 and writes format 99"))
        });
        assert_eq!((&ready["ready"], &ready["seq"]), (&json!(true), &json!(1_050)), "the last good view answers");
    }
    let mut trainer = cluster.train();
    trainer.learned(1_050);
    assert_same(&trainer, &mut server);
    assert_same(&trainer, &mut late);
}

#[test]
fn kafka_is_away_and_comes_back() {
    let Some(mut kafka) = Kafka::start() else { return };
    let cluster = Cluster::on(&kafka.servers());
    let mut trainer = cluster.train();
    cluster.replay(500);
    trainer.learned(500);
    let folder = cluster.server();
    let mut server = serve(&folder);
    assert_same(&trainer, &mut server);
    kafka.kill();
    let troubled = |ready: &Value| {
        ready["ready"] == true && ready["troubles"].as_array().unwrap().iter().any(|trouble| trouble["part"] == "model")
    };
    trainer.wait("/readyz", "servers cannot be told", troubled);
    server.wait("/readyz", "it hears nothing", troubled);
    assert_eq!(server.get("/recommend/1").0, 200);
    kafka.restart();
    cluster.replay(100);
    trainer.learned(600);
    assert_same(&trainer, &mut server);
    trainer.wait("/readyz", "all is well", |ready| ready["troubles"] == json!([]));
    trainer.stop().succeeded();
    server.stop().succeeded().told(&["no trainer says anything", "following the trainer again"]);
}

#[test]
fn roles_need_kafka_and_a_server_begins_with_nothing() {
    for role in ["trainer", "server"] {
        let freshet = Freshet::new::<&str>(&[]);
        freshet.run(&["run", "--role", role]).exited(2).told(&["engine.role", "broker.kind", "kafka"]);
    }
    let Some(cluster) = Cluster::new() else { return };
    let server = cluster.server();
    server.write("model.zip", "");
    server
        .run(&["run", "--role", "server", "--from-snapshot", "model.zip"])
        .exited(1)
        .told(&["a server stores nothing"]);
}

fn produce(topic: &str, key: &str, payload: &str) {
    let producer: FutureProducer = kafka::client_config(support::kafka()).set("acks", "all").create().unwrap();
    let sent = producer.send(FutureRecord::to(topic).key(key).payload(payload), Duration::from_secs(30));
    tokio::runtime::Runtime::new().unwrap().block_on(sent).unwrap();
}
