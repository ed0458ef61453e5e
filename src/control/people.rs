//! The users of the state as the snapshot that shards log people in with. May import `state`, `auth`
//! and `config`.

use crate::auth::user::User;
use crate::auth::{TopicRules, Users};
use crate::config::Config;

use super::state::{State, UserEntry};

/// What a snapshot has beside the users: the same in all of them.
#[derive(Debug)]
pub struct Basis {
    loopback_only: Option<String>,
    is_nameless_welcome: bool,
    config: Config,
    secret: [u8; 16],
}

impl Basis {
    /// As the settings say.
    pub fn new(config: &Config) -> Self {
        // Without it somebody could tell who exists, and that is all.
        let mut secret = [0; 16];
        let _ = getrandom::fill(&mut secret);
        let only_loopback = config.main.default_user_only_loopback;
        Self {
            loopback_only: only_loopback.then(|| config.main.default_user.clone()),
            is_nameless_welcome: config.mqtt.allows_anonymous(),
            config: config.clone(),
            secret,
        }
    }

    /// The users of this state.
    pub fn users(&self, state: &State) -> Users {
        let user = |name: &str, entry: &UserEntry| User {
            name: name.into(),
            password: entry.password.as_ref().map(|password| password.hash().clone()),
            tags: entry.tags.clone(),
            permissions: state
                .permissions
                .range((Box::from(name), "".into())..)
                .take_while(|((user, _), _)| **user == *name)
                .map(|((_, vhost), permission)| (vhost.clone(), permission.compiled().clone()))
                .collect(),
        };
        let mut users = Users::new(
            state.users.iter().map(|(name, entry)| user(name, entry)),
            self.loopback_only.as_deref(),
        );
        for ((user, ..), permission) in &state.topic_permissions {
            users.permit_topics(user, permission.compiled().clone());
        }
        let rules = TopicRules {
            check_permissions: self.config.mqtt.permission_check_enabled,
            translation: self.config.mqtt.topic_translation,
            acl: None,
            acl_drops: self.config.mqtt.acl_drops,
        };
        users.with_topic_rules(rules, self.is_nameless_welcome).with_secret(self.secret)
    }
}
