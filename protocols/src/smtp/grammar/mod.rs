//! SMTP's words as types: commands, paths and replies (RFC 5321 §4.1, §4.2).
//!
//! Invariants:
//!
//! * A value of these types can be written to the wire as it is: no CR, LF or NUL can be in it,
//!   and what [`Command::encode`] writes, [`Command::parse`] reads as the same value.
//! * Parsing never panics and looks at one line, whose length the caller has bounded.
//!
//! `smtp-codec` reads and writes what it knows well; all of it passes through [`codec`]. It
//! rejects A-labels (`xn--…`), underscores in client names and most quoted pairs, hides
//! parameters, and does not tell an unknown command from a bad argument, so that domains, paths
//! and commands have a grammar of their own here.
//!
//! Not here: framing of lines ([`super::server`]), which command is allowed when.

mod codec;
pub mod command;
pub mod dsn;
pub mod path;
pub mod reply;

pub use command::{
    AuthArguments, Chunk, ClientName, Command, Parameter, Secret, SyntaxError, Verb,
};
pub use dsn::{EnvelopeId, Notify, OriginalRecipient, Ret};
pub use path::{Domain, ForwardPath, Mailbox, ReversePath};
pub use reply::{Extensions, Reply, ReplyLine, ServerReply};
