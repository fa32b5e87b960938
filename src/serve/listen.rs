//! The port: opened, guarded, and served until the stop, with TLS or without.

use std::future::{Ready, ready};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::accept::Accept;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use tokio::net::{TcpListener, TcpStream};

use super::Status;
use super::access::Keys;
use super::status::Refusal;
use super::tls::Tls;
use crate::config::{ConfigError, Problem as Fault, ServeConfig};

/// Most headers of a request.
const MAX_HEADERS: usize = 100;
/// Longest head of a request, in bytes; room for the longest path and as much again.
const LONGEST_HEAD: usize = 128 * 1024;
/// Requests at the same time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 100;
/// Longest that a client of HTTP/2 may take to say that it is still there.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// What clients that are over `serve.max_connections` are told, as far as they listen.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
    connection: close\r\n\r\n\
    {\"code\":\"connections\",\"status\":503,\"title\":\"Service Unavailable\",\"detail\":\"more connections than serve.max_connections allows; try again shortly\"}";

/// Opens the port.
///
/// # Errors
/// If the address is taken or not this machine's; the text says which address, and what to do.
pub async fn bind(config: &ServeConfig) -> Result<TcpListener, BindError> {
    let address = format!("{}:{}", bracketed(&config.host), config.port);
    TcpListener::bind(&address).await.map_err(|source| BindError { address, source })
}

/// An IPv6 address in brackets, anything else as it is.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// The port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; set serve.port to a free port (--set serve.port=0 picks one)")]
pub struct BindError {
    address: String,
    source: io::Error,
}

impl BindError {
    /// What the system said.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// What stands between the port and the routes: the keys, and the certificate.
#[derive(Clone, Debug)]
pub struct Guard {
    /// Who may do what.
    pub keys: Arc<Keys>,
    tls: Option<Tls>,
}

impl Guard {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// If a file cannot be used; the text names it and not its content.
    pub fn load(config: &ServeConfig) -> Result<Self, ConfigError> {
        Ok(Self { keys: Arc::new(Keys::load(config)?), tls: Tls::load(config)? })
    }

    /// Refuses an address that other machines reach where no key is asked for, unless the operator insists.
    ///
    /// # Errors
    /// If it is one; the text says what to do.
    pub fn covers(&self, listener: &TcpListener, config: &ServeConfig) -> Result<(), ConfigError> {
        let Ok(address) = listener.local_addr() else { return Ok(()) };
        if address.ip().to_canonical().is_loopback() || !self.keys.is_empty() || config.insecure {
            return Ok(());
        }
        Err(Fault::Exposed { address: address.to_string() }.into())
    }

    /// How its addresses begin.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Serves until `shutdown` is ready; requests under way are finished first.
///
/// # Errors
/// If the listener fails.
pub async fn run(
    listener: TcpListener,
    app: Router,
    guard: Guard,
    (config, status): (Arc<ServeConfig>, Arc<Status>),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let handle = Handle::new();
    let stopped = handle.clone();
    tokio::spawn(async move {
        shutdown.await;
        stopped.graceful_shutdown(None);
    });
    let door = Door { handle: handle.clone(), most: config.max_connections, plain: guard.tls.is_none(), status };
    let mut server = Server::<SocketAddr>::from_listener(listener)
        .handle(handle)
        .first_request_timeout(config.head_timeout)
        .accept_error_handler(|client, error| tracing::debug!(?client, %error, "a connection was not accepted"));
    limit(&mut server, &config);
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    let Some(tls) = guard.tls else { return server.acceptor(door).serve(service).await };
    let acceptor = RustlsAcceptor::new(tls.acceptable.clone()).handshake_timeout(config.head_timeout).acceptor(door);
    // Dropped with the server, so that no task outlives it.
    tokio::select! {
        ended = server.acceptor(acceptor).serve(service) => ended,
        () = tls.keep_current() => Ok(()),
    }
}

/// Sets what a connection may take.
fn limit(server: &mut Server<SocketAddr>, config: &ServeConfig) {
    let builder = server.http_builder();
    // It runs from the end of the request before, so that it is the longest idle time too.
    builder.http1().max_headers(MAX_HEADERS).max_buf_size(LONGEST_HEAD).header_read_timeout(config.idle_timeout);
    builder
        .http2()
        .max_header_list_size(LONGEST_HEAD as u32)
        .max_concurrent_streams(MAX_STREAMS)
        .keep_alive_interval(config.idle_timeout)
        .keep_alive_timeout(PING_TIMEOUT);
}

/// Lets connections in until there are too many.
#[derive(Clone, Debug)]
struct Door {
    handle: Handle<SocketAddr>,
    most: usize,
    plain: bool,
    status: Arc<Status>,
}

impl<S> Accept<TcpStream, S> for Door {
    type Stream = TcpStream;
    type Service = S;
    type Future = Ready<io::Result<(TcpStream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // The one at the door is counted already.
        if self.handle.connection_count() <= self.most {
            return ready(stream.set_nodelay(true).map(|()| (stream, service)));
        }
        self.status.count_refusal(Refusal::Connections);
        if self.plain {
            // Whoever does not read it finds the connection closed, which is all that matters.
            let _ = stream.into_std().and_then(|mut stream| stream.write(FULL));
        }
        ready(Err(io::Error::other("there are serve.max_connections already")))
    }
}
