//! What a fuzzer tries of SCRAM; see `crate::fuzz`.

use super::{ClientFirst, ScramVerifier};
use crate::net::stream::ChannelBindings;

/// The first message and the last, cut at a NUL, of any octets, are refused: nobody proves a password by
/// chance. The challenge is one line of printable ASCII that continues the client's nonce.
///
/// # Panics
///
/// When that is not so.
pub fn scram(input: &[u8]) {
    let (flags, input) = input.split_first().unwrap_or((&0, &[]));
    let mut messages = input.splitn(2, |octet| *octet == 0);
    let first = messages.next().unwrap_or_default();
    let last = messages.next().unwrap_or_default();
    let bindings = ChannelBindings {
        exporter: (flags & 1 == 1).then(|| vec![7; 32]),
        unique: (flags & 2 == 2).then(|| vec![8; 12]),
    };
    let Ok(first) = ClientFirst::read(first, flags & 4 == 4, &bindings) else { return };
    assert!((1..=254).contains(&first.login.len()) && !first.login.contains('\0'));
    let verifier = ScramVerifier {
        salt: b"sixteen octets..".to_vec(),
        iterations: 4_096,
        stored_key: [1; 32],
        server_key: [2; 32],
    };
    let challenged = first.answered(verifier, "3rfcNHYJY1ZVvWVs7j");
    let message = challenged.message();
    assert!(message.bytes().all(|octet| (0x21..0x7f).contains(&octet)), "{message}");
    assert!(message.contains("3rfcNHYJY1ZVvWVs7j,s=") && message.ends_with(",i=4096"));
    assert!(!matches!(challenged.conclude(last), Ok(Some(_))));
}
