//! See `ceralacca::fuzz::signed`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ceralacca::fuzz::signed(input));
