//! The registry: domains, owners, accounts, plans, credentials.
//!
//! Not here: messages and quotas in use (`storage`), which login may send as whom (`pec`).

pub mod address;
pub mod plan;
