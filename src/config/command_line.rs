//! The command line. Names and letters are LavinMQ's where it has them; what a flag means and
//! its default come from the declaration of its setting. May import `settings`, `auth::password` and clap.

use std::ffi::OsString;

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand,
};

use super::document::settings_help;
use super::load::ConfigError;
use super::settings::SETTINGS;
use crate::auth::password::{ITERATIONS_MAX, Kept};

const EXAMPLES: &str = "\
Examples:
  ringmq                                    AMQP on 127.0.0.1:5672, data in ./data, every core
  ringmq -D /var/lib/ringmq -b ::           for other machines too
  ringmq -c /etc/ringmq/ringmq.ini -l debug settings from a file, more in the log
  ringmq -p 0 --shards 2 --no-pin           a free port, two shards on whichever cores
  RINGMQ_AMQP_HEARTBEAT=60 ringmq           any setting from the environment
  ringmq check -D /var/lib/ringmq           is what a stopped broker has left sound?
  ringmq passwd -c /etc/ringmq/passwd ann   a password file with one user

Command line > environment > file > default.";

/// Flags that are settings: the flag's id, then section and key.
const FLAGS: &[(&str, &str, &str)] = &[
    ("data_dir", "main", "data_dir"),
    ("amqp_port", "amqp", "port"),
    ("mqtt_bind", "mqtt", "bind"),
    ("mqtt_port", "mqtt", "port"),
    ("http_bind", "mgmt", "bind"),
    ("http_port", "mgmt", "port"),
    ("metrics_http_port", "main", "metrics_http_port"),
    ("log_level", "main", "log_level"),
    ("shards", "main", "shards"),
];

/// One message broker for AMQP 0-9-1 on Linux: one thread per core.
#[derive(Debug, Default, Parser)]
#[command(name = "ringmq", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, disable_help_subcommand = true)]
pub(super) struct CommandLine {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[arg(short = 'D', long, value_name = "PATH")]
    data_dir: Option<String>,
    /// Settings file (INI; an existing lavinmq.ini works) [env: RINGMQ_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,
    /// Address to listen on, for all protocols; :: = all, IPv6 and IPv4 [amqp.bind, mqtt.bind and mgmt.bind, default 127.0.0.1]
    #[arg(short, long, value_name = "ADDRESS")]
    bind: Option<String>,
    #[arg(short = 'p', long, value_name = "PORT")]
    amqp_port: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    mqtt_bind: Option<String>,
    #[arg(long, value_name = "PORT")]
    mqtt_port: Option<String>,
    #[arg(long, value_name = "ADDRESS")]
    http_bind: Option<String>,
    #[arg(long, value_name = "PORT")]
    http_port: Option<String>,
    #[arg(long, value_name = "PORT")]
    metrics_http_port: Option<String>,
    #[arg(short, long, value_name = "LEVEL")]
    log_level: Option<String>,
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Let the kernel choose each shard's core [same as main.pin = false]
    #[arg(long)]
    no_pin: bool,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
enum Verb {
    Check(CheckArguments),
    Passwd(PasswdArguments),
}

const PASSWD_WORDS: &str = "\
The words are those of mosquitto_passwd and vmq-passwd. Without -b the password is asked for at the terminal,
or is the first line of standard input. A broker that uses the file reads it again by itself.
  ringmq passwd -c /etc/ringmq/passwd ann     a new file with one user
  ringmq passwd /etc/ringmq/passwd joe        add joe, or give joe another password
  ringmq passwd -D /etc/ringmq/passwd joe     delete joe
  ringmq passwd -U /etc/ringmq/passwd         hash the passwords of lines user:password";

/// Make or change a password file for mqtt.vmq_passwd.password_file
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(after_help = PASSWD_WORDS)]
pub struct PasswdArguments {
    /// Make a new file; one that is there is overwritten
    #[arg(short, long, conflicts_with_all = ["delete", "upgrade"])]
    pub create: bool,
    /// Delete the user
    #[arg(short = 'D', long, conflicts_with_all = ["upgrade", "batch", "password"])]
    pub delete: bool,
    /// Hash the passwords that stand in the file as they are
    #[arg(short = 'U', long, conflicts_with_all = ["batch", "user", "password"])]
    pub upgrade: bool,
    /// Take the password from the command line, where others of this machine can see it
    #[arg(short, long, requires = "password")]
    pub batch: bool,
    /// sha512-pbkdf2, sha512 or scram-sha-256
    #[arg(short = 'H', long, default_value = "sha512-pbkdf2", value_parser = kept)]
    pub hash: Kept,
    /// Iterations: what trying out passwords costs, and each login as well
    #[arg(short = 'I', long, default_value_t = 1000,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(ITERATIONS_MAX)))]
    pub iterations: u32,
    /// The file
    pub file: std::path::PathBuf,
    /// The user
    #[arg(required_unless_present = "upgrade")]
    pub user: Option<String>,
    /// The password, with -b
    #[arg(requires = "batch")]
    pub password: Option<String>,
}

fn kept(name: &str) -> Result<Kept, String> {
    match name {
        "sha512-pbkdf2" => Ok(Kept::Pbkdf2),
        "sha512" => Ok(Kept::Sha512),
        "scram-sha-256" => Ok(Kept::Scram256),
        _ => Err("it is sha512-pbkdf2, sha512 or scram-sha-256".into()),
    }
}

const CHECK_EXITS: &str = "\
Without --data-dir it is the folder that a broker with the same settings file and environment would
use. Exit code 0: sound; what a crash leaves behind is no damage. 1: damaged. 2: cannot be read, is in
use by a broker, or the command line is wrong.";

/// Verify the data that a stopped broker has left, without changing any of it
#[derive(Debug, Args)]
#[command(after_help = CHECK_EXITS)]
pub(super) struct CheckArguments {
    /// Folder of all data
    #[arg(short = 'D', long, value_name = "PATH")]
    pub data_dir: Option<std::path::PathBuf>,
    /// Settings file to take the folder from
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<std::path::PathBuf>,
    /// One JSON document instead of text
    #[arg(long)]
    pub json: bool,
    /// Also every file of the log, and the names of exchanges and bindings
    #[arg(short, long)]
    pub verbose: bool,
}

/// Whether these arguments, the program's name first, ask for a check: then a mistake in them ends
/// with the exit code of a check that could not be made.
pub fn asks_for_check(args: impl IntoIterator<Item = OsString>) -> bool {
    args.into_iter().nth(1).is_some_and(|verb| verb == "check")
}

/// What the command line asks for.
#[derive(Debug)]
pub(super) enum Asked {
    /// Start with these.
    Run(Box<CommandLine>),
    /// Verify data.
    Check(CheckArguments),
    /// Change a password file.
    Passwd(PasswdArguments),
    /// Print this and end well: help or version.
    Print(String),
}

/// The command with the help of the declarations.
pub(super) fn command() -> Command {
    CommandLine::command().mut_args(with_help).after_long_help(format!(
        "{EXAMPLES}\n\nEvery setting as it stands in the file; in the environment \
         RINGMQ_<SECTION>_<KEY>:\n{}",
        settings_help()
    ))
}

fn with_help(arg: Arg) -> Arg {
    let id = arg.get_id().as_str();
    let declared = FLAGS.iter().find(|(flag, _, _)| *flag == id).and_then(|(_, section, key)| {
        SETTINGS.iter().find(|s| (s.section, s.key) == (*section, *key))
    });
    match declared {
        Some(s) => {
            let help = format!("{} [{}, default {}]", s.about, s.name(), s.default);
            arg.help(help).action(ArgAction::Set)
        }
        None => arg,
    }
}

/// Reads the arguments, the program's name first.
pub(super) fn parse(
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Asked, ConfigError> {
    let matches = command().try_get_matches_from(args);
    match matches.and_then(|m: ArgMatches| CommandLine::from_arg_matches(&m)) {
        Ok(mut command_line) => Ok(match command_line.verb.take() {
            Some(Verb::Check(check)) => Asked::Check(check),
            Some(Verb::Passwd(passwd)) => Asked::Passwd(passwd),
            None => Asked::Run(Box::new(command_line)),
        }),
        Err(error) if !error.use_stderr() => Ok(Asked::Print(error.render().to_string())),
        Err(error) => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            let reason = first.strip_prefix("error: ").unwrap_or(first);
            Err(ConfigError::CommandLine { reason: format!("{reason} (--help lists what is)") })
        }
    }
}

impl CommandLine {
    /// One that says nothing but where the settings file is.
    pub(super) fn with_config(config: Option<std::path::PathBuf>) -> Self {
        Self { config, ..Self::default() }
    }

    /// The settings that were given: the flag as people write it, section, key, value.
    pub(super) fn given(&self) -> Vec<(&'static str, &'static str, &'static str, &str)> {
        [
            ("--data-dir", "main", "data_dir", self.data_dir.as_deref()),
            ("--bind", "amqp", "bind", self.bind.as_deref()),
            ("--bind", "mqtt", "bind", self.bind.as_deref()),
            ("--amqp-port", "amqp", "port", self.amqp_port.as_deref()),
            ("--mqtt-bind", "mqtt", "bind", self.mqtt_bind.as_deref()),
            ("--mqtt-port", "mqtt", "port", self.mqtt_port.as_deref()),
            ("--bind", "mgmt", "bind", self.bind.as_deref()),
            ("--http-bind", "mgmt", "bind", self.http_bind.as_deref()),
            ("--http-port", "mgmt", "port", self.http_port.as_deref()),
            ("--metrics-http-port", "main", "metrics_http_port", self.metrics_http_port.as_deref()),
            ("--log-level", "main", "log_level", self.log_level.as_deref()),
            ("--shards", "main", "shards", self.shards.as_deref()),
            ("--no-pin", "main", "pin", self.no_pin.then_some("false")),
        ]
        .into_iter()
        .filter_map(|(flag, section, key, value)| Some((flag, section, key, value?)))
        .collect()
    }
}
