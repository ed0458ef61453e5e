//! A disk that is 100 % full: publishers are refused, everything that gives space back works, the
//! broker lives and starts, and when there is space again publishing goes on by itself.

use std::fs::{self, File};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use ringmq::protocol::amqp091::wire::method::{Basic, Connection, Method, Queue, exchange, queue};

use crate::body::{Id, make};
use crate::broker::Broker;
use crate::cycle::Run;
use crate::ledger::{Note, Outcome};
use crate::link::{Answer, Link, Next, PATIENCE, closed, declared};
use crate::support::methods::{declare, declare_exchange};
use crate::topology::{QUEUES, ROUTES, exchange_declared};

/// Size of the file system.
pub(crate) const DISK_MIB: u64 = 96;
/// Octets of a message: large, so that the disk is full soon.
const MESSAGE_BYTES: usize = 32 * 1024;
/// Messages after which the disk must have been full long ago.
const MESSAGES_MAX: u32 = 4 * 96 * 32;
/// Messages on their way at once: they fit in the buffers of a socket that nobody reads.
const WINDOW: usize = 8;
/// A queue that nobody uses, to be deleted while the disk is full.
const VICTIM: &str = "full-victim";

/// How publishing stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stop {
    /// The channel was closed with this code.
    Closed(u16),
    /// Messages were refused one by one.
    Refused,
    /// The broker said that it does not read any more.
    Blocked(String),
    /// Nothing was confirmed for a while.
    Stalled,
    /// The connection ended.
    Ended,
    /// It did not: all that was to be published is confirmed.
    All,
}

/// Publishes so many messages by this route, unless it is stopped.
fn publish(run: &mut Run, broker: &Broker, route: usize, count: u32) -> Stop {
    const STALL: Duration = Duration::from_secs(5);
    let publisher = run.ledger.new_publisher();
    let mut link = Link::open(broker.addr());
    if link.confirm_select() != Answer::Done(()) {
        return Stop::Ended;
    }
    let (mut next, mut open) = (0, std::collections::BTreeSet::new());
    let mut last = Instant::now();
    loop {
        if next == count && open.is_empty() {
            link.close();
            return Stop::All;
        }
        while next < count && open.len() < WINDOW {
            let id = Id { publisher, seq: next };
            run.ledger.take(vec![Note::Sent { id, route, priority: 0 }]);
            let there = &ROUTES[route];
            let body = make(id, MESSAGE_BYTES);
            link.publish(there.exchange, there.key, None, false, &body);
            open.insert(next);
            next += 1;
        }
        let received = match link.next(STALL.saturating_sub(last.elapsed())) {
            Next::Method(received) => received,
            Next::Message(_) => continue,
            Next::Silence => return Stop::Stalled,
            Next::End => return Stop::Ended,
        };
        if let Some(code) = closed(&received) {
            return Stop::Closed(code);
        }
        match received.method() {
            Some(Method::Connection(Connection::Blocked(blocked))) => {
                // What was on its way may still be confirmed; it need not be.
                return Stop::Blocked(blocked.reason.to_owned());
            }
            Some(Method::Basic(Basic::Nack(_))) => return Stop::Refused,
            Some(Method::Basic(Basic::Ack(ack))) => {
                last = Instant::now();
                let through = u32::try_from(ack.delivery_tag.saturating_sub(1)).unwrap_or(u32::MAX);
                let first = if ack.multiple { 0 } else { through };
                let confirmed: Vec<u32> = open.range(first..=through).copied().collect();
                for seq in confirmed {
                    open.remove(&seq);
                    run.ledger.take(vec![Note::Confirmed(Id { publisher, seq })]);
                }
            }
            _ => {}
        }
    }
}

/// The whole story; whether all was well is in the ledger.
pub(crate) fn story(run: &mut Run) {
    let mut broker = run.start();
    run.verify(&broker);
    make_victim(run, &broker);
    fill(run, &mut broker);
    let filler = fill_the_rest(run);
    alive(run, &mut broker, "the disk was filled to the last octet");
    let stop = publish(run, &broker, 0, 64);
    println!("publishing on a disk without a free octet: {stop:?}");
    alive(run, &mut broker, "publishing on a full disk");

    work_when_full(run, &mut broker);
    broker.kill();
    let mut broker = match run.try_start() {
        Ok(broker) => broker,
        Err(said) => {
            run.ledger.wrong("start", format!("on a full disk: {said}"));
            drop(fs::remove_file(&filler));
            run.start()
        }
    };
    println!("started on the full disk, or said why not");
    take(run, &broker, 1, 20);

    drop(fs::remove_file(filler));
    run.drain_all(&broker);
    println!("drained: {}", run.ledger.totals());
    resume(run, &broker);
    alive(run, &mut broker, "publishing again");
    broker.kill();
    let broker = run.start();
    run.verify(&broker);
    run.drain_all(&broker);
    if let Err(what) = broker.terminate() {
        run.ledger.wrong("ended", what);
    }
}

/// Publishes until the broker refuses.
fn fill(run: &mut Run, broker: &mut Broker) {
    let mut sent = 0;
    // Two queues of their own, and two that share each message.
    for route in [0, 1, 3].into_iter().cycle().take(3 * 64) {
        let count = MESSAGES_MAX / 64;
        let stop = publish(run, broker, route, count);
        sent += count;
        alive(run, broker, "filling the disk");
        if stop == Stop::All && sent < MESSAGES_MAX {
            continue;
        }
        println!("the disk is full: {stop:?}; {}", run.ledger.totals());
        match stop {
            Stop::All => {
                let mib = (u64::from(sent) * MESSAGE_BYTES as u64) >> 20;
                let what = format!("{mib} MiB were confirmed on a disk of {DISK_MIB} MiB");
                run.ledger.wrong("never refused", what);
            }
            Stop::Closed(406) | Stop::Refused | Stop::Blocked(_) => {}
            Stop::Closed(_) | Stop::Ended | Stop::Stalled => {
                run.ledger.wrong("refused", format!("a full disk was answered by {stop:?}"));
            }
        }
        return;
    }
}

/// Takes what the broker has left.
fn fill_the_rest(run: &mut Run) -> std::path::PathBuf {
    let path = run.lives.disk.root().join("filler");
    let mut file = File::create(&path).expect("a file");
    let mut bytes = 1 << 20;
    // Smaller and smaller pieces, until not even one sector fits: files have whole blocks.
    while bytes >= 512 {
        let is_written = file.write_all(&vec![1; bytes]).is_ok() && file.sync_data().is_ok();
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        if !is_written || length > DISK_MIB << 20 {
            bytes /= 2;
        }
    }
    path
}

fn alive(run: &mut Run, broker: &mut Broker, when: &str) {
    if let Some(status) = broker.ended() {
        // The state of a process that got SIGBUS says so.
        let what = format!("{when}: the broker ended: {status}; it said: {}", broker.log());
        println!("{}\n{what}", run.ledger.report());
        panic!("{what}");
    }
}

fn make_victim(run: &mut Run, broker: &Broker) {
    let mut link = Link::open(broker.addr());
    let method = queue::Declare { durable: true, ..declare(VICTIM) };
    let made = link.ask(&method, declared);
    link.publish("", VICTIM, None, false, &[7; 1000]);
    link.close();
    if made != Answer::Done(0) {
        run.ledger.wrong("definitions", format!("{VICTIM}: {made:?}"));
    }
}

/// Consuming, settling, purging and deleting work while nothing can be written.
fn work_when_full(run: &mut Run, broker: &mut Broker) {
    take(run, broker, 0, 20);
    alive(run, broker, "consuming on a full disk");
    let mut link = Link::open(broker.addr());
    let purge = queue::Purge { ticket: 0, queue: QUEUES[4], no_wait: false };
    let purged = link.ask(&purge, |method| {
        if let Method::Queue(Queue::PurgeOk(ok)) = method { Some(ok.message_count) } else { None }
    });
    println!("purged: {purged:?}");
    if matches!(purged, Answer::Done(_)) {
        run.ledger.purged(4);
    } else {
        run.ledger.wrong("full", format!("purging was answered by {purged:?}"));
    }
    let (ticket, if_unused, if_empty, no_wait) = (0, false, false, false);
    let delete = queue::Delete { ticket, queue: VICTIM, if_unused, if_empty, no_wait };
    let deleted = link
        .ask(&delete, |method| matches!(method, Method::Queue(Queue::DeleteOk(_))).then_some(()));
    if deleted != Answer::Done(()) {
        run.ledger.wrong("full", format!("deleting was answered by {deleted:?}"));
    }
    // A declaration may be refused; it must be answered.
    let exchange = exchange::Declare { durable: true, ..declare_exchange("full", "direct") };
    let declared = link.ask(&exchange, exchange_declared);
    println!("declaring on a full disk: {declared:?}");
    if declared == Answer::Unknown {
        run.ledger.wrong("full", "a declaration was not answered");
    }
    link.close();
    alive(run, broker, "purging and deleting on a full disk");
}

/// Consumes and accepts so many messages, as far as the queue has them.
fn take(run: &mut Run, broker: &Broker, queue: usize, count: u32) {
    let mut link = Link::open(broker.addr());
    let ready = match link.ready(QUEUES[queue]) {
        Answer::Done(ready) => ready,
        Answer::Refused(_) | Answer::Unknown => 0,
    };
    let count = count.min(ready);
    let mut taken = 0;
    if link.consume(QUEUES[queue], 10) == Answer::Done(()) {
        while taken < count {
            match link.next(PATIENCE) {
                Next::Message(message) => {
                    taken += 1;
                    let id = crate::body::check(&message.body);
                    let is_again = message.is_again;
                    let mut notes = vec![Note::Delivered { queue, id: id.clone(), is_again }];
                    let outcome = Outcome::Accept;
                    notes.extend(id.ok().map(|id| Note::Settled { queue, id, outcome }));
                    run.ledger.take(notes);
                    link.accept(message.tag, false);
                }
                Next::Method(_) => {}
                Next::Silence | Next::End => break,
            }
        }
    }
    println!("{}: took {taken} of {count}", QUEUES[queue]);
    if taken < count || count == 0 {
        let what = format!("{}: {taken} of {count} could be consumed", QUEUES[queue]);
        run.ledger.wrong("full", what);
    }
    // Not in good order: deliveries on their way are given back, as after a crash.
    link.close();
    run.ledger.next_part();
}

/// Publishing goes on, without a restart and within patience.
fn resume(run: &mut Run, broker: &Broker) {
    let deadline = Instant::now() + PATIENCE;
    let mut stop = Stop::Stalled;
    while Instant::now() < deadline {
        stop = publish(run, broker, 0, 20);
        if stop == Stop::All {
            println!("publishing has resumed");
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    run.ledger.wrong("full", format!("publishing has not resumed within {PATIENCE:?}: {stop:?}"));
}
