//! All commands: one line each. May import every file of this folder that has some.

use std::fmt::Write as _;

use crate::client::Client;
use crate::failure::Failure;
use crate::options::Options;
use crate::{connections, node, permissions, users, vhosts};

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) client: Client,
    pub(crate) options: &'a Options,
    pub(crate) arguments: &'a [String],
}

impl Call<'_> {
    /// An argument; there is one wherever the command must have one.
    pub(crate) fn argument(&self, place: usize) -> &str {
        self.arguments.get(place).map_or("", String::as_str)
    }
}

/// A word, what follows it, what it does.
struct Command {
    name: &'static str,
    arguments: &'static str,
    /// How many arguments at least and at most.
    count: (usize, usize),
    run: fn(&Call<'_>) -> Result<String, Failure>,
}

const fn command(
    name: &'static str,
    arguments: &'static str,
    count: (usize, usize),
    run: fn(&Call<'_>) -> Result<String, Failure>,
) -> Command {
    Command { name, arguments, count, run }
}

const ANY: usize = usize::MAX;

#[rustfmt::skip]
const COMMANDS: &[Command] = &[
    command("add_user", "NAME PASSWORD", (2, 2), users::add),
    command("authenticate_user", "NAME PASSWORD", (2, 2), users::authenticate),
    command("change_password", "NAME PASSWORD", (2, 2), users::change_password),
    command("delete_user", "NAME", (1, 1), users::delete),
    command("hash_password", "PASSWORD", (1, 1), users::hash_password),
    command("list_users", "", (0, 0), users::list),
    command("set_user_tags", "NAME [TAG ...]", (1, ANY), users::set_tags),
    command("set_user_limits", "NAME JSON", (2, 2), users::set_limits),
    command("clear_user_limits", "NAME LIMIT|all", (2, 2), users::clear_limits),
    command("list_user_limits", "[NAME]", (0, 1), users::list_limits),
    command("set_permissions", "[-p VHOST] NAME CONFIGURE WRITE READ", (4, 4), permissions::set),
    command("clear_permissions", "[-p VHOST] NAME", (1, 1), permissions::clear),
    command("list_permissions", "[-p VHOST]", (0, 0), permissions::list),
    command("list_user_permissions", "NAME", (1, 1), permissions::list_of_user),
    command("set_topic_permissions", "[-p VHOST] NAME EXCHANGE WRITE READ", (4, 4), permissions::set_topic),
    command("clear_topic_permissions", "[-p VHOST] NAME", (1, 1), permissions::clear_topic),
    command("list_topic_permissions", "[-p VHOST]", (0, 0), permissions::list_topic),
    command("list_user_topic_permissions", "NAME", (1, 1), permissions::list_topic_of_user),
    command("add_vhost", "NAME [--description TEXT] [--tags A,B]", (1, 1), vhosts::add),
    command("delete_vhost", "NAME", (1, 1), vhosts::delete),
    command("list_vhosts", "[COLUMN ...]", (0, ANY), vhosts::list),
    command("set_vhost_limits", "[-p VHOST] JSON", (1, 1), vhosts::set_limits),
    command("clear_vhost_limits", "[-p VHOST]", (0, 0), vhosts::clear_limits),
    command("list_vhost_limits", "[-p VHOST]", (0, 0), vhosts::list_limits),
    command("list_connections", "[COLUMN ...]", (0, ANY), connections::list),
    command("close_connection", "NAME [REASON]", (1, 2), connections::close),
    command("close_all_connections", "[-p VHOST] [REASON]", (0, 1), connections::close_all),
    command("close_all_user_connections", "NAME [REASON]", (1, 2), connections::close_all_of_user),
    command("list_channels", "[COLUMN ...]", (0, ANY), connections::list_channels),
    command("status", "", (0, 0), node::status),
    command("cluster_status", "", (0, 0), node::cluster_status),
    command("ping", "", (0, 0), node::ping),
    command("await_startup", "", (0, 0), node::ping),
    command("check_alarms", "", (0, 0), node::check_alarms),
    command("check_local_alarms", "", (0, 0), node::check_alarms),
    command("check_virtual_hosts", "", (0, 0), node::check_virtual_hosts),
    command("check_port_listener", "PORT", (1, 1), node::check_port_listener),
    command("listeners", "", (0, 0), node::listeners),
    command("export_definitions", "[FILE]", (0, 1), node::export_definitions),
    command("import_definitions", "FILE", (1, 1), node::import_definitions),
    command("set_global_parameter", "NAME JSON", (2, 2), node::set_global_parameter),
    command("clear_global_parameter", "NAME", (1, 1), node::clear_global_parameter),
    command("list_global_parameters", "", (0, 0), node::list_global_parameters),
];

const OPTIONS: &str = "\
Options, before or behind the command:
  -D, --data-dir PATH          folder of the broker's data, where its socket is [./data, /var/lib/ringmq]
      --control-unix-path PATH its socket, if it is elsewhere [main.control_unix_path]
  -U, --uri URI                http://user:password@host:15672 instead of a socket
      --hostname HOST          the same in parts, with -P/--port, --user and --password
  -p, --vhost NAME             virtual host [/]
  -f, --format text|json       how lists are written [text]
  -q, --quiet                  no line that says what is done
  -s, --silent                 no headings either
Exit codes: 0 done, 64 wrong command line, 65 wrong data, 67 no such thing, 69 no broker or not healthy,
77 not allowed, 70 anything else.
";

/// The text of `--help`.
pub(crate) fn help() -> String {
    let mut text =
        String::from("Usage: ringmqctl COMMAND [ARGUMENT ...] [OPTION ...]\n\nCommands:\n");
    for command in COMMANDS {
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {} {}", command.name, command.arguments);
    }
    let _ = write!(text, "\n{OPTIONS}");
    text
}

/// Runs a command; what it has to say.
pub(crate) fn run(name: &str, arguments: &[String], options: &Options) -> Result<String, Failure> {
    let command = COMMANDS.iter().find(|command| command.name == name);
    let unknown = || Failure::Usage(format!("there is no command '{name}'"));
    let command = command.ok_or_else(unknown)?;
    let (least, most) = command.count;
    if arguments.len() < least || arguments.len() > most {
        return Err(Failure::Usage(format!("usage: ringmqctl {name} {}", command.arguments)));
    }
    let client = Client::new(options.place.clone());
    (command.run)(&Call { client, options, arguments })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_one_name() {
        for (place, command) in COMMANDS.iter().enumerate() {
            let first = COMMANDS.iter().position(|other| other.name == command.name);
            assert_eq!(first, Some(place), "{}", command.name);
            assert!(help().contains(command.name));
        }
    }
}
