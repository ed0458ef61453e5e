//! From the data directory to what each shard starts with: what the last run has left is read by
//! this thread, before a shard has anything to do, and handed to its new owners.
//!
//! May import `broker`, `config`, `ringmq_shards`.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::{Arc, mpsc};

use ringmq_shards::log::{DataDir, RealFiles, warm_segments};
use ringmq_shards::{Clock, Running, ShardId};

use super::NodeError;
use crate::broker::placement::Placement;
use crate::broker::{Catalogue, Recovery, ShardRemains, Sizes, StorageSetup};
use crate::config::Config;
use crate::hub::Crossing;

/// A recovery that takes longer tells how far it is, this often, milliseconds.
const PROGRESS_MS: u64 = 2_000;

/// Findings that are logged one by one; a disk that is damaged all over must not flood the log.
const FINDINGS_MAX: usize = 100;

/// What the last run has left.
pub(super) struct Recovered {
    catalogue: Arc<Catalogue>,
    /// By shard.
    remains: Vec<ShardRemains>,
}

/// Reads the data directory.
///
/// # Errors
/// A directory cannot be listed. No single file keeps the node from starting.
pub(super) fn recover(data_dir: &DataDir, placement: Placement) -> Result<Recovered, NodeError> {
    let clock = Clock::new();
    let began = clock.now_ms();
    let mut told = began;
    let mut progress = |done: usize, of: usize, what: &str| {
        let now = clock.now_ms();
        if now >= told + PROGRESS_MS {
            told = now;
            tracing::info!(done, of, what, "reading what the last run has left");
        }
    };
    warm_segments(&data_dir.root);
    let mut files = RealFiles::new(&data_dir.root);
    let read = Recovery::read(&mut files, data_dir.dir_id, data_dir.boot, &mut progress);
    let mut recovery = read.map_err(|cause| NodeError::Unreadable {
        path: data_dir.root.to_string_lossy().into(),
        cause,
    })?;
    put_aside(&recovery, &data_dir.root);
    if let Err(error) = recovery.sweep(&mut files) {
        tracing::warn!(%error, "what is left of deleted queues stays");
    }
    report(&recovery, data_dir, clock.now_ms().saturating_sub(began));
    if !data_dir.was_clean {
        recovery.assume_deliveries();
    }
    let (catalogue, remains) = recovery.split(placement);
    Ok(Recovered { catalogue: Arc::new(catalogue), remains })
}

/// Keeps what is damaged under another name: all else of earlier boots goes when this one does not
/// need it any more. A second name costs no space and no time.
fn put_aside(recovery: &Recovery, root: &Path) {
    if recovery.report.put_aside.is_empty() {
        return;
    }
    let dir = root.join("quarantine");
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    for path in &recovery.report.put_aside {
        let (from, kept) = (root.join(path), dir.join(path.replace('/', ".")));
        let linked = std::fs::hard_link(&from, &kept);
        let there = linked.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::AlreadyExists);
        if linked.is_ok() || there || std::fs::copy(&from, &kept).is_ok() {
            tracing::warn!(path, kept = %kept.display(), "a damaged file is put aside");
        } else {
            tracing::error!(path, ?made, ?linked, "a damaged file cannot be put aside");
        }
    }
}

fn report(recovery: &Recovery, data_dir: &DataDir, took_ms: u64) {
    let report = &recovery.report;
    for finding in report.findings.iter().take(FINDINGS_MAX) {
        tracing::warn!("{finding}");
    }
    let more = report.findings.len().saturating_sub(FINDINGS_MAX);
    if more > 0 {
        tracing::warn!(more, "further findings; `ringmq check` lists them all");
    }
    if report.lost > 0 {
        tracing::error!(records = report.lost, "stored records are lost to damage");
    }
    if report.records > 0 || report.segments > 0 {
        tracing::info!(
            clean = data_dir.was_clean,
            records = report.records,
            log_bytes = report.log_bytes,
            segments = report.segments,
            took_ms,
            "read what the last run has left"
        );
    }
}

impl Recovered {
    /// The virtual hosts that durable things are in.
    pub(super) fn vhosts(&self) -> impl Iterator<Item = &str> {
        self.catalogue.vhosts()
    }

    /// Gives each shard its part and waits until all have it: nothing may reach a shard before.
    pub(super) fn hand_out(self, running: &Running<Crossing>, restored: &mpsc::Receiver<()>) {
        let remote = running.remote();
        let shards = self.remains.len();
        for (shard, remains) in (0..).map(ShardId).zip(self.remains) {
            remote.send(shard, Crossing::Restore(self.catalogue.clone(), Box::new(remains)));
        }
        for _ in 0..shards {
            if restored.recv().is_err() {
                return;
            }
        }
        for shard in (0..shards).filter_map(ShardId::from_index) {
            remote.send(shard, Crossing::Go);
        }
    }
}

/// What each shard's storage is made with.
pub(super) fn storage_setup(config: &Config, data_dir: &DataDir) -> StorageSetup {
    let main = &config.main;
    StorageSetup {
        dir_id: data_dir.dir_id,
        boot: data_dir.boot,
        groups: data_dir.groups,
        sizes: Sizes {
            log_file_bytes: main.log_file_bytes,
            log_bytes_max: main.log_bytes_max,
            segment_bytes: main.segment_bytes,
            queue_memory_max: main.queue_memory_bytes_max,
        },
        free_disk_min: main.free_disk_min_bytes,
        free_disk_warn: main.free_disk_warn_bytes,
    }
}
