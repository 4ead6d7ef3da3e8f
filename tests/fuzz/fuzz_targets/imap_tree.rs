//! See `protocols::fuzz::imap_tree`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| protocols::fuzz::imap_tree(input));
