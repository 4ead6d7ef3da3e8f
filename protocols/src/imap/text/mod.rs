//! Octets of bodies without their transfer encoding: what SEARCH looks through and BINARY sends.
//!
//! * [`transfer_encoding`]: bodies (RFC 2045), streaming.
//!
//! Not here: letters and header values (`storage::text`), which parts are looked through
//! (`message::search`).

pub(crate) mod transfer_encoding;
