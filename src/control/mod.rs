//! Operations that a person asks of a store: one implementation, run by the server that has the
//! store open, or by the command itself when no server runs.
//!
//! * An [`Operation`] is a typed request with progress and a typed outcome. To add one: implement
//!   the trait in [`operations`], name it in [`operations::served`], call it from a command.
//! * The server listens on `control.socket` in its data folder, a Unix socket that only its own
//!   user and root may use. HTTP/1.1: `POST /<name>` with the request in JSON; the answer is one
//!   JSON value a line (`application/x-ndjson`): `{"progress":…}` several times a second, then one
//!   `{"outcome":…}` or `{"error":…}`.
//! * Bounded: `limits.control_requests_max` operations at a time, `limits.http_timeout` to send a
//!   request, 64 KiB for it. An operation whose client goes away is cancelled.
//!
//! Not here: what people type and read (`cli`), what is done (`storage`).

mod client;
mod operation;
pub mod operations;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Connection, connect};
pub use operation::{Kind, Operation, OperationError, Progress, Run, Site};
pub use server::{ControlSocket, Operations};

/// Octets of a request's body.
const REQUEST_OCTETS_MAX: usize = 64 << 10;

/// One line of an answer.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Line<T> {
    /// How far the operation is.
    Progress(Progress),
    /// Octets of what the operation puts out, in base64.
    Octets(String),
    /// The last line: it is done.
    Outcome(T),
    /// The last line: it is not done.
    Error(OperationError),
}
