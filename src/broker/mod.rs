//! The protocol-neutral core; one broker per shard.
#![cfg_attr(
    not(test),
    expect(dead_code, reason = "the tables stand before the broker that calls them")
)]
pub(crate) mod binding;
pub(crate) mod exchange;
pub(crate) mod topic_tree;
