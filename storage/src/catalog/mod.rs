//! The catalog: the ordered key-value space with everything that is not chunk octets.
//!
//! * [`engine`]: the trait of what keeps it. [`rocksdb`] is the default engine, [`simulated`] the
//!   one of the tests.
//! * [`pages`]: scans of more than one page, bounded by entries and octets.
//! * [`commit`]: what every engine does with a batch before it writes.
//! * [`format`]: which format the catalog has, and what raises it.
//! * [`keys`], [`records`]: families, layouts of keys, values.

pub mod commit;
#[cfg(test)]
pub(crate) mod contract;
pub mod engine;
pub mod format;
pub mod keys;
pub mod pages;
pub mod records;
pub mod rocksdb;
pub mod simulated;
