//! The registry: domains, owners, accounts, plans, credentials, in one SQLite file.
//!
//! Invariants:
//!
//! * No mail transaction reads the registry. Every change to an account writes an [`outbox`] row in
//!   its own transaction; the store takes it over, each version once.
//! * An address and an account's number are never given twice, not even after closing.
//! * A password is kept as argon2id hash and SCRAM verifier only ([`credential`]).
//! * Several processes may have the file open (the server and a command): writers take turns, a
//!   reader never waits.
//!
//! Not here: messages and quotas in use (`storage`), which login may send as whom (`pec`).

pub mod account;
pub mod address;
pub mod authenticator;
mod back_up;

pub mod codes;
pub mod credential;
mod database;
pub mod domain;
mod error;
mod hashing;
mod login_source;
pub mod outbox;
pub mod owner;
pub mod password;
pub mod plan;
pub mod receipts;
pub(crate) mod recent;
mod secret;
mod space;
mod throttle;
mod told;

pub use database::Registry;
pub use error::{Entity, ErrorKind, RegistryError};
pub use told::Told;
