//! IMAP4rev1 (RFC 3501), IMAP4rev2 (RFC 9051) once it is enabled, and the extensions that
//! [`capability`](command::capability) lists.
//!
//! * [`frame`]: lines and literals. [`grammar`]: commands and responses as values and octets.
//! * [`session`]: states and their commands; [`command`]: one file per command.
//! * [`selected`]: the stable list of messages behind sequence numbers. [`found`]: what a search
//!   finds in it, and its answer. [`contexts`]: searches whose changes are told.
//! * [`progress`]: how far a long command is.
//! * [`notify`]: mailboxes whose changes are told. [`news`]: when anything is told unasked.
//! * [`message`]: envelopes, structures, sections, search, order and
//!   threads. [`text`]: decoding for search.
//!
//! Invariants: a message is never held in memory; every buffer has a bound in [`ImapLimits`];
//! a tagged OK of a change goes out only after the change is durable.
//!
//! Not here: who may log in and what the mailboxes are ([`crate::access`]), sockets and TLS
//! ([`crate::net`]).

mod command;
mod completion;
mod contexts;
mod enabled;
mod found;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod goodbye;
mod grammar;
mod limits;
mod message;
mod message_limit;
mod news;
mod notify;
mod object_id;
mod places;
mod progress;
mod resync;
mod selected;
mod server;
mod session;
mod snapshots;
mod text;

#[cfg(any(test, fuzzing))]
pub use grammar::encode_tree::round_trip;
#[cfg(any(test, fuzzing))]
pub use grammar::fuzz::imap_command;
pub use limits::ImapLimits;
pub use server::{Server, ServerSettings};
