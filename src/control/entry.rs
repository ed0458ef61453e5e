//! Users, virtual hosts, permissions, limits and parameters as RabbitMQ and LavinMQ write them in
//! definitions files (R97-R99, L87), read into changes and written from the state. May import the
//! types of this folder, `serde_json`.

use serde_json::{Map, Value, json};

use super::change::Change;
use super::state::{
    Password, PermissionEntry, TopicPermissionEntry, UserEntry, UserLimits, VhostEntry, VhostLimits,
};
use crate::limits::NAME_BYTES_MAX;

/// One entry of a list.
pub(super) type Entry = Map<String, Value>;

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

/// A name with 1 to 255 bytes.
pub(super) fn name(entry: &Entry, key: &str) -> Result<Box<str>, String> {
    let name = text(entry, key)?;
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(name.into()),
        0 => Err(format!("'{key}' is empty")),
        n => Err(format!("'{key}' has {n} bytes, more than {NAME_BYTES_MAX}")),
    }
}

pub(super) fn text<'a>(entry: &'a Entry, key: &str) -> Result<&'a str, String> {
    match entry.get(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("'{key}' is not a string")),
        None => Err(format!("'{key}' is missing")),
    }
}

fn text_or_none(value: Option<&Value>, key: &str) -> Result<Box<str>, String> {
    match value {
        None | Some(Value::Null) => Ok("".into()),
        Some(Value::String(text)) => Ok(text.as_str().into()),
        Some(_) => Err(format!("'{key}' is not a string")),
    }
}

/// A limit; a negative one is none (S22).
fn limit(limits: &Entry, key: &str) -> Result<Option<u32>, String> {
    match limits.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_i64() {
            Some(n) if n < 0 => Ok(None),
            Some(n) => {
                u32::try_from(n).map(Some).map_err(|_| format!("'{key}' is too large a number"))
            }
            None => Err(format!("'{key}' is not a number")),
        },
    }
}

/// The limits of a user, of an object with them or of what stands for none.
pub(super) fn user_limits(value: Option<&Value>) -> Result<UserLimits, String> {
    let Some(limits) = value.and_then(Value::as_object) else { return Ok(UserLimits::default()) };
    Ok(UserLimits {
        max_connections: limit(limits, "max-connections")?,
        max_channels: limit(limits, "max-channels")?,
    })
}

/// The limits of a virtual host. RabbitMQ's list of pairs is read as well.
pub(super) fn vhost_limits(value: Option<&Value>) -> Result<VhostLimits, String> {
    let pairs: Entry = match value {
        Some(Value::Object(limits)) => limits.clone(),
        Some(Value::Array(list)) => list.iter().filter_map(pair).collect(),
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
            Entry::default()
        }
    };
    Ok(VhostLimits {
        max_connections: limit(&pairs, "max-connections")?,
        max_queues: limit(&pairs, "max-queues")?,
    })
}

fn pair(value: &Value) -> Option<(String, Value)> {
    let pair = value.as_object()?;
    Some((pair.get("name")?.as_str()?.to_owned(), pair.get("value")?.clone()))
}

/// A user with limits, if the entry has any.
pub(super) fn user(entry: &Entry, changes: &mut Vec<Change>) -> Result<(), String> {
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
            let password = Password::parse(hash, algorithm);
            Some(password.map_err(|e| format!("user '{name}': {e}"))?)
        }
        Some(_) => return Err(format!("user '{name}': 'password_hash' is not a string")),
    };
    let tags = tags(entry.get("tags")).map_err(|e| format!("user '{name}': {e}"))?;
    let limits =
        user_limits(entry.get("limits")).map_err(|e| format!("user '{name}': limits: {e}"))?;
    changes.push(Change::PutUser { name: name.clone(), password, tags });
    if limits != UserLimits::default() {
        changes.push(Change::SetUserLimits { name, limits });
    }
    Ok(())
}

/// A virtual host with limits, if the entry has any. What it is for stands in `metadata` (RabbitMQ)
/// or beside the name.
pub(super) fn vhost(entry: &Entry, changes: &mut Vec<Change>) -> Result<(), String> {
    let name = name(entry, "name")?;
    let metadata = entry.get("metadata").and_then(Value::as_object);
    let field = |key: &str| {
        let own = entry.get(key).filter(|value| !value.is_null());
        own.or_else(|| metadata.and_then(|metadata| metadata.get(key)))
    };
    let default_queue_type = match field("default_queue_type") {
        // How RabbitMQ writes that there is none.
        Some(Value::String(none)) if none == "undefined" => "".into(),
        value => text_or_none(value, "default_queue_type")?,
    };
    changes.push(Change::PutVhost {
        name: name.clone(),
        description: text_or_none(field("description"), "description")?,
        tags: tags(field("tags"))?,
        default_queue_type,
        is_protected: field("protected_from_deletion").and_then(Value::as_bool).unwrap_or(false),
    });
    let limits = vhost_limits(entry.get("limits"))?;
    if limits != VhostLimits::default() {
        changes.push(Change::SetVhostLimits { name, limits });
    }
    Ok(())
}

pub(super) fn permission(entry: &Entry, changes: &mut Vec<Change>) -> Result<(), String> {
    let (user, vhost) = (name(entry, "user")?, name(entry, "vhost")?);
    let (configure, write) = (text(entry, "configure")?, text(entry, "write")?);
    let permission = PermissionEntry::parse(configure, write, text(entry, "read")?)?;
    changes.push(Change::PutPermission { user, vhost, permission });
    Ok(())
}

pub(super) fn topic_permission(entry: &Entry, changes: &mut Vec<Change>) -> Result<(), String> {
    let (user, vhost) = (name(entry, "user")?, name(entry, "vhost")?);
    let (write, read) = (text(entry, "write")?, text(entry, "read")?);
    let exchange = text(entry, "exchange")?;
    let permission = TopicPermissionEntry::parse(&user, (&vhost, exchange), write, read)?;
    changes.push(Change::PutTopicPermission { user, vhost, exchange: exchange.into(), permission });
    Ok(())
}

pub(super) fn global_parameter(entry: &Entry, changes: &mut Vec<Change>) -> Result<(), String> {
    let value = entry.get("value").ok_or("'value' is missing")?.clone().into();
    changes.push(Change::PutGlobalParameter { name: name(entry, "name")?, value });
    Ok(())
}

/// A user as definitions files have it.
pub fn user_json(name: &str, user: &UserEntry) -> Value {
    let (hash, algorithm) = user.password.as_ref().map_or(("", ""), |p| (p.text(), p.algorithm()));
    json!({
        "name": name,
        "password_hash": hash,
        "hashing_algorithm": algorithm,
        "tags": user.tags,
        "limits": user_limits_json(user.limits),
    })
}

/// The limits of a user that are set, by name.
pub fn user_limits_json(limits: UserLimits) -> Value {
    limits_json([
        ("max-connections", limits.max_connections),
        ("max-channels", limits.max_channels),
    ])
}

/// The limits of a virtual host that are set, by name.
pub fn vhost_limits_json(limits: VhostLimits) -> Value {
    limits_json([("max-connections", limits.max_connections), ("max-queues", limits.max_queues)])
}

fn limits_json(limits: [(&str, Option<u32>); 2]) -> Value {
    let set = limits.into_iter().filter_map(|(name, n)| Some((name.to_owned(), n?.into())));
    Value::Object(set.collect())
}

/// A virtual host as definitions files have it, without its limits.
pub fn vhost_json(name: &str, vhost: &VhostEntry) -> Value {
    let mut metadata = json!({ "description": vhost.description, "tags": vhost.tags });
    if let Some(metadata) = metadata.as_object_mut() {
        if !vhost.default_queue_type.is_empty() {
            metadata.insert("default_queue_type".into(), json!(vhost.default_queue_type));
        }
        if vhost.is_protected {
            metadata.insert("protected_from_deletion".into(), Value::Bool(true));
        }
    }
    let mut entry = metadata.clone();
    if let Some(entry) = entry.as_object_mut() {
        entry.insert("name".into(), name.into());
        entry.insert("metadata".into(), metadata);
    }
    entry
}

/// A permission as definitions files have it.
pub fn permission_json(user: &str, vhost: &str, permission: &PermissionEntry) -> Value {
    json!({
        "user": user,
        "vhost": vhost,
        "configure": permission.configure,
        "write": permission.write,
        "read": permission.read,
    })
}

/// A topic permission as definitions files have it.
pub fn topic_permission_json(
    user: &str,
    (vhost, exchange): (&str, &str),
    permission: &TopicPermissionEntry,
) -> Value {
    json!({
        "user": user,
        "vhost": vhost,
        "exchange": exchange,
        "write": permission.write,
        "read": permission.read,
    })
}
