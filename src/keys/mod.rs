//! The pairs of certificate and key that this provider signs with, and when.
//!
//! * [`ring`]: the pairs, kept in the data folder; which one signs at an instant, which certificates
//!   stand in the directory entry.
//! * [`watch`]: takes the next pair into use at its instant, and tells of what runs out.
//!
//! A certificate is renewed without a pause (RFC 6109 §4.5): the new pair joins the ring, its
//! certificate stands in the entry beside the old one until every provider has fetched it, then it
//! signs; the old certificate stays in the entry until its end, because what it signed is still on
//! its way.
//!
//! Not here: signatures (`trust::smime`), the entry (`directory`).

pub mod ring;
pub mod watch;
