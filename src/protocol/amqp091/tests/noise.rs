//! Valid, broken and random frames: nothing panics, and nothing that was counted is left behind.

use proptest::prelude::*;

use super::client::{Client, consume, declare, publish};
use crate::protocol::amqp091::wire::frame;
use crate::protocol::amqp091::wire::method::{
    Method, Tx, basic, channel, confirm, connection, queue,
};
use crate::protocol::amqp091::wire::method_table::METHODS;
use crate::protocol::amqp091::wire::protocol_header::PROTOCOL_HEADER;
use crate::protocol::{Context, Next, Session as _};

/// One thing a client may send.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let number = 0_u16..4;
    let well_formed =
        (number.clone(), 0_usize..18).prop_map(|(channel, which)| sent(channel, which));
    let of_any_method = (number.clone(), 0..METHODS.len(), any::<Vec<u8>>()).prop_map(
        |(channel, row, arguments)| {
            let row = METHODS[row];
            let mut octets = Vec::new();
            frame::put_method_frame(&mut octets, channel, |out| {
                out.extend_from_slice(&row.class.to_be_bytes());
                out.extend_from_slice(&row.method.to_be_bytes());
                out.extend_from_slice(&arguments);
            });
            octets
        },
    );
    let content = (number, any::<Vec<u8>>(), 2_u8..4).prop_map(|(channel, payload, kind)| {
        let mut octets = Vec::new();
        frame::put_method_frame(&mut octets, channel, |out| out.extend_from_slice(&payload));
        octets[0] = kind;
        octets
    });
    prop_oneof![8 => well_formed, 1 => of_any_method, 1 => content, 1 => any::<Vec<u8>>()]
}

fn sent(number: u16, which: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    let out = &mut octets;
    let no_wait = number == 2;
    match which {
        0..=2 => frame::put_method(out, number, &channel::Open { out_of_band: "" }),
        3 => {
            let close =
                channel::Close { reply_code: 200, reply_text: "", class_id: 0, method_id: 0 };
            frame::put_method(out, number, &close);
        }
        4 => frame::put_method(out, number, &queue::Declare { no_wait, ..declare("q") }),
        5 => frame::put_method(out, number, &consume("q", "")),
        6 => frame::put_method(out, number, &consume("", "c")),
        7 => frame::put_method(out, number, &basic::Cancel { consumer_tag: "c", no_wait }),
        8 => frame::put_method(out, number, &basic::Get { ticket: 0, queue: "q", no_ack: no_wait }),
        9 => frame::put_method(out, number, &basic::Ack { delivery_tag: 1, multiple: no_wait }),
        10 => {
            let nack = basic::Nack { delivery_tag: 0, multiple: true, requeue: no_wait };
            frame::put_method(out, number, &nack);
        }
        11 => frame::put_method(out, number, &confirm::Select { no_wait }),
        12 => frame::put_method(out, number, &Method::Tx(Tx::Select)),
        13 => frame::put_method(out, number, &Method::Tx(Tx::Commit)),
        14 => frame::put_method(out, number, &Method::Tx(Tx::Rollback)),
        15 => frame::put_method(out, number, &basic::Recover { requeue: true }),
        16 => return publish(number, "", "q", &[0, 0], &[7; 5000]),
        _ => return publish(number, "amq.fanout", "q", &[0, 0], b"body"),
    }
    octets
}

/// Everything goes back: whatever happened, nothing is counted when the peer is gone.
fn part(mut client: Client) {
    client.tick(500_000);
    let mut out = ringmq_shards::Output::new(&ringmq_shards::Buffers::new());
    let mut cx = Context { broker: &mut client.broker, out: &mut out, now: client.now };
    client.session.on_lost("gone", &mut cx);
    assert_eq!(client.session.link.transaction_bytes, 0);
    client.work();
    assert_eq!(client.next, Next::Close);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn frames_in_any_order_and_cut_anywhere_do_no_harm(
        all in prop::collection::vec(frames(), 0..60),
        flip in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        cut in 1_usize..6000,
    ) {
        let mut octets = all.concat();
        if let Some((place, mask)) = flip && !octets.is_empty() {
            let at = place.index(octets.len());
            octets[at] ^= mask;
        }
        let mut client = Client::open();
        for piece in octets.chunks(cut) {
            client.say(piece);
            client.octets();
        }
        part(client);
    }

    #[test]
    fn a_handshake_of_noise_does_no_harm(noise in any::<Vec<u8>>(), at in 0_usize..200) {
        let mut octets = PROTOCOL_HEADER.to_vec();
        frame::put_method(&mut octets, 0, &connection::TuneOk { channel_max: 0, frame_max: 0, heartbeat: 0 });
        octets.splice(at.min(octets.len()).., noise);
        let mut client = Client::silent();
        client.say(&octets);
        client.octets();
        part(client);
    }
}
