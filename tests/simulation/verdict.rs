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
    journal::JournalEvent,
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
    journals: Vec<JournalRecord>,
}

/// Reads everything, and judges what concerns one provider alone.
pub(crate) async fn outcome(world: &World) -> Outcome {
    let mut outcome = Outcome {
        filed: Vec::new(),
        transmissions: Vec::new(),
        made: BTreeMap::new(),
        journals: Vec::new(),
    };
    for node in &world.nodes {
        for holder in node.holders {
            read_mailbox(node, holder.id, holder.address, &mut outcome.filed).await;
        }
        read_transmissions(node, &mut outcome.transmissions).await;
        read_journal(node, &mut outcome).await;
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

async fn read_journal(node: &Node, outcome: &mut Outcome) {
    let catalog = node.machine().engine.store().engine();
    let rows = catalog.scan(&Scan::prefix(JOURNAL, b"", usize::MAX)).await.expect("a scan");
    for (number, (key, value)) in (1..).zip(&rows) {
        assert_eq!(key[8..], u64::to_be_bytes(number), "a gap in the journal");
        let record: JournalRecord = decode(JOURNAL, key, value).expect("a record");
        for message_id in &record.related {
            *outcome.made.entry(message_id.clone()).or_default() += 1;
        }
        outcome.journals.push(record);
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
        let home = world.node_of(&record.sender);
        let place =
            |mailbox: &str, kind: &str, about: &str| [mailbox, kind, about].map(str::to_owned);
        let mut expected = vec![place(&record.sender, "accettazione", "")];
        for recipient in recipients {
            let address = recipient.address.as_str();
            match recipient.state() {
                RecipientState::Delivered => {
                    expected.push(place(address, "posta-certificata", ""));
                    expected.push(place(&record.sender, "avvenuta-consegna", address));
                    if world.node_of(address).name.name != home.name.name {
                        expected.push(place(home.holders[2].address, "presa-in-carico", address));
                    }
                }
                // Nobody is there: his server says so before the message is sent, or ours does.
                RecipientState::Failed => {
                    expected.push(place(&record.sender, "errore-consegna", address));
                }
                RecipientState::Expired => {}
                state => panic!("{state:?} is no end: {recipient:?}"),
            }
            self.judge_notices(world, record, recipient);
            self.judge_journal_of(world, record, recipient);
        }
        let mut found = self.filed_about(&record.identifier);
        found.retain(|[_, kind, _]| kind != LATE);
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "{recipients:?}");
    }

    /// What is in the mailboxes about a transmission: mailbox, kind, recipient that it speaks of.
    fn filed_about(&self, identifier: &str) -> Vec<[String; 3]> {
        let mut found = Vec::new();
        for filed in self.filed.iter().filter(|filed| filed.identifier == identifier) {
            let about = match &filed.event {
                Event::Delivery { recipient, .. } | Event::DeliveryError { recipient, .. } => {
                    vec![recipient.clone()]
                }
                Event::TakeCharge { recipients } => recipients.clone(),
                Event::TimeLimit { recipient, .. } => vec![recipient.clone().expect("named")],
                _ => vec![String::new()],
            };
            let place = |about| [filed.mailbox.to_owned(), filed.event.kind().to_owned(), about];
            found.extend(about.into_iter().map(place));
        }
        found
    }

    /// Notices of the time limits: none before their hour, both for who was never heard of.
    fn judge_notices(&self, world: &World, record: &TransmissionRecord, of: &RecipientRecord) {
        let about = self.filed_about(&record.identifier);
        let notice = [record.sender.as_str(), LATE, &of.address];
        let notices = about.iter().filter(|place| place[..] == notice).count();
        let all = about.iter().filter(|[_, kind, at]| kind == LATE && *at == of.address).count();
        assert_eq!(notices, all, "in the wrong mailbox: {of:?}");
        if of.state() == RecipientState::Expired {
            assert_eq!(notices, 2, "{of:?}");
        } else {
            assert!(notices <= usize::from(world.hours >= 12), "{notices}: {of:?}");
        }
    }

    /// The journals tell once of each step for the recipient (RFC 6109 §2.3).
    fn judge_journal_of(&self, world: &World, record: &TransmissionRecord, of: &RecipientRecord) {
        let told = |event: JournalEvent| {
            let about = |entry: &&JournalRecord| {
                let named = entry.identifier == record.identifier
                    || entry.message_id.contains(&record.identifier);
                named && entry.event == event.word() && entry.recipients.contains(&of.address)
            };
            self.journals.iter().filter(about).count()
        };
        let once = |event| assert_eq!(told(event), 1, "{event:?} {of:?}");
        once(JournalEvent::Submission);
        once(JournalEvent::Acceptance);
        once(JournalEvent::TransportEnvelope);
        match of.state() {
            RecipientState::Delivered => {
                once(JournalEvent::Delivery);
                once(JournalEvent::DeliveryReceipt);
                let home = world.node_of(&record.sender).name.name;
                if world.node_of(&of.address).name.name != home {
                    once(JournalEvent::Incoming);
                    once(JournalEvent::TakeCharge);
                }
            }
            RecipientState::Failed => once(JournalEvent::NonDelivery),
            _ => assert_eq!(told(JournalEvent::TimeLimit), 2, "{of:?}"),
        }
    }
}

/// The kind of a notice that nothing was heard in time.
const LATE: &str = "preavviso-errore-consegna";
