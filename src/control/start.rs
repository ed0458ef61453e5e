//! What the control thread begins with: what it has stored, or at the first start what the settings
//! say; and the definitions file, if it is another than the one imported last.
//!
//! The file is imported again only when its octets have changed (as RabbitMQ does it with
//! `definitions.skip_if_unchanged`): so what was changed over the HTTP API since then stays. What an
//! imported file names replaces what is there, nothing is deleted (R102). Blocking: runs before any
//! shard. May import `config` and this folder.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::change::Change;
use super::definitions::Definitions;
use super::state::{Password, PermissionEntry, State};
use crate::config::Config;
use crate::limits::DEFINITIONS_BYTES_MAX;

/// The virtual host of the first start.
const ROOT_VHOST: &str = "/";

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
    DefaultUser(String),
}

/// What the start changes.
#[derive(Debug, Default)]
pub struct Begun {
    /// To be stored before anything else.
    pub changes: Vec<Change>,
    /// Parts of the file that are not loaded, with the number of their entries.
    pub not_loaded: Vec<(Box<str>, usize)>,
}

/// Works out what the settings and their definitions file change of what is stored; `None`: this is
/// the first start.
///
/// The default user is made at the first start, unless the definitions file brings users of its own:
/// who brings users does not want a well-known password besides them. The loopback rule holds for its
/// name either way.
///
/// # Errors
/// When the definitions file cannot be read or has anything that would have to be left out of the
/// users, vhosts or permissions.
pub fn begin(config: &Config, stored: Option<&State>) -> Result<Begun, DefinitionsError> {
    let path = config.main.load_definitions.clone();
    let text = path.as_deref().map(read).transpose()?;
    begin_with(config, &path.unwrap_or_default(), text.as_deref(), stored)
}

pub(super) fn begin_with(
    config: &Config,
    path: &Path,
    text: Option<&str>,
    stored: Option<&State>,
) -> Result<Begun, DefinitionsError> {
    let content = |reason| DefinitionsError::Content { path: path.into(), reason };
    let checksum = text.map(checksum);
    let is_known = stored.is_some_and(|state| state.imported == checksum);
    let definitions = match text {
        Some(text) if !is_known => Definitions::parse(text).map_err(content)?,
        Some(_) | None => Definitions::default(),
    };
    let mut begun = Begun::default();
    if stored.is_none() {
        first(config, &definitions, &mut begun.changes)?;
    }
    let own = begun.changes.len();
    begun.changes.extend_from_slice(definitions.changes());
    if let Some(checksum) = checksum.filter(|_| !is_known) {
        begun.changes.push(Change::Imported { checksum });
    }
    let state = stored.cloned().unwrap_or_default();
    state.changed(&begun.changes).map_err(|(index, refused)| {
        content(definitions.explain(index.saturating_sub(own), &refused))
    })?;
    begun.not_loaded = definitions.not_loaded;
    Ok(begun)
}

fn first(
    config: &Config,
    definitions: &Definitions,
    changes: &mut Vec<Change>,
) -> Result<(), DefinitionsError> {
    changes.push(Change::PutVhost {
        name: ROOT_VHOST.into(),
        description: "Default virtual host".into(),
        tags: Vec::new(),
        default_queue_type: "".into(),
        is_protected: false,
    });
    if definitions.has_users() {
        return Ok(());
    }
    let name: Box<str> = config.main.default_user.as_str().into();
    let password = Password::parse(&config.main.default_password_hash, None)
        .map_err(DefinitionsError::DefaultUser)?;
    let permission =
        PermissionEntry::parse(".*", ".*", ".*").map_err(DefinitionsError::DefaultUser)?;
    let tags = vec!["administrator".into()];
    changes.push(Change::PutUser { name: name.clone(), password: Some(password), tags });
    changes.push(Change::PutPermission { user: name, vhost: ROOT_VHOST.into(), permission });
    Ok(())
}

fn read(path: &Path) -> Result<String, DefinitionsError> {
    let failed = |source| DefinitionsError::Read { path: path.into(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > DEFINITIONS_BYTES_MAX {
        return Err(DefinitionsError::TooLarge { path: path.into() });
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn checksum(text: &str) -> Box<str> {
    let sum = Sha256::digest(text);
    sum.iter().map(|octet| format!("{octet:02x}")).collect::<String>().into()
}
