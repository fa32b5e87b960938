//! Apache Kafka as a cluster of one node, or librdkafka's mock cluster where Kafka could not be installed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::mocking::MockCluster;

use super::process::{self, Server};

/// Any base64 UUID will do; each node is a cluster of its own.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qk";

/// How long to wait for one answer of a broker.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How clients reach a broker. The default is PLAINTEXT.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    /// `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub(crate) protocol: &'static str,
    /// Further listeners, each on a port of its own: name, protocol, and the host that the broker tells clients.
    pub(crate) more: Vec<(&'static str, &'static str, &'static str)>,
    /// Lines for `server.properties`: key stores, enabled mechanisms. The listener is named `CLIENT`.
    pub(crate) server: Vec<(String, String)>,
    /// Arguments for the storage format, such as `--add-scram` with a user.
    pub(crate) format: Vec<String>,
    /// librdkafka properties that a client needs to connect.
    pub(crate) client: Vec<(String, String)>,
}

impl Default for Listener {
    fn default() -> Self {
        Self { protocol: "PLAINTEXT", more: Vec::new(), server: Vec::new(), format: Vec::new(), client: Vec::new() }
    }
}

/// A Kafka broker of this test process, killed and its data removed when dropped.
#[derive(Debug)]
pub(crate) struct Kafka {
    server: Server,
    port: u16,
    listener: Listener,
    /// Ports of `listener.more`.
    more: Vec<u16>,
}

impl Kafka {
    /// Starts a broker on an empty log and waits until it answers. `None`, and a loud line, where Apache Kafka could
    /// not be installed, or `FRESHET_TEST_KAFKA` spared the installation, so that there is none to start.
    pub(crate) fn start() -> Option<Self> {
        let spared = super::from_environment("FRESHET_TEST_KAFKA").is_some() || unavailable().is_some();
        if spared && super::installed("kafka/libs").is_err() {
            super::say("WARNING: Apache Kafka is not installed: a test that kills a broker is skipped");
            return None;
        }
        Some(Self::try_start(Listener::default()).unwrap_or_else(|error| panic!("{error}")))
    }

    /// As [`Kafka::start`], on any kind of listener, with the reason why it cannot.
    pub(crate) fn try_start(listener: Listener) -> Result<Self, String> {
        super::installed("kafka/libs")?;
        let more = listener.more.iter().map(|_| process::free_port()).collect();
        let mut kafka = Self { server: Server::new("kafka")?, port: process::free_port(), listener, more };
        let properties = kafka.server_properties(process::free_port(), process::free_port());
        let file = kafka.server.dir().join("server.properties");
        fs::write(&file, properties).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        kafka.format_storage()?;
        kafka.launch()?;
        Ok(kafka)
    }

    /// Bootstrap servers; the same after a restart.
    pub(crate) fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Bootstrap servers of a further listener.
    pub(crate) fn servers_of(&self, name: &str) -> String {
        let at = self.listener.more.iter().position(|(known, ..)| *known == name).expect("the listener was asked for");
        format!("127.0.0.1:{}", self.more[at])
    }

    /// Kills it as `kill -9` does. Its log stays.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops it where it is (SIGSTOP).
    pub(crate) fn stop(&self) {
        self.server.stop();
    }

    /// Lets it go on after [`Self::stop`].
    pub(crate) fn cont(&self) {
        self.server.cont();
    }

    /// Kills it if it runs, then starts it on the same log and port and waits until it answers.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.launch().unwrap_or_else(|error| panic!("{error}"));
    }

    fn launch(&mut self) -> Result<(), String> {
        let file = self.server.dir().join("server.properties").display().to_string();
        let command = java("kafka.Kafka", &[&file])?;
        let mut config = client_config(&self.servers());
        config.extend(self.listener.client.iter().cloned());
        process::off_runtime(|_| self.server.start(&command, || answers(&config)))
    }

    fn format_storage(&self) -> Result<(), String> {
        let file = self.server.dir().join("server.properties").display().to_string();
        let mut arguments = vec!["format", "--standalone", "-t", CLUSTER_ID, "-c", &file];
        arguments.extend(self.listener.format.iter().map(String::as_str));
        let command = java("kafka.tools.StorageTool", &arguments)?;
        self.server.prepare(&command)
    }

    /// Brokers and controllers talk over listeners of their own, so that `CLIENT` can be of any kind.
    /// The short broker session is for restarts: a broker that was killed is let in again only when its session is over.
    fn server_properties(&self, internal_port: u16, controller_port: u16) -> String {
        let Self { port, listener, .. } = self;
        let protocol = listener.protocol;
        let dir = self.server.dir().join("log");
        let (mut more, mut told, mut protocols) = (String::new(), String::new(), String::new());
        for ((name, protocol, host), port) in listener.more.iter().zip(&self.more) {
            write!(more, ",{name}://127.0.0.1:{port}").expect("a string takes any text");
            write!(told, ",{name}://{host}:{port}").expect("a string takes any text");
            write!(protocols, ",{name}:{protocol}").expect("a string takes any text");
        }
        let mut properties = format!(
            "process.roles=broker,controller
node.id=1
listeners=CLIENT://127.0.0.1:{port},INTERNAL://127.0.0.1:{internal_port},CONTROLLER://127.0.0.1:{controller_port}{more}
advertised.listeners=CLIENT://127.0.0.1:{port},INTERNAL://127.0.0.1:{internal_port}{told}
listener.security.protocol.map=CLIENT:{protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
inter.broker.listener.name=INTERNAL
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers=127.0.0.1:{controller_port}
log.dirs={}
auto.create.topics.enable=false
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
",
            dir.display()
        );
        for (key, value) in &listener.server {
            writeln!(properties, "{key}={value}").expect("a string takes any text");
        }
        properties
    }
}

/// The broker that this test process shares.
#[derive(Debug)]
pub(super) struct Shared {
    /// Bootstrap servers.
    pub(super) servers: String,
    /// Held so that it is not dropped.
    _broker: Option<Kafka>,
    /// The mock cluster knows no `CreateTopics`; this asks the thread that owns it.
    mock: Option<Mutex<mpsc::Sender<NewMockTopic>>>,
}

/// Whether `librdkafka`'s mock cluster stands in for Kafka: it knows no member that comes back.
pub(crate) fn is_mock() -> bool {
    shared().mock.is_some()
}

/// A topic for the mock cluster to create, and whom to tell.
type NewMockTopic = (String, i32, mpsc::Sender<Result<(), String>>);

/// Starts the shared broker at the first call.
pub(super) fn shared() -> &'static Shared {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    SHARED.get_or_init(start_shared).as_ref().unwrap_or_else(|error| panic!("{error}"))
}

fn start_shared() -> Result<Shared, String> {
    if let Some(servers) = super::from_environment("FRESHET_TEST_KAFKA") {
        return Ok(Shared { servers, _broker: None, mock: None });
    }
    if let Some(reason) = unavailable() {
        return start_mock(&reason);
    }
    let broker = Kafka::try_start(Listener::default())?;
    Ok(Shared { servers: broker.servers(), _broker: Some(broker), mock: None })
}

/// Why Apache Kafka could not be installed, if it could not.
fn unavailable() -> Option<String> {
    let reason = fs::read_to_string(super::servers_dir().join("kafka-unavailable")).ok()?;
    Some(reason.trim().to_owned())
}

fn start_mock(reason: &str) -> Result<Shared, String> {
    super::say(&format!(
        "WARNING: Apache Kafka could not be installed ({reason}): its suite runs against librdkafka's mock cluster instead"
    ));
    let (requests, inbox) = mpsc::channel();
    let (started, servers) = mpsc::channel();
    // The cluster cannot change threads; this one owns it until the process ends.
    thread::spawn(move || own_mock(&started, &inbox));
    let servers = servers.recv().map_err(|_| "the mock cluster's thread ended".to_owned())??;
    Ok(Shared { servers, _broker: None, mock: Some(Mutex::new(requests)) })
}

fn own_mock(started: &mpsc::Sender<Result<String, String>>, inbox: &mpsc::Receiver<NewMockTopic>) {
    let cluster = MockCluster::new(1).map_err(|e| format!("cannot start the mock cluster: {e}"));
    let _ = started.send(cluster.as_ref().map(MockCluster::bootstrap_servers).map_err(Clone::clone));
    let Ok(cluster) = cluster else { return };
    for (topic, partitions, reply) in inbox {
        let _ = reply.send(cluster.create_topic(&topic, partitions, 1).map_err(|e| e.to_string()));
    }
}

/// Creates a topic on the shared broker, under a name that begins with `base` and is used once, and returns the name.
pub(crate) fn topic(base: &str, partitions: i32) -> String {
    let name = super::unique(base);
    let created = match &shared().mock {
        Some(mock) => create_mock_topic(mock, &name, partitions),
        None => create_topic(&shared().servers, &name, partitions),
    };
    created.unwrap_or_else(|error| panic!("cannot create the topic {name}: {error}"));
    name
}

fn create_mock_topic(mock: &Mutex<mpsc::Sender<NewMockTopic>>, name: &str, partitions: i32) -> Result<(), String> {
    let (reply, answer) = mpsc::channel();
    let requests = mock.lock().map_err(|e| e.to_string())?;
    requests.send((name.to_owned(), partitions, reply)).map_err(|e| e.to_string())?;
    answer.recv().map_err(|e| e.to_string())?
}

/// Creates a topic through the admin interface of any broker.
pub(crate) fn create_topic(servers: &str, name: &str, partitions: i32) -> Result<(), String> {
    let admin: AdminClient<DefaultClientContext> = client_config(servers).create().map_err(|e| e.to_string())?;
    let options = AdminOptions::new().operation_timeout(Some(ANSWER_TIMEOUT));
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let results = process::off_runtime(|runtime| {
        runtime.block_on(admin.create_topics([&topic], &options)).map_err(|e| e.to_string())
    })?;
    results.into_iter().try_for_each(|result| result.map(drop).map_err(|(_, code)| code.to_string()))
}

/// librdkafka's configuration for a client of `servers`.
pub(crate) fn client_config(servers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("reconnect.backoff.max.ms", "200");
    config
}

fn answers(config: &ClientConfig) -> Result<(), String> {
    let client: BaseConsumer = config.create().map_err(|e| e.to_string())?;
    let metadata = client.fetch_metadata(None, Duration::from_secs(1)).map_err(|e| e.to_string())?;
    if metadata.brokers().is_empty() { Err("it lists no broker".to_owned()) } else { Ok(()) }
}

/// The command that runs one of Kafka's classes.
fn java(class: &str, arguments: &[&str]) -> Result<Vec<String>, String> {
    let jars = super::installed("kafka/libs")?.join("*");
    let logging = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/servers/log4j2.properties");
    // The quick compiler alone halves the time to start. A bench, built without `test`, has Kafka at full speed.
    let compiler = if cfg!(test) { "-XX:TieredStopAtLevel=1" } else { "-XX:+TieredCompilation" };
    let mut command = ["java", "-Xmx512m", "-XX:+UseSerialGC", compiler].map(str::to_owned).to_vec();
    command.push(format!("-Dlog4j2.configurationFile={}", logging.display()));
    command.extend(["-cp".to_owned(), jars.display().to_string(), class.to_owned()]);
    command.extend(arguments.iter().map(ToString::to_string));
    Ok(command)
}
