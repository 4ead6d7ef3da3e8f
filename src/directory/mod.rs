//! The directory of providers as this node gets it, keeps it and adds to it (RFC 6109 §4.5).
//!
//! * [`keeper`]: what is in use: this provider's own entry, the fetched copy, entries of a file.
//! * [`own`]: what this provider says of itself; [`status`]: how things stand.
//! * [`fetch`]: one conditional GET of the whole directory over HTTPS.
//! * [`signed`]: the signature around it, and who may make it.
//! * [`changes`]: what a new copy changes, and when that is too much to be believed.
//! * [`copies`]: the copies in the data folder; [`past`]: what those of the days before were.
//! * [`publish`]: this provider's own entry, signed, at an HTTPS address.
//! * [`watch`]: the daily round.
//!
//! Invariants:
//!
//! * A fetched copy is used whole or not at all, and only after its signature, its signer and what
//!   it says were judged; what comes from disk is judged again (RFC 6109 §7).
//! * While no new copy can be had the last good one is used, however old.
//! * This provider is always in it, with the certificates that it signs with and the domains that it
//!   serves, whatever a copy says of it.
//!
//! Not here: entries and look-ups (`pec::directory`), LDIF (`pec::ldif`), signing pairs (`keys`).

pub mod changes;
pub mod copies;
pub mod fetch;
pub mod keeper;
mod own;
pub mod past;
pub mod publish;
pub mod signed;
pub mod status;
pub mod watch;
