//! Runs `transport::proxy_protocol::fuzz`: what it checks is said there.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| ringmq::fuzz_proxy_header(input));
