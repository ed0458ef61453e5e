//! An ACL file as VerneMQ and Mosquitto write it: which topics may be published to (`write`) and
//! which filters may be subscribed to (`read`). Nothing is denied by a line; what no line allows is
//! denied (mqtt.md V-224, V-225).
//!
//! Compiled to trees of levels: a question costs a step per level and branch, whatever the number
//! of lines. One snapshot for all shards. May import `permission`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::permission::Access;

/// Levels of a rule: deeper ones are mistakes, and trees are walked by recursion.
const LEVELS_MAX: usize = 128;

/// The longest topic there is (mqtt.md 1.5.3-1: a length of two octets).
const FILTER_BYTES_MAX: usize = 65_535;

/// The rules of a file.
#[derive(Debug, Default)]
pub struct Acl {
    /// Lines before the first `user`: of every client, as VerneMQ's code has it.
    everyone: Node,
    users: HashMap<Box<str>, Arc<Node>>,
    patterns: Node,
}

/// What the placeholders of patterns stand for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    /// `%u`; `None` = a client without a name, whom no such rule fits.
    pub(super) user: Option<&'a str>,
    /// `%c`
    pub(super) client: &'a str,
    /// `%m`
    pub(super) mountpoint: &'a str,
}

/// A place in a tree of rules.
#[derive(Debug, Default)]
pub(super) struct Node {
    literals: BTreeMap<Box<str>, Self>,
    plus: Option<Box<Self>>,
    user: Option<Box<Self>>,
    client: Option<Box<Self>>,
    mountpoint: Option<Box<Self>>,
    /// A rule ends here.
    here: Granted,
    /// A rule ends here with `#`.
    below: Granted,
}

#[derive(Debug, Default, Clone, Copy)]
struct Granted {
    read: bool,
    write: bool,
}

impl Granted {
    const BOTH: Self = Self { read: true, write: true };

    const fn allows(self, access: Access) -> bool {
        match access {
            Access::Configure => false,
            Access::Write => self.write,
            Access::Read => self.read,
        }
    }

    fn add(&mut self, other: Self) {
        self.read |= other.read;
        self.write |= other.write;
    }
}

impl Acl {
    /// Reads a file.
    ///
    /// # Errors
    /// The first line that is none, from 1, and why.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut acl = Self::default();
        let mut users: HashMap<Box<str>, Node> = HashMap::new();
        let mut section: Option<Box<str>> = None;
        for (index, line) in text.lines().enumerate() {
            let wrong = |reason: String| (index + 1, reason);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (keyword, rest) = first_word(line);
            match keyword {
                "user" if !rest.is_empty() => {
                    users.entry(rest.into()).or_default();
                    section = Some(rest.into());
                }
                "user" => return Err(wrong("'user' without a name".into())),
                "topic" => {
                    let (granted, filter) = rule(rest).map_err(wrong)?;
                    let tree = match &section {
                        None => &mut acl.everyone,
                        Some(user) => users.entry(user.clone()).or_default(),
                    };
                    tree.add(filter, granted, false);
                }
                "pattern" => {
                    let (granted, filter) = rule(rest).map_err(wrong)?;
                    acl.patterns.add(filter, granted, true);
                }
                _ => {
                    return Err(wrong(format!("'{keyword}' is none of topic, user and pattern")));
                }
            }
        }
        acl.users = users.into_iter().map(|(user, tree)| (user, Arc::new(tree))).collect();
        Ok(acl)
    }

    /// The lines of a user.
    pub(super) fn of_user(&self, user: &str) -> Option<Arc<Node>> {
        self.users.get(user).cloned()
    }

    /// Whether a line lets a client publish to a topic or subscribe to a filter. `own`: its lines.
    pub(super) fn allows(
        &self,
        access: Access,
        topic: &str,
        own: Option<&Node>,
        who: Who<'_>,
    ) -> bool {
        self.everyone.covers(access, topic, who)
            || own.is_some_and(|own| own.covers(access, topic, who))
            || self.patterns.covers(access, topic, who)
    }
}

fn first_word(text: &str) -> (&str, &str) {
    match text.split_once(char::is_whitespace) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}

/// What follows `topic` or `pattern`. Topics may have blanks.
fn rule(rest: &str) -> Result<(Granted, &str), String> {
    let (granted, filter) = match first_word(rest) {
        ("" | "read" | "write" | "readwrite" | "deny", "") => return Err("no topic".into()),
        ("read", filter) => (Granted { read: true, write: false }, filter),
        ("write", filter) => (Granted { read: false, write: true }, filter),
        ("readwrite", filter) => (Granted::BOTH, filter),
        // To take it for a part of the topic would allow what the line wants denied.
        ("deny", _) => {
            return Err("there are no deny lines: what no line allows is denied".into());
        }
        _ => (Granted::BOTH, rest),
    };
    well_formed(filter).map(|()| (granted, filter))
}

fn well_formed(filter: &str) -> Result<(), String> {
    if filter.len() > FILTER_BYTES_MAX {
        return Err(format!("a topic has at most {FILTER_BYTES_MAX} bytes"));
    }
    if filter.contains('\0') {
        return Err("a topic has no NUL".into());
    }
    if filter.split('/').count() > LEVELS_MAX {
        return Err(format!("'{filter}' has more than {LEVELS_MAX} levels"));
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        if level.contains('#') && !(level == "#" && is_last) {
            return Err(format!("'{filter}': # stands alone in the last level"));
        }
        if level.contains('+') && level != "+" {
            return Err(format!("'{filter}': + stands alone in a level"));
        }
    }
    Ok(())
}

impl Node {
    fn add(&mut self, filter: &str, granted: Granted, is_pattern: bool) {
        let mut node = self;
        for level in filter.split('/') {
            node = match level {
                "#" => {
                    node.below.add(granted);
                    return;
                }
                "+" => node.plus.get_or_insert_default(),
                "%u" if is_pattern => node.user.get_or_insert_default(),
                "%c" if is_pattern => node.client.get_or_insert_default(),
                "%m" if is_pattern => node.mountpoint.get_or_insert_default(),
                _ => node.literals.entry(level.into()).or_default(),
            };
        }
        node.here.add(granted);
    }

    /// Whether every topic that `filter` matches is matched by a rule; a topic is a filter without
    /// wildcards. As in a subscription, `#` and `+` in the first level leave out what begins with $.
    fn covers(&self, access: Access, filter: &str, who: Who<'_>) -> bool {
        let (first, _) = first_level(filter);
        if first.starts_with('$') {
            return self.literals.get(first).is_some_and(|node| {
                let (_, rest) = first_level(filter);
                node.covers_rest(access, rest, who)
            });
        }
        // A first level always exists, so `+/#` matches as much as `#`.
        let all_with_plus = || self.plus.as_ref().is_some_and(|node| node.below.allows(access));
        (filter == "#" && all_with_plus()) || self.covers_rest(access, Some(filter), who)
    }

    /// `rest`: the levels that are left, `None` after the last.
    fn covers_rest(&self, access: Access, rest: Option<&str>, who: Who<'_>) -> bool {
        if self.below.allows(access) {
            return true;
        }
        let Some(rest) = rest else { return self.here.allows(access) };
        let (level, rest) = first_level(rest);
        let goes_on = |node: &Self| node.covers_rest(access, rest, who);
        match level {
            // Only a `#` covers it: it stands for any number of levels.
            "#" => false,
            // Not what a placeholder or a literal stands for, even of a client whose name is `+`.
            "+" => self.plus.as_deref().is_some_and(goes_on),
            _ => {
                self.literals.get(level).is_some_and(goes_on)
                    || self.plus.as_deref().is_some_and(goes_on)
                    || (who.user == Some(level) && self.user.as_deref().is_some_and(goes_on))
                    || (who.client == level && self.client.as_deref().is_some_and(goes_on))
                    || (who.mountpoint == level && self.mountpoint.as_deref().is_some_and(goes_on))
            }
        }
    }
}

fn first_level(filter: &str) -> (&str, Option<&str>) {
    match filter.split_once('/') {
        Some((level, rest)) => (level, Some(rest)),
        None => (filter, None),
    }
}

#[cfg(test)]
#[path = "acl_tests.rs"]
mod tests;
