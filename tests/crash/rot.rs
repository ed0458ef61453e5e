//! One octet of the data changes between two lives. The broker starts all the same, says what is
//! damaged, and delivers everything but the message (or the one before it) that the octet was in.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::body::{HEAD_BYTES, Id, make};
use crate::cycle::Run;
use crate::ledger::Note;
use crate::link::Link;
use crate::publisher;

/// Octets before a body that may be changed: what the broker keeps with it. Arbitrary.
const BEFORE: u64 = 64;
/// A file larger than this is not looked into.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// What is counted over all rounds.
#[derive(Debug, Default)]
pub(crate) struct Sums {
    /// Octets changed.
    changed: u32,
    /// Rounds whose messages were in no file.
    nowhere: u32,
    /// Starts that said something of damage.
    reported: u32,
    /// Messages missing that may be.
    gone: u32,
}

/// A body that was found in a file.
#[derive(Debug, Clone)]
struct Found {
    file: PathBuf,
    /// Of the body.
    offset: u64,
    id: Id,
}

/// Rounds of writing, changing an octet and reading. Whether all was well.
pub(crate) fn rounds(run: &mut Run, count: u32) -> bool {
    // Publisher 0 publishes nothing: files are full of zeros, which are not to be taken for it.
    run.ledger.new_publisher();
    let mut sums = Sums::default();
    let mut is_well = true;
    for number in 0..count {
        is_well &= round(run, number, &mut sums);
    }
    println!("total: {sums:?}; {}", run.ledger.totals());
    print!("{}", run.ledger.report());
    assert!(sums.changed > 0, "no message was in any file: nothing was tested, and all is lost");
    assert!(sums.reported > 0, "no damage was reported: nothing was noticed");
    is_well && run.ledger.totals().unexpected == 0
}

fn round(run: &mut Run, number: u32, sums: &mut Sums) -> bool {
    run.reset();
    let broker = run.start();
    run.verify(&broker);
    let sent = write(run, broker.addr());
    // So that nothing is the end of a file, where damage looks like a write that was torn.
    thread::sleep(Duration::from_millis(300));
    if run.lives.random.percent(70) {
        broker.kill();
    } else if let Err(what) = broker.terminate() {
        run.ledger.wrong("ended", what);
    }
    let allowed = damage(run, &sent);
    let before = run.ledger.totals().unexpected;
    let broker = match run.try_start() {
        Ok(broker) => broker,
        Err(said) => {
            run.ledger.wrong("start", format!("round {number}, {allowed:?}: {said}"));
            return false;
        }
    };
    run.verify(&broker);
    run.drain_all(&broker);
    let said = of_damage(&broker.log());
    let lost: BTreeSet<Id> = run.ledger.take_lost().into_iter().map(|(_, id)| id).collect();
    let (changed, allowed) = allowed.map_or((None, Vec::new()), |(at, ids)| (Some(at), ids));
    sums.changed += u32::from(changed.is_some());
    sums.nowhere += u32::from(changed.is_none());
    sums.reported += u32::from(said.is_some());
    let outside = lost.iter().filter(|id| !allowed.contains(id)).count();
    sums.gone += u32::try_from(lost.len() - outside).unwrap_or(0);
    let is_silent = !lost.is_empty() && said.is_none();
    println!(
        "round {number}: changed {}; may miss {}, missing {}, of these others {outside}; \
         reported: {}",
        changed.as_deref().unwrap_or("nothing, no message was in a file"),
        allowed.iter().map(Id::to_string).collect::<Vec<_>>().join(" and "),
        lost.len(),
        said.as_deref().unwrap_or("nothing"),
    );
    outside == 0 && !is_silent && run.ledger.totals().unexpected == before
}

/// Publishes, all of it confirmed; what was sent.
fn write(run: &mut Run, addr: std::net::SocketAddr) -> Vec<Id> {
    let mut sent = Vec::new();
    for _ in 0..2 {
        let number = run.ledger.new_publisher();
        let mut plan = publisher::Plan::any(number, &mut run.lives.random);
        (plan.messages_max, plan.is_transactional, plan.leaves) = (150, false, true);
        plan.window = plan.window.min(30);
        let random = run.lives.random.fork();
        let notes = publisher::publish(Link::open(addr), plan, random);
        sent.extend(notes.iter().filter_map(|note| match note {
            Note::Confirmed(id) => Some(*id),
            _ => None,
        }));
        run.ledger.take(notes);
    }
    sent
}

/// Changes one octet in or before one message; where, and which messages may be missing then.
fn damage(run: &mut Run, sent: &[Id]) -> Option<(String, Vec<Id>)> {
    let mut found = Vec::new();
    for file in files(&run.lives.disk.data()) {
        find(&file, sent, &mut found);
    }
    if found.is_empty() {
        return None;
    }
    let index = usize::try_from(run.lives.random.below(found.len() as u64)).ok()?;
    let victim = found[index].clone();
    let is_head = run.lives.random.percent(30);
    let offset = if is_head {
        victim.offset.saturating_sub(run.lives.random.between(1, BEFORE))
    } else {
        victim.offset + run.lives.random.below(HEAD_BYTES as u64)
    };
    flip(&victim.file, offset, 1 << run.lives.random.below(8)).expect("a file that can be written");
    let mut allowed = vec![victim.id];
    let before = found[..index].last().filter(|before| is_head && before.file == victim.file);
    allowed.extend(before.map(|before| before.id));
    let name = victim.file.strip_prefix(run.lives.disk.data()).unwrap_or(&victim.file).display();
    let part = if is_head { "before" } else { "in" };
    Some((format!("{name} at {offset} ({part} {})", victim.id), allowed))
}

/// Changes one octet in its place: nothing else of the file, its length and its blocks included.
fn flip(file: &Path, offset: u64, bits: u8) -> std::io::Result<()> {
    let file = fs::OpenOptions::new().read(true).write(true).open(file)?;
    let mut octet = [0];
    file.read_exact_at(&mut octet, offset)?;
    octet[0] ^= bits;
    file.write_all_at(&octet, offset)?;
    file.sync_all()
}

/// Every regular file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) if metadata.len() <= FILE_BYTES_MAX => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Finds the bodies in a file, in their order there.
fn find(file: &Path, sent: &[Id], found: &mut Vec<Found>) {
    let octets = fs::read(file).unwrap_or_default();
    let Some(publishers) = sent.iter().map(|id| id.publisher).min().zip(sent.last()) else {
        return;
    };
    let publishers = publishers.0..=publishers.1.publisher;
    for (place, head) in octets.windows(HEAD_BYTES).enumerate() {
        let publisher = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        if !publishers.contains(&publisher) {
            continue;
        }
        let id = Id { publisher, seq: u32::from_le_bytes([head[4], head[5], head[6], head[7]]) };
        if sent.contains(&id) && is_body(octets.get(place..).unwrap_or_default(), id) {
            found.push(Found { file: file.to_owned(), offset: place as u64, id });
        }
    }
}

/// Whether a body with this id begins here. Its length is not known, so its checksum says nothing
/// before others of that length were tried; but the filling does, where there is enough of it.
fn is_body(octets: &[u8], id: Id) -> bool {
    let long = make(id, HEAD_BYTES + 8);
    octets.get(HEAD_BYTES..long.len()) == long.get(HEAD_BYTES..)
        || (HEAD_BYTES..long.len()).any(|bytes| octets.starts_with(&make(id, bytes)))
}

/// The first line of a log that speaks of damage.
fn of_damage(log: &str) -> Option<String> {
    const WORDS: &[&str] = &["damag", "corrupt", "quarantin", "torn", "checksum", "truncat"];
    log.lines()
        .find(|line| {
            let line = line.to_lowercase();
            WORDS.iter().any(|word| line.contains(word))
        })
        .map(str::to_owned)
}

#[test]
fn bodies_are_found_in_a_file_whatever_is_around_them() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crash-find");
    fs::create_dir_all(&directory).expect("a directory under target/");
    let file = directory.join("file");
    let sent: Vec<Id> = (0..20).map(|seq| Id { publisher: 3, seq }).collect();
    let (mut octets, mut wanted) = (vec![0; 100], Vec::new());
    for (id, bytes) in sent.iter().zip([16, 17, 23, 24, 25, 5000].into_iter().cycle()) {
        wanted.push((octets.len() as u64, *id));
        octets.extend_from_slice(&make(*id, bytes));
        octets.extend_from_slice(&[3, 0, 0, 0, 1]);
    }
    fs::write(&file, octets).expect("a file");
    let mut found = Vec::new();
    for file in files(&directory) {
        find(&file, &sent, &mut found);
    }
    let found: Vec<_> = found.iter().map(|found| (found.offset, found.id)).collect();
    assert_eq!(found, wanted);

    flip(&file, 100, 4).expect("a file that can be written");
    assert_eq!(fs::read(&file).expect("the file")[100], 3 ^ 4);
    drop(fs::remove_dir_all(directory));
}
