//! Random logs with random damage. A failure is printed with what made it.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Put(usize),
    Flush(bool),
    Idle,
    Retire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0_usize..6000).prop_map(Step::Put),
        1 => (20_000_usize..90_000).prop_map(Step::Put),
        4 => any::<bool>().prop_map(Step::Flush),
        1 => Just(Step::Idle),
        1 => Just(Step::Retire),
    ]
}

fn played(steps: &[Step]) -> Story {
    let mut story = Story::new(1, 10 * 4096);
    for step in steps {
        match step {
            Step::Put(bytes) => {
                story.put(*bytes);
            }
            Step::Flush(sync) => story.flush(*sync),
            Step::Idle => story.idle(),
            Step::Retire => {
                if story.log.files().count() > 1 {
                    story.retire_oldest();
                }
            }
        }
    }
    story.put(100);
    story.flush(true);
    story.idle();
    story
}

#[derive(Debug, Clone)]
enum Harm {
    /// Octets of one place stand in another one, too: from, to, how many.
    Copy(usize, usize, usize),
    /// The same with whole blocks.
    CopyBlocks(usize, usize, usize),
    /// Blocks of another shard's log stand in one place: from, to, how many.
    Foreign(usize, usize, usize),
    Zero(usize, usize),
    Flip(usize),
    Cut(usize),
    /// A file has the content of another one.
    Replace(usize, usize),
    Remove(usize),
    /// A file is there twice, under a later number.
    Double(usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = 0_usize..1 << 20;
    let blocks = 0_usize..1 << 10;
    prop_oneof![
        (at.clone(), at.clone(), 1_usize..9000).prop_map(|(a, b, n)| Harm::Copy(a, b, n)),
        (blocks.clone(), blocks.clone(), 1_usize..8)
            .prop_map(|(a, b, n)| Harm::CopyBlocks(a, b, n)),
        (blocks.clone(), blocks, 1_usize..17).prop_map(|(a, b, n)| Harm::Foreign(a, b, n)),
        (at.clone(), 1_usize..9000).prop_map(|(a, n)| Harm::Zero(a, n)),
        at.clone().prop_map(Harm::Flip),
        at.clone().prop_map(Harm::Cut),
        (at.clone(), at.clone()).prop_map(|(a, b)| Harm::Replace(a, b)),
        at.clone().prop_map(Harm::Remove),
        at.prop_map(Harm::Double),
    ]
}

type Files = Vec<(LogFile, Vec<u8>)>;

/// A file and an offset in it, of a number.
fn place(files: &Files, at: usize) -> (usize, usize) {
    let file = at % files.len();
    (file, at % files[file].1.len().max(1))
}

fn apply(files: &mut Files, harm: &Harm) {
    if files.is_empty() {
        return;
    }
    let copy = |files: &mut Files, from: (usize, usize), to: (usize, usize), count: usize| {
        let source: Vec<u8> = files[from.0].1.iter().skip(from.1).take(count).copied().collect();
        let target = &mut files[to.0].1;
        let count = source.len().min(target.len().saturating_sub(to.1));
        target[to.1..to.1 + count].copy_from_slice(&source[..count]);
    };
    match *harm {
        Harm::Copy(from, to, count) => {
            let (from, to) = (place(files, from), place(files, to));
            copy(files, from, to, count);
        }
        Harm::CopyBlocks(from, to, count) => {
            let (from, to) = (place(files, from * BLOCK), place(files, to * BLOCK));
            let start = |(file, at): (usize, usize)| (file, at / BLOCK * BLOCK);
            copy(files, start(from), start(to), count * BLOCK);
        }
        Harm::Foreign(from, to, count) => {
            let whose = Known { shard: OURS.shard + 1, ..OURS };
            let theirs = foreign::elsewhere(whose).disk.files.into_values().next().expect("a file");
            let (file, at) = place(files, to * BLOCK);
            let source = theirs.into_iter().skip(from % 16 * BLOCK).take(count * BLOCK);
            let target = files[file].1.iter_mut().skip(at / BLOCK * BLOCK);
            target.zip(source).for_each(|(octet, theirs)| *octet = theirs);
        }
        Harm::Zero(at, count) => {
            let (file, at) = place(files, at);
            files[file].1.iter_mut().skip(at).take(count).for_each(|octet| *octet = 0);
        }
        Harm::Flip(at) => {
            let (file, octet) = place(files, at);
            if let Some(octet) = files[file].1.get_mut(octet) {
                *octet ^= 1 << (at % 8);
            }
        }
        Harm::Cut(at) => {
            let (file, at) = place(files, at);
            files[file].1.truncate(at);
        }
        Harm::Replace(from, to) => {
            let content = files[from % files.len()].1.clone();
            let to = to % files.len();
            files[to].1 = content;
        }
        Harm::Remove(at) => {
            files.remove(at % files.len());
        }
        Harm::Double(at) => {
            let (name, content) = files[at % files.len()].clone();
            files.push((LogFile(name.0 + 3), content));
        }
    }
}

fn borrowed(files: &Files) -> Vec<(LogFile, &[u8])> {
    files.iter().map(|(file, bytes)| (*file, bytes.as_slice())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// Whatever is written comes back.
    #[test]
    fn a_sound_log_is_recovered_whole(steps in vec(step(), 1..60)) {
        let story = played(&steps);
        let known = Known { first: Some(story.first()), durable: Some(story.log.durable()), ..OURS };
        let found = recover_disk(&story.disk, known);
        found.must_be_true(&story.written);
        prop_assert_eq!(&found.report.findings, &[]);
        prop_assert_eq!(found.records.len(), story.written.range(story.first()..).count());
        prop_assert_eq!(found.counted(), story.log.last().0 - story.first().0 + 1);
    }

    /// Whatever was durable is delivered or counted as lost, and nothing else is delivered.
    #[test]
    fn every_durable_record_is_delivered_or_counted(
        steps in vec(step(), 1..60),
        harms in vec(harm(), 1..5),
    ) {
        let story = played(&steps);
        let known = Known { first: Some(story.first()), durable: Some(story.log.durable()), ..OURS };
        let mut files: Files = story.disk.files.clone().into_iter().collect();
        harms.iter().for_each(|harm| apply(&mut files, harm));
        let found = recover_files(&borrowed(&files), known);
        found.must_be_true(&story.written);
        let total = story.log.last().0 - story.first().0 + 1;
        prop_assert_eq!(found.counted() + found.report.lost(), total, "{:?}", found.report.findings);
        // A checkpoint or not: what is delivered was written, and the same comes again.
        let unknown = recover_files(&borrowed(&files), OURS);
        unknown.must_be_true(&story.written);
        prop_assert_eq!(&recover_files(&borrowed(&files), known), &found);
        files.reverse();
        prop_assert_eq!(recover_files(&borrowed(&files), OURS).records, unknown.records);
    }

    /// A power cut loses any sectors of the batch that was not synced, and nothing else.
    #[test]
    fn any_sectors_missing_from_the_last_batch_are_a_torn_tail(
        steps in vec(step(), 1..40),
        sizes in vec(0_usize..3000, 1..12),
        kept in vec(any::<bool>(), 80),
        stale in any::<u8>(),
    ) {
        let mut story = played(&steps);
        let before = story.disk.clone();
        let (safe, first) = (story.log.durable(), story.first());
        let room = story.log.files().last().expect("a file").file;
        let mut torn = Story { written: story.written.clone(), ..story };
        for size in sizes {
            // Only what is one batch: the next file begins after a sync.
            torn.put(size);
            if torn.log.file_of_open_batch() != room {
                return Ok(());
            }
        }
        torn.flush(false);
        story = torn;
        let mut disk = before;
        let after = &story.disk.files[&room];
        let file = disk.files.get_mut(&room).expect("the last file");
        for (index, (sector, new)) in file.chunks_mut(512).zip(after.chunks(512)).enumerate() {
            if sector != new {
                if kept[index % kept.len()] {
                    sector.copy_from_slice(new);
                } else if index % 3 == 0 {
                    sector.fill(stale);
                }
            }
        }
        let found = recover_disk(&disk, Known { first: Some(first), ..OURS });
        found.must_be_true(&story.written);
        prop_assert!(found.report.is_sound(), "{:?}", found.report.findings);
        prop_assert_eq!(found.report.lost(), 0);
        let complete = found.records.iter().filter(|(lsn, _)| *lsn <= safe).count();
        prop_assert_eq!(complete, story.written.range(first..=safe).count());
        let given: Vec<Lsn> = found.records.iter().map(|(lsn, _)| *lsn).collect();
        let wanted = story.written.range(first..).map(|(lsn, _)| *lsn).take(given.len());
        prop_assert_eq!(given, wanted.collect::<Vec<_>>(), "not a prefix");
    }

    /// Octets that are nothing at all.
    #[test]
    fn rubbish_is_nothing(contents in vec(vec(any::<u8>(), 0..6000), 0..4), first: u64, durable: u64) {
        let names = [0, 1, 1, 1 << 33];
        let files: Files = names.into_iter().map(LogFile).zip(contents).collect();
        let known = Known { first: Some(Lsn(first)), durable: Some(Lsn(durable)), ..OURS };
        let found = recover_files(&borrowed(&files), known);
        prop_assert!(found.records.is_empty());
    }
}
