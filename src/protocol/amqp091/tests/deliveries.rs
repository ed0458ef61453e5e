//! Consumers, deliveries, acknowledgements.

use super::client::{Client, Said, consume, declare, method, publish};
use crate::protocol::amqp091::REPLY_QUEUE;
use crate::protocol::amqp091::wire::method::{basic, queue};
use crate::protocol::amqp091::wire::properties::Properties;
use crate::value::{Table, Value};

fn ack(delivery_tag: u64, multiple: bool) -> basic::Ack {
    basic::Ack { delivery_tag, multiple }
}

fn consuming() -> Client {
    let mut client = Client::open();
    client.method(1, &declare("q"));
    client.method(1, &consume("q", "c"));
    assert_eq!(client.heard().last(), Some(&method(1, "basic.consume-ok c")));
    client
}

fn methods(client: &mut Client) -> Vec<String> {
    let said = client.heard().into_iter();
    said.filter_map(|s| if let Said::Method(_, text) = s { Some(text) } else { None }).collect()
}

#[test]
fn a_message_is_delivered_with_the_properties_it_came_with() {
    let mut client = consuming();
    let block = Properties {
        content_type: Some(b"text/plain"),
        correlation_id: Some(&[0xFF, 0]),
        ..Properties::default()
    }
    .to_block();
    client.say(&publish(1, "", "q", &block, b"body"));
    assert_eq!(
        client.heard(),
        [
            method(1, "basic.deliver c 1 false q"),
            Said::Header(1, block, 4),
            Said::Body(1, b"body".into()),
        ]
    );
}

/// P4, abuse row 20
#[test]
fn a_large_body_is_split_by_the_frame_size_and_an_empty_one_has_no_frame() {
    let mut client = consuming();
    let body: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    client.publish(1, "", "q", &body);
    client.publish(1, "", "q", b"");
    let said = client.heard();
    let pieces: Vec<&[u8]> = said
        .iter()
        .filter_map(|s| if let Said::Body(1, piece) = s { Some(&piece[..]) } else { None })
        .collect();
    let sizes: Vec<usize> = pieces.iter().map(|p| p.len()).collect();
    assert_eq!(sizes, [131_064, 131_064, 37_872]);
    assert_eq!(pieces.concat(), body);
    assert_eq!(said.last(), Some(&Said::Header(1, vec![0, 0], 0)));
}

/// P47, abuse row 33
#[test]
fn an_unknown_tag_closes_the_channel_and_a_known_one_is_settled_once() {
    for (tag, multiple) in [(0, false), (3, false), (3, true)] {
        let mut client = consuming();
        client.publish(1, "", "q", b"1");
        client.publish(1, "", "q", b"2");
        client.method(1, &ack(2, true));
        client.method(1, &ack(0, true));
        client.heard();
        client.method(1, &ack(tag, multiple));
        let text =
            format!("channel.close 406 PRECONDITION_FAILED - unknown delivery tag {tag} (60, 80)");
        assert_eq!(client.heard(), [method(1, &text)]);
    }
}

/// P43, P44, abuse row 30
#[test]
fn tags_are_made_up_taken_once_and_cancelled_without_a_fuss() {
    let mut client = consuming();
    client.method(1, &consume("q", ""));
    let made_up = methods(&mut client).pop().unwrap();
    assert!(made_up.starts_with("basic.consume-ok amq.ctag-"), "{made_up}");
    client.method(1, &basic::Cancel { consumer_tag: "c", no_wait: false });
    client.method(1, &basic::Cancel { consumer_tag: "never", no_wait: false });
    assert_eq!(methods(&mut client), ["basic.cancel-ok c", "basic.cancel-ok never"]);
    client.method(1, &consume("q", "c"));
    client.method(1, &consume("q", "c"));
    assert_eq!(
        methods(&mut client),
        [
            "basic.consume-ok c",
            "connection.close 530 NOT_ALLOWED - attempt to reuse consumer tag 'c' (60, 20)"
        ]
    );
}

/// P69
#[test]
fn deliveries_of_a_cancelled_consumer_can_still_be_acknowledged() {
    let mut client = consuming();
    client.publish(1, "", "q", b"1");
    client.method(1, &basic::Cancel { consumer_tag: "c", no_wait: false });
    client.method(1, &ack(1, false));
    client.publish(1, "", "q", b"2");
    assert_eq!(methods(&mut client), ["basic.deliver c 1 false q", "basic.cancel-ok c"]);
}

/// P42
#[test]
fn prefetch_holds_deliveries_back_until_they_are_settled() {
    let mut client = Client::open();
    client.method(1, &declare("q"));
    client.method(1, &basic::Qos { prefetch_size: 0, prefetch_count: 1, global: false });
    client.method(1, &consume("q", "c"));
    for body in [b"1", b"2"] {
        client.publish(1, "", "q", body);
    }
    assert_eq!(methods(&mut client).pop().unwrap(), "basic.deliver c 1 false q");
    client.method(1, &basic::Nack { delivery_tag: 1, multiple: false, requeue: true });
    assert_eq!(methods(&mut client), ["basic.deliver c 2 true q"]);
    client.method(1, &ack(2, false));
    assert_eq!(methods(&mut client), ["basic.deliver c 3 false q"]);
    client.method(1, &basic::Qos { prefetch_size: 1, prefetch_count: 1, global: false });
    assert_eq!(
        methods(&mut client),
        ["connection.close 540 NOT_IMPLEMENTED - prefetch_size!=0 (1) (60, 10)"]
    );
}

/// S72, P70
#[test]
fn the_deletion_of_its_queue_cancels_a_consumer() {
    let mut client = consuming();
    client.open_channel(2);
    let delete =
        queue::Delete { ticket: 0, queue: "q", if_unused: false, if_empty: false, no_wait: false };
    client.method(2, &delete);
    let mut said = methods(&mut client);
    said.sort();
    assert_eq!(said, ["basic.cancel c", "queue.delete-ok 0"]);
}

#[test]
fn get_counts_what_is_left_and_says_when_nothing_is() {
    let mut client = Client::open();
    client.method(1, &declare("q"));
    client.publish(1, "", "q", b"1");
    client.publish(1, "", "q", b"2");
    client.heard();
    for no_ack in [true, false] {
        client.method(1, &basic::Get { ticket: 0, queue: "", no_ack });
    }
    client.method(1, &basic::Get { ticket: 0, queue: "q", no_ack: true });
    assert_eq!(
        methods(&mut client),
        ["basic.get-ok 1 false 1", "basic.get-ok 2 false 0", "basic.get-empty"]
    );
    client.method(1, &ack(1, false));
    let text = "channel.close 406 PRECONDITION_FAILED - unknown delivery tag 1 (60, 80)";
    assert_eq!(methods(&mut client), [text]);
}

/// P52
#[test]
fn replies_come_to_the_channel_that_asked() {
    let mut client = Client::open();
    client.method(1, &declare("requests"));
    client.method(1, &consume("requests", "server"));
    client.method(1, &basic::Consume { no_ack: true, ..consume(REPLY_QUEUE, "replies") });
    client.heard();
    let block =
        Properties { reply_to: Some(REPLY_QUEUE.as_bytes()), ..Properties::default() }.to_block();
    client.say(&publish(1, "", "requests", &block, b"question"));
    let said = client.heard();
    let Some(Said::Header(1, block, 8)) = said.get(1) else { panic!("{said:?}") };
    let address = Properties::decode(block).unwrap().reply_to.unwrap().to_vec();
    assert!(address.starts_with(b"amq.rabbitmq.reply-to."));
    client.publish(1, "", std::str::from_utf8(&address).unwrap(), b"answer");
    let said = client.heard();
    assert!(
        matches!(&said[0], Said::Method(1, text) if text.starts_with("basic.deliver replies 2"))
    );
    assert_eq!(said[2], Said::Body(1, b"answer".into()));

    client.method(1, &basic::Cancel { consumer_tag: "replies", no_wait: false });
    client.publish(1, "", std::str::from_utf8(&address).unwrap(), b"late");
    assert_eq!(client.heard(), [method(1, "basic.cancel-ok replies")]);
    client.method(1, &consume(REPLY_QUEUE, "replies"));
    let text = "channel.close 406 PRECONDITION_FAILED - reply consumer cannot acknowledge (60, 20)";
    assert_eq!(client.heard(), [method(1, text)]);
}

#[test]
fn a_delivery_that_nobody_settles_closes_its_channel() {
    let mut client = consuming();
    client.publish(1, "", "q", b"1");
    client.heard();
    client.tick(60_000);
    assert_eq!(client.heard(), []);
    client.tick(1_000);
    let said = methods(&mut client);
    let text = "channel.close 406 PRECONDITION_FAILED - delivery acknowledgement on channel 1 \
                timed out. Timeout value used: 60000 ms. This timeout value can be configured (0, 0)";
    assert_eq!(said, [text]);
}

/// R45b through a real dead-letter queue.
#[test]
fn a_rejected_message_arrives_dead_with_its_history() {
    use crate::protocol::amqp091::wire::table_buffer::TableBuffer;
    let mut client = Client::open();
    let arguments = Table(vec![
        ("x-dead-letter-exchange".into(), Value::text("")),
        ("x-dead-letter-routing-key".into(), Value::text("dead")),
    ]);
    let arguments = TableBuffer::from_table(&arguments).unwrap();
    client.method(1, &declare("dead"));
    client.method(1, &queue::Declare { arguments: arguments.view(), ..declare("q") });
    client.method(1, &consume("q", "c"));
    client.publish(1, "", "q", b"body");
    client.method(1, &basic::Reject { delivery_tag: 1, requeue: false });
    client.heard();
    client.method(1, &basic::Get { ticket: 0, queue: "dead", no_ack: true });
    let said = client.heard();
    let Some(Said::Header(1, block, 4)) = said.get(1) else { panic!("{said:?}") };
    let headers = Properties::decode(block).unwrap().headers.unwrap().to_value();
    assert_eq!(headers.get("x-first-death-reason"), Some(&Value::text("rejected")));
    assert_eq!(headers.get("x-first-death-queue"), Some(&Value::text("q")));
    assert!(matches!(headers.get("x-death"), Some(Value::Array(deaths)) if deaths.len() == 1));
}

fn qos(prefetch_count: u16, global: bool) -> basic::Qos {
    basic::Qos { prefetch_size: 0, prefetch_count, global }
}

/// P42
#[test]
fn a_limit_on_the_channel_counts_what_was_out_before_it() {
    let mut client = consuming();
    client.publish(1, "", "q", b"1");
    client.method(1, &qos(2, true));
    client.publish(1, "", "q", b"2");
    client.publish(1, "", "q", b"3");
    let delivered = |n: u64| format!("basic.deliver c {n} false q");
    assert_eq!(methods(&mut client), [delivered(1), "basic.qos-ok".into(), delivered(2)]);
    client.method(1, &ack(1, false));
    assert_eq!(methods(&mut client), [delivered(3)]);
}

/// P42, P68
#[test]
fn neither_what_is_fetched_nor_what_needs_no_ack_takes_a_channels_credit() {
    let mut client = Client::open();
    client.method(1, &declare("q"));
    client.method(1, &qos(1, true));
    client.publish(1, "", "q", b"1");
    client.method(1, &basic::Get { ticket: 0, queue: "q", no_ack: false });
    client.method(1, &basic::Consume { no_ack: true, ..consume("q", "free") });
    client.publish(1, "", "q", b"2");
    client.method(1, &basic::Cancel { consumer_tag: "free", no_wait: true });
    client.method(1, &consume("q", "c"));
    client.publish(1, "", "q", b"3");
    client.publish(1, "", "q", b"4");
    let said = methods(&mut client);
    let last: Vec<&str> = said.iter().rev().take(2).map(|s| &**s).collect();
    assert_eq!(last, ["basic.deliver c 3 false q", "basic.consume-ok c"], "{said:?}");
}
