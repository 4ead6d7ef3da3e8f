//! Other providers: keys, issuers, and the directory that names them.

use std::sync::{Arc, OnceLock};

use ceralacca::pec::{
    address::{Address, Domain},
    directory::{Directory, ProviderRecord},
    facts::{Recipient, RecipientKind, TransmissionFacts},
    header::Header,
    identifier::IdentifierSource,
    instant::CertifiedInstant,
    issuer::{Issuer, Unsealed},
};
use trust::{
    authority::{DevelopmentAuthority, Issued},
    certificate::Certificate,
    clock::{Clock as _, ManualClock, UnixMillis},
    key::PrivateKey,
    random::{SeededRandom, SystemRandom},
    smime::sign::FileSigner,
};

use crate::letter::written;

/// 21 November 2026, 12:00:00 in Rome.
pub(crate) const NOON: UnixMillis = UnixMillis(1_795_258_800_000);

/// Whose messages come from Alfa.
pub(crate) const ANNA: &str = "anna@pec.alfa.example";

/// Names a provider: its name and the mail domain of its service address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProviderName {
    pub(crate) name: &'static str,
    domain: &'static str,
    mailboxes: &'static str,
}

impl ProviderName {
    pub(crate) fn domain(self) -> Domain {
        Domain::parse(self.domain).expect("a domain")
    }

    pub(crate) fn service_address(self) -> String {
        format!("posta-certificata@{}", self.domain)
    }
}

pub(crate) const ALFA: ProviderName =
    ProviderName { name: "Alfa PEC", domain: "alfa.example", mailboxes: "pec.alfa.example" };
pub(crate) const BETA: ProviderName =
    ProviderName { name: "Beta PEC", domain: "beta.example", mailboxes: "pec.beta.example" };
pub(crate) const GAMMA: ProviderName =
    ProviderName { name: "Gamma PEC", domain: "gamma.example", mailboxes: "pec.gamma.example" };

/// What an authority has issued. Keys take long to draw: all tests share them.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) authority: Certificate,
    pub(crate) alfa: Issued,
    pub(crate) beta: Issued,
    pub(crate) gamma: Issued,
    /// In nobody's directory entry.
    pub(crate) unlisted: Issued,
}

pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let authority = authority();
        let issue = |name: ProviderName| issue(&authority, name);
        let (alfa, beta, gamma) = (issue(ALFA), issue(BETA), issue(GAMMA));
        let unlisted = issue(ALFA);
        Keys { authority: authority.certificate().clone(), alfa, beta, gamma, unlisted }
    })
}

/// An authority that nobody else knows; its folder need not stay.
pub(crate) fn authority() -> DevelopmentAuthority {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(ManualClock::new(NOON));
    DevelopmentAuthority::open(folder.path(), clock, Arc::new(SystemRandom)).expect("an authority")
}

pub(crate) fn issue(authority: &DevelopmentAuthority, name: ProviderName) -> Issued {
    authority.issue_provider(name.name, &name.service_address()).expect("a certificate")
}

/// The directory with all three providers (RFC 6109 §4.5).
pub(crate) fn directory() -> Arc<Directory> {
    let keys = keys();
    let record = |name: ProviderName, issued: &Issued| {
        let mailboxes = Domain::parse(name.mailboxes).expect("a domain");
        let service = Address::parse(&name.service_address()).expect("an address");
        let certificates = vec![issued.certificate.to_der().to_vec()];
        ProviderRecord::new(name.name, service, vec![name.domain(), mailboxes], certificates)
    };
    let records =
        vec![record(ALFA, &keys.alfa), record(BETA, &keys.beta), record(GAMMA, &keys.gamma)];
    Arc::new(Directory::new(records).expect("a directory"))
}

pub(crate) fn issuer(name: ProviderName, seed: u64) -> Issuer {
    let random = Arc::new(SeededRandom::new(seed));
    Issuer {
        name: name.name.to_owned(),
        service_address: Address::parse(&name.service_address()).expect("an address"),
        identifiers: IdentifierSource::new(1, name.domain(), random),
    }
}

pub(crate) fn signer(issued: &Issued, clock: Arc<ManualClock>) -> FileSigner {
    let (certificate, key): (Certificate, PrivateKey) =
        (issued.certificate.clone(), issued.key.clone());
    FileSigner::new(certificate, Vec::new(), key, clock).expect("a signer")
}

/// A provider elsewhere: it only makes messages.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) issuer: Issuer,
    signer: FileSigner,
    clock: Arc<ManualClock>,
}

impl Foreign {
    pub(crate) fn alfa() -> Self {
        Self::new(ALFA, &keys().alfa)
    }

    pub(crate) fn gamma() -> Self {
        Self::new(GAMMA, &keys().gamma)
    }

    pub(crate) fn new(name: ProviderName, issued: &Issued) -> Self {
        let clock = Arc::new(ManualClock::new(NOON));
        Self { issuer: issuer(name, 7), signer: signer(issued, Arc::clone(&clock)), clock }
    }

    pub(crate) fn now(&self) -> CertifiedInstant {
        CertifiedInstant::new(self.clock.now())
    }

    pub(crate) fn seal(&self, unsealed: &Unsealed) -> Vec<u8> {
        unsealed.seal(&self.signer, &self.issuer).expect("sealed")
    }

    /// A transport envelope of a new transmission from Anna, as the provider of `recipients`
    /// receives it.
    pub(crate) fn envelope(&self, recipients: &[&str], body: &str) -> Vec<u8> {
        let at = self.now();
        let original = written(ANNA, &recipients.join(", "), "", body);
        let (header, _) = Header::parse(&original).expect("a header");
        let certified = |address: &&str| Recipient {
            address: (*address).to_owned(),
            kind: RecipientKind::Certified,
        };
        let facts = TransmissionFacts {
            identifier: self.issuer.identifiers.pec_identifier(&at),
            sender: ANNA.to_owned(),
            recipients: recipients.iter().map(certified).collect(),
            reply_to: ANNA.to_owned(),
            subject: Some("Offerta".to_owned()),
            message_id: Some("<1@client.example>".to_owned()),
        };
        self.seal(&self.issuer.transport_envelope(&facts, &at, &header, None, &[&original]))
    }
}
