//! What must hold of three providers when nothing is left to do.
//!
//! For each transmission and recipient: exactly one legal final state, and in the mailboxes exactly
//! the receipts, notices and envelopes that belong to it. For each provider: a journal without gaps
//! that names what was made once, and a store without violations.

use std::collections::{BTreeMap, BTreeSet};

use ceralacca::pec::{
    classify::{PecMessage, classify},
    daticert::Event,
    header::Header,
    records::{
        JOURNAL, JournalRecord, RecipientRecord, RecipientState, TRANSMISSION_RECIPIENTS,
        TRANSMISSIONS, TransmissionRecord, TransmissionState, decode,
    },
};
use storage::{catalog::engine::Scan, ids::AccountId, mailbox::view::MailboxView as _};
use trust::smime::structure::find_signed;

use crate::{node::Node, world::World};

/// A message in a mailbox.
#[derive(Clone, Debug)]
pub(crate) struct Filed {
    /// Of the holder.
    mailbox: &'static str,
    message_id: String,
    /// The identifier of the transmission that it speaks of.
    identifier: String,
    event: Event,
}

/// A transmission as its provider's records have it.
pub(crate) struct Transmission {
    record: TransmissionRecord,
    recipients: Vec<RecipientRecord>,
}

/// Everything that the providers have in the end.
pub(crate) struct Outcome {
    filed: Vec<Filed>,
    transmissions: Vec<Transmission>,
    /// Message-ID to the number of journal records that name it as made.
    made: BTreeMap<String, usize>,
}

/// Reads everything, and judges what concerns one provider alone.
pub(crate) async fn outcome(world: &World) -> Outcome {
    let mut outcome =
        Outcome { filed: Vec::new(), transmissions: Vec::new(), made: BTreeMap::new() };
    for node in &world.nodes {
        for holder in node.holders {
            read_mailbox(node, holder.id, holder.address, &mut outcome.filed).await;
        }
        read_transmissions(node, &mut outcome.transmissions).await;
        read_journal(node, &mut outcome.made).await;
        let report = node.machine().engine.store().check(&|_| {}).await.expect("check");
        assert_eq!(report.violations, [], "{}", node.name.name);
    }
    outcome
}

async fn read_mailbox(
    node: &Node,
    account: AccountId,
    mailbox: &'static str,
    filed: &mut Vec<Filed>,
) {
    let engine = &node.machine().engine;
    let account = engine.store().account(account).await.expect("an account");
    let inbox = account.mailbox_by_name("INBOX").await.expect("an INBOX");
    for row in inbox.rows().await.expect("rows").1 {
        let mut octets = Vec::new();
        while (octets.len() as u64) < row.size {
            let rest = octets.len() as u64..row.size;
            octets.extend_from_slice(&inbox.read(row.email_number, rest).await.expect("octets"));
        }
        let signed = find_signed(&octets).expect("a signed message");
        let entity = &octets[signed.entity.clone()];
        engine.verifier().verify(entity, &signed.signature, engine.now()).expect("valid");
        let (header, _) = Header::parse(&octets).expect("a header");
        let data = match classify(&header, entity) {
            PecMessage::TransportEnvelope(envelope) => envelope.data,
            PecMessage::Receipt(notice) => notice.data,
            PecMessage::Malformed(reason) => panic!("{mailbox}: {reason}"),
        };
        filed.push(Filed {
            mailbox,
            message_id: header.text("Message-ID").expect("a Message-ID"),
            identifier: data.facts.identifier.as_str().to_owned(),
            event: data.event,
        });
    }
}

async fn read_transmissions(node: &Node, transmissions: &mut Vec<Transmission>) {
    let catalog = node.machine().engine.store().engine();
    let scan = Scan::prefix(TRANSMISSIONS, b"", usize::MAX);
    for (key, value) in catalog.scan(&scan).await.expect("a scan") {
        let record = decode(TRANSMISSIONS, &key, &value).expect("a record");
        let scan = Scan::prefix(TRANSMISSION_RECIPIENTS, &key, usize::MAX);
        let rows = catalog.scan(&scan).await.expect("a scan");
        let read = |(key, value): &(bytes::Bytes, bytes::Bytes)| {
            decode(TRANSMISSION_RECIPIENTS, key, value).expect("a record")
        };
        transmissions.push(Transmission { record, recipients: rows.iter().map(read).collect() });
    }
}

async fn read_journal(node: &Node, made: &mut BTreeMap<String, usize>) {
    let catalog = node.machine().engine.store().engine();
    let rows = catalog.scan(&Scan::prefix(JOURNAL, b"", usize::MAX)).await.expect("a scan");
    for (number, (key, value)) in (1..).zip(&rows) {
        assert_eq!(key[8..], u64::to_be_bytes(number), "a gap in the journal");
        let record: JournalRecord = decode(JOURNAL, key, value).expect("a record");
        for message_id in record.related {
            *made.entry(message_id).or_default() += 1;
        }
    }
}

impl Outcome {
    /// Judges what several providers must have in common.
    pub(crate) fn judge(&self, world: &World) {
        self.judge_journals();
        self.judge_mailboxes();
        let known: BTreeSet<&str> =
            self.transmissions.iter().map(|of| of.record.identifier.as_str()).collect();
        for identifier in &world.answered {
            assert!(known.contains(identifier.as_str()), "{identifier} was answered and is lost");
        }
        for transmission in &self.transmissions {
            self.judge_transmission(world, transmission);
        }
    }

    /// Recipients of whom nothing was heard in time.
    pub(crate) fn expired(&self) -> usize {
        let recipients = self.transmissions.iter().flat_map(|of| &of.recipients);
        recipients.filter(|recipient| recipient.state() == RecipientState::Expired).count()
    }

    fn judge_journals(&self) {
        for (message_id, records) in &self.made {
            assert_eq!(*records, 1, "{message_id} is in the journals more than once");
        }
        for filed in &self.filed {
            let bare = filed.message_id.trim_matches(|sign| "<>".contains(sign));
            let named = self.made.contains_key(&filed.message_id) || self.made.contains_key(bare);
            assert!(named, "no journal tells of {filed:?}");
        }
    }

    /// Nothing is in a mailbox twice, and nothing speaks of a transmission that nobody knows.
    fn judge_mailboxes(&self) {
        let mut seen = BTreeSet::new();
        for filed in &self.filed {
            assert!(seen.insert((filed.mailbox, &filed.message_id)), "twice: {filed:?}");
            let known = |of: &Transmission| of.record.identifier == filed.identifier;
            assert!(self.transmissions.iter().any(known), "of nobody: {filed:?}");
        }
    }

    fn judge_transmission(&self, world: &World, transmission: &Transmission) {
        let Transmission { record, recipients } = transmission;
        assert_eq!(record.state(), TransmissionState::Accepted, "{record:?}");
        assert_eq!(recipients.len(), record.recipients as usize, "{record:?}");
        let about = |mailbox: &str| -> Vec<&Filed> {
            let of =
                |filed: &&Filed| filed.mailbox == mailbox && filed.identifier == record.identifier;
            self.filed.iter().filter(of).collect()
        };
        let heard = about(&record.sender);
        let accepted = heard.iter().filter(|filed| filed.event == Event::Acceptance).count();
        assert_eq!(accepted, 1, "acceptance receipts of {}", record.identifier);
        let home = world.node_of(&record.sender);
        let service = about(home.holders[2].address);
        for recipient in recipients {
            let envelopes = about(&recipient.address)
                .iter()
                .filter(|filed| matches!(filed.event, Event::TransportEnvelope { .. }))
                .count();
            let told = Told::of(&heard, &recipient.address);
            let charged = charges(&service, &recipient.address);
            let local = world.node_of(&recipient.address).name.name == home.name.name;
            let context = format!("{recipient:?} {told:?} {charged} {envelopes}");
            assert_eq!(
                (told.delivered, envelopes),
                (told.delivered.min(1), told.delivered),
                "{context}"
            );
            match recipient.state() {
                RecipientState::Delivered => {
                    assert_eq!((told.delivered, told.failed), (1, 0), "{context}");
                    assert_eq!(charged, usize::from(!local), "{context}");
                }
                RecipientState::Failed => {
                    assert_eq!((told.delivered, told.failed), (0, 1), "{context}");
                }
                RecipientState::Expired => {
                    assert_eq!((told.delivered, told.failed), (0, 0), "{context}");
                    assert!((1..=2).contains(&told.late), "{context}");
                }
                state => panic!("{state:?} is no end: {context}"),
            }
            let expired = recipient.state() == RecipientState::Expired;
            let late_max = 1 + usize::from(expired);
            assert!(told.late <= late_max, "{context}");
        }
    }
}

/// What a sender has been told of one recipient.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    delivered: usize,
    failed: usize,
    late: usize,
}

impl Told {
    fn of(heard: &[&Filed], address: &str) -> Self {
        let mut told = Self::default();
        for filed in heard {
            match &filed.event {
                Event::Delivery { recipient, .. } if recipient == address => told.delivered += 1,
                Event::DeliveryError { recipient, .. } if recipient == address => told.failed += 1,
                Event::TimeLimit { recipient: Some(recipient), .. } if recipient == address => {
                    told.late += 1;
                }
                _ => {}
            }
        }
        told
    }
}

/// How often the recipient's provider has taken charge of the message to `address`.
fn charges(service: &[&Filed], address: &str) -> usize {
    let covers = |filed: &&&Filed| match &filed.event {
        Event::TakeCharge { recipients } => recipients.iter().any(|covered| covered == address),
        _ => false,
    };
    service.iter().filter(covers).count()
}
