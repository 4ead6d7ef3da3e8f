//! See `protocols::fuzz::command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::command(input));
