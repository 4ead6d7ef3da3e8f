//! The catalog: the ordered key-value space with everything that is not chunk octets.

pub mod engine;
