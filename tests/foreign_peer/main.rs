//! The program and a provider that nobody here wrote in Rust: `peer.py`, made from RFC 6109 alone with
//! Python's standard library and the `openssl` command. They exchange messages over real sockets and TLS,
//! the peer judges whatever it gets (`judge.py`), and each test says what users find in the end.
//!
//! Not here: what time brings about (`tests/engine/time_limits.rs`).

#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/mod.rs"]
mod support;

mod exchanges;
mod faults;
mod forged;
mod judge;
mod world;
