//! Verifying the journal: every record against its seal, every seal against the next, every piece
//! against its signature, its time stamp and the object store.
//!
//! What is found is named: a record that was changed, removed, inserted or moved; a seal or a piece
//! that is missing or not the one that was; an object. The leaves of a seal's tree tell which of its
//! records it is; where they were changed too, the seal is named.
//!
//! * What a restore explains is no damage: the numbers of the lost time, before its record
//!   `restored`, and the pieces of an older epoch in the object store.
//! * The head of the journal is signed by nobody. What it says is compared: nothing stands behind it; what
//!   it says was disposed of was due to go, and a record that is kept tells of it.
//! * Records below the mark of the head that no seal covers are read by nobody: neither here nor by searches.
//!   So nothing crawls through what was disposed of.
//! * It runs beside the server, on one state of the catalog; objects that are disposed of meanwhile are no
//!   finding. Memory is bounded by one seal.
//!
//! Not here: the pieces ([`pieces`]).

mod disposal;
mod pieces;
mod records;

use storage::{
    backup::rules::SEQUENCES_RAISED_BY,
    catalog::{
        commit::next_number,
        engine::{Engine, Family, Reader, Scan},
        keys,
        pages::Pages,
    },
    error::StoreError,
    objects::ObjectStore,
};
use trust::{
    certificate::chain::TrustedAuthorities, clock::UnixMillis, digest::Sha256Digest,
    smime::verify::Verifier,
};

use super::{
    head::{Head, JOURNAL_SEALS, digest, number_of, numbered},
    seal::Seal,
    sealer::is_lost_time,
};
use crate::{
    pec::records::{JOURNAL, JournalRecord, decode},
    texts::Text,
};

/// Faults that are listed; more are counted.
const LISTED_MAX: usize = 1_000;
/// Seals read at a time.
const PAGE: usize = 500;

/// What is wrong with the journal.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JournalFault {
    /// Records are gone.
    RecordsMissing {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// A record is not the one that was sealed.
    RecordChanged {
        /// Its number.
        sequence: u64,
    },
    /// A record stands where none was.
    RecordInserted {
        /// Its number.
        sequence: u64,
    },
    /// What was sealed under one number stands under another.
    RecordMoved {
        /// Its number.
        sequence: u64,
        /// Where it is.
        now: u64,
    },
    /// Some of these records are not those that were sealed, and the leaves that would tell which were
    /// changed too.
    RecordsChanged {
        /// The number of the seal.
        seal: u64,
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// The leaves of a seal are not its own; its records are.
    LeavesChanged {
        /// The number of the seal.
        seal: u64,
    },
    /// Seals are gone.
    SealsMissing {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// A seal cannot be read, or stands under another's number.
    SealChanged {
        /// The number of the seal.
        seal: u64,
    },
    /// A seal does not name the seal before it: one of the two was changed.
    ChainBroken {
        /// The number of the seal.
        seal: u64,
    },
    /// Pieces are gone.
    PiecesMissing {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// A piece's statement is not one, or is not that of its place.
    PieceChanged {
        /// The number of the piece.
        piece: u64,
    },
    /// A piece does not name the piece before it: one of the two was changed.
    PieceChainBroken {
        /// The number of the piece.
        piece: u64,
    },
    /// The seals in the catalog are not those that a piece has signed.
    SealsOfPiece {
        /// The number of the piece.
        piece: u64,
    },
    /// The signature does not hold.
    Signature {
        /// The number of the piece.
        piece: u64,
        /// What was found.
        reason: String,
    },
    /// The time stamp does not hold.
    Stamp {
        /// The number of the piece.
        piece: u64,
        /// What was found.
        reason: String,
    },
    /// Seals stand where the head says that none are: the head was removed or set back.
    SealsBehindHead {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// The same, of pieces.
    PiecesBehindHead {
        /// The first number.
        first: u64,
        /// The last number.
        last: u64,
    },
    /// What came before this piece is gone, though its time is not over.
    DisposedEarly {
        /// The number of the first piece that is left.
        piece: u64,
    },
    /// No record of the journal tells of the disposal of this piece, or tells of another one.
    DisposalUntold {
        /// The number of the piece.
        piece: u64,
    },
    /// A record is not found by its addresses and identifiers.
    IndexMissing {
        /// Its number.
        sequence: u64,
    },
    /// The signature is another provider's.
    SignedByOther {
        /// The number of the piece.
        piece: u64,
    },
    /// An object of a piece is gone.
    ObjectMissing {
        /// Its name.
        object: String,
    },
    /// An object of a piece has other octets.
    ObjectChanged {
        /// Its name.
        object: String,
    },
    /// An object is there that no piece of the catalog has.
    ObjectUnknown {
        /// Its name.
        object: String,
    },
}

fn span(first: u64, last: u64) -> String {
    if first == last { first.to_string() } else { format!("{first}–{last}") }
}

impl JournalFault {
    /// What people read.
    #[must_use]
    pub fn text(&self) -> Text {
        let (italian, english) = match self {
            Self::RecordsMissing { first, last } => {
                let these = span(*first, *last);
                (format!("registrazioni {these}: mancano"), format!("records {these}: missing"))
            }
            Self::RecordChanged { sequence } => (
                format!("registrazione {sequence}: non è quella sigillata"),
                format!("record {sequence}: not the one that was sealed"),
            ),
            Self::RecordInserted { sequence } => (
                format!("registrazione {sequence}: è stata inserita"),
                format!("record {sequence}: it was inserted"),
            ),
            Self::RecordMoved { sequence, now } => (
                format!("registrazione {sequence}: è stata spostata al numero {now}"),
                format!("record {sequence}: it was moved to number {now}"),
            ),
            Self::RecordsChanged { seal, first, last } => {
                let these = span(*first, *last);
                (
                    format!("sigillo {seal}: le registrazioni {these} non sono quelle sigillate"),
                    format!("seal {seal}: the records {these} are not those that were sealed"),
                )
            }
            Self::LeavesChanged { seal } => (
                format!("sigillo {seal}: le sue foglie non sono le sue"),
                format!("seal {seal}: its leaves are not its own"),
            ),
            Self::SealsMissing { first, last } => {
                let these = span(*first, *last);
                (format!("sigilli {these}: mancano"), format!("seals {these}: missing"))
            }
            Self::SealChanged { seal } => (
                format!("sigillo {seal}: non è quello che era"),
                format!("seal {seal}: not the one that was made"),
            ),
            Self::ChainBroken { seal } => (
                format!("sigillo {seal}: non segue quello che lo precede"),
                format!("seal {seal}: it does not follow the one before it"),
            ),
            Self::SealsBehindHead { first, last } => {
                let these = span(*first, *last);
                (
                    format!("sigilli {these}: la testa del giornale non li conosce"),
                    format!("seals {these}: the head of the journal does not know them"),
                )
            }
            Self::IndexMissing { sequence } => (
                format!("registrazione {sequence}: la ricerca non la trova"),
                format!("record {sequence}: searches do not find it"),
            ),
            other => return other.text_of_pieces(),
        };
        Text::filled(italian, english)
    }

    fn text_of_pieces(&self) -> Text {
        let (italian, english) = match self {
            Self::PiecesMissing { first, last } => {
                let these = span(*first, *last);
                (format!("giornate {these}: mancano"), format!("daily pieces {these}: missing"))
            }
            Self::PieceChanged { piece } => (
                format!("giornata {piece}: la dichiarazione non è la sua"),
                format!("daily piece {piece}: its statement is not its own"),
            ),
            Self::PieceChainBroken { piece } => (
                format!("giornata {piece}: non segue quella che la precede"),
                format!("daily piece {piece}: it does not follow the one before it"),
            ),
            Self::SealsOfPiece { piece } => (
                format!("giornata {piece}: i sigilli non sono quelli firmati"),
                format!("daily piece {piece}: the seals are not those that were signed"),
            ),
            Self::Signature { piece, reason } => (
                format!("giornata {piece}: la firma non è valida ({reason})"),
                format!("daily piece {piece}: the signature is not valid ({reason})"),
            ),
            Self::Stamp { piece, reason } => (
                format!("giornata {piece}: la marca temporale non è valida ({reason})"),
                format!("daily piece {piece}: the time stamp is not valid ({reason})"),
            ),
            Self::PiecesBehindHead { .. }
            | Self::DisposedEarly { .. }
            | Self::DisposalUntold { .. }
            | Self::SignedByOther { .. } => return self.text_of_ends(),
            Self::ObjectMissing { object } => {
                (format!("oggetto {object}: manca"), format!("object {object}: missing"))
            }
            Self::ObjectChanged { object } => (
                format!("oggetto {object}: non è quello scritto"),
                format!("object {object}: not the one that was written"),
            ),
            Self::ObjectUnknown { object } => (
                format!("oggetto {object}: non è di nessuna giornata"),
                format!("object {object}: it belongs to no daily piece"),
            ),
            // The others are told of by `text`.
            other => (format!("{other:?}"), format!("{other:?}")),
        };
        Text::filled(italian, english)
    }

    fn text_of_ends(&self) -> Text {
        let (italian, english) = match self {
            Self::PiecesBehindHead { first, last } => {
                let these = span(*first, *last);
                (
                    format!("giornate {these}: la testa del giornale non le conosce"),
                    format!("daily pieces {these}: the head of the journal does not know them"),
                )
            }
            Self::DisposedEarly { piece } => (
                format!("giornata {piece}: ciò che la precede è stato eliminato prima del tempo"),
                format!("daily piece {piece}: what came before it was disposed of before its time"),
            ),
            Self::DisposalUntold { piece } => (
                format!("giornata {piece}: nessuna registrazione dice della sua eliminazione"),
                format!("daily piece {piece}: no record tells of its disposal"),
            ),
            Self::SignedByOther { piece } => (
                format!("giornata {piece}: la firma è di un altro gestore"),
                format!("daily piece {piece}: the signature is another provider's"),
            ),
            // The others are told of by `text`.
            other => (format!("{other:?}"), format!("{other:?}")),
        };
        Text::filled(italian, english)
    }
}

/// Whom to believe.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'t> {
    /// About signatures of the provider.
    pub signatures: &'t Verifier,
    /// About time stamps.
    pub stamps: &'t TrustedAuthorities,
    /// The provider's service address: it stands in the certificates that it signs with.
    pub service_address: &'t str,
}

/// What was verified, and what was found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verified {
    /// Seals.
    pub seals: u64,
    /// Records under them.
    pub records: u64,
    /// Records that wait for their seal.
    pub unsealed: u64,
    /// Daily pieces.
    pub pieces: u64,
    /// Objects whose octets were read.
    pub objects: u64,
    /// Numbers that a restore passed over: first and last.
    pub lost_time: Vec<(u64, u64)>,
    /// Pieces in the object store that were made in a lost time.
    pub lost_pieces: u64,
    /// Pieces that were stamped more than 48 hours after their end: the service was away, or they are not of
    /// their day.
    pub stamped_late: Vec<u64>,
    /// Pieces whose objects were not looked at: they are not stored yet, or not since a restore.
    pub objects_unseen: u64,
    /// What is wrong, the first of it.
    pub faults: Vec<JournalFault>,
    /// Faults beyond those listed.
    pub faults_left_out: u64,
    disposals: disposal::Told,
}

impl Verified {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty() && self.faults_left_out == 0
    }

    fn fault(&mut self, fault: JournalFault) {
        if self.faults.len() < LISTED_MAX {
            self.faults.push(fault);
        } else {
            self.faults_left_out += 1;
        }
    }
}

/// What is verified.
#[derive(Debug)]
pub struct Scope<'s> {
    /// The node.
    pub node: u64,
    /// The store's epoch: after a restore the keeper's first round looks for the objects, and puts them
    /// where they are missing. Before that they are left out.
    pub epoch: u32,
    /// Where the objects of pieces lie; `None` leaves them out.
    pub objects: Option<&'s dyn ObjectStore>,
    /// Whether the files of records are read as well; else only their presence counts.
    pub files: bool,
    /// The time, by which what is gone was due to go.
    pub now: UnixMillis,
    /// For how many months the journal is kept: 30 at least, whatever stands here.
    pub kept_months: u32,
}

/// Verifies the whole journal of a node. `tell` hears the number of records now and then.
///
/// # Errors
///
/// When catalog or object store do not answer. What is wrong in them is reported instead.
pub async fn verify(
    engine: &dyn Engine,
    scope: &Scope<'_>,
    trust: Trust<'_>,
    tell: &(dyn Fn(&Verified) + Send + Sync),
) -> Result<Verified, StoreError> {
    let snapshot = engine.snapshot().await?;
    let head = Head::read(&*snapshot, scope.node).await?;
    let mut verified = Verified::default();
    seals(&*snapshot, &head, &mut verified, tell).await?;
    tail(&*snapshot, &head, &mut verified).await?;
    pieces::verify((engine, &*snapshot), &head, scope, trust, &mut verified).await?;
    disposal::verify(&head, scope, &mut verified);
    disposal::leave_out(engine, &mut verified, scope.node).await?;
    Ok(verified)
}

/// Goes over the seals and the records under them.
async fn seals(
    reader: &dyn Reader,
    head: &Head,
    verified: &mut Verified,
    tell: &(dyn Fn(&Verified) + Send + Sync),
) -> Result<(), StoreError> {
    let mut chain = Chain {
        number: head.record.disposed_seals,
        hash: Some(digest(&head.record.disposed_seal)),
        sequence: Some(head.record.disposed_sequence),
    };
    disposal::no_records_before_the_mark(reader, head, verified).await?;
    let prefix = Scan::prefix(JOURNAL_SEALS, &head.node.to_be_bytes(), PAGE);
    let start = numbered(head.node, chain.number.saturating_add(1));
    let mut pages = Pages::new(Scan { start, ..prefix });
    'pages: while let Some(page) = pages.next(reader).await? {
        for (key, octets) in page {
            let number = number_of(JOURNAL_SEALS, &key)?;
            if number > head.record.seals {
                let last = last_of(reader, JOURNAL_SEALS, head.node).await?;
                verified.fault(JournalFault::SealsBehindHead { first: number, last });
                break 'pages;
            }
            if number > chain.number.saturating_add(1) {
                let (first, last) = (chain.number.saturating_add(1), number - 1);
                verified.fault(JournalFault::SealsMissing { first, last });
                chain = Chain { number: last, hash: None, sequence: None };
            }
            let seal = Seal::read(&octets, || keys::object(JOURNAL_SEALS, &key));
            let seal = seal.ok().filter(|seal| seal.number == number && seal.node == head.node);
            let Some(seal) = seal else {
                verified.fault(JournalFault::SealChanged { seal: number });
                chain = Chain { number, hash: None, sequence: None };
                continue;
            };
            chain.follow(reader, &seal, verified).await?;
            records::verify(reader, head, &seal, verified).await?;
            tell(verified);
        }
    }
    if chain.number < head.record.seals {
        let (first, last) = (chain.number.saturating_add(1), head.record.seals);
        verified.fault(JournalFault::SealsMissing { first, last });
    } else if chain
        .hash
        .is_some_and(|hash| head.record.seals > 0 && hash != digest(&head.record.seal))
    {
        verified.fault(JournalFault::SealChanged { seal: chain.number });
    }
    Ok(())
}

/// How far the chain of seals was followed.
struct Chain {
    number: u64,
    /// The hash of the last seal; `None` when it is not known.
    hash: Option<Sha256Digest>,
    /// Its last record.
    sequence: Option<u64>,
}

impl Chain {
    async fn follow(
        &mut self,
        reader: &dyn Reader,
        seal: &Seal,
        verified: &mut Verified,
    ) -> Result<(), StoreError> {
        if self.hash.is_some_and(|hash| hash != seal.previous) {
            verified.fault(JournalFault::ChainBroken { seal: seal.number });
        }
        if let Some(before) = self.sequence
            && seal.first > before.saturating_add(1)
        {
            gap(reader, seal.node, (before.saturating_add(1), seal.first), verified).await?;
        }
        verified.seals += 1;
        *self = Self { number: seal.number, hash: Some(seal.hash()), sequence: Some(seal.last) };
        Ok(())
    }
}

/// Judges that no records are from `first` up to `found`, which has one.
async fn gap(
    reader: &dyn Reader,
    node: u64,
    (first, found): (u64, u64),
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let key = numbered(node, found);
    let value = reader.get(JOURNAL, &key).await?;
    let raised = (found - first).is_multiple_of(SEQUENCES_RAISED_BY);
    // That the record behind the lost time is gone is found with its seal.
    let explained = value.map_or(raised, |value| is_lost_time(&key, &value, first, found));
    if explained {
        verified.lost_time.push((first, found - 1));
        no_records(reader, node, (first, found - 1), verified).await
    } else {
        verified.fault(JournalFault::RecordsMissing { first, last: found - 1 });
        Ok(())
    }
}

/// Reports records where there are none.
async fn no_records(
    reader: &dyn Reader,
    node: u64,
    (first, last): (u64, u64),
    verified: &mut Verified,
) -> Result<(), StoreError> {
    let prefix = Scan::prefix(JOURNAL, &node.to_be_bytes(), LISTED_MAX);
    let end = last.checked_add(1).map(|end| numbered(node, end));
    let scan = Scan { start: numbered(node, first), end: end.or(prefix.end.clone()), ..prefix };
    for (key, _) in reader.scan(&scan).await? {
        verified.fault(JournalFault::RecordInserted { sequence: number_of(JOURNAL, &key)? });
    }
    Ok(())
}

/// Goes over what waits for its seal.
async fn tail(reader: &dyn Reader, head: &Head, verified: &mut Verified) -> Result<(), StoreError> {
    let next = next_number(reader, JOURNAL, &head.node.to_be_bytes()).await?;
    let mut wanted = head.record.sequence.saturating_add(1);
    let prefix = Scan::prefix(JOURNAL, &head.node.to_be_bytes(), PAGE);
    let mut pages = Pages::new(Scan { start: numbered(head.node, wanted), ..prefix });
    while let Some(page) = pages.next(reader).await? {
        for (key, value) in page {
            let sequence = number_of(JOURNAL, &key)?;
            if sequence >= next {
                verified.fault(JournalFault::RecordInserted { sequence });
                continue;
            }
            if sequence > wanted {
                if is_lost_time(&key, &value, wanted, sequence) {
                    verified.lost_time.push((wanted, sequence - 1));
                } else {
                    let (first, last) = (wanted, sequence - 1);
                    verified.fault(JournalFault::RecordsMissing { first, last });
                }
            }
            wanted = sequence.saturating_add(1);
            verified.unsealed += 1;
            if let Ok(record) = decode::<JournalRecord>(JOURNAL, &key, &value) {
                verified.disposals.take(head, &record);
            }
        }
    }
    if wanted < next {
        verified.fault(JournalFault::RecordsMissing { first: wanted, last: next - 1 });
    }
    Ok(())
}

/// The highest number of a node in `family`.
async fn last_of(reader: &dyn Reader, family: Family, node: u64) -> Result<u64, StoreError> {
    let scan = Scan { reverse: true, ..Scan::prefix(family, &node.to_be_bytes(), 1) };
    match reader.scan(&scan).await?.first() {
        Some((key, _)) => number_of(family, key),
        None => Ok(0),
    }
}
