//! The registry on a real SQLite file: accounts, owners, domains, the outbox, two processes, and a session
//! that watches the store.

mod accounts;
mod fixture;
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/issuer.rs"]
mod issuer;
mod logins;
mod operators;
mod outbox;
mod processes;
mod tokens;
mod watching;
