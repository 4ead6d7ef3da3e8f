//! See `storage::fuzz::catalog_records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| storage::fuzz::catalog_records(input));
