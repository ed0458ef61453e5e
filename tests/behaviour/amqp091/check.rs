//! `ringmq check`: what it says of the data of a broker that has ended, well or not, and of damage.
//! Messages are published with confirms, so all of them have to be there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ringmq::protocol::amqp091::wire::method::{exchange, queue};
use serde_json::Value;

use crate::support::broker::Options;
use crate::support::methods::{declare, declare_exchange};
use crate::support::{Broker, Client, Login, properties};

const SOUND: Option<i32> = Some(0);
const DAMAGED: Option<i32> = Some(1);
const NOT_CHECKED: Option<i32> = Some(2);

/// Octets of each message.
const BODY_BYTES: usize = 4_000;

/// Small files of the log, of which each check reads all; and of the messages all but the newest go
/// to segments, several to each.
const SMALL: &str =
    "log_file_size = 1M\nlog_size_max = 2M\nqueue_memory_max = 128K\nsegment_size = 64K";

#[test]
fn what_a_broker_has_left_is_sound_and_counted() {
    let mut broker = start(2);
    publish_to(&broker, "orders", 25);
    publish_to(&broker, "empty", 3);
    take_from(&broker, "empty", 3);
    end(&mut broker, "TERM");
    let before = contents(&broker.data_directory());
    let (code, found) = check_json(&broker);
    assert_eq!(code, SOUND, "{found:#}");
    assert_eq!(found["sound"], true);
    assert_eq!(found["findings"], Value::Array(Vec::new()), "{found:#}");
    assert_eq!((&found["boot"]["boot"], &found["boot"]["clean"]), (&1.into(), &true.into()));
    assert_eq!(found["boot"]["shards"], 2);
    let queues = queues(&found);
    assert_eq!(queues["orders"]["vhost"], "/");
    assert_eq!(
        (count(&queues["orders"], "messages"), count(&queues["empty"], "messages")),
        (25, 0)
    );
    assert_eq!(count(&queues["orders"], "octets"), 25 * BODY_BYTES as u64);
    let kinds = |kind: &str| -> u64 {
        found["logs"].as_array().unwrap().iter().map(|log| count(&log["kinds"], kind)).sum()
    };
    assert_eq!(kinds("messages"), 28);
    assert!(kinds("settlements") >= 1);
    assert!(kinds("definitions") >= 2);
    assert_eq!(count(&found["vhosts"][0], "queues"), 2);
    assert_eq!(contents(&broker.data_directory()), before, "a check changes nothing");
}

#[test]
fn for_people_it_names_what_is_there_and_ends_with_the_verdict() {
    let mut broker = start(1);
    publish_to(&broker, "orders", 2);
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login::default());
    client.open_channel(1);
    let shop = declare_exchange("shop", "topic");
    client.send(1, &exchange::Declare { durable: true, no_wait: true, ..shop });
    client.bind(1, "orders", "shop", "new.#");
    client.close();
    end(&mut broker, "TERM");
    let text = |arguments: &[&str]| {
        let output = check(&broker.data_directory(), arguments);
        assert_eq!(output.status.code(), SOUND);
        String::from_utf8(output.stdout).unwrap()
    };
    let short = text(&[]);
    assert!(short.contains("vhost /: 1 exchanges, 1 queues, 1 bindings\n"), "{short}");
    assert!(short.contains("  / orders\n"), "{short}");
    assert!(short.ends_with("\nsound\n"), "{short}");
    assert!(!short.contains("shop"), "{short}");
    let long = text(&["--verbose"]);
    assert!(long.contains("exchange shop (topic)\n"), "{long}");
    assert!(long.contains("binding shop -> queue orders with key 'new.#'\n"), "{long}");
    assert!(long.contains("shards/00/log.00000001-00000000: "), "{long}");
}

#[test]
fn what_a_killed_broker_has_left_is_sound_and_has_all_that_was_confirmed() {
    let mut broker = start(2);
    publish_to(&broker, "orders", 40);
    end(&mut broker, "KILL");
    let (code, found) = check_json(&broker);
    assert_eq!(code, SOUND, "{found:#}");
    assert_eq!(found["boot"]["clean"], false);
    assert_eq!(count(&queues(&found)["orders"], "messages"), 40);
}

#[test]
fn messages_in_segments_are_counted_and_verified() {
    let mut broker = start(2);
    publish_to(&broker, "orders", 100);
    take_from(&broker, "orders", 5);
    end(&mut broker, "TERM");
    let (code, found) = check_json(&broker);
    assert_eq!(code, SOUND, "{found:#}");
    let orders = &queues(&found)["orders"];
    assert_eq!((count(orders, "messages"), count(orders, "settled")), (95, 5));
    assert_eq!(count(orders, "octets"), 95 * BODY_BYTES as u64);
    let segments = count(orders, "segments");
    assert!(segments > 1, "{orders}");
    assert_eq!(count(&found["totals"], "segments"), segments);
    assert!(count(&found["totals"], "entries_good") > 5);

    let victim = files(&broker.data_directory())
        .into_iter()
        .rfind(|file| file.file_name().unwrap().to_str().unwrap().starts_with("seg."))
        .unwrap();
    let bytes = fs::metadata(&victim).unwrap().len();
    // Each part of a segment has a checksum: header, first entry, middle, tables, footer.
    for offset in [9, 70, bytes / 2, bytes - 150, bytes - 5] {
        flip(&victim, offset);
        expect_damage(&broker, &victim);
        flip(&victim, offset);
    }
    assert_eq!(check_json(&broker).0, SOUND);
    let settled = victim.with_file_name(name_of(&victim).replace("seg.", "settled."));
    fs::rename(&settled, settled.with_extension("away")).unwrap();
    expect_damage(&broker, &settled);
}

#[test]
fn a_changed_octet_in_a_log_is_found_and_its_file_named() {
    let mut broker = start(1);
    publish_to(&broker, "orders", 20);
    end(&mut broker, "KILL");
    let (log, offset) = find(&broker.data_directory(), b"orders 00003 ");
    flip(&log, offset);
    expect_damage(&broker, &log);
    let (_, found) = check_json(&broker);
    assert_eq!(count(&found["totals"], "records_lost"), 1);
    assert_eq!(count(&queues(&found)["orders"], "messages"), 19);
}

/// Where a crash is possible the end of the log may be torn; after an orderly end it may not.
#[test]
fn the_last_message_of_a_run_that_ended_well_may_not_be_damaged() {
    let mut broker = start(1);
    publish_to(&broker, "orders", 20);
    end(&mut broker, "TERM");
    let (log, offset) = find(&broker.data_directory(), b"orders 00019 ");
    flip(&log, offset);
    expect_damage(&broker, &log);
}

#[test]
fn what_a_crash_leaves_unfinished_is_no_damage() {
    let mut broker = start(1);
    publish_to(&broker, "orders", 1);
    end(&mut broker, "KILL");
    let data = broker.data_directory();
    fs::write(data.join("BOOT.tmp"), b"half").unwrap();
    fs::create_dir_all(data.join("queues/00000001000000ff")).unwrap();
    let (code, found) = check_json(&broker);
    assert_eq!(code, SOUND, "{found:#}");
    let mut noted: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            assert_eq!(finding["severity"], "note");
            finding["path"].as_str().unwrap()
        })
        .collect();
    noted.sort_unstable();
    assert_eq!(noted, ["BOOT.tmp", "queues/00000001000000ff"]);
}

#[test]
fn a_damaged_boot_file_is_damage() {
    let mut broker = start(1);
    publish_to(&broker, "orders", 1);
    end(&mut broker, "TERM");
    let boot = broker.data_directory().join("BOOT");
    flip(&boot, 30);
    expect_damage(&broker, &boot);
    fs::remove_file(&boot).unwrap();
    expect_damage(&broker, &boot);
}

#[test]
fn whatever_is_done_to_a_file_a_check_ends_with_an_answer() {
    const SEED: u64 = 0x51ab_07c3_99d1_e2f5;
    const ROUNDS: u64 = 60;
    let mut broker = start(2);
    publish_to(&broker, "orders", 100);
    take_from(&broker, "orders", 3);
    end(&mut broker, "KILL");
    let data = broker.data_directory();
    let files: Vec<PathBuf> =
        files(&data).into_iter().filter(|file| name_of(file) != "RESERVE").collect();
    let mut state = SEED;
    let mut random = |below: u64| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below.max(1)
    };
    for round in 0..ROUNDS {
        let file = &files[usize::try_from(random(files.len() as u64)).unwrap()];
        let whole = fs::read(file).unwrap();
        let mut damaged = whole.clone();
        let at = |random: u64| usize::try_from(random).unwrap();
        match random(3) {
            0 => damaged.truncate(at(random(whole.len() as u64))),
            1 => damaged.extend((0..random(5_000)).map(|_| random(256).to_le_bytes()[0])),
            _ => {
                for _ in 0..=random(40) {
                    // Most files are mostly empty behind this.
                    let place = at(random(whole.len().min(100_000) as u64));
                    if let Some(octet) = damaged.get_mut(place) {
                        *octet ^= 1 << random(8);
                    }
                }
            }
        }
        fs::write(file, &damaged).unwrap();
        let report = ringmq::check::run(&data);
        let report = report.unwrap_or_else(|error| panic!("{SEED:#x}, round {round}: {error}"));
        assert!(report.text(true).lines().count() > 3, "{SEED:#x}, round {round}");
        assert!(serde_json::from_str::<Value>(&report.json(true)).is_ok());
        fs::write(file, &whole).unwrap();
    }
    let report = ringmq::check::run(&data).unwrap();
    assert!(report.is_sound(), "{}", report.text(true));
}

#[test]
fn a_broker_that_runs_is_not_checked() {
    let broker = start(1);
    let output = check(&broker.data_directory(), &["--json"]);
    assert_eq!(output.status.code(), NOT_CHECKED);
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("in use by another process (pid {})", broker.pid())), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn what_cannot_be_checked_ends_with_2() {
    let nowhere = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-such-data-directory");
    assert_eq!(check(&nowhere, &[]).status.code(), NOT_CHECKED);
    assert!(!nowhere.exists());
    // A directory of something else.
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(check(&source, &[]).status.code(), NOT_CHECKED);
    assert_eq!(check(&source, &["--repair"]).status.code(), NOT_CHECKED);
}

fn start(shards: u16) -> Broker {
    Broker::with(Options { shards, config: SMALL, ..Options::default() })
}

/// Persistent messages to a durable queue, all confirmed.
fn publish_to(broker: &Broker, queue: &str, messages: u64) {
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login::default());
    client.open_channel(1);
    client.declare_with(1, &queue::Declare { durable: true, ..declare(queue) });
    client.confirm_select(1);
    let persistent = properties(|properties| properties.delivery_mode = Some(2));
    for number in 0..messages {
        let mut body = format!("{queue} {number:05} ").into_bytes();
        body.resize(BODY_BYTES, b'.');
        client.publish_with(1, "", queue, &persistent, &body);
        // One by one: each is durable before the next is written.
        client.expect_confirms(1, number + 1, number + 1);
    }
    client.close();
}

/// Gets and accepts messages.
fn take_from(broker: &Broker, queue: &str, messages: u64) {
    let mut client = Client::connect(broker.addr());
    client.log_in(&Login::default());
    client.open_channel(1);
    for _ in 0..messages {
        client.get(1, queue, true).expect("a message");
    }
    client.close();
}

/// Ends the process; its data stays until the broker is dropped.
fn end(broker: &mut Broker, signal: &str) {
    broker.signal(signal);
    broker.wait();
}

fn check(data: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .args(["check", "--data-dir"])
        .arg(data)
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn check_json(broker: &Broker) -> (Option<i32>, Value) {
    let output = check(&broker.data_directory(), &["--json"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let document = serde_json::from_slice(&output.stdout);
    let document = document.unwrap_or_else(|error| panic!("no JSON, {error}; it said: {said}"));
    (output.status.code(), document)
}

/// The check finds damage, and names this file.
fn expect_damage(broker: &Broker, file: &Path) {
    let (code, found) = check_json(broker);
    assert_eq!(code, DAMAGED, "{found:#}");
    assert_eq!(found["sound"], false);
    let path = file.strip_prefix(broker.data_directory()).unwrap().to_str().unwrap();
    let is_named = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|finding| finding["severity"] == "damage" && finding["path"] == path);
    assert!(is_named, "{path} in {:#}", found["findings"]);
    let output = check(&broker.data_directory(), &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("\ndamage: {path}: ")), "{text}");
    assert!(text.ends_with("\ndamaged\n"), "{text}");
}

fn queues(found: &Value) -> BTreeMap<String, Value> {
    let queues = found["queues"].as_array().expect("a list of queues");
    let named = |queue: &Value| (queue["name"].as_str().unwrap().to_owned(), queue.clone());
    queues.iter().map(named).collect()
}

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("no number {name} in {value:#}"))
}

fn name_of(file: &Path) -> &str {
    file.file_name().unwrap().to_str().unwrap()
}

/// All files below a directory, sorted.
fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut waiting) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Names, lengths, times and a sum of the octets of all files.
fn contents(directory: &Path) -> Vec<(PathBuf, std::time::SystemTime, u64, u64)> {
    let content = |file: PathBuf| {
        let octets = fs::read(&file).unwrap();
        let changed = fs::metadata(&file).unwrap().modified().unwrap();
        let sum = octets
            .iter()
            .fold(0_u64, |sum, octet| sum.wrapping_mul(0x100_0000_01b3) ^ u64::from(*octet));
        (file, changed, octets.len() as u64, sum)
    };
    files(directory).into_iter().map(content).collect()
}

/// The log file that has this text, and where.
fn find(data: &Path, text: &[u8]) -> (PathBuf, u64) {
    let place = |file: &PathBuf| {
        let octets = fs::read(file).unwrap();
        octets.windows(text.len()).position(|window| window == text)
    };
    let logs = files(data).into_iter().filter(|file| name_of(file).starts_with("log."));
    let found = logs.filter_map(|file| Some((place(&file)? as u64, file))).next();
    let (offset, file) = found.expect("the text is in a log");
    (file, offset)
}

/// Changes one octet in its place.
fn flip(file: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut octet = [0];
    file.read_exact_at(&mut octet, offset).unwrap();
    file.write_all_at(&[octet[0] ^ 1], offset).unwrap();
}

/// The highest file of this kind that the control thread has written.
fn newest_control(data: &Path, kind: &str) -> PathBuf {
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix(kind)?.strip_prefix('.')?.parse::<u64>().ok()
    };
    let all = fs::read_dir(data.join("control")).unwrap();
    all.map(|entry| entry.unwrap().path()).max_by_key(|path| number(path)).unwrap()
}

/// What the control thread keeps is counted and verified, and only read.
#[test]
fn users_vhosts_and_permissions_are_counted_and_their_files_verified() {
    let mut broker = start(1);
    let admin = crate::http::Asker::guest(broker.http_addr());
    admin.make_user("bob", "");
    assert_eq!(admin.put("/api/vhosts/shop", ""), 201);
    let all = r#"{"configure":".*","write":".*","read":".*"}"#;
    assert_eq!(admin.put("/api/permissions/shop/bob", all), 201);
    end(&mut broker, "KILL");
    let data = broker.data_directory();
    let before = contents(&data);
    let (code, found) = check_json(&broker);
    assert_eq!(code, SOUND, "{found:#}");
    let counted = |found: &Value| {
        ["users", "vhosts", "permissions"].map(|what| count(&found["control"], what))
    };
    // Who makes a virtual host may do everything in it.
    assert_eq!(counted(&found), [2, 2, 4], "{found:#}");
    assert_eq!(contents(&data), before, "a check changes nothing");
    let text = String::from_utf8(check(&data, &[]).stdout).unwrap();
    assert!(text.contains("control: 2 users, 2 vhosts, 4 permissions"), "{text}");

    // The last write was cut: nobody was told that it was done.
    let journal = newest_control(&data, "journal");
    let whole = fs::read(&journal).unwrap();
    fs::write(&journal, &whole[..whole.len() - 3]).unwrap();
    let (code, found) = check_json(&broker);
    assert_eq!(code, SOUND, "{found:#}");
    assert_eq!(counted(&found), [2, 2, 3]);
    let told = found["findings"].to_string();
    assert!(told.contains("no whole record"), "{told}");

    // One bit of a record before is wrong.
    let mut wrong = whole.clone();
    wrong[40] ^= 1;
    fs::write(&journal, &wrong).unwrap();
    let (code, found) = check_json(&broker);
    assert_eq!(code, DAMAGED, "{found:#}");
    assert!(found["findings"].to_string().contains("are damaged"), "{found:#}");
    fs::write(&journal, &whole).unwrap();

    // So is the snapshot, and there is none before.
    let snapshot = newest_control(&data, "snapshot");
    fs::write(&snapshot, b"RMQctl1\nnonsense").unwrap();
    let (code, found) = check_json(&broker);
    assert_eq!(code, DAMAGED, "{found:#}");
    assert!(found["findings"].to_string().contains("it is not whole"), "{found:#}");
    assert!(!data.join("quarantine").exists(), "a check puts nothing aside");
}
