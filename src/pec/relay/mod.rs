//! The relay: connections to other servers, and what follows from their answers.
//!
//! A connection has its place in a lane of the queue and sends one message after the other, as
//! their turns come. Invariants:
//!
//! * A recipient leaves the queue only in a batch that also records what became of it: relayed,
//!   or refused for good with the sender's notice.
//! * When the connection is lost before the final answer, the message stays in the queue: the
//!   receiver recognises a repeat (its `incoming_seen`), a loss nobody could mend. Once an answer
//!   was seen it is written down, however long the store takes, before anything else happens.
//! * A message that is older than the queue's lifetime counts as refused (RFC 6109 §2.2.2). Certified
//!   mail ends an hour before the day does, with the notice of that time (`time_limits`).
//! * A refused receipt or notice is journalled and ends there: nothing answers an answer.
//!
//! Files: `attempt` sends one message, `entry` settles its recipients, `tell` tells the sender.
//!
//! Not here: which message is due (`queue`), SMTP itself (`protocols::smtp::client`).

mod attempt;
mod entry;
mod tell;

use std::sync::Arc;

use protocols::{
    net::tls::TlsError,
    smtp::client::{ClientSettings, SmtpConnection},
};
use tokio::sync::watch;

use self::attempt::Attempted;
pub(super) use self::entry::{expire, hears_of_delay, tell_of_delay};
use super::{
    destination::Destinations,
    engine::PecEngine,
    queue::{IdleConnections, Place},
    tls_policy::TlsPolicies,
};

/// How messages leave: destinations and the SMTP client's names and times.
#[derive(Debug)]
pub struct Relay {
    /// Where mail of a domain goes.
    pub destinations: Destinations,
    /// What the client calls itself, and how long it waits.
    pub client: Arc<ClientSettings>,
    /// What TLS is asked for.
    pub tls: TlsPolicies,
    /// Connections kept for a moment.
    pub idle: IdleConnections,
}

impl Relay {
    /// A relay that keeps no idle connections and speaks in the clear: for routes on one machine.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn in_the_clear(
        destinations: Destinations,
        client: ClientSettings,
    ) -> Result<Self, TlsError> {
        Ok(Self {
            destinations,
            client: Arc::new(client),
            tls: TlsPolicies::in_the_clear()?,
            idle: IdleConnections::new(0, std::time::Duration::ZERO),
        })
    }
}

/// What a connection of a lane has at hand.
#[derive(Debug, Default)]
struct Line {
    connection: Option<SmtpConnection>,
    /// It has carried messages before, or has waited for one: the server may have closed it.
    used: bool,
    /// Messages that this connection has carried.
    carried: usize,
}

impl Line {
    /// Lets go of the connection, politely when it still works.
    async fn hang_up(&mut self) {
        self.used = false;
        self.carried = 0;
        if let Some(connection) = self.connection.take() {
            connection.quit().await;
        }
    }
}

/// Sends what waits in the lane of `place`, until nothing does, the destination does not answer or
/// `shutdown` turns true.
pub(super) async fn serve_lane(
    engine: &Arc<PecEngine>,
    relay: &Relay,
    place: Place,
    shutdown: &watch::Receiver<bool>,
) {
    let mut line = match relay.idle.take(place.lane()) {
        Some((connection, carried)) => Line { connection: Some(connection), used: true, carried },
        None => Line::default(),
    };
    // What is left at a stop is attempted at the next start.
    while !*shutdown.borrow() {
        let Some((id, class, claim)) = place.next(engine).await else { break };
        if line.carried >= engine.settings().messages_per_connection_max {
            line.hang_up().await;
        }
        match attempt::attempt(engine, relay, &place, id, &mut line, shutdown).await {
            Ok(Attempted::Settled(again)) => claim.release(again, engine.now()),
            Ok(Attempted::Unreachable { domain, failure }) => {
                if place.failed(engine, &domain, &failure).await {
                    place.give_back(claim, class);
                } else {
                    let again = entry::put_off(engine, id, &failure.reason).await;
                    claim.release(again, engine.now());
                }
                break;
            }
            Ok(Attempted::Lost { domain, failure, again }) => {
                place.failed(engine, &domain, &failure).await;
                claim.release(again, engine.now());
                break;
            }
            Err(error) => {
                tracing::warn!(%id, error = &error as &dyn std::error::Error, "attempt put off");
                let again = entry::put_off(engine, id, &error.to_string()).await;
                claim.release(again, engine.now());
            }
        }
    }
    match line.connection.take() {
        Some(open) if open.is_usable() && !*shutdown.borrow() => {
            // Kept before the place is free, so that the next in this lane finds it.
            let too_many = relay.idle.keep(place.lane(), open, line.carried);
            drop(place);
            if let Some(connection) = too_many {
                connection.quit().await;
            }
        }
        Some(spent) => spent.quit().await,
        None => {}
    }
}
