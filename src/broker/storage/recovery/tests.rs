//! What is believed of a checkpoint.

use std::path::PathBuf;

use ringmq_shards::log::{RealFiles, paths};

use super::*;
use crate::broker::definitions::QueueDefinition;
use crate::value::Table;

const DIR_ID: u64 = 0x0123_4567_89ab_cdef;
const BOOT: u32 = 3;
const UID: QueueUid = QueueUid((BOOT as u64) << 32 | 1);

/// A data directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    /// With one checkpoint, which stands in the place of that of shard 1.
    fn with(name: &str, checkpoint: &[u8]) -> Self {
        let root = std::env::temp_dir().join(format!("ringmq-{}-{name}", std::process::id()));
        let path = root.join(paths::checkpoint(1, LogFile::first_of(BOOT)));
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("makes");
        std::fs::write(path, checkpoint).expect("writes");
        Self(root)
    }

    fn read(&self) -> Recovery {
        let mut files = RealFiles::new(&self.0);
        Recovery::read(&mut files, DIR_ID, BOOT + 1, &mut |_, _, _| ()).expect("lists")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left over is the system's to clean.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn checkpoint(dir_id: u64, shard: u32) -> Vec<u8> {
    let mut writer = CheckpointWriter::new(BOOT, Key::of(dir_id, shard));
    let queue = QueueDefinition {
        uid: UID,
        vhost: "/".into(),
        name: "orders".into(),
        kind: "classic".into(),
        auto_delete: false,
        arguments: Table::default(),
    };
    writer.add(5, &Definition::Queue(queue));
    writer.finish()
}

#[test]
fn a_checkpoint_is_read_by_its_own_shard() {
    let recovery = Directory::with("own-checkpoint", &checkpoint(DIR_ID, 1)).read();
    assert_eq!(recovery.report.findings, Vec::<String>::new());
    assert!(recovery.catalogue.has_queue(UID));
}

#[test]
fn a_checkpoint_of_another_shard_or_directory_is_damage() {
    for (name, dir_id, shard) in [("other-shard", DIR_ID, 2), ("other-dir", DIR_ID ^ 1, 1)] {
        let recovery = Directory::with(name, &checkpoint(dir_id, shard)).read();
        assert!(!recovery.catalogue.has_queue(UID), "{name}");
        assert!(recovery.report.definitions_damaged, "{name}");
        assert_eq!(recovery.report.findings.len(), 1, "{name}: {:?}", recovery.report.findings);
    }
}

#[test]
fn a_list_of_settled_entries_without_its_segment_goes() {
    let alone = SegmentId { queue: UID, number: 7 };
    for damaged in [false, true] {
        let bytes = if damaged { b"none".to_vec() } else { checkpoint(DIR_ID, 1) };
        let directory = Directory::with(&format!("alone-{damaged}"), &bytes);
        let settled = directory.0.join(paths::settled(alone));
        std::fs::create_dir_all(settled.parent().expect("below the root")).expect("makes");
        std::fs::write(&settled, [0; 64]).expect("writes");
        let mut files = RealFiles::new(&directory.0);
        directory.read().sweep(&mut files).expect("removes");
        // With definitions damaged nothing is.
        assert_eq!(settled.exists(), damaged);
    }
}
