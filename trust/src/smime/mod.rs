//! S/MIME `multipart/signed` (RFC 1847 §2.1, RFC 8551 §3.5.3).
//!
//! [`sign`] makes it, [`structure`] finds it in received octets, [`verify`] judges it. The signed
//! entity is a range of octets here: nobody parses it, nobody writes it anew.
//!
//! Not here: what PEC puts into the entity.

pub mod sign;
pub mod structure;
pub mod verify;

#[cfg(test)]
mod tests;
