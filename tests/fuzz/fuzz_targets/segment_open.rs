//! Runs `segment_fuzzing::segment_open`: what it checks is said there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_shards::log::segment_fuzzing;

fuzz_target!(|input: &[u8]| segment_fuzzing::segment_open(input));
