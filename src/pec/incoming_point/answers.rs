//! What comes back to a holder of ours because of what he sent: receipts that hold it, and the reports of
//! servers of ordinary mail that could not deliver it.
//!
//! # Receipts
//!
//! A complete delivery receipt holds the holder's own message, which was looked at when he sent it. Should a
//! virus be seen in it by now, refusing the receipt would take the proof of delivery from him and protect him
//! from his own file. That is so only when all of this holds; anybody may send a genuine receipt again:
//!
//! * it is about a transmission of ours, and goes to the mailbox that sent that, or to the service mailbox when
//!   it is of a kind that goes there and holds no message;
//! * nobody has put anything around what is signed.
//!
//! # Reports
//!
//! Who takes certified mail only may still write to ordinary addresses (RFC 6109 §2.1), and nobody certifies that
//! such a message did not arrive: the report of the other server (RFC 3464) is all that he hears. It comes
//! unsigned, from the null reverse path, and returns the Message-ID of the envelope, which is the PEC msgid.
//!
//! Not here: the signature (`incoming_point`), what becomes of all others (`arrival`).

use std::sync::Arc;

use protocols::smtp::transport::Refusal;
use storage::ids::AccountId;
use trust::smime::structure::SignedMessage;

use super::{Judged, arrival::Arrival};
use crate::pec::{
    daticert::Event,
    distribution::find_transmission,
    engine::{PecEngine, PecError},
    header::Header,
    records::RecipientAsked,
    refusals,
};

/// Octets that may stand before the first boundary, or after the last: the sentence that mail programs put
/// there for readers without S/MIME. Nothing that runs is as short.
const SENTENCE_OCTETS_MAX: usize = 64;

/// Whether nothing to speak of stands around what is signed in `octets`.
pub(super) fn is_bare(octets: &[u8], signed: &SignedMessage) -> bool {
    [&signed.preamble, &signed.epilogue].into_iter().all(|range| {
        let text = octets.get(range.clone()).unwrap_or_default().trim_ascii();
        text.len() <= SENTENCE_OCTETS_MAX
    })
}

/// Whether the message is a receipt that may pass whatever it holds, for all of `recipients`.
pub(super) async fn brings_back(
    engine: &PecEngine,
    judged: &Judged,
    recipients: &[(String, RecipientAsked)],
) -> Result<bool, Refusal> {
    brings(engine, judged, recipients).await.map_err(|error| refusals::engine(&error))
}

async fn brings(
    engine: &PecEngine,
    judged: &Judged,
    recipients: &[(String, RecipientAsked)],
) -> Result<bool, PecError> {
    let Some(receipt) = &judged.receipt else { return Ok(false) };
    let identifier = receipt.facts.identifier.as_str();
    let Some((_, transmission)) = find_transmission(engine, identifier).await? else {
        return Ok(false);
    };
    let between_providers =
        matches!(receipt.event, Event::TakeCharge { .. } | Event::VirusDetection { .. });
    let service_mailbox = engine.issuer().service_address.as_str();
    for (recipient, _) in recipients {
        if between_providers && recipient.eq_ignore_ascii_case(service_mailbox) {
            continue;
        }
        match engine.store().account_by_address(recipient).await? {
            Some((account_id, _)) if account_id.0 == transmission.account_id => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// The most msgids that are looked for among the Message-IDs of a report.
const REPORTED_MAX: usize = 8;

/// The accounts whose transmissions the message, which is ordinary mail, reports on; none when it is no report.
pub(super) async fn reported_on(
    engine: &Arc<PecEngine>,
    arrival: &Arrival<'_>,
) -> Result<Vec<AccountId>, Refusal> {
    if !arrival.reverse_path.is_empty() {
        return Ok(Vec::new());
    }
    let octets = arrival.octets.slice(arrival.trace_octets..);
    let reported = async {
        let mut accounts = Vec::new();
        for identifier in engine.compute(move || returned_ids(&octets)).await? {
            let found = find_transmission(engine, &identifier).await?;
            accounts.extend(found.map(|(_, transmission)| AccountId(transmission.account_id)));
        }
        Ok::<_, PecError>(accounts)
    };
    reported.await.map_err(|error| refusals::engine(&error))
}

/// The Message-IDs, without brackets, that stand in the parts of a report.
fn returned_ids(octets: &[u8]) -> Vec<String> {
    let Ok((header, body)) = Header::parse(octets) else { return Vec::new() };
    let content_type = header.text("Content-Type").unwrap_or_default().to_ascii_lowercase();
    if !content_type.trim_start().starts_with("multipart/report") {
        return Vec::new();
    }
    let mut lines = octets.get(body..).unwrap_or_default().split(|octet| *octet == b'\n');
    let mut found: Vec<String> = Vec::new();
    while let (Some(line), true) = (lines.next(), found.len() < REPORTED_MAX) {
        let Some((name, value)) = line.split_at_checked("Message-ID:".len()) else { continue };
        if !name.eq_ignore_ascii_case(b"Message-ID:") {
            continue;
        }
        // A long one stands on a line of its own (RFC 5322 §2.2.3).
        let folded = value.trim_ascii().is_empty();
        let value = if folded { lines.next().unwrap_or_default() } else { value };
        let id = String::from_utf8_lossy(value.trim_ascii()).into_owned();
        let id = id.trim_matches(['<', '>']).to_owned();
        if !found.contains(&id) {
            found.push(id);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_it_returns_and_nothing_else_does() {
        let report = |kind: &str, returned: &str| {
            let text = format!(
                "Message-ID: <rapporto@posta.example>\r\nContent-Type: {kind}; boundary=x\r\n\r\n--x\r\n{returned}"
            );
            returned_ids(text.as_bytes())
        };
        let plain = "Message-ID: <a@pec.beta.example>\r\nSubject: x\r\nmessage-id:\r\n <b@pec.beta.example>\r\n";
        assert_eq!(report("Multipart/Report", plain), ["a@pec.beta.example", "b@pec.beta.example"]);
        assert!(report("multipart/mixed", plain).is_empty());
        let many: Vec<String> = (0..100).map(|at| format!("Message-ID: <{at}@x>\n")).collect();
        assert_eq!(report("multipart/report", &many.concat()).len(), REPORTED_MAX);
        assert!(report("multipart/report", "Message-ID:").iter().all(String::is_empty));
        assert!(returned_ids(b"\xff\xff").is_empty());
    }
}
