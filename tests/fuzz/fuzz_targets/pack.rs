//! See `storage::fuzz::pack`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| storage::fuzz::pack(input));
