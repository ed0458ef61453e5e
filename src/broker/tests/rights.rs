//! Who may do what, and who gets replies.

use std::sync::Arc;

use super::client::*;
use super::cluster::{Cluster, identity, on_every_node};
use crate::auth::password::PasswordHash;
use crate::auth::permission::{Pattern, Permission};
use crate::auth::topic::TopicPermission;
use crate::auth::user::User;
use crate::auth::{Acl, Identity, TopicRules, Users};
use crate::command::{Answer, Command, Entity, Event, Publish, Published, Refusal};
use crate::ids::ConsumerKey;
use crate::value::{Table, Value};

fn denied(access: &'static str, entity: Entity, name: &str) -> Refusal {
    Refusal::AccessRefused { access, entity, name: name.into() }
}

#[test]
fn every_path_asks_for_the_right_it_needs() {
    use Entity::{Exchange, Queue};
    on_every_node(1, |c| {
        let admin = c.connect(0);
        c.done(admin, exchange("ex", "direct", &[]));
        c.done(admin, exchange("ey", "direct", &[]));
        c.done(admin, queue("qu", &[]));
        let nobody = c.connect_as(1, &identity("^conf", "^writ", "^read"));
        let unbind_exchange = Command::UnbindExchange {
            source: "read".into(),
            destination: "ey".into(),
            key: "".into(),
            arguments: Table::default(),
        };
        let dead = [("x-dead-letter-exchange", Value::text("ex"))];
        let alternate = [("alternate-exchange", Value::text("ex"))];
        for (command, refusal) in [
            (exchange("ez", "direct", &[]), denied("configure", Exchange, "ez")),
            (exchange("conf", "direct", &alternate), denied("read", Exchange, "conf")),
            (delete_exchange("ex"), denied("configure", Exchange, "ex")),
            (link("ex", "ey", ""), denied("write", Exchange, "ey")),
            (link("ex", "writ", ""), denied("read", Exchange, "ex")),
            (unbind_exchange, denied("write", Exchange, "ey")),
            (queue("q", &[]), denied("configure", Queue, "q")),
            (queue("conf", &dead), denied("read", Queue, "conf")),
            (queue("", &[]), denied("configure", Queue, "amq.gen-")),
            (delete_queue("qu"), denied("configure", Queue, "qu")),
            (Command::PurgeQueue { name: "qu".into() }, denied("read", Queue, "qu")),
            (bind("qu", "read", ""), denied("write", Queue, "qu")),
            (bind("writ", "ex", ""), denied("read", Exchange, "ex")),
            (unbind("qu", "read", ""), denied("write", Queue, "qu")),
            (Command::Get { queue: "qu".into(), no_settle: true }, denied("read", Queue, "qu")),
        ] {
            assert_eq!(c.refused(nobody, command), refusal);
        }
        let refused = c.send(nobody, &publish("ex", "k", "m"));
        assert_eq!(refused, Err(denied("write", Exchange, "ex")));
        let refused = c.send(nobody, &publish("", "qu", "m"));
        assert_eq!(refused, Err(denied("write", Exchange, "")));
        for command in [delete_exchange(""), bind("qu", "", ""), link("", "ex", "")] {
            assert_eq!(c.refused(admin, command), Refusal::DefaultExchange);
        }
    });
}

#[test]
fn a_vhost_without_rights_or_without_existence_can_not_be_entered() {
    on_every_node(1, |c| {
        let a = c.connect(0);
        let (at, who) = (c.seats[a.0].at.connection, identity("", "", ""));
        let broker = c.broker_of(a);
        assert_eq!(broker.enter(at, &who, "other"), Err(Refusal::VhostRefused("other".into())));
        let missing = Refusal::NotFound(Entity::Vhost, "none".into());
        assert_eq!(broker.enter(at, &who, "none"), Err(missing));
    });
}

fn replies(c: &mut Cluster, client: Client, channel: crate::ids::ChannelId, key: u32) -> Box<str> {
    c.start(client, channel, Command::ConsumeReplies { key: ConsumerKey(key) });
    match c.finish(client, channel) {
        Answer::ReplyTo { address } => address,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reply_address_works_from_every_shard() {
    on_every_node(3, |c| {
        let clients: Vec<_> = (0..5).map(|n| c.connect(n)).collect();
        for (n, client) in clients.iter().enumerate() {
            let address = replies(c, *client, ONE, 7);
            for from in &clients {
                let body = format!("{n}");
                assert_eq!(c.fate(*from, publish("", &address, &body)), Fate::Stored);
            }
            let got = c.take(*client);
            assert_eq!(got.len(), 5);
            assert!(got.iter().all(|d| d.consumer == Some(ConsumerKey(7))));
        }
    });
}

#[test]
fn a_forged_reply_address_is_refused_and_one_of_a_gone_consumer_leads_nowhere() {
    on_every_node(3, |c| {
        let (a, b) = (c.connect(0), c.connect(1));
        let address = replies(c, a, ONE, 1);
        for place in 25..address.len() {
            let mut forged = address.clone().into_string().into_bytes();
            forged[place] = if forged[place] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            let result = c.send(b, &publish("", &forged, "m"));
            assert_eq!(result, Err(Refusal::NoSuchReplyConsumer), "{place}");
        }
        let other = replies(c, a, TWO, 2);
        c.done(a, Command::CloseChannel);
        assert_eq!(c.fate(b, publish("", &address, "m")), Fate::Stored);
        assert_eq!(c.offer(a, "", &address, "m"), Fate::Returned);
        assert!(c.take(a).is_empty());
        assert_eq!(c.fate(b, publish("", &other, "m")), Fate::Stored);
        assert_eq!(c.take(a).len(), 1);
        c.drop_connection(a);
        let new = c.connect(0);
        let mandatory = Publish { mandatory: true, ..publish("", &other, "m") };
        let sent = c.send(b, &mandatory).unwrap();
        assert!(matches!(sent, Published::Stored | Published::Unroutable));
        c.rest();
        assert!(!c.events(new).iter().any(|e| matches!(e, Event::Delivery(_))));
    });
}

#[test]
fn a_channel_that_asks_for_replies_again_and_again_has_one_address() {
    on_every_node(1, |c| {
        let a = c.connect(0);
        let first = replies(c, a, ONE, 1);
        for n in 2..50 {
            replies(c, a, ONE, n);
        }
        assert_eq!(c.brokers.iter().map(|b| b.replies.len()).sum::<usize>(), 1);
        assert_eq!(c.offer(a, "", &first, "m"), Fate::Returned);
    });
}

pub(super) fn users(write: &str, acl: Option<&str>) -> Users {
    let permission = Permission {
        configure: Pattern::Nothing,
        write: Pattern::parse(write).unwrap(),
        read: Pattern::Everything,
    };
    let hash = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";
    let password = Some(PasswordHash::parse(hash, None).unwrap());
    let permissions = vec![("/".into(), permission)];
    let user = User { name: "u".into(), password, tags: vec![], permissions };
    let acl = acl.map(|acl| Arc::new(Acl::parse(acl).unwrap()));
    Users::new([user], None).with_topic_rules(TopicRules { acl, ..TopicRules::default() }, false)
}

pub(super) fn login(users: &Users) -> Identity {
    users.login("u", b"guest", std::net::Ipv4Addr::LOCALHOST.into()).unwrap()
}

/// mqtt.md I-10
#[test]
fn each_topic_and_each_filter_is_asked_for_once_the_client_is_known() {
    on_every_node(1, |c| {
        let who = login(&users(".*", Some("pattern out/%c\ntopic read in/#\n")));
        let a = c.connect_as(0, &who);
        let at = c.seats[a.0].at.connection;
        let broker = c.broker_of(a);
        let write = Err(denied("write", Entity::Exchange, "amq.filter"));
        let read = Err(denied("read", Entity::Exchange, "amq.filter"));
        assert_eq!(broker.permit_topic(at, "any"), Ok(()), "no client: the user decides");
        broker.know_client(at, "c1");
        assert_eq!(broker.permit_topic(at, "out/c1"), Ok(()));
        assert_eq!(broker.permit_topic(at, "out/c2"), write);
        assert_eq!(broker.permit_filter(at, "in/+"), Ok(()));
        assert_eq!(broker.permit_filter(at, "#"), read);
        let nobody = c.connect_as(1, &identity("", "", ""));
        let at = c.seats[nobody.0].at.connection;
        assert_eq!(c.broker_of(nobody).permit_topic(at, "any"), write);
        assert_eq!(c.broker_of(nobody).permit_filter(at, "any"), read);
    });
}

/// mqtt.md V-223: without a restart, and without a new login.
#[test]
fn a_new_snapshot_of_users_holds_for_connections_that_are_there() {
    on_every_node(1, |c| {
        let first = users(".*", Some("topic a"));
        let a = c.connect_as(0, &login(&first));
        let at = c.seats[a.0].at.connection;
        c.broker_of(a).know_client(at, "c1");
        assert_eq!(c.fate(a, publish("amq.topic", "a", "m")), Fate::Stored);
        assert_eq!(c.broker_of(a).permit_topic(at, "a"), Ok(()));
        let now = c.now;
        c.broker_of(a).renew_users(&users("^amq.topic$", Some("topic b")), now);
        let broker = c.broker_of(a);
        assert!(broker.permit_topic(at, "a").is_err() && broker.permit_topic(at, "b").is_ok());
        assert_eq!(c.fate(a, publish("amq.topic", "b", "m")), Fate::Stored);
        let refused = c.send(a, &publish("amq.topic", "a", "m"));
        assert!(matches!(refused, Err(Refusal::KeyRefused { .. })), "{refused:?}");
        let now = c.now;
        c.broker_of(a).renew_users(&users("", None), now);
        assert!(c.broker_of(a).permit_topic(at, "b").is_err());
        let refused = c.send(a, &publish("amq.topic", "k", "m"));
        assert_eq!(refused, Err(denied("write", Entity::Exchange, "amq.topic")));
    });
}

#[test]
fn the_connection_of_a_user_who_is_gone_is_closed() {
    on_every_node(1, |c| {
        let a = c.connect_as(0, &login(&users(".*", None)));
        let now = c.now;
        c.broker_of(a).renew_users(&Users::default(), now);
        c.rest();
        assert!(
            matches!(c.events(a), [Event::Close { reason }] if &**reason == "user 'u' is deleted")
        );
    });
}

/// A right that is taken back stops who uses it, on whichever shard the queue lies.
#[test]
fn a_consumer_whose_user_may_not_read_any_more_is_ended_and_others_are_not() {
    on_every_node(1, |c| {
        for n in 0..3 {
            let (kept, lost) = (c.queue_on(n), c.queue_on(n + 1));
            let admin = c.connect(n);
            c.done(admin, queue(&kept, &[]));
            c.done(admin, queue(&lost, &[]));
            let a = c.connect_as(n + 2, &login(&users_reading(".*")));
            let (_, gone) = (c.consume(a, &kept, 1), c.consume(a, &lost, 1));
            let home = usize::from(c.seats[a.0].at.shard.0);
            let now = c.now;
            c.brokers[home].renew_users(&users_reading(&format!("^({kept}|none)$")), now);
            c.touch(home);
            c.rest();
            let ended = c.events(a).iter().filter(|e| matches!(e, Event::ConsumerGone { .. }));
            assert_eq!(ended.count(), 1, "{gone:?}");
            assert_eq!(c.offer(admin, "", &kept, "m"), Fate::Stored);
            assert_eq!(c.offer(admin, "", &lost, "m"), Fate::Stored);
            assert_eq!(bodies(&c.take(a)), ["m"]);
            assert_eq!(c.ready(admin, &lost), 1);
        }
    });
}

fn users_reading(read: &str) -> Users {
    let permission = Permission {
        configure: Pattern::Nothing,
        write: Pattern::Everything,
        read: Pattern::parse(read).unwrap(),
    };
    let hash = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";
    let password = Some(PasswordHash::parse(hash, None).unwrap());
    let permissions = vec![("/".into(), permission)];
    Users::new([User { name: "u".into(), password, tags: vec![], permissions }], None)
}

/// mqtt.md X-13
#[test]
fn keys_at_exchanges_of_topics_need_a_right_of_their_own() {
    on_every_node(1, |c| {
        let admin = c.connect(0);
        c.done(admin, exchange("news", "topic", &[]));
        c.done(admin, exchange("plain", "direct", &[]));
        c.done(admin, queue("q", &[]));
        let mut all = users_with_all();
        for exchange in ["amq.topic", "news"] {
            let own = TopicPermission::parse("u", ("/", exchange), "^w", "^r").unwrap();
            assert!(all.permit_topics("u", own));
        }
        let who = c.connect_as(1, &login(&all));
        let refusal = |access, exchange: &str, key: &str| {
            let (exchange, key) = (exchange.into(), key.into());
            Refusal::KeyRefused { access, exchange, key }
        };
        for exchange in ["amq.topic", "news"] {
            assert_eq!(c.fate(who, publish(exchange, "w.a", "m")), Fate::Stored);
            let refused = c.send(who, &publish(exchange, "r.a", "m"));
            assert_eq!(refused, Err(refusal("write", exchange, "r.a")));
            let more = Publish { hidden_keys: &["r.b"], ..publish(exchange, "w.a", "m") };
            assert_eq!(c.send(who, &more), Err(refusal("write", exchange, "r.b")));
            c.done(who, bind("q", exchange, "r.#"));
            c.done(who, unbind("q", exchange, "r.#"));
            let read = || refusal("read", exchange, "w.#");
            assert_eq!(c.refused(who, bind("q", exchange, "w.#")), read());
            assert_eq!(c.refused(who, unbind("q", exchange, "w.#")), read());
            assert_eq!(c.refused(who, link(exchange, "plain", "w.#")), read());
            c.done(who, link("plain", exchange, "w.#"));
        }
        c.done(who, bind("q", "plain", "w.#"));
        assert_eq!(c.fate(who, publish("plain", "r.a", "m")), Fate::Stored);
        assert!(c.send(who, &publish("amq.filter", "r/a", "m")).is_err());
    });
}

fn users_with_all() -> Users {
    let permission = Permission {
        configure: Pattern::Everything,
        write: Pattern::Everything,
        read: Pattern::Everything,
    };
    let hash = "UmluZ5mS4j6M3LeniS9RrNj1OHl+7xS5VnElz8P5tNz2+TN+";
    let password = Some(PasswordHash::parse(hash, None).unwrap());
    let permissions = vec![("/".into(), permission)];
    Users::new([User { name: "u".into(), password, tags: vec![], permissions }], None)
}
