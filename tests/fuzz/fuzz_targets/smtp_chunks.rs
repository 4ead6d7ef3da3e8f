//! See `protocols::fuzz::chunks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::chunks(input));
