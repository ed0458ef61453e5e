//! Opening, damaging and opening again of data directories on the real disk.
#![cfg(test)]

#[path = "support/temp_dir.rs"]
mod temp_dir;

use ringmq_shards::log::{
    DataDir, DataDirError, FileHeader, LogFile, Lsn, QueueUid, RESERVE_BYTES, paths,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use temp_dir::TempDir;

const GROUPS: u16 = 64;

fn open(path: &Path) -> DataDir {
    DataDir::open(path, GROUPS).expect("opens")
}

fn make_file(root: &Path, path: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("makes");
    fs::write(path, b"").expect("writes");
}

#[test]
fn a_new_directory_is_ours_alone_and_at_boot_1() {
    let temp = TempDir::new("new-dir");
    let path = temp.path().join("a/data");
    let opened = open(&path);

    assert_eq!((opened.boot, opened.groups, opened.shards_before), (1, GROUPS, 0));
    assert!(opened.was_clean, "nothing was lost");
    let warns = |note: &&String| !note.contains("ext4 and xfs");
    assert_eq!(opened.notes.iter().filter(warns).count(), 0, "{:?}", opened.notes);
    let mode = |path: &Path| path.metadata().expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&temp.path().join("a")), 0o700);
    for name in ["", "shards", "queues"] {
        assert_eq!(mode(&path.join(name)), 0o700, "{name}");
    }
    for name in ["LOCK", "BOOT", "RESERVE"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
    assert_eq!(path.join("RESERVE").metadata().expect("there").len(), RESERVE_BYTES);
}

#[test]
fn each_start_has_a_number_of_its_own_and_knows_how_the_last_one_ended() {
    let temp = TempDir::new("boots");
    let first = open(temp.path());
    let dir_id = first.dir_id;
    drop(first);
    let mut second = open(temp.path());
    assert_eq!((second.boot, second.was_clean, second.dir_id), (2, false, dir_id));
    second.mark_clean(3).expect("writes");
    drop(second);
    let third = open(temp.path());
    assert_eq!((third.boot, third.was_clean, third.shards_before), (3, true, 3));
    drop(third);
    let fourth = open(temp.path());
    assert_eq!((fourth.boot, fourth.was_clean), (4, false));
    let other = TempDir::new("other-dir");
    assert_ne!(open(other.path()).dir_id, dir_id);
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let temp = TempDir::new("lock");
    let first = open(temp.path());
    let refused = DataDir::open(temp.path(), GROUPS).expect_err("in use");
    assert_eq!(
        refused.to_string(),
        format!(
            "data directory {} is in use by another process (pid {})",
            first.root.display(),
            std::process::id()
        )
    );
    fs::write(temp.path().join("LOCK"), b"\xff\xff rubbish, and more of it than a number")
        .expect("writes");
    let refused = DataDir::open(temp.path(), GROUPS).expect_err("in use");
    assert!(matches!(refused, DataDirError::InUse { pid: None, .. }));
    drop(first);
    assert_eq!(open(temp.path()).boot, 2, "the refused ones took no number");
}

#[test]
fn the_groups_of_the_directory_count() {
    let temp = TempDir::new("groups");
    drop(open(temp.path()));
    let opened = DataDir::open(temp.path(), 128).expect("opens");
    assert_eq!(opened.groups, GROUPS);
    assert!(opened.notes.iter().any(|note| note.contains("128 groups are wanted")));
}

#[test]
fn a_boot_damaged_at_any_octet_or_cut_anywhere_costs_no_number() {
    let temp = TempDir::new("damage");
    let path = temp.path();
    drop(open(path));
    make_file(path, &paths::log(0, LogFile::first_of(41)));
    make_file(path, &paths::checkpoint(5, LogFile::first_of(40)));
    let whole = fs::read(path.join("BOOT")).expect("reads");
    let changed = (0..whole.len()).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    });
    let cut = [0, 1, 63].map(|length| whole[..length].to_vec());
    let damaged = changed.chain(cut).chain([vec![0; 100_000]]);
    for (number, bytes) in damaged.enumerate() {
        fs::write(path.join("BOOT"), bytes).expect("writes");
        let opened = open(path);
        assert_eq!(opened.boot, 1_041, "damage {number}");
        assert_eq!((opened.groups, opened.was_clean, opened.shards_before), (GROUPS, false, 6));
        assert!(opened.notes.iter().any(|note| note.contains("BOOT is damaged")), "{number}");
        let next = {
            drop(opened);
            open(path)
        };
        assert_eq!(next.boot, 1_042, "damage {number}: the new BOOT is whole");
    }
}

#[test]
fn a_lost_boot_is_made_up_for_from_all_names() {
    let temp = TempDir::new("lost");
    let path = temp.path();
    drop(open(path));
    let queue = paths::queue_dir(QueueUid(77 << 32 | 5));
    make_file(path, &format!("{queue}/seg.0"));
    // Numbers that no boot can have are damage themselves.
    make_file(path, "shards/00/log.ffffffff-00000000");
    make_file(path, "shards/99999/log.00000003-00000000");
    fs::remove_file(path.join("BOOT")).expect("removes");
    let opened = open(path);
    assert_eq!((opened.boot, opened.shards_before), (1_077, 1));
    assert!(opened.notes.iter().any(|note| note.contains("BOOT is not there")));
    drop(opened);

    fs::remove_file(path.join("BOOT")).expect("removes");
    fs::create_dir(path.join("BOOT")).expect("makes");
    let refused = DataDir::open(path, GROUPS).expect_err("nothing can be written in its place");
    assert!(matches!(refused, DataDirError::Io { what: "write BOOT", .. }), "{refused}");
    assert!(!refused.to_string().contains('\n'));
}

fn make_log(root: &Path, shard: u32, file: LogFile, header: FileHeader) {
    make_file(root, &paths::log(shard, file));
    fs::write(root.join(paths::log(shard, file)), header.encode()).expect("writes");
}

#[test]
fn a_lost_boot_leaves_the_directory_the_id_that_its_logs_have() {
    let temp = TempDir::new("lost-id");
    let path = temp.path();
    let dir_id = open(path).dir_id;
    let header = |shard, file: LogFile, dir_id| {
        let (first, boot) = (Lsn::first_of(1), 1);
        FileHeader { shard, dir_id, file, first, boot, created_ms: 0 }
    };
    let file = |count| LogFile(LogFile::first_of(1).0 + count);
    make_log(path, 0, file(0), header(0, file(0), dir_id));
    make_log(path, 1, file(0), header(1, file(0), dir_id));
    // Most say so: a file that strayed in from elsewhere, or with another one's header, does not.
    make_log(path, 0, file(9), header(0, file(9), dir_id ^ 1));
    for count in 2..9 {
        make_log(path, 0, file(count), header(1, file(count), dir_id ^ 2));
        make_log(path, 1, file(count), header(1, file(9), dir_id ^ 2));
    }
    make_file(path, &paths::log(1, file(10)));
    for damage in [None, Some(b"rubbish")] {
        fs::remove_file(path.join("BOOT")).expect("removes");
        if let Some(rubbish) = damage {
            fs::write(path.join("BOOT"), rubbish).expect("writes");
        }
        let opened = open(path);
        assert_eq!(opened.dir_id, dir_id, "{damage:?}");
        assert!(
            opened.notes.iter().any(|note| note.contains("keeps the id")),
            "{:?}",
            opened.notes
        );
    }
    // None can be read: there is nothing that an id would open.
    fs::remove_dir_all(path.join("shards")).expect("removes");
    make_file(path, &paths::log(0, file(0)));
    fs::remove_file(path.join("BOOT")).expect("removes");
    let opened = open(path);
    assert_ne!(opened.dir_id, dir_id);
    assert!(opened.notes.iter().any(|note| note.contains("a new id")), "{:?}", opened.notes);
}

/// CRC32C, once more and independently.
fn sum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).map(move |at| u32::from(byte >> at & 1))) {
        sum = (sum >> 1) ^ (0x82f6_3b78 * ((sum ^ bit) & 1));
    }
    !sum
}

#[test]
fn a_directory_of_a_later_version_is_left_as_it_is() {
    let temp = TempDir::new("later");
    let path = temp.path();
    drop(open(path));
    let mut bytes = fs::read(path.join("BOOT")).expect("reads");
    bytes[8] = 2;
    let checked = sum(&bytes[..60]);
    bytes[60..].copy_from_slice(&checked.to_le_bytes());
    fs::write(path.join("BOOT"), &bytes).expect("writes");
    let refused = DataDir::open(path, GROUPS).expect_err("of a later version");
    assert!(matches!(refused, DataDirError::TooNew { found: 2, .. }), "{refused}");
    assert!(!refused.to_string().contains('\n'), "{refused}");
    assert_eq!(fs::read(path.join("BOOT")).expect("reads"), bytes);
}

#[test]
fn an_old_copy_of_boot_repeats_no_number() {
    let temp = TempDir::new("old-copy");
    let path = temp.path();
    let mut first = open(path);
    first.mark_clean(1).expect("writes");
    drop(first);
    make_file(path, &paths::log(0, LogFile::first_of(9)));
    let opened = open(path);
    assert_eq!((opened.boot, opened.was_clean), (10, false));
    assert!(opened.notes.iter().any(|note| note.contains("old copy")), "{:?}", opened.notes);
}

#[test]
fn what_was_never_finished_is_removed_and_nothing_else() {
    let temp = TempDir::new("unfinished");
    let path = temp.path();
    drop(open(path));
    let queue = paths::queue_dir(QueueUid(1));
    let gone = [format!("{queue}/seg.1.tmp"), "shards/00/check.x.tmp".into(), "BOOT.tmp".into()];
    let stays = [format!("{queue}/seg.1"), format!("{queue}/settled.1"), "shards/stray".into()];
    for name in gone.iter().chain(&stays) {
        make_file(path, name);
    }
    let opened = open(path);
    assert!(gone.iter().all(|name| !path.join(name).exists()));
    assert!(stays.iter().all(|name| path.join(name).exists()));
    assert!(!opened.notes.iter().any(|note| note.contains("cannot")), "{:?}", opened.notes);
}

#[test]
fn a_directory_that_others_may_read_is_noted() {
    let temp = TempDir::new("open-to-others");
    fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).expect("changes");
    let opened = open(temp.path());
    assert!(opened.notes.iter().any(|note| note.contains("chmod 700")), "{:?}", opened.notes);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_one_line_of_error() {
    let temp = TempDir::new("file");
    make_file(temp.path(), "data");
    let refused = DataDir::open(&temp.path().join("data"), GROUPS).expect_err("no directory");
    assert!(matches!(refused, DataDirError::Io { .. }));
    assert!(!refused.to_string().contains('\n'), "{refused}");
}
