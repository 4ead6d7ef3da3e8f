//! The engine in process, without doors: messages go in through the points, and what is then in
//! mailboxes, queue, records and journal is what the rules ask for.
//!
//! The provider under test is Beta; Alfa and Gamma are other providers with keys of their own.

mod anomalies;
mod disposal;
mod dsn;
mod duties;
mod erasure;
mod failures;
mod fairness;
mod incoming;
mod journal;
mod letter;
mod local;
mod memory;
mod network;
mod orders;
mod peer;
mod provider;
mod queue;
mod receipts;
mod space;
mod tls;
