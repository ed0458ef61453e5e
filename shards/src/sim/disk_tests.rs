//! Each thing the simulated disk does wrong is done as it says. May import `sim` and `log`.

use std::io::{self, ErrorKind};

use crate::log::Files;
use crate::sim::{FaultKind, Faults, Operation, Random, SimDisk};

const SEEDS: u64 = 400;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(seed, Faults::none())
}

/// A file of two pages, durable with its name, all octets 1.
fn disk_with_file(seed: u64) -> SimDisk {
    let mut disk = disk(seed);
    disk.create("file", 8192).unwrap();
    disk.write("file", 0, &[1; 8192]).unwrap();
    disk.sync("file").unwrap();
    disk.sync_dir("").unwrap();
    disk
}

/// Runs a case for many seeds; the different results it had.
fn results<T: Ord>(mut case: impl FnMut(u64) -> T) -> Vec<T> {
    let mut found: Vec<T> = (0..SEEDS).map(&mut case).collect();
    found.sort();
    found.dedup();
    found
}

fn raw(result: io::Result<()>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

#[test]
fn what_was_synced_survives_a_crash_unchanged() {
    for seed in 0..SEEDS {
        let mut disk = disk_with_file(seed);
        disk.crash();
        assert_eq!(disk.read("file").unwrap(), [1; 8192], "seed {seed}");
    }
}

#[test]
fn unsynced_octets_survive_by_sectors_in_their_old_or_new_state() {
    let states = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.write("file", 0, &[2; 8192]).unwrap();
        disk.crash();
        let bytes = disk.read("file").unwrap();
        let sector = |sector: &[u8]| {
            assert!(sector.iter().all(|octet| *octet == sector[0]), "seed {seed}: torn sector");
            sector[0]
        };
        bytes.chunks(512).map(sector).collect::<Vec<u8>>()
    });
    let all = |octet| vec![octet; 16];
    assert!(states.contains(&all(1)) && states.contains(&all(2)), "all or nothing happens too");
    assert!(states.contains(&[all(1)[..8].to_vec(), all(2)[..8].to_vec()].concat()), "second page");
    let is_torn = |state: &Vec<u8>| state[..8].windows(2).any(|pair| pair[0] != pair[1]);
    assert!(states.iter().any(is_torn), "torn within a page");
}

#[test]
fn a_later_write_never_survives_without_an_earlier_one_of_its_sector() {
    let states = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.write("file", 0, &[2; 100]).unwrap();
        disk.write("file", 50, &[3; 100]).unwrap();
        disk.crash();
        let bytes = disk.read("file").unwrap();
        [bytes[0], bytes[60], bytes[120]]
    });
    assert_eq!(states, [[1, 1, 1], [2, 2, 1], [2, 3, 3]]);
}

#[test]
fn a_killed_process_leaves_everything_but_not_more_durable_than_it_was() {
    let states = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.write("file", 0, &[2; 10]).unwrap();
        disk.create("new", 10).unwrap();
        disk.kill();
        assert_eq!(disk.read("file").unwrap()[0], 2, "seed {seed}");
        assert_eq!(disk.read("new").unwrap().len(), 10, "seed {seed}");
        disk.crash();
        (disk.read("file").unwrap()[0], disk.read("new").is_ok())
    });
    assert_eq!(states, [(1, false), (1, true), (2, false), (2, true)]);
}

#[test]
fn an_unsynced_new_file_may_be_absent_empty_or_whole() {
    let states = results(|seed| {
        let mut disk = disk(seed);
        disk.create("file", 4096).unwrap();
        disk.crash();
        disk.read("file").ok().map(|bytes| bytes.len())
    });
    assert_eq!(states, [None, Some(0), Some(4096)]);
}

#[test]
fn syncing_a_file_does_not_sync_its_name_nor_a_directory_its_own() {
    let states = results(|seed| {
        let mut disk = disk(seed);
        disk.make_dir("above/below").unwrap();
        disk.create("above/below/file", 512).unwrap();
        disk.sync("above/below/file").unwrap();
        disk.sync_dir("above/below").unwrap();
        disk.crash();
        let exists = |(name, at): (&str, &str), disk: &mut SimDisk| {
            disk.list(at).unwrap().iter().any(|entry| entry.name == name)
        };
        [("above", ""), ("below", "above"), ("file", "above/below")]
            .map(|place| exists(place, &mut disk))
    });
    let (yes, no) = (true, false);
    assert_eq!(states, [[no, no, no], [yes, no, no], [yes, yes, yes]]);
}

#[test]
fn names_become_durable_in_the_order_in_which_they_were_changed() {
    let states = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.create("a", 1).unwrap();
        disk.rename("file", "b").unwrap();
        disk.remove("a").unwrap();
        disk.crash();
        let names: Vec<String> = disk.list("").unwrap().into_iter().map(|e| e.name).collect();
        names.join(" ")
    });
    assert_eq!(states, ["a b", "a file", "b", "file"]);
}

#[test]
fn a_synced_directory_keeps_its_renamed_and_removed_names() {
    for seed in 0..SEEDS {
        let mut disk = disk_with_file(seed);
        disk.create("gone", 1).unwrap();
        disk.rename("file", "gone").unwrap();
        disk.make_dir("empty").unwrap();
        disk.sync_dir("").unwrap();
        disk.remove_dir("empty").unwrap();
        disk.create("last", 1).unwrap();
        disk.remove("last").unwrap();
        disk.sync_dir("").unwrap();
        disk.crash();
        assert_eq!(disk.files(), [("gone".to_owned(), 8192)], "seed {seed}");
        assert_eq!(disk.list("").unwrap().len(), 1, "seed {seed}");
        assert_eq!(disk.read("gone").unwrap(), [1; 8192], "seed {seed}");
    }
}

#[test]
fn a_file_moved_to_another_directory_is_in_one_of_the_two() {
    let states = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.make_dir("new").unwrap();
        disk.rename("file", "new/file").unwrap();
        if seed % 3 == 0 {
            disk.sync_dir("new").unwrap();
        }
        disk.crash();
        let [(path, _)] = &disk.files()[..] else { panic!("seed {seed}: {:?}", disk.files()) };
        assert_eq!(disk.read(path).unwrap(), [1; 8192], "seed {seed}");
        (seed % 3 == 0, path.clone())
    });
    let expected = [(false, "file"), (false, "new/file"), (true, "new/file")];
    assert_eq!(states, expected.map(|(synced, path)| (synced, path.to_owned())));
}

#[test]
fn what_was_durable_is_not_lost_by_moving_it_to_a_directory_that_is_not() {
    let states = results(|seed| {
        let mut disk = disk(seed);
        disk.make_dir("old").unwrap();
        disk.create("old/file", 1).unwrap();
        for directory in ["old", ""] {
            disk.sync_dir(directory).unwrap();
        }
        disk.make_dir("new").unwrap();
        disk.rename("old/file", "new/file").unwrap();
        if seed % 3 == 0 {
            disk.sync_dir("new").unwrap();
        }
        if seed % 3 == 1 {
            disk.remove_dir("old").unwrap();
            disk.sync_dir("").unwrap();
        }
        disk.crash();
        let files: Vec<String> = disk.files().into_iter().map(|(path, _)| path).collect();
        (seed % 3, files.join(" "))
    });
    let expected = [(0, "new/file"), (1, "new/file"), (2, "new/file"), (2, "old/file")];
    assert_eq!(states, expected.map(|(case, path)| (case, path.to_owned())));
}

#[test]
fn a_change_that_did_not_survive_in_one_directory_holds_up_those_after_it_in_the_other() {
    let states = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.make_dir("other").unwrap();
        disk.sync_dir("").unwrap();
        disk.rename("file", "other/file").unwrap();
        disk.create("later", 1).unwrap();
        disk.crash();
        disk.files().into_iter().map(|(path, _)| path).collect::<Vec<String>>().join(" ")
    });
    assert_eq!(states, ["file", "later other/file", "other/file"]);
}

#[test]
fn a_failed_sync_loses_octets_which_the_next_one_does_not_report() {
    for seed in 0..SEEDS {
        for kind in [FaultKind::Io, FaultKind::Full] {
            let mut disk = disk_with_file(seed);
            disk.fail_after(Operation::Sync, 1, kind);
            disk.sync("file").unwrap();
            disk.write("file", 0, &[2; 8192]).unwrap();
            assert_eq!(raw(disk.sync("file")), kind.error().raw_os_error(), "seed {seed}");
            disk.sync("file").expect("F7: the second sync says all is well");
            assert_eq!(disk.map("file").unwrap().as_ref(), [2; 8192], "seed {seed}: F7, cache");
            disk.kill();
            assert_eq!(disk.map("file").unwrap().as_ref(), [2; 8192], "seed {seed}: F8, cache");
            let direct = disk.read("file").unwrap();
            assert!(direct.contains(&1), "seed {seed}: F8, the disk has the old octets");
            disk.crash();
            assert_eq!(disk.read("file").unwrap(), direct, "seed {seed}");
            assert_eq!(disk.map("file").unwrap().as_ref(), direct, "seed {seed}");
        }
    }
}

#[test]
fn what_is_written_after_a_failed_sync_is_durable_again() {
    for seed in 0..SEEDS {
        let mut disk = disk_with_file(seed);
        disk.write("file", 0, &[2; 8192]).unwrap();
        disk.fail_after(Operation::Sync, 0, FaultKind::Io);
        disk.sync("file").unwrap_err();
        disk.write("file", 100, &[3; 8000]).unwrap();
        disk.sync("file").unwrap();
        assert_eq!(disk.map("file").unwrap().as_ref()[99..101], [2, 3], "seed {seed}");
        disk.crash();
        assert_eq!(disk.read("file").unwrap()[100..8100], [3; 8000], "seed {seed}");
    }
}

#[test]
fn a_failed_sync_of_a_directory_loses_names_which_the_next_one_does_not_report() {
    let states = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.create("a", 1).unwrap();
        disk.create("b", 1).unwrap();
        disk.fail_after(Operation::SyncDir, 0, FaultKind::Io);
        disk.sync_dir("").unwrap_err();
        disk.sync_dir("").unwrap();
        disk.crash();
        disk.files().len()
    });
    assert_eq!(states, [1, 2], "never both new names");
}

#[test]
fn a_fault_strikes_its_operation_once_after_its_count() {
    let faults = Faults::none().fail_after(Operation::Create, 1, FaultKind::Io).fail_after(
        Operation::Rename,
        0,
        FaultKind::Full,
    );
    let mut disk = SimDisk::new(1, faults);
    disk.create("a", 1).unwrap();
    assert_eq!(raw(disk.create("b", 1)), Some(libc::EIO));
    disk.create("b", 1).expect("nothing was left of the failed attempt");
    assert_eq!(disk.rename("a", "c").unwrap_err().kind(), ErrorKind::StorageFull);
    disk.rename("a", "c").unwrap();
    disk.fail_after(Operation::Remove, 0, FaultKind::Io);
    disk.clear_faults();
    disk.remove("c").unwrap();
}

#[test]
fn a_failed_write_leaves_a_first_part() {
    let lengths = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.fail_after(Operation::Write, 0, FaultKind::Full);
        assert!(disk.write("file", 0, &[2; 4]).is_err(), "seed {seed}");
        let bytes = disk.read("file").unwrap();
        let taken = bytes.iter().take_while(|octet| **octet == 2).count();
        assert!(bytes[taken..].iter().all(|octet| *octet == 1), "seed {seed}");
        taken
    });
    assert_eq!(lengths, [0, 1, 2, 3, 4]);
}

#[test]
fn a_full_disk_makes_no_file_but_takes_what_has_its_place() {
    let mut disk = SimDisk::new(1, Faults::none().capacity(10_000));
    disk.make_dir("above/below").unwrap();
    disk.create("above/below/file", 8000).unwrap();
    assert_eq!(disk.files(), [("above/below/file".to_owned(), 8000)]);
    assert_eq!(disk.free_bytes().unwrap(), 2000);
    disk.remove("above/below/file").unwrap();
    disk.create("file", 8192).unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 1808);
    assert_eq!(disk.create("more", 1809).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(disk.create("huge", u64::MAX).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.write("file", 0, &[1; 8192]).unwrap();
    disk.sync("file").unwrap();
    disk.create("more", 1808).unwrap();
    disk.set_capacity(5000);
    assert_eq!(disk.free_bytes().unwrap(), 0);
    disk.write("more", 0, &[1; 1808]).unwrap();
    disk.remove("file").unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 3192);
}

#[test]
fn an_unreadable_sector_fails_reads_until_it_is_written_anew() {
    let mut disk = disk_with_file(1);
    assert!(disk.fail_reading("file", 600));
    assert!(!disk.fail_reading("file", 8192));
    assert_eq!(raw(disk.read("file").map(drop)), Some(libc::EIO));
    assert_eq!(raw(disk.map("file").map(drop)), Some(libc::EIO));
    disk.crash();
    assert!(disk.read("file").is_err(), "it outlives a restart");
    disk.write("file", 512, &[2; 511]).unwrap();
    assert!(disk.read("file").is_err());
    disk.write("file", 512, &[2; 512]).unwrap();
    assert_eq!(disk.read("file").unwrap()[512], 2);
}

#[test]
fn damage_by_order_is_seen_and_stays() {
    let mut disk = disk_with_file(1);
    assert!(disk.flip("file", 8 * 5 + 1));
    assert!(!disk.flip("file", 8 * 8192));
    assert!(!disk.flip("none", 0));
    assert_eq!(disk.read("file").unwrap()[4..7], [1, 3, 1]);
    disk.write("file", 4, &[7; 100]).unwrap();
    assert!(disk.truncate("file", 6));
    assert_eq!(disk.read("file").unwrap(), [1, 1, 1, 1, 7, 7]);
    disk.sync("file").unwrap();
    disk.crash();
    assert_eq!(disk.peek("file").unwrap(), [1, 1, 1, 1, 7, 7]);
}

#[test]
fn after_the_process_has_ended_nothing_changes_any_more() {
    let states = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.crash_at(2);
        disk.create("a", 1).unwrap();
        disk.create("b", 1).unwrap_err();
        assert!(disk.is_cut(), "seed {seed}");
        disk.write("file", 0, &[2]).unwrap_err();
        disk.remove("file").unwrap_err();
        disk.sync_dir("").unwrap_err();
        disk.read("file").unwrap_err();
        disk.kill();
        assert_eq!(disk.read("file").unwrap(), [1; 8192], "seed {seed}");
        disk.read("a").unwrap();
        disk.read("b").is_ok()
    });
    assert_eq!(states, [false, true], "the operation under way is done or not");
}

#[test]
fn a_write_under_way_when_the_process_ends_is_done_in_part() {
    let lengths = results(|seed| {
        let mut disk = disk_with_file(seed);
        disk.crash_at(1);
        disk.write("file", 0, &[2; 2]).unwrap_err();
        disk.kill();
        disk.read("file").unwrap().iter().filter(|octet| **octet == 2).count()
    });
    assert_eq!(lengths, [0, 1, 2]);
}

#[test]
fn a_handle_of_a_process_before_a_restart_does_nothing() {
    let mut disk = disk_with_file(1);
    let mut old = disk.clone();
    disk.kill();
    assert!(old.is_cut() && !disk.is_cut());
    old.remove("file").unwrap_err();
    let mut same = disk.clone();
    same.remove("file").unwrap();
    assert!(disk.files().is_empty());
}

#[test]
fn operations_and_octets_are_counted() {
    let mut disk = disk_with_file(1);
    disk.fail_after(Operation::Sync, 0, FaultKind::Io);
    disk.sync("file").unwrap_err();
    disk.list("").unwrap();
    let counters = disk.counters();
    assert_eq!(counters.of(Operation::Create), 1);
    assert_eq!(counters.of(Operation::Sync), 2);
    assert_eq!(counters.syncs(), 3);
    assert_eq!(counters.written_bytes, 8192);
    assert_eq!(counters.total(), 6);
}

#[test]
fn wrong_use_is_refused() {
    let mut disk = disk_with_file(1);
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    disk.make_dir("dir/in").unwrap();
    disk.make_dir("dir/in").expect("one that is there is fine");
    assert_eq!(kind(disk.write("file", 8000, &[0; 193])), ErrorKind::InvalidInput);
    assert_eq!(kind(disk.write("file", u64::MAX, &[0; 1])), ErrorKind::InvalidInput);
    assert_eq!(kind(disk.write("none", 0, &[0; 1])), ErrorKind::NotFound);
    assert_eq!(kind(disk.create("file", 1)), ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create("none/file", 1)), ErrorKind::NotFound);
    assert_eq!(kind(disk.create("../file", 1)), ErrorKind::InvalidInput);
    assert_eq!(kind(disk.create("/file", 1)), ErrorKind::InvalidInput);
    assert_eq!(kind(disk.create("file/file", 1)), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.remove("dir")), ErrorKind::IsADirectory);
    assert_eq!(kind(disk.remove("none")), ErrorKind::NotFound);
    assert_eq!(kind(disk.remove_dir("dir")), ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(disk.remove_dir("file")), ErrorKind::NotADirectory);
    assert_eq!(kind(disk.remove_dir("")), ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(disk.rename("none", "x")), ErrorKind::NotFound);
    assert_eq!(kind(disk.rename("file", "dir")), ErrorKind::IsADirectory);
    assert_eq!(kind(disk.rename("dir", "dir/in/dir")), ErrorKind::InvalidInput);
    assert_eq!(kind(disk.sync("dir")), ErrorKind::IsADirectory);
    assert_eq!(kind(disk.sync_dir("none")), ErrorKind::NotFound);
    assert!(disk.list("none").unwrap().is_empty());
    disk.rename("file", "file").unwrap();
    assert_eq!(kind(SimDisk::new(1, Faults::none()).remove_dir("")), ErrorKind::InvalidInput);
    assert_eq!(disk.files(), [("file".to_owned(), 8192)]);
}

/// Any operations on a few names, with crashes; everything that can be seen afterwards.
fn any_operations(seed: u64) -> String {
    let mut random = Random::new(seed);
    let mut disk = disk(seed);
    let mut seen = String::new();
    let paths = ["a", "b", "d", "d/a", "d/b", "d/e", "d/e/a"];
    for _ in 0..120 {
        let path = paths[random.index(paths.len())];
        let other = paths[random.index(paths.len())];
        let result = match random.below(12) {
            0 => disk.create(path, 5000),
            1 => disk.make_dir(path),
            2 => disk.write(path, random.below(5000), &[7; 300]),
            3 => disk.sync(path),
            4 => disk.sync_dir(path),
            5 => disk.rename(path, other),
            6 => disk.remove(path),
            7 => disk.remove_dir(path),
            8 => disk.sync_dir(""),
            9 => {
                disk.fail_after(Operation::SyncDir, random.below(3), FaultKind::Io);
                Ok(())
            }
            10 => {
                disk.fail_after(Operation::Sync, random.below(3), FaultKind::Io);
                Ok(())
            }
            _ => {
                if random.chance(50) {
                    disk.crash();
                }
                Ok(())
            }
        };
        seen += &format!("{result:?} {:?}\n", disk.files());
    }
    for (path, _) in disk.files() {
        seen += &format!("{:?}\n", disk.read(&path).unwrap());
    }
    seen
}

#[test]
fn the_same_seed_gives_the_same_outcome() {
    for seed in 0..SEEDS {
        assert_eq!(any_operations(seed), any_operations(seed), "seed {seed}");
    }
    assert_ne!(any_operations(1), any_operations(2));
}
