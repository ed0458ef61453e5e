//! From arguments, environment and file to the checked settings, or to the one line that says why
//! not. May import the rest of `config`, clap's help through `command_line`, and reads one file.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::command_line::{self, Asked, CheckArguments, CommandLine, PasswdArguments};
use super::listeners::{Drafts, Listener, ListenerAddress, ProxyHeader, Taken, Transport};
use super::tls::{For, Hosts, Tls};
use super::{Config, SETTINGS, Setting, foreign, ini};

/// Why the start stops: one line each.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A line of the file.
    #[error("{}:{line}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The file as a whole.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A variable of the environment.
    #[error("environment variable {name}: {reason}")]
    Environment {
        /// The variable.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// An argument.
    #[error("command line: {reason}")]
    CommandLine {
        /// Which one and what is wrong.
        reason: String,
    },
    /// Two settings that do not go together.
    #[error("settings: {reason}")]
    Relation {
        /// Which ones and why.
        reason: String,
    },
}

/// What the command line and everything else ask for.
#[derive(Debug)]
pub enum Start {
    /// Start the broker.
    Run(Box<Loaded>),
    /// Verify what a broker has left.
    Check(CheckRequest),
    /// Change a password file.
    Passwd(PasswdArguments),
    /// Print this on standard output and end well: help or version.
    Print(String),
}

/// What is to be verified, and how to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest {
    /// The data directory.
    pub data_dir: PathBuf,
    /// As one JSON document instead of text.
    pub json: bool,
    /// Text with everything.
    pub verbose: bool,
}

/// Settings, and what should be said about them once there is a log.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: Config,
    /// The file they came from, if any.
    pub file: Option<PathBuf>,
    /// One log line each: what is not used yet, what has a new name.
    pub notes: Vec<String>,
}

/// Reads arguments (the program's name first), environment and file.
///
/// # Errors
/// The first thing that is unknown or wrong, with its place.
pub fn load(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Start, ConfigError> {
    let command_line = match command_line::parse(args)? {
        Asked::Print(text) => return Ok(Start::Print(text)),
        Asked::Passwd(arguments) => return Ok(Start::Passwd(arguments)),
        Asked::Check(arguments) => return Ok(Start::Check(check_request(arguments, env)?)),
        Asked::Run(command_line) => command_line,
    };
    Ok(Start::Run(Box::new(load_settings(&command_line, env)?)))
}

/// A folder that is named needs no settings: those may be what is wrong.
fn check_request(
    arguments: CheckArguments,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<CheckRequest, ConfigError> {
    let CheckArguments { data_dir, config, json, verbose } = arguments;
    let data_dir = match data_dir {
        Some(data_dir) => data_dir,
        None => {
            let like_a_start = CommandLine::with_config(config);
            load_settings(&like_a_start, env)?.config.main.data_dir
        }
    };
    Ok(CheckRequest { data_dir, json, verbose })
}

fn load_settings(
    command_line: &CommandLine,
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    let env = Environment::new(env);
    let file = command_line.config.clone().or_else(|| env.file());
    let text = match &file {
        None => String::new(),
        Some(path) => read(path)?,
    };
    let mut loading = Loading::default();
    loading.service_manager(&env)?;
    if let Some(path) = &file {
        loading.file(path, &text)?;
    }
    loading.environment(&env)?;
    loading.command_line(command_line)?;
    loading.listeners()?;
    check(&loading.config)?;
    Ok(loading.finish(file))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason| ConfigError::Unreadable { path: path.into(), reason };
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    match u64::try_from(text.len()) {
        Ok(0..=crate::limits::SETTINGS_BYTES_MAX) => Ok(text),
        Ok(_) | Err(_) => Err(unreadable("larger than any settings file".into())),
    }
}

/// The variables whose names and values are text, sorted so that the first error is always the
/// same.
struct Environment {
    variables: Vec<(String, String)>,
}

impl Environment {
    fn new(env: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let mut variables: Vec<_> = env.into_iter().filter_map(text).collect();
        variables.sort();
        Self { variables }
    }

    /// An empty variable counts as none: container files pass on what is not set like that.
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// The file when the command line names none: by its own variable, or in the folder that a
    /// service manager or LavinMQ's environment names, if it is there.
    fn file(&self) -> Option<PathBuf> {
        self.get("RINGMQ_CONFIG").map(PathBuf::from).or_else(|| {
            [
                ("CONFIGURATION_DIRECTORY", "ringmq.ini"),
                ("LAVINMQ_CONFIGURATION_DIRECTORY", "lavinmq.ini"),
            ]
            .iter()
            .filter_map(|(folder, name)| Some(Path::new(self.get(folder)?).join(name)))
            .find(|path| path.is_file())
        })
    }
}

#[derive(Default)]
struct Loading {
    config: Config,
    listeners: Drafts,
    hosts: Hosts,
    not_used: Vec<String>,
    notes: Vec<String>,
}

impl Loading {
    /// systemd's StateDirectory= is a better default than the working folder, but weaker than
    /// what somebody wrote into the file. Several are separated by colons.
    fn service_manager(&mut self, env: &Environment) -> Result<(), ConfigError> {
        let name = "STATE_DIRECTORY";
        let first = env.get(name).and_then(|folders| folders.split(':').next());
        first.map_or(Ok(()), |folder| {
            self.apply("main", "data_dir", folder, name)
                .map(drop)
                .map_err(|reason| ConfigError::Environment { name: name.into(), reason })
        })
    }

    fn file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let wrong = |line, reason| ConfigError::File { path: path.into(), line, reason };
        let entries = ini::parse(text).map_err(|(line, e)| wrong(line, e.into()))?;
        for entry in entries {
            self.entry(&entry).map_err(|reason| wrong(entry.line, reason))?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &ini::Entry<'_>) -> Result<(), String> {
        let (section, key) = foreign::current_name(entry.section, entry.key);
        if !foreign::is_section(section) {
            return Err(format!("there is no section [{}]", entry.section));
        }
        if (section, key) != (entry.section, entry.key) {
            let old = format!("[{}] {}", entry.section, entry.key);
            self.notes.push(format!("{old} is an old name; it is now [{section}] {key}"));
        }
        let place = format!("{section}.{key}");
        if self.apply(section, key, entry.value, &place).map_err(|e| format!("{place}: {e}"))? {
            return Ok(());
        }
        if let Some(host) = section.strip_prefix("sni:") {
            let taken = self.hosts.take(host, key, entry.value);
            let is_taken = taken.map_err(|e| format!("{place}: {e}"))?;
            let unknown = || format!("there is no setting '{key}' in [{section}]");
            return is_taken.then_some(()).ok_or_else(unknown);
        }
        if section == "mqtt" {
            match self.listeners.take(key, entry.value).map_err(|e| format!("{place}: {e}"))? {
                Taken::Yes => return Ok(()),
                Taken::NotUsed => {
                    self.not_used.push(place);
                    return Ok(());
                }
                Taken::Foreign => {}
            }
        }
        if foreign::is_not_used(section, key) {
            self.not_used.push(place);
            return Ok(());
        }
        Err(format!("there is no setting '{key}' in [{section}]"))
    }

    /// Puts the named listeners where they belong, once everything that they inherit is known.
    fn listeners(&mut self) -> Result<(), ConfigError> {
        self.resolve_listeners().map_err(|reason| ConfigError::Relation { reason })
    }

    fn resolve_listeners(&mut self) -> Result<(), String> {
        let Self { config, listeners, hosts, .. } = self;
        let (main, login) = (&config.main.tls, config.main.certificate_login);
        let tls_of = |own: Tls, whom| hosts.listener(own, main, login, whom);
        config.amqp.tls = tls_of(Tls::default(), For::Amqp)?;
        config.mgmt.tls = tls_of(Tls::default(), For::Http)?;
        let mqtt = &mut config.mqtt;
        mqtt.named_listeners = listeners.resolve(mqtt, |own| tls_of(own, For::Mqtt))?;
        let names_user = Some(mqtt.use_identity_as_username);
        let tls = tls_of(Tls { names_user, ..Tls::default() }, For::Mqtt)?;
        let Some(port) = mqtt.tls_port.filter(|_| tls.is_some()) else { return Ok(()) };
        let bind = if mqtt.tls_bind.is_empty() { &mqtt.bind } else { &mqtt.tls_bind };
        let all = bind.iter().map(|ip| SocketAddr::new(*ip, port));
        let usual = all.filter(|at| !mqtt.is_taken(*at)).map(|at| Listener {
            name: "mqtts".into(),
            transport: Transport::Ssl,
            address: ListenerAddress::Ip(at),
            max_connections: mqtt.max_connections,
            max_connection_rate: None,
            max_connection_lifetime_s: None,
            allow_anonymous: None,
            mountpoint: mqtt.mountpoint.clone(),
            allowed_protocol_versions: mqtt.allowed_protocol_versions,
            tls: tls.clone(),
            proxy: ProxyHeader::default(),
        });
        let mut named = mqtt.named_listeners.clone();
        named.extend(usual);
        mqtt.named_listeners = named;
        Ok(())
    }

    fn environment(&mut self, env: &Environment) -> Result<(), ConfigError> {
        let wrong = |name: &str, reason| ConfigError::Environment { name: name.into(), reason };
        for setting in SETTINGS {
            let own = setting.env();
            let mut names = std::iter::once(own.as_str()).chain(setting.other_env.iter().copied());
            if let Some((name, value)) = names.find_map(|n| Some((n, env.get(n)?))) {
                self.apply(setting.section, setting.key, value, name)
                    .map_err(|e| wrong(name, e))?;
            }
        }
        for (name, _) in env.variables.iter().filter(|(_, value)| !value.is_empty()) {
            if foreign::NOT_USED_ENV.contains(&name.as_str()) {
                self.not_used.push(name.clone());
            } else if let Some(rest) = name.strip_prefix("RINGMQ_") {
                self.unknown_variable(rest).map_err(|e| wrong(name, e))?;
            }
        }
        Ok(())
    }

    /// A variable with our prefix and the name of a section means a setting. Others may be
    /// anything, for instance what Kubernetes makes of a service called ringmq.
    fn unknown_variable(&mut self, rest: &str) -> Result<(), String> {
        let rest = rest.to_ascii_lowercase();
        let Some((section, key)) = rest.split_once('_') else { return Ok(()) };
        let key = &*key.replace("__", ".");
        if !foreign::is_section(section) || SETTINGS.iter().any(|s| is(s, section, key)) {
            return Ok(());
        }
        if foreign::is_not_used(section, key) {
            self.not_used.push(format!("{section}.{key}"));
            return Ok(());
        }
        Err(format!("there is no setting '{key}' in [{section}]"))
    }

    fn command_line(&mut self, command_line: &CommandLine) -> Result<(), ConfigError> {
        for (flag, section, key, value) in command_line.given() {
            self.apply(section, key, value, flag)
                .map_err(|e| ConfigError::CommandLine { reason: format!("{flag}: {e}") })?;
        }
        Ok(())
    }

    /// Whether there is such a setting; it then has the value.
    fn apply(
        &mut self,
        section: &str,
        key: &str,
        value: &str,
        place: &str,
    ) -> Result<bool, String> {
        let Some(setting) = SETTINGS.iter().find(|s| is(s, section, key)) else {
            return Ok(false);
        };
        setting.apply(&mut self.config, value)?;
        if setting.not_yet {
            self.not_used.push(place.into());
        }
        Ok(true)
    }

    fn finish(mut self, file: Option<PathBuf>) -> Loaded {
        if !self.not_used.is_empty() {
            self.notes.push(format!("settings not used yet: {}", self.not_used.join(", ")));
        }
        Loaded { config: self.config, file, notes: self.notes }
    }
}

/// What two settings must be to each other.
fn check(config: &Config) -> Result<(), ConfigError> {
    let (shards, groups) = (config.main.shards, config.main.groups);
    if u32::from(shards) > groups {
        let reason = format!(
            "main.shards ({shards}) is more than main.groups ({groups}): \
             a shard without a group would have no queue"
        );
        return Err(ConfigError::Relation { reason });
    }
    Ok(())
}

fn is(setting: &Setting, section: &str, key: &str) -> bool {
    setting.section == section && setting.key == key
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
