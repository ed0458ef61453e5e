//! `ringmq passwd`: makes and changes password files as `mosquitto_passwd` and VerneMQ's tool do, in
//! their words. What it writes is what `auth::password_file` reads, at most as slow to log in with.
//! May import `auth` and `config` (what was asked for).

use std::fs::{self, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::auth::password_file::Lines;
use crate::config::PasswdArguments;

/// Octets of a salt: what every release of Mosquitto reads.
const SALT_BYTES: usize = 12;

/// Longest password: what an MQTT client can send.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// For whom nobody else has an eye on: the mode of a new file.
const MODE: u32 = 0o600;

/// Why nothing was changed. Each text is one line; none says a password or a hash.
#[derive(Debug, thiserror::Error)]
pub enum PasswdError {
    /// The file, or what was asked for.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It has a line that is none.
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// There is nothing to delete.
    #[error("there is no user '{0}' in the file")]
    NoSuchUser(String),
    /// What cannot stand in a file.
    #[error("a user name has 1 to 255 bytes, no colon, no # and no space at its ends")]
    BadName,
    /// No password at all, or one that no client can send.
    #[error("a password is one line of 1 to 65535 bytes")]
    BadPassword,
    /// The second time was not like the first.
    #[error("the two passwords are not the same")]
    NotTheSame,
    /// Standard input, the terminal or the source of random numbers.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Does what was asked for and says what was done.
///
/// # Errors
/// The file is as it was.
pub fn run(asked: &PasswdArguments) -> Result<String, PasswdError> {
    let path = &*asked.file;
    let user = asked.user.as_deref().unwrap_or_default();
    if !asked.upgrade && !Lines::is_name(user) {
        return Err(PasswdError::BadName);
    }
    let mut lines = if asked.create { Lines::default() } else { read(path)? };
    let said = if asked.upgrade {
        let mut salts = Ok(());
        let hashed = lines.hash_all(|password| {
            let line = hash(asked, password);
            line.unwrap_or_else(|error| {
                salts = Err(error);
                String::new()
            })
        });
        let wrong = |(line, reason)| PasswdError::Line { path: path.into(), line, reason };
        let count = hashed.map_err(wrong)?;
        salts?;
        format!("{count} passwords hashed")
    } else if asked.delete {
        if !lines.remove(user) {
            return Err(PasswdError::NoSuchUser(user.into()));
        }
        format!("user '{user}' deleted")
    } else {
        let password = match &asked.password {
            Some(password) => password.clone(),
            None => ask(user)?,
        };
        if !is_password(&password) {
            return Err(PasswdError::BadPassword);
        }
        let was_there = lines.set(user, &hash(asked, &password)?);
        format!("user '{user}' {}", if was_there { "changed" } else { "added" })
    };
    write(path, &lines.to_string())?;
    Ok(said)
}

fn is_password(text: &str) -> bool {
    (1..=PASSWORD_BYTES_MAX).contains(&text.len()) && !text.contains(['\n', '\r'])
}

fn hash(asked: &PasswdArguments, password: &str) -> io::Result<String> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(asked.hash.line(password.as_bytes(), &salt, asked.iterations))
}

fn read(path: &Path) -> Result<Lines, PasswdError> {
    let file = |cause| PasswdError::File { path: path.into(), cause };
    let mut text = String::new();
    let opened = OpenOptions::new().read(true).open(path).map_err(file)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(file)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(file(io::Error::other("larger than any password file")));
    }
    Ok(Lines::of(&text))
}

/// Whoever reads the file sees the old one or the new one, whole. Owner and mode stay, or the broker
/// could not read what root has changed.
fn write(path: &Path, text: &str) -> Result<(), PasswdError> {
    // A link stays one.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let mut name = target.clone().into_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let new = PathBuf::from(name);
    let written = write_new(&new, text, fs::metadata(&target).ok().as_ref())
        .and_then(|()| fs::rename(&new, &target));
    written.map_err(|cause| {
        let _ = fs::remove_file(&new);
        PasswdError::File { path: path.into(), cause }
    })
}

fn write_new(path: &Path, text: &str, like: Option<&fs::Metadata>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(MODE).open(path)?;
    if let Some(like) = like {
        // Only root may give a file away; for others it is theirs already, or the group stays behind.
        let _ = chown(path, Some(like.uid()), Some(like.gid()));
        file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o777))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// The password of a user: twice at a terminal, where it is not shown; else the first line that comes.
fn ask(user: &str) -> Result<String, PasswdError> {
    if !io::stdin().is_terminal() {
        return Ok(line()?);
    }
    let password = prompted(&format!("Password for {user}: "))?;
    if prompted("Again: ")? != password {
        return Err(PasswdError::NotTheSame);
    }
    Ok(password)
}

fn prompted(text: &str) -> io::Result<String> {
    write!(io::stderr(), "{text}")?;
    echo(false);
    let line = line();
    echo(true);
    writeln!(io::stderr())?;
    line
}

/// By the system's own tool, or there would have to be code that nobody checks in this program.
fn echo(on: bool) {
    let word = if on { "echo" } else { "-echo" };
    let _ = Command::new("stty").arg(word).stdin(Stdio::inherit()).status();
}

fn line() -> io::Result<String> {
    let mut text = String::new();
    // Longer ones are refused for what they are.
    let max = PASSWORD_BYTES_MAX as u64 + 2;
    let mut input = io::BufReader::new(io::stdin().take(max));
    io::BufRead::read_line(&mut input, &mut text)?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}
