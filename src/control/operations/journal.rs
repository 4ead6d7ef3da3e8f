//! `journal search`, `export` and `verify`.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use storage::{
    catalog::engine::{Engine, Reader},
    error::StoreError,
};
use trust::{
    clock::{Clock as _, SystemClock, UnixMillis},
    digest::Sha256Digest,
};

use crate::{
    control::{Kind, Operation, OperationError, Progress, Run, Site},
    pec::{
        engine::EngineSettings,
        journal::{
            JournalEvent,
            head::{Head, JOURNAL_PIECES, leaves, numbered},
            piece::{PieceRecord, Statement},
            seal::{self, Seal},
            search::{Entry, Query, first_seal, search},
            verify::{JournalFault, Scope, Trust, Verified, verify},
        },
        records::decode,
    },
    serve,
    texts::Text,
};

/// Records of one answer, at most.
pub const PAGE_MAX: usize = 500;

/// Asks for records of the journal.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct JournalSearch {
    /// The address of a sender or recipient.
    #[serde(default)]
    pub holder: Option<String>,
    /// A PEC identifier or a Message-ID.
    #[serde(default)]
    pub identifier: Option<String>,
    /// The event's word.
    #[serde(default)]
    pub event: Option<String>,
    /// Not before, in ms since 1970.
    #[serde(default)]
    pub since_millis: Option<i64>,
    /// Not after, in ms since 1970.
    #[serde(default)]
    pub until_millis: Option<i64>,
    /// Only records behind this number.
    #[serde(default)]
    pub after: u64,
    /// How many at most; never more than [`PAGE_MAX`].
    #[serde(default)]
    pub limit: usize,
    /// With what proves each record.
    #[serde(default)]
    pub proofs: bool,
}

/// A part of what there is.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct JournalPage {
    /// In the order of their numbers.
    pub records: Vec<JournalView>,
    /// What to go on after; `None` at the end.
    pub cursor: Option<u64>,
    /// The seals of these records, when proofs were asked for.
    #[serde(default)]
    pub seals: Vec<SealView>,
    /// The daily pieces of these seals.
    #[serde(default)]
    pub pieces: Vec<PieceView>,
}

/// One record.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct JournalView {
    /// Its number.
    pub sequence: u64,
    /// When it happened, in ms since 1970.
    pub instant_millis: i64,
    /// What happened.
    pub event: String,
    /// The PEC identifier.
    pub identifier: String,
    /// The Message-ID of the original.
    pub message_id: String,
    /// The sender.
    pub sender: String,
    /// The recipients.
    pub recipients: Vec<String>,
    /// The subject of the original.
    pub subject: String,
    /// Message-IDs of the messages generated with this event.
    pub related: Vec<String>,
    /// The sending provider.
    pub provider: String,
    /// What else is worth keeping.
    pub detail: String,
    /// What proves it, when asked for and sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<ProofView>,
}

/// What leads from a record to the root in its seal.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ProofView {
    /// The record's value as it is sealed, in base64.
    pub octets: String,
    /// The number of its seal.
    pub seal: u64,
    /// Its place among the leaves of the seal, from 0.
    pub index: u64,
    /// How many leaves there are.
    pub leaves: u64,
    /// The digests beside the way, from the leaf upwards, in hexadecimal digits.
    pub path: Vec<String>,
}

/// A seal.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SealView {
    /// Its number.
    pub number: u64,
    /// Its octets, in hexadecimal digits.
    pub octets: String,
    /// The daily piece that has it; `None` before its day is over.
    pub piece: Option<u64>,
}

/// A daily piece.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PieceView {
    /// Its number.
    pub number: u64,
    /// Where its files are in the object store.
    pub folder: String,
    /// The statement that is signed.
    pub statement: String,
    /// The signature: CMS SignedData, detached, DER in base64.
    pub signature: String,
    /// The time stamp over the signature: RFC 3161 token, DER in base64.
    pub stamp: String,
}

impl JournalView {
    fn of(entry: &Entry) -> Self {
        let record = entry.record.clone();
        Self {
            sequence: entry.sequence,
            instant_millis: record.instant_millis,
            event: record.event,
            identifier: record.identifier,
            message_id: record.message_id,
            sender: record.sender,
            recipients: record.recipients,
            subject: record.subject,
            related: record.related,
            provider: record.provider,
            detail: record.detail,
            proof: None,
        }
    }
}

impl JournalSearch {
    fn query(&self) -> Result<Query, OperationError> {
        if let Some(event) = &self.event
            && !JournalEvent::ALL.iter().any(|known| known.word() == event)
        {
            let words: Vec<&str> = JournalEvent::ALL.iter().map(|known| known.word()).collect();
            let words = words.join(", ");
            return Err(OperationError::new(
                Kind::Invalid,
                Text::filled(
                    format!("\"{event}\" non è un evento: {words}"),
                    format!("\"{event}\" is no event: {words}"),
                ),
            ));
        }
        Ok(Query {
            holder: self.holder.clone(),
            identifier: self.identifier.clone(),
            event: self.event.clone(),
            since: self.since_millis.map(UnixMillis),
            until: self.until_millis.map(UnixMillis),
            after: self.after,
            limit: self.limit.clamp(1, PAGE_MAX),
        })
    }
}

fn node() -> u64 {
    EngineSettings::default().node
}

#[async_trait::async_trait]
impl Operation for JournalSearch {
    const NAME: &'static str = "journal/search";

    type Outcome = JournalPage;

    async fn run(&self, site: &Site, run: &Run) -> Result<JournalPage, OperationError> {
        let engine = &**site.store.engine();
        let found = run.reading(search(engine, node(), &self.query()?)).await??;
        let mut page = JournalPage {
            records: found.entries.iter().map(JournalView::of).collect(),
            cursor: found.cursor,
            ..JournalPage::default()
        };
        if self.proofs {
            run.reading(prove(engine, &found.entries, &mut page)).await??;
        }
        Ok(page)
    }
}

/// Adds what proves the records of `page`, as far as they are sealed.
async fn prove(
    engine: &dyn Engine,
    entries: &[Entry],
    page: &mut JournalPage,
) -> Result<(), StoreError> {
    let snapshot = engine.snapshot().await?;
    let head = Head::read(&*snapshot, node()).await?;
    let mut pieces: BTreeMap<u64, PieceView> = BTreeMap::new();
    let mut current: Option<(Seal, Vec<Sha256Digest>)> = None;
    for (entry, view) in entries.iter().zip(&mut page.records) {
        let covers = |seal: &Seal| seal.first <= entry.sequence && entry.sequence <= seal.last;
        if !current.as_ref().is_some_and(|(seal, _)| covers(seal)) {
            let place = first_seal(&*snapshot, &head, |seal| seal.last >= entry.sequence).await?;
            let Some(seal) = place.first.filter(covers) else { continue };
            let piece = piece_of(&*snapshot, &head, &seal).await?;
            page.seals.push(SealView {
                number: seal.number,
                octets: hex::encode(seal.octets()),
                piece: piece.as_ref().map(|piece| piece.number),
            });
            pieces.extend(piece.map(|piece| (piece.number, piece)));
            let leaves = leaves(&*snapshot, seal.node, seal.number).await?;
            current = Some((seal, leaves));
        }
        let Some((seal, leaves)) = &current else { continue };
        let index = entry.sequence - seal.first;
        let path = seal::path(leaves, usize::try_from(index).unwrap_or(usize::MAX));
        view.proof = Some(ProofView {
            octets: STANDARD.encode(&entry.value),
            seal: seal.number,
            index,
            leaves: leaves.len() as u64,
            path: path.iter().map(|digest| hex::encode(digest.0)).collect(),
        });
    }
    page.pieces = pieces.into_values().collect();
    Ok(())
}

/// The piece that has `seal`. Pieces without seals are passed over.
async fn piece_of(
    reader: &dyn Reader,
    head: &Head,
    seal: &Seal,
) -> Result<Option<PieceView>, StoreError> {
    let (mut low, mut high) =
        (head.record.disposed_pieces.saturating_add(1), head.record.pieces.saturating_add(1));
    let mut first = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let (mut at, mut found) = (middle, None);
        while at < high && found.is_none() {
            let key = numbered(head.node, at);
            let octets = reader.get(JOURNAL_PIECES, &key).await?.unwrap_or_default();
            // One that cannot be read is named by `journal verify`.
            let record: PieceRecord = decode(JOURNAL_PIECES, &key, &octets).unwrap_or_default();
            let statement = Statement::read(&record.statement);
            found = statement.and_then(|one| Some((one.seals?, one, record)));
            at = at.saturating_add(1);
        }
        match found {
            Some(((_, last), ..)) if last < seal.number => low = at,
            found => {
                high = middle;
                first = found.or(first);
            }
        }
    }
    let first = first.filter(|((from, _), ..)| *from <= seal.number);
    let first = first.map(|(_, statement, record)| (statement, record));
    Ok(first.map(|(statement, record)| PieceView {
        number: statement.number,
        folder: statement.folder(),
        statement: statement.text(),
        signature: STANDARD.encode(&record.signature),
        stamp: STANDARD.encode(&record.stamp),
    }))
}

/// Asks for a verification of the whole journal.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct JournalVerify {
    /// Reads the files of records in the object store, too.
    #[serde(default)]
    pub files: bool,
}

/// What a verification found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct JournalVerified {
    /// Whether nothing is wrong.
    pub whole: bool,
    /// Seals.
    pub seals: u64,
    /// Records under them.
    pub records: u64,
    /// Records that wait for their seal.
    pub unsealed: u64,
    /// Daily pieces.
    pub pieces: u64,
    /// Objects that were read.
    pub objects: u64,
    /// Numbers that restores passed over: first and last.
    pub lost_time: Vec<(u64, u64)>,
    /// Pieces in the object store that were made in a lost time.
    pub lost_pieces: u64,
    /// Pieces that were stamped more than 48 hours after their end.
    #[serde(default)]
    pub stamped_late: Vec<u64>,
    /// Pieces whose objects were not looked at.
    #[serde(default)]
    pub objects_unseen: u64,
    /// How many faults there are.
    pub faults: u64,
    /// The first of them.
    pub first_faults: Vec<JournalFaultView>,
}

/// A fault, for programs and for people.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct JournalFaultView {
    /// What it is, with its numbers.
    #[serde(flatten)]
    pub fault: JournalFault,
    /// What people read.
    pub text: Text,
}

impl JournalVerified {
    fn of(verified: Verified) -> Self {
        Self {
            whole: verified.is_whole(),
            seals: verified.seals,
            records: verified.records,
            unsealed: verified.unsealed,
            pieces: verified.pieces,
            objects: verified.objects,
            lost_time: verified.lost_time,
            lost_pieces: verified.lost_pieces,
            stamped_late: verified.stamped_late,
            objects_unseen: verified.objects_unseen,
            faults: verified.faults.len() as u64 + verified.faults_left_out,
            first_faults: verified
                .faults
                .into_iter()
                .map(|fault| JournalFaultView { text: fault.text(), fault })
                .collect(),
        }
    }
}

/// Verifies the journal of `site`.
///
/// # Errors
///
/// When keys, catalog or object store cannot be read.
pub async fn verify_site(
    site: &Site,
    run: &Run,
    files: bool,
    troubles: u64,
) -> Result<Verified, OperationError> {
    let of_machine = |error: anyhow::Error| {
        OperationError::of_machine(&*Box::<dyn std::error::Error + Send + Sync>::from(error))
    };
    let verifier =
        serve::journal::verifier(&site.config, site.engine.as_deref()).map_err(of_machine)?;
    let stamps = serve::journal::trusted_stamps(&site.config).map_err(of_machine)?;
    let random = Arc::new(trust::random::SystemRandom);
    let objects = serve::objects::open(&site.config, random).map_err(of_machine)?;
    let epoch = site.store.epoch().await?;
    let now = SystemClock.now();
    let kept_months = site.config.journal.kept_months;
    let scope = Scope { node: node(), epoch, objects: Some(&*objects), files, now, kept_months };
    let service_address = &*site.config.provider.service_address;
    let trust = Trust { signatures: &verifier, stamps: &stamps, service_address };
    let tell = |verified: &Verified| {
        let what = Text::fixed("registrazioni verificate", "records verified");
        let found = troubles + verified.faults.len() as u64;
        run.tell(Progress::new(what, verified.records, None).with_troubles(found));
    };
    Ok(run.reading(verify(&**site.store.engine(), &scope, trust, &tell)).await??)
}

#[async_trait::async_trait]
impl Operation for JournalVerify {
    const NAME: &'static str = "journal/verify";

    type Outcome = JournalVerified;

    async fn run(&self, site: &Site, run: &Run) -> Result<JournalVerified, OperationError> {
        Ok(JournalVerified::of(verify_site(site, run, self.files, 0).await?))
    }
}
