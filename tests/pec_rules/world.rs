//! One provider with a real key, an invented submission, and the tools.

use std::{path::Path, process::Command, sync::Arc};

use ceralacca::pec::{
    address::{Address, Domain},
    brief::BriefHash,
    directory::{Directory, ProviderRecord},
    envelope::AnomalyReason,
    facts::{CertifiedDomains as _, ReceiptType, TransmissionFacts},
    formal::{FormalLimits, check},
    header::Header,
    identifier::IdentifierSource,
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed},
    original::original_header,
    receipt::{Delivered, DeliveryFault, TimeLimit},
};
use trust::{
    authority::DevelopmentAuthority,
    clock::{SystemClock, UnixMillis},
    random::{SeededRandom, SystemRandom},
    smime::sign::FileSigner,
};

/// The submission: accents, an attachment, a subject in encoded words, an 8-bit body.
pub(crate) const SUBMITTED: &[u8] = include_bytes!("submitted.eml");

/// What a scanner found.
const THREAT: &str = "Win.Test.Prova-1";

const LIMITS: FormalLimits =
    FormalLimits { message_octets_max: 1 << 20, product_octets_max: 30 << 20, recipients_max: 50 };

/// The pure forms of one transmission, before any signature.
pub(crate) struct Forms {
    pub(crate) issuer: Issuer,
    pub(crate) at: CertifiedInstant,
    pub(crate) submitted: Header,
    pub(crate) facts: TransmissionFacts,
    pub(crate) original: Vec<u8>,
    pub(crate) recipient: Address,
}

impl Forms {
    /// 21 November 2026, 12:00:00 in Rome; the same octets at every run.
    pub(crate) fn new() -> Self {
        let domain = Domain::parse("pec.alfa.example").expect("a domain");
        let random = Arc::new(SeededRandom::new(42));
        let issuer = Issuer {
            name: "Alfa PEC S.p.A.".to_owned(),
            service_address: address("posta-certificata@pec.alfa.example"),
            identifiers: IdentifierSource::new(1, domain, random),
        };
        let at = CertifiedInstant::new(UnixMillis(1_795_258_800_000));
        let (submitted, body) = Header::parse(SUBMITTED).expect("a header");
        let paths = [address("bruno@beta.example"), address("carla@gamma.example")];
        let reverse = address("anna@alfa.example");
        let size = u64::try_from(SUBMITTED.len()).expect("a size");
        let said = check(&submitted, &reverse, &paths, size, &LIMITS).expect("a sound submission");
        let recipients = directory().classify(&paths);
        let facts = said.transmission(issuer.identifiers.pec_identifier(&at), &reverse, recipients);
        let header = original_header(&submitted, &facts.identifier, facts.message_id.as_deref());
        let original = [header.as_slice(), &SUBMITTED[body..]].concat();
        let [recipient, _] = paths;
        Self { issuer, at, submitted, facts, original, recipient }
    }

    pub(crate) fn envelope(&self) -> Unsealed {
        self.envelope_asking(None)
    }

    /// That of a submission with this X-TipoRicevuta.
    pub(crate) fn envelope_asking(&self, wish: Option<ReceiptType>) -> Unsealed {
        let (facts, at, pieces) = (&self.facts, &self.at, [self.original.as_slice()]);
        self.issuer.transport_envelope(facts, at, &self.submitted, wish, &pieces)
    }

    pub(crate) fn acceptance(&self) -> Unsealed {
        self.issuer.acceptance_receipt(&self.facts, &self.at)
    }

    pub(crate) fn anomaly(&self) -> Unsealed {
        let forward = [self.recipient.to_string()];
        let reason = AnomalyReason::OrdinaryMail;
        let (at, received) = (&self.at, &self.submitted);
        let sender = "anna@alfa.example";
        self.issuer.anomaly_envelope(at, received, sender, &forward, reason, &[SUBMITTED])
    }

    pub(crate) fn formal(&self) -> Unsealed {
        let none = FormalLimits { message_octets_max: 1, ..LIMITS };
        let paths = [self.recipient.clone(), address("carla@gamma.example")];
        let fault = check(&self.submitted, &address("anna@alfa.example"), &paths, 2, &none);
        let fault = fault.expect_err("too large");
        self.issuer.formal_non_acceptance_notice(&self.facts, &self.at, &fault.italian)
    }

    /// Row 3 of the table of messages.
    pub(crate) fn virus_non_acceptance(&self) -> Unsealed {
        self.issuer.virus_non_acceptance_notice(&self.facts, &self.at, THREAT)
    }

    /// Row 9.
    pub(crate) fn virus_detection(&self) -> Unsealed {
        let service = address("ricevute@pec.beta.example");
        let (facts, at, recipient) = (&self.facts, &self.at, &self.recipient);
        self.issuer.virus_detection_notice(facts, at, recipient, THREAT, &service)
    }

    /// Row 10.
    pub(crate) fn virus_non_delivery(&self) -> Unsealed {
        let (facts, at, recipient) = (&self.facts, &self.at, &self.recipient);
        let reason = format!("5.7.1 - Beta - presenza di un virus nel messaggio: {THREAT}");
        self.issuer.virus_non_delivery_notice(facts, at, recipient, &reason)
    }

    pub(crate) fn delivery(&self, due: ReceiptType) -> Unsealed {
        let delivered = Delivered {
            recipient: &self.recipient,
            requested: due,
            due,
            original: &self.original,
            hash: BriefHash::Encoded,
        };
        self.issuer.delivery_receipt(&self.facts, &self.at, &delivered)
    }

    pub(crate) fn take_charge(&self) -> Unsealed {
        let service = address("ricevute@pec.beta.example");
        let taken = std::slice::from_ref(&self.recipient);
        self.issuer.take_charge_receipt(&self.facts, &self.at, taken, &service)
    }

    pub(crate) fn non_delivery(&self) -> Unsealed {
        let fault = DeliveryFault::unknown_mailbox();
        self.issuer.non_delivery_notice(&self.facts, &self.at, &self.recipient, &fault)
    }

    pub(crate) fn time_limit(&self, limit: TimeLimit) -> Unsealed {
        self.issuer.time_limit_notice(&self.facts, &self.at, &self.recipient, limit)
    }

    /// One of every kind, by name.
    pub(crate) fn all(&self) -> Vec<(&'static str, Unsealed)> {
        let limits = [("first", TimeLimit::First), ("last", TimeLimit::Last)];
        let limits = limits.map(|(name, limit)| (name, self.time_limit(limit)));
        self.every_kind().into_iter().chain(limits).collect()
    }

    /// One of every kind that needs no time limit, by name.
    pub(crate) fn every_kind(&self) -> Vec<(&'static str, Unsealed)> {
        let (issuer, facts, at) = (&self.issuer, &self.facts, &self.at);
        let service = address("ricevute@pec.beta.example");
        let taken = std::slice::from_ref(&self.recipient);
        let fault = DeliveryFault::unknown_mailbox();
        vec![
            ("envelope", self.envelope()),
            ("anomaly", self.anomaly()),
            ("acceptance", self.acceptance()),
            ("formal", self.formal()),
            ("take-charge", issuer.take_charge_receipt(facts, at, taken, &service)),
            ("complete", self.delivery(ReceiptType::Complete)),
            ("brief", self.delivery(ReceiptType::Brief)),
            ("concise", self.delivery(ReceiptType::Concise)),
            ("non-delivery", issuer.non_delivery_notice(facts, at, &self.recipient, &fault)),
            ("virus-non-acceptance", self.virus_non_acceptance()),
            ("virus-detection", self.virus_detection()),
            ("virus-non-delivery", self.virus_non_delivery()),
        ]
    }
}

/// A provider's key and certificate, issued by a development authority in `folder`, whose
/// certificate lies there as `authority.pem`.
pub(crate) fn signer(folder: &Path) -> FileSigner {
    let clock = Arc::new(SystemClock);
    let random = Arc::new(SystemRandom);
    let authority = DevelopmentAuthority::open(&folder.join("authority"), clock.clone(), random)
        .expect("an authority");
    let issued = authority
        .issue_provider("Alfa PEC S.p.A.", "posta-certificata@pec.alfa.example")
        .expect("a certificate");
    let pem = authority.certificate().to_pem().expect("PEM");
    std::fs::write(folder.join("authority.pem"), pem).expect("written");
    let chain = vec![authority.certificate().clone()];
    FileSigner::new(issued.certificate, chain, issued.key, clock).expect("a signer")
}

/// Runs a tool in `folder`; returns whether it succeeded, and what it said.
pub(crate) fn run(folder: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new(program).args(arguments).current_dir(folder).output().expect("the tool runs");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn address(text: &str) -> Address {
    Address::parse(text).expect("an address")
}

fn directory() -> Directory {
    let domain = Domain::parse("beta.example").expect("a domain");
    let mailbox = address("ricevute@pec.beta.example");
    let record = ProviderRecord::new("Beta", mailbox, vec![domain], vec![b"certificate".to_vec()]);
    Directory::new(vec![record]).expect("a directory")
}
