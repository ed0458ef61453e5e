//! The users and vhosts of the start: the default user, or what a definitions file of RabbitMQ
//! or LavinMQ says (R97-R99, L87).
//!
//! Runs once, before any shard. May import `config` and the rest of `auth`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::password::PasswordHash;
use super::permission::{Pattern, Permission};
use super::topic::{TopicPermission, TopicRules};
use super::user::{User, Users};
use crate::config::{self, Config};
use crate::limits::{DEFINITIONS_BYTES_MAX, NAME_BYTES_MAX};

/// The vhost that always exists.
const ROOT_VHOST: &str = "/";

/// Parts of a definitions file that are read here, or that only say who wrote it.
const LOADED: &[&str] = &[
    "users",
    "vhosts",
    "permissions",
    "topic_permissions",
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

/// Why the users cannot be loaded: one line, the start stops.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionsError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is larger than any honest one.
    #[error("{}: larger than {DEFINITIONS_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not what it should be.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where in it and why.
        reason: String,
    },
    /// The setting is not a hash.
    #[error("main.default_password_hash: {0}")]
    DefaultUser(#[from] super::password::BadHash),
}

/// What the start knows about users and vhosts.
#[derive(Debug)]
pub struct Directory {
    /// The first snapshot.
    pub users: Users,
    /// All vhosts, `/` first, each once.
    pub vhosts: Vec<Box<str>>,
    /// Parts of the file that are not loaded yet, with the number of their entries.
    pub not_loaded: Vec<(Box<str>, usize)>,
}

/// Makes the users and vhosts of the start from the settings.
///
/// The default user exists unless a definitions file brings users of its own: who brings users
/// does not want a well-known password besides them. The loopback rule holds for its name either
/// way.
///
/// # Errors
/// When the definitions file cannot be read or has anything that would have to be left out of the
/// users, vhosts or permissions.
pub fn load(config: &Config) -> Result<Directory, DefinitionsError> {
    let draft = match &config.main.load_definitions {
        None => Draft::default(),
        Some(path) => Draft::read(&read(path)?)
            .map_err(|reason| DefinitionsError::Content { path: path.clone(), reason })?,
    };
    let mut directory = assemble(draft, &config.main)?;
    let rules = TopicRules {
        check_permissions: config.mqtt.permission_check_enabled,
        translation: config.mqtt.topic_translation,
        acl: None,
    };
    // Without it somebody could tell who exists, and that is all.
    let mut secret = [0; 16];
    let _ = getrandom::fill(&mut secret);
    let users = directory.users.with_topic_rules(rules, config.mqtt.allows_anonymous());
    directory.users = users.with_secret(secret);
    Ok(directory)
}

fn read(path: &Path) -> Result<String, DefinitionsError> {
    let failed = |source| DefinitionsError::Read { path: path.into(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > DEFINITIONS_BYTES_MAX {
        return Err(DefinitionsError::TooLarge { path: path.into() });
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn assemble(mut draft: Draft, settings: &config::Main) -> Result<Directory, DefinitionsError> {
    let default_user = &settings.default_user;
    if draft.users.is_empty() {
        let mut user = User {
            name: default_user.as_str().into(),
            password: Some(PasswordHash::parse(&settings.default_password_hash, None)?),
            tags: vec!["administrator".into()],
            permissions: Vec::new(),
        };
        user.permit(ROOT_VHOST, Permission::all());
        draft.users.insert(user.name.clone(), user);
    }
    draft.apply_permissions().map_err(|reason| DefinitionsError::Content {
        path: settings.load_definitions.clone().unwrap_or_default(),
        reason,
    })?;
    let loopback_only = settings.default_user_only_loopback.then_some(default_user.as_str());
    let mut users = Users::new(draft.users.into_values(), loopback_only);
    for (_, user, permission) in draft.topic_permissions {
        users.permit_topics(&user, permission);
    }
    Ok(Directory { users, vhosts: draft.vhosts, not_loaded: draft.not_loaded })
}

/// A file that has been read, before its permissions meet its users.
#[derive(Debug)]
struct Draft {
    users: BTreeMap<Box<str>, User>,
    vhosts: Vec<Box<str>>,
    permissions: Vec<(usize, Grant)>,
    topic_permissions: Vec<(usize, Box<str>, TopicPermission)>,
    not_loaded: Vec<(Box<str>, usize)>,
}

#[derive(Debug)]
struct Grant {
    user: Box<str>,
    vhost: Box<str>,
    permission: Permission,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            users: BTreeMap::new(),
            vhosts: vec![ROOT_VHOST.into()],
            permissions: Vec::new(),
            topic_permissions: Vec::new(),
            not_loaded: Vec::new(),
        }
    }
}

impl Draft {
    fn read(text: &str) -> Result<Self, String> {
        let root: Value = serde_json::from_str(text).map_err(|e| format!("not JSON: {e}"))?;
        let root = root.as_object().ok_or("the file is not a JSON object")?;
        let mut draft = Self::default();
        for (index, entry) in entries(root, "users")? {
            let user = user(entry).map_err(|e| format!("users[{index}]: {e}"))?;
            draft.users.insert(user.name.clone(), user);
        }
        for (index, entry) in entries(root, "vhosts")? {
            let vhost = name(entry, "name").map_err(|e| format!("vhosts[{index}]: {e}"))?;
            if !draft.vhosts.contains(&vhost) {
                draft.vhosts.push(vhost);
            }
        }
        for (index, entry) in entries(root, "permissions")? {
            let grant = grant(entry).map_err(|e| format!("permissions[{index}]: {e}"))?;
            draft.permissions.push((index, grant));
        }
        for (index, entry) in entries(root, "topic_permissions")? {
            let grant = topic_grant(entry);
            let (user, topics) = grant.map_err(|e| format!("topic_permissions[{index}]: {e}"))?;
            draft.topic_permissions.push((index, user, topics));
        }
        draft.not_loaded = root
            .iter()
            .filter(|(key, _)| !LOADED.contains(&key.as_str()))
            .map(|(key, part)| (key.as_str().into(), entry_count(part)))
            .filter(|(_, count)| *count > 0)
            .collect();
        Ok(draft)
    }

    fn apply_permissions(&mut self) -> Result<(), String> {
        for (index, grant) in std::mem::take(&mut self.permissions) {
            if !self.vhosts.contains(&grant.vhost) {
                return Err(format!("permissions[{index}]: there is no vhost '{}'", grant.vhost));
            }
            match self.users.get_mut(&grant.user) {
                Some(user) => user.permit(&grant.vhost, grant.permission),
                None => {
                    return Err(format!("permissions[{index}]: there is no user '{}'", grant.user));
                }
            }
        }
        // A right that is narrowed for nobody would be a right that is not narrowed.
        for (index, user, permission) in &self.topic_permissions {
            let vhost = permission.vhost();
            if !self.users.contains_key(user) {
                return Err(format!("topic_permissions[{index}]: there is no user '{user}'"));
            }
            if !self.vhosts.iter().any(|known| &**known == vhost) {
                return Err(format!("topic_permissions[{index}]: there is no vhost '{vhost}'"));
            }
        }
        Ok(())
    }
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
) -> Result<impl Iterator<Item = (usize, &'a Map<String, Value>)>, String> {
    let list: &[Value] = match root.get(key) {
        None | Some(Value::Null) => &[],
        Some(value) => value.as_array().ok_or_else(|| format!("'{key}' is not a list"))?,
    };
    if let Some(index) = list.iter().position(|entry| !entry.is_object()) {
        return Err(format!("{key}[{index}] is not an object"));
    }
    Ok(list.iter().enumerate().filter_map(|(index, entry)| Some((index, entry.as_object()?))))
}

fn name(entry: &Map<String, Value>, key: &str) -> Result<Box<str>, String> {
    let name = text(entry, key)?;
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(name.into()),
        0 => Err(format!("'{key}' is empty")),
        n => Err(format!("'{key}' has {n} bytes, more than {NAME_BYTES_MAX}")),
    }
}

fn text<'a>(entry: &'a Map<String, Value>, key: &str) -> Result<&'a str, String> {
    match entry.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("'{key}' is not a string")),
        None => Err(format!("'{key}' is missing")),
    }
}

fn user(entry: &Map<String, Value>) -> Result<User, String> {
    let name = name(entry, "name")?;
    // No hash and an empty one mean the same: this user never logs in with a password (L60).
    let password = match entry.get("password_hash") {
        None | Some(Value::Null) => None,
        Some(Value::String(hash)) if hash.is_empty() => None,
        Some(Value::String(hash)) => {
            let algorithm = match entry.get("hashing_algorithm") {
                None | Some(Value::Null) => None,
                Some(Value::String(algorithm)) => Some(algorithm.as_str()),
                Some(_) => return Err(format!("user '{name}': bad 'hashing_algorithm'")),
            };
            let hash = PasswordHash::parse(hash, algorithm);
            Some(hash.map_err(|e| format!("user '{name}': {e}"))?)
        }
        Some(_) => return Err(format!("user '{name}': 'password_hash' is not a string")),
    };
    let tags = tags(entry.get("tags")).map_err(|e| format!("user '{name}': {e}"))?;
    Ok(User { name, password, tags, permissions: Vec::new() })
}

/// A list of words, or one string with commas as older files have it (R98).
fn tags(value: Option<&Value>) -> Result<Vec<Box<str>>, String> {
    let bad = || "'tags' is neither a list of strings nor a string".to_owned();
    let words: Vec<&str> = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => text.split(',').collect(),
        Some(Value::Array(list)) => {
            list.iter().map(|v| v.as_str().ok_or_else(bad)).collect::<Result<_, _>>()?
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => return Err(bad()),
    };
    Ok(words.into_iter().map(str::trim).filter(|w| !w.is_empty()).map(Into::into).collect())
}

fn grant(entry: &Map<String, Value>) -> Result<Grant, String> {
    let pattern = |key| Pattern::parse(text(entry, key)?).map_err(|e| format!("'{key}': {e}"));
    Ok(Grant {
        user: name(entry, "user")?,
        vhost: name(entry, "vhost")?,
        permission: Permission {
            configure: pattern("configure")?,
            write: pattern("write")?,
            read: pattern("read")?,
        },
    })
}

/// The user, and what is narrowed.
fn topic_grant(entry: &Map<String, Value>) -> Result<(Box<str>, TopicPermission), String> {
    let (user, vhost) = (name(entry, "user")?, name(entry, "vhost")?);
    let (write, read) = (text(entry, "write")?, text(entry, "read")?);
    let at = (&*vhost, text(entry, "exchange")?);
    let permission = TopicPermission::parse(&user, at, write, read)?;
    Ok((user, permission))
}

#[cfg(test)]
#[path = "definitions_tests.rs"]
mod tests;
