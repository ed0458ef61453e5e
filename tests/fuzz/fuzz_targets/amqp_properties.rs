//! Runs `fuzzing::amqp_properties`: what it checks is said there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq::protocol::amqp091::wire::fuzzing;

fuzz_target!(|input: &[u8]| fuzzing::amqp_properties(input));
