//! What the control thread keeps on the disk: `control/snapshot.N` with the whole state and
//! `control/journal.N` with each change since, for a growing N.
//!
//! A change is answered when its record is synced. A start reads the latest snapshot that is whole and
//! every journal from it on, then begins the next N with a new snapshot, so nothing is ever written
//! behind octets that are in doubt. The N before stays as it is: should the new snapshot be damaged,
//! that one and the two journals give the same state. A file with anything that is no record is copied
//! to `quarantine/` and never keeps the node from starting. A write that fails is not repeated: the
//! change is refused and the next one begins another N. Blocking: before the shards start, and on the
//! pool. May import `read`, `record`, `words`, `change`, `state`.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::change::Change;
use super::read::{self, Read, Trouble, TroubleKind};
use super::record;
use super::state::State;
use super::words;

/// Octets of a journal after which the next N begins, if the snapshot has not more (arbitrary: some
/// thousand changes, which are read within milliseconds).
const JOURNAL_BYTES_MAX: u64 = 1 << 20;

/// The files, open for more.
#[derive(Debug)]
pub(crate) struct Journal {
    dir: PathBuf,
    /// N of the files that are written.
    generation: u64,
    /// Of the last record.
    number: u64,
    /// `None`: nothing can be written behind what is there.
    file: Option<File>,
    bytes: u64,
    snapshot_bytes: u64,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Opened {
    /// Behind what was found; [`Journal::begin`] comes next.
    pub(crate) journal: Journal,
    /// `None`: nothing was ever stored here, or nothing of it can be read.
    pub(crate) state: Option<State>,
    /// For the log: what is damaged, and where a copy of it is.
    pub(crate) findings: Vec<String>,
}

impl Journal {
    /// Reads what is stored below the data directory `root`.
    ///
    /// # Errors
    /// The directory cannot be made or listed. No single file is a reason.
    pub(crate) fn open(root: &Path) -> io::Result<Opened> {
        let dir = root.join("control");
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let Read { state, number, generation, troubles, .. } = read::all(&dir)?;
        let findings = troubles.iter().map(|trouble| put_aside(root, &dir, trouble)).collect();
        let journal = Self { dir, generation, number, file: None, bytes: 0, snapshot_bytes: 0 };
        Ok(Opened { journal, state, findings })
    }

    /// Begins the next N with this state.
    ///
    /// # Errors
    /// It cannot be written; the files before are as they were.
    pub(crate) fn begin(&mut self, state: &State) -> io::Result<()> {
        self.file = None;
        // Also after a failure: whatever it has left is not written again.
        self.generation += 1;
        let n = self.generation;
        self.number += 1;
        let text = words::state_text(state);
        let record = record::encode(self.number, &text).ok_or(io::ErrorKind::FileTooLarge)?;
        let new = self.dir.join("snapshot.new");
        let mut snapshot = create(&new)?;
        snapshot.write_all(record::MAGIC)?;
        snapshot.write_all(&record)?;
        snapshot.sync_all()?;
        let mut journal = create(&self.dir.join(format!("journal.{n}")))?;
        journal.write_all(record::MAGIC)?;
        journal.sync_all()?;
        std::fs::rename(&new, self.dir.join(format!("snapshot.{n}")))?;
        sync_dir(&self.dir)?;
        self.snapshot_bytes = record.len() as u64;
        self.bytes = 0;
        self.file = Some(journal);
        self.remove_before(n.saturating_sub(1));
        Ok(())
    }

    /// Stores changes that lead to `next`.
    ///
    /// # Errors
    /// They are not stored, or nobody knows whether they are.
    pub(crate) fn append(
        &mut self,
        changes: &[Change],
        before: &State,
        next: &State,
    ) -> io::Result<()> {
        if self.file.is_none() {
            self.begin(before)?;
        }
        let text = words::changes_text(changes);
        let record = record::encode(self.number + 1, &text).ok_or(io::ErrorKind::FileTooLarge)?;
        let Some(mut file) = self.file.take() else { return Err(io::ErrorKind::NotFound.into()) };
        file.write_all(&record)?;
        file.sync_data()?;
        self.file = Some(file);
        self.number += 1;
        self.bytes += record.len() as u64;
        if self.bytes > JOURNAL_BYTES_MAX.max(self.snapshot_bytes)
            && let Err(error) = self.begin(next)
        {
            tracing::warn!(%error, "the journal of users and vhosts cannot be made shorter");
        }
        Ok(())
    }

    /// Files that nothing needs any more; what stays is only in the way.
    fn remove_before(&self, n: u64) {
        let Ok((snapshots, journals)) = generations(&self.dir) else { return };
        let old = |set: &BTreeSet<u64>, name: &str| {
            for n in set.range(..n) {
                let _ = std::fs::remove_file(self.dir.join(format!("{name}.{n}")));
            }
        };
        // The snapshot first: a journal without its snapshot is read for nothing, the reverse is not.
        old(&snapshots, "snapshot");
        old(&journals, "journal");
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)
}

fn sync_dir(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).open(path)?.sync_all()
}

/// Keeps a file under another name, before it goes with the N after the next. What is to be told.
fn put_aside(root: &Path, dir: &Path, trouble: &Trouble) -> String {
    let Trouble { name, why, kind } = trouble;
    if *kind == TroubleKind::Unreadable {
        return format!("control/{name} {why}");
    }
    let quarantine = root.join("quarantine");
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&quarantine);
    let kept = quarantine.join(format!("control.{name}"));
    let copied = made.and_then(|()| std::fs::copy(dir.join(name), &kept));
    let where_to = match copied {
        Ok(_) => format!("a copy is {}", kept.display()),
        Err(error) => format!("it cannot be copied: {error}"),
    };
    format!("control/{name}: {why}; {where_to}")
}

/// The N of snapshots and of journals.
pub(super) fn generations(dir: &Path) -> io::Result<(BTreeSet<u64>, BTreeSet<u64>)> {
    let (mut snapshots, mut journals) = (BTreeSet::new(), BTreeSet::new());
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let Some((kind, n)) = name.to_str().and_then(|name| name.split_once('.')) else { continue };
        let Ok(n) = n.parse() else { continue };
        match kind {
            "snapshot" => snapshots.insert(n),
            "journal" => journals.insert(n),
            _ => false,
        };
    }
    Ok((snapshots, journals))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
