//! SMTP: submission and relay (RFC 5321, RFC 6409).
//!
//! * [`grammar`]: commands, paths and replies as types; no I/O.
//! * [`server`]: sessions on ports 465, 587 and 25; a message goes to a [`transport`].
//! * [`client`]: hands one message to another server.
//! * [`transport`]: what the server asks of the rest of the program.
//!
//! Not here: queues, retries, routes and DNS, and every rule of certified mail.

pub mod client;
pub mod grammar;
pub mod server;
pub mod transport;
mod wire;
