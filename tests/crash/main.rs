//! Nothing acknowledged is lost and nothing is doubled when a provider is killed in the middle of
//! 200 transmissions from one to the other: the one that receives, or the one that sends. A restore
//! from a snapshot that is cut off in the same way ends, and brings each message back once.

mod exports;
mod lost_answers;
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/mod.rs"]
mod support;

mod outcome;
mod receiver;
mod restores;
mod sender;

/// Messages in flight while a provider is killed.
const TRANSMISSIONS: u64 = 200;
