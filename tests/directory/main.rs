//! The directory of providers (RFC 6109 §4.5): fetched from a foreign HTTPS server that gives out what
//! `openssl cms` has signed, kept, doubted, published; and signing pairs that change while messages flow.

#[allow(dead_code, reason = "each test binary uses its own part of the support")]
#[path = "../support/mod.rs"]
mod support;

mod central;
mod fetching;
mod flowing;
mod publishing;
