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
}
