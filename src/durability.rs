//! How safe a message is when its publisher is told that it is stored. May import nothing.

use std::fmt;

/// Longest interval. What may lose an hour of messages loses any.
const INTERVAL_MS_MAX: u32 = 3_600_000;

/// What the promise "stored" means for a queue that survives a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// On the disk: it survives a power cut.
    #[default]
    Sync,
    /// Given to the kernel, and on the disk within this time: a power cut may take what came last.
    Interval {
        /// At least 1, at most an hour.
        ms: u32,
    },
    /// Given to the kernel, which writes when it likes: the end of the process takes nothing, a
    /// power cut may take much.
    Os,
}

impl Durability {
    /// What can be written.
    pub const SYNTAX: &str = "sync, interval:MS (milliseconds) or os";

    /// Reads `sync`, `interval:<ms>` or `os`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "sync" => Some(Self::Sync),
            "os" => Some(Self::Os),
            _ => {
                let digits = text.strip_prefix("interval:")?;
                // `parse` would take a sign too.
                let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
                let ms = plain.then(|| digits.parse().ok()).flatten()?;
                (1..=INTERVAL_MS_MAX).contains(&ms).then_some(Self::Interval { ms })
            }
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sync => f.write_str("sync"),
            Self::Interval { ms } => write!(f, "interval:{ms}"),
            Self::Os => f.write_str("os"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for durability in [
            Durability::Sync,
            Durability::Interval { ms: 200 },
            Durability::Interval { ms: INTERVAL_MS_MAX },
            Durability::Os,
        ] {
            assert_eq!(Durability::parse(&durability.to_string()), Some(durability));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "Sync",
            "sync ",
            "fsync",
            "interval",
            "interval:",
            "interval:0",
            "interval:+5",
            "interval:-1",
            "interval:3600001",
            "interval:4294967296",
            "interval:5ms",
            "os:1",
        ] {
            assert_eq!(Durability::parse(text), None, "{text}");
        }
    }
}
