//! A subscriber that does not read: mqtt.md H-33; abuse row 44 in MQTT.

use std::fs;

use crate::support::setup::Stage;
use crate::support::siege::{NOTHING_MIB, unique};

use super::client::{Client, Heard, SILENCE};
use super::ground::Ground;
use super::octets::{BOTH, Hello, Letter, V4, V5, numbered};

on_every_setup!(messages_of_qos_1_wait_for_a_slow_client_up_to_a_bound);

/// Resident memory of its own, MiB.
fn resident_mib(ground: &Ground) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", ground.broker().pid()));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or_default() / 1024
}

/// What a slow client that begins to read gets of so many numbered messages, until one with the
/// number after the last comes.
fn read_all(slow: &mut Client, last: usize) -> Vec<usize> {
    let mut came = Vec::new();
    loop {
        let Heard::Packet(said) = slow.next() else { panic!("{} came, not the last", came.len()) };
        let message = slow.message_of(&said);
        if message.qos == 1 {
            slow.send(&numbered(0x40, message.id));
        }
        let digits: String = message.text().chars().take_while(char::is_ascii_digit).collect();
        let number = digits.parse().expect("a number");
        if number == last {
            return came;
        }
        came.push(number);
        assert!(came.len() <= last, "more than there are");
    }
}

/// Its QoS 0 is dropped, others go on, and it holds no memory.
#[test]
fn messages_of_qos_0_are_dropped_for_a_slow_client() {
    const COUNT: usize = 2_000;
    for shards in [1, 2] {
        let mut ground = Ground::own(shards, "");
        let topic = unique("slow");
        let mut slow: Vec<Client> = BOTH.map(|version| ground.client(version)).into();
        slow.iter_mut().for_each(|client| client.subscribe(&topic, 0));
        let mut fast = ground.client(V4);
        fast.subscribe(&topic, 1);
        let mut publisher = ground.client(V5);
        let before = resident_mib(&ground);
        let tail = " ".repeat(64 * 1024);
        let mut most = 0;
        for number in 0..COUNT {
            publisher.tell_surely(&topic, &format!("{number}{tail}"));
            let message = fast.expect_message();
            assert!(message.text().starts_with(&format!("{number} ")), "the fast one has all");
            fast.send(&numbered(0x40, message.id));
            if number % 100 == 0 {
                ground.canary_sings();
                most = most.max(resident_mib(&ground).saturating_sub(before));
            }
        }
        assert!(most < NOTHING_MIB, "{most} MiB for clients that do not read");
        for client in &mut slow {
            client.send(&super::octets::PINGREQ);
        }
        for client in &mut slow {
            // All that was on its way, and the answer: it is not given up.
            let (mut numbers, mut is_answered): (Vec<usize>, _) = (Vec::new(), false);
            while let Heard::Packet(said) = client.next_within(SILENCE) {
                if said.first == 0xD0 {
                    is_answered = true;
                    continue;
                }
                let message = client.message_of(&said);
                numbers.push(message.text().trim_end().parse().expect("a number"));
            }
            assert!(is_answered, "PINGRESP came");
            assert!(!numbers.is_empty() && numbers.len() < COUNT, "{} came", numbers.len());
            assert!(numbers.is_sorted(), "in order");
            publisher.tell_surely(&topic, "now");
            client.expect_text("now");
        }
        ground.lift();
    }
}

/// V-027: as many wait as `max_online_messages` says, beside those that are out.
fn messages_of_qos_1_wait_for_a_slow_client_up_to_a_bound(stage: &Stage) {
    const COUNT: usize = 300;
    const WAITING: usize = 50;
    const OUT: usize = 20;
    let config = format!(
        "[mqtt]\nmax_online_messages = {WAITING}\nmax_inflight_messages = {OUT}\n\
         receive_max_client = {OUT}\n"
    );
    let options = crate::support::broker::Options { config: &config, ..stage.setup.options() };
    let mut ground = Ground::on(crate::support::Broker::with(options));
    for version in BOTH {
        let topic = unique("slow");
        let mut slow = Client::connect(ground.addr, &Hello::new(version, &unique("slow")));
        slow.subscribe(&topic, 1);
        let mut fast = ground.client(V5);
        fast.subscribe(&topic, 1);
        let mut publisher = ground.client(V5);
        let mut tell = |number: usize| {
            let payload = number.to_string();
            let letter = Letter { topic: &topic, payload: payload.as_bytes(), ..Letter::default() };
            let code = publisher.publish_surely(&letter);
            // That one of two could not take it may be told, and is not an error.
            assert!(matches!(code, 0 | 0x97), "{code:#x}");
        };
        for number in 0..COUNT {
            tell(number);
            fast.expect_text(&number.to_string());
        }
        ground.canary_sings();
        let mut came: Vec<usize> = Vec::new();
        while came.len() < WAITING + OUT {
            let message = slow.expect_message();
            slow.send(&numbered(0x40, message.id));
            came.push(message.text().parse().expect("a number"));
        }
        assert!(came.iter().copied().eq(0..WAITING + OUT), "the first ones: {came:?}");
        slow.ping();
        tell(COUNT);
        assert_eq!(read_all(&mut slow, COUNT), [0_usize; 0]);
        fast.expect_text(&COUNT.to_string());
    }
    ground.lift();
}

/// Large ones that are kept for it stay on disk.
#[test]
fn what_waits_for_a_slow_client_takes_no_memory() {
    const COUNT: usize = 900;
    let mut ground = Ground::own(2, "");
    let mut slow = Client::connect(ground.addr, &Hello::lasting(V4, &unique("slow")));
    slow.subscribe("kept", 1);
    let mut publisher = ground.client(V5);
    let before = resident_mib(&ground);
    let tail = " ".repeat(256 * 1024);
    let mut most = 0;
    for number in 0..COUNT {
        publisher.tell_surely("kept", &format!("{number}{tail}"));
        if number % 100 == 0 {
            ground.canary_sings();
            most = most.max(resident_mib(&ground).saturating_sub(before));
        }
    }
    publisher.tell_surely("kept", &COUNT.to_string());
    let came = read_all(&mut slow, COUNT);
    assert!(came.into_iter().eq(0..COUNT), "all, in order");
    assert!(most < 3 * NOTHING_MIB, "{most} MiB for a client that does not read");
    ground.lift();
}
