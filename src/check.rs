//! `ringmq check`: reads all that a stopped broker has left in its data directory, verifies every
//! checksum there is, and changes nothing.
//!
//! What is there is what the next start would find: definitions and messages come from the same
//! `Recovery`. What is wrong is looked for here, file by file, as a start reads no more than it
//! needs: in segments it believes the tables and never reads the messages.
//!
//! Memory is bounded by the logs, as for a start; segments are read one at a time.
//!
//! May import `broker` and `control` (what they store) and of `ringmq_shards` the log.

mod control;
mod json;
mod logs;
mod progress;
mod queues;
mod report;
mod text;

use std::io;
use std::path::{Path, PathBuf};

use ringmq_shards::log::{
    BootFound, BootInfo, DataDirError, Files, Inspected, RealFiles, dir_id_of_logs, paths,
};

use self::progress::Progress;
use crate::broker::Recovery;

pub use self::report::Report;

/// What is in a data directory besides `shards` and `queues`.
const OTHER_NAMES: [&str; 6] =
    ["BOOT", "LOCK", paths::RESERVE, "quarantine", "control", "ringmqctl.sock"];

/// A boot number that none reaches: all are earlier, so all logs are read.
const BEYOND_ALL_BOOTS: u32 = u32::MAX;

/// Why nothing can be said. Each text is one line.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// It is in use, of a later format, or none.
    #[error("{0}")]
    DataDir(#[from] DataDirError),
    /// A directory in it.
    #[error("cannot read data directory {}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// Verifies a data directory. Tells on standard error how far it is when that takes long.
///
/// # Errors
/// A broker works in it, or directories cannot be read. A file that cannot be read is a finding.
pub fn run(data_dir: &Path) -> Result<Report, CheckError> {
    // Held to the end: no broker starts in the middle of this.
    let inspected = Inspected::open(data_dir)?;
    let root = inspected.root.clone();
    let unreadable = |cause| CheckError::Unreadable { path: root.clone(), cause };
    let mut checking = Checking {
        files: RealFiles::new(&root),
        boot: None,
        boot_max: 0,
        dir_id: 0,
        report: Report::new(&root.to_string_lossy()),
        progress: Progress::new(),
    };
    checking.all(&inspected).map_err(unreadable)?;
    Ok(checking.report)
}

/// One check under way. `logs` and `queues` have its parts.
struct Checking {
    files: RealFiles,
    /// What BOOT says, if it can be believed.
    boot: Option<BootInfo>,
    /// The highest boot number in any name.
    boot_max: u64,
    /// Without it no record can be read: from BOOT, or else from the logs.
    dir_id: u64,
    report: Report,
    progress: Progress,
}

impl Checking {
    fn all(&mut self, inspected: &Inspected) -> io::Result<()> {
        if !inspected.is_locked() {
            self.report.note("LOCK", "is not there: a broker that starts meanwhile is not noticed");
        }
        self.look_at_root()?;
        self.check_control(&inspected.root)?;
        if let BootFound::Whole(boot) = &inspected.boot {
            self.boot = Some(*boot);
            self.report.boot = Some(*boot);
        }
        let known = self.boot.map(|boot| boot.dir_id);
        self.dir_id = known.or_else(|| dir_id_of_logs(&mut self.files)).unwrap_or_default();
        self.check_logs()?;
        let orphans_may_be_lost = !self.report.is_sound();
        let progress = &mut self.progress;
        let mut tell = |done: usize, of: usize, what: &str| progress.step(done, of, what);
        let recovery = Recovery::read(&mut self.files, self.dir_id, BEYOND_ALL_BOOTS, &mut tell)?;
        self.take_definitions(&recovery);
        self.take_queues(&recovery);
        // With it go the messages that were found in the logs.
        drop(recovery);
        self.check_segments(orphans_may_be_lost)?;
        self.check_boot(&inspected.boot);
        Ok(())
    }

    fn look_at_root(&mut self) -> io::Result<()> {
        for entry in self.files.list("")? {
            let is_ours = [paths::SHARDS, paths::QUEUES].contains(&&*entry.name)
                || OTHER_NAMES.contains(&&*entry.name);
            if !is_ours {
                self.stranger(&entry.name, entry.is_dir);
            }
        }
        for entry in self.files.list("quarantine")? {
            self.report.note(&format!("quarantine/{}", entry.name), "was put aside as damaged");
        }
        Ok(())
    }

    /// A name that is none of a complete file of ours.
    fn stranger(&mut self, path: &str, is_dir: bool) {
        if !is_dir && path.ends_with(paths::UNFINISHED) {
            self.report.note(path, "was not finished being written; the next start removes it");
        } else {
            self.report.note(path, "is no file of a broker");
        }
    }

    /// At the end, when it is known what else is there.
    fn check_boot(&mut self, found: &BootFound) {
        match found {
            BootFound::Whole(boot) if u64::from(boot.boot) < self.boot_max => {
                let (own, seen) = (boot.boot, self.boot_max);
                let what = format!("is of boot {own}, but there are files of boot {seen}");
                self.report.damage("BOOT", &format!("{what}: it is an old copy"));
            }
            BootFound::Whole(_) => {}
            // A first start that was cut off before it had written anything.
            BootFound::Missing if self.boot_max == 0 => self.report.note("BOOT", "is not there"),
            BootFound::Missing => self.report.damage("BOOT", "is not there"),
            BootFound::Damaged { how } => self.report.damage("BOOT", how),
        }
    }

    /// Notes a boot number that stands in a name.
    fn see_boot(&mut self, boot: u64) {
        self.boot_max = self.boot_max.max(boot);
    }
}
