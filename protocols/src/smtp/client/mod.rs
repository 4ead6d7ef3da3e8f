//! Hands messages to other servers (RFC 5321 §2.1).
