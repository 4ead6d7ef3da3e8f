//! The program: PEC engine, registry, configuration, command line and wiring.
//!
//! * [`archive`]: old messages move into the archive by themselves.
//! * [`backup`]: checkpoints of the whole node elsewhere, and the way back.
//! * [`cli`]: the command line.
//! * [`config`]: the one file of settings.
//! * [`control`]: operations that commands ask of a running server or do themselves.
//! * [`demo`]: two providers on loopback, checked with public tools.
//! * [`directory`]: the directory of providers: fetched, kept, published.
//! * [`durable`]: files that are replaced as a whole.
//! * `fuzz`: what a fuzzer hands in, only in tests and under `cfg(fuzzing)`.
//! * [`http`]: the operations port; [`metrics_names`] and [`logging`] with it.
//! * [`keys`]: the pairs that the provider signs with.
//! * [`mail_access`]: the store as IMAP and POP3 see it.
//! * [`names`]: what DNS says, within bounds.
//! * [`oauth`]: logins by a token of an issuer.
//! * [`ordinary_mail`]: SPF, DKIM, DMARC and ARC of mail that is not certified.
//! * [`pec`]: certified mail, RFC 6109.
//! * [`registry`]: domains, owners, accounts, plans, credentials.
//! * [`serve`]: one process that is a whole provider.
//! * [`snapshots`]: runs over all accounts, signed; proof files.
//! * [`sources`]: who uses what others wait for, and shares of it.
//! * [`texts`]: what people read, in Italian and English.
//!
//! Not here: octets and mailboxes (`storage`), sessions (`protocols`), signatures (`trust`).

pub mod archive;
pub mod backup;
pub mod cli;
pub mod config;
pub mod content;
pub mod control;
pub mod demo;
pub mod directory;
pub mod durable;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
#[path = "../tests/formats/golden.rs"]
mod golden;
pub mod http;
pub mod keys;
pub mod logging;
pub mod mail_access;
pub mod metrics_names;
pub mod names;
pub mod oauth;
pub mod ordinary_mail;
pub mod pec;
pub mod registry;
pub mod serve;
pub mod service_levels;
pub mod snapshots;
pub mod sources;
pub mod texts;
