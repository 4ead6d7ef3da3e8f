//! Runs over all accounts.

pub mod record;
