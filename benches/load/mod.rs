//! A load generator over kept-alive connections, small enough that what is measured is the server.

#![allow(dead_code, reason = "each bench takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a bench that fails has nothing to report")]

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// One connection, and what was read of it.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer.
pub(crate) struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(16 * 1024) })
    }

    /// Sends a request as it is and reads the answer to its end.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let head = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(&self.read[..head]).to_ascii_lowercase();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length: usize = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        while self.read.len() < head + length {
            self.more().await?;
        }
        Ok(Answer { status, body: self.read[head..head + length].to_vec() })
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// `GET` of a path.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

/// `POST` of JSON to a path.
pub(crate) fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Answers a second that `connections` clients get who ask as soon as they have their answer. `request` is of a number.
pub(crate) async fn closed(
    address: SocketAddr,
    connections: usize,
    time: Duration,
    request: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static,
) -> f64 {
    let end = Instant::now() + time;
    let mut clients = JoinSet::new();
    for client in 0..connections as u64 {
        let request = request.clone();
        clients.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            let mut answered = 0_u64;
            while Instant::now() < end {
                let answer = connection.ask(&request(client + answered * 7919)).await.unwrap();
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                answered += 1;
            }
            answered
        });
    }
    clients.join_all().await.into_iter().sum::<u64>() as f64 / time.as_secs_f64()
}

/// Latencies in microseconds of requests that come at a fixed rate, each counted from when it was due: a late answer makes
/// the next request on its connection late as well, and that counts.
pub(crate) async fn open(
    address: SocketAddr,
    connections: u32,
    rate: f64,
    time: Duration,
    request: impl Fn(u64) -> Vec<u8> + Clone + Send + 'static,
) -> Histogram<u64> {
    let start = Instant::now() + Duration::from_millis(50);
    let each = (rate * time.as_secs_f64()) as u64 / u64::from(connections);
    let mut clients = JoinSet::new();
    for client in 0..connections {
        let request = request.clone();
        clients.spawn(async move {
            let mut connection = Connection::open(address).await.unwrap();
            let mut took = Histogram::<u64>::new(3).unwrap();
            for number in 0..each {
                let place = number * u64::from(connections) + u64::from(client);
                let due = start + Duration::from_secs_f64(place as f64 / rate);
                sleep_until(due).await;
                let answer = connection.ask(&request(place * 7919)).await.unwrap();
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
                took.record(due.elapsed().as_micros() as u64).unwrap();
            }
            took
        });
    }
    let mut all = Histogram::new(3).unwrap();
    for took in clients.join_all().await {
        all.add(took).unwrap();
    }
    all
}
