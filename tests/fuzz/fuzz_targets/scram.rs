//! See `protocols::fuzz::scram`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::scram(input));
