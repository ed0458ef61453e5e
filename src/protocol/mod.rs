//! The protocols the broker speaks: one folder each, equal in rank, and what their codecs share.

pub mod octets;
