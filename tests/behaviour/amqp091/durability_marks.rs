//! What a message bears outlives the broker as well: that it was delivered, how often it came
//! back, where it died, its priority, the time it has to live.

use std::time::{Duration, Instant};

use ringmq::value::Value;

use crate::support::broker::Ending;
use crate::support::client::PATIENCE;
use crate::support::content::Content;
use crate::support::methods::consume;
use crate::support::setup::{Setup, Stage};
use crate::support::{Broker, Client, properties};

use super::bounds_gauge::{client, fill_with, number_of, numbered};
use super::durability::{declare_durable, persistent, settle_down};

on_every_setup!(
    redelivered_is_said_of_what_was_delivered_and_of_nothing_else_after_an_orderly_stop,
    redelivered_is_said_of_all_that_was_delivered_a_while_before_a_kill,
    returns_stay_counted,
    the_dead_stay_dead_and_say_of_what,
    priorities_stay,
    the_time_to_live_goes_on_while_the_broker_does_not,
);

fn redelivered_is_said_of_what_was_delivered_and_of_nothing_else_after_an_orderly_stop(
    stage: &Stage,
) {
    let broker = stage.setup.own("");
    let (mut owner, mut consumer) = (client(broker.addr()), client(broker.addr()));
    declare_durable(&mut owner, "q", &[]);
    fill_with(&mut owner, "q", &persistent(), 20, 100);
    consumer.prefetch(1, 5);
    consumer.consume(1, "q");
    let tags: Vec<u64> =
        consumer.expect_deliveries(1, 5).iter().map(|content| content.delivery_tag).collect();
    consumer.ack(1, tags[0], false);
    consumer.ack(1, tags[2], false);
    // Two more come for those.
    consumer.expect_deliveries(1, 2);
    let broker = broker.again(Ending::Term, stage.setup.next().options());
    let mut owner = client(broker.addr());
    for number in (0..20).filter(|number| ![0, 2].contains(number)) {
        let got = owner.get(1, "q", true).expect("a message");
        assert_eq!(number_of(&got.body), number);
        assert_eq!(got.redelivered, number < 7, "message {number}");
    }
    assert_eq!(owner.get(1, "q", true), None);
    owner.close();
    broker.terminate();
}

fn redelivered_is_said_of_all_that_was_delivered_a_while_before_a_kill(stage: &Stage) {
    const COUNT: u64 = 3000;
    let broker = stage.setup.own("");
    let (mut owner, mut consumer) = (client(broker.addr()), client(broker.addr()));
    declare_durable(&mut owner, "q", &[]);
    fill_with(&mut owner, "q", &persistent(), COUNT, 10);
    consumer.prefetch(1, 2500);
    consumer.consume(1, "q");
    consumer.expect_deliveries(1, 2500);
    settle_down(&mut owner, "q");
    let broker = broker.again(Ending::Kill, stage.setup.next().options());
    let mut owner = client(broker.addr());
    for number in 0..COUNT {
        let got = owner.get(1, "q", true).expect("a message");
        assert_eq!(number_of(&got.body), number);
        // It may be said of more, as marks are made ahead; never of less.
        assert!(got.redelivered || number >= 2500, "message {number}");
    }
    owner.close();
    broker.terminate();
}

/// The same where nothing was stored after the delivery.
#[test]
fn redelivered_is_said_of_what_was_delivered_right_before_a_kill() {
    for setup in [Setup::OneShard, Setup::TwoShards, Setup::Apart] {
        for _ in 0..5 {
            let broker = setup.own("");
            let (mut owner, mut consumer) = (client(broker.addr()), client(broker.addr()));
            declare_durable(&mut owner, "q", &[]);
            fill_with(&mut owner, "q", &persistent(), 1, 10);
            consumer.consume(1, "q");
            consumer.expect_delivery(1);
            let broker = broker.again(Ending::Kill, setup.options());
            let mut owner = client(broker.addr());
            assert!(owner.get(1, "q", true).expect("a message").redelivered, "{setup:?}");
            owner.close();
            broker.terminate();
        }
    }
}

fn header(content: &Content, name: &str) -> Option<i64> {
    content.headers().get(name).and_then(Value::as_integer)
}

/// x-delivery-count of a quorum queue.
fn returns_stay_counted(stage: &Stage) {
    for ending in Ending::ALL {
        let broker = stage.setup.own("");
        let mut owner = client(broker.addr());
        let limit = ("x-delivery-limit", Value::I32(5));
        declare_durable(&mut owner, "q", &[("x-queue-type", Value::text("quorum")), limit]);
        fill_with(&mut owner, "q", &persistent(), 2, 100);
        for round in 0..3 {
            let got = owner.get(1, "q", false).expect("the first message");
            assert_eq!(
                (number_of(&got.body), header(&got, "x-delivery-count").unwrap_or(0)),
                (0, round)
            );
            owner.nack(1, got.delivery_tag, true);
        }
        owner.wait_ready(1, "q", 2);
        settle_down(&mut owner, "q");
        let broker = broker.again(ending, stage.setup.next().options());
        let mut owner = client(broker.addr());
        for round in 3..6 {
            let got = owner.get(1, "q", false).expect("the first message");
            let count = header(&got, "x-delivery-count");
            assert_eq!((number_of(&got.body), count), (0, Some(round)), "after {ending:?}");
            assert!(got.redelivered);
            owner.nack(1, got.delivery_tag, true);
        }
        // It has come back too often.
        let got = owner.get_when_there(1, "q");
        assert_eq!((number_of(&got.body), header(&got, "x-delivery-count")), (1, None));
        owner.close();
        broker.terminate();
    }
}

/// The first entry of x-death: queue, reason and count.
fn death(content: &Content) -> Option<(String, String, i64)> {
    let headers = content.headers();
    let Some(Value::Array(deaths)) = headers.get("x-death") else { return None };
    let Some(Value::Table(death)) = deaths.first() else { return None };
    let text = |name| death.get(name).and_then(Value::as_text).map(str::to_owned);
    Some((text("queue")?, text("reason")?, death.get("count")?.as_integer()?))
}

fn declare_mortal(owner: &mut Client, name: &str, next: &str, more: &[(&str, Value)]) {
    let mut table = vec![
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text(next)),
    ];
    table.extend(more.iter().cloned());
    declare_durable(owner, name, &table);
}

/// x-death: a message that goes round twice, with a restart in between.
fn the_dead_stay_dead_and_say_of_what(stage: &Stage) {
    for ending in Ending::ALL {
        let broker = stage.setup.own("");
        let mut owner = client(broker.addr());
        declare_mortal(&mut owner, "life", "death", &[]);
        declare_mortal(&mut owner, "death", "life", &[]);
        fill_with(&mut owner, "life", &persistent(), 1, 100);
        let got = owner.get(1, "life", false).expect("a message");
        owner.nack(1, got.delivery_tag, false);
        owner.wait_ready(1, "death", 1);
        // First where it went, then where it died: it stays there until it is safe.
        for queue in ["death", "life", "life"] {
            settle_down(&mut owner, queue);
        }
        let broker = broker.again(ending, stage.setup.next().options());
        let mut owner = client(broker.addr());
        let dead = take_dead(&mut owner, "death");
        assert_eq!(death(&dead), Some(("life".into(), "rejected".into(), 1)), "after {ending:?}");
        owner.nack(1, dead.delivery_tag, false);
        let back = take_dead(&mut owner, "life");
        assert_eq!(death(&back), Some(("death".into(), "rejected".into(), 1)), "after {ending:?}");
        owner.nack(1, back.delivery_tag, false);
        let dead = take_dead(&mut owner, "death");
        assert_eq!(death(&dead), Some(("life".into(), "rejected".into(), 2)), "after {ending:?}");
        owner.close();
        broker.terminate();
    }
}

/// The next message that is not there only to settle others.
fn take_dead(owner: &mut Client, queue: &str) -> Content {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match owner.get(1, queue, false) {
            Some(got) if got.body != b"last" => return got,
            Some(got) => owner.ack(1, got.delivery_tag, false),
            None => assert!(Instant::now() < deadline, "nothing comes into {queue}"),
        }
    }
}

fn priorities_stay(stage: &Stage) {
    const COUNT: u64 = 300;
    for ending in Ending::ALL {
        let broker = stage.setup.own("");
        let mut owner = client(broker.addr());
        declare_durable(&mut owner, "q", &[("x-max-priority", Value::I32(5))]);
        owner.confirm_select(1);
        let level = |number: u64| u8::try_from(number * 7 % 6).expect("below six");
        for number in 0..COUNT {
            let block = properties(|p| {
                p.delivery_mode = Some(2);
                p.priority = Some(level(number));
            });
            owner.publish_with(1, "", "q", &block, &numbered(number, 100));
        }
        owner.expect_confirms(1, 1, COUNT);
        let broker = broker.again(ending, stage.setup.next().options());
        let mut owner = client(broker.addr());
        owner.consume_with(1, &consume("q", ""));
        for wanted in (0..6).rev() {
            for number in (0..COUNT).filter(|number| level(*number) == wanted) {
                let delivery = owner.expect_delivery(1);
                assert_eq!(number_of(&delivery.body), number, "priority {wanted}, {ending:?}");
                assert_eq!(delivery.decoded().priority, Some(wanted));
            }
        }
        owner.expect_silence();
        owner.close();
        broker.terminate();
    }
}

/// What expires while there is no broker is not delivered by the next one; what does not, is.
fn the_time_to_live_goes_on_while_the_broker_does_not(stage: &Stage) {
    for ending in Ending::ALL {
        let (mut owner, broker) = expire_meanwhile(stage.setup, ending);
        assert_eq!(owner.get(1, "q", true), None, "after {ending:?}");
        assert_eq!(owner.get(1, "each", true).expect("what lives on").body, b"long");
        assert_eq!(owner.get(1, "each", true), None, "after {ending:?}");
        owner.close();
        broker.terminate();
    }
}

/// Messages that have a dead letter queue are in it then, once.
#[test]
fn what_expired_without_a_broker_is_dead_lettered_by_the_next() {
    for setup in [Setup::OneShard, Setup::TwoShards, Setup::FiveShards, Setup::Apart] {
        for ending in Ending::ALL {
            let (mut owner, broker) = expire_meanwhile(setup, ending);
            let mut dead = Vec::new();
            for _ in 0..2 {
                let got = owner.get_when_there(1, "expired");
                let (queue, reason, count) = death(&got).expect("x-death");
                assert_eq!((reason.as_str(), count), ("expired", 1));
                dead.push(queue);
            }
            dead.sort();
            assert_eq!(dead, ["each", "q"]);
            assert_eq!(owner.counts(1, "expired").0, 0);
            owner.close();
            broker.terminate();
        }
    }
}

/// A broker that began after messages of the one before had expired: one of "q", one of two of
/// "each". None of them expired in the one before: where that is killed between a dead letter and
/// the end of what it was made of, there are two.
fn expire_meanwhile(setup: Setup, ending: Ending) -> (Client, Broker) {
    const TTL: Duration = Duration::from_millis(1500);
    for _ in 0..5 {
        let broker = setup.own("");
        let mut owner = client(broker.addr());
        declare_durable(&mut owner, "expired", &[]);
        declare_mortal(&mut owner, "q", "expired", &[("x-message-ttl", Value::I32(1500))]);
        declare_mortal(&mut owner, "each", "expired", &[]);
        owner.confirm_select(1);
        let begun = Instant::now();
        owner.publish_with(1, "", "q", &persistent(), b"of the queue");
        for (ttl, body) in [("1500", &b"short"[..]), ("3600000", b"long")] {
            let block = properties(|p| {
                p.delivery_mode = Some(2);
                p.expiration = Some(ttl.as_bytes());
            });
            owner.publish_with(1, "", "each", &block, body);
        }
        owner.expect_confirms(1, 1, 3);
        // Else an orderly end waits for its answer.
        owner.close();
        let remains = broker.end(ending);
        if begun.elapsed() < TTL {
            std::thread::sleep(TTL);
            let broker = remains.start(setup.next().options());
            return (client(broker.addr()), broker);
        }
    }
    panic!("no broker has ended within {TTL:?} of the first publish");
}
