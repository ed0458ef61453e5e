//! Clients that do anything at all, on brokers of one to three shards: whatever they send, servers
//! keep to the protocol towards them.

use std::collections::BTreeMap;

use super::rig::*;
use crate::config::Config;
use crate::protocol::mqtt::wire::Version;
use crate::protocol::mqtt::wire::ack::AckKind;
use crate::protocol::mqtt::wire::connect::{Connect, ConnectProperties, Will};
use crate::protocol::mqtt::wire::message_properties::WillProperties;
use crate::protocol::mqtt::wire::publish::{Promise, PublishHead};
use crate::protocol::mqtt::wire::reason_code::ReasonCode;
use crate::protocol::mqtt::wire::subscribe::{Options, RetainHandling};
use crate::protocol::mqtt::wire::{PacketId, Qos};

const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "b", "$x/a", "/"];
const FILTERS: [&str; 8] = ["a", "a/+", "#", "+/b", "a/#", "$x/#", "+", "a/b"];
/// No delivery has this packet id.
const STRANGE: u16 = 60_000;
const NAMES: [&str; 4] = ["one", "two", "three", "four"];

/// xorshift: a seed replays a failure.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }

    fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn often(&mut self) -> bool {
        self.below(4) > 0
    }

    fn id(&mut self) -> PacketId {
        id(u16::try_from(self.below(6)).unwrap() + 1)
    }
}

/// What a client has heard of the server's publishes.
#[derive(Debug, Default)]
struct Ear {
    /// By packet id: QoS, and whether PUBREL has come.
    open: BTreeMap<u16, (u8, bool)>,
    is_let_in: bool,
    is_told_goodbye: bool,
    window: usize,
}

impl Ear {
    fn hear(&mut self, said: &str) {
        assert!(!self.is_told_goodbye, "{said} after DISCONNECT");
        let mut words = said.split(' ');
        let kind = words.next().unwrap();
        if kind == "CONNACK" {
            assert!(!self.is_let_in, "CONNACK twice");
            self.is_let_in = true;
            return;
        }
        assert!(self.is_let_in, "{said} before CONNACK");
        match kind {
            "DISCONNECT" => self.is_told_goodbye = true,
            "PUBLISH" => {
                let Some((_, rest)) = said.split_once(" #") else {
                    assert!(!said.contains(" dup"), "DUP with QoS 0: {said}");
                    return;
                };
                let number: u16 = rest.split(' ').next().unwrap().parse().unwrap();
                let qos = if said.contains(" q2 ") { 2 } else { 1 };
                let before = self.open.insert(number, (qos, false));
                assert_eq!(before, None, "a packet id in use: {said}");
                assert!(self.open.len() <= self.window, "more than the window: {said}");
            }
            "PUBREL" if !said.starts_with("PUBREL 60000") => {
                let number: u16 = words.next().unwrap().parse().unwrap();
                // After a resume it is the first that is heard of the packet id.
                self.open.insert(number, (2, true));
            }
            _ => {}
        }
    }
}

fn connect<'a>(dice: &mut Dice, name: &'a str, window: u16) -> Connect<'a> {
    let version = dice.one(&Version::ALL);
    let mut connect = hello(version, name);
    connect.clean_start = dice.below(3) == 0;
    connect.keep_alive_s = dice.one(&[0, 0, 10]);
    if version.is_v5() {
        connect.properties = ConnectProperties {
            session_expiry_s: dice.one(&[0, 60, u32::MAX]),
            receive_max: window,
            topic_alias_max: dice.one(&[0, 2]),
            packet_bytes_max: dice.one(&[None, Some(40)]),
            ..ConnectProperties::default()
        };
    }
    if dice.below(3) == 0 {
        let delay_s = if version.is_v5() { dice.one(&[0, 5]) } else { 0 };
        connect.will = Some(Will {
            topic: dice.one(&TOPICS),
            payload: b"will",
            qos: dice.one(&[Qos::AtMostOnce, Qos::ExactlyOnce]),
            retain: dice.below(2) == 0,
            properties: WillProperties { delay_s, ..WillProperties::default() },
        });
    }
    connect
}

fn publish(dice: &mut Dice, rig: &mut Rig, client: Client, version: Version) {
    let promise = match dice.below(3) {
        0 => Promise::AtMostOnce,
        1 => Promise::AtLeastOnce(dice.id()),
        _ => Promise::ExactlyOnce(dice.id()),
    };
    let mut head = PublishHead {
        retain: dice.below(3) == 0,
        dup: promise != Promise::AtMostOnce && dice.below(3) == 0,
        ..head(dice.one(&TOPICS), promise)
    };
    if version.is_v5() {
        head.alias = dice.one(&[None, Some(1), Some(2)]);
        head.expiry_s = dice.one(&[None, None, Some(2)]);
        if head.alias.is_some() && dice.below(3) == 0 {
            head.topic = "";
        }
    }
    let body = dice.one(&["", "m", "a body that is a little longer than others are"]);
    rig.publish(client, head, body);
}

fn subscribe(dice: &mut Dice, rig: &mut Rig, client: Client, version: Version) {
    let mut options =
        Options { qos: Qos::from_bits(dice.one(&[0, 1, 2])).unwrap(), ..Options::default() };
    let mut number = None;
    if version.is_v5() {
        options.no_local = dice.below(4) == 0;
        options.retain_as_published = dice.below(2) == 0;
        options.retain_handling =
            dice.one(&[RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never]);
        number = dice.one(&[None, Some(7)]);
    }
    let filters = [(dice.one(&FILTERS), options), (dice.one(&FILTERS), options)];
    let packet_id = dice.id().get();
    rig.subscribe_with(client, packet_id, &filters, number);
}

/// Answers one of the publishes that the client has heard, rightly or not.
fn settle(dice: &mut Dice, rig: &mut Rig, client: Client, ear: &mut Ear) {
    let Some((&number, &(qos, is_released))) = ear.open.iter().next() else {
        let kind = dice.one(&[AckKind::Pubrec, AckKind::Pubrel, AckKind::Pubcomp]);
        return rig.ack(client, kind, STRANGE);
    };
    let (kind, ends) = match (qos, is_released) {
        (1, _) => (AckKind::Puback, true),
        (_, false) => (AckKind::Pubrec, false),
        (_, true) => (AckKind::Pubcomp, true),
    };
    if ends {
        ear.open.remove(&number);
    }
    rig.ack(client, kind, number);
}

fn history(seed: u64) {
    let mut dice = Dice(seed | 1);
    let mut config = Config::default();
    config.mqtt.topic_alias_max_client = 2;
    config.mqtt.topic_alias_max_broker = 2;
    config.mqtt.inflight_messages_max = 3;
    config.mqtt.receive_max_broker = 4;
    let shards = u16::try_from(dice.below(3)).unwrap() + 1;
    let mut rig = Rig::on(shards, config);
    let mut seats: BTreeMap<&str, (Client, Version, Ear)> = BTreeMap::new();
    for _ in 0..200 {
        let name = dice.one(&NAMES);
        let Some((client, version, ear)) = seats.get_mut(name) else {
            let connect = connect(&mut dice, name, 3);
            let client = rig.connect(&connect);
            let window = 3;
            let ear = Ear { window, ..Ear::default() };
            seats.insert(name, (client, connect.version, ear));
            continue;
        };
        let (client, version) = (*client, *version);
        match dice.below(12) {
            0..4 => publish(&mut dice, &mut rig, client, version),
            4 | 5 => subscribe(&mut dice, &mut rig, client, version),
            6..9 => settle(&mut dice, &mut rig, client, ear),
            9 => {
                let number = dice.id().get();
                rig.ack(client, AckKind::Pubrel, number);
            }
            10 if dice.often() => rig.tick(dice.next() % 3_000),
            10 => rig.unsubscribe(client, 3, &[dice.one(&FILTERS)]),
            _ => match dice.below(5) {
                0 => rig.disconnect(client, ReasonCode::Success),
                1 => rig.cut(client),
                2 => {
                    let octets: Vec<u8> =
                        (0..dice.below(20)).map(|_| dice.next().to_le_bytes()[0]).collect();
                    rig.say(client, &octets);
                }
                3 => {
                    // Another connection takes its place.
                    let connect = connect(&mut dice, name, 3);
                    let version = connect.version;
                    let next = rig.connect(&connect);
                    let ear = Ear { window: 3, ..Ear::default() };
                    seats.insert(name, (next, version, ear));
                }
                _ => rig.ping(client),
            },
        }
        seats.retain(|_, (client, _, ear)| {
            for said in rig.heard(*client) {
                ear.hear(&said);
            }
            !rig.is_gone(*client)
        });
    }
}

#[test]
fn whatever_clients_do_the_server_keeps_to_the_protocol() {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = match first {
        Some(seed) => seed..seed + 1,
        None => 1..101_u64,
    };
    for seed in seeds {
        // Shown when it fails.
        println!("SEED={seed}");
        history(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
}
