//! An ACL file as VerneMQ and Mosquitto write it: which topics may be published to (`write`) and
//! which filters may be subscribed to (`read`). What no line allows is denied (mqtt.md V-224,
//! V-225); what a `deny` line (Mosquitto's) names is denied whatever other lines allow.
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
    /// Lines before the first `user`: of every client, as VerneMQ's code has it, unless
    /// `nameless_first`.
    everyone: Node,
    users: HashMap<Box<str>, Arc<Node>>,
    patterns: Node,
    /// There are lines that deny.
    denies: bool,
    /// The first lines are for clients without a name alone, as Mosquitto has it.
    nameless_first: bool,
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
    denied: bool,
}

/// What a rule is asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Granted(Access),
    Denied,
}

impl Granted {
    const NOTHING: Self = Self { read: false, write: false, denied: false };
    const READ: Self = Self { read: true, ..Self::NOTHING };
    const WRITE: Self = Self { write: true, ..Self::NOTHING };
    const BOTH: Self = Self { read: true, ..Self::WRITE };
    const DENIED: Self = Self { denied: true, ..Self::NOTHING };

    const fn says(self, asked: Asked) -> bool {
        match asked {
            Asked::Granted(Access::Configure) => false,
            Asked::Granted(Access::Write) => self.write,
            Asked::Granted(Access::Read) => self.read,
            Asked::Denied => self.denied,
        }
    }

    fn add(&mut self, other: Self) {
        self.read |= other.read;
        self.write |= other.write;
        self.denied |= other.denied;
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
                    acl.denies |= granted.denied;
                    let tree = match &section {
                        None => &mut acl.everyone,
                        Some(user) => users.entry(user.clone()).or_default(),
                    };
                    tree.add(filter, granted, false);
                }
                "pattern" => {
                    let (granted, filter) = rule(rest).map_err(wrong)?;
                    acl.denies |= granted.denied;
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

    /// The lines before the first `user` are for clients without a name alone.
    #[must_use]
    pub fn with_nameless_first(self, nameless_first: bool) -> Self {
        Self { nameless_first, ..self }
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
        let mut trees = self.trees(own, who);
        trees.any(|tree| tree.covers(Asked::Granted(access), topic, who))
    }

    /// Whether a line denies a topic, or all that a filter matches.
    pub(super) fn denies(&self, topic: &str, own: Option<&Node>, who: Who<'_>) -> bool {
        self.denies && self.trees(own, who).any(|tree| tree.covers(Asked::Denied, topic, who))
    }

    /// Whether a line denies something that a filter matches.
    pub(super) fn denies_part(&self, filter: &str, own: Option<&Node>, who: Who<'_>) -> bool {
        self.denies && self.trees(own, who).any(|tree| tree.meets_denied(filter, who))
    }

    fn trees<'a>(
        &'a self,
        own: Option<&'a Node>,
        who: Who<'_>,
    ) -> impl Iterator<Item = &'a Node> + use<'a> {
        let first = Some(&self.everyone).filter(|_| !self.nameless_first || who.user.is_none());
        [first, own, Some(&self.patterns)].into_iter().flatten()
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
        ("read", filter) => (Granted::READ, filter),
        ("write", filter) => (Granted::WRITE, filter),
        ("readwrite", filter) => (Granted::BOTH, filter),
        ("deny", filter) => (Granted::DENIED, filter),
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
    fn covers(&self, asked: Asked, filter: &str, who: Who<'_>) -> bool {
        let (first, _) = first_level(filter);
        if first.starts_with('$') {
            return self.literals.get(first).is_some_and(|node| {
                let (_, rest) = first_level(filter);
                node.covers_rest(asked, rest, who)
            });
        }
        // A first level always exists, so `+/#` matches as much as `#`.
        let all_with_plus = || self.plus.as_ref().is_some_and(|node| node.below.says(asked));
        (filter == "#" && all_with_plus()) || self.covers_rest(asked, Some(filter), who)
    }

    /// `rest`: the levels that are left, `None` after the last.
    fn covers_rest(&self, asked: Asked, rest: Option<&str>, who: Who<'_>) -> bool {
        if self.below.says(asked) {
            return true;
        }
        let Some(rest) = rest else { return self.here.says(asked) };
        let (level, rest) = first_level(rest);
        let goes_on = |node: &Self| node.covers_rest(asked, rest, who);
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

    /// Whether a rule that denies and `filter` have a topic in common.
    fn meets_denied(&self, filter: &str, who: Who<'_>) -> bool {
        let (first, rest) = first_level(filter);
        if first.starts_with('$') {
            let node = self.literals.get(first);
            return node.is_some_and(|node| node.meets_rest(rest, who));
        }
        // Wildcards in the first level leave out what begins with $, here as there.
        let plain = |(name, node)| (!str::starts_with(name, '$')).then_some(node);
        let literals = self.literals.iter().map(|(name, node)| (&**name, node));
        let children = || literals.filter_map(plain).chain(self.stand_ins(who));
        match first {
            "#" => self.below.denied || children().any(|node| node.has_denied(who)),
            "+" => self.below.denied || children().any(|node| node.meets_rest(rest, who)),
            _ => self.meets_rest(Some(filter), who),
        }
    }

    fn meets_rest(&self, rest: Option<&str>, who: Who<'_>) -> bool {
        if self.below.denied {
            return true;
        }
        let Some(rest) = rest else { return self.here.denied };
        let (level, rest) = first_level(rest);
        let goes_on = |node: &Self| node.meets_rest(rest, who);
        match level {
            "#" => self.has_denied(who),
            "+" => self.literals.values().chain(self.stand_ins(who)).any(goes_on),
            _ => {
                self.literals.get(level).is_some_and(goes_on)
                    || self.plus.as_deref().is_some_and(goes_on)
                    || (who.user == Some(level) && self.user.as_deref().is_some_and(goes_on))
                    || (who.client == level && self.client.as_deref().is_some_and(goes_on))
                    || (who.mountpoint == level && self.mountpoint.as_deref().is_some_and(goes_on))
            }
        }
    }

    /// A rule that denies ends here or below.
    fn has_denied(&self, who: Who<'_>) -> bool {
        let mut children = self.literals.values().chain(self.stand_ins(who));
        self.here.denied || self.below.denied || children.any(|node| node.has_denied(who))
    }

    /// Places below this one that are no literals.
    fn stand_ins(&self, who: Who<'_>) -> impl Iterator<Item = &Self> {
        let user = self.user.as_deref().filter(|_| who.user.is_some());
        let others = [self.plus.as_deref(), self.client.as_deref(), self.mountpoint.as_deref()];
        user.into_iter().chain(others.into_iter().flatten())
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
