//! Mailboxes over IMAP, with the real store and real sockets, against two judges.
//!
//! * [`dovecot`]: command scripts by seed run against this server and Debian's Dovecot at once.
//! * [`crowd`]: 20 clients at once on the same mailboxes, each held against a model.

mod crowd;
mod dovecot;
mod draw;
mod messages;
mod server;
mod value;
mod wire;

use ceralacca::mail_access::StoreMailAccess;
