//! Where the points ask about the content of a message, before they take it.
//!
//! * Without a verdict on the whole message nothing is taken: the peer comes again (451).
//! * A message is checked from where it waits, before it takes memory that others are waiting for.
//!
//! Not here: the checks ([`crate::content`]), what follows from a verdict (`access_point`,
//! `incoming_point`).

use std::sync::Arc;

use protocols::smtp::transport::{Peer, Refusal};

use super::{engine::PecEngine, refusals};
use crate::{
    content::{CheckError, Checker, Content, Passage, Verdict},
    sources::Source,
};

/// How a message came.
pub(super) fn passage(peer: &Peer, reverse_path: &str, recipients: Vec<String>) -> Passage {
    Passage {
        address: peer.address,
        helo: peer.helo.clone(),
        reverse_path: reverse_path.to_owned(),
        recipients,
    }
}

/// Looks for viruses in `message`; the name of the one that was found.
///
/// # Errors
///
/// When it is not known whether there is one.
pub(super) async fn scan(
    engine: &PecEngine,
    message: Content<'_>,
    passage: &Passage,
    source: Source,
) -> Result<Option<String>, Refusal> {
    let Some(antivirus) = engine.antivirus() else { return Ok(None) };
    match antivirus.check(message, passage, source).await {
        Ok(Verdict::Clean | Verdict::Noted(_)) => Ok(None),
        Ok(Verdict::Found(threat)) => {
            tracing::warn!(peer = %passage.address, sender = passage.reverse_path, threat, "a message with a virus");
            Ok(Some(threat))
        }
        Ok(Verdict::Later(_)) => Err(refusals::not_checked_now()),
        Err(error) => Err(refusals::not_checked(&error)),
    }
}

/// What becomes of ordinary mail that could not be checked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum WhenUnavailable {
    /// It comes again.
    #[default]
    Defer,
    /// It is taken; its envelope says that it was not checked.
    Accept,
}

/// The filter of ordinary mail.
#[derive(Clone, Debug)]
pub struct SpamFilter {
    /// Who is asked.
    pub checker: Arc<Checker>,
    /// What holds when he does not answer.
    pub when_unavailable: WhenUnavailable,
}

impl SpamFilter {
    /// What the envelope shall say of `message`; refuses what must not pass.
    pub(super) async fn examine(
        &self,
        message: bytes::Bytes,
        passage: &Passage,
    ) -> Result<String, Refusal> {
        let source = Source::at(passage.address);
        match self.checker.check(Content::Memory(message), passage, source).await {
            Ok(Verdict::Clean) => Ok("No".to_owned()),
            Ok(Verdict::Noted(said)) => Ok(said),
            Ok(Verdict::Found(_)) => Err(refusals::unwanted()),
            Ok(Verdict::Later(_)) => Err(refusals::unwanted_now()),
            Err(error) => self.unavailable(&error),
        }
    }

    fn unavailable(&self, error: &CheckError) -> Result<String, Refusal> {
        match self.when_unavailable {
            WhenUnavailable::Defer => Err(refusals::not_checked(error)),
            WhenUnavailable::Accept => {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "ordinary mail is taken without the filter"
                );
                Ok("Unknown, the filter did not answer".to_owned())
            }
        }
    }
}
