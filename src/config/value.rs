//! Values that have their own way to be written: sizes, switches, levels, keep-alive, memory,
//! durability.
//!
//! Pure functions from text. May import `durability` and `limits`.

use crate::durability::Durability;

/// The least important kind of line that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What must be looked at.
    Error,
    /// What should be looked at.
    Warn,
    /// Starts, stops, logins.
    Info,
    /// Every connection and channel.
    Debug,
    /// Every frame.
    Trace,
}

/// What log lines are about, where that has a level of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogTopic {
    /// Sockets: accepting, WebSocket, TLS.
    Connection,
    /// Clients of AMQP 0-9-1.
    Amqp,
    /// Clients of MQTT.
    Mqtt,
    /// Exchanges, queues, sessions.
    Broker,
    /// The disk.
    Storage,
}

impl LogTopic {
    /// All, by their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("connection", Self::Connection),
        ("amqp", Self::Amqp),
        ("mqtt", Self::Mqtt),
        ("broker", Self::Broker),
        ("storage", Self::Storage),
    ];
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Where a queue's shard comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// From the group of its name.
    Hash,
    /// Another shard than the one of the connection that declares it: for tests of the paths
    /// between shards.
    Apart,
}

/// A share of the machine's memory, or an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    /// Hundredths of the memory that this process may have.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
}

impl MemoryLimit {
    /// The amount on a machine (or in a control group) with `available_bytes`.
    pub const fn bytes(self, available_bytes: u64) -> u64 {
        match self {
            // The division comes first: no overflow, and a hundredth of a byte does not matter.
            Self::Percent(percent) => available_bytes / 100 * percent as u64,
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Reads `40%` or a size.
    ///
    /// # Errors
    /// The reason, when it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(percent) = text.strip_suffix('%') else {
            return match parse_bytes(text)? {
                0 => Err("no memory at all is too little".into()),
                bytes => Ok(Self::Bytes(bytes)),
            };
        };
        match percent.trim().parse() {
            Ok(percent @ 1..=95) => Ok(Self::Percent(percent)),
            _ => Err(format!("'{text}' is not between 1% and 95%")),
        }
    }
}

/// When the kernel asks a silent peer whether it is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first question, seconds.
    pub idle_s: u32,
    /// Between two questions, seconds.
    pub interval_s: u32,
    /// Unanswered questions until the connection is given up.
    pub probes: u32,
}

impl KeepAlive {
    /// Reads `60:10:3`, or a switch: off, or on with those numbers (S25).
    ///
    /// # Errors
    /// The reason, when it is neither.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        if let Ok(is_on) = parse_bool(text) {
            return Ok(is_on.then_some(Self { idle_s: 60, interval_s: 10, probes: 3 }));
        }
        // The kernel's own bounds: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL, MAX_TCP_KEEPCNT.
        let part = |text: &str, max: u32| text.parse().ok().filter(|n| (1..=max).contains(n));
        let parts: Vec<&str> = text.split(':').collect();
        if let [idle, interval, probes] = parts.as_slice()
            && let Some(idle_s) = part(idle, 32_767)
            && let Some(interval_s) = part(interval, 32_767)
            && let Some(probes) = part(probes, 127)
        {
            return Ok(Some(Self { idle_s, interval_s, probes }));
        }
        Err(format!(
            "'{text}' is not idle:interval:probes (seconds up to 32767, probes up to 127) or off"
        ))
    }
}

/// Reads a level by our names or LavinMQ's.
pub(super) fn parse_level(text: &str) -> Result<LogLevel, String> {
    match text.to_ascii_lowercase().as_str() {
        "off" | "none" => Ok(LogLevel::Off),
        "error" | "fatal" => Ok(LogLevel::Error),
        "warn" | "warning" => Ok(LogLevel::Warn),
        "info" | "notice" => Ok(LogLevel::Info),
        "debug" => Ok(LogLevel::Debug),
        "trace" => Ok(LogLevel::Trace),
        _ => Err(format!("'{text}' is none of off, error, warn, info, debug, trace")),
    }
}

/// Reads `mqtt=debug, storage=warn`.
pub(super) fn parse_levels(text: &str) -> Result<Vec<(LogTopic, LogLevel)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(parse_topic_level).collect()
}

fn parse_topic_level(part: &str) -> Result<(LogTopic, LogLevel), String> {
    let (name, level) =
        part.split_once('=').ok_or_else(|| format!("'{part}' is not topic=level"))?;
    let mut all = LogTopic::ALL.iter();
    let Some((_, topic)) = all.find(|(known, _)| known.eq_ignore_ascii_case(name.trim())) else {
        let names = LogTopic::ALL.map(|(name, _)| name).join(", ");
        return Err(format!("'{}' is none of {names}", name.trim()));
    };
    Ok((*topic, parse_level(level.trim())?))
}

/// Reads what is promised of stored messages.
pub(super) fn parse_durability(text: &str) -> Result<Durability, String> {
    Durability::parse(text).ok_or_else(|| format!("'{text}' is not {}", Durability::SYNTAX))
}

/// Reads `vhost=os, other=interval:200`. A virtual host with a comma or an equals sign in its name
/// can not be written: a forgotten comma is likelier.
pub(super) fn parse_durabilities(text: &str) -> Result<Vec<(String, Durability)>, String> {
    let mut all: Vec<(String, Durability)> = Vec::new();
    if text.trim().is_empty() {
        return Ok(all);
    }
    for entry in text.split(',') {
        let entry = entry.trim();
        let Some((vhost, promise)) = entry.split_once('=') else {
            return Err(format!("'{entry}' is not vhost=durability"));
        };
        let (vhost, promise) = (vhost.trim(), promise.trim());
        if vhost.is_empty() || all.iter().any(|(known, _)| known == vhost) {
            return Err(format!("'{entry}' names no virtual host, or one for the second time"));
        }
        all.push((vhost.into(), parse_durability(promise)?));
    }
    Ok(all)
}

/// Reads a switch.
pub(super) fn parse_bool(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "on" | "1" => Ok(true),
        "false" | "no" | "n" | "off" | "0" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

/// Reads one of a few words.
pub(super) fn one_of<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        format!("'{text}' is none of {}", words.join(", "))
    })
}

/// Reads a port, or `off` (LavinMQ writes -1) for no listener.
pub(super) fn parse_port(text: &str) -> Result<Option<u16>, String> {
    match text {
        "off" | "none" | "-1" => Ok(None),
        _ => u16::try_from(parse_number(text)?)
            .map(Some)
            .map_err(|_| format!("'{text}' is out of bounds (0 to 65535)")),
    }
}

/// Reads a number of connections; 0 stands for `infinity`.
pub(super) fn parse_max_connections(text: &str) -> Result<u32, String> {
    match text {
        "infinity" => Ok(0),
        _ => u32::try_from(parse_number(text)?)
            .map_err(|_| format!("'{text}' is out of bounds (0 to {})", u32::MAX)),
    }
}

/// Reads a virtual host's name, or that there is none.
pub(super) fn parse_mountpoint(text: &str) -> Result<Option<Box<str>>, String> {
    match text {
        "off" | "" => Ok(None),
        _ if text.len() > crate::limits::NAME_BYTES_MAX => {
            Err("a virtual host's name has 1 to 255 bytes".into())
        }
        _ => Ok(Some(text.into())),
    }
}

/// Reads a limit that -1 takes away.
pub(super) fn parse_limit(text: &str) -> Result<Option<u64>, String> {
    match text {
        "-1" => Ok(None),
        _ => parse_number(text).map(Some),
    }
}

/// Reads how many there may be in a second, at least one.
pub(super) fn parse_rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0);
    rate.ok_or_else(|| format!("'{text}' is not a number from 1"))
}

/// Reads the path of an HTTP request.
pub(super) fn parse_url_path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic());
    is_path.then(|| text.to_owned()).ok_or_else(|| format!("'{text}' is not a path such as /mqtt"))
}

/// Reads the beginning of a topic.
pub(super) fn parse_topic_prefix(text: &str) -> Result<String, String> {
    let is_topic = !text.contains(['+', '#', '\0']) && !text.starts_with('$');
    is_topic.then(|| text.to_owned()).ok_or_else(|| format!("'{text}' does not begin a topic"))
}

/// Seconds in the units of a period, as VerneMQ names them; it has no minutes.
const PERIODS: &[(char, u64)] = &[
    ('s', 1),
    ('h', 3600),
    ('d', 24 * 3600),
    ('w', 7 * 24 * 3600),
    ('m', 30 * 24 * 3600),
    ('y', 365 * 24 * 3600),
];

/// Reads a period in seconds, or the word for none.
pub(super) fn parse_period(text: &str, none: &str) -> Result<Option<u64>, String> {
    if text == none {
        return Ok(None);
    }
    let wrong = || format!("'{text}' is neither {none} nor a number with s, h, d, w, m or y");
    let unit = PERIODS.iter().find_map(|(c, s)| Some((text.strip_suffix(*c)?, *s)));
    let (digits, seconds) = unit.unwrap_or((text, 1));
    let number = parse_number(digits).map_err(|_| wrong())?;
    // Milliseconds must fit as well.
    let fits = |s: &u64| s.checked_mul(1000).is_some();
    number.checked_mul(seconds).filter(fits).map(Some).ok_or_else(wrong)
}

/// Reads a whole number; `_` between digits is allowed.
pub(super) fn parse_number(text: &str) -> Result<u64, String> {
    let is_digits = text.starts_with(|c: char| c.is_ascii_digit());
    text.replace('_', "")
        .parse()
        .ok()
        .filter(|_| is_digits)
        .ok_or_else(|| format!("'{text}' is not a whole number"))
}

/// Reads a size: a whole number of bytes, or of the 1024-fold steps k, M, G, T (also kB, KiB and
/// so on; all mean 1024, as nobody wants a segment of 8,000,000 bytes).
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits_end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let power = match suffix.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(format!("'{text}' is not a size (a number, then nothing, k, M, G or T)")),
    };
    let number = parse_number(digits)
        .map_err(|_| format!("'{text}' is not a size (a number, then nothing, k, M, G or T)"))?;
    number.checked_mul(1 << (10 * power)).ok_or_else(|| format!("'{text}' is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_suffixes_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("131072", 131_072),
            ("128k", 131_072),
            ("128 KiB", 131_072),
            ("8M", 8 << 20),
            ("8mb", 8 << 20),
            ("2G", 2 << 30),
            ("1TiB", 1 << 40),
            ("1_000", 1000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "k", "-1", "1.5G", "8 x", "M8", "1e9", "99999999999999999999", "_", "+1"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert_eq!(parse_bytes("17179869184T").unwrap_err(), "'17179869184T' is too large");
    }

    #[test]
    fn memory_is_a_share_or_an_amount() {
        assert_eq!(MemoryLimit::parse("40%"), Ok(MemoryLimit::Percent(40)));
        assert_eq!(MemoryLimit::parse("2G"), Ok(MemoryLimit::Bytes(2 << 30)));
        assert_eq!(MemoryLimit::Percent(40).bytes(1000), 400);
        assert_eq!(MemoryLimit::Percent(95).bytes(u64::MAX), u64::MAX / 100 * 95);
        for text in ["0", "0%", "96%", "%", "x%", "256%"] {
            assert!(MemoryLimit::parse(text).is_err(), "{text}");
        }
    }

    /// S25
    #[test]
    fn keep_alive_is_three_numbers_or_a_switch() {
        let expected = KeepAlive { idle_s: 60, interval_s: 10, probes: 3 };
        assert_eq!(KeepAlive::parse("60:10:3"), Ok(Some(expected)));
        assert_eq!(KeepAlive::parse("on"), Ok(Some(expected)));
        assert_eq!(KeepAlive::parse("off"), Ok(None));
        for text in ["", "60", "60:10", "60:10:3:1", "0:10:3", "60:10:128", "a:b:c"] {
            assert!(KeepAlive::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn each_virtual_host_may_have_its_own_promise() {
        let expected = vec![
            ("/".to_owned(), Durability::Os),
            ("b c".to_owned(), Durability::Interval { ms: 200 }),
        ];
        assert_eq!(parse_durabilities(" / = os ,b c=interval:200"), Ok(expected));
        assert_eq!(parse_durabilities(" "), Ok(vec![]));
        for text in ["os", "=os", "a=", "a=never", "a=os,", "a=os,a=sync", "a=os b=os"] {
            assert!(parse_durabilities(text).is_err(), "{text}");
        }
    }

    #[test]
    fn levels_of_lavinmq_are_understood() {
        assert_eq!(parse_level("Notice"), Ok(LogLevel::Info));
        assert_eq!(parse_level("fatal"), Ok(LogLevel::Error));
        assert_eq!(parse_level("none"), Ok(LogLevel::Off));
        let levels = parse_levels("mqtt=debug, Storage = warn,");
        let expected = vec![(LogTopic::Mqtt, LogLevel::Debug), (LogTopic::Storage, LogLevel::Warn)];
        assert_eq!(levels, Ok(expected));
        assert_eq!(parse_levels(""), Ok(Vec::new()));
        for bad in ["mqtt", "mqtt=loud", "queue=info", "=info"] {
            assert!(parse_levels(bad).is_err(), "{bad}");
        }
        assert!(parse_level("loud").is_err());
    }
}
