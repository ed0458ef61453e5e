//! Names of one virtual host: its exchanges (all of them, on every shard) and the queues that this
//! shard owns. May import `ids`.

use std::collections::HashMap;
use std::rc::Rc;

use crate::ids::{ExchangeId, QueueId};

/// One per virtual host and shard.
#[derive(Debug)]
pub(super) struct Vhost {
    pub(super) name: Rc<str>,
    pub(super) exchanges: HashMap<Box<str>, ExchangeId, ahash::RandomState>,
    pub(super) queues: HashMap<Box<str>, QueueId, ahash::RandomState>,
}

impl Vhost {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.into(), exchanges: HashMap::default(), queues: HashMap::default() }
    }
}
