//! `transmission list`, `show` and `export`.
//!
//! An export is put together by the command: it asks for what there is, for each artefact's octets piece
//! by piece, and for what the server finds when it verifies them. So neither side holds a message more
//! than it must.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use storage::{error::StoreError, held::HeldMessage};
use trust::{certificate::Certificate, clock::UnixMillis, smime::structure::find_signed};

use crate::{
    control::{Kind, Operation, OperationError, Run, Site},
    pec::{
        artefacts::{ArtefactRecord, TRANSMISSION_ARTEFACTS, of_transmission},
        classify::{PecMessage, classify},
        daticert::CertificationData,
        header::Header,
        mime::Entity,
        records::{RecipientRecord, TransmissionId, TransmissionState, decode, held_id},
        transmissions::{self, Listed, Selection, Transmission},
    },
    serve,
    texts::Text,
};

mod states;

use self::states::STATES;
pub(crate) use self::states::word;

/// Transmissions of one answer, at most.
pub const PAGE_MAX: usize = 200;

/// Octets of one piece of an artefact.
const PIECE_OCTETS: u64 = 4 << 20;

/// Asks for transmissions.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TransmissionList {
    /// From this sender.
    #[serde(default)]
    pub sender: Option<String>,
    /// To this recipient.
    #[serde(default)]
    pub recipient: Option<String>,
    /// With a recipient in this state.
    #[serde(default)]
    pub state: Option<String>,
    /// Not before, in ms since 1970.
    #[serde(default)]
    pub since_millis: Option<i64>,
    /// Not after, in ms since 1970.
    #[serde(default)]
    pub until_millis: Option<i64>,
    /// Only those before this one.
    #[serde(default)]
    pub before: Option<String>,
    /// How many at most; never more than [`PAGE_MAX`].
    #[serde(default)]
    pub limit: usize,
}

/// A part of what there is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TransmissionPage {
    /// The newest first.
    pub transmissions: Vec<TransmissionView>,
    /// What to go on before; `None` at the end.
    pub cursor: Option<String>,
}

/// A transmission.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TransmissionView {
    /// Its name.
    pub id: String,
    /// The PEC identifier.
    pub identifier: String,
    /// The client's Message-ID.
    pub message_id: String,
    /// When it was submitted, in ms since 1970.
    pub instant_millis: i64,
    /// `submitted`, `accepted`, `refused`, `rejected`.
    pub state: String,
    /// The sender.
    pub sender: String,
    /// The subject.
    pub subject: String,
    /// Its recipients.
    pub recipients: Vec<RecipientView>,
}

/// Where one recipient stands.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RecipientView {
    /// The address.
    pub address: String,
    /// Whether it is certified mail.
    pub certified: bool,
    /// `submitted`, `accepted`, `relayed`, `taken-in-charge`, `delivered`, `failed`, `rejected`,
    /// `expired`, `infected`.
    pub state: String,
    /// Since when, in ms since 1970.
    pub since_millis: i64,
    /// When the sender was told that nothing was heard within 12 hours.
    pub warned_millis: Option<i64>,
}

impl RecipientView {
    fn of(row: &RecipientRecord) -> Self {
        Self {
            address: row.address.clone(),
            certified: row.certified,
            state: word(row.state()).to_owned(),
            since_millis: row.changed_millis,
            warned_millis: Some(row.warned_millis).filter(|millis| *millis != 0),
        }
    }
}

impl TransmissionView {
    fn of(one: &Transmission) -> Self {
        let state = match one.record.state() {
            TransmissionState::Submitted => "submitted",
            TransmissionState::Refused => "refused",
            TransmissionState::Accepted => "accepted",
            TransmissionState::Rejected => "rejected",
        };
        Self {
            id: one.id.to_string(),
            identifier: one.record.identifier.clone(),
            message_id: one.record.client_message_id.clone().unwrap_or_default(),
            instant_millis: one.record.instant_millis,
            state: state.to_owned(),
            sender: one.record.sender.clone(),
            subject: one.record.subject.clone(),
            recipients: one.recipients.iter().map(RecipientView::of).collect(),
        }
    }
}

fn invalid(italian: String, english: String) -> OperationError {
    OperationError::new(Kind::Invalid, Text::filled(italian, english))
}

fn name_of(text: &str) -> Result<TransmissionId, OperationError> {
    let mut octets = [0; 16];
    hex::decode_to_slice(text, &mut octets).map(|()| TransmissionId(octets)).map_err(|_| {
        invalid(
            format!("\"{text}\" non è il nome di una trasmissione: 32 cifre, come in `transmission list`"),
            format!("\"{text}\" is no name of a transmission: 32 digits, as in `transmission list`"),
        )
    })
}

impl TransmissionList {
    fn selection(&self) -> Result<Selection, OperationError> {
        let state = self.state.as_ref().map(|asked| {
            let found = STATES.into_iter().find(|state| word(*state) == asked);
            found.ok_or_else(|| {
                let words = STATES.map(word).join(", ");
                invalid(
                    format!("\"{asked}\" non è uno stato: {words}"),
                    format!("\"{asked}\" is no state: {words}"),
                )
            })
        });
        Ok(Selection {
            sender: self.sender.clone(),
            recipient: self.recipient.clone(),
            state: state.transpose()?,
            since: self.since_millis.map(UnixMillis),
            until: self.until_millis.map(UnixMillis),
            before: self.before.as_deref().map(name_of).transpose()?,
            limit: self.limit.clamp(1, PAGE_MAX),
        })
    }
}

#[async_trait::async_trait]
impl Operation for TransmissionList {
    const NAME: &'static str = "transmission/list";

    type Outcome = TransmissionPage;

    async fn run(&self, site: &Site, run: &Run) -> Result<TransmissionPage, OperationError> {
        let (selection, engine) = (self.selection()?, &**site.store.engine());
        let Listed { transmissions, cursor } =
            run.reading(transmissions::list(engine, &selection)).await??;
        Ok(TransmissionPage {
            transmissions: transmissions.iter().map(TransmissionView::of).collect(),
            cursor: cursor.map(|id| id.to_string()),
        })
    }
}

/// Asks for everything about one transmission.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TransmissionShow {
    /// Its PEC identifier, its name, or the client's Message-ID.
    pub id: String,
}

/// Everything about one transmission.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TransmissionDetails {
    /// What the list says too.
    #[serde(flatten)]
    pub transmission: TransmissionView,
    /// The plan of the sender's account now; empty when there is no account any more.
    pub plan: String,
    /// Why the formal checks refused it.
    pub fault: Option<String>,
    /// Every message made for it, or received about it, in order.
    pub artefacts: Vec<ArtefactView>,
}

/// One artefact.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ArtefactView {
    /// Names it in other requests.
    pub key: String,
    /// `original`, `transport-envelope`, `acceptance-receipt`, …
    pub kind: String,
    /// When it was made, or came in, in ms since 1970.
    pub instant_millis: i64,
    /// Its Message-ID.
    pub message_id: String,
    /// Its SHA-256.
    pub digest: String,
    /// Its octets.
    pub octets: u64,
    /// The recipients that it is about; empty: all.
    pub recipients: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// The mailbox into which it was put, or for which it came.
    pub mailbox: String,
    /// `held`: the provider has its octets; `erased`; `disposed`: after its time.
    pub octets_are: String,
}

impl ArtefactView {
    async fn of(site: &Site, key: &[u8], record: ArtefactRecord) -> Result<Self, StoreError> {
        let octets_are = match held_id(&record.held) {
            None => "disposed",
            Some(held) => match site.store.held(held).await {
                Ok(Some(_)) => "held",
                Err(StoreError::Erased { .. }) => "erased",
                Ok(None) => "disposed",
                Err(error) => return Err(error),
            },
        };
        Ok(Self {
            key: hex::encode(key),
            kind: record.kind().word().to_owned(),
            instant_millis: record.instant_millis,
            message_id: record.message_id,
            digest: hex::encode(&record.digest),
            octets: record.size,
            recipients: record.recipients,
            issuer: record.issuer,
            mailbox: record.mailbox,
            octets_are: octets_are.to_owned(),
        })
    }
}

#[async_trait::async_trait]
impl Operation for TransmissionShow {
    const NAME: &'static str = "transmission/show";

    type Outcome = TransmissionDetails;

    async fn run(&self, site: &Site, run: &Run) -> Result<TransmissionDetails, OperationError> {
        let engine = &**site.store.engine();
        let found = run.reading(transmissions::find(engine, &self.id)).await??;
        let id = match found.as_slice() {
            [] => return Err(unknown(&self.id)),
            [id] => *id,
            several => return Err(ambiguous(&self.id, several)),
        };
        let one = transmissions::read(engine, id).await?.ok_or_else(|| unknown(&self.id))?;
        let account = storage::ids::AccountId(one.record.account_id);
        let plan = match site.store.account(account).await {
            Ok(account) => account.settings().await?.plan,
            Err(StoreError::NoSuchAccount(_)) => String::new(),
            Err(error) => return Err(error.into()),
        };
        let mut artefacts = Vec::new();
        for (key, record) in run.reading(of_transmission(engine, &id.0)).await?? {
            artefacts.push(ArtefactView::of(site, &key, record).await?);
        }
        Ok(TransmissionDetails {
            transmission: TransmissionView::of(&one),
            plan,
            fault: match (one.record.fault, one.record.threat) {
                (None, Some(threat)) => Some(format!("virus: {threat}")),
                (fault, _) => fault,
            },
            artefacts,
        })
    }
}

fn unknown(id: &str) -> OperationError {
    OperationError::new(
        Kind::NotFound,
        Text::filled(
            format!("non c'è nessuna trasmissione {id}: `ceralacca transmission list` le elenca"),
            format!("there is no transmission {id}: `ceralacca transmission list` shows them"),
        ),
    )
}

fn ambiguous(id: &str, several: &[TransmissionId]) -> OperationError {
    let names: Vec<String> = several.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    invalid(
        format!("più trasmissioni hanno il Message-ID {id}: indicarne una, {names}"),
        format!("several transmissions have the Message-ID {id}: name one of them, {names}"),
    )
}

/// The artefact of a key, held.
async fn held(site: &Site, key: &str) -> Result<(ArtefactRecord, HeldMessage), OperationError> {
    let gone = || {
        OperationError::new(
            Kind::NotFound,
            Text::fixed("il messaggio non è più conservato", "the message is not kept any more"),
        )
    };
    let key = hex::decode(key).map_err(|_| gone())?;
    let row = site.store.engine().get(TRANSMISSION_ARTEFACTS, &key).await?.ok_or_else(gone)?;
    let record: ArtefactRecord = decode(TRANSMISSION_ARTEFACTS, &key, &row)?;
    let id = held_id(&record.held).ok_or_else(gone)?;
    let message = site.store.held(id).await?.ok_or_else(gone)?;
    Ok((record, message))
}

/// Asks for a piece of an artefact.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ArtefactRead {
    /// Which: [`ArtefactView::key`].
    pub key: String,
    /// The first octet.
    pub offset: u64,
}

/// A piece.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ArtefactPiece {
    /// Octets in base64; none at the end.
    pub octets: String,
}

#[async_trait::async_trait]
impl Operation for ArtefactRead {
    const NAME: &'static str = "transmission/read";

    type Outcome = ArtefactPiece;

    async fn run(&self, site: &Site, run: &Run) -> Result<ArtefactPiece, OperationError> {
        let (_, message) = held(site, &self.key).await?;
        let end = message.size().min(self.offset.saturating_add(PIECE_OCTETS));
        let octets = run.reading(octets(site, &message, self.offset..end)).await??;
        Ok(ArtefactPiece { octets: STANDARD.encode(octets) })
    }
}

async fn octets(
    site: &Site,
    message: &HeldMessage,
    range: std::ops::Range<u64>,
) -> Result<Bytes, StoreError> {
    let mut octets = BytesMut::new();
    let mut start = range.start;
    while start < range.end {
        let piece = site.store.octets().read(message.stored(), start..range.end).await?;
        if piece.is_empty() {
            break;
        }
        start += piece.len() as u64;
        octets.extend_from_slice(&piece);
    }
    Ok(octets.freeze())
}

/// Asks what an artefact is: its signature, its certification data.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ArtefactVerify {
    /// Which: [`ArtefactView::key`].
    pub key: String,
}

/// What the server finds in an artefact.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ArtefactReport {
    /// Whether it is an S/MIME signed message.
    pub signed: bool,
    /// Whether the signature holds, and leads to a trusted authority.
    pub signature_valid: bool,
    /// Why it does not.
    pub reason: String,
    /// The certificate that signed.
    pub certificate: Option<CertificateView>,
    /// When the signer says that it signed, in ms since 1970.
    pub signing_millis: Option<i64>,
    /// The certification data.
    pub daticert: Option<DaticertView>,
    /// `daticert.xml` as it stands in the message, in base64.
    pub daticert_xml: Option<String>,
}

/// A certificate.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CertificateView {
    /// Its holder: organization, or common name.
    pub holder: String,
    /// The addresses in it.
    pub addresses: Vec<String>,
    /// Its serial number, in hexadecimal digits.
    pub serial: String,
    /// Its SHA-1, as the directory of providers has it.
    pub sha1: String,
    /// Its SHA-256.
    pub sha256: String,
}

/// What the certification data say.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct DaticertView {
    /// `tipo`.
    pub kind: String,
    /// `errore`.
    pub error: String,
    /// `identificativo`.
    pub identifier: String,
    /// `mittente`.
    pub sender: String,
    /// `consegna`, where there is one.
    pub recipient: Option<String>,
    /// `msgid`.
    pub message_id: Option<String>,
    /// `oggetto`.
    pub subject: Option<String>,
    /// `errore-esteso`.
    pub detail: Option<String>,
}

impl DaticertView {
    fn of(data: &CertificationData) -> Self {
        Self {
            kind: data.event.kind().to_owned(),
            error: data.event.error().to_owned(),
            identifier: data.facts.identifier.as_str().to_owned(),
            sender: data.facts.sender.clone(),
            recipient: data.event.recipient().map(str::to_owned),
            message_id: data.facts.message_id.clone(),
            subject: data.facts.subject.clone(),
            detail: data.event.detail().map(str::to_owned),
        }
    }
}

impl CertificateView {
    fn of(certificate: &Certificate) -> Self {
        let holder = certificate.organization().or_else(|| certificate.common_name());
        Self {
            holder: holder.unwrap_or_default(),
            addresses: certificate.email_addresses(),
            serial: certificate.serial_hex().unwrap_or_default(),
            sha1: certificate.sha1_hex(),
            sha256: hex::encode(trust::digest::Sha256Digest::of(certificate.to_der()).0),
        }
    }
}

#[async_trait::async_trait]
impl Operation for ArtefactVerify {
    const NAME: &'static str = "transmission/verify";

    type Outcome = ArtefactReport;

    async fn run(&self, site: &Site, run: &Run) -> Result<ArtefactReport, OperationError> {
        let (record, message) = held(site, &self.key).await?;
        let reserved = match &site.engine {
            Some(engine) => Some(
                run.reading(engine.reserve(message.size()))
                    .await?
                    .map_err(|error| OperationError::of_machine(&error))?,
            ),
            None => None,
        };
        let whole = run.reading(octets(site, &message, 0..message.size())).await??;
        let verifier = serve::journal::verifier(&site.config, site.engine.as_deref());
        let verifier = verifier.map_err(|error| {
            OperationError::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
        })?;
        let at = UnixMillis(record.instant_millis);
        let judged = tokio::task::spawn_blocking(move || {
            let _reserved = reserved;
            judge(&whole, &verifier, at)
        });
        judged.await.map_err(|error| OperationError::of_machine(&error))
    }
}

fn judge(
    octets: &[u8],
    verifier: &trust::smime::verify::Verifier,
    at: UnixMillis,
) -> ArtefactReport {
    let Some(signed) = find_signed(octets) else { return ArtefactReport::default() };
    let entity = octets.get(signed.entity.clone()).unwrap_or_default();
    let mut report = ArtefactReport { signed: true, ..ArtefactReport::default() };
    match verifier.verify(entity, &signed.signature, at) {
        Ok(found) => {
            report.signature_valid = true;
            report.certificate = Some(CertificateView::of(&found.signer));
            report.signing_millis = found.signing_time.map(|at| at.0);
        }
        Err(error) => report.reason = OperationError::of_machine(&error).to_string(),
    }
    let header = Header::readable(octets);
    let data = match classify(&header, entity) {
        PecMessage::TransportEnvelope(envelope) => Some(envelope.data),
        PecMessage::Receipt(notice) => Some(notice.data),
        // A report about ordinary mail has none.
        PecMessage::Malformed(_) => None,
    };
    if let Some(data) = data {
        report.daticert = Some(DaticertView::of(&data));
        report.daticert_xml = daticert_xml(entity).map(|xml| STANDARD.encode(xml));
    }
    report
}

/// The part of this name, decoded.
fn daticert_xml(entity: &[u8]) -> Option<Vec<u8>> {
    let whole = Entity::parse(entity, 0..entity.len()).ok()?;
    whole.parts(entity)?.into_iter().find_map(|part| {
        let part = Entity::parse(entity, part).ok()?;
        let named = part.file_name()?.eq_ignore_ascii_case("daticert.xml");
        if named { part.decoded_body(entity) } else { None }
    })
}

/// Asks for the certificates of the authorities that this provider believes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct TrustedCertificates {}

/// Certificates in PEM.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CertificatesView {
    /// One after the other.
    pub pem: String,
}

#[async_trait::async_trait]
impl Operation for TrustedCertificates {
    const NAME: &'static str = "transmission/authorities";

    type Outcome = CertificatesView;

    async fn run(&self, site: &Site, _: &Run) -> Result<CertificatesView, OperationError> {
        let pem = serve::journal::authorities_pem(&site.config).map_err(|error| {
            OperationError::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
        })?;
        Ok(CertificatesView { pem })
    }
}

#[cfg(test)]
mod tests;
