//! Sessions and publishers on several shards: what is stored elsewhere is answered later.

use super::rig::*;
use crate::config::Config;
use crate::protocol::mqtt::wire::Version;
use crate::protocol::mqtt::wire::ack::AckKind::{self, Pubcomp, Pubrec, Pubrel};
use crate::protocol::mqtt::wire::publish::Promise;

/// V-025, X-06: a connection moves to its session before it is let in.
#[test]
fn a_client_lives_where_its_session_does() {
    let mut rig = Rig::on(4, Config::default());
    for n in 0..40 {
        let name = format!("client-{n}");
        let first = rig.open(Version::V5, &name);
        let second = rig.open(Version::V5, &name);
        assert_eq!(rig.heard(first), ["DISCONNECT 8e"]);
        rig.ping(second);
        assert_eq!(rig.heard(second), ["PINGRESP"]);
    }
    for _ in 0..20 {
        let client = rig.connect(&hello(Version::V5, ""));
        assert_eq!(rig.heard(client), ["CONNACK 00 new assigned"]);
    }
}

/// MQTT-4.6.0-2, MQTT-4.6.0-3 (v3.1.1 and v5), MQTT-4.5.0-1 (v3.1.1 and v5)
#[test]
fn answers_keep_their_order_when_other_shards_store() {
    let mut rig = Rig::on(4, Config::default());
    let to: Vec<Client> = (0..8)
        .map(|n| {
            let client = rig.open(Version::V5, &format!("to-{n}"));
            rig.subscribe(client, &format!("t/{n}"), 2);
            client
        })
        .collect();
    let from = rig.open(Version::V5, "from");
    let mut octets = Vec::new();
    for n in 1..=64_u16 {
        let topic = format!("t/{}", n % 9);
        let promise =
            if n % 2 == 0 { Promise::AtLeastOnce(id(n)) } else { Promise::ExactlyOnce(id(n)) };
        head(&topic, promise).put(&mut octets, Version::V5, b"m", 1000).unwrap();
    }
    rig.say(from, &octets);
    let heard = rig.heard(from);
    for (kind, first) in [("PUBACK", 2_usize), ("PUBREC", 1)] {
        let expected: Vec<String> = (first..=64)
            .step_by(2)
            .map(|n| {
                let is_for_nobody = kind == "PUBACK" && n % 9 == 8;
                format!("{kind} {n}{}", if is_for_nobody { " 10" } else { "" })
            })
            .collect();
        let found: Vec<_> = heard.iter().filter(|p| p.starts_with(kind)).cloned().collect();
        assert_eq!(found, expected);
    }
    for n in (1..=64).step_by(2) {
        rig.ack(from, Pubrel, n);
    }
    let expected: Vec<String> = (1..=64).step_by(2).map(|n| format!("PUBCOMP {n}")).collect();
    assert_eq!(rig.heard(from), expected);
    let mut count = 0;
    for client in to {
        for publish in rig.heard(client) {
            count += 1;
            let (_, number) = publish.split_once('#').unwrap();
            let number = number.split(' ').next().unwrap().parse().unwrap();
            if publish.contains(" q2 ") {
                rig.ack(client, Pubrec, number);
                assert_eq!(rig.heard(client), [format!("PUBREL {number}")]);
                rig.ack(client, Pubcomp, number);
            }
        }
    }
    assert_eq!(count, (1..=64).filter(|n| n % 9 != 8).count());
}

/// MQTT-4.8.2-3 (v5), H-27
#[test]
fn each_message_for_a_group_goes_to_one_of_its_members() {
    for shards in [1, 3] {
        let mut rig = Rig::on(shards, Config::default());
        let members: Vec<Client> = (0..3)
            .map(|n| {
                let client = rig.open(Version::V5, &format!("member-{n}"));
                rig.subscribe(client, "$share/g/t/#", n);
                client
            })
            .collect();
        let from = rig.open(Version::V4, "from");
        for n in 1..=60 {
            let promise = Promise::AtLeastOnce(id(n));
            rig.publish(from, head("t/x", promise), &format!("={n}"));
        }
        let mut seen = Vec::new();
        for (n, member) in members.into_iter().enumerate() {
            loop {
                let heard = rig.heard(member);
                if heard.is_empty() {
                    break;
                }
                for publish in heard {
                    let qos = n.min(1);
                    assert!(publish.starts_with(&format!("PUBLISH \"t/x\" q{qos} ")), "{publish}");
                    seen.push(publish.split_once('=').unwrap().1.parse::<u16>().unwrap());
                    if let Some((_, number)) = publish.split_once('#') {
                        let number = number.split(' ').next().unwrap().parse().unwrap();
                        rig.ack(member, AckKind::Puback, number);
                    }
                }
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (1..=60).collect::<Vec<u16>>(), "{shards} shards");
    }
}
