//! Tests of the codec as a whole; what concerns one file alone is in that file.
#![cfg(test)]

mod corpus;
mod frames;
mod methods;
mod octets_on_the_wire;
mod properties;
mod tables;
