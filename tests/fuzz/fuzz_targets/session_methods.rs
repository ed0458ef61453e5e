//! Runs `fuzzing::session_methods`: what it checks is said there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq::protocol::amqp091::fuzzing;

fuzz_target!(|input: &[u8]| fuzzing::session_methods(input));
