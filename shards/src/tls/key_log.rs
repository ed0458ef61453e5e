//! Secrets of connections for Wireshark and its like, in the form of `SSLKEYLOGFILE`. For tests and for hunting faults: it
//! blocks the shard for a write per handshake. Imports rustls.

use rustls::KeyLog;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// A file that each line is appended to with one write, so that shards need no lock.
#[derive(Debug)]
pub(super) struct KeyLogFile(File);

impl KeyLogFile {
    /// Opens it, for its owner only.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(Self)
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = String::from(label);
        for octets in [client_random, secret] {
            line.push(' ');
            for octet in octets {
                // A text takes everything.
                let _ = write!(line, "{octet:02x}");
            }
        }
        line.push('\n');
        // Without it connections work just as well.
        let _ = (&self.0).write_all(line.as_bytes());
    }
}
