//! What is promised about real disks and real processes, on RocksDB and a folder of objects.
//!
//! * [`killed`]: a process killed a hundred times loses nothing that it acknowledged.
//! * [`traced`]: every acknowledgement comes after the sync of what was written for it.
//! * [`shared`]: 32 tasks on shared accounts get exact UIDs, MODSEQs and usage.
//!
//! Each test that needs another process starts this one again, with a variable that says what to do.

mod killed;
mod ledger;
mod shared;
mod store;
mod trace;
mod traced;
mod worker;
