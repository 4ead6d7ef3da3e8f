//! See `storage::fuzz::message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| storage::fuzz::message(input));
