//! Where log lines go: standard error, as text or JSON, from the settings on.
//!
//! May import `config` and tracing.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, LogLevel};

/// The log cannot be set up: there is one already.
#[derive(Debug, thiserror::Error)]
#[error("the log is set up already: {0}")]
pub struct LogError(#[from] tracing_subscriber::util::TryInitError);

/// Sends every later log line of this process to standard error.
///
/// # Errors
/// When it was called before.
pub fn start(level: LogLevel, format: LogFormat) -> Result<(), LogError> {
    let lines = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter(level)))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.finish().try_init()?,
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    Ok(())
}

/// Our own lines from the level on; of libraries no more than warnings, unless every detail is
/// asked for.
const fn filter(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,ringmq=info,ringmq_shards=info",
        LogLevel::Debug => "warn,ringmq=debug,ringmq_shards=debug",
        LogLevel::Trace => "trace",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_a_filter_that_the_log_understands() {
        for (level, shown) in [
            (LogLevel::Off, "off"),
            (LogLevel::Error, "error"),
            (LogLevel::Warn, "warn"),
            (LogLevel::Info, "info"),
            (LogLevel::Debug, "debug"),
            (LogLevel::Trace, "trace"),
        ] {
            let filter = EnvFilter::try_new(filter(level)).unwrap();
            let most = filter.max_level_hint().unwrap().to_string();
            assert_eq!(most, shown);
        }
    }
}
