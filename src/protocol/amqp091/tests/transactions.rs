//! tx.select, commit, rollback.

use super::client::{Client, Said, consume, declare, method};
use crate::protocol::amqp091::wire::method::{Basic, Method, Tx, basic, confirm, queue};

fn transactional() -> Client {
    let mut client = Client::open();
    client.method(1, &declare("q"));
    client.method(1, &Method::Tx(Tx::Select));
    client.heard();
    client
}

fn count(client: &mut Client) -> Vec<Said> {
    client.method(1, &queue::Declare { passive: true, ..declare("q") });
    client.heard()
}

/// P59
#[test]
fn publishes_are_invisible_until_the_commit() {
    let mut client = transactional();
    client.publish(1, "", "q", b"1");
    client.publish(1, "", "q", b"2");
    assert_eq!(count(&mut client), [method(1, "queue.declare-ok q 0 0")]);
    client.method(1, &Method::Tx(Tx::Commit));
    assert_eq!(client.heard(), [method(1, "tx.commit-ok")]);
    assert_eq!(count(&mut client), [method(1, "queue.declare-ok q 2 0")]);
    client.publish(1, "", "q", b"3");
    client.method(1, &Method::Tx(Tx::Rollback));
    client.method(1, &Method::Tx(Tx::Commit));
    assert_eq!(client.heard(), [method(1, "tx.rollback-ok"), method(1, "tx.commit-ok")]);
    assert_eq!(count(&mut client), [method(1, "queue.declare-ok q 2 0")]);
}

#[test]
fn acknowledgements_are_taken_back_by_a_rollback() {
    let mut client = transactional();
    client.publish(1, "", "q", b"1");
    client.method(1, &Method::Tx(Tx::Commit));
    client.method(1, &consume("q", "c"));
    client.heard();
    client.method(1, &basic::Ack { delivery_tag: 1, multiple: false });
    client.method(1, &Method::Tx(Tx::Rollback));
    // Out again, so it can be settled again.
    client.method(1, &basic::Ack { delivery_tag: 1, multiple: false });
    client.method(1, &Method::Tx(Tx::Commit));
    client.method(1, &Method::Basic(Basic::Recover(basic::Recover { requeue: true })));
    assert_eq!(
        client.heard(),
        [method(1, "tx.rollback-ok"), method(1, "tx.commit-ok"), method(1, "basic.recover-ok")]
    );
}

/// P58
#[test]
fn a_channel_is_transactional_or_confirming_but_not_both() {
    let mut client = transactional();
    client.method(1, &confirm::Select { no_wait: false });
    let text =
        "channel.close 406 PRECONDITION_FAILED - cannot switch from tx to confirm mode (85, 10)";
    assert_eq!(client.heard(), [method(1, text)]);
    let mut client = Client::open();
    client.method(1, &confirm::Select { no_wait: true });
    client.method(1, &Method::Tx(Tx::Select));
    let text =
        "channel.close 406 PRECONDITION_FAILED - cannot switch from confirm to tx mode (90, 10)";
    assert_eq!(client.heard(), [method(1, text)]);
    let mut client = Client::open();
    client.method(1, &Method::Tx(Tx::Commit));
    let text = "channel.close 406 PRECONDITION_FAILED - channel is not transactional (90, 20)";
    assert_eq!(client.heard(), [method(1, text)]);
}

#[test]
fn a_publish_to_a_missing_exchange_closes_the_channel_before_the_commit() {
    let mut client = transactional();
    client.publish(1, "missing", "q", b"1");
    let text = "channel.close 404 NOT_FOUND - no exchange 'missing' in vhost '/' (60, 40)";
    assert_eq!(client.heard(), [method(1, text)]);
}
