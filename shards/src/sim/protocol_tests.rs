//! A small log of numbers on the simulated disk, right and with planted faults: the right one loses
//! nothing it promised, each wrong one is caught. May import `sim` and `log`.

use std::io;

use crate::log::Files;
use crate::sim::{FaultKind, Faults, Operation, Random, SimDisk};

const BLOCK: usize = 512;
const BLOCKS_IN_FILE: u64 = 6;
const DIRECTORY: &str = "shards/00";

/// What the log does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// Contents are not synced.
    NoSync,
    /// The names of files are not synced.
    NoSyncOfDirectory,
    /// The name of the directory is not synced.
    NoSyncAboveDirectory,
    /// A sync that fails is tried again.
    SyncTriedAgain,
    /// The same of a directory.
    SyncOfDirectoryTriedAgain,
    /// What a start found is taken to be durable.
    NoSyncAtStart,
}

/// A log whose blocks hold a number each, counted up from 1.
struct Numbers {
    disk: SimDisk,
    wrong: Wrong,
    file: u64,
    block: u64,
    /// This life has written to the file.
    is_file_open: bool,
    /// The last number written.
    last: u64,
}

/// The number in the name of a file.
fn number_of(name: &str) -> u64 {
    name.strip_prefix("log.").unwrap().parse().unwrap()
}

impl Numbers {
    fn path(file: u64) -> String {
        format!("{DIRECTORY}/log.{file:04}")
    }

    /// Finds the numbers there are: the highest up to which none is missing.
    fn start(mut disk: SimDisk, wrong: Wrong) -> io::Result<Self> {
        disk.make_dir(DIRECTORY)?;
        if wrong != Wrong::NoSyncAboveDirectory {
            disk.sync_dir("")?;
            disk.sync_dir("shards")?;
        }
        let names: Vec<String> = disk.list(DIRECTORY)?.into_iter().map(|e| e.name).collect();
        let mut last = 0;
        let mut file = 0;
        for name in names {
            file = number_of(&name);
            let path = format!("{DIRECTORY}/{name}");
            for block in disk.read(&path)?.chunks(BLOCK) {
                let Some(number) = block.first_chunk().map(|octets| u64::from_le_bytes(*octets))
                else {
                    continue;
                };
                // A torn block has another number at its end.
                if block.len() == BLOCK && block[BLOCK - 8..] == block[..8] && number == last + 1 {
                    last = number;
                }
            }
            if wrong != Wrong::NoSyncAtStart {
                disk.sync(&path)?;
            }
        }
        if wrong != Wrong::NoSyncAtStart {
            disk.sync_dir(DIRECTORY)?;
        }
        Ok(Self { disk, wrong, file, block: BLOCKS_IN_FILE, is_file_open: false, last })
    }

    fn append(&mut self) -> io::Result<()> {
        if self.block == BLOCKS_IN_FILE {
            // A file is left only when all of it is durable.
            self.promise()?;
            self.file += 1;
            let path = Self::path(self.file);
            self.disk.create(&path, BLOCKS_IN_FILE * 512)?;
            self.sync_file(&path)?;
            self.sync_directory()?;
            self.block = 0;
        }
        self.last += 1;
        let mut block = [0; BLOCK];
        block[..8].copy_from_slice(&self.last.to_le_bytes());
        block[BLOCK - 8..].copy_from_slice(&self.last.to_le_bytes());
        self.disk.write(&Self::path(self.file), self.block * 512, &block)?;
        self.block += 1;
        self.is_file_open = true;
        Ok(())
    }

    /// Everything appended is durable; the last number that is.
    fn promise(&mut self) -> io::Result<u64> {
        if self.is_file_open {
            self.sync_file(&Self::path(self.file))?;
        }
        Ok(self.last)
    }

    fn sync_file(&mut self, path: &str) -> io::Result<()> {
        if self.wrong == Wrong::NoSync {
            return Ok(());
        }
        let result = self.disk.sync(path);
        if self.wrong == Wrong::SyncTriedAgain {
            result.or_else(|_| self.disk.sync(path))
        } else {
            result
        }
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        if self.wrong == Wrong::NoSyncOfDirectory {
            return Ok(());
        }
        let result = self.disk.sync_dir(DIRECTORY);
        if self.wrong == Wrong::SyncOfDirectoryTriedAgain {
            result.or_else(|_| self.disk.sync_dir(DIRECTORY))
        } else {
            result
        }
    }
}

/// Appends and promises until something fails or the process ends.
fn work(log: &mut Numbers, random: &mut Random, promised: &mut u64) -> io::Result<()> {
    for _ in 0..random.below(40) {
        log.append()?;
        if random.chance(40) {
            *promised = log.promise()?;
        }
    }
    Ok(())
}

/// What several lives of a log came to.
struct Tally {
    power_cuts: u64,
    promised: u64,
}

/// Four lives of a log; the first loss of something promised.
fn lives(seed: u64, wrong: Wrong) -> Result<Tally, String> {
    let mut power_cuts = 0;
    let mut random = Random::new(seed);
    let mut disk = SimDisk::new(seed, Faults::none());
    let mut promised = 0;
    for life in 0..4 {
        if random.chance(60) {
            disk.crash_at(1 + random.below(80));
        }
        if random.chance(30) {
            let operations = [Operation::Sync, Operation::SyncDir, Operation::Write];
            let operation = operations[random.index(operations.len())];
            disk.fail_after(operation, random.below(12), FaultKind::Io);
        }
        if let Ok(mut log) = Numbers::start(disk.clone(), wrong) {
            if log.last < promised {
                return Err(format!("life {life}: {} of {promised} are left", log.last));
            }
            // Who reads it now sees it: it must not be lost any more.
            promised = log.last;
            // Whatever ended it, the next life begins with what is on the disk.
            work(&mut log, &mut random, &mut promised).ok();
        }
        if random.chance(30) {
            disk.kill();
        } else {
            disk.crash();
            power_cuts += 1;
        }
        disk.clear_faults();
    }
    let log = Numbers::start(disk, wrong).map_err(|error| error.to_string())?;
    if log.last < promised {
        return Err(format!("at last: {} of {promised} are left", log.last));
    }
    Ok(Tally { power_cuts, promised })
}

#[test]
fn a_log_that_syncs_loses_nothing_it_promised_in_10000_power_cuts() {
    let (mut power_cuts, mut promised) = (0, 0);
    for seed in 0..3700 {
        let tally =
            lives(seed, Wrong::Nothing).unwrap_or_else(|loss| panic!("seed {seed}: {loss}"));
        power_cuts += tally.power_cuts;
        promised += tally.promised;
    }
    assert!(power_cuts >= 10_000, "only {power_cuts} power cuts");
    assert!(promised >= 4 * power_cuts, "only {promised} promises in {power_cuts} power cuts");
}

#[test]
fn each_planted_fault_is_caught_within_300_seeds() {
    for wrong in [
        Wrong::NoSync,
        Wrong::NoSyncOfDirectory,
        Wrong::NoSyncAboveDirectory,
        Wrong::SyncTriedAgain,
        Wrong::SyncOfDirectoryTriedAgain,
        Wrong::NoSyncAtStart,
    ] {
        let caught = (0..300).find(|seed| lives(*seed, wrong).is_err());
        assert!(caught.is_some(), "{wrong:?} was never caught");
    }
}
