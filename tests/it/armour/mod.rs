//! The server against clients that err, dawdle or mean harm, over real sockets.

mod bad_input;
mod http2;
mod keys;
mod tls;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::program::Engine;

/// Longest wait for an answer: beyond each limit of the server, so that only a stall fails by it.
const PATIENCE: Duration = Duration::from_mins(1);

/// Opens a connection.
fn connect(engine: &Engine) -> TcpStream {
    let stream = TcpStream::connect(engine.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends bytes, and returns what comes back until the server closes. A server that has seen enough may close before all
/// is sent.
fn exchange(engine: &Engine, bytes: &[u8]) -> String {
    let mut stream = connect(engine);
    let _ = stream.write_all(bytes);
    rest(&mut stream)
}

/// What comes until the server closes.
fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        let stalled = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
        assert!(!stalled, "no end after {PATIENCE:?}; so far: {:?}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The status of an answer; nothing if the server only closed.
fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

/// The answer to a request with headers, each ended by `\r\n`.
fn request(engine: &Engine, method: &str, path: &str, headers: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    exchange(engine, request.as_bytes())
}
