//! See `protocols::fuzz::imap_command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::imap_command(input));
