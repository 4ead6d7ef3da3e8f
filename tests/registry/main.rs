//! The registry on a real SQLite file: accounts, owners, domains, the outbox, two processes, and a session
//! that watches the store.

mod accounts;
#[allow(dead_code, reason = "the list is shared with the tests of sessions")]
#[path = "../../protocols/tests/account/changing.rs"]
mod changing;
mod fixture;
mod instants;
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/issuer.rs"]
mod issuer;
mod logins;
mod operators;
mod outbox;
mod processes;
mod tokens;
mod watching;
