//! The catalog: the ordered key-value space with everything that is not chunk octets.
//!
//! * [`engine`]: the trait of what keeps it. [`simulated`] is the engine of the tests.
//! * [`commit`]: what every engine does with a batch before it writes.

pub mod commit;
#[cfg(test)]
pub(crate) mod contract;
pub mod engine;
pub mod simulated;
