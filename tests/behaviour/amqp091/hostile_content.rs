//! Messages that are too large, too deep or not what they say (abuse rows 15, 17, 20 to 24, 26,
//! 40, 42, 52). What needs time is in `hostile_patience`.

use ringmq::protocol::amqp091::wire::frame;
use ringmq::protocol::amqp091::wire::method::{basic, queue};
use ringmq::protocol::amqp091::wire::properties::NO_PROPERTIES;

use crate::support::broker::Options;
use crate::support::methods::{consume, declare, publish};
use crate::support::raw::{Payload, content_header, counted, entry, method_octets};
use crate::support::setup::Setup;
use crate::support::siege::{NOTHING_MIB, Siege, unique};
use crate::support::{Client, Login, properties};

const MIB: usize = 1024 * 1024;

fn siege() -> Siege {
    Siege::shared(Setup::Apart)
}

/// Abuse row 15: known from the header, before anything is reserved; only the channel goes.
#[test]
fn a_body_larger_than_allowed_costs_its_channel() {
    let mut siege = siege();
    let mut attacker = siege.attacker();
    attacker.open_channel(2);
    for (bytes, code) in [(1 << 63, 311), (u64::MAX, 311), (1 << 31, 311), ((128 << 20) + 1, 406)] {
        attacker.begin_content(2, "q", &content_header(60, 0, bytes, &NO_PROPERTIES));
        attacker.send_body(2, b"the beginning of it");
        attacker.expect_channel_close(2, code, &bytes.to_string());
        attacker.open_channel(2);
    }
    siege.canary_sings();
    attacker.close_channel(1);
    attacker.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 17: what is announced reserves nothing.
#[test]
fn announced_bodies_take_no_memory() {
    let mut siege = Siege::own(Options::default());
    let mut attacker = siege.attacker();
    let header = content_header(60, 0, 10 << 20, &NO_PROPERTIES);
    for channel in 2..=2047 {
        attacker.open_channel(channel);
        attacker.begin_content(channel, "q", &header);
        attacker.send_body(channel, b"x");
    }
    // It is all read when the first channel answers.
    let queue = siege_queue(&mut attacker);
    assert_eq!(attacker.get(1, &queue, true), None);
    siege.canary_sings();
    siege.must_have_gained_below(NOTHING_MIB);
    drop(attacker);
    siege.lift(NOTHING_MIB);
}

fn siege_queue(client: &mut Client) -> String {
    let queue = unique("queue");
    client.declare_exclusive(1, &queue);
    queue
}

/// Abuse row 17: what has come of unfinished bodies is bounded by connection.
#[test]
fn unfinished_bodies_of_a_connection_share_a_limit() {
    let config = "[amqp]\nmax_message_size = 10M";
    let mut siege = Siege::own(Options { config, ..Options::default() });
    let mut attacker = siege.attacker();
    let header = content_header(60, 0, 10 << 20, &NO_PROPERTIES);
    let piece = vec![7; 131_064];
    for channel in 2..=80 {
        attacker.open_channel(channel);
    }
    // 64 MiB of them: 64 channels with 8 pieces, and a few octets.
    for channel in 2..=72_u16 {
        attacker.begin_content(channel, "q", &header);
        for _ in 0..8 {
            attacker.send_body(channel, &piece);
        }
        if channel.is_multiple_of(8) {
            siege.canary_sings();
        }
    }
    attacker.expect_close(506, "unfinished messages");
    siege.lift(64 + 64 + NOTHING_MIB);
}

/// Abuse row 20
#[test]
fn a_body_of_many_frames_is_the_same_in_every_queue() {
    let siege = siege();
    let mut client = siege.attacker_as(&Login { frame_max: Some(4096), ..Login::default() });
    let exchange = unique("exchange");
    client.declare_exchange(1, &exchange, "fanout");
    let queues = ["a", "b", "c"].map(unique);
    for queue in &queues {
        client.declare_exclusive(1, queue);
        client.bind(1, queue, &exchange, "");
    }
    for bytes in [4088, 4089, 8176, 131_064, 131_065, 1_000_003] {
        let body: Vec<u8> = (0..=250_u8).cycle().take(bytes).collect();
        let block = properties(|p| p.message_id = Some(b"large"));
        client.publish_with(1, &exchange, "", &block, &body);
        for queue in &queues {
            let got = client.get_when_there(1, queue);
            assert!(got.body == body && got.properties == block, "{bytes} octets in {queue}");
        }
    }
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Declares a queue, and publishes, each with this table where a table belongs: both end the
/// connection with 502.
fn each_table_is_refused(siege: &mut Siege, tables: &[Vec<u8>]) {
    for (number, table) in tables.iter().enumerate() {
        let mut attacker = siege.attacker();
        attacker.send_payload(1, &Payload::declare(b"tables", table));
        let text = attacker.expect_close(502, "SYNTAX_ERROR - ");
        let mut attacker = siege.attacker();
        let block = [&[0x20, 0][..], table].concat();
        attacker.begin_content(1, "q", &content_header(60, 0, 0, &block));
        attacker.expect_close(502, "SYNTAX_ERROR - ");
        siege.canary_sings();
        assert!(text.len() > 20, "table {number}: {text}");
    }
}

/// Abuse row 21
#[test]
fn tables_that_lie_are_refused() {
    let mut siege = siege();
    let tables = [
        // Longer than the frame, by a little and by much.
        [&1000_u32.to_be_bytes()[..], &entry("a", b'I', &[0, 0, 0, 1])].concat(),
        [&u32::MAX.to_be_bytes()[..], &entry("a", b'V', b"")].concat(),
        // Values that end early, within and at the end of the table.
        counted(&entry("a", b'I', &[0, 0, 0])),
        counted(&entry("a", b'S', &[0, 0, 0, 9, b'x'])),
        counted(&entry("a", b'S', &u32::MAX.to_be_bytes())),
        counted(&[5, b'a']),
        counted(&[1]),
        counted(b"\x01a"),
        // An array whose last item is cut, and one that is longer than its table.
        counted(&entry("a", b'A', &counted(&[b'I', 0, 0, 0, 1, b'I', 0]))),
        counted(&entry("a", b'A', &[0, 0, 1, 0, b'V'])),
        // Letters without a meaning, and a truth value that is neither.
        counted(&entry("a", b'Z', &[0; 8])),
        counted(&entry("a", 0, &[])),
        counted(&entry("a", b't', &[2])),
        // A name that is no text.
        counted(&[2, 0xFF, 0xFE, b'V']),
    ];
    each_table_is_refused(&mut siege, &tables);
    siege.lift(NOTHING_MIB);
}

/// Tables in each other, one in all of them not counted.
fn tables(depth: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    for _ in 0..depth {
        octets = entry("", b'F', &counted(&octets));
    }
    counted(&octets)
}

/// Arrays in each other, in a table.
fn arrays(depth: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    for _ in 1..depth {
        octets = [&b"A"[..], &counted(&octets)].concat();
    }
    counted(&entry("a", b'A', &counted(&octets)))
}

/// Abuse row 22
#[test]
fn tables_too_deep_are_refused_without_recursion() {
    let mut siege = siege();
    each_table_is_refused(&mut siege, &[tables(32), tables(10_000), arrays(32), arrays(10_000)]);
    // The deepest that is allowed.
    let mut client = siege.attacker();
    let queue = unique("deep");
    client.declare_exclusive(1, &queue);
    for table in [tables(31), arrays(31)] {
        let block = [&[0x20, 0][..], &table].concat();
        client.publish_with(1, "", &queue, &block, b"deep");
        assert_eq!(client.get_when_there(1, &queue).properties, block);
        client.send_payload(1, &Payload::declare(unique("deep").as_bytes(), &table));
        client.expect_declared(1);
    }
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 23
#[test]
fn tables_with_too_many_entries_are_refused() {
    let mut siege = siege();
    let many = |count: usize| counted(&entry("k", b'V', b"").repeat(count));
    each_table_is_refused(&mut siege, &[many(1025), many(40_000)]);
    let mut client = siege.attacker();
    let queue = unique("many");
    client.declare_exclusive(1, &queue);
    let block = [&[0x20, 0][..], &many(1024)].concat();
    client.publish_with(1, "", &queue, &block, b"many");
    assert_eq!(client.get_when_there(1, &queue).properties, block);
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 23
#[test]
fn of_repeated_names_the_last_counts() {
    let siege = siege();
    let mut client = siege.attacker();
    let queue = unique("twice");
    let twice = [entry("x-max-length", b'B', &[9]), entry("x-max-length", b'B', &[2])].concat();
    client.send_payload(1, &Payload::declare(queue.as_bytes(), &counted(&twice)));
    client.expect_declared(1);
    for _ in 0..5 {
        client.publish(1, "", &queue, b"x");
    }
    client.wait_ready(1, &queue, 2);
    assert_eq!(client.delete(1, &queue), 2);
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 24
#[test]
fn names_may_have_255_octets_and_nul_but_must_be_text() {
    let siege = siege();
    let mut client = siege.attacker();
    let marked = unique("");
    let longest = format!("{marked}{}", "q".repeat(255 - marked.len()));
    for queue in [&longest, &format!("nul\0{marked}"), &format!("\t\u{1}{marked}")] {
        client.declare_exclusive(1, queue);
        client.publish(1, "", queue, b"x");
        assert_eq!(client.get_when_there(1, queue).routing_key, *queue);
        assert_eq!(client.consume_with(1, &consume(queue, queue)), *queue);
        client.publish(1, "", queue, b"y");
        let delivery = client.expect_delivery(1);
        assert_eq!((&delivery.consumer_tag, &delivery.routing_key), (queue, queue));
        client.ack(1, delivery.delivery_tag, false);
        client.cancel(1, queue);
    }
    // The name of 255 octets does not fit a reply text with words around it: it is cut.
    let missing = "m".repeat(255);
    client.send(1, &queue::Declare { passive: true, ..declare(&missing) });
    client.expect_channel_close(1, 404, "NOT_FOUND - no queue 'mmm");
    client.close();
    for name in [&b"\xFF"[..], b"q\xC3", b"\xED\xA0\x80"] {
        let mut attacker = siege.attacker();
        attacker.send_payload(1, &Payload::declare(name, &[0; 4]));
        attacker.expect_close(502, "SYNTAX_ERROR - ");
    }
    // 256 octets cannot be said: the length is 0, and what follows is something else.
    let mut attacker = siege.attacker();
    let payload = Payload::of(50, 10).short(0).octet(0).raw(&[b'q'; 256]).octet(0).long(0);
    attacker.send_payload(1, &payload);
    attacker.expect_close(502, "SYNTAX_ERROR - ");
    siege.lift(NOTHING_MIB);
}

/// Properties are octets to the broker: they arrive as they were sent.
#[test]
fn properties_that_are_no_text_arrive_as_they_were() {
    let siege = siege();
    let mut client = siege.attacker();
    let queue = siege_queue(&mut client);
    let long = [0xFF_u8; 255];
    let block = properties(|p| {
        p.message_id = Some(b"nul\0nul");
        p.correlation_id = Some(&long);
        p.app_id = Some(b"\xED\xA0\x80");
        p.kind = Some(b"");
    });
    client.publish_with(1, "", &queue, &block, b"x");
    assert_eq!(client.get_when_there(1, &queue).properties, block);
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 26
#[test]
fn an_expiration_that_is_no_number_costs_its_channel() {
    let siege = siege();
    let mut client = siege.attacker();
    let queue = siege_queue(&mut client);
    client.open_channel(2);
    let wrong =
        ["-1", "1e9", "99999999999999999999", "", " 1", "1 ", "0x10", "+1", "1.5", "\u{661}"];
    for text in wrong {
        let block = properties(|p| p.expiration = Some(text.as_bytes()));
        client.publish_with(2, "", &queue, &block, b"x");
        client.expect_channel_close(2, 406, "PRECONDITION_FAILED - invalid expiration");
        client.open_channel(2);
    }
    assert_eq!(client.counts(1, &queue), (0, 0));
    // A priority is taken as it is; the queue caps it (P77).
    let block = properties(|p| {
        p.priority = Some(255);
        p.expiration = Some(b"3600000");
    });
    client.publish_with(2, "", &queue, &block, b"x");
    assert_eq!(client.get_when_there(1, &queue).properties, block);
    client.close();
    siege.lift(NOTHING_MIB);
}

/// A client that waits for direct replies on channel 1, and the address it has.
fn requester(siege: &Siege) -> (Client, String) {
    let (mut client, mut server) = (siege.attacker(), siege.attacker());
    let queue = siege_queue(&mut server);
    let replies = consume("amq.rabbitmq.reply-to", "");
    client.consume_with(1, &basic::Consume { no_ack: true, ..replies });
    let block = properties(|p| p.reply_to = Some(b"amq.rabbitmq.reply-to"));
    client.publish_with(1, "", &queue, &block, b"request");
    let request = server.get_when_there(1, &queue);
    let address = request.decoded().reply_to.expect("an address").to_vec();
    (client, String::from_utf8(address).expect("text"))
}

/// Abuse row 40
#[test]
fn an_address_for_replies_cannot_be_forged() {
    let siege = siege();
    let (mut client, address) = requester(&siege);
    let mut forger = siege.attacker();
    let mut altered = address.clone().into_bytes();
    let middle = altered.len() - 20;
    altered[middle] = if altered[middle] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).expect("text");
    let mut cut = address.clone();
    cut.pop();
    let long = format!("{address}A");
    let names = [&altered, &cut, &long, "amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-to.g2gCZAA"];
    for name in names {
        forger.publish(1, "", name, b"forged");
        forger.expect_channel_close(1, 406, "PRECONDITION_FAILED");
        forger.open_channel(1);
        forger.send(1, &queue::Declare { passive: true, ..declare(name) });
        forger.expect_channel_close(1, 404, "NOT_FOUND");
        forger.open_channel(1);
        forger.send(1, &consume(name, ""));
        forger.expect_channel_close(1, 404, "");
        forger.open_channel(1);
    }
    // Without a consumer there is nothing to reply to.
    let block = properties(|p| p.reply_to = Some(b"amq.rabbitmq.reply-to"));
    forger.publish_with(1, "", "anywhere", &block, b"request");
    forger.expect_channel_close(1, 406, "fast reply consumer does not exist");
    forger.open_channel(1);
    // Only who has seen the address can reply, and nobody can read along.
    forger.send(1, &basic::Get { ticket: 0, queue: &address, no_ack: true });
    forger.expect_channel_close(1, 404, "");
    forger.open_channel(1);
    forger.publish(1, "", &address, b"reply");
    assert_eq!(client.expect_delivery(1).body, b"reply");
    // The address dies with its channel.
    client.close_channel(1);
    client.open_channel(1);
    forger.publish(1, "", &address, b"late");
    client.expect_silence();
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 42
#[test]
fn a_user_id_that_is_not_the_login_costs_its_channel() {
    let siege = siege();
    let mut client = siege.attacker();
    let queue = siege_queue(&mut client);
    client.open_channel(2);
    for name in ["root", "", "Guest", "guest\0", "guest "] {
        let block = properties(|p| p.user_id = Some(name.as_bytes()));
        client.publish_with(2, "", &queue, &block, b"x");
        client.expect_channel_close(2, 406, "authenticated user was 'guest'");
        client.open_channel(2);
    }
    let block = properties(|p| p.user_id = Some(b"guest"));
    client.publish_with(2, "", &queue, &block, b"mine");
    assert_eq!(client.get_when_there(1, &queue).body, b"mine");
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 42: in pieces, where the publish takes another way.
#[test]
fn a_message_is_vetted_however_it_is_cut() {
    let siege = siege();
    let mut client = siege.attacker();
    client.open_channel(2);
    for block in [
        properties(|p| p.user_id = Some(b"root")),
        properties(|p| p.expiration = Some(b"never")),
        properties(|p| p.reply_to = Some(b"amq.rabbitmq.reply-to")),
    ] {
        client.begin_content(2, "q", &content_header(60, 0, 4, &block));
        client.send_body(2, b"ab");
        client.expect_silence();
        client.send_body(2, b"cd");
        client.expect_channel_close(2, 406, "PRECONDITION_FAILED");
        client.open_channel(2);
    }
    client.close();
    siege.lift(NOTHING_MIB);
}

/// Abuse row 52: by octets.
#[test]
fn a_transaction_holds_so_many_octets_and_no_more() {
    let mut siege = Siege::own(Options::default());
    let body = vec![0; MIB];
    // Again and again: what was held is gone with its channel.
    for _ in 0..3 {
        let mut attacker = siege.attacker();
        let queue = siege_queue(&mut attacker);
        attacker.open_channel(2);
        attacker.tx_select(2);
        for number in 0..70 {
            attacker.publish(2, "", &queue, &body);
            if number % 16 == 0 {
                siege.canary_sings();
            }
        }
        attacker.expect_channel_close(2, 406, "transaction is too large");
        assert_eq!(attacker.counts(1, &queue), (0, 0));
        attacker.open_channel(2);
        attacker.close();
    }
    siege.lift(3 * 64 + NOTHING_MIB);
}

/// Abuse row 52: by number, settlements included.
#[test]
fn a_transaction_holds_so_many_publishes_and_no_more() {
    let mut siege = Siege::own(Options::default());
    let mut attacker = siege.attacker();
    let queue = siege_queue(&mut attacker);
    attacker.open_channel(2);
    attacker.tx_select(2);
    let mut batch = Vec::new();
    for _ in 0..1000 {
        frame::put_content(&mut batch, 2, &publish("", &queue), &NO_PROPERTIES, b"", 131_072);
    }
    for number in 0..101 {
        attacker.send_raw(&batch);
        if number % 20 == 0 {
            siege.canary_sings();
        }
    }
    attacker.expect_channel_close(2, 406, "transaction is too large");
    assert_eq!(attacker.counts(1, &queue), (0, 0));
    attacker.close();
    siege.lift(100 + NOTHING_MIB);
}

/// Methods whose octets end early or go on are refused like tables that lie.
#[test]
fn methods_of_a_wrong_length_are_refused() {
    let mut siege = siege();
    let whole = method_octets(1, &declare("q"));
    let payload = whole[7..whole.len() - 1].to_vec();
    for end in 0..payload.len() {
        let mut attacker = siege.attacker();
        attacker.send_frame(frame::METHOD, 1, &payload[..end]);
        attacker.expect_close(502, "SYNTAX_ERROR");
    }
    let mut attacker = siege.attacker();
    attacker.send_frame(frame::METHOD, 1, &[&payload[..], b"more"].concat());
    attacker.expect_close(502, "SYNTAX_ERROR");
    siege.canary_sings();
    siege.lift(NOTHING_MIB);
}
