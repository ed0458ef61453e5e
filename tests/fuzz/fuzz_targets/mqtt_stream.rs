//! Runs `fuzzing::mqtt_stream`: what it checks is said there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq::protocol::mqtt::wire::fuzzing;

fuzz_target!(|input: &[u8]| fuzzing::mqtt_stream(input));
