//! Reads what `journal` has written, and changes nothing: for a start, and for `ringmq check` on what a
//! stopped node has left. May import `journal` (names of files), `record`, `words`, `state`.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::path::Path;

use super::journal::generations;
use super::record::{self, Contents};
use super::state::State;
use super::words;

/// Larger than any file that was written here.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// What is there.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// `None`: nothing was ever stored here, or nothing of it can be read.
    pub(crate) state: Option<State>,
    /// Of the last record that counts.
    pub(crate) number: u64,
    /// The highest N of any file.
    pub(crate) generation: u64,
    /// The N of the snapshot that counts.
    pub(crate) snapshot: Option<u64>,
    /// Records of changes since.
    pub(crate) changes: u64,
    pub(crate) troubles: Vec<Trouble>,
}

/// What is wrong with a file.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// In `control`.
    pub(crate) name: String,
    pub(crate) why: String,
    pub(crate) kind: TroubleKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TroubleKind {
    /// It cannot be read at all.
    Unreadable,
    /// It is not as it was written.
    Damaged,
    /// Its last write was cut, as by a crash: nobody was told that it was done.
    Torn,
}

/// Reads the directory `dir`.
///
/// # Errors
/// The directory cannot be listed. No single file is a reason.
pub(super) fn all(dir: &Path) -> io::Result<Read> {
    let (snapshots, journals) = generations(dir)?;
    let mut reader = Reader { dir, read: Read::default() };
    let newest = snapshots.iter().rev().find_map(|n| Some((*n, reader.snapshot(*n)?)));
    let from = newest.as_ref().map_or(0, |(n, _)| *n);
    reader.read.snapshot = newest.as_ref().map(|(n, _)| *n);
    let mut state = newest.map(|(_, state)| state).unwrap_or_default();
    for n in journals.range(from..) {
        reader.journal(*n, &mut state);
    }
    let mut read = reader.read;
    read.generation = snapshots.last().max(journals.last()).copied().unwrap_or(0);
    read.state = (read.number > 0).then_some(state);
    Ok(read)
}

/// Reading, with what is to be told of it.
struct Reader<'a> {
    dir: &'a Path,
    read: Read,
}

impl Reader<'_> {
    fn snapshot(&mut self, n: u64) -> Option<State> {
        let name = format!("snapshot.{n}");
        let bytes = self.bytes(&name)?;
        let contents = record::read(&bytes, 0);
        let read = contents.records.first().map(|record| (record, words::read_state(record.text)));
        match read {
            Some((record, Ok(state))) => {
                self.read.number = record.number;
                Some(state)
            }
            Some((_, Err(error))) => {
                self.trouble(&name, error, TroubleKind::Damaged);
                None
            }
            None => {
                self.trouble(&name, "it is not whole".into(), TroubleKind::Damaged);
                None
            }
        }
    }

    fn journal(&mut self, n: u64, state: &mut State) {
        let name = format!("journal.{n}");
        let Some(bytes) = self.bytes(&name) else { return };
        let contents = record::read(&bytes, self.read.number);
        let mut why = self.take(&contents, state);
        if contents.damaged_bytes > 0 {
            why.push(format!("{} bytes within are damaged", contents.damaged_bytes));
        }
        let is_torn = why.is_empty();
        if contents.tail_bytes > 0 {
            why.push(format!("{} bytes at its end are no whole record", contents.tail_bytes));
        }
        if !why.is_empty() {
            let kind = if is_torn { TroubleKind::Torn } else { TroubleKind::Damaged };
            self.trouble(&name, why.join("; "), kind);
        }
    }

    /// Makes the changes. What is wrong with them.
    fn take(&mut self, contents: &Contents<'_>, state: &mut State) -> Vec<String> {
        let mut why = Vec::new();
        for record in &contents.records {
            self.read.number = record.number;
            self.read.changes += 1;
            match words::read_changes(record.text) {
                Err(error) => why.push(format!("record {}: {error}", record.number)),
                // One that a lost one made possible must not cost the others.
                Ok(changes) => why.extend(
                    changes
                        .iter()
                        .filter_map(|change| state.change(change).err())
                        .map(|refused| format!("record {}: {refused}", record.number)),
                ),
            }
        }
        why
    }

    fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = OpenOptions::new().read(true).open(self.dir.join(name));
        match file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => Some(bytes),
            Err(error) => {
                let why = format!("cannot be read: {error}");
                self.trouble(name, why, TroubleKind::Unreadable);
                None
            }
        }
    }

    fn trouble(&mut self, name: &str, why: String, kind: TroubleKind) {
        self.read.troubles.push(Trouble { name: name.to_owned(), why, kind });
    }
}

/// Reads what the control thread of a stopped node has left below its data directory; `None`: there is
/// no such directory.
///
/// # Errors
/// The directory cannot be listed.
pub(crate) fn left_behind(root: &Path) -> io::Result<Option<Read>> {
    match all(&root.join("control")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}
