//! Names of one virtual host: its exchanges (all of them, on every shard) and the queues that this
//! shard owns. May import `ids`.

use std::collections::HashMap;
use std::rc::Rc;

use crate::ids::{ExchangeId, QueueId};

/// One per virtual host and shard.
#[derive(Debug)]
pub(super) struct Vhost {
    /// Empty: it is gone, and its place stays.
    pub(super) name: Rc<str>,
    /// It is being deleted: nobody gets in, nothing is made.
    pub(super) is_leaving: bool,
    /// Of queues whose declaration does not say; `None`: that of the node.
    pub(super) queue_type: Option<Box<str>>,
    pub(super) exchanges: HashMap<Box<str>, ExchangeId, ahash::RandomState>,
    pub(super) queues: HashMap<Box<str>, QueueId, ahash::RandomState>,
}

impl Vhost {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            is_leaving: false,
            queue_type: None,
            exchanges: HashMap::default(),
            queues: HashMap::default(),
        }
    }
}
