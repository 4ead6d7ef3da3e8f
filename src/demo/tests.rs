//! What the demo believes: a real envelope and receipt around the demo's own letter, and the same
//! octets after a forger.

use std::{path::Path, sync::Arc};

use trust::{
    authority::DevelopmentAuthority,
    clock::{SystemClock, UnixMillis},
    random::{RandomSource, SeededRandom, SystemRandom},
    smime::sign::FileSigner,
};

use super::{
    letter::{Letter, Submitted},
    original::compare,
    verify::{Verified, Verifier, VerifyError},
};
use crate::pec::{
    facts::{Recipient, RecipientKind, TransmissionFacts},
    header::Header,
    identifier::{IdentifierSource, PecIdentifier},
    instant::CertifiedInstant,
    issuer::Issuer,
    original::original_header,
};

const SERVICE: &str = "posta-certificata@alfa.example";
const IDENTIFIER: &str = "ceralacca1.20261121120000.ab@alfa.example";

struct World {
    folder: tempfile::TempDir,
    signer: FileSigner,
    issuer: Issuer,
    submitted: Submitted,
    facts: TransmissionFacts,
}

impl World {
    fn new(certified: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        let authority = DevelopmentAuthority::open(folder.path(), clock.clone(), random).unwrap();
        let pair = authority.issue_provider("Alfa PEC", certified).unwrap();
        let signer = FileSigner::new(pair.certificate, Vec::new(), pair.key, clock).unwrap();
        let random: Arc<dyn RandomSource> = Arc::new(SeededRandom::new(5));
        let issuer = Issuer {
            name: "Alfa PEC".to_owned(),
            service_address: SERVICE.parse().unwrap(),
            identifiers: IdentifierSource::new(1, "alfa.example".parse().unwrap(), random.clone()),
        };
        let submitted = Letter {
            from: "anna@pec.alfa.example".into(),
            to: "bruno@pec.beta.example".into(),
            cc: "carla@pec.beta.example".into(),
            subject: "Perizia: perché è così".into(),
            text: "Città.".into(),
            date: "Sat, 21 Nov 2026 12:00:00 +0100".into(),
            attachments: vec![("application/pdf", "perizia.pdf".into(), vec![7; 9_000])],
        }
        .build(&*random);
        let recipients = ["bruno@pec.beta.example", "carla@pec.beta.example"];
        let recipients = recipients.map(|address| Recipient {
            address: address.to_owned(),
            kind: RecipientKind::Certified,
        });
        let facts = TransmissionFacts {
            identifier: PecIdentifier::from_text(IDENTIFIER).unwrap(),
            sender: "anna@pec.alfa.example".to_owned(),
            recipients: recipients.into(),
            reply_to: "anna@pec.alfa.example".to_owned(),
            subject: Some("Perizia: perché è così".to_owned()),
            message_id: Some(submitted.message_id.clone()),
        };
        Self { folder, signer, issuer, submitted, facts }
    }

    fn envelope(&self) -> Vec<u8> {
        let (header, body) = Header::parse(&self.submitted.octets).unwrap();
        let reference = self.facts.message_id.as_deref();
        let own = original_header(&header, &self.facts.identifier, reference);
        let original = [own.as_slice(), &self.submitted.octets[body..]].concat();
        let at = CertifiedInstant::new(UnixMillis(1_795_258_800_000));
        let pieces = [original.as_slice()];
        let envelope = self.issuer.transport_envelope(&self.facts, &at, &header, None, &pieces);
        envelope.seal(&self.signer, &self.issuer).unwrap()
    }

    async fn judge(&self, message: &[u8]) -> Result<Verified, VerifyError> {
        let file = self.folder.path().join("message.eml");
        std::fs::write(&file, message).unwrap();
        let authority = self.folder.path().join("authority.pem");
        verifier(&authority, self.folder.path()).verify(&file).await
    }
}

fn verifier(authority: &Path, folder: &Path) -> Verifier {
    Verifier::new(authority, folder).unwrap()
}

fn replaced(message: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).unwrap();
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

#[tokio::test]
async fn an_envelope_of_the_program_holds_and_its_original_is_the_submitted_one() {
    let world = World::new(SERVICE);
    let verified = world.judge(&world.envelope()).await.unwrap();
    assert_eq!(verified.kind, "posta-certificata");
    assert_eq!(verified.error, "nessuno");
    assert_eq!(verified.receipt, "completa");
    assert_eq!(verified.identifier, IDENTIFIER);
    assert_eq!(verified.message_id, world.submitted.message_id);
    assert_eq!(verified.instant, "21/11/2026 12:00:00 +0100");
    let Submitted { octets, message_id } = &world.submitted;
    assert_eq!(compare(octets, message_id, &verified.original.unwrap()), Ok(()));
}

#[tokio::test]
async fn one_changed_octet_under_the_signature_is_found() {
    let world = World::new(SERVICE);
    let forged = replaced(&world.envelope(), "Citt=C3=A0.", "Citt=C3=A8.");
    assert!(matches!(world.judge(&forged).await, Err(VerifyError::Tool(_))));
}

#[tokio::test]
async fn a_marker_that_contradicts_the_certification_data_is_found() {
    let world = World::new(SERVICE);
    let forged =
        replaced(&world.envelope(), "X-Trasporto: posta-certificata", "X-Trasporto: errore");
    assert!(matches!(world.judge(&forged).await, Err(VerifyError::Disagreement { .. })));
}

#[tokio::test]
async fn a_signer_who_is_not_the_one_in_from_is_found() {
    let world = World::new("somebody.else@alfa.example");
    assert!(matches!(world.judge(&world.envelope()).await, Err(VerifyError::Signer { .. })));
}

#[tokio::test]
async fn an_authority_that_nobody_named_is_not_believed() {
    let (world, other) = (World::new(SERVICE), World::new(SERVICE));
    let file = world.folder.path().join("message.eml");
    std::fs::write(&file, world.envelope()).unwrap();
    let authority = other.folder.path().join("authority.pem");
    let judged = verifier(&authority, world.folder.path()).verify(&file).await;
    assert!(matches!(judged, Err(VerifyError::Tool(_))));
}
