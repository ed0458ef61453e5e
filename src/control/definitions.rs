//! Definitions files of RabbitMQ and LavinMQ (R97-R102, L87): read into changes, written from the
//! state. Either all of a file is taken or nothing. May import `entry`, `change`, `state`.

use serde_json::{Map, Value, json};

use super::change::{Change, Refused};
use super::entry::{self, Entry};
use super::state::State;

/// Parts of a file that only say who wrote it.
const ABOUT: &[&str] = &[
    "rabbit_version",
    "rabbitmq_version",
    "lavinmq_version",
    "product_name",
    "product_version",
    "rabbitmq_definition_format",
    "original_cluster_name",
    "original_vhost_name",
    "metadata",
    "explanation",
];

type Read = fn(&Entry, &mut Vec<Change>) -> Result<(), String>;

/// Parts of a file that are read, in the order in which they count (R102).
const PARTS: &[(&str, Read)] = &[
    ("users", entry::user),
    ("vhosts", entry::vhost),
    ("permissions", entry::permission),
    ("topic_permissions", entry::topic_permission),
    ("global_parameters", entry::global_parameter),
    ("parameters", parameter),
];

/// The component of parameters that are the limits of a virtual host (R99).
const LIMITS: &str = "vhost-limits";

/// Entries of all parts that are read, in one file (abuse row 100): each pattern in them is compiled,
/// and all of them become one change. RabbitMQ's users of this scale have some thousands.
const ENTRIES_MAX: usize = 100_000;

/// Of them, those that files of one virtual host have (R101).
const OF_VHOST: &[&str] = &["parameters"];

/// What a file says.
#[derive(Debug, Default)]
pub struct Definitions {
    /// What is to be changed.
    changes: Vec<Change>,
    /// Where each change stands: the part and the place in it.
    places: Vec<(&'static str, usize)>,
    /// Parts that are not read, with the number of their entries.
    pub not_loaded: Vec<(Box<str>, usize)>,
}

impl Definitions {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it is not what it should be, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let root = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        Self::read(&root)
    }

    /// The same of a document that has been parsed.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn read(root: &Value) -> Result<Self, String> {
        let root = root.as_object().ok_or("the file is not a JSON object")?;
        let count: usize =
            PARTS.iter().map(|(part, _)| root.get(*part).map_or(0, entry_count)).sum();
        if count > ENTRIES_MAX {
            return Err(format!("{count} entries are more than {ENTRIES_MAX}"));
        }
        let mut read = Self::default();
        for (part, read_entry) in PARTS {
            for (index, entry) in entries(root, part)? {
                read_entry(entry, &mut read.changes)
                    .map_err(|error| format!("{part}[{index}]: {error}"))?;
                read.places.resize(read.changes.len(), (part, index));
            }
        }
        let is_read =
            |key: &str| ABOUT.contains(&key) || PARTS.iter().any(|(part, _)| *part == key);
        read.not_loaded = root
            .iter()
            .filter(|(key, _)| !is_read(key))
            .map(|(key, part)| (key.as_str().into(), entry_count(part)))
            .filter(|(_, count)| *count > 0)
            .collect();
        Ok(read)
    }

    /// Reads a file of one virtual host (R101): what it says is about that, whatever else it names.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_for(text: &str, vhost: &str) -> Result<Self, String> {
        let root: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        let root = root.as_object().ok_or("the file is not a JSON object")?;
        let mut own = root.clone();
        for (part, _) in PARTS {
            if !OF_VHOST.contains(part) {
                own.remove(*part);
            }
        }
        for part in OF_VHOST {
            let Some(Value::Array(list)) = own.get_mut(*part) else { continue };
            for entry in list.iter_mut().filter_map(Value::as_object_mut) {
                entry.insert("vhost".into(), vhost.into());
            }
        }
        let mut read = Self::read(&Value::Object(own))?;
        let others = PARTS.iter().filter(|(part, _)| !OF_VHOST.contains(part));
        let others = others.filter_map(|(part, _)| Some((*part, entry_count(root.get(*part)?))));
        let others = others.filter(|(_, count)| *count > 0);
        read.not_loaded.extend(others.map(|(part, count)| (part.into(), count)));
        Ok(read)
    }

    /// What is to be changed, all at once.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Whether there are users in it.
    pub fn has_users(&self) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::PutUser { .. }))
    }

    /// Says where the change stands that cannot be.
    pub fn explain(&self, index: usize, refused: &Refused) -> String {
        match self.places.get(index) {
            Some((part, index)) => format!("{part}[{index}]: {refused}"),
            None => refused.to_string(),
        }
    }
}

/// A parameter; only the limits of virtual hosts mean something here.
fn parameter(entry: &Entry, changes: &mut Vec<Change>) -> Result<(), String> {
    let component = entry::text(entry, "component")?;
    if component == LIMITS {
        let name = entry::name(entry, "vhost")?;
        let limits = entry::vhost_limits(entry.get("value"))?;
        changes.push(Change::SetVhostLimits { name, limits });
    }
    Ok(())
}

/// Everything as one file, for RabbitMQ and LavinMQ as well but for hashes that are argon2id.
pub fn export(state: &State) -> Value {
    let mut root = Map::new();
    root.insert("product_name".into(), "RingMQ".into());
    root.insert("product_version".into(), env!("CARGO_PKG_VERSION").into());
    // What tools look for to know the format.
    root.insert("rabbit_version".into(), "4.1.0".into());
    root.insert("rabbitmq_version".into(), "4.1.0".into());
    for (key, value) in parts(state) {
        root.insert(key.into(), value);
    }
    put_empty(&mut root);
    Value::Object(root)
}

/// Clients want these lists to be there. What they would hold is not told by this version.
fn put_empty(root: &mut Map<String, Value>) {
    for part in ["policies", "queues", "exchanges", "bindings"] {
        root.insert(part.into(), json!([]));
    }
}

/// What there is of one virtual host, without its name in each entry (R101).
pub fn export_vhost(state: &State, vhost: &str) -> Value {
    let mut root = Map::new();
    root.insert("rabbit_version".into(), "4.1.0".into());
    root.insert("rabbitmq_version".into(), "4.1.0".into());
    root.insert("original_vhost_name".into(), vhost.into());
    for (key, value) in parts(state) {
        let Value::Array(list) = value else { continue };
        if !OF_VHOST.contains(&key) {
            continue;
        }
        let own = list.into_iter().filter_map(|entry| {
            let Value::Object(mut entry) = entry else { return None };
            (entry.remove("vhost")?.as_str() == Some(vhost)).then_some(Value::Object(entry))
        });
        root.insert(key.into(), own.collect());
    }
    put_empty(&mut root);
    Value::Object(root)
}

/// The parts of a file that this broker keeps.
pub(super) fn parts(state: &State) -> [(&'static str, Value); 6] {
    let vhosts = || state.vhosts.iter().filter(|(_, vhost)| !vhost.is_leaving);
    let limits = vhosts().filter_map(|(name, vhost)| {
        let value = entry::vhost_limits_json(vhost.limits);
        let is_set = value.as_object().is_some_and(|limits| !limits.is_empty());
        is_set.then(
            || json!({ "vhost": name, "component": LIMITS, "name": "limits", "value": value }),
        )
    });
    let users = state.users.iter().map(|(name, user)| entry::user_json(name, user));
    let permissions = state
        .permissions
        .iter()
        .map(|((user, vhost), permission)| entry::permission_json(user, vhost, permission));
    let topics = state.topic_permissions.iter().map(|((user, vhost, exchange), permission)| {
        entry::topic_permission_json(user, (vhost, exchange), permission)
    });
    let parameters = state.global_parameters.iter();
    let parameters = parameters.map(|(name, value)| json!({ "name": name, "value": &**value }));
    [
        ("users", users.collect()),
        ("vhosts", vhosts().map(|(name, vhost)| entry::vhost_json(name, vhost)).collect()),
        ("permissions", permissions.collect()),
        ("topic_permissions", topics.collect()),
        ("global_parameters", parameters.collect()),
        ("parameters", limits.collect()),
    ]
}

fn entry_count(part: &Value) -> usize {
    match part {
        Value::Null => 0,
        Value::Array(entries) => entries.len(),
        Value::Object(entries) => entries.len(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
    }
}

fn entries<'a>(
    root: &'a Map<String, Value>,
    key: &str,
) -> Result<impl Iterator<Item = (usize, &'a Entry)>, String> {
    let list: &[Value] = match root.get(key) {
        None | Some(Value::Null) => &[],
        Some(value) => value.as_array().ok_or_else(|| format!("'{key}' is not a list"))?,
    };
    if let Some(index) = list.iter().position(|entry| !entry.is_object()) {
        return Err(format!("{key}[{index}] is not an object"));
    }
    Ok(list.iter().enumerate().filter_map(|(index, entry)| Some((index, entry.as_object()?))))
}

#[cfg(test)]
#[path = "definitions_tests.rs"]
mod tests;
