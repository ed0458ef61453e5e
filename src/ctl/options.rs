//! The command line: options of all commands, wherever they stand, and the rest. Names are those of
//! lavinmqctl and rabbitmqctl. May import `failure`.

use std::path::PathBuf;

use crate::failure::Failure;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Lines with tabs.
    Text,
    /// JSON.
    Json,
}

/// Where the broker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A socket; the first of these that is there.
    Sockets(Vec<PathBuf>),
    /// An address of the network, with a login.
    Address { host: String, port: u16, user: String, password: String },
}

/// What holds for every command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) place: Place,
    pub(crate) vhost: String,
    pub(crate) format: Format,
    /// No line that says what is done.
    pub(crate) is_quiet: bool,
    /// No line with the names of columns either.
    pub(crate) is_silent: bool,
    /// Options of single commands: name and value.
    pub(crate) further: Vec<(String, String)>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Asked {
    Help,
    Version,
    Run { command: String, arguments: Vec<String>, options: Options },
}

/// Options with a value, by their names; the first names the option.
const VALUES: &[&[&str]] = &[
    &["--uri", "-U"],
    &["--hostname", "-H"],
    &["--port", "-P"],
    &["--user"],
    &["--password"],
    &["--vhost", "-p"],
    &["--format", "--formatter", "-f"],
    &["--control-unix-path"],
    &["--data-dir", "-D"],
    &["--description"],
    &["--tags"],
    // Known to rabbitmqctl's users; there is one node, and it answers or not.
    &["--node", "-n"],
    &["--timeout", "-t"],
    &["--scheme"],
];

const SOCKET: &str = "ringmqctl.sock";

impl Options {
    /// Takes the arguments apart, the program's name left out.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Asked, Failure> {
        let mut arguments = arguments;
        let (mut words, mut values) = (Vec::new(), Vec::new());
        let (mut is_quiet, mut is_silent, mut only_words) = (false, false, false);
        while let Some(argument) = arguments.next() {
            if only_words || !argument.starts_with('-') || argument.len() == 1 {
                words.push(argument);
                continue;
            }
            match argument.as_str() {
                "--" => only_words = true,
                "--help" | "-h" => return Ok(Asked::Help),
                "--version" => return Ok(Asked::Version),
                "--quiet" | "-q" => is_quiet = true,
                "--silent" | "-s" => (is_quiet, is_silent) = (true, true),
                "--no-table-headers" => is_silent = true,
                "--longnames" | "-l" => {}
                _ => {
                    let (name, value) = match argument.split_once('=') {
                        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                        None => (argument.clone(), None),
                    };
                    let known = VALUES.iter().find(|names| names.contains(&name.as_str()));
                    let known = known.and_then(|names| names.first());
                    let unknown = || Failure::Usage(format!("there is no option '{name}'"));
                    let known = known.ok_or_else(unknown)?;
                    let value = value.or_else(|| arguments.next());
                    let missing = || Failure::Usage(format!("'{name}' needs a value"));
                    values.push(((*known).to_owned(), value.ok_or_else(missing)?));
                }
            }
        }
        let Some(command) = words.first().cloned() else { return Ok(Asked::Help) };
        if command == "help" {
            return Ok(Asked::Help);
        }
        words.remove(0);
        let options = Self::of(&values, is_quiet, is_silent)?;
        Ok(Asked::Run { command, arguments: words, options })
    }

    fn of(values: &[(String, String)], is_quiet: bool, is_silent: bool) -> Result<Self, Failure> {
        let get =
            |name: &str| values.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let format = match get("--format") {
            None | Some("text" | "pretty_table" | "table") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => {
                return Err(Failure::Usage(format!("'{other}' is neither text nor json")));
            }
        };
        Ok(Self {
            place: place(get)?,
            vhost: get("--vhost").unwrap_or("/").to_owned(),
            format,
            // JSON has no lines around it.
            is_quiet: is_quiet || format == Format::Json,
            is_silent,
            further: values
                .iter()
                .filter(|(name, _)| name == "--description" || name == "--tags")
                .cloned()
                .collect(),
        })
    }

    /// The value of an option of one command.
    pub(crate) fn further(&self, name: &str) -> Option<&str> {
        self.further.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn place<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Result<Place, Failure> {
    if let Some(uri) = get("--uri") {
        return address_of(uri);
    }
    if get("--scheme").is_some_and(|scheme| scheme != "http") {
        return Err(Failure::Usage("only http is spoken".into()));
    }
    if let Some(host) = get("--hostname") {
        return Ok(Place::Address {
            host: host.into(),
            port: port_of(get("--port").unwrap_or("15672"))?,
            user: get("--user").unwrap_or("guest").into(),
            password: get("--password").unwrap_or("guest").into(),
        });
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let named = get("--control-unix-path").map(ToOwned::to_owned);
    if let Some(path) = named.or_else(|| variable("RINGMQ_MAIN_CONTROL_UNIX_PATH")) {
        return Ok(Place::Sockets(vec![path.into()]));
    }
    if let Some(directory) = get("--data-dir") {
        return Ok(Place::Sockets(vec![PathBuf::from(directory).join(SOCKET)]));
    }
    let usual =
        [variable("RINGMQ_MAIN_DATA_DIR"), Some("./data".into()), Some("/var/lib/ringmq".into())];
    Ok(Place::Sockets(usual.into_iter().flatten().map(|d| PathBuf::from(d).join(SOCKET)).collect()))
}

fn port_of(text: &str) -> Result<u16, Failure> {
    text.parse().map_err(|_| Failure::Usage(format!("'{text}' is no port")))
}

/// `http://user:password@host:port`
fn address_of(uri: &str) -> Result<Place, Failure> {
    let bad = || Failure::Usage("the URI is not like http://user:password@host:15672".into());
    let rest = uri.strip_prefix("http://").ok_or_else(bad)?;
    let rest = rest.split('/').next().unwrap_or_default();
    let (login, at) = rest.rsplit_once('@').map_or((None, rest), |(l, at)| (Some(l), at));
    let (user, password) = match login {
        None => ("guest".into(), "guest".into()),
        Some(login) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (decoded(user).ok_or_else(bad)?, decoded(password).ok_or_else(bad)?)
        }
    };
    let (host, port) = match at.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((host, port)) if !port.contains(']') => (host, port_of(port)?),
        _ => (at, 15672),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(bad());
    }
    Ok(Place::Address { host: host.into(), port, user, password })
}

fn decoded(text: &str) -> Option<String> {
    let mut octets = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        if octet != b'%' {
            octets.push(octet);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        octets.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
    }
    String::from_utf8(octets).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (String, Vec<String>, Options) {
        match Options::parse(line.split_whitespace().map(Into::into)).unwrap() {
            Asked::Run { command, arguments, options } => (command, arguments, options),
            other @ (Asked::Help | Asked::Version) => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_stand_anywhere_and_words_stay_in_order() {
        let (command, arguments, options) =
            parsed("-q set_permissions -p v1 bob .* --format=json ^x -- -y");
        assert_eq!((command.as_str(), options.vhost.as_str()), ("set_permissions", "v1"));
        assert_eq!(arguments, ["bob", ".*", "^x", "-y"]);
        assert!(options.is_quiet && options.format == Format::Json);
        let bad = |line: &str| Options::parse(line.split_whitespace().map(Into::into)).is_err();
        assert!(bad("list_users --none") && bad("list_users -p") && bad("list_users -f xml"));
    }

    #[test]
    fn a_uri_names_the_place_and_the_login() {
        let place = |line: &str| parsed(line).2.place;
        let address = |host: &str, port, user: &str, password: &str| Place::Address {
            host: host.into(),
            port,
            user: user.into(),
            password: password.into(),
        };
        let expected = address("h", 1, "a@b", "p:q");
        assert_eq!(place("status -U http://a%40b:p%3Aq@h:1/"), expected);
        assert_eq!(place("status --uri=http://[::1]"), address("::1", 15672, "guest", "guest"));
        assert_eq!(place("status --hostname h -P 2"), address("h", 2, "guest", "guest"));
        assert_eq!(place("status -D /d"), Place::Sockets(vec!["/d/ringmqctl.sock".into()]));
        for bad in ["https://h", "http://", "http://h:x", "http://%zz@h"] {
            assert!(address_of(bad).is_err(), "{bad}");
        }
    }
}
