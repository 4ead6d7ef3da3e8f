//! See `protocols::fuzz::data`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::data(input));
