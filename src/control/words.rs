//! Changes as the text of the journal's records, and the state as the text of a snapshot. Entries are
//! those of definitions files. May import `change`, `definitions`, `entry`, `state`.

use serde_json::{Map, Value, json};

use super::change::Change;
use super::definitions::{self, Definitions};
use super::entry::{self, Entry};
use super::state::{State, UserEntry, VhostEntry};

/// What a record calls its changes.
const DO: &str = "do";

/// Of a snapshot: what definitions files do not have.
const OWN: &str = "ringmq";

/// Changes that were made at once.
pub(super) fn changes_text(changes: &[Change]) -> Vec<u8> {
    let list: Value = changes.iter().map(change_json).collect();
    list.to_string().into_bytes()
}

fn change_json(change: &Change) -> Value {
    let (word, mut entry) = match change {
        Change::PutUser { name, password, tags } => {
            let user = UserEntry {
                password: password.clone(),
                tags: tags.clone(),
                ..UserEntry::default()
            };
            ("put user", entry::user_json(name, &user))
        }
        Change::DeleteUser { name } => ("delete user", json!({ "name": name })),
        Change::SetUserLimits { name, limits } => {
            let limits = entry::user_limits_json(*limits);
            ("set user limits", json!({ "name": name, "limits": limits }))
        }
        Change::PutVhost { name, description, tags, default_queue_type, is_protected } => {
            let vhost = VhostEntry {
                description: description.clone(),
                tags: tags.clone(),
                default_queue_type: default_queue_type.clone(),
                is_protected: *is_protected,
                ..VhostEntry::default()
            };
            ("put vhost", entry::vhost_json(name, &vhost))
        }
        Change::DeleteVhost { name } => ("delete vhost", json!({ "name": name })),
        Change::ForgetVhost { name } => ("forget vhost", json!({ "name": name })),
        Change::SetVhostLimits { name, limits } => {
            let limits = entry::vhost_limits_json(*limits);
            ("set vhost limits", json!({ "name": name, "limits": limits }))
        }
        Change::PutPermission { user, vhost, permission } => {
            ("put permission", entry::permission_json(user, vhost, permission))
        }
        Change::DeletePermission { user, vhost } => {
            ("delete permission", json!({ "user": user, "vhost": vhost }))
        }
        Change::PutTopicPermission { user, vhost, exchange, permission } => (
            "put topic permission",
            entry::topic_permission_json(user, (vhost, exchange), permission),
        ),
        Change::DeleteTopicPermission { user, vhost, exchange } => (
            "delete topic permission",
            json!({ "user": user, "vhost": vhost, "exchange": exchange }),
        ),
        Change::PutGlobalParameter { name, value } => {
            ("put global parameter", json!({ "name": name, "value": &**value }))
        }
        Change::DeleteGlobalParameter { name } => {
            ("delete global parameter", json!({ "name": name }))
        }
        Change::Imported { checksum } => ("imported", json!({ "checksum": checksum })),
    };
    if let Some(entry) = entry.as_object_mut() {
        entry.insert(DO.into(), word.into());
    }
    entry
}

/// Reads the text of a record.
///
/// # Errors
/// What is not understood.
pub(super) fn read_changes(text: &[u8]) -> Result<Vec<Change>, String> {
    let list: Value = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let list = list.as_array().ok_or("not a list")?;
    let mut changes = Vec::with_capacity(list.len());
    for entry in list {
        read_change(entry.as_object().ok_or("not an object")?, &mut changes)?;
    }
    Ok(changes)
}

fn read_change(entry: &Entry, changes: &mut Vec<Change>) -> Result<(), String> {
    let name = |key| entry::name(entry, key);
    let change = match entry::text(entry, DO)? {
        "put user" => return entry::user(entry, changes),
        "put vhost" => return entry::vhost(entry, changes),
        "put permission" => return entry::permission(entry, changes),
        "put topic permission" => return entry::topic_permission(entry, changes),
        "put global parameter" => return entry::global_parameter(entry, changes),
        "delete user" => Change::DeleteUser { name: name("name")? },
        "set user limits" => Change::SetUserLimits {
            name: name("name")?,
            limits: entry::user_limits(entry.get("limits"))?,
        },
        "delete vhost" => Change::DeleteVhost { name: name("name")? },
        "forget vhost" => Change::ForgetVhost { name: name("name")? },
        "set vhost limits" => Change::SetVhostLimits {
            name: name("name")?,
            limits: entry::vhost_limits(entry.get("limits"))?,
        },
        "delete permission" => {
            Change::DeletePermission { user: name("user")?, vhost: name("vhost")? }
        }
        "delete topic permission" => Change::DeleteTopicPermission {
            user: name("user")?,
            vhost: name("vhost")?,
            exchange: entry.get("exchange").and_then(Value::as_str).map(Into::into),
        },
        "delete global parameter" => Change::DeleteGlobalParameter { name: name("name")? },
        "imported" => Change::Imported { checksum: name("checksum")? },
        other => return Err(format!("'{other}' is nothing that is done here")),
    };
    changes.push(change);
    Ok(())
}

/// A snapshot.
pub(super) fn state_text(state: &State) -> Vec<u8> {
    let leaving = state.vhosts.iter().filter(|(_, vhost)| vhost.is_leaving);
    let leaving: Value = leaving.map(|(name, _)| Value::from(&**name)).collect();
    let mut root = Map::new();
    root.insert(OWN.into(), json!({ "imported": state.imported, "leaving": leaving }));
    for (key, value) in definitions::parts(state) {
        root.insert(key.into(), value);
    }
    Value::Object(root).to_string().into_bytes()
}

/// Reads a snapshot.
///
/// # Errors
/// What is not understood.
pub(super) fn read_state(text: &[u8]) -> Result<State, String> {
    let root: Value = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    let mut changes = Definitions::read(&root)?.changes().to_vec();
    let own = root.get(OWN);
    let leaving = own.and_then(|own| own.get("leaving")).and_then(Value::as_array);
    for name in leaving.into_iter().flatten().filter_map(Value::as_str) {
        changes.push(Change::PutVhost {
            name: name.into(),
            description: "".into(),
            tags: Vec::new(),
            default_queue_type: "".into(),
            is_protected: false,
        });
        changes.push(Change::DeleteVhost { name: name.into() });
    }
    if let Some(sum) = own.and_then(|own| own.get("imported")).and_then(Value::as_str) {
        changes.push(Change::Imported { checksum: sum.into() });
    }
    let (state, _) = State::default().changed(&changes).map_err(|(_, e)| e.to_string())?;
    Ok(state)
}
