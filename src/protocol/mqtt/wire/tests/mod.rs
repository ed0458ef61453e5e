//! Tests of the codec as a whole; what concerns one file alone is in that file.
#![cfg(test)]
