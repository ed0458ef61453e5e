//! Runs `fuzzing::mqtt_session`: what it checks is said there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq::protocol::mqtt::fuzzing;

fuzz_target!(|input: &[u8]| fuzzing::mqtt_session(input));
