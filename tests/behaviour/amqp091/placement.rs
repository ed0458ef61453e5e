//! Where a queue lives is nobody's business: the same name is the same queue for every connection,
//! whichever shard serves it.

use std::collections::BTreeSet;

use ringmq::protocol::amqp091::wire::method::queue;

use crate::support::Client;
use crate::support::methods::declare;
use crate::support::setup::Stage;

use super::bounds_gauge::{number_of, numbered};

on_every_setup!(
    a_name_is_the_same_queue_for_every_connection,
    names_made_by_the_broker_are_made_once,
    an_exclusive_queue_is_locked_for_all_other_connections,
    what_one_channel_publishes_to_a_queue_stays_in_order,
);

/// Enough that every shard has some.
const CONNECTIONS: u64 = 8;

fn crowd(stage: &Stage) -> Vec<Client> {
    (0..CONNECTIONS).map(|_| stage.with_channel()).collect()
}

fn a_name_is_the_same_queue_for_every_connection(stage: &Stage) {
    let mut clients = crowd(stage);
    for _ in 0..10 {
        let queue = stage.name("queue");
        clients[0].declare(1, &queue);
        for (number, client) in (0..).zip(&mut clients) {
            client.publish(1, "", &queue, &numbered(number, 8));
        }
        clients[0].wait_ready(1, &queue, u32::try_from(CONNECTIONS).expect("few"));
        let got: BTreeSet<u64> = clients
            .iter_mut()
            .map(|client| number_of(&client.get_when_there(1, &queue).body))
            .collect();
        assert!(got.into_iter().eq(0..CONNECTIONS));
        let last = clients.last_mut().expect("some");
        assert_eq!(last.delete(1, &queue), 0);
    }
}

fn names_made_by_the_broker_are_made_once(stage: &Stage) {
    let mut names = BTreeSet::new();
    let mut clients = crowd(stage);
    for client in &mut clients {
        for _ in 0..20 {
            client.send(1, &queue::Declare { exclusive: true, ..declare("") });
            let (name, _) = client.expect_declared(1);
            assert!(name.starts_with("amq.gen-"), "{name}");
            client.publish(1, "", &name, name.as_bytes());
            assert_eq!(client.get_when_there(1, &name).body, name.as_bytes());
            assert!(names.insert(name));
        }
    }
}

fn an_exclusive_queue_is_locked_for_all_other_connections(stage: &Stage) {
    let queue = stage.name("mine");
    let mut owner = stage.with_channel();
    owner.declare_exclusive(1, &queue);
    for mut other in crowd(stage) {
        other.send(1, &queue::Declare { passive: true, ..declare(&queue) });
        other.expect_channel_close(1, 405, "RESOURCE_LOCKED");
    }
    owner.close();
    // Gone with its connection, before close-ok came.
    let mut other = stage.with_channel();
    other.declare_exclusive(1, &queue);
    other.close();
}

fn what_one_channel_publishes_to_a_queue_stays_in_order(stage: &Stage) {
    const COUNT: u64 = 2000;
    let queue = stage.name("ordered");
    let mut consumer = stage.with_channel();
    consumer.declare_exclusive(1, &queue);
    consumer.consume(1, &queue);
    let mut publishers = crowd(stage);
    for number in 0..COUNT {
        for (who, publisher) in (0..).zip(&mut publishers) {
            publisher.publish(1, "", &queue, &numbered(who * COUNT + number, 8));
        }
    }
    let mut next = vec![0; usize::try_from(CONNECTIONS).expect("few")];
    for _ in 0..COUNT * CONNECTIONS {
        let number = number_of(&consumer.expect_delivery(1).body);
        let who = usize::try_from(number / COUNT).expect("few");
        assert_eq!(number % COUNT, next[who], "of publisher {who}");
        next[who] += 1;
    }
    consumer.close();
}
