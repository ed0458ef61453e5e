//! The way from the first octet to a consumed message: what every other subject builds on.

use ringmq::protocol::amqp091::wire::method::{basic, connection};

use crate::support::client::PATIENCE;
use crate::support::handshake::PROTOCOL_HEADER;
use crate::support::methods::{consume, publish};
use crate::support::setup::Stage;
use crate::support::{Login, properties};

on_every_setup!(
    a_foreign_header_is_answered_with_ours_and_the_end,
    a_client_logs_in_and_leaves,
    a_wrong_password_is_refused,
    a_missing_vhost_is_refused,
    a_message_is_published_and_fetched,
    a_message_is_published_and_consumed,
    a_body_is_cut_to_the_frame_size,
    a_message_is_confirmed,
    an_unroutable_message_returns_before_its_confirm,
    a_missing_queue_closes_only_its_channel,
    a_transaction_shows_its_messages_at_commit,
    requeued_messages_come_again_marked,
    a_bound_queue_gets_what_others_publish,
);

/// AMQP 0-9-1 4.2.2; P9.
fn a_foreign_header_is_answered_with_ours_and_the_end(stage: &Stage) {
    let mut client = stage.connect();
    client.send_raw(b"AMQP\x00\x00\x0a\x00");
    assert_eq!(client.read_raw(8, PATIENCE), PROTOCOL_HEADER);
    client.expect_eof();
}

/// S2, S32, S33, AMQP 0-9-1 2.2.4.
fn a_client_logs_in_and_leaves(stage: &Stage) {
    let mut client = stage.connect();
    client.log_in(&Login { frame_max: Some(4096), heartbeat: 60, ..Login::default() });
    client.open_channel(1);
    client.open_channel(7);
    client.close_channel(1);
    client.open_channel(1);
    client.close();
}

/// P12: told to those who say that they understand.
fn a_wrong_password_is_refused(stage: &Stage) {
    let mut client = stage.connect();
    let login = Login { password: "wrong", ..Login::default() };
    client.send_raw(PROTOCOL_HEADER);
    assert!(client.expect_start().contains("PLAIN"));
    client.send_start_ok(&login, "PLAIN", &login.plain());
    client.expect_close(403, "ACCESS_REFUSED - Login was refused");
}

/// P17.
fn a_missing_vhost_is_refused(stage: &Stage) {
    let mut client = stage.connect();
    client.begin(&Login::default());
    client.send(0, &connection::Open { virtual_host: "nowhere", capabilities: "", insist: false });
    client.expect_close(530, "nowhere");
}

/// P45, P46.
fn a_message_is_published_and_fetched(stage: &Stage) {
    let mut client = stage.with_channel();
    let queue = stage.name("queue");
    client.declare_exclusive(1, &queue);
    assert_eq!(client.get(1, &queue, true), None);
    let block = properties(|p| {
        p.message_id = Some(b"m-1");
        p.delivery_mode = Some(2);
    });
    client.publish_with(1, "", &queue, &block, b"body");
    client.publish(1, "", &queue, b"");
    client.wait_ready(1, &queue, 2);
    let first = client.get(1, &queue, false).expect("a message");
    assert_eq!(
        (first.body.as_slice(), first.message_count, first.redelivered),
        (&b"body"[..], 1, false)
    );
    assert_eq!(first.properties, block);
    let second = client.get(1, &queue, true).expect("a message");
    assert_eq!((second.body.len(), second.delivery_tag), (0, first.delivery_tag + 1));
    client.ack(1, first.delivery_tag, false);
    client.close();
}

/// P43, P45.
fn a_message_is_published_and_consumed(stage: &Stage) {
    let mut client = stage.with_channel();
    let queue = stage.name("queue");
    client.declare_exclusive(1, &queue);
    client.consume_with(1, &consume(&queue, "tag"));
    for number in 0..100_u64 {
        client.publish(1, "", &queue, number.to_string().as_bytes());
    }
    for (number, delivery) in client.expect_deliveries(1, 100).into_iter().enumerate() {
        assert_eq!(delivery.body, number.to_string().into_bytes());
        assert_eq!(
            (delivery.consumer_tag.as_str(), delivery.routing_key.as_str()),
            ("tag", queue.as_str())
        );
    }
    client.ack(1, 100, true);
    client.cancel(1, "tag");
    assert_eq!(client.counts(1, &queue), (0, 0));
    client.close();
}

/// P4.
fn a_body_is_cut_to_the_frame_size(stage: &Stage) {
    let mut client = stage.connect();
    client.log_in(&Login { frame_max: Some(4096), ..Login::default() });
    client.open_channel(1);
    let queue = stage.name("queue");
    client.declare_exclusive(1, &queue);
    let body: Vec<u8> = (0..=u8::MAX).cycle().take(1_000_000).collect();
    client.publish(1, "", &queue, &body);
    // The codec refuses what is longer than the negotiated size.
    assert_eq!(client.get_when_there(1, &queue).body, body);
    client.close();
}

/// Each publish is confirmed once.
fn a_message_is_confirmed(stage: &Stage) {
    let mut client = stage.with_channel();
    let queue = stage.name("queue");
    client.declare_exclusive(1, &queue);
    client.confirm_select(1);
    for _ in 0..50 {
        client.publish(1, "", &queue, b"x");
    }
    client.expect_confirms(1, 1, 50);
    assert_eq!(client.counts(1, &queue), (50, 0));
    client.close();
}

/// P50.
fn an_unroutable_message_returns_before_its_confirm(stage: &Stage) {
    let mut client = stage.with_channel();
    let nowhere = stage.name("nowhere");
    client.confirm_select(1);
    let method = basic::Publish { mandatory: true, ..publish("", &nowhere) };
    client.send_content(1, &method, &properties(|p| p.kind = Some(b"t")), b"back");
    let returned = client.expect_return(1);
    assert_eq!(returned.reply, Some((312, "NO_ROUTE".to_owned())));
    assert_eq!((returned.routing_key, returned.body), (nowhere, b"back".to_vec()));
    client.expect_confirms(1, 1, 1);
    client.close();
}

/// S63.
fn a_missing_queue_closes_only_its_channel(stage: &Stage) {
    let mut client = stage.with_channel();
    client.open_channel(2);
    let missing = stage.name("missing");
    client.send(1, &basic::Get { ticket: 0, queue: &missing, no_ack: true });
    client.expect_channel_close(1, 404, &format!("NOT_FOUND - no queue '{missing}' in vhost '/'"));
    client.declare_exclusive(2, &missing);
    client.open_channel(1);
    assert_eq!(client.counts(1, &missing), (0, 0));
    client.close();
}

/// P59.
fn a_transaction_shows_its_messages_at_commit(stage: &Stage) {
    let mut client = stage.with_channel();
    let queue = stage.name("queue");
    client.declare_exclusive(1, &queue);
    client.tx_select(1);
    client.publish(1, "", &queue, b"1");
    assert_eq!(client.counts(1, &queue), (0, 0));
    client.tx_rollback(1);
    client.publish(1, "", &queue, b"2");
    client.tx_commit(1);
    assert_eq!(client.counts(1, &queue), (1, 0));
    assert_eq!(client.get_when_there(1, &queue).body, b"2");
    client.close();
}

/// P48, P66.
fn requeued_messages_come_again_marked(stage: &Stage) {
    let mut client = stage.with_channel();
    let queue = stage.name("queue");
    client.declare(1, &queue);
    client.publish(1, "", &queue, b"1");
    client.publish(1, "", &queue, b"2");
    client.prefetch(1, 1);
    client.consume(1, &queue);
    let first = client.expect_delivery(1);
    client.nack(1, first.delivery_tag, true);
    let again = client.expect_delivery(1);
    assert_eq!((again.body.as_slice(), again.redelivered), (&b"1"[..], true));
    client.expect_silence();
    client.close();
    let mut other = stage.with_channel();
    other.wait_ready(1, &queue, 2);
    assert!(other.get_when_there(1, &queue).redelivered);
    assert!(!other.get_when_there(1, &queue).redelivered);
    assert_eq!(other.delete(1, &queue), 0);
    other.close();
}

/// Design: who has seen bind-ok can publish from any other connection and be routed.
fn a_bound_queue_gets_what_others_publish(stage: &Stage) {
    let (mut owner, mut stranger) = (stage.with_channel(), stage.with_channel());
    let (queue, exchange) = (stage.name("queue"), stage.name("exchange"));
    owner.declare_exclusive(1, &queue);
    owner.declare_exchange(1, &exchange, "topic");
    for number in 0..20 {
        let key = format!("key.{number}");
        owner.bind(1, &queue, &exchange, &key);
        stranger.publish(1, &exchange, &key, key.as_bytes());
        assert_eq!(owner.get_when_there(1, &queue).body, key.into_bytes());
    }
    assert_eq!(owner.purge(1, &queue), 0);
    owner.close();
    stranger.close();
    stage.still_serves();
}
