//! Crashes of a real broker, and an oracle that knows what must be there afterwards. The crashes
//! are ignored by `cargo test`, which runs the tests of the oracle; `tests/crash/run` runs them:
//!
//! ```sh
//! tests/crash/run kill 200 1     # mode, cycles, seed
//! ```
//!
//! | mode | what happens | needs |
//! |---|---|---|
//! | kill | SIGKILL in the middle of work, and a new start, again and again | |
//! | cut | the same with the power of the disk cut first | root, loop devices, mkfs.ext4 |
//! | forget | the same with the data removed: the oracle must find losses | |
//! | stay | only the connections end: the oracle must find nothing | |
//! | full | a disk that is 100 % full, and then is not | as cut |
//! | rot | an octet of a file changed between two lives | |
//! | mqtt | kill with clients of MQTT, whose sessions outlive all crashes | |
//! | mqtt-cut | cut with them | as cut |
//! | mqtt-forget | forget with them | |
//! | mqtt-stay | stay with them | |
//!
//! A fourth argument is the number of shards; without one each life has another, from one to three.
//! Only modes of MQTT take it: with one shard no message with QoS 2 may come twice, with several
//! those are counted that came twice because a crash was between the syncs of two shards.
//!
//! May import the codecs of the crate, AMQP's through the client of the behaviour tests.
#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "these are clients with threads and a clock of their own, not shards"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    clippy::unwrap_in_result,
    reason = "a test picks the one answer it waits for and fails by panicking on all others"
)]

mod body;
mod broker;
mod churn;
mod consumer;
mod cycle;
mod disk;
mod full;
mod ledger;
mod link;
mod lives;
mod mqtt;
mod publisher;
mod random;
mod rot;
mod support;
mod topology;

use cycle::Run;
use disk::Disk;
use lives::Mode;

/// A number that the script hands on.
fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(format!("RINGMQ_CRASH_{name}"));
    text.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn cycles() -> u32 {
    u32::try_from(number("CYCLES", 5)).expect("a number of cycles")
}

fn crashes(mode: Mode, disk: Disk) -> Run {
    let mut run = Run::new(mode, disk, number("SEED", 1));
    for cycle in 0..cycles() {
        run.cycle(cycle);
    }
    run.finish();
    run
}

/// The same with clients of MQTT.
fn mqtt_crashes(mode: Mode, disk: Disk) -> mqtt::Run {
    let shards = Some(number("SHARDS", 0)).filter(|shards| *shards > 0);
    let mut run = mqtt::Run::new(mode, disk, number("SEED", 1), shards);
    for cycle in 0..cycles() {
        run.cycle(cycle);
    }
    run.finish();
    run
}

#[test]
#[ignore = "minutes long; tests/crash/run kill"]
fn nothing_confirmed_is_lost_when_the_broker_is_killed() {
    let mut run = crashes(Mode::Kill, Disk::folder("kill"));
    assert!(run.report(), "see above");
    run.lives.disk.remove();
}

#[test]
#[ignore = "minutes long, and for root; tests/crash/run cut"]
fn nothing_confirmed_is_lost_when_the_power_is_cut() {
    let mut disk = match Disk::ext4("cut", 1024) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: no file system to cut the power of: {why}"),
    };
    disk.must_forget().expect("a disk that forgets what was not synced, and nothing else");
    let mut run = crashes(Mode::Cut, disk);
    assert!(run.report(), "see above");
    run.lives.disk.remove();
}

#[test]
#[ignore = "starts brokers; tests/crash/run forget"]
fn the_oracle_finds_that_everything_is_lost_when_the_data_is_removed() {
    let mut run = crashes(Mode::Forget, Disk::folder("forget"));
    assert!(!run.report(), "all data was removed, and nobody has missed it");
    let report = run.ledger.report();
    for kind in ["lost: ", "definitions: ", "second recovery: "] {
        assert!(report.contains(kind), "nothing of {kind} in what the oracle found");
    }
    run.lives.disk.remove();
}

#[test]
#[ignore = "starts a broker; tests/crash/run stay"]
fn the_oracle_finds_nothing_when_only_the_connections_end() {
    let mut run = crashes(Mode::Stay, Disk::folder("stay"));
    assert!(run.report(), "see above");
    run.lives.disk.remove();
}

#[test]
#[ignore = "for root; tests/crash/run full"]
fn a_full_disk_refuses_publishers_and_harms_nothing() {
    let disk = match Disk::ext4("full", full::DISK_MIB) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: no file system to fill: {why}"),
    };
    let mut run = Run::new(Mode::Kill, disk, number("SEED", 1));
    full::story(&mut run);
    assert!(run.report(), "see above");
    run.lives.disk.remove();
}

#[test]
#[ignore = "starts brokers; tests/crash/run rot"]
fn a_changed_octet_costs_one_message_and_is_reported() {
    let mut run = Run::new(Mode::Kill, Disk::folder("rot"), number("SEED", 1));
    let rounds = u32::try_from(number("CYCLES", 5)).expect("a number of rounds");
    assert!(rot::rounds(&mut run, rounds), "see above");
    run.lives.disk.remove();
}

#[test]
#[ignore = "minutes long; tests/crash/run mqtt"]
fn sessions_lose_nothing_acknowledged_when_the_broker_is_killed() {
    let mut run = mqtt_crashes(Mode::Kill, Disk::folder("mqtt-kill"));
    assert!(run.report(), "see above");
    run.lives.disk.remove();
}

#[test]
#[ignore = "minutes long, and for root; tests/crash/run mqtt-cut"]
fn sessions_lose_nothing_acknowledged_when_the_power_is_cut() {
    let mut disk = match Disk::ext4("mqtt-cut", 1024) {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: no file system to cut the power of: {why}"),
    };
    disk.must_forget().expect("a disk that forgets what was not synced, and nothing else");
    let mut run = mqtt_crashes(Mode::Cut, disk);
    assert!(run.report(), "see above");
    run.lives.disk.remove();
}

#[test]
#[ignore = "starts brokers; tests/crash/run mqtt-forget"]
fn the_oracle_of_sessions_finds_that_all_is_lost_when_the_data_is_removed() {
    let mut run = mqtt_crashes(Mode::Forget, Disk::folder("mqtt-forget"));
    assert!(!run.report(), "all data was removed, and nobody has missed it");
    for kind in ["lost: ", "session: ", "kept: "] {
        assert!(run.violations().contains(kind), "nothing of {kind} in what the oracle found");
    }
    run.lives.disk.remove();
}

#[test]
#[ignore = "starts a broker; tests/crash/run mqtt-stay"]
fn the_oracle_of_sessions_finds_nothing_when_only_the_connections_end() {
    let mut run = mqtt_crashes(Mode::Stay, Disk::folder("mqtt-stay"));
    assert!(run.report(), "see above");
    run.lives.disk.remove();
}
