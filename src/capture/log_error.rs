//! Why the log cannot be written or read: one error for its two kinds and both of its sides.

/// What the log refused, or why it cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The Kafka client failed.
    #[error("cannot {action} kafka at {brokers}: {reason}")]
    Kafka {
        /// What was being done, up to the name: `read`, `commit offsets to`.
        action: &'static str,
        /// `bootstrap.servers`.
        brokers: String,
        /// What the client said.
        reason: String,
    },
    /// No broker answers, or none that can serve.
    #[error("cannot connect to kafka at {brokers}: {reason}")]
    Unreachable {
        /// `bootstrap.servers`.
        brokers: String,
        /// What the client said.
        reason: String,
    },
    /// The embedded log failed.
    #[error("cannot {action} the embedded log {path}: {reason}")]
    Embedded {
        /// What was being done, up to the name: `read`, `commit offsets to`.
        action: &'static str,
        /// The log's file.
        path: String,
        /// What SQLite or the file system said.
        reason: String,
    },
    /// Another reader has taken this one's place in the consumer group.
    #[error(
        "another engine has taken over this one's place in its group of kafka at {brokers}; this one stops, nothing is \
         lost: run only one engine on a store"
    )]
    Superseded {
        /// `bootstrap.servers`.
        brokers: String,
    },
}
