//! What goes wrong, and the exit code that says so: those of sysexits.h, as rabbitmqctl has them.
//! May import nothing.

/// Why a command has not done what it should.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line is wrong.
    #[error("{0} (ringmqctl --help lists what is)")]
    Usage(String),
    /// A file or an argument says what cannot be.
    #[error("{0}")]
    Data(String),
    /// There is no such thing.
    #[error("{0}")]
    Missing(String),
    /// No broker answers.
    #[error("{0}")]
    Unavailable(String),
    /// The login is wrong, or its user may not.
    #[error("{0}")]
    NotAllowed(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// EX_USAGE and its like.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Data(_) => 65,
            Self::Missing(_) => 67,
            Self::Unavailable(_) => 69,
            Self::Other(_) => 70,
            Self::NotAllowed(_) => 77,
        }
    }
}
