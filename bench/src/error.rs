//! Why a run could not be made, as opposed to what it found wrong. Imports std and thiserror.

use std::io;
use std::path::PathBuf;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PerfError {
    /// Settings that contradict each other.
    #[error("{0}")]
    Settings(String),
    /// Something the system refused.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A connection to the broker.
    #[error("broker: {0}")]
    Client(#[from] crate::client::ClientError),
    /// A file of results.
    #[error("{path}: {reason}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl PerfError {
    /// For `map_err`: what was being done when the system refused.
    pub(crate) fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { doing, source: source.into() }
    }
}
