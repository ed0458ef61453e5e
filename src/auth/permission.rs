//! What one user may do in one vhost: three patterns over names.
//!
//! Patterns are regular expressions without anchors, as in RabbitMQ and LavinMQ (L61, R61):
//! `log` also matches `catalogue`. An empty pattern matches nothing. Linear time whatever the
//! pattern (crate `regex`), and bounded in memory. May import nothing of the broker.

use regex::{Regex, RegexBuilder};

/// Octets a compiled pattern may take, so that a definitions file cannot fill the memory.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// What somebody wants to do with an exchange or a queue (AMQP 0-9-1 names; L61 has the table).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Make, change or delete it.
    Configure,
    /// Put messages into it, or bind something to it as a destination.
    Write,
    /// Take messages from it, or bind to it as a source.
    Read,
}

impl Access {
    /// The word that clients know from RabbitMQ's texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Configure => "configure",
            Self::Write => "write",
            Self::Read => "read",
        }
    }
}

/// One pattern. The two that nearly every user has are answered without the regex engine.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// Empty or `^$`: no name is empty, so nothing matches.
    Nothing,
    /// `.*`
    Everything,
    /// Anything else.
    Matching(Regex),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// The reason, when it is no regular expression of the supported kind (no look-around, no
    /// back references) or compiles to more than a megabyte.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" | "^$" => Ok(Self::Nothing),
            ".*" => Ok(Self::Everything),
            _ => RegexBuilder::new(text)
                .size_limit(PATTERN_BYTES_MAX)
                .build()
                .map(Self::Matching)
                .map_err(|e| {
                    let reason = e.to_string();
                    let last = reason.lines().last().unwrap_or_default().trim();
                    format!("'{text}' is not a supported regular expression ({last})")
                }),
        }
    }

    /// Whether `name` has a part that matches.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Everything => true,
            Self::Matching(regex) => regex.is_match(name),
        }
    }
}

/// The three patterns of a user in one vhost.
#[derive(Debug, Clone)]
pub struct Permission {
    /// Which names may be made, changed and deleted.
    pub configure: Pattern,
    /// Which names may be written to.
    pub write: Pattern,
    /// Which names may be read from.
    pub read: Pattern,
}

impl Permission {
    /// Everything is allowed.
    pub const fn all() -> Self {
        Self {
            configure: Pattern::Everything,
            write: Pattern::Everything,
            read: Pattern::Everything,
        }
    }

    /// Whether `access` to `name` is allowed.
    pub fn allows(&self, access: Access, name: &str) -> bool {
        match access {
            Access::Configure => self.configure.matches(name),
            Access::Write => self.write.matches(name),
            Access::Read => self.read.matches(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R61, L61
    #[test]
    fn patterns_match_anywhere_in_the_name() {
        let log = Pattern::parse("log").unwrap();
        assert!(log.matches("log") && log.matches("catalogue"));
        let anchored = Pattern::parse("^log$").unwrap();
        assert!(anchored.matches("log") && !anchored.matches("catalogue"));
    }

    /// L61
    #[test]
    fn an_empty_pattern_denies_everything() {
        for text in ["", "^$"] {
            let pattern = Pattern::parse(text).unwrap();
            assert!(!pattern.matches("q") && !pattern.matches("amq.gen-x"));
        }
    }

    #[test]
    fn a_pattern_that_needs_backtracking_or_too_much_memory_is_refused_with_the_reason() {
        let lookahead = Pattern::parse("(?!amq).*").unwrap_err();
        assert!(lookahead.contains("look-around"), "{lookahead}");
        let huge = Pattern::parse("(((a{100}){100}){100}){100}").unwrap_err();
        assert!(huge.contains("size limit"), "{huge}");
    }

    #[test]
    fn each_access_has_its_own_pattern() {
        let permission = Permission {
            configure: Pattern::Nothing,
            write: Pattern::parse("^in").unwrap(),
            read: Pattern::parse("^out").unwrap(),
        };
        assert!(!permission.allows(Access::Configure, "in"));
        assert!(permission.allows(Access::Write, "in") && !permission.allows(Access::Write, "out"));
        assert!(permission.allows(Access::Read, "out") && !permission.allows(Access::Read, "in"));
    }
}
