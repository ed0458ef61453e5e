//! Where log lines go: standard error, as text or JSON, from the settings on. Which of them is a
//! [`Switch`] that can be turned while the broker runs.
//!
//! May import `config` and tracing.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::{LogFormat, LogLevel, LogTopic, Main};

/// The log cannot be set up: there is one already.
#[derive(Debug, thiserror::Error)]
#[error("the log is set up already: {0}")]
pub struct LogError(#[from] tracing_subscriber::util::TryInitError);

/// Which lines are logged.
#[derive(Debug, Clone)]
pub struct Switch {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Switch {
    /// From now on as these settings say: `log_level` and `log_levels`.
    pub fn turn(&self, settings: &Main) {
        // It fails only when the log itself is gone, and then nobody reads it.
        let _ = self.filter.reload(filter(settings));
    }
}

/// Sends every later log line of this process to standard error.
///
/// # Errors
/// When it was called before.
pub fn start(settings: &Main) -> Result<Switch, LogError> {
    let (filter, handle) = reload::Layer::new(filter(settings));
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && settings.log_format == LogFormat::Text);
    let lines = match settings.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    Ok(Switch { filter: handle })
}

fn filter(settings: &Main) -> EnvFilter {
    EnvFilter::new(directives(settings))
}

/// Our own lines from the level on; of libraries no more than warnings, unless every detail is
/// asked for. What has a level of its own comes last: the longer target wins.
fn directives(settings: &Main) -> String {
    let mut text = match settings.log_level {
        LogLevel::Trace => "trace".to_owned(),
        level @ (LogLevel::Off | LogLevel::Error) => word(level).to_owned(),
        level @ (LogLevel::Warn | LogLevel::Info | LogLevel::Debug) => {
            format!("warn,ringmq={0},ringmq_shards={0}", word(level))
        }
    };
    for (topic, level) in &settings.log_levels {
        for target in targets(*topic) {
            // Text always takes more.
            let _ = write!(text, ",{target}={}", word(*level));
        }
    }
    text
}

const fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    }
}

/// The modules whose lines are about a topic.
const fn targets(topic: LogTopic) -> &'static [&'static str] {
    match topic {
        LogTopic::Connection => &["ringmq::connection", "ringmq::listener", "ringmq::transport"],
        LogTopic::Amqp => &["ringmq::protocol::amqp091"],
        LogTopic::Mqtt => &["ringmq::protocol::mqtt"],
        LogTopic::Broker => &["ringmq::broker"],
        LogTopic::Storage => &["ringmq::broker::storage", "ringmq_shards::log"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const LEVELS: [(LogLevel, &str); 6] = [
        (LogLevel::Off, "off"),
        (LogLevel::Error, "error"),
        (LogLevel::Warn, "warn"),
        (LogLevel::Info, "info"),
        (LogLevel::Debug, "debug"),
        (LogLevel::Trace, "trace"),
    ];

    #[test]
    fn every_level_is_a_filter_that_the_log_understands() {
        for (level, shown) in LEVELS {
            let mut settings = Config::default().main;
            settings.log_level = level;
            let filter = EnvFilter::try_new(directives(&settings)).unwrap();
            assert_eq!(filter.max_level_hint().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_topic_may_have_a_level_of_its_own() {
        for (_, topic) in LogTopic::ALL {
            for (level, shown) in LEVELS {
                let mut settings = Config::default().main;
                settings.log_level = LogLevel::Warn;
                settings.log_levels = vec![(topic, level)];
                let text = directives(&settings);
                let filter = EnvFilter::try_new(&text).unwrap().to_string();
                for target in targets(topic) {
                    assert!(filter.contains(&format!("{target}={shown}")), "{filter}");
                }
            }
        }
    }
}
