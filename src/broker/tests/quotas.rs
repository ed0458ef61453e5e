//! Limits of virtual hosts and users: exact for clients that come one after the other, whichever
//! shards they come to.

use super::client::*;
use super::cluster::{Cluster, VHOST, identity, on_every_node};
use crate::broker::Most;
use crate::command::Refusal;

fn limit_vhost(c: &mut Cluster, connections: Option<u32>, others: Option<u32>) {
    for shard in 0..c.brokers.len() {
        assert!(c.brokers[shard].limit_vhost(VHOST, Most { connections, others }));
        c.touch(shard);
    }
    c.rest();
}

fn limit_user(c: &mut Cluster, connections: Option<u32>, others: Option<u32>) {
    for shard in 0..c.brokers.len() {
        c.brokers[shard].limit_user("u", Most { connections, others });
        c.touch(shard);
    }
    c.rest();
}

fn come(c: &mut Cluster, n: usize) -> Result<Client, Refusal> {
    let came = c.connect_in(c.home(n), &identity(".*", ".*", ".*"), VHOST);
    c.rest();
    came
}

fn text(refused: Result<Client, Refusal>) -> String {
    match refused {
        Err(Refusal::LimitReached(text)) => text.into(),
        other => panic!("{other:?}"),
    }
}

/// amqp.md S22
#[test]
fn the_connection_after_the_last_one_allowed_in_a_virtual_host_is_refused() {
    on_every_node(1, |c| {
        let first = come(c, 0).unwrap();
        limit_vhost(c, Some(3), None);
        let more = [come(c, 1).unwrap(), come(c, 2).unwrap()];
        let wanted = "access to vhost '/' refused for user 'u': connection limit (3) is reached";
        for n in 0..4 {
            assert_eq!(text(come(c, n)), wanted);
        }
        c.drop_connection(first);
        c.rest();
        let last = come(c, 1).unwrap();
        assert_eq!(text(come(c, 2)), wanted);
        // Lowered under what there is, it closes nobody.
        limit_vhost(c, Some(0), None);
        assert!(text(come(c, 0)).contains("(0)"));
        c.drop_connection(last);
        c.drop_connection(more[0]);
        limit_vhost(c, None, None);
        assert!(come(c, 0).is_ok());
    });
}

/// amqp.md R57
#[test]
fn a_user_has_only_so_many_connections_and_channels() {
    on_every_node(1, |c| {
        let (a, b) = (come(c, 0).unwrap(), come(c, 1).unwrap());
        let open = |c: &mut Cluster, client: Client| {
            let at = c.seats[client.0].at.connection;
            let opened = c.broker_of(client).open_channel(at);
            c.rest();
            opened
        };
        assert_eq!(open(c, a), Ok(()));
        limit_user(c, Some(2), Some(3));
        let wanted = "connection refused for user 'u': user connection limit (2) is reached";
        assert_eq!(text(come(c, 2)), wanted);
        assert_eq!((open(c, b), open(c, b)), (Ok(()), Ok(())));
        let wanted = "number of channels opened for user 'u' has reached the maximum allowed user \
                      limit of (3)";
        assert_eq!(open(c, a), Err(Refusal::LimitReached(wanted.into())));
        c.drop_connection(b);
        c.rest();
        assert_eq!((open(c, a), open(c, a)), (Ok(()), Ok(())));
        assert!(open(c, a).is_err());
        c.execute(a, crate::command::Command::CloseChannel);
        c.rest();
        assert_eq!(open(c, a), Ok(()));
        limit_user(c, None, None);
        assert_eq!(open(c, a), Ok(()));
    });
}

/// amqp.md L62
#[test]
fn the_queue_after_the_last_one_allowed_in_a_virtual_host_is_refused() {
    on_every_node(1, |c| {
        let a = come(c, 0).unwrap();
        let names: Vec<String> = (0..5).map(|n| c.queue_on(n)).collect();
        c.done(a, queue(&names[0], &[]));
        limit_vhost(c, None, Some(3));
        c.done(a, queue(&names[1], &[]));
        c.done(a, queue(&names[2], &[]));
        c.rest();
        let wanted = |name: &str| {
            format!("cannot declare queue '{name}': queue limit in vhost '/' (3) is reached")
        };
        for name in &names[3..] {
            let refused = c.refused(a, queue(name, &[]));
            assert_eq!(refused, Refusal::LimitReached(wanted(name).into()));
        }
        // One that is there is no new one.
        c.done(a, queue(&names[2], &[]));
        c.done(a, delete_queue(&names[0]));
        c.rest();
        c.done(a, queue(&names[4], &[]));
        c.rest();
        assert!(matches!(c.refused(a, queue(&names[3], &[])), Refusal::LimitReached(_)));
        limit_vhost(c, None, None);
    });
}
