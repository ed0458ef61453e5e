//! Topic names and filters. May import `fault`.

use super::fault::Fault;
use super::reason_code::ReasonCode;

/// Octets that a name or filter can have (MQTT-4.7.3-3).
const BYTES_MAX: usize = 65_535;

/// What the filters of shared subscriptions begin with.
const SHARED: &str = "$share/";

/// A filter that was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter<'a> {
    /// The name of the group that shares the subscription.
    pub group: Option<&'a str>,
    /// What topics are compared with.
    pub filter: &'a str,
}

/// Whether it may be the name of a topic: 1 to 65,535 octets (MQTT-4.7.3-1, -3), no wildcard
/// (MQTT-3.3.2-2, MQTT-4.7.1-1), no U+0000 (MQTT-4.7.3-2).
///
/// # Errors
/// 0x90.
#[inline]
pub fn check_name(topic: &str) -> Result<(), Fault> {
    if topic.is_empty() || topic.len() > BYTES_MAX {
        return Err(bad_name("a topic name must have 1 to 65,535 octets"));
    }
    // No early end: without one the compiler compares many octets at once.
    let forbidden = |found: bool, octet: &u8| found | matches!(octet, b'+' | b'#' | 0);
    if topic.as_bytes().iter().fold(false, forbidden) {
        return Err(bad_name("a topic name has a wildcard"));
    }
    Ok(())
}

#[cold]
const fn bad_name(text: &'static str) -> Fault {
    Fault::new(ReasonCode::TopicNameInvalid, text)
}

const fn bad_filter(text: &'static str) -> Fault {
    Fault::new(ReasonCode::TopicFilterInvalid, text)
}

/// Whether it may be a filter: as a name, but `+` may stand for a level (MQTT-4.7.1-3 of 3.1.1,
/// MQTT-4.7.1-2 of 5.0) and `#` for the last ones (MQTT-4.7.1-2 of 3.1.1, MQTT-4.7.1-1 of 5.0).
/// `$share/{group}/{filter}` is a shared one (MQTT-4.8.2-1 and -2).
///
/// # Errors
/// 0x8F.
pub fn check_filter(text: &str) -> Result<Filter<'_>, Fault> {
    if text.len() > BYTES_MAX {
        return Err(bad_filter("a filter must have 1 to 65,535 octets"));
    }
    let Some(shared) = text.strip_prefix(SHARED) else {
        check_levels(text)?;
        return Ok(Filter { group: None, filter: text });
    };
    let Some((group, filter)) = shared.split_once('/') else {
        return Err(bad_filter("a shared subscription without a filter"));
    };
    if group.is_empty() || group.contains(['+', '#', '\0']) {
        return Err(bad_filter("the group of a shared subscription has no name"));
    }
    check_levels(filter)?;
    Ok(Filter { group: Some(group), filter })
}

fn check_levels(filter: &str) -> Result<(), Fault> {
    if filter.is_empty() {
        return Err(bad_filter("a filter must have 1 to 65,535 octets"));
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        if level == "+" || (level == "#" && is_last) {
            continue;
        }
        if level.contains(['+', '#', '\0']) {
            return Err(bad_filter("a wildcard in a filter does not stand for whole levels"));
        }
    }
    Ok(())
}

/// How many levels a name or filter has: one more than slashes.
#[must_use]
pub fn levels(topic: &str) -> usize {
    topic.bytes().filter(|&octet| octet == b'/').count().saturating_add(1)
}

/// Whether it is the filter of a shared subscription, good or bad.
#[must_use]
pub fn is_shared(filter: &str) -> bool {
    filter.starts_with(SHARED)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MQTT-3.3.2-2, MQTT-4.7.1-1, MQTT-4.7.3-1 to -3 (3.1.1 and 5.0)
    #[test]
    fn a_topic_name_is_any_text_of_the_right_length_without_wildcards() {
        for name in ["a", "/", "//", " ", "$SYS/x", "a/b/c", "\u{feff}x", "\u{1F600}"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        assert_eq!(check_name(&"x".repeat(65_535)), Ok(()));
        let long = "x".repeat(65_536);
        for name in ["", "+", "a/#", "a+b", "a\0b", &long] {
            assert_eq!(check_name(name).map_err(|f| f.code), Err(ReasonCode::TopicNameInvalid));
        }
    }

    /// MQTT-4.7.1-2 and -3 (3.1.1), MQTT-4.7.1-1 and -2 (5.0)
    #[test]
    fn a_wildcard_stands_for_whole_levels() {
        for filter in ["#", "+", "/", "a/#", "+/+/#", "/+", "+/", "a//b", "$SYS/#", "$share", "#a"]
        {
            let is_good = filter != "#a";
            assert_eq!(check_filter(filter).is_ok(), is_good, "{filter}");
        }
        for filter in ["", "a#", "a/#/b", "#/", "a+", "+a/b", "a/b+/c", "a\0", "##", "++"] {
            let code = check_filter(filter).map_err(|fault| fault.code);
            assert_eq!(code, Err(ReasonCode::TopicFilterInvalid), "{filter}");
        }
        assert!(check_filter(&"x".repeat(65_536)).is_err());
        assert!(check_filter(&"x".repeat(65_535)).is_ok());
    }

    /// MQTT-4.8.2-1, MQTT-4.8.2-2 (5.0)
    #[test]
    fn a_shared_filter_names_its_group() {
        let expected = Filter { group: Some("g"), filter: "a/+/#" };
        assert_eq!(check_filter("$share/g/a/+/#"), Ok(expected));
        assert_eq!(check_filter("$share/g//"), Ok(Filter { group: Some("g"), filter: "/" }));
        for filter in [
            "$share/",
            "$share/g",
            "$share/g/",
            "$share//a",
            "$share/+/a",
            "$share/g#/a",
            "$share/g/a#",
        ] {
            let code = check_filter(filter).map_err(|fault| fault.code);
            assert_eq!(code, Err(ReasonCode::TopicFilterInvalid), "{filter}");
        }
        assert!(is_shared("$share/") && !is_shared("$shared/x"));
    }

    #[test]
    fn levels_are_counted_with_the_empty_ones() {
        assert_eq!(["a", "a/b", "/", "//", "/a/"].map(levels), [1, 2, 2, 3, 3]);
    }
}
