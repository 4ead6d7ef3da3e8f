//! What is promised about real disks and real processes, on RocksDB and a folder of objects.
//!
//! * [`killed`]: a process killed a hundred times loses nothing that it acknowledged.
//! * [`traced`]: every acknowledgement comes after the sync of what was written for it.
//! * [`erased`]: the octets of an erased message are in no file any more once the collector has run.
//! * [`shared`]: 32 tasks on shared accounts get exact UIDs, MODSEQs and usage.
//!
//! Each test that needs another process starts this one again, with a variable that says what to do.

mod erased;
mod killed;
mod ledger;
mod shared;
mod store;
mod trace;
mod traced;
mod worker;
