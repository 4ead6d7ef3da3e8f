//! The engine in process, without doors: messages go in through the points, and what is then in
//! mailboxes, queue, records and journal is what the rules ask for.
//!
//! The provider under test is Beta; Alfa and Gamma are other providers with keys of their own.

mod anomalies;
mod archive;
mod artefacts;
mod certified_only;
#[path = "../support/checkers.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
mod checkers;
mod checks;
mod disposal;
mod dsn;
mod duties;
mod dying;
mod erasure;
mod failures;
mod fairness;
mod filing;
mod filter;
mod incoming;
mod journal;
mod journal_damage;
mod journal_kept;
mod keeping;
mod letter;
mod limits;
mod local;
mod lost;
mod memory;
#[path = "../support/name_server.rs"]
#[allow(dead_code, reason = "each test binary uses its own part of the support")]
mod name_server;
mod network;
mod orders;
mod peer;
#[path = "../support/ports.rs"]
mod ports;
mod pressure;
mod provider;
mod queue;
mod receipts;
mod service_levels;
mod signing;
mod space;
mod subjects;
mod three_providers;
mod time_limits;
mod tls;
mod virus;
mod virus_notices;
