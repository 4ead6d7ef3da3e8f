//! See `ceralacca::fuzz::ldif`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| ceralacca::fuzz::ldif(input));
