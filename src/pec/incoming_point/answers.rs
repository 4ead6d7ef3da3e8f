//! What comes back to a holder of ours because of what he sent: receipts that hold it, and the reports of
//! servers of ordinary mail that could not deliver it.
//!
//! # Receipts
//!
//! What comes because of a holder's own message reaches him whatever room he has, and is *owed* to him: it is
//! about a transmission of his account, or of a kind that goes between providers and for the service mailbox, and
//! nobody has put anything around what is signed. Anybody may send a genuine receipt to anybody: to all others it
//! is mail like other mail.
//!
//! A complete delivery receipt holds the holder's own message, which was looked at when he sent it. Should a
//! virus be seen in it by now, refusing the receipt would take the proof of delivery from him and protect him
//! from his own file. It passes only when all of this holds:
//!
//! * it is a delivery receipt, owed to everybody to whom it goes;
//! * its signer manages the recipient that it speaks of, who is one of the transmission;
//! * the message in it is the one that was sent, octet for octet;
//! * without that message nothing is found in it.
//!
//! # Reports
//!
//! Who takes certified mail only may still write to ordinary addresses (RFC 6109 §2.1), and nobody certifies that
//! such a message did not arrive: the report of the other server (RFC 3464) is all that he hears. It comes
//! unsigned, from the null reverse path, and returns the Message-ID of the envelope, which is the PEC msgid.
//!
//! Not here: the signature (`incoming_point`), what becomes of all others (`arrival`).

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use protocols::smtp::transport::Refusal;
use storage::ids::AccountId;
use trust::{digest::Sha256Digest, smime::structure::SignedMessage};

use super::{Judged, arrival::Arrival};
use crate::{
    content::{Content, Passage},
    pec::{
        address::Address,
        artefacts,
        classify::ReceivedNotice,
        content,
        daticert::{CertificationData, Event},
        distribution::{find_transmission, is_meant_for, recipient_rows},
        engine::{PecEngine, PecError},
        header::Header,
        records::{RecipientAsked, TransmissionId, TransmissionRecord},
        refusals,
    },
    sources::Source,
};

/// Octets that may stand before the first boundary, or after the last: the sentence that mail programs put
/// there for readers without S/MIME. Nothing that runs is as short.
const SENTENCE_OCTETS_MAX: usize = 64;

/// A valid receipt or notice.
#[derive(Debug)]
pub(super) struct Receipt {
    data: CertificationData,
    /// Where the message that it includes stands in the whole.
    included: Option<Range<usize>>,
    /// Nothing to speak of stands around what is signed.
    is_bare: bool,
}

impl Receipt {
    /// What `notice` says, which is what is `signed` in `octets`.
    pub(super) fn read(octets: &[u8], signed: &SignedMessage, notice: ReceivedNotice) -> Self {
        let start = signed.entity.start;
        let included = notice.included.map(|at| start + at.start..start + at.end);
        let is_bare = [&signed.preamble, &signed.epilogue].into_iter().all(|range| {
            let text = octets.get(range.clone()).unwrap_or_default().trim_ascii();
            text.len() <= SENTENCE_OCTETS_MAX
        });
        Self { data: notice.data, included, is_bare }
    }
}

/// Those of `recipients` to whom the message is not owed, when it is a receipt or notice.
pub(super) async fn not_owed(
    engine: &PecEngine,
    judged: &Judged,
    recipients: &[(String, RecipientAsked)],
) -> Result<Vec<String>, Refusal> {
    let Some(receipt) = &judged.receipt else { return Ok(Vec::new()) };
    let looked_at = async {
        let transmission =
            find_transmission(engine, receipt.data.facts.identifier.as_str()).await?;
        let sender = transmission.map(|(_, record)| AccountId(record.account_id));
        let mut not_owed = Vec::new();
        for (recipient, _) in recipients {
            let event = &receipt.data.event;
            if !(receipt.is_bare && is_meant_for(engine, event, sender, recipient).await?) {
                not_owed.push(recipient.clone());
            }
        }
        Ok::<_, PecError>(not_owed)
    };
    looked_at.await.map_err(|error| refusals::engine(&error))
}

/// What was found in a receipt that is owed to all its recipients: nothing, when `threat` is in the message alone
/// that it brings back.
pub(super) async fn threat_of_its_own(
    engine: &Arc<PecEngine>,
    judged: &Judged,
    octets: &Bytes,
    passage: &Passage,
    threat: Option<String>,
) -> Result<Option<String>, Refusal> {
    let brought = brought_back(engine, judged, octets).await;
    let Some(Range { start, end }) = brought.map_err(|error| refusals::engine(&error))? else {
        return Ok(threat);
    };
    let around = [&octets[..start], &octets[end..]].concat();
    let source = Source::at(passage.address);
    content::scan(engine, Content::Memory(around.into()), passage, source).await
}

/// Where the message stands that a delivery receipt brings back, if it is the one that was sent.
async fn brought_back(
    engine: &Arc<PecEngine>,
    judged: &Judged,
    octets: &Bytes,
) -> Result<Option<Range<usize>>, PecError> {
    let Some(receipt) = &judged.receipt else { return Ok(None) };
    let (Event::Delivery { recipient, .. }, Some(included)) =
        (&receipt.data.event, &receipt.included)
    else {
        return Ok(None);
    };
    let identifier = receipt.data.facts.identifier.as_str();
    let Some((id, transmission)) = find_transmission(engine, identifier).await? else {
        return Ok(None);
    };
    if !speaks_for(engine, &judged.provider, recipient)
        || !is_recipient(engine, id, &transmission, recipient).await?
    {
        return Ok(None);
    }
    let Some(original) = artefacts::original(&**engine.store().engine(), id).await? else {
        return Ok(None);
    };
    let brought = octets.slice(included.clone());
    let digest = engine.compute(move || Sha256Digest::of(&brought)).await?;
    Ok((original.digest == digest.0).then(|| included.clone()))
}

/// Whether `provider` manages the address `recipient`.
fn speaks_for(engine: &PecEngine, provider: &str, recipient: &str) -> bool {
    let directory = engine.directory();
    Address::parse(recipient).is_ok_and(|address| {
        let manager = directory.provider_of_domain(address.domain());
        manager.is_some_and(|manager| manager.is_of(provider))
    })
}

async fn is_recipient(
    engine: &PecEngine,
    id: TransmissionId,
    transmission: &TransmissionRecord,
    recipient: &str,
) -> Result<bool, PecError> {
    let wanted = Address::parse(recipient).ok();
    let rows = recipient_rows(engine, id, transmission.recipients).await?;
    Ok(rows
        .iter()
        .any(|(_, _, row)| wanted.is_some() && Address::parse(&row.address).ok() == wanted))
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
