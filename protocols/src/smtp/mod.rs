//! SMTP: submission and relay (RFC 5321, RFC 6409).

pub mod transport;
