//! IMAP4rev1 (RFC 3501) and the extensions that [`capability`](command::capability) lists.
//!
//! * [`frame`]: lines and literals. [`grammar`]: commands and responses as values and octets.
//! * [`session`]: states and their commands; [`command`]: one file per command.
//! * [`selected`]: the stable list of messages behind sequence numbers.
//! * [`message`]: envelopes, structures, sections, search. [`text`]: decoding for search.
//!
//! Invariants: a message is never held in memory; every buffer has a bound in [`ImapLimits`];
//! a tagged OK of a change goes out only after the change is durable.
//!
//! Not here: who may log in and what the mailboxes are ([`crate::access`]), sockets and TLS
//! ([`crate::net`]).

mod command;
mod completion;
mod enabled;
mod frame;
mod grammar;
mod limits;
mod message;
mod object_id;
mod selected;
mod server;
mod session;
mod text;

#[cfg(any(test, fuzzing))]
pub use grammar::encode::round_trip;
pub use limits::ImapLimits;
pub use server::{Server, ServerSettings};
