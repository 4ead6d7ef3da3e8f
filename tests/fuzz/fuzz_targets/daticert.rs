//! See `ceralacca::fuzz::daticert`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ceralacca::fuzz::daticert(input));
