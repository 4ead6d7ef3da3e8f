//! See `storage::fuzz::walker`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| storage::fuzz::walker(input));
