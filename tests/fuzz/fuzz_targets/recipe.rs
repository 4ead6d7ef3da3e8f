//! See `storage::fuzz::recipe`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| storage::fuzz::recipe(input));
