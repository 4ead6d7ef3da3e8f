//! Hostile and broken input against two real providers: each gets the standard's error, nothing is
//! lost, nothing is smuggled in, others are served, memory stays bounded.

#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/mod.rs"]
mod support;

mod connections;
mod logins;
mod mailboxes;
mod notices;
mod octets;
mod relay;
mod smuggling;
mod space;
mod wire;
mod world;

/// Fails unless `reply` begins with `code`, which ends where a digit may not follow.
#[track_caller]
fn assert_reply(reply: &str, code: &str, what: &str) {
    let rest = reply.strip_prefix(code);
    assert!(rest.is_some_and(|rest| rest.starts_with(' ')), "{what}: {reply:?} is no {code}");
}

/// Fails unless the last of `lines` begins with `response`.
#[track_caller]
fn assert_tagged(lines: &[String], response: &str) {
    let last = lines.last().map(String::as_str).unwrap_or_default();
    assert!(last.starts_with(&format!("zq7 {response}")), "{lines:?} ends with no {response}");
}

/// Octets without sense, the same in every run.
fn rubbish(count: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut octet = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| octet()).collect()
}
