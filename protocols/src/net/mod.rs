//! Listening sockets, TLS and the limits that every protocol shares.
//!
//! * [`listener`]: the accept loop, [`serve`]: bounded connections, hand-over to sessions,
//!   graceful stop.
//! * [`limits`]: how many connections, in all, by door, by source and by network.
//! * [`proxy`]: who stands behind a load balancer.
//! * [`tls`]: the server's certificate (reloadable) and the client's side of TLS.
//! * [`dane`]: certificates against what DNS says of a server.
//! * [`start_tls`]: the way from a connection in the clear to TLS that IMAP and POP3 share.
//! * [`stream`]: one connection, in the clear or under TLS.
//!
//! Not here: what is said over the connection (`smtp`, `imap`, `pop3`).

pub mod dane;
pub mod limits;
pub mod listener;
pub mod proxy;
pub mod start_tls;
pub mod stream;
pub mod tls;

pub use listener::{Connection, Listener, SessionHandler, serve};
