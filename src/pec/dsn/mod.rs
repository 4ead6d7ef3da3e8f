//! Delivery status notifications (RFC 3464): what a sender is told of recipients outside certified
//! mail, and what a sender outside certified mail is told of mailboxes here.
//!
//! Certified mail has receipts and notices of its own, which the rules demand and nobody can waive:
//! for certified recipients nothing here is ever made, whatever NOTIFY says. Invariants:
//!
//! * A report is made only when the sender has asked for it, or has not said that he wants none
//!   (RFC 3461 §5.2), and never about a message from the null reverse path: nothing answers an
//!   answer (RFC 3461 §6).
//! * A report goes from the null reverse path, and is signed like everything that the provider
//!   issues (RFC 6109 §2.1).
//! * The report, the recipients' new states and the end of the duty are one batch.
//!
//! Files: `incoming` reports on messages from outside, `message` has the form.
//!
//! Not here: which recipients have failed or are late (`relay`), parameters of SMTP
//! (`protocols::smtp::grammar::dsn`).

mod incoming;
mod message;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use protocols::smtp::{
    grammar::{EnvelopeId, Notify, OriginalRecipient, Ret},
    transport::RecipientDsn,
};
use storage::held::HeldMessage;
use trust::clock::UnixMillis;

pub use self::{
    incoming::{is_told, report_incoming},
    message::{Action, RecipientReport},
};
use super::{
    engine::{PecEngine, PecError},
    instant::CertifiedInstant,
    issue::{self, Issued},
    records::ReturnedPart,
};

/// What a report says.
#[derive(Clone, Debug)]
pub struct Report {
    /// To whom: the reverse path of the message.
    pub to: String,
    /// When the message was taken.
    pub arrived: UnixMillis,
    /// The sender's own name for the transaction.
    pub envelope_id: Option<String>,
    /// The subject of the message, decoded.
    pub subject: Option<String>,
    /// The Message-ID that the sender knows, with its brackets.
    pub message_id: Option<String>,
    /// What became of the recipients; all of one kind.
    pub action: Action,
    /// Whom it is about; one at least.
    pub recipients: Vec<RecipientReport>,
    /// Until when a delayed message is tried.
    pub retried_until: Option<UnixMillis>,
}

/// What of the message a report returns.
#[derive(Clone, Debug)]
pub enum Returned {
    /// All of it.
    Whole(Bytes),
    /// Its header.
    Header(Bytes),
}

/// Reads what a report returns of `held`: the whole only in a report of a failure, and only when
/// the sender has asked for it (RFC 3461 §4.3).
///
/// # Errors
///
/// When the store fails.
pub async fn returned(
    engine: &PecEngine,
    held: &HeldMessage,
    asked: ReturnedPart,
    action: Action,
) -> Result<Returned, PecError> {
    if asked == ReturnedPart::Full && action == Action::Failed {
        return Ok(Returned::Whole(engine.read_held(held).await?));
    }
    let mut octets = BytesMut::new();
    let header_max = engine.settings().header_octets_max as u64;
    while (octets.len() as u64) < held.size().min(header_max) {
        let position = octets.len() as u64;
        let piece = engine.store().octets().read(held.stored(), position..held.size()).await?;
        octets.extend_from_slice(&piece);
        if piece.is_empty() || end_of_header(&octets).is_some() {
            break;
        }
    }
    let end = end_of_header(&octets).unwrap_or(octets.len());
    octets.truncate(end);
    Ok(Returned::Header(octets.freeze()))
}

/// The octets of the header with its last line end.
fn end_of_header(octets: &[u8]) -> Option<usize> {
    octets.windows(4).position(|octets| octets == b"\r\n\r\n").map(|at| at + 2)
}

/// Makes a report and signs it.
///
/// # Errors
///
/// When the key cannot sign.
pub async fn report(
    engine: &Arc<PecEngine>,
    at: &CertifiedInstant,
    report: Report,
    returned: Returned,
) -> Result<Issued, PecError> {
    let (at, host) = (at.clone(), engine.host_name().to_owned());
    let embedded = match &returned {
        Returned::Whole(octets) | Returned::Header(octets) => octets.len() as u64,
    };
    issue::issue(engine, embedded, move |issuer| {
        issuer.status_notification(&report, &returned, &host, &at)
    })
    .await
}

/// What the records keep of what the sender asked about a recipient.
#[must_use]
pub fn kept(asked: Option<&RecipientDsn>) -> (u32, Option<String>) {
    asked.map_or((0, None), |asked| {
        (asked.notify.to_number(), asked.original.as_ref().map(ToString::to_string))
    })
}

/// What the sender asked about a recipient, as the records keep it.
#[must_use]
pub fn asked(notify: u32, original: Option<&str>) -> RecipientDsn {
    RecipientDsn {
        notify: Notify::from_number(notify),
        original: original.and_then(OriginalRecipient::from_text),
    }
}

/// RET as the records keep it.
#[must_use]
pub fn kept_ret(ret: Option<Ret>) -> ReturnedPart {
    match ret {
        None => ReturnedPart::Unspecified,
        Some(Ret::Full) => ReturnedPart::Full,
        Some(Ret::Headers) => ReturnedPart::Headers,
    }
}

/// RET and ENVID for the next server.
#[must_use]
pub fn passed_on(
    returned: ReturnedPart,
    envelope_id: Option<&str>,
) -> (Option<Ret>, Option<EnvelopeId>) {
    let ret = match returned {
        ReturnedPart::Unspecified => None,
        ReturnedPart::Full => Some(Ret::Full),
        ReturnedPart::Headers => Some(Ret::Headers),
    };
    (ret, envelope_id.and_then(EnvelopeId::from_text))
}
