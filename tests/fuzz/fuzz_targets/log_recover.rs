//! Feeds recovery with log files: octets as they are, or put together from intact records that
//! contradict each other, since the checksums would keep a fuzzer out for ever. Some of them are of
//! another log, and must not come back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_shards::log::ids::BOOT_SHIFT;
use ringmq_shards::log::record::{self, Head};
use ringmq_shards::log::{
    BLOCK_BYTES, FileHeader, Image, Key, Known, LogFile, Lsn, Report, recover,
};

const DIR_ID: u64 = 1;
const SHARD: u32 = 0;

/// Marks records of another log.
const FOREIGN: u16 = 1;

/// What is taken from the input, zeros when it is at an end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn next(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> u64 {
        u64::from(self.next())
    }
}

/// Three files of two boots.
const FILES: [LogFile; 3] = [LogFile(1 << 32), LogFile((1 << 32) + 1), LogFile(2 << 32)];

/// Octets that a file may have: a fuzzer gains nothing by more.
const FILE_BYTES_MAX: usize = 16 * BLOCK_BYTES;

fn lsn(boot: u32, count: u64) -> Lsn {
    Lsn((u64::from(boot) << BOOT_SHIFT) + count)
}

fn put(input: &mut Input<'_>, bytes: &mut Vec<u8>) {
    let boot = u32::from(input.next() % 3);
    let is_foreign = input.next() % 8 == 7;
    let key = Key::of(DIR_ID, if is_foreign { SHARD + 1 } else { SHARD });
    let (count, back) = (input.number() + 1, input.number());
    let start = record::begin(bytes);
    let filling = input.next();
    bytes.resize(bytes.len() + usize::from(input.next()) * 9, filling);
    let head = Head {
        lsn: lsn(boot, count),
        durable: lsn(boot, count.saturating_sub(back)),
        boot,
        group: u32::from(input.next() % 4),
        gseq: input.number(),
        epoch: 0,
        kind: u16::from(input.next() % 4),
        flags: if is_foreign { FOREIGN } else { 0 },
    };
    record::finish(bytes, start, &head, key);
}

fn composed(input: &mut Input<'_>) -> Vec<Vec<u8>> {
    let mut files: Vec<Vec<u8>> = Vec::new();
    for file in FILES {
        let boot = u32::try_from(file.boot()).unwrap_or(0);
        let first = lsn(boot, input.number());
        let shard = if input.next() % 8 == 7 { SHARD + 1 } else { SHARD };
        let header = FileHeader { shard, dir_id: DIR_ID, file, first, boot, created_ms: 0 };
        let mut bytes = header.encode();
        while !input.0.is_empty() && bytes.len() < FILE_BYTES_MAX {
            match input.next() % 16 {
                0 => break,
                1 => bytes.resize(bytes.len().next_multiple_of(BLOCK_BYTES), 0),
                2 => bytes.extend_from_slice(&[0; 8]),
                3 => {
                    let octet = input.next();
                    bytes.extend_from_slice(&[octet; 16]);
                }
                4 => {
                    let at = (input.next() as usize * 256 + input.next() as usize) % bytes.len();
                    bytes[at] ^= 1 << (input.next() % 8);
                }
                5 => {
                    let from = input.next() as usize * 16 % bytes.len();
                    let end = (from + input.next() as usize * 16).min(bytes.len());
                    bytes.extend_from_within(from..end);
                    bytes.resize(bytes.len().next_multiple_of(8), 0);
                }
                _ => put(input, &mut bytes),
            }
        }
        files.push(bytes);
    }
    files
}

fn run(images: &[Image<'_>], known: Known) -> (Vec<Lsn>, Report) {
    let mut given = Vec::new();
    let report = recover(images, known, &mut |record, _| {
        assert_ne!(record.head.flags, FOREIGN, "a record of another log");
        given.push(record.head.lsn);
    });
    (given, report)
}

fuzz_target!(|input: &[u8]| {
    let mut input = Input(input);
    let is_raw = input.next() % 4 == 0;
    let first = Some(lsn(1, input.number())).filter(|first| *first != lsn(1, 0));
    let durable = Some(lsn(1, input.number())).filter(|durable| *durable != lsn(1, 0));
    let known = Known { first, durable, ..Known::of(DIR_ID, SHARD) };
    let contents = if is_raw {
        input.0.chunks(input.0.len().div_ceil(3).max(1)).map(<[u8]>::to_vec).collect()
    } else {
        composed(&mut input)
    };
    let mut images: Vec<Image<'_>> =
        FILES.iter().zip(&contents).map(|(file, bytes)| Image { file: *file, bytes }).collect();
    let (given, report) = run(&images, known);
    assert!(given.is_sorted_by(|a, b| a < b), "out of order or twice: {given:?}");
    let delivered: u64 = report.boots.iter().map(|boot| boot.records).sum();
    assert_eq!(delivered, given.len() as u64);
    for boot in &report.boots {
        assert!(boot.last >= boot.durable, "neither delivered nor counted: {report:?}");
    }
    let _ = report.findings.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(run(&images, known), (given.clone(), report), "not the same again");
    images.reverse();
    assert_eq!(run(&images, known).0, given, "the order of the files matters");
});
